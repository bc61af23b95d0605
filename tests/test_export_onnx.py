"""Graphs of ONNX against the estimators that they were written from."""

import subprocess
import sys
import textwrap

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import gammaln
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
skl2onnx = pytest.importorskip("skl2onnx")

from onnx import numpy_helper  # noqa: E402

from skvae import VAEOutlierDetector, VAETransformer, networks  # noqa: E402
from skvae.exceptions import ExportError  # noqa: E402
from skvae.export import feeds, register_onnx_converters, to_onnx  # noqa: E402
from skvae.export.arrays import ACTIVATIONS  # noqa: E402
from skvae.export.columns import COLUMNS  # noqa: E402
from skvae.export.counts import log_gamma  # noqa: E402
from skvae.export.graph import Graph  # noqa: E402
from skvae.export.searching import interpolated, place_of  # noqa: E402
from skvae.likelihoods import (  # noqa: E402
    NegativeBinomial,
    Normal,
    ZeroInflatedPoisson,
)
from skvae.networks import Recurrent  # noqa: E402
from skvae.posteriors import Joint  # noqa: E402
from skvae.table.columns import ConstantColumn  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning")
N_ROWS = 120
TOLERANCE = 1e-5


def _codes(rng):
    return rng.normal(size=(N_ROWS, 2))


def _array():
    rng = np.random.default_rng(0)
    X = _codes(rng) @ rng.normal(size=(2, 5)) + 0.3 * rng.normal(size=(N_ROWS, 5))
    X[rng.random(X.shape) < 0.1] = np.nan
    return X


def _mixed():
    rng = np.random.default_rng(1)
    z = _codes(rng)
    levels = pd.Categorical(rng.choice(["lo", "mid", "hi"], N_ROWS), ["lo", "mid", "hi"], True)
    days = pd.to_timedelta(rng.integers(0, 900, N_ROWS), "D")
    X = pd.DataFrame(
        {
            "size": z[:, 0] + 0.3 * rng.normal(size=N_ROWS),
            "income": np.exp(1.5 * z[:, 1] + rng.normal(size=N_ROWS)),
            "visits": rng.negative_binomial(1, 0.4, N_ROWS),
            "flag": rng.random(N_ROWS) < 0.4,
            "colour of it": rng.choice(["red", "green", "blue"], N_ROWS),
            "level": levels,
            "code": pd.Categorical(rng.choice([3, 7, 11], N_ROWS)),
            "day": pd.Timestamp("2020-01-01") + days,
            "same": 1.5,
            "word": "one",
        }
    )
    for name in ("size", "income", "colour of it", "level", "code", "day", "word"):
        X.loc[rng.random(N_ROWS) < 0.1, name] = None
    return X


def _counts():
    rng = np.random.default_rng(2)
    rates = np.exp(0.5 * _codes(rng) @ rng.normal(size=(2, 6)) + 0.5)
    return pd.DataFrame(rng.poisson(rates), columns=list("abcdef"))


def _many_labels():
    rng = np.random.default_rng(3)
    names = [f"n{i:03d}" for i in range(300)]
    labels = rng.permutation(names + list(rng.choice(names[:20], 300)))
    return pd.DataFrame({"x": rng.normal(size=600), "name": pd.Categorical(labels)})


def _sized():
    """Rows of different sizes, with gaps."""
    rng = np.random.default_rng(4)
    shares = rng.dirichlet(np.ones(8), 2)[rng.integers(0, 2, N_ROWS)]
    X = rng.poisson(shares * np.exp(3.5 + 0.7 * rng.normal(size=(N_ROWS, 1)))).astype(float)
    X[rng.random(X.shape) < 0.05] = np.nan
    return X


TABLES = {
    "sizes": _sized(),
    "array": _array(),
    "float32": np.nan_to_num(_array()).astype(np.float32),
    "mixed": _mixed(),
    "counts": _counts(),
    "many labels": _many_labels(),
}
FITS = {
    "array": ("array", {}),
    "float32": ("float32", {"n_components": 9, "n_members": 2}),
    "mixed": ("mixed", {}),
    "counts": ("counts", {}),
    "many labels": ("many labels", {}),
    "members": ("mixed", {"n_members": 3, "margins": "rank"}),
    "rank": ("array", {"margins": "rank", "activation": "relu"}),
    "student": ("mixed", {"likelihood": "student_t", "prior": "mixture", "activation": "gelu"}),
    "normal mixture": ("array", {"likelihood": "normal_mixture", "activation": "tanh"}),
    "epanechnikov": ("array", {"posterior": "epanechnikov", "prior": "normal"}),
    "flow": ("float32", {"prior": "flow", "max_iter": 10}),
    "joint": ("mixed", {"posterior": Joint(3), "n_members": 2}),
    "vamp": ("array", {"prior": "vamp", "activation": "elu"}),
    "poisson": ("counts", {"likelihood": "poisson"}),
    "zeros": ("counts", {"likelihood": "zero_inflated_negative_binomial"}),
    "sizes": ("sizes", {"likelihood": NegativeBinomial(row_sizes=True)}),
    "sizes of few": ("sizes", {"likelihood": ZeroInflatedPoisson(row_sizes=True)}),
    "condition": ("mixed", {"condition": ["colour of it", "size"]}),
}


def table(name):
    return TABLES[name].copy()


@pytest.fixture(scope="module")
def fitted():
    kept = {}

    def fit(name):
        if name not in kept:
            which, params = FITS[name]
            params = {"n_components": 3, "max_iter": 3, "random_state": 0} | params
            kept[name] = VAETransformer(**params).fit(table(which))
        return kept[name], table(FITS[name][0])

    return fit


@pytest.fixture(scope="module")
def detector():
    return VAEOutlierDetector(3, max_iter=3, random_state=0).fit(_mixed()[:100])


def session(model):
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def run(model, X):
    """Outputs by name; ``X`` is a table, or the codes."""
    opened = session(model)
    names = [node.name for node in opened.get_outputs()]
    codes = opened.get_inputs()[0].name == "codes"
    inputs = {"codes": X} if codes else feeds(opened, X)
    return dict(zip(names, opened.run(None, inputs)))


def error(found, wanted):
    """Largest difference, in units of the number itself or of the spread of its column."""
    found, wanted = np.asarray(found, dtype=float), np.asarray(wanted, dtype=float)
    assert found.shape == wanted.shape
    assert_array_equal(np.isfinite(found), np.isfinite(wanted))
    spread = np.maximum(np.abs(wanted), np.nanstd(wanted, axis=0))
    apart = np.abs(found - wanted) / np.where(spread > 0, spread, 1.0)
    return np.nanmax(apart) if np.isfinite(apart).any() else 0.0


def assert_tables_agree(outputs, name, wanted):
    if isinstance(wanted, np.ndarray):
        assert error(outputs[name], wanted) < TOLERANCE
        return
    for column in wanted.columns:
        found, cells = outputs[f"{name}.{column}"][:, 0], wanted[column]
        if found.dtype == object:
            assert_array_equal(found, cells.astype(object).where(cells.notna(), ""))
        elif cells.dtype.kind == "M":
            seconds = cells.to_numpy("datetime64[s]").astype(float)
            assert_array_equal(found, seconds)
        else:
            assert error(found, cells.astype(float)) < TOLERANCE


def test_what_is_no_number_agrees_with_no_number():
    """Negative control: a graph that gives nothing."""
    assert error([1.0, np.nan], [1.0, np.nan]) == 0.0
    for found in ([np.nan, np.nan], [1.0, 2.0], [np.inf, np.nan]):
        with pytest.raises(AssertionError):
            error(found, [1.0, np.nan])


def test_every_activation_of_networks_is_known():
    assert ACTIVATIONS.keys() == networks.ACTIVATIONS.keys()


def test_tables_hold_columns_of_every_kind(fitted):
    found = {type(c).__name__ for name in FITS for c in fitted(name)[0].codec_.columns_}
    assert found == {kind.__name__ for kind in (*COLUMNS.known, ConstantColumn)}


@pytest.mark.parametrize("name", FITS)
def test_codes_scores_and_rows_agree(fitted, name):
    vae, X = fitted(name)
    found = run(to_onnx(vae, ["transform", "score_samples", "reconstruct"]), X)
    codes = vae.transform(X)
    # An axis along which next to nothing varies is a difference of latents that are rounded.
    assert error(found["transform"].ravel(), codes.ravel()) < TOLERANCE
    assert error(found["transform"], codes) < 10 * TOLERANCE
    assert error(found["score_samples"], vae.score_samples(X)) < TOLERANCE
    assert_tables_agree(found, "reconstruct", vae.reconstruct(X))


@pytest.mark.parametrize("name", ["array", "mixed", "rank", "counts"])
def test_codes_become_rows(fitted, name):
    vae, X = fitted(name)
    codes = vae.transform(X) * 3.0
    outputs = run(to_onnx(vae, "inverse_transform"), codes)
    assert_tables_agree(outputs, "inverse_transform", vae.inverse_transform(codes))


@pytest.mark.parametrize("name", ["mixed", "counts"])
def test_codes_far_out_become_the_same_rows_near_the_table(fitted, name):
    vae, X = fitted(name)
    codes = vae.transform(X) * 300.0
    found, wanted = run(to_onnx(vae, "inverse_transform"), codes), vae.inverse_transform(codes)
    reached = []
    for column in vae.codec_.columns_:
        if np.isfinite(column.ceiling):
            cells, seen = found[f"inverse_transform.{column.name}"], X[column.name]
            assert error(cells[:, 0], wanted[column.name].astype(float)) < TOLERANCE
            most = seen.max() + 0.5 * (seen.max() - seen.min())
            reached.append(cells.max() / (most if cells.dtype.kind == "f" else np.rint(most)))
    assert reached and max(reached) == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("name", ["array", "mixed", "members", "condition"])
def test_gaps_are_filled_alike(fitted, name):
    vae, X = fitted(name)
    assert_tables_agree(run(to_onnx(vae, "impute"), X[:30]), "impute", vae.impute(X[:30]))


@pytest.mark.parametrize("n_rows", [0, 1, 7])
def test_any_number_of_rows(fitted, n_rows):
    vae, X = fitted("mixed")
    model = to_onnx(vae, ["transform", "score_samples"])
    whole, part = run(model, X), run(model, X[:n_rows])
    for name in whole:
        assert part[name].shape == whole[name][:n_rows].shape
        assert_allclose(part[name], whole[name][:n_rows], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("opset", [13, 17, 22])
def test_operators_of_old_and_new_versions(fitted, opset):
    vae, X = fitted("mixed")
    model = to_onnx(vae, ["transform", "score_samples", "impute"], target_opset=opset)
    assert error(run(model, X)["score_samples"], vae.score_samples(X)) < TOLERANCE


def test_nothing_is_computed_twice(fitted):
    """Three methods begin with the same codes."""
    vae, _ = fitted("mixed")
    methods = ["transform", "score_samples", "reconstruct"]
    nodes = to_onnx(vae, methods).graph.node
    seen = [(n.op_type, *n.input, *map(str, n.attribute)) for n in nodes]
    assert len(seen) == len(set(seen))
    assert len(nodes) < sum(len(to_onnx(vae, name).graph.node) for name in methods)


def test_wrong_weights_are_found_out(fitted):
    """Negative control: one number of one layer is ten times as large."""
    vae, X = fitted("mixed")
    model = to_onnx(vae, ["transform", "score_samples"])
    weights = [t for t in model.graph.initializer if list(t.dims) == [128, 64]]
    array = numpy_helper.to_array(weights[0]).copy()
    place = np.unravel_index(np.abs(array).argmax(), array.shape)
    array[place] *= 10.0
    weights[0].CopyFrom(numpy_helper.from_array(array, weights[0].name))
    found = run(model, X)
    assert error(found["transform"], vae.transform(X)) > TOLERANCE
    assert error(found["score_samples"], vae.score_samples(X)) > TOLERANCE


def test_models_that_learned_of_targets():
    X, rng = table("mixed"), np.random.default_rng(0)
    size = X["size"].fillna(0.0).to_numpy()
    params = {"n_components": 2, "max_iter": 3, "random_state": 0}
    by_class = VAETransformer(**params, supervision="classes").fit(X, np.where(size > 0, "a", "b"))
    methods = ["predict", "predict_proba", "transform", "score_samples", "reconstruct"]
    found = run(to_onnx(by_class, methods), X)
    assert_array_equal(found["predict"], by_class.predict(X))
    for name in methods[1:4]:
        assert error(found[name], getattr(by_class, name)(X)) < TOLERANCE
    assert_tables_agree(found, "reconstruct", by_class.reconstruct(X))
    targets = np.c_[size, rng.normal(size=len(X))]
    by_number = VAETransformer(**params, supervision="properties", condition=["flag"])
    for y in (targets, size):
        predicted = by_number.fit(X, y).predict(X)
        assert error(run(to_onnx(by_number, "predict"), X)["predict"], predicted) < TOLERANCE


def test_the_default_score_of_detectors(detector):
    """Members of the training table and novelties, each judged in its way."""
    X = table("mixed")
    found = run(to_onnx(detector, ["decision_function", "predict", "score_samples"]), X)
    for rows in (slice(100), slice(100, None)):
        wanted = detector.score_samples(X[rows])
        assert error(found["score_samples"][rows], wanted) < TOLERANCE
    assert error(found["decision_function"], detector.decision_function(X)) < TOLERANCE
    assert_array_equal(found["predict"], detector.predict(X))
    # A row is known by its cells: moved by a hair, a member becomes a novelty.
    moved = X.assign(size=X["size"] + 1e-3)
    wanted = detector.score_samples(moved)
    assert error(run(to_onnx(detector, "score_samples"), moved)["score_samples"], wanted) < 1e-4
    assert np.abs(wanted - detector.score_samples(X))[:100].max() > 0.1


@pytest.mark.parametrize(
    "params",
    [
        {"score_function": "model"},
        {"score_function": "local", "novelty": True},
        {"score_function": "conditional"},
        {"score_function": "likelihood"},
        {"score_function": "elbo"},
        {"score_function": "elbo", "prior": "normal", "calibrate": False},
    ],
    ids=lambda params: " ".join(map(str, params.values())),
)
def test_other_scores_of_detectors(params):
    # Whole numbers: many rows are equal, or equally far from one another.
    X = np.rint(table("array"))
    found = VAEOutlierDetector(2, max_iter=3, random_state=0, **params).fit(X[:80])
    wanted = found.score_samples(X)
    assert error(run(to_onnx(found, "score_samples"), X)["score_samples"], wanted) < TOLERANCE


def test_what_raises_an_error_is_not_a_number(fitted):
    vae, X = fitted("mixed")
    methods = ["transform", "score_samples"]
    bad = X[:5].copy()
    bad["visits"] = bad["visits"].astype(float)
    bad["level"] = bad["level"].astype(object)
    bad.iloc[1, 0] = np.inf
    bad.iloc[2, 2] = -1.0
    bad.iloc[3, 4] = "violet"
    found = run(to_onnx(vae, methods), bad)
    for name in methods:
        refused = np.isnan(found[name].reshape(5, -1)).all(1)
        assert_array_equal(refused, [False, True, True, True, False])
        assert np.isfinite(found[name][[0, 4]]).all()


def test_unknown_categories_may_be_missing_cells():
    X = pd.DataFrame({"x": np.arange(40.0), "kind": list("ab") * 20})
    vae = VAETransformer(1, unknown="missing", max_iter=2, random_state=0).fit(X)
    new = X.assign(kind=["a", "c", None, ""] * 10)
    model = to_onnx(vae, ["transform", "score_samples"])
    found = run(model, new)
    assert error(found["score_samples"], vae.score_samples(new)) < TOLERANCE
    # Pandas may write a gap in several ways; without ``feeds`` strings come as they are.
    cells = new["x"].to_numpy()[:, None], np.array(["nan", "None", "", "<NA>"] * 10)[:, None]
    inputs = dict(zip(("x", "kind"), cells))
    scores = session(model).run(["score_samples"], inputs)[0]
    assert error(scores, vae.score_samples(new.assign(kind=None))) < TOLERANCE


def test_an_empty_string_can_be_a_category():
    X = pd.DataFrame({"x": np.arange(60.0), "kind": ["a", "", None] * 20})
    vae = VAETransformer(1, max_iter=2, random_state=0).fit(X)
    found = run(to_onnx(vae, ["transform"]), X)["transform"]
    assert error(found, vae.transform(X)) < TOLERANCE
    assert abs(found[1] - found[2]) > 1e-3


def test_in_a_pipeline_between_scikit_learn():
    register_onnx_converters()
    X, y = table("array"), table("array")[:, 0] > 0
    for dtype, opset in ((np.float32, 13), (np.float64, 18), (np.float32, 21)):
        rows = X.astype(dtype)
        vae = VAETransformer(3, max_iter=3, random_state=0)
        model = make_pipeline(StandardScaler(), vae, LogisticRegression()).fit(rows, y)
        options = {"target_opset": opset, "options": {"zipmap": False}}
        labels, shares = session(skl2onnx.to_onnx(model, rows[:1], **options)).run(
            None, {"X": rows}
        )
        assert_array_equal(labels, model.predict(rows))
        assert error(shares, model.predict_proba(rows)) < TOLERANCE


def test_in_a_column_transformer_with_labels():
    register_onnx_converters()
    X = table("mixed").drop(columns=["day", "same", "word", "code", "level"])
    X = X.rename(columns={"colour of it": "colour"})
    X["income"] = X["income"].fillna(1.0)
    ours = ["size", "visits", "flag", "colour"]
    vae = VAETransformer(2, max_iter=3, random_state=0)
    columns = ColumnTransformer([("vae", vae, ours), ("log", StandardScaler(), ["income"])])
    model = make_pipeline(columns, LogisticRegression()).fit(X, X["flag"])
    graph = skl2onnx.to_onnx(
        model, X[:1].assign(colour="red"), target_opset=18, options={"zipmap": False}
    )
    opened = session(graph)
    labels, shares = opened.run(None, feeds(opened, X))
    assert_array_equal(labels, model.predict(X))
    assert error(shares, model.predict_proba(X)) < TOLERANCE


def test_a_detector_in_a_pipeline():
    register_onnx_converters()
    X = table("float32")
    model = make_pipeline(StandardScaler(), VAEOutlierDetector(2, max_iter=3, random_state=0))
    model.fit(X)
    labels, decision = session(skl2onnx.to_onnx(model, X[:1], target_opset=18)).run(None, {"X": X})
    assert_array_equal(labels.ravel(), model.predict(X))
    assert error(decision.ravel(), model.decision_function(X)) < TOLERANCE


def test_a_process_without_torch(fitted, detector, tmp_path):
    """Saved graphs of a pipeline and of all kinds of columns, read by onnxruntime alone."""
    register_onnx_converters()
    vae, X = fitted("mixed")
    rows = table("array").astype(np.float32)
    steps = StandardScaler(), VAETransformer(2, max_iter=3, random_state=0), LogisticRegression()
    pipeline = make_pipeline(*steps).fit(rows, rows[:, 0] > 0)
    to_onnx(vae, ["transform", "score_samples"], tmp_path / "vae.onnx")
    to_onnx(detector, "decision_function", tmp_path / "detector.onnx")
    graph = skl2onnx.to_onnx(pipeline, rows[:1], options={"zipmap": False}, target_opset=18)
    (tmp_path / "pipeline.onnx").write_bytes(graph.SerializeToString())
    X.to_pickle(tmp_path / "X.pkl")
    np.save(tmp_path / "rows.npy", rows)
    code = """
        import sys
        sys.modules["torch"] = None
        import numpy as np, onnxruntime, pandas as pd
        from skvae.export import feeds
        X, rows = pd.read_pickle("X.pkl"), np.load("rows.npy")
        found = {}
        for name, table in (("vae", X), ("detector", X), ("pipeline", rows)):
            session = onnxruntime.InferenceSession(f"{name}.onnx")
            outputs = [node.name for node in session.get_outputs()]
            values = session.run(None, feeds(session, table))
            found |= {f"{name}_{k}": v for k, v in zip(outputs, values)}
        np.savez("found.npz", **found)
        assert "skvae.vae" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], cwd=tmp_path, check=True)
    found = np.load(tmp_path / "found.npz")
    assert error(found["vae_transform"], vae.transform(X)) < TOLERANCE
    assert error(found["vae_score_samples"], vae.score_samples(X)) < TOLERANCE
    wanted = detector.decision_function(X)
    assert error(found["detector_decision_function"], wanted) < TOLERANCE
    assert error(found["pipeline_probabilities"], pipeline.predict_proba(rows)) < TOLERANCE


def test_feeds_of_any_frame_leave_it_as_it_is():
    dates = pd.Series(np.array(["2024-02-29", "3000-01-01", "NaT"] * 20, "datetime64[s]"))
    X = pd.DataFrame({0: dates, 1: np.arange(60), 2: ["a", None, "b"] * 20})
    vae = VAETransformer(1, max_iter=1, random_state=0).fit(X)
    found = feeds(session(to_onnx(vae)), X)
    assert X.columns.tolist() == [0, 1, 2]
    seconds = dates.to_numpy().astype("datetime64[s]").astype(float)
    assert_array_equal(found["0"][:, 0], np.where(dates.isna(), np.nan, seconds))
    assert error(run(to_onnx(vae), X)["transform"], vae.transform(X)) < TOLERANCE


def test_feeds_of_polars():
    pl = pytest.importorskip("polars")
    for X in (
        pl.DataFrame({"x": [1.0, None, 3.0] * 20, "kind": ["u", "w", None] * 20}),
        pl.DataFrame({"x": [1.0, 2.0, 3.0] * 20, "y": [1, 5, 2] * 20}),
    ):
        vae = VAETransformer(1, max_iter=1, random_state=0).fit(X)
        assert error(run(to_onnx(vae), X)["transform"], vae.transform(X)) < TOLERANCE


def test_a_light_import():
    code = (
        "import sys, skvae.export\n"
        "print(*({m.split('.')[0] for m in sys.modules} & {'torch', 'onnx', 'skl2onnx'}))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []


class Bent(Normal):
    """A likelihood of somebody else."""


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"network": Recurrent((5, 1))}, "network Recurrent.*MLP"),
        ({"likelihood": Bent()}, "likelihood Bent.*Normal, StudentT"),
        ({"prior": "autoregressive"}, "prior NormalChain.*StandardNormal, NormalMixture"),
    ],
    ids=["network", "likelihood", "prior"],
)
def test_what_cannot_be_exported_says_what_can(params, said):
    vae = VAETransformer(2, max_iter=1, random_state=0, **params).fit(table("float32"))
    with pytest.raises(ExportError, match=said):
        to_onnx(vae, "score_samples")


def test_points_have_codes_and_no_scores():
    X = table("float32")
    points = VAETransformer(2, posterior="deterministic", max_iter=1, random_state=0).fit(X)
    assert error(run(to_onnx(points), X)["transform"], points.transform(X)) < TOLERANCE
    with pytest.raises(ValueError, match="needs a density over codes"):
        to_onnx(points, "score_samples")


def test_errors(fitted, tmp_path):
    vae, _ = fitted("array")
    with pytest.raises(ExportError, match="gaps by the size of their row"):
        to_onnx(fitted("sizes")[0], "impute")
    with pytest.raises(ExportError, match="expects methods of VAETransformer.*'transform'"):
        to_onnx(vae, ["transform", "sample"])
    with pytest.raises(ValueError, match="from 13 to 22, got 12"):
        to_onnx(vae, target_opset=12)
    with pytest.raises(ExportError, match="supervision=None"):
        to_onnx(vae, "predict")
    with pytest.raises(ExportError, match="estimator StandardScaler.*VAETransformer"):
        to_onnx(StandardScaler().fit(table("float32")))
    with pytest.raises(FileNotFoundError):
        to_onnx(vae, path=tmp_path / "nowhere" / "vae.onnx")
    mixed, X = fitted("mixed")
    with pytest.raises(ValueError, match=r"\['size'\] are not there"):
        feeds(session(to_onnx(mixed)), X.drop(columns="size"))


def test_names_of_columns_may_be_any_but_those_of_methods():
    X = pd.DataFrame({"Add_3": np.arange(30.0), "constant_1": list("ab") * 15})
    vae = VAETransformer(1, max_iter=1, random_state=0).fit(X)
    assert error(run(to_onnx(vae), X)["transform"], vae.transform(X)) < TOLERANCE
    vae = VAETransformer(1, max_iter=1, random_state=0).fit(
        X.set_axis(["transform", "codes"], axis=1)
    )
    with pytest.raises(ExportError, match="'transform'"):
        to_onnx(vae, "transform")
    with pytest.raises(ExportError, match="'codes'"):
        to_onnx(vae, ["score_samples", "inverse_transform"])
    assert to_onnx(vae, "score_samples").graph.output[0].name == "score_samples"


def test_the_estimator_stays_as_it_is(fitted):
    vae, X = fitted("members")
    before = vae.score_samples(X)
    to_onnx(vae, ["transform", "score_samples", "impute"])
    assert_array_equal(vae.score_samples(X), before)
    assert vae.vae_.n_members == 3


def test_logarithm_of_the_gamma_function():
    x = np.r_[1e-3, 0.5, np.arange(1.0, 40.0), 1e3, 1e6, 1e9][:, None]
    found = evaluated(log_gamma, x)
    assert_allclose(found, gammaln(x), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("n_knots", [1, 2, 64, 65, 1000])
def test_places_among_knots(n_knots):
    rng = np.random.default_rng(n_knots)
    knots, heights = (np.sort(rng.normal(size=n_knots)) for _ in range(2))
    x = np.r_[rng.normal(size=50), knots, -9.0, 9.0][:, None]
    for right, side in ((False, "left"), (True, "right")):
        found = evaluated(lambda v: place_of(v, knots, right), x)  # noqa: B023
        assert_array_equal(found, np.searchsorted(knots, x[:, 0], side))
    found = evaluated(lambda v: interpolated(v, knots, heights), x)
    assert_allclose(found, np.interp(x, knots, heights), rtol=1e-12, atol=1e-12)


def evaluated(function, x):
    """What a piece of a graph gives of float64 numbers."""
    from onnx import helper

    graph = Graph(18)
    result = function(graph.input("x", np.float64, x.shape[1]))
    graph.output("y", result, *([1] if result.dtype is not np.int64 else []))
    parts = graph.nodes, "piece", graph.inputs, graph.outputs, graph.used_constants()
    opsets = [helper.make_opsetid("", 18)]
    version = helper.find_min_ir_version_for(opsets)
    model = helper.make_model(helper.make_graph(*parts), opset_imports=opsets, ir_version=version)
    return session(model).run(None, {"x": x})[0]
