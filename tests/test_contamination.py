"""The share of outliers and their probabilities, from the shape of scores alone."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import average_precision_score

from skvae import VAEOutlierDetector
from skvae._trimming import TrimmingMixin
from skvae.priors import Aggregate
from skvae.score_mixture import ScoreMixture
from skvae.transferred_mixture import TransferredMixture

pytestmark = pytest.mark.filterwarnings(
    "ignore::skvae.exceptions.PosteriorCollapseWarning",
    "ignore::skvae.exceptions.UnusedLatentsWarning",
)
SHAPES = {"exponential": 1.0, "ten squares": 5.0, "nearly normal": 200.0}
SHARES = [0.01, 0.05, 0.1, 0.2]


def planted(shape, share, seed, n_rows=2000):
    """Scores of gamma normal rows and of outliers beyond nearly all of them, and labels."""
    rng = np.random.default_rng(seed)
    n_outliers = round(share * n_rows)
    normal = rng.gamma(shape, size=n_rows - n_outliers)
    edge, spread = shape + 5.5 * max(np.sqrt(shape), 1.0), np.sqrt(shape)
    odd = np.concatenate([normal, edge + spread * rng.gamma(2.0, 3.0, size=n_outliers)])
    labels = np.repeat([0, 1], [n_rows - n_outliers, n_outliers])
    order = rng.permutation(n_rows)
    return -odd[order], labels[order]


def tukey(scores):
    lower, upper = np.quantile(scores, [0.25, 0.75])
    return np.mean(scores < lower - 1.5 * (upper - lower))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("share", SHARES)
def test_the_share_is_found(shape, share):
    for seed in range(3):
        scores, labels = planted(shape, share, seed)
        mixture = ScoreMixture().fit(scores)
        assert abs(mixture.share_ - share) < 0.005 + 0.1 * share
        called = scores < mixture.threshold(scores)
        assert called[labels == 1].mean() > 0.99
        assert called[labels == 0].mean() < 0.02


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_clean_table_has_none(shape):
    rng = np.random.default_rng(0)
    tables = [-rng.gamma(shape, size=1000) for _ in range(20)]
    fits = [ScoreMixture().fit(scores) for scores in tables]
    assert np.mean([mixture.share_ for mixture in fits]) < 0.003
    called = [np.mean(s < m.threshold(s)) for s, m in zip(tables, fits)]
    assert 0.002 < np.mean(called) < 0.015
    if shape == 1.0:
        # What a rule does that does not look at the shape.
        assert np.mean([tukey(scores) for scores in tables]) > 0.04


def test_outliers_that_score_as_normal_rows_are_not_found():
    rng = np.random.default_rng(0)
    assert ScoreMixture().fit(-rng.gamma(5.0, size=1500)).share_ < 0.005
    # Nor those that score as the most normal rows.
    scores = np.concatenate([-rng.gamma(5.0, size=1500), np.full(100, -1.0)])
    assert ScoreMixture().fit(scores).share_ < 0.01


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e4])
def test_units_and_origins_do_not_count(unit):
    scores, _ = planted(5.0, 0.05, 0)
    first, other = ScoreMixture().fit(scores), ScoreMixture().fit(3.0 * unit + unit * scores)
    assert_allclose(other.share_, first.share_, rtol=1e-6)
    moved = 3.0 * unit + unit * scores
    assert_allclose(other.threshold(moved), 3.0 * unit + unit * first.threshold(scores), rtol=1e-6)
    assert_allclose(other.probability(moved), first.probability(scores), atol=1e-6)


def test_thresholds_hardly_depend_on_the_rows_drawn():
    normal = [planted(5.0, share, seed)[0] for share in (0.0, 0.1) for seed in range(10)]
    places = [ScoreMixture().fit(scores).threshold(scores) for scores in normal]
    assert np.std(places[:10]) < 0.1 * 5.0 and np.std(places[10:]) < 0.1 * 5.0
    assert abs(np.mean(places[:10]) - np.mean(places[10:])) < 0.2 * 5.0
    fixed = [np.quantile(scores, 0.05) for scores in normal]
    assert abs(np.mean(fixed[:10]) - np.mean(fixed[10:])) > 5.0


# ------------------------------------------------------------------------------- weights, ties


def test_a_weight_counts_rows():
    scores, _ = planted(5.0, 0.1, 0, n_rows=600)
    counts = np.random.default_rng(1).integers(0, 4, 600)
    kept = counts > 0
    weighted = ScoreMixture().fit(scores[kept], counts[kept].astype(float))
    repeated = ScoreMixture().fit(np.repeat(scores, counts))
    assert abs(weighted.share_ - repeated.share_) < 0.02
    same = ScoreMixture().fit(scores[kept], 7.0 * counts[kept])
    assert_allclose(same.share_, weighted.share_)
    ignored = ScoreMixture().fit(scores, np.where(scores < -20.0, 1e-6, 1.0))
    assert ignored.share_ < 0.01 < ScoreMixture().fit(scores).share_


TIED = {
    "one value": np.full(50, -3.0),
    "one row": np.array([-3.0]),
    "two rows": np.array([-3.0, -4.0]),
    "four fifths alike": -np.r_[np.zeros(400), np.random.default_rng(0).gamma(5.0, size=100)],
    "few values": -np.random.default_rng(0).integers(0, 4, 300).astype(float),
    "one value and another": np.r_[np.full(950, 0.0), np.full(50, -9.0)],
}  # fmt: skip


@pytest.mark.parametrize("scores", TIED.values(), ids=TIED)
def test_ties_do_no_harm(scores):
    mixture = ScoreMixture().fit(scores)
    assert 0.0 <= mixture.share_ <= 0.5
    threshold = mixture.threshold(scores)
    assert np.isfinite(threshold)
    # What most rows are is never called an outlier.
    values, counts = np.unique(scores, return_counts=True)
    assert not values[counts.argmax()] < threshold
    p = mixture.probability(scores)
    assert (p >= 0).all() and (p <= 1).all()
    assert mixture.probability(np.array([values[counts.argmax()]]))[0] < 0.5


def test_rows_beside_many_that_are_all_the_same():
    mixture = ScoreMixture().fit(TIED["one value and another"])
    assert_allclose(mixture.share_, 0.05, atol=0.03)
    assert mixture.probability(np.array([-9.0]))[0] > 0.9


# ------------------------------------------------------------------------------ probabilities


def test_probabilities_fall_with_the_score_and_go_to_the_end():
    scores, _ = planted(5.0, 0.05, 0)
    grid = np.linspace(-200.0, 10.0, 500)
    for mixture in (ScoreMixture().fit(scores), ScoreMixture().fit(planted(5.0, 0.0, 1)[0])):
        p = mixture.probability(grid)
        assert (np.diff(p) <= 1e-12).all()
        assert p[0] > 0.99 and p[-1] < 0.01


def reliability(p, labels, n_bins=5):
    """Mean distance of probabilities from rates, over bins of equal width."""
    place = np.minimum((p * n_bins).astype(int), n_bins - 1)
    parts = [(place == j) for j in range(n_bins) if (place == j).any()]
    return sum(rows.mean() * abs(p[rows].mean() - labels[rows].mean()) for rows in parts)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("share", [0.02, 0.1, 0.2])
def test_probabilities_are_calibrated_where_outliers_overlap(shape, share):
    """Outliers are drawn as the mixture has them, so that half of them are hard to tell."""
    p, labels = [], []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        n_outliers = round(share * 1500)
        normal = rng.gamma(shape, size=1500 - n_outliers)
        odd = shape + np.sqrt(shape) * rng.gamma(4.0, 1.5, size=n_outliers)
        scores = -np.r_[normal, odd]
        p.append(ScoreMixture().fit(scores).probability(scores))
        labels.append(np.repeat([0, 1], [len(normal), n_outliers]))
    p, labels = np.concatenate(p), np.concatenate(labels)
    assert reliability(p, labels) < 0.03 + 0.2 * share
    squared, constant = np.mean((p - labels) ** 2), labels.mean() * (1 - labels.mean())
    assert squared < 0.6 * constant
    assert np.mean((np.random.default_rng(0).permutation(p) - labels) ** 2) > constant


# -------------------------------------------------------------------------------- the detector

MAP = np.random.default_rng(0).normal(size=(2, 6))
N_ROWS = 600


def table(share, seed):
    rng = np.random.default_rng(seed)
    n_outliers = round(share * N_ROWS)
    X = rng.normal(size=(N_ROWS, 2)) @ MAP + 0.3 * rng.normal(size=(N_ROWS, 6))
    X[:n_outliers] = rng.normal(scale=6.0, size=(n_outliers, 6))
    return X, np.arange(N_ROWS) < n_outliers


def detector(**params):
    quick = {"n_components": 2, "hidden_layer_sizes": (8,), "max_iter": 5, "n_draws": 2}
    quick |= {"score_function": "likelihood", "random_state": 0}
    return VAEOutlierDetector(**quick | params)


def test_contamination_auto_estimates_the_share():
    found = {}
    for share in (0.0, 0.02, 0.1):
        X, y = table(share, 1)
        fitted = detector().fit(X)
        found[share] = fitted.contamination_
        called = fitted.predict(X) == -1
        assert called[y].sum() >= 0.85 * y.sum()
        assert called[~y].mean() < 0.04
    assert found[0.0] < 0.01
    assert abs(found[0.02] - 0.02) < 0.015
    assert abs(found[0.1] - 0.1) < 0.03


def test_a_share_that_is_given_is_taken():
    X, _ = table(0.1, 1)
    fitted = detector(contamination=0.2).fit(X)
    assert fitted.contamination_ == 0.2
    assert fitted.offset_ == np.quantile(fitted.score_samples(X), 0.2)
    other = detector().fit(X)
    # A larger share makes rows more probable to be outliers.
    assert fitted.outlier_probability(X).mean() > 1.1 * other.outlier_probability(X).mean()


def test_probabilities_are_of_the_scores():
    X, y = table(0.1, 1)
    fitted, (new, labels) = detector().fit(X), table(0.1, 2)
    p = fitted.outlier_probability(new)
    assert p.shape == (N_ROWS,) and (p >= 0).all() and (p <= 1).all()
    assert (np.diff(p[np.argsort(fitted.score_samples(new))]) <= 1e-12).all()
    assert reliability(p, labels) < 0.05
    assert reliability(1 - p, labels) > 0.3
    assert_array_equal(fitted.outlier_probability(new[:5]), p[:5])


def test_rows_that_were_trained_on_count_as_new_ones():
    """Overfitted rows score higher by tens of nats, and must not make the others outliers."""
    X = np.random.default_rng(0).normal(size=(150, 40))
    memorises = {"n_components": 32, "init": "linear", "validation_fraction": 0.3}
    fitted = detector(**memorises).fit(X)
    scores = fitted.score_samples(X)
    trained = scores[~np.isin(scores, fitted.held_out_scores_)]
    assert np.median(trained) - np.median(fitted.held_out_scores_) > 2 * np.std(trained)
    assert fitted.contamination_ < 0.02
    new = np.random.default_rng(1).normal(size=(500, 40))
    assert np.mean(fitted.predict(new) == -1) < 0.06
    stub = ScoreMixture().fit(trained).threshold(trained)
    assert np.mean(fitted.score_samples(new) < stub) > 0.2


# ------------------------------------------------------------------- scores that are ranks


def ranked(scores):
    return np.log((1.0 + scores.argsort().argsort()) / len(scores))


@pytest.mark.parametrize("share", [0.0, 0.05, 0.2])
def test_scores_that_are_ranks_take_the_share_of_others(share):
    shaped, labels = planted(5.0, share, 0)
    ranks = ranked(shaped + 0.1 * np.random.default_rng(1).normal(size=len(shaped)))
    mixture = TransferredMixture().fit(ranks, shaped)
    assert abs(mixture.share_ - share) < 0.005 + 0.1 * share
    # Of ranks alone no share can be told.
    assert ScoreMixture().fit(ranks).share_ < 0.01
    p = mixture.probability(ranks)
    assert (np.diff(p[ranks.argsort()]) <= 1e-12).all()
    assert reliability(p, labels) < 0.02
    called = ranks < mixture.threshold(ranks)
    assert called[labels == 0].mean() < 0.02
    assert share == 0.0 or called[labels == 1].mean() > 0.95
    # A row far beyond all others is an outlier, though the table has none.
    assert mixture.probability(np.array([-60.0]))[0] > 0.99
    assert mixture.probability(np.array([-0.5]))[0] < 0.02


def test_the_default_score_finds_the_share():
    X, y = table(0.1, 1)
    X, y = X[::2], y[::2]
    found = VAEOutlierDetector(max_iter=5, random_state=0).fit(X)
    assert abs(found.contamination_ - 0.1) < 0.04
    called = found.predict(X) == -1
    assert called[y].mean() > 0.7 and called[~y].mean() < 0.08
    assert found.outlier_probability(X)[y].mean() > 0.7
    assert found.outlier_probability(X)[~y].mean() < 0.05


def test_trimmed_is_a_share_of_the_weight():
    class Scored(TrimmingMixin):
        trim, n_draws = 0.25, 1

        def _check_has_scores(self): ...

        def _score(self, X, n_draws):
            return X

    fitted = []

    def fit_rows(X, weights, resume):
        fitted.append(weights)

    Scored()._fit_trimmed(np.arange(8.0), None, fit_rows, False)
    heavy = np.array([2.0, 4.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    Scored()._fit_trimmed(np.arange(8.0), heavy, fit_rows, False)
    assert_array_equal(fitted[1] == 0, np.arange(8) < 2)
    assert_array_equal(fitted[3], np.r_[0.0, heavy[1:]])


def test_a_few_outliers_side_by_side_get_no_normal_of_the_prior():
    found = []
    for seed in range(2):
        rng = np.random.default_rng(seed)
        codes = rng.normal(size=(180, 3)), 0.3 * rng.normal(size=(14, 3)) + 3.0
        X = np.concatenate(codes) @ rng.normal(size=(3, 10))
        X += 0.3 * rng.normal(size=X.shape)
        y = np.repeat([0, 1], [180, 14])
        # The control: as many normals as serve the density of new rows best.
        for prior in ("aggregate", Aggregate()):
            vae = VAEOutlierDetector(
                8, prior=prior, score_function="elbo", random_state=0, max_iter=60
            )
            found.append(average_precision_score(y, -vae.fit(X).score_samples(X)))
    assert min(np.divide(found[::2], found[1::2])) > 1.2
