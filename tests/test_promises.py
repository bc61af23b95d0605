"""P-values that hold, selections with few false ones; what breaks them must break the tests."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from scipy.stats import kstest
from sklearn.base import clone

from skvae import VAEOutlierDetector
from skvae.conformal import conformal_p_values

pytestmark = pytest.mark.filterwarnings(
    "ignore::skvae.exceptions.PosteriorCollapseWarning",
    "ignore::skvae.exceptions.UnusedLatentsWarning",
)
MAP = np.random.default_rng(0).normal(size=(2, 5))
N_COLUMNS = 5
QUICK = {"n_components": 2, "hidden_layer_sizes": (8,), "max_iter": 3, "n_draws": 1}
QUICK |= {"score_function": "elbo", "init": "random", "calibrate": False, "random_state": 0}
# Kolmogorov and Smirnov's test at this level, and a fifth of it passed by chance: fixed seeds.
LEVEL = 0.05


def rows(n_rows, seed):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_rows, 2)) @ MAP + 0.3 * rng.standard_t(4, size=(n_rows, N_COLUMNS))


def odd_rows(n_rows, seed):
    return np.random.default_rng(seed).normal(scale=6.0, size=(n_rows, N_COLUMNS))


def detector(**params):
    return VAEOutlierDetector(**QUICK | params)


# ------------------------------------------------------------------- the rank of a score


def test_p_values_are_shares_of_ranks():
    known = np.array([1.0, 2.0, 2.0, 5.0])
    new = np.array([0.0, 1.0, 2.0, 3.0, 9.0])
    assert_allclose(conformal_p_values([known], [new]), np.array([1, 2, 4, 4, 5]) / 5)


def test_several_models_pool_their_ranks():
    known = [np.array([1.0, 2.0]), np.array([10.0, 20.0, 30.0])]
    new = [np.array([1.5]), np.array([25.0])]
    assert_allclose(conformal_p_values(known, new), (1 + 1 + 2) / 6)
    merged = conformal_p_values([np.concatenate(known)], [np.array([1.5])])
    assert not np.isclose(merged, (1 + 1 + 2) / 6)


def test_ties_count_against_an_outlier_unless_broken_at_random():
    rng = np.random.default_rng(0)
    draws = [rng.integers(0, 3, 20) for _ in range(4000)]
    p = {}
    for name, uniform in {"conservative": None, "random": np.empty(1)}.items():
        parts = []
        for scores in draws:
            broken = None if uniform is None else rng.random(1)
            parts.append(conformal_p_values([scores[1:]], [scores[:1]], broken))
        p[name] = np.concatenate(parts)
    assert kstest(p["random"], "uniform").pvalue > LEVEL
    assert kstest(p["conservative"], "uniform").pvalue < 1e-6
    assert all(np.mean(p["conservative"] <= a) <= a for a in np.linspace(0.05, 0.95, 19))


# ---------------------------------------------------------- rows that training has not seen


def test_the_share_kept_aside_is_not_trained_on():
    X = rows(60, 1)
    split = detector(conformal=0.25).fit(X)
    assert [len(scores) for scores in split.calibration_scores_] == [15]
    scores = split.score_samples(X)
    aside = np.isin(scores, split.calibration_scores_[0])
    assert aside.sum() == 15
    # Whatever the rows kept aside are, the model is the one of the others.
    others = X.copy()
    others[aside] = 1e3
    again = detector(conformal=0.25).fit(others)
    assert_array_equal(again.score_samples(X), scores)
    assert again.offset_ == split.offset_
    assert not np.array_equal(again.calibration_scores_[0], split.calibration_scores_[0])
    # And they do matter to a model that keeps none.
    assert not np.array_equal(
        detector().fit(others).score_samples(X), detector().fit(X).score_samples(X)
    )


def test_each_fold_is_judged_by_a_model_of_the_others():
    X = rows(60, 1)
    folded = detector(conformal=3).fit(X)
    assert [len(scores) for scores in folded.calibration_scores_] == [20, 20, 20]
    assert len(folded.fold_detectors_) == 3
    seeds = {each.random_state for each in folded.fold_detectors_}
    assert len(seeds) == 3
    places = []
    for each, scores in zip(folded.fold_detectors_, folded.calibration_scores_):
        fold = np.isin(each.score_samples(X), scores)
        assert fold.sum() == 20
        refitted = clone(each).fit(X[~fold])
        assert_array_equal(refitted.score_samples(X[fold]), scores)
        places.append(np.flatnonzero(fold))
    assert_array_equal(np.sort(np.concatenate(places)), np.arange(60))
    # The model that scores is the one of all rows.
    assert_array_equal(folded.score_samples(X), detector().fit(X).score_samples(X))


@pytest.mark.parametrize("conformal", [0.3, 2])
def test_p_values_are_those_of_the_rows_kept(conformal):
    X, new = rows(60, 1), rows(20, 2)
    fitted = detector(conformal=conformal).fit(X)
    judges = fitted.fold_detectors_ or [fitted]
    expected = conformal_p_values(
        fitted.calibration_scores_, [judge.score_samples(new) for judge in judges]
    )
    assert_array_equal(fitted.p_values(new), expected)
    assert_array_equal(fitted.p_values(new[::-1])[::-1], expected)
    assert_array_equal(fitted.p_values(new[:7]), expected[:7])
    assert_array_equal(pickle.loads(pickle.dumps(fitted)).p_values(new), expected)
    assert_array_equal(clone(fitted).fit(X).p_values(new), expected)


def test_reference_rows_take_the_place_of_those_kept():
    X, new, reference = rows(60, 1), rows(20, 2), rows(30, 3)
    expected = detector(conformal=None).fit(X).p_values(new, reference=reference)
    fitted = detector().fit(X)
    assert_array_equal(
        expected,
        conformal_p_values([fitted.score_samples(reference)], [fitted.score_samples(new)]),
    )
    folded = detector(conformal=2).fit(X)
    assert_array_equal(folded.p_values(new, reference), expected)
    assert not np.array_equal(folded.p_values(new), expected)


@pytest.mark.parametrize("conformal", [0.3, 2])
def test_rows_of_weight_zero_are_not_compared_with(conformal):
    X, new = rows(60, 1), rows(20, 2)
    weight = np.ones(60)
    weight[::4] = 0.0
    weighted = detector(conformal=conformal).fit(X, sample_weight=weight)
    fewer = detector(conformal=conformal).fit(X[weight > 0], sample_weight=weight[weight > 0])
    assert_array_equal(weighted.p_values(new), fewer.p_values(new))
    assert sum(map(len, weighted.calibration_scores_)) < 60 * (conformal if conformal < 1 else 1)


@pytest.mark.parametrize("conformal", [0.3, 2])
def test_tables_of_any_container(conformal):
    frame = pd.DataFrame(rows(60, 1), columns=list("abcde")).assign(
        kind=pd.Categorical(np.tile(["x", "y", "z"], 20))
    )
    p_values = detector(conformal=conformal).fit(frame).p_values(frame)
    assert p_values.shape == (60,) and (p_values > 0).all()
    counts = np.random.default_rng(0).poisson(2.0, size=(60, 4)).astype(float)
    table = detector(conformal=conformal, likelihood="poisson")
    dense, sparse = (clone(table).fit(X).p_values(counts) for X in (counts, csr_array(counts)))
    assert_array_equal(sparse, dense)
    listed = detector(conformal=conformal).fit(rows(60, 1).tolist()).p_values(rows(9, 2))
    assert_array_equal(listed, detector(conformal=conformal).fit(rows(60, 1)).p_values(rows(9, 2)))


def test_errors_say_what_to_do():
    X = rows(40, 1)
    with pytest.raises(ValueError, match=r"p_values .* conformal=0\.2 .* reference="):
        detector().fit(X).p_values(X)
    with pytest.raises(ValueError, match=r"select .* reference="):
        detector().fit(X).select(X)
    with pytest.raises(ValueError, match=r"can find nothing: with 12 .* at least 19"):
        detector(conformal=0.3).fit(X).select(X, fdr=0.05)
    with pytest.raises(ValueError, match="'fdr' parameter of VAEOutlierDetector.select"):
        detector(conformal=0.3).fit(X).select(X, fdr=1.0)
    with pytest.raises(ValueError, match="'ties' parameter of VAEOutlierDetector.p_values"):
        detector(conformal=0.3).fit(X).p_values(X, ties="any")
    with pytest.raises(ValueError, match="fewer folds"):
        detector(conformal=41).fit(X)
    for conformal, repair in ((2, "more folds"), (0.5, "Lower it")):
        with pytest.raises(ValueError, match=f"fewer than 2 of 3 rows to train on. .*{repair}"):
            detector(conformal=conformal).fit(X[:3])
    assert detector(conformal=3).fit(X[:3]).p_values(X[:3]).shape == (3,)
    going_on = detector(conformal=0.3, warm_start=True).fit(X)
    with pytest.raises(ValueError, match="warm_start"):
        going_on.fit(X)
    for wrong in (0.0, 1, 1.0, -2, True, "auto"):
        with pytest.raises(ValueError, match="'conformal' parameter"):
            detector(conformal=wrong).fit(X)


def test_fit_without_conformal_forgets_the_rows_kept_before():
    fitted = detector(conformal=0.3).fit(rows(40, 1))
    assert fitted.set_params(conformal=None).fit(rows(40, 1)).calibration_scores_ == []


# ------------------------------------------------------------------------ what is promised

N_REPETITIONS = 60


@pytest.fixture(scope="module")
def repeated():
    """Per repetition a fit of its own, and p-values of normal rows by what they compare with."""
    p = {"kept aside": [], "reference": [], "trained on": [], "outliers": []}
    memorises = {"n_components": 8, "init": "linear", "calibrate": True, "max_iter": 2}
    for seed in range(N_REPETITIONS):
        rng = np.random.default_rng(seed)
        X, new, reference = (rng.normal(size=(n, 12)) for n in (60, 1, 30))
        fitted = detector(conformal=0.5, random_state=seed, **memorises).fit(X)
        random = {"ties": "random", "random_state": seed}
        aside = np.isin(fitted.score_samples(X), fitted.calibration_scores_[0])
        p["kept aside"].append(fitted.p_values(new, **random))
        p["reference"].append(fitted.p_values(new, reference, **random))
        p["trained on"].append(fitted.p_values(new, X[~aside], **random))
        p["outliers"].append(fitted.p_values(4.0 * new, **random))
    return {name: np.concatenate(parts) for name, parts in p.items()}


@pytest.mark.parametrize("compared", ["kept aside", "reference"])
def test_p_values_of_normal_rows_are_uniform(repeated, compared):
    assert kstest(repeated[compared], "uniform").pvalue > LEVEL


def test_p_values_of_outliers_are_not(repeated):
    assert kstest(repeated["outliers"], "uniform").pvalue < 1e-6


def test_rows_that_were_trained_on_are_nothing_to_compare_with(repeated):
    """The same test rejects what a stub would do that calibrates on the training rows."""
    p = repeated["trained on"]
    assert kstest(p, "uniform", alternative="greater").pvalue < 1e-3
    assert np.mean(p <= 0.1) > 0.2


def test_select_keeps_the_share_of_false_ones():
    rate = {"select": [], "all below fdr": []}
    found = []
    for seed in range(N_REPETITIONS):
        fitted = detector(conformal=0.5, random_state=seed).fit(rows(200, seed))
        new = np.concatenate([odd_rows(10, 1000 + seed), rows(90, 2000 + seed)])
        chosen = {
            "select": fitted.select(new, fdr=0.2), "all below fdr": fitted.p_values(new) <= 0.2
        }  # fmt: skip
        for name, mask in chosen.items():
            rate[name].append(mask[10:].sum() / max(mask.sum(), 1))
        found.append(chosen["select"][:10].mean())
    assert np.mean(rate["select"]) < 0.2 + 0.03
    assert np.mean(found) > 0.5
    assert np.mean(rate["all below fdr"]) > 0.5


def test_select_is_the_procedure_of_benjamini_and_hochberg():
    fitted = detector(conformal=0.5).fit(rows(200, 0))
    new = np.concatenate([odd_rows(10, 1), rows(40, 2)])
    p = fitted.p_values(new)
    ordered = np.sort(p)
    below = np.flatnonzero(ordered <= 0.1 * np.arange(1, 51) / 50)
    expected = p <= (ordered[below[-1]] if len(below) else -1.0)
    assert expected.any()
    assert_array_equal(fitted.select(new, fdr=0.1), expected)
    order = np.random.default_rng(0).permutation(50)
    assert_array_equal(fitted.select(new[order], fdr=0.1), expected[order])
