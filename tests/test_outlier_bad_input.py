"""Detectors on bad and extreme tables, whatever the score: the right answer or a clear error."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skvae import VAEOutlierDetector
from skvae.cellwise import fitting
from skvae.scores import SCORES

pytestmark = [
    pytest.mark.filterwarnings("error"),
    pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning"),
]
ALL = pytest.mark.parametrize("score", SCORES)
NAN = np.nan
rng = np.random.default_rng(0)
GOOD = rng.normal(size=(60, 3)) @ rng.normal(size=(3, 4)) + 0.3 * rng.normal(size=(60, 4))
HOLES = rng.random(GOOD.shape)
FAR = GOOD[:1] + 20 * GOOD.std(axis=0)
FRAME = pd.DataFrame(GOOD, columns=list("abcd")).assign(
    kind=rng.choice(["x", "y", "z"], 60), flag=rng.random(60) < 0.5
)


@pytest.fixture(autouse=True)
def short_training_of_the_conditional_model(monkeypatch):
    monkeypatch.setattr(fitting, "N_EPOCHS", 2)
    monkeypatch.setattr(fitting, "STEPS_PER_EPOCH", 6)


def where(cells, value, X=GOOD):
    X = X.copy()
    X[cells] = value
    return X


def make(score, **params):
    return VAEOutlierDetector(
        **{"score_function": score, "max_iter": 3, "random_state": 0} | params
    )


@pytest.fixture(scope="module")
def models():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "N_EPOCHS", 2)
        patch.setattr(fitting, "STEPS_PER_EPOCH", 6)
        tables = {"array": GOOD, "frame": FRAME}
        yield {(s, name): make(s).fit(X) for s in SCORES for name, X in tables.items()}


# ----------------------------------------------------------------------------- right answers

# A table to train on, and a row that is unlike any of it.
UNLIKE = {
    "two rows": (GOOD[:2], FAR),
    "fewer rows than neighbours": (GOOD[:4], FAR),
    "as many rows as neighbours": (GOOD[:5], FAR),
    "two distinct rows": (np.repeat(GOOD[:2], 20, axis=0), FAR),
    "mostly one row": (np.r_[np.repeat(GOOD[:1], 50, axis=0), GOOD[1:10]], FAR),
    "one column constant": (where(np.s_[:, 1], 7.0), where(np.s_[:, 1], 7.0, FAR)),
    "three columns constant": (where(np.s_[:, :3], 7.0), where(np.s_[:, :3], 7.0, FAR)),
    "one column": (GOOD[:, :1], FAR[:, :1]),
    "identical columns": (np.repeat(GOOD[:, :1], 4, axis=1), np.repeat(FAR[:, :1], 4, axis=1)),
    "all-missing column": (where(np.s_[:, 1], NAN), FAR),
    "all-missing row": (where(np.s_[3], NAN), FAR),
    "a third of the cells missing": (where(HOLES < 0.3, NAN), FAR),
    "a unit of 1e300": (GOOD * [1e300, 1, 1, 1], FAR * [1e300, 1, 1, 1]),
    "frame": (FRAME, FRAME[:1].assign(a=50.0, c=-50.0)),
}


@ALL
@pytest.mark.parametrize("name", UNLIKE)
def test_a_row_unlike_all_others_is_an_outlier(name, score):
    X, odd = UNLIKE[name]
    detector = make(score).fit(X)
    scores = detector.score_samples(X)
    assert scores.shape == (len(X),) and np.isfinite(scores).all()
    assert np.isfinite(detector.offset_) and set(detector.predict(X)) <= {-1, 1}
    found = detector.score_samples(odd)[0]
    assert np.isfinite(found) and found < scores.min() and detector.predict(odd) == [-1]
    # A score that sees nothing would say the same of a row as of that row.
    assert detector.predict(X[:1]) != [-1]


@ALL
def test_rows_that_are_equal_score_equally(score):
    X = np.repeat(GOOD[:4], 10, axis=0)
    scores = make(score).fit(X).score_samples(X).reshape(4, 10)
    assert_array_equal(scores, np.repeat(scores[:, :1], 10, axis=1))
    assert len(np.unique(scores[:, 0])) > 1


@ALL
def test_a_constant_column_counts_where_it_has_another_value(score):
    """A row is judged by the others, and by that value as the rule of succession says."""
    X = np.c_[GOOD, np.full(60, 3.0)]
    one, other = make(score).fit(X), make(score).fit(GOOD)
    assert_allclose(one.score_samples(X), other.score_samples(GOOD), rtol=1e-6)
    X[:, 4] = 70.0
    expected = other.decision_function(GOOD) - np.log(len(GOOD) + 1)
    assert_allclose(one.decision_function(X), expected, rtol=1e-6, atol=1e-6)


@ALL
@pytest.mark.parametrize("value", [1e30, -1e300, 1e300])
def test_a_huge_cell_in_a_new_row(score, value, models):
    detector, X = models[score, "array"], where((3, 0), value)
    expected, scores = detector.score_samples(GOOD), detector.score_samples(X)
    assert np.isfinite(scores).all() and detector.predict(X)[3] == -1
    assert scores[3] < expected.min()
    others = np.arange(60) != 3
    assert_array_equal(scores[others], expected[others])


# A mixture takes a lone value for a component of its own once it was trained on it.
@pytest.mark.parametrize("score", [score for score in SCORES if score != "conditional"])
@pytest.mark.parametrize("value", [1e3, 1e30, -1e300])
def test_a_huge_cell_in_training(score, value):
    detector = make(score, contamination=0.05).fit(where((3, 0), value))
    scores = detector.score_samples(where((3, 0), value))
    assert np.isfinite(scores).all() and scores.argmin() == 3


@ALL
def test_a_row_without_cells_is_no_outlier(score, models):
    """Nothing speaks against it."""
    detector = models[score, "array"]
    empty = np.full((1, 4), NAN)
    assert np.isfinite(detector.score_samples(empty)).all() and detector.predict(empty) == [1]


@ALL
def test_an_unseen_category(score, models):
    unseen, missing = FRAME[:9].assign(kind="new"), FRAME[:9].assign(kind=None)
    with pytest.raises(ValueError, match="'kind'.*unseen.*'new'; expected one of 'x'.*unknown="):
        models[score, "frame"].score_samples(unseen)
    detector = make(score, unknown="missing").fit(FRAME)
    assert_array_equal(detector.score_samples(unseen), detector.score_samples(missing))
    assert not np.array_equal(detector.score_samples(unseen), detector.score_samples(FRAME[:9]))


@ALL
@pytest.mark.parametrize("contamination", ["auto", 1e-6, 0.1, 0.5])
def test_shares_of_few_rows(score, contamination):
    for n_rows in (2, 20):
        detector = make(score, contamination=contamination).fit(GOOD[:n_rows])
        n_outliers = (detector.predict(GOOD[:n_rows]) == -1).sum()
        assert np.isfinite(detector.offset_)
        if contamination != "auto":  # two rows may be a tie
            assert n_outliers <= np.ceil(n_rows * contamination)
            assert n_outliers >= n_rows * contamination - 0.1 or n_rows == 2


# ------------------------------------------------------------------------------- clear errors

NOTHING = r"nothing to model: every column .* is constant or missing.*two different values"
INFINITE = r"Input X contains infinity or a value too large for dtype\('float64'\)"
WRONG = {
    "one row": (GOOD[:1], r"1 sample\(s\) .*minimum of 2 is required by VAEOutlierDetector"),
    "no rows": (GOOD[:0], r"0 sample\(s\) .*minimum of 2 is required by VAEOutlierDetector"),
    "all rows equal": (np.repeat(GOOD[:1], 20, axis=0), NOTHING),
    "two rows, equal": (np.repeat(GOOD[:1], 2, axis=0), NOTHING),
    "all columns constant": (np.full((30, 3), [1.0, 2.0, 3.0]), NOTHING),
    "all cells missing": (np.full((30, 3), NAN), NOTHING),
    "one category": (FRAME[["kind"]].assign(kind="x"), NOTHING),
    "inf": (where((0, 0), np.inf), INFINITE),
    "-inf": (where((0, 0), -np.inf), INFINITE),
    "strings": (np.array([["a", "b"], ["c", "d"]], dtype=object), "could not convert string"),
    "free text": (FRAME.assign(t=[f"no {i}" for i in range(60)]), "'t'.*free text"),
}


@ALL
@pytest.mark.parametrize("name", WRONG)
def test_a_table_that_nothing_can_be_learned_from(name, score):
    X, message = WRONG[name]
    with pytest.raises(ValueError, match="(?s)" + message):
        make(score).fit(X)


LATER = {
    "inf": (where((0, 0), np.inf), INFINITE),
    "strings": (np.array([["a"] * 4], dtype=object), "could not convert string"),
    "too narrow": (GOOD[:, :3], "X has 3 features, but VAEOutlierDetector is expecting 4"),
    "no rows": (GOOD[:0], r"0 sample\(s\) .* minimum of 1 is required"),
}


@ALL
@pytest.mark.parametrize("name", LATER)
def test_a_table_unlike_that_of_fit(name, score, models):
    X, message = LATER[name]
    for method in ("score_samples", "decision_function", "predict"):
        with pytest.raises(ValueError, match="(?s)" + message):
            getattr(models[score, "array"], method)(X)


@ALL
@pytest.mark.parametrize("contamination", [0, 0.0, -0.1, 0.5001, 1, 2.5, NAN, "0.1", None, [0.1]])
def test_contamination_outside_its_range(contamination, score):
    message = r"'contamination' parameter of VAEOutlierDetector .*'auto'.*\(0.0, 0.5\]. Got"
    with pytest.raises(ValueError, match=message):
        make(score, contamination=contamination).fit(GOOD)


def test_a_score_function_that_is_none():
    with pytest.raises(ValueError, match="'score_function' parameter .*'auto'.* Got 'knn'"):
        make("knn").fit(GOOD)
    with pytest.raises(ValueError, match="'score_function' parameter .* Got <class"):
        make(next(iter(SCORES.values()))).fit(GOOD)


@ALL
@pytest.mark.parametrize("novelty", ["yes", None, 2])
def test_novelty_that_is_none(score, novelty):
    with pytest.raises(ValueError, match="'novelty' parameter of VAEOutlierDetector must be"):
        make(score, novelty=novelty).fit(GOOD)


@ALL
def test_before_fit(score):
    for method in ("score_samples", "decision_function", "predict"):
        with pytest.raises(ValueError, match="VAEOutlierDetector instance is not fitted yet"):
            getattr(make(score), method)(GOOD)
