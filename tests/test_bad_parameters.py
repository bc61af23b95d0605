"""Nonsense parameters and arguments: an error that names them, and nothing accepted in silence."""

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError

from skvae import VAEOutlierDetector, VAETransformer
from skvae.exceptions import DivergedError
from skvae.likelihoods import Columnwise, Normal, StudentT
from skvae.networks import MLP
from skvae.objectives import ELBO, IWAE
from skvae.priors import Aggregate

pytestmark = [
    pytest.mark.filterwarnings("error"),
    pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning"),
]
NAN = np.nan
rng = np.random.default_rng(0)
GOOD = rng.normal(size=(60, 3)) @ rng.normal(size=(3, 4)) + 0.3 * rng.normal(size=(60, 4))
MIXED = pd.DataFrame(GOOD, columns=list("abcd")).assign(kind=rng.choice(["x", "y", "z"], 60))


def make(cls=VAETransformer, **params):
    return cls(**{"max_iter": 3, "random_state": 0, **params})


def check_answers(estimator, X):
    assert np.isfinite(estimator.score_samples(X)).all()
    assert np.isfinite(estimator.reconstruct(X)).all() and np.isfinite(estimator.sample(7)).all()


def must(name, value):
    return {name: value}, ValueError, rf"The '{name}' parameter of {{cls}} must be .*[Gg]ot"


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        must("n_draws", 0), must("n_components", 0), must("n_components", 2.0),
        must("objective", "foo"), must("prior", ELBO()), must("network", "cnn"),
        must("likelihood", "categorical"), must("activation", "foo"), must("init", "foo"),
        must("hidden_layer_sizes", 5), must("validation_fraction", 1.0), must("max_iter", 0),
        must("learning_rate_init", NAN), must("learning_rate_init", 0.0), must("clip_norm", 0.0),
        must("batch_size", 0), must("n_members", 0), must("random_state", -1), must("tol", -1.0),
        must("contamination", 0.9), must("contamination", 0.0), must("contamination", "foo"),
        must("unknown", "foo"), must("device", 3),
        ({"device": "nonsense"}, ValueError, "device should be 'auto', 'cpu',.*got 'nonsense'"),
        ({"device": "cuda:99"}, ValueError, "'cuda:99' is not available.*device='auto'"),
        ({"n_jobs": 0}, ValueError, "n_jobs should be"),
        ({"learning_rate_init": 1e30}, DivergedError, "epoch 1.*Lower learning_rate_init .now 1e"),
        ({"weight_decay": 1e9}, DivergedError, "diverged in epoch 1"),
        ({"objective": ELBO(beta=NAN)}, ValueError, "'beta' parameter of ELBO must be.*Got nan"),
        ({"batch_size": 1}, None, None), ({"batch_size": 10**9}, None, None),
        ({"validation_fraction": 1e-9}, None, None), ({"hidden_layer_sizes": [1]}, None, None),
        ({"n_components": 20}, None, None), ({"objective": ELBO(beta=1e30)}, None, None),
        ({"device": "meta"}, ValueError, "device.*meta"),
        ({"hidden_layer_sizes": (-3,)}, ValueError, "'hidden_layer_sizes'.*positive.*Got .-3,"),
        ({"hidden_layer_sizes": (2.5,)}, ValueError, "'hidden_layer_sizes'.*integers.*Got .2.5,"),
        ({"hidden_layer_sizes": (0,)}, ValueError, "'hidden_layer_sizes'.*positive.*Got .0,"),
        ({"validation_fraction": 0.999}, ValueError, "validation_fraction"),
        ({"objective": IWAE(n_draws=0)}, ValueError, "n_draws"),
        ({"likelihood": Columnwise(continuous="foo")}, ValueError, "continuous.*foo"),
        ({"likelihood": Columnwise(continuous="poisson")}, ValueError, "continuous"),
        ({"likelihood": Normal(scale=0.0)}, ValueError, "'scale' parameter of Normal.*Got 0"),
        ({"likelihood": Normal(scale="foo")}, ValueError, "scale.*foo"),
        ({"likelihood": Normal(min_scale=0.0)}, ValueError, "min_scale"),
        ({"likelihood": StudentT(df=0.0)}, ValueError, "df"),
        ({"prior": Aggregate(0)}, ValueError, "n_mixture_components"),
        ({"network": MLP(activation="foo")}, ValueError, "activation.*foo"),
        ({"network": MLP(linear_skip="foo")}, ValueError, "linear_skip.*foo"),
    ],
    ids=str,
)  # fmt: skip
def test_parameters(params, error, message):
    cls = VAEOutlierDetector if "contamination" in params else VAETransformer
    estimator = make(cls, **params)
    if error is None:
        return check_answers(estimator.fit(GOOD), GOOD)
    with pytest.raises(error, match="(?s)" + message.replace("{cls}", cls.__name__)):
        estimator.fit(GOOD)


def test_more_components_than_columns_do_no_harm():
    few, many = (make(n_components=n).fit(GOOD).score(GOOD) for n in (4, 100))
    assert many > few - 5.0


@pytest.fixture(scope="module")
def model():
    return make().fit(GOOD)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: m.inverse_transform(np.zeros((2, 3))), ValueError, "3 features.*expecting 8"),
        (lambda m: m.inverse_transform(np.full((2, 8), NAN)), ValueError, "X contains NaN"),
        (lambda m: m.inverse_transform(np.full((2, 8), np.inf)), ValueError, "contains infinity"),
        (lambda m: m.inverse_transform(np.zeros((0, 8))), ValueError, r"0 sample\(s\)"),
        (lambda m: m.inverse_transform(np.zeros(8)), ValueError, "Expected 2D array"),
        (lambda m: m.inverse_transform(np.full((2, 8), 1e30)), None, None),
        (lambda m: m.inverse_transform(np.full((2, 8), 3e38)), None, None),
        (lambda m: m.sample(0), ValueError, "sample expects n_samples.*at least 1, got 0"),
        (lambda m: m.sample(-1), ValueError, "sample expects n_samples.*at least 1, got -1"),
        (lambda m: m.sample(2.5), TypeError, "n_samples to be an integer.*got 2.5"),
        (lambda m: m.sample(2, random_state="x"), ValueError, "'x' cannot be used to seed"),
        (lambda m: m.score_samples(GOOD, n_draws=0), ValueError, "n_draws"),
        (lambda m: m.score_samples(GOOD, n_draws=-1), ValueError, "n_draws"),
        (lambda m: m.score_samples(GOOD, n_draws=2.5), TypeError, "n_draws to be an integer"),
        (lambda m: m.interpolate(GOOD[:1]), ValueError, "expects two rows.*got 1 rows"),
        (lambda m: m.interpolate(GOOD[:2], method="foo"), ValueError, "method='foo'"),
        (lambda m: m.interpolate(GOOD[:2], 0), ValueError, r"0 sample\(s\)"),
        (lambda m: m.interpolate(GOOD[[0, 0]], method="spherical"), None, None),
        (lambda m: m.interpolate(GOOD[:2], 1), None, None),
        (lambda m: m.traverse(GOOD[:2], 0), ValueError, "one row and a component from 0 to 7"),
        (lambda m: m.traverse(GOOD[:1], 8), ValueError, "got 1 rows and component=8"),
        (lambda m: m.traverse(GOOD[:1], 0, [NAN]), ValueError, "X contains NaN"),
        (lambda m: m.traverse(GOOD[:1], 0, []), ValueError, r"0 sample\(s\)"),
    ],
)
def test_arguments_of_methods(call, error, message, model):
    if error is None:
        assert np.isfinite(call(model)).all()
    else:
        with pytest.raises(error, match="(?s)" + message):
            call(model)


@pytest.mark.parametrize("cls", [VAETransformer, VAEOutlierDetector])
def test_before_fit(cls):
    for name in (
        "transform", "infer", "reconstruct", "inverse_transform", "interpolate", "score_samples",
        "score", "predict", "decision_function", "sample", "get_feature_names_out",
    ):  # fmt: skip
        arguments = () if name in ("sample", "get_feature_names_out") else (GOOD,)
        if hasattr(cls(), name):
            with pytest.raises(NotFittedError, match=f"{cls.__name__} instance is not fitted"):
                getattr(cls(), name)(*arguments)


def test_no_density_no_scores():
    with pytest.raises(ValueError, match="score_samples needs a density.*posterior='normal'"):
        make(posterior="deterministic").fit(GOOD).score_samples(GOOD)


# ---------------------------------------------------------------------------- fitting further


def test_streams():
    with pytest.raises(ValueError, match="X has 2 features, but VAETransformer is expecting 4"):
        make().partial_fit(GOOD).partial_fit(GOOD[:, :2])
    with pytest.raises(ValueError, match="'kind' holds categories unseen in fit: 'new'"):
        make().partial_fit(MIXED).partial_fit(MIXED.assign(kind="new"))
    with pytest.raises(ValueError, match=r"1 sample\(s\) .* minimum of 2"):
        make().partial_fit(GOOD[:1])
    check_answers(make().partial_fit(GOOD).partial_fit(GOOD[:2]), GOOD)


def test_a_batch_of_one_row():
    check_answers(make().partial_fit(GOOD).partial_fit(GOOD[:1]), GOOD)


@pytest.mark.parametrize(
    "change",
    [
        {"n_members": 3}, {"n_components": 3},
        {"hidden_layer_sizes": (8,)}, {"objective": "iwae"}, {"max_iter": 1},
    ],
    ids=str,
)  # fmt: skip
def test_warm_start_with_other_parameters(change):
    """Training goes on with what may change, and says so where the shape of the model may not."""
    model = make(warm_start=True).fit(GOOD).set_params(**change)
    if set(change) <= {"objective", "max_iter"}:
        check_answers(model.fit(GOOD), GOOD)
    else:
        with pytest.raises(ValueError, match=next(iter(change))):
            model.fit(GOOD)
