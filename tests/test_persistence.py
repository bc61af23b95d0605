"""What is saved: NumPy state of our own classes, small, and the same bits when it comes back."""

import copy
import io
import pickle
import pickletools

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

from skvae import VAEOutlierDetector, VAETransformer, _persistence
from skvae import __version__ as version
from skvae._component import Shapes
from skvae.exceptions import VersionError
from skvae.likelihoods import Columnwise, Normal, StudentT
from skvae.networks import MLP
from skvae.noise import Noise
from skvae.objectives import ELBO, IWAE
from skvae.posteriors import DiagonalNormal
from skvae.priors import Aggregate, GaussianMixture
from skvae.views import Denoising

pytestmark = pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning")


def array(n_rows=80):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, 3)) @ rng.normal(size=(3, 6)) + 0.3 * rng.normal(size=(n_rows, 6))
    X[rng.random(X.shape) < 0.1] = np.nan
    return X


def frame(n_rows=80):
    rng = np.random.default_rng(1)
    return pd.DataFrame(array(n_rows)[:, :4], columns=list("abcd")).assign(
        kind=pd.Categorical(rng.choice(["x", "y", "z"], n_rows), categories=list("wzyx")),
        size=rng.choice(["small", "large"], n_rows),
        flag=rng.random(n_rows) < 0.3,
        whole=rng.integers(0, 9, n_rows),
    )


def fitted(cls=VAETransformer, X=None, **params):
    return cls(max_iter=3, random_state=0, **params).fit(array() if X is None else X)


CASES = {
    "transformer": lambda: (fitted(), array()),
    "detector": lambda: (fitted(VAEOutlierDetector, contamination=0.1), array()),
    "contextual": lambda: (
        fitted(VAEOutlierDetector, frame(), condition=["kind", "whole"]), frame()
    ),
    "frame": lambda: (fitted(X=frame()), frame()),
    "members": lambda: (fitted(n_members=3, n_components=2), array()),
    "components": lambda: (
        fitted(
            objective=IWAE(n_draws=2), prior=GaussianMixture(n_mixture_components=3), view=None,
            network=MLP(hidden_layer_sizes=(20,), activation="tanh", linear_skip=True),
            likelihood=Columnwise(continuous=StudentT(df=3.0, scale="column")),
        ),
        array(),
    ),
    "stream": lambda: (VAETransformer(random_state=0).partial_fit(array()), array()),
}  # fmt: skip


def through_file(**options):
    def copy_of(estimator):
        file = io.BytesIO()
        joblib.dump(estimator, file, **options)
        file.seek(0)
        return joblib.load(file)

    return copy_of


def through_skops(estimator):
    skops_io = pytest.importorskip("skops.io")
    blob = skops_io.dumps(estimator)
    untrusted = skops_io.get_untrusted_types(data=blob)
    assert untrusted and all(name.startswith("skvae.") for name in untrusted)
    with pytest.raises(skops_io.exceptions.UntrustedTypesFoundException, match="skvae"):
        skops_io.loads(blob)
    return skops_io.loads(blob, trusted=untrusted)


WAYS = {
    "pickle": lambda estimator: pickle.loads(pickle.dumps(estimator)),
    "pickle protocol 2": lambda estimator: pickle.loads(pickle.dumps(estimator, protocol=2)),
    "joblib": through_file(),
    "joblib compressed": through_file(compress=3),
    "deepcopy": copy.deepcopy,
    "skops": through_skops,
}


def assert_same_model(one, other, X):
    for method in ("transform", "predict", "score_samples", "reconstruct"):
        if hasattr(one, method):
            expected, got = (getattr(e, method)(X) for e in (one, other))
            assert type(got) is type(expected)
            if isinstance(expected, pd.DataFrame):
                pd.testing.assert_frame_equal(got, expected, check_exact=True)
            else:
                assert_array_equal(got, expected)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", CASES)
def test_what_comes_back_is_the_same_model(case, way):
    estimator, X = CASES[case]()
    before = copy.deepcopy(estimator.get_params())
    loaded = WAYS[way](estimator)
    assert repr(loaded.get_params()) == repr(before)
    assert_same_model(estimator, loaded, X)
    if hasattr(estimator, "sample"):
        assert repr(estimator.sample(5)) == repr(loaded.sample(5))
    # Training goes on in the same way, too.
    for one in (estimator, loaded):
        one.set_params(warm_start=True).fit(X)
    assert_same_model(estimator, loaded, X)


@pytest.mark.parametrize("way", WAYS)
def test_a_stream_goes_on_where_it_was(way):
    estimator = VAETransformer(random_state=0).partial_fit(array())
    loaded = WAYS[way](estimator)
    for one in (estimator, loaded):
        one.partial_fit(array())
    assert_same_model(estimator, loaded, array())


@pytest.mark.parametrize("way", WAYS)
def test_pipelines_on_frames(way):
    X = frame()
    columns = make_column_transformer(
        (StandardScaler(), list("abcd")), remainder="passthrough", verbose_feature_names_out=False
    ).set_output(transform="pandas")
    for last in (VAETransformer(2, max_iter=3), VAEOutlierDetector(max_iter=3)):
        pipeline = make_pipeline(columns, last.set_params(random_state=0)).fit(X)
        loaded = WAYS[way](pipeline)
        method = "transform" if hasattr(pipeline, "transform") else "decision_function"
        assert_array_equal(getattr(loaded, method)(X), getattr(pipeline, method)(X))
        assert_array_equal(loaded.score_samples(X), pipeline.score_samples(X))


def test_output_container_is_kept():
    estimator = fitted().set_output(transform="pandas")
    for way in ("pickle", "skops"):
        codes = WAYS[way](estimator).transform(array())
        assert isinstance(codes, pd.DataFrame)
        assert list(codes) == [f"vaetransformer{j}" for j in range(8)]


def test_a_copy_shares_nothing():
    estimator = fitted()
    codes = estimator.transform(array())
    for way in WAYS:
        WAYS[way](estimator).set_params(warm_start=True).fit(array())
        assert_array_equal(estimator.transform(array()), codes)


@pytest.mark.parametrize("case", CASES)
def test_a_clone_is_not_fitted(case):
    estimator, X = CASES[case]()
    other = clone(estimator)
    assert repr(other) == repr(estimator) and other.objective is not None
    assert not [name for name in vars(other) if name.endswith("_") and not name.startswith("_")]
    with pytest.raises(NotFittedError):
        check_is_fitted(other)
    with pytest.raises(NotFittedError, match="not fitted yet"):
        other.score_samples(X)
    for name, value in estimator.get_params(deep=False).items():
        if isinstance(value, torch.nn.Module):
            copied = getattr(other, name)
            assert copied is not value and not list(copied.parameters())


# ------------------------------------------------------------------------------ what is inside


@pytest.mark.parametrize("case", CASES)
def test_pickles_hold_no_torch_objects(case):
    estimator, _ = CASES[case]()
    for protocol in (2, pickle.HIGHEST_PROTOCOL):
        operations = list(pickletools.genops(pickle.dumps(estimator, protocol=protocol)))
        strings = {argument for _, argument, _ in operations if isinstance(argument, str)}
        assert any(string.startswith("skvae") for string in strings)
        assert not [string for string in strings if string.startswith("torch")]


@pytest.mark.parametrize("case", [case for case in CASES if case != "stream"])
def test_pickles_are_small(case):
    estimator, _ = CASES[case]()
    models = [estimator.vae_]
    if isinstance(estimator, VAEOutlierDetector):
        models.append(estimator.score_.statistics_["cells"].conditional_.cells_.vae)
    tensors = [tensor for model in models for tensor in model.state_dict().values()]
    n_bytes = sum(tensor.nbytes for tensor in tensors)
    assert len(pickle.dumps(estimator)) < 1.3 * n_bytes + 40_000


# ---------------------------------------------------------------------------------- components

COMPONENTS = [
    ELBO(beta=4.0, warm_up=3), IWAE(n_draws=7), DiagonalNormal(), Aggregate(3),
    GaussianMixture(n_mixture_components=4), StudentT(df=3.0), Normal(scale=0.5),
    Columnwise(continuous=StudentT(df=3.0), categorical="categorical"), Denoising(scale=0.3),
    MLP(hidden_layer_sizes=(7, 5), activation="relu"),
]  # fmt: skip
SHAPES = Shapes(n_inputs=4, n_components=2, blocks=(("continuous", (1,) * 4),))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("built", [False, True], ids=["unbuilt", "built"])
@pytest.mark.parametrize("component", COMPONENTS, ids=str)
def test_components(component, built, way):
    component = clone(component)
    if built and isinstance(component, MLP):
        component.connect(SHAPES, 4, 4, Noise([0, 1]))
    elif built:
        component.build(SHAPES, Noise([0, 1]))
    loaded = WAYS[way](component)
    assert repr(loaded) == repr(component)
    assert repr(loaded.get_params()) == repr(component.get_params())
    assert loaded.training == component.training
    weights, expected = loaded.state_dict(), component.state_dict()
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in weights)


def test_nested_parameters_come_back():
    estimator = fitted(likelihood=Columnwise(continuous=StudentT(df=3.0)))
    for way in WAYS.values():
        loaded = way(estimator)
        assert loaded.get_params()["likelihood__continuous__df"] == 3.0
        assert loaded.vae_.likelihood.parts[0].df == 3.0
        assert loaded.set_params(likelihood__continuous__df=5.0).likelihood.continuous.df == 5.0


@pytest.mark.parametrize("way", WAYS)
def test_fixed_weights_stay_fixed(way):
    estimator = fitted(likelihood=Normal(scale=0.5))
    loaded = WAYS[way](estimator)
    expected = {name: p.requires_grad for name, p in estimator.vae_.named_parameters()}
    assert not all(expected.values())
    assert {name: p.requires_grad for name, p in loaded.vae_.named_parameters()} == expected


# ------------------------------------------------------------------------------------ versions


@pytest.mark.parametrize("cls", [VAETransformer, VAEOutlierDetector])
@pytest.mark.parametrize("way", ["pickle", "joblib", "skops"])
def test_a_newer_major_version_is_refused(cls, way, monkeypatch):
    newer = f"{int(version.split('.')[0]) + 1}.2.0"
    estimator = fitted(cls)
    read = type(estimator).__setstate__

    def read_by_this_version(self, state):
        monkeypatch.setattr(_persistence, "__version__", version)
        read(self, state)

    monkeypatch.setattr(_persistence, "__version__", newer)
    monkeypatch.setattr(cls, "__setstate__", read_by_this_version)
    message = rf"{cls.__name__} was saved by skvae {newer}.* skvae {version} cannot read.*Upgrade"
    with pytest.raises(VersionError, match=message):
        WAYS[way](estimator)


def test_the_version_is_written_and_other_minor_versions_are_read(monkeypatch):
    estimator = fitted()
    assert version in {a for _, a, _ in pickletools.genops(pickle.dumps(estimator))}
    for other in (f"{version.split('.')[0]}.999.0", "0.0.1"):
        monkeypatch.setattr(_persistence, "__version__", other)
        blob = pickle.dumps(estimator)
        monkeypatch.undo()
        assert_same_model(estimator, pickle.loads(blob), array())
