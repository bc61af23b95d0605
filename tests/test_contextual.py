"""Detectors that judge rows given some of their columns: identities, planted rows, controls."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.impute import SimpleImputer
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from test_variants_conditions import (
    GIVEN,
    LINEAR,
    LOADINGS,
    NOISE,
    SLOPES,
    apart,
    linear_table,
    log_density,
)

from skvae import VAEOutlierDetector, VAETransformer
from skvae.exceptions import ExportError
from skvae.model_selection import StackedGridSearchCV
from skvae.scores import SCORES, ConditionalScore

pytestmark = [
    pytest.mark.filterwarnings("error"),
    pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning"),
    pytest.mark.filterwarnings("ignore::skvae.exceptions.UnusedLatentsWarning"),
]
ALL_SCORES = sorted(SCORES)
N_KINDS, N_RARE, N_NUISANCES = 4, 12, 8
CENTRES = 0.5 * np.array([[3, 0, -2], [-3, 2, 0], [0, -3, 2], [2, 3, 3], [-2, 0, -3]])
NAMES = ["kind", *(f"known{j}" for j in range(N_NUISANCES)), "a", "b", "d"]
CONDITION = NAMES[: 1 + N_NUISANCES]


def detector(**params):
    defaults = {"n_components": 2, "condition": CONDITION, "max_iter": 25, "random_state": 0}
    return VAEOutlierDetector(**(defaults | params))


def of_contexts(kind, seed):
    """Rows whose centre is that of their kind, beside columns with tails that explain nothing."""
    rng, n = np.random.default_rng(seed), len(kind)
    known = np.exp(1.5 * rng.normal(size=(n, N_NUISANCES)))
    code = 0.4 * rng.normal(size=(n, 1)) * np.array([1.0, 0.5, -1.0])
    rest = CENTRES[kind] + code + 0.3 * rng.normal(size=(n, 3))
    return frame_of(kind, known, rest)


def frame_of(kind, known, rest):
    X = pd.DataFrame(np.hstack([known, rest]), columns=NAMES[1:])
    letters = list("abcde")[: len(CENTRES)]
    return X.assign(kind=pd.Categorical.from_codes(kind, letters))[NAMES]


def training_rows():
    kind = np.random.default_rng(0).integers(N_KINDS, size=700)
    kind[:N_RARE] = N_KINDS
    return of_contexts(kind, seed=0)


def judged_rows():
    """Ordinary rows, and the rests of the same rows beside the conditions of others."""
    kind = np.random.default_rng(1).integers(N_KINDS, size=400)
    new = of_contexts(kind, seed=1)
    odd = new.copy()
    odd[NAMES[-3:]] = of_contexts((kind + 1) % N_KINDS, seed=2)[NAMES[-3:]].to_numpy()
    return new, odd


def rare_rows():
    """Ordinary for their kind, which is one in 60."""
    return of_contexts(np.full(100, N_KINDS), seed=3)


def auroc(found, new, odd):
    scores = -np.r_[found.score_samples(new), found.score_samples(odd)]
    return roc_auc_score(np.repeat([0, 1], [len(new), len(odd)]), scores)


@pytest.fixture(scope="module")
def fitted():
    kept = {}

    def fit(score_function, condition=CONDITION):
        key = score_function, condition is None
        if key not in kept:
            found = detector(score_function=score_function, condition=condition)
            kept[key] = found.fit(training_rows())
        return kept[key]

    return fit


@pytest.fixture(scope="module")
def linear():
    return {
        name: detector(score_function=name, condition=GIVEN, **LINEAR).fit(linear_table())
        for name in ("likelihood", "local")
    }


# ------------------------------------------------------------------------------------- exactly


def test_the_likelihood_is_that_of_the_transformer_and_of_the_closed_form(linear):
    X, new = linear_table(), linear_table(400, seed=1)
    vae = VAETransformer(2, condition=GIVEN, random_state=0, **LINEAR).fit(X)
    assert_array_equal(linear["likelihood"].score_samples(new), vae.score_samples(new))
    exact = log_density(new)
    scores = linear["likelihood"].score_samples(new)
    assert abs(scores.mean() - exact.mean()) < 0.1
    assert np.corrcoef(scores, exact)[0, 1] > 0.95
    # What a model of all columns gives is another number.
    blind = clone(linear["likelihood"]).set_params(condition=None).fit(X).score_samples(new)
    assert abs(blind.mean() - exact.mean()) > 1.0


def test_cells_are_compared_by_what_conditions_leave_of_them(linear):
    """(cell - what the conditions let expect) / its spread, up to a shift that all rows share."""
    found, X = linear["local"], linear_table(300, seed=2)
    cells = found._compared_cells(found._encode(X)).astype(float)
    rest, conditions = apart(X)
    design = np.c_[conditions, np.ones(len(X))]
    for j in range(5):
        fit, *_ = np.linalg.lstsq(np.c_[rest[:, j], design], cells[:, j], rcond=None)
        assert_allclose(np.c_[rest[:, j], design] @ fit, cells[:, j], atol=1e-3)
        spread = np.sqrt((LOADINGS[:, j] ** 2).sum() + NOISE**2)
        # Few draws of the codes tell the spread to a quarter.
        assert_allclose(fit[0] * spread, 1.0, atol=0.4)
        assert_allclose(-fit[1:3] / fit[0], SLOPES[:, j], atol=0.25)


@pytest.mark.parametrize("name", ["likelihood", "local"])
def test_rows_that_move_with_their_conditions_keep_their_scores(linear, name):
    X, found = linear_table(100, seed=3), linear[name]
    vae, scale = found.vae_, np.exp(found.codec_.log_scale_)
    moved = X.copy()
    moved[:, GIVEN] += [0.5, -0.3]
    # The slopes of the model itself.
    at = [found._compared_cells(found._encode(rows)) for rows in (X, moved)]
    rest = [i for i in range(7) if i not in GIVEN]
    units = _slope_of_cells(found, X)
    moved[:, rest] += (at[0] - at[1]) / units
    assert np.abs(moved[:, rest] - X[:, rest]).max() > 0.3 and vae.n_conditions == 2
    assert_allclose(found.score_samples(moved), found.score_samples(X), atol=0.05)
    only_moved = X.copy()
    only_moved[:, GIVEN] += [0.5, -0.3]
    assert np.abs(found.score_samples(only_moved) - found.score_samples(X)).max() > 0.3
    assert len(scale) == 5


def _slope_of_cells(found, X):
    rest = [i for i in range(7) if i not in GIVEN]
    more = X.copy()
    more[:, rest] += 1.0
    at = [found._compared_cells(found._encode(rows)) for rows in (X, more)]
    return at[1] - at[0]


def test_each_cell_is_given_the_others_and_the_conditions():
    X, new = linear_table(800), linear_table(300, seed=1)
    found = detector(score_function="conditional", condition=GIVEN).fit(X)
    cells = found.score_.cells(found, new)
    assert_array_equal(cells[:, GIVEN], 0.0)
    precision = np.linalg.inv(LOADINGS.T @ LOADINGS + NOISE**2 * np.eye(5))
    rest, conditions = apart(new)
    residual = (rest - 3.0 - conditions @ SLOPES) @ precision / np.diag(precision)
    exact = 0.5 * np.log(np.diag(precision) / (2 * np.pi)) - 0.5 * residual**2 * np.diag(precision)
    mine = apart(cells)[0]
    assert np.abs(mine.mean(0) - exact.mean(0)).max() < 0.25
    assert np.corrcoef(mine.ravel(), exact.ravel())[0, 1] > 0.85
    shuffled = new.copy()
    shuffled[:, GIVEN] = conditions[::-1]
    assert found.score_.cells(found, shuffled).sum(1).mean() < mine.sum(1).mean() - 3.0


# ------------------------------------------------------------------------------------- planted


@pytest.mark.parametrize("name", ALL_SCORES)
def test_rows_that_are_odd_for_their_context_are_found(fitted, name):
    new, odd = judged_rows()
    assert auroc(fitted(name), pd.concat([new[:100], rare_rows()]), odd) > 0.98


@pytest.mark.parametrize("name", ["elbo", "likelihood"])
def test_what_is_odd_of_the_conditions_hides_them_without(fitted, name):
    new, odd = judged_rows()
    assert auroc(fitted(name, None), pd.concat([new[:100], rare_rows()]), odd) < 0.75


def test_without_the_conditions_they_are_as_any_other():
    rest = NAMES[-3:]
    blind = detector(condition=None, score_function="likelihood").fit(training_rows()[rest])
    new, odd = judged_rows()
    assert 0.4 < auroc(blind, new[rest], odd[rest]) < 0.6


@pytest.mark.parametrize("name", ALL_SCORES)
def test_a_rare_context_is_no_outlier(fitted, name):
    flagged = [np.mean(fitted(name).predict(rows) < 0) for rows in (rare_rows(), judged_rows()[0])]
    assert flagged[0] < 0.12 and flagged[1] < 0.08


@pytest.mark.parametrize("name", ["auto", "likelihood"])
def test_without_conditions_it_lies_below_the_others(fitted, name):
    common, rare = judged_rows()[0], rare_rows()
    assert auroc(fitted(name, None), common, rare) > 0.8
    assert auroc(fitted(name), common, rare) < 0.75


# --------------------------------------------------------------------------------- as any score


@pytest.mark.parametrize("name", ALL_SCORES)
def test_a_row_is_scored_alike_in_any_company_and_out_of_a_pickle(fitted, name):
    found, (new, _) = fitted(name), judged_rows()
    scores = found.score_samples(new)
    assert_array_equal(found.score_samples(new[7:9]), scores[7:9])
    assert_array_equal(pickle.loads(pickle.dumps(found)).score_samples(new), scores)
    assert_array_equal(found.decision_function(new), scores - found.offset_)


def test_training_rows_are_known_by_all_their_cells(fitted):
    """As members, not by what their conditions leave of them."""
    found, X = fitted("local"), training_rows()[:50]
    moved = X.assign(known0=X["known0"] * (1.0 + 1e-3))
    assert np.abs(found.score_samples(moved) - found.score_samples(X)).max() > 0.1
    cells = [found._compared_cells(found._encode(rows)) for rows in (X, moved)]
    assert_allclose(cells[0], cells[1], atol=0.05)


@pytest.mark.parametrize("name", ["conditional", "elbo", "likelihood"])
def test_explanations_are_of_the_other_columns(fitted, name):
    found, (new, odd) = fitted(name), judged_rows()
    X = pd.concat([new[:30], odd[:30]], ignore_index=True)
    told = found.explain(X)
    assert list(told)[: len(NAMES)] == NAMES
    assert (told[CONDITION] == 0.0).all(axis=None)
    assert_array_equal(found.typical_cells_[: len(CONDITION)], 0.0)
    total = (told + found.typical_cells_).sum(axis=1)
    assert_allclose(total, found.score_samples(X), rtol=1e-5, atol=1e-3)
    assert told.iloc[30:].sum(axis=1).mean() < told.iloc[:30].sum(axis=1).mean() - 3.0


def test_cells_of_a_rare_context_are_explained_by_it():
    rng = np.random.default_rng(0)
    kind = rng.choice(3, 1500, p=[0.7, 0.285, 0.015])
    columns = [np.array([0.0, 2.0, 14.0])[kind], np.array([4.0, -4.0, 0.0])[kind]]
    X = pd.DataFrame(np.column_stack(columns) + rng.normal(size=(1500, 2)), columns=["a", "b"])
    X["kind"] = pd.Categorical.from_codes(kind, list("xyz"))
    blamed = []
    # Rows that are unlikely before it is known what goes with their kind are not left out.
    for score in ("auto", ConditionalScore(trim=0.05)):
        found = detector(condition="kind", n_components=1, max_iter=10, score_function=score)
        blamed.append(found.fit(X).explain(X[kind == 2])["a"].median())
    assert blamed[0] > -3 > -8 > blamed[1]


@pytest.mark.parametrize("name", ["conditional", "likelihood"])
def test_the_wrong_cell_is_named_and_repaired_as_its_context_asks(fitted, name):
    found, right = fitted(name), judged_rows()[0][:40]
    wrong = right.assign(a=CENTRES[(right["kind"].cat.codes + 1) % N_KINDS, 0])
    far = np.abs(wrong["a"] - right["a"]) > 1.25
    wrong, right = (rows[far].reset_index(drop=True) for rows in (wrong, right))
    told, normal = found.explain(wrong, return_normal=True)
    assert (told[NAMES].idxmin(axis=1) == "a").mean() > 0.8
    pd.testing.assert_frame_equal(normal[CONDITION], wrong[CONDITION])
    repaired, changed = found.repair(wrong)
    pd.testing.assert_frame_equal(repaired[CONDITION], wrong[CONDITION])
    assert not changed[CONDITION].any(axis=None)
    off = [np.abs(rows["a"] - right["a"]).median() for rows in (wrong, repaired)]
    assert off[1] < 0.5 * off[0]


def test_missing_and_unseen_conditions_are_as_the_transformer_has_them():
    X = training_rows()[:300]
    X.loc[::7, "kind"] = None
    X["group"] = X.pop("kind").astype(object).where(X.index % 7 > 0, None)
    params = {"n_components": 2, "condition": ["group", "known0"], "max_iter": 3}
    params |= {"unknown": "missing", "random_state": 0}
    vae = VAETransformer(**params).fit(X)
    found = VAEOutlierDetector(score_function="likelihood", **params).fit(X)
    new = X[:20].assign(group="never seen", known0=np.nan)
    for rows in (X[:20], new, new.assign(group=None), X[:20].assign(a=np.nan)):
        assert_array_equal(found.score_samples(rows), vae.score_samples(rows))
    for name in ("auto", "conditional"):
        other = clone(found).set_params(score_function=name).fit(X)
        unseen, missing = (other.score_samples(rows) for rows in (new, new.assign(group=None)))
        assert_array_equal(unseen, missing)
        assert np.isfinite(unseen).all() and np.abs(unseen - other.score_samples(X[:20])).max() > 0
    with pytest.raises(ValueError, match="never seen"):
        clone(found).set_params(unknown="error").fit(X).score_samples(new)


def test_a_missing_cell_differs_by_nothing(fitted):
    found = fitted("local")
    holes = judged_rows()[0][:5].assign(a=np.nan)
    cells = found._compared_cells(found._encode(holes))
    place = found.codec_.modelled_names_.index("a")
    assert_array_equal(cells[:, place], 0.0)
    assert np.abs(np.delete(cells, place, 1)).min() > 0.0


@pytest.mark.parametrize(
    "params",
    [
        {"likelihood": "student_t", "n_members": 2},
        {"likelihood": "normal_mixture"},
        {"margins": "rank"},
        {"prior": "vamp"},
        {"posterior": "vector_quantized", "score_function": "local"},
        {"posterior": "deterministic", "score_function": "local"},
        {"posterior": "joint"},
    ],
    ids=str,
)
def test_other_parts_and_kinds_of_columns(params):
    rng = np.random.default_rng(0)
    X = training_rows()[:200][["kind", "known0", "a", "b"]]
    X = X.assign(flag=X["a"] > 0, number=rng.poisson(3, 200), word=rng.choice(["x", "y"], 200))
    found = detector(condition=["kind", "word"], max_iter=2, **params).fit(X)
    scores = found.score_samples(X)
    assert np.isfinite(scores).all() and len(np.unique(scores)) > 100
    assert_array_equal(found.score_samples(X[50:60]), scores[50:60])


# ------------------------------------------------------------------------------ beside others


def test_positions_behind_other_steps_and_searches_over_scores():
    X = linear_table(60)
    X[::9, 0] = np.nan
    model = detector(condition=GIVEN, max_iter=1, score_function="likelihood")
    pipe = make_pipeline(SimpleImputer(), model).fit(X)
    assert_array_equal(pipe[-1].codec_.condition_index_, GIVEN)
    assert pipe.score_samples(X).shape == (60,)
    space = {
        "vaeoutlierdetector__score_function": ["likelihood", "local"],
        "vaeoutlierdetector__condition": [[1], GIVEN],
    }
    searches = [
        search(make_pipeline(SimpleImputer(), model), space, cv=2).fit(X)
        for search in (GridSearchCV, StackedGridSearchCV)
    ]
    found = [search.cv_results_["mean_test_score"] for search in searches]
    assert_array_equal(*found)
    assert np.isfinite(found[0]).all()
    # The score of a model is its likelihood, whatever the rows are judged by.
    assert found[0][0] == found[0][1] != found[0][2] == found[0][3]


def test_promises_trim_and_probabilities():
    X, (new, odd) = training_rows(), judged_rows()
    found = detector(score_function="likelihood", conformal=0.3, trim=0.05, contamination=0.02)
    found.fit(X)
    p = found.p_values(new)
    assert 0.3 < p.mean() < 0.7 and found.p_values(odd).mean() < 0.05
    assert found.select(pd.concat([new, odd[:100]]))[len(new) :].mean() > 0.8
    assert found.outlier_probability(odd).mean() > 0.8 > found.outlier_probability(new).mean()
    folds = detector(score_function="local", conformal=2, max_iter=2).fit(X)
    assert folds.p_values(new).shape == (len(new),)


def test_tables_beyond_memory_are_judged_alike(tmp_path):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    X = training_rows()
    pq.write_table(pa.Table.from_pandas(X, preserve_index=False), tmp_path / "X.parquet")
    whole = detector(max_iter=2, score_function="local").fit(X)
    path = str(tmp_path / "X.parquet")
    streamed = clone(whole).fit(path)
    assert_array_equal(whole.score_samples(path), whole.score_samples(X))
    assert streamed.codec_.condition_index_ == whole.codec_.condition_index_
    assert np.isfinite(streamed.score_samples(path)).all()


@pytest.mark.parametrize("name", ALL_SCORES)
def test_graphs_of_scores_agree_or_are_refused(fitted, name):
    pytest.importorskip("onnx")
    ort = pytest.importorskip("onnxruntime")
    from skvae.export import feeds, to_onnx

    found, (new, _) = fitted(name), judged_rows()
    if name in ("auto", "local", "model"):
        with pytest.raises(ExportError, match="Use score_function='conditional', 'likelihood'"):
            to_onnx(found, "score_samples")
        return
    graph = to_onnx(found, "score_samples").SerializeToString()
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    (scores,) = session.run(None, feeds(session, new))
    assert_allclose(scores, found.score_samples(new), rtol=1e-4, atol=1e-3)
    # Beside other conditions they are others.
    (others,) = session.run(None, feeds(session, new.assign(kind=new["kind"].to_numpy()[::-1])))
    assert np.abs(others - scores).max() > 1.0


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (["zz"], "condition holds the column 'zz'; expected among 'kind'"),
        (NAMES, "leaves none to model"),
        ([], "at least one"),
    ],
)
def test_bad_conditions(condition, message):
    with pytest.raises(ValueError, match=message):
        detector(condition=condition, max_iter=1).fit(training_rows()[:60])
