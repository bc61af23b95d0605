"""Weights in files of safetensors: the same bits again, or an error that says why not."""

import json
import struct

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

safetensors = pytest.importorskip("safetensors")

from skvae import VAEOutlierDetector, VAETransformer  # noqa: E402
from skvae import __version__ as version  # noqa: E402
from skvae.code_axes import CodeAxes  # noqa: E402
from skvae.exceptions import ExportError, VersionError  # noqa: E402
from skvae.export import load_weights, save_weights  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning")
N_ROWS = 90


def frame():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "size": rng.normal(size=N_ROWS),
            "count": rng.negative_binomial(1, 0.4, N_ROWS),
            "kind": rng.choice(["a", "b"], N_ROWS),
            "level": pd.Categorical(rng.choice(["lo", "hi"], N_ROWS), ["lo", "hi"], True),
        }
    )


def array():
    rng = np.random.default_rng(1)
    return rng.normal(size=(N_ROWS, 2)) @ rng.normal(size=(2, 4))


def fit(X=None, cls=VAETransformer, y=None, max_iter=2, seed=0, n_components=2, **params):
    estimator = cls(n_components, max_iter=max_iter, random_state=seed, **params)
    return estimator.fit(array() if X is None else X, y)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.safetensors"


CASES = {
    "array": (array(), {}),
    "frame": (frame(), {"n_members": 2}),
    "ranks": (frame(), {"margins": "rank", "prior": "vamp"}),
    "flow": (np.repeat(array(), 3, 0), {"prior": "flow"}),
    "codebook": (array(), {"posterior": "vector_quantized"}),
    "condition": (frame(), {"condition": ["kind"]}),
}


@pytest.mark.parametrize("name", CASES)
def test_the_same_bits_in_another_estimator(name, path):
    X, params = CASES[name]
    trained, other = fit(X, max_iter=4, **params), fit(X, seed=7, **params)
    assert not np.array_equal(other.score_samples(X), trained.score_samples(X))
    save_weights(trained, path)
    assert load_weights(other, path) is other
    assert_array_equal(other.score_samples(X), trained.score_samples(X))
    assert_array_equal(other.transform(X), trained.transform(X))
    again = path.with_name("again")
    save_weights(other, again)
    assert safetensors.numpy.load_file(again).keys() == safetensors.numpy.load_file(path).keys()


def test_targets_come_along(path):
    X = array()
    targets = {"classes": np.where(X[:, 0] > 0, "p", "q"), "properties": X[:, 0]}
    for supervision, method in (("classes", "predict_proba"), ("properties", "predict")):
        parts = {"y": targets[supervision], "supervision": supervision}
        trained, other = fit(X, max_iter=4, **parts), fit(X, seed=7, **parts)
        wanted = getattr(trained, method)(X)
        assert not np.array_equal(getattr(other, method)(X), wanted)
        save_weights(trained, path)
        assert_array_equal(getattr(load_weights(other, path), method)(X), wanted)
    with pytest.raises(ExportError, match="learned of the targets"):
        load_weights(fit(X, y=2.0 * X[:, 0], supervision="properties"), path)


def test_a_detector_has_its_threshold(path):
    X = array()
    params = {"cls": VAEOutlierDetector, "score_function": "likelihood"}
    trained, other = fit(max_iter=4, **params), fit(seed=7, **params)
    wanted = trained.decision_function(X)
    assert not np.array_equal(other.decision_function(X), wanted)
    assert other.offset_ != trained.offset_
    save_weights(trained, path)
    assert_array_equal(load_weights(other, path).decision_function(X), wanted)
    with pytest.raises(ExportError, match="score_function='local'.*more than weights"):
        save_weights(fit(cls=VAEOutlierDetector, score_function="local"), path)


def test_calibration_is_that_of_the_file(path):
    X = array()
    plain, calibrated = fit(calibrate=False), fit(seed=7)
    save_weights(plain, path)
    assert not np.array_equal(calibrated.score_samples(X), plain.score_samples(X))
    load_weights(calibrated, path)
    assert_array_equal(calibrated.score_samples(X), plain.score_samples(X))
    assert "loc" not in calibrated.vae_.prior._buffers
    wanted = fit().score_samples(X)
    assert not np.array_equal(plain.score_samples(X), wanted)
    save_weights(fit(), path)
    load_weights(plain, path)
    assert_array_equal(plain.score_samples(X), wanted)


def test_names_and_metadata_can_be_read(path):
    save_weights(fit(frame()), path)
    with safetensors.safe_open(path, "numpy") as file:
        names, metadata = set(file.keys()), file.metadata()
    expected = {"encoder.weight_0", "decoder.bias_1", "posterior.log_factor", "prior.loc"}
    expected |= {"likelihood.continuous.log_excess", "likelihood.count.log_total_count"}
    assert expected | {"codes.order", "codes.unit"} <= names
    assert not [name for name in names if name.startswith("network.") or "_block" in name]
    assert metadata["skvae_version"] == version
    columns = json.loads(metadata["columns"])
    assert columns["size"]["scale"] > 0
    assert columns["kind"]["categories"] == ["a", "b"]
    assert json.loads(metadata["params"])["n_components"] == "2"


OTHERS = {
    "components": (lambda: fit(n_components=3), "n_components=2.*n_components=3"),
    "layers": (lambda: fit(hidden_layer_sizes=(126, 64)), r"network=MLP\(\).*\(126, 64\)"),
    "prior": (lambda: fit(prior="mixture"), "prior=Aggregate.*prior=GaussianMixture"),
    "members": (lambda: fit(n_members=2), "n_members=1.*n_members=2"),
    "columns": (lambda: fit(frame()), r"columns \['x0'.*fitted to \['size'"),
    "units": (lambda: fit(2.0 * array()), "column 'x0' as .*units or categories differ"),
    "estimator": (
        lambda: fit(cls=VAEOutlierDetector, score_function="likelihood"),
        "of a VAETransformer, and this is a VAEOutlierDetector",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_weights_of_another_model_are_refused(name, path):
    save_weights(fit(), path)
    make, said = OTHERS[name]
    other = make()
    X = frame() if name == "columns" else array()
    before = other.score_samples(X)
    with pytest.raises(ExportError, match=said):
        load_weights(other, path)
    assert_array_equal(other.score_samples(X), before)


def rewritten(path, change):
    """The file with other arrays or metadata."""
    arrays = safetensors.numpy.load_file(path)
    with safetensors.safe_open(path, "numpy") as file:
        metadata = file.metadata()
    change(arrays, metadata)
    safetensors.numpy.save_file(arrays, path, metadata)


BROKEN = {
    "array lost": (lambda a, m: a.pop("encoder.weight_0"), "lack .'encoder.weight_0'"),
    "array more": (lambda a, m: a.update({"critic.w": np.ones(2)}), "also hold .'critic.w'"),
    "shape": (lambda a, m: a.update({"encoder.bias_0": np.ones((1, 1, 3))}), "encoder.bias_0"),
    "shape of axes": (lambda a, m: a.update({"codes.order": np.arange(7)}), "codes.order"),
    "axes lost": (lambda a, m: a.pop("codes.unit"), "codes.unit"),
    "no metadata": (lambda a, m: m.clear(), "no weights of skvae"),
    "half the metadata": (lambda a, m: m.pop("columns"), "'columns'"),
    "no JSON": (lambda a, m: m.update(model="{"), "'model'"),
}


def test_axes_are_those_of_the_file_turned_or_not(path):
    X = array()
    trained, other = fit(), fit(seed=3)
    for axes in (trained._axes, CodeAxes(np.array([1, 0]), np.array([2.0, -1.0]), np.ones(2))):
        trained._axes = axes
        save_weights(trained, path)
        load_weights(other, path)
        assert_array_equal(other.transform(X), trained.transform(X))
        assert (other._axes.directions is None) == (axes.directions is None)
    turned = other._axes = fit()._axes
    assert turned.directions is not None
    rewritten(path, lambda a, m: a.pop("codes.directions"))
    load_weights(other, path)
    assert_array_equal(other.transform(X), trained.transform(X))


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_told_apart(name, path):
    change, said = BROKEN[name]
    trained = fit()
    save_weights(trained, path)
    rewritten(path, change)
    with pytest.raises(ExportError, match=said):
        load_weights(trained, path)


def test_files_that_are_none(path):
    trained = fit()
    with pytest.raises(FileNotFoundError):
        load_weights(trained, path)
    for content in (b"", b"pickle", struct.pack("<Q", 2**40) + b"{}", b"\x80\x04."):
        path.write_bytes(content)
        with pytest.raises(ExportError, match="no whole file of safetensors"):
            load_weights(trained, path)


def test_half_a_file_is_no_file(path):
    trained = fit()
    save_weights(trained, path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ExportError, match="no whole file"):
        load_weights(trained, path)


def test_a_newer_version_is_refused(path):
    trained = fit()
    save_weights(trained, path)
    rewritten(path, lambda a, m: m.update(skvae_version="99.0"))
    with pytest.raises(VersionError, match="99"):
        load_weights(trained, path)


def test_a_failure_leaves_the_old_file(path, monkeypatch):
    save_weights(fit(), path)
    before = path.read_bytes()

    def fail(*args):
        raise OSError("No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="No space"):
        save_weights(fit(seed=3), path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]
