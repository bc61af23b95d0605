"""Scores of detectors: surprise, neighbours, spaces, and their blend."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse, stats
from sklearn.base import clone
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.neighbors import NearestNeighbors

from skvae import VAEOutlierDetector
from skvae.scores import SCORES, BlendedScore, LocalScore
from skvae.scores.company import Company
from skvae.scores.neighborhood import Crowd, Neighborhood
from skvae.scores.neighbors import Neighbors, mean_distance
from skvae.scores.spaces import Described, JointSpace, Space, WhitenedSpace, row_keys
from skvae.scores.statistics import Margins
from skvae.scores.surprise import Surprise
from skvae.scores.surroundings import Surroundings

QUICK = {"max_iter": 5, "random_state": 0}
BLENDED = ("auto", "local", "model")


def correlated(n_rows, seed=0, n_columns=4):
    rng = np.random.default_rng(seed)
    codes = rng.normal(size=(n_rows, 2))
    mixing = np.random.default_rng(1).normal(size=(2, n_columns))
    return codes @ mixing + 0.3 * rng.normal(size=(n_rows, n_columns))


def described(X):
    X = np.asarray(X, dtype=np.float32)
    return Described(X, np.zeros_like(X))


@pytest.fixture(scope="module")
def models():
    X = correlated(200)
    return {name: VAEOutlierDetector(score_function=name, **QUICK).fit(X) for name in SCORES}


# --------------------------------------------------------------------------------- surprise


@pytest.mark.parametrize(
    "law",
    [stats.expon(), stats.expon(scale=1e-6), stats.expon(loc=1e6)],
    ids=["1", "small", "far"],
)
def test_surprise_of_exponential_rows_is_the_row_itself(law):
    x = law.ppf((np.arange(20_000) + 0.5) / 20_000)
    new = law.ppf([0.01, 0.3, 0.9, 0.99, 0.99999])
    assert_allclose(Surprise().fit(x)(new), -law.logsf(new), rtol=0.03, atol=2e-3)


def test_surprise_rises_strictly_beyond_all_rows_and_between_them():
    x = np.random.default_rng(0).normal(size=500)
    surprise = Surprise().fit(x)
    grid = np.linspace(-50, 50, 2001)
    assert (np.diff(surprise(grid)) > 0).all()


@pytest.mark.parametrize("x", [np.zeros(9), np.repeat([0.0, 1.0], [8, 2]), np.array([3.0])])
def test_surprise_of_ties_is_finite_and_ordered(x):
    found = Surprise().fit(x)(np.array([-1.0, x[0], x[0] + 1.0, 1e9]))
    assert np.isfinite(found).all() and (np.diff(found) > 0).all()


# -------------------------------------------------------------------------------- neighbours


@pytest.mark.parametrize("n_columns", [3, 20])
def test_distances_are_those_of_scikit_learn_without_the_row_itself(n_columns):
    rows = np.random.default_rng(0).normal(size=(60, n_columns))
    found, places, _ = Neighbors(5).fit(rows)(rows)
    expected, others = NearestNeighbors(n_neighbors=5).fit(rows).kneighbors()
    assert_allclose(found, expected, rtol=1e-12)
    assert_array_equal(places, others)
    assert (found[:, 0] > 0).all()


def test_one_of_two_equal_rows_is_a_neighbour():
    rows = np.repeat(np.random.default_rng(0).normal(size=(10, 3)), 2, axis=0)
    found, *_ = Neighbors(3).fit(rows)(rows)
    assert_array_equal(found[:, 0], 0.0)
    assert (found[:, 1] > 0).all()


@pytest.mark.parametrize("n_columns", [3, 40])
def test_distances_do_not_depend_on_the_company(n_columns):
    rng = np.random.default_rng(0)
    rows, new = rng.normal(size=(500, n_columns)), rng.normal(size=(700, n_columns))
    near = Neighbors(10).fit(rows)
    whole = near(new)[0]
    alone = np.concatenate([near(new[i : i + 1])[0] for i in range(0, 700, 50)])
    assert_array_equal(whole[::50], alone)


def test_a_mean_over_equal_rows_is_theirs():
    rows = np.random.default_rng(0).normal(size=(20, 9)).astype(np.float32).astype(np.float64)
    # Their squared distances are 0 but for rounding, to either side.
    rows, values = 3 * np.repeat(rows, 15, axis=0), np.repeat(np.arange(20.0), 15)
    near = Neighbors(9).fit(rows)
    found = near.mean_of(values, rows, near(rows), 8, np.full(300, 1e-5))
    assert_allclose(found, values, rtol=1e-12)


def test_fewer_rows_than_neighbours():
    rows = np.arange(6.0).reshape(3, 2)
    found, *_ = Neighbors(20).fit(rows)(rows)
    assert found.shape == (3, 2)
    assert Neighbors(20).fit(rows[:1])(rows)[0].shape == (3, 1)


@pytest.mark.parametrize("n_columns", [3, 40])
def test_distances_to_a_sample_are_those_of_scikit_learn(n_columns):
    rng = np.random.default_rng(0)
    rows, noise = rng.normal(size=(300, n_columns)), np.full(300, 1e-9)
    sample = rows[:100]
    found = mean_distance(rows, sample, 10, noise)
    search = NearestNeighbors(n_neighbors=10).fit(sample)
    assert_allclose(found[:100], search.kneighbors()[0].mean(1), rtol=1e-12)
    assert_allclose(found[100:], search.kneighbors(rows[100:])[0].mean(1), rtol=1e-12)
    alone = [mean_distance(rows[i : i + 1], sample, 10, noise[:1])[0] for i in range(0, 300, 20)]
    assert_array_equal(found[::20], alone)


def test_a_share_of_a_sample_is_that_share_of_the_table(monkeypatch):
    X = np.random.default_rng(0).normal(size=(3000, 3))
    whole, sampled = [], []
    for most, found in ((3000, whole), (500, sampled)):
        monkeypatch.setattr("skvae.scores.surroundings.MOST_SAMPLED", most)
        crowd = Crowd(Space())
        found.extend(crowd.fit_rows(Surroundings(Space(), described(X), 1)))
        assert_array_equal(crowd(described(X[:7]))[0], found[0][:7])
        assert crowd.n_neighbors == (most // 10,)
    assert_allclose(sampled[0], whole[0], atol=0.25)
    # As many rows as a tenth of the sample has are much nearer.
    near = Neighborhood(Space(), (50,)).fit(described(X))
    assert np.median(whole[0] - near(described(X))[0]) > 0.4


@pytest.mark.parametrize("n_rows", [1, 2, 4, 12, 25, 400])
def test_what_the_reference_is_found_to_be_is_what_it_is_found_to_be_later(n_rows):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, 3)).round(1)
    # A far row and a far group; equal rows.
    X[-1] += 30
    X[n_rows // 2 : n_rows // 2 + 8] += 15
    X[: n_rows // 4] = X[n_rows // 4 : 2 * (n_rows // 4)]
    space = Space()
    parts = [
        Neighborhood(space, (5, 20), relative=True),
        Neighborhood(space, (20,), trimmed=True),
        Neighborhood(space, (2,)),
        Crowd(space),
    ]
    shared = Surroundings(space, described(X), max(part.n_searched for part in parts))
    for part in parts:
        for found, again in zip(part.fit_rows(shared), part(described(X)), strict=True):
            assert_array_equal(found, again)
    assert len(shared.ordinary) < n_rows or n_rows < 12


def test_company_is_the_row_and_the_rows_nearest_to_it():
    rng = np.random.default_rng(0)
    X, values = rng.normal(size=(300, 3)).astype(np.float32), rng.normal(size=300)
    company = Company(Space(), 8)
    found = company.fit_rows(Surroundings(Space(), described(X), 21), values)
    _, others = NearestNeighbors(n_neighbors=9).fit(X).kneighbors(X)
    assert_allclose(found, values[others].mean(1), rtol=1e-9)
    assert_array_equal(found[:9], company(described(X[:9]), values[:9]))
    # A row that is not among them brings a value of its own.
    assert_allclose(company(described(X[:1] + 1e-4), values[:1] + 9.0), found[:1] + 1.0, atol=0.5)
    # Of more rows at one distance than belong to it, each counts by a share.
    X, values = np.float32([[0, 0], [0, 1], [1, 0], [0, -1], [-1, 0]]), np.arange(5.0) ** 2
    found = Company(Space(), 2).fit_rows(Surroundings(Space(), described(X), 3), values)
    assert_allclose(found[0], (values[0] + 2 * values[1:].mean()) / 3)


def test_members_that_lie_together_confirm_each_other(monkeypatch):
    rng = np.random.default_rng(0)
    # Normal rows with chance extremes, and a group of outliers.
    X = np.r_[rng.standard_t(5, size=(400, 4)), [6, -6, 6, 6] + 0.5 * rng.normal(size=(20, 4))]
    odd = np.repeat([0, 1], [400, 20])
    precision = []
    for _ in range(2):
        detector = VAEOutlierDetector(**QUICK).fit(X)
        precision.append(average_precision_score(odd, -detector.score_samples(X)))
        monkeypatch.setattr(BlendedScore, "company", lambda *way: None)
    assert precision[0] > precision[1] + 0.1


def test_a_far_group_is_no_reference():
    rng = np.random.default_rng(0)
    X = np.r_[rng.normal(size=(400, 3)), 30 + 0.1 * rng.normal(size=(15, 3))]
    trimmed, kept = (
        Neighborhood(Space(), (5,), trimmed=trim).fit(described(X))(described(X))[0]
        for trim in (True, False)
    )
    assert trimmed[400:].min() > trimmed[:400].max()
    # Without it, the group keeps itself company.
    assert kept[400:].max() < np.median(kept[:400])


def test_a_row_beside_a_dense_group_is_far_for_its_place():
    rng = np.random.default_rng(0)
    X = np.r_[0.01 * rng.normal(size=(200, 2)), 10 + rng.normal(size=(200, 2))]
    near = Neighborhood(Space(), (5,), relative=True).fit(described(X))
    distance, relative = near(described(np.r_[X, [[0.1, 0.1]]]))
    assert relative[-1] > relative[:-1].max()
    assert distance[-1] < distance[200:-1].max()


# ------------------------------------------------------------------------------------ spaces


def test_white_cells_have_unit_covariance():
    rows = described(correlated(4000))
    white = WhitenedSpace().fit(rows)(rows)
    assert_allclose(np.cov(white.T), np.eye(4), atol=0.1)
    assert np.abs(np.cov(rows.inputs.T) - np.eye(4)).max() > 0.5


def test_white_cells_do_not_depend_on_the_company():
    rows = described(np.random.default_rng(0).normal(size=(600, 30)))
    space = WhitenedSpace().fit(rows)
    alone = np.concatenate([space(rows.take(np.array([i]))) for i in (0, 255, 256, 599)])
    assert_array_equal(space(rows)[[0, 255, 256, 599]], alone)


def test_joint_space_tells_apart_what_the_model_does_not_expect():
    rows = Described(np.zeros((3, 2), np.float32), np.float32([[0, 0], [0, 1], [1, 0]]))
    points = JointSpace().fit(rows)(rows)
    assert len(np.unique(points, axis=0)) == 3 == len(points)


def test_keys_tell_rows_apart():
    rows = np.random.default_rng(0).integers(0, 3, size=(3000, 6)).astype(np.float32)
    assert len(np.unique(row_keys(rows))) == len(np.unique(rows, axis=0))
    assert_array_equal(row_keys(-0.0 * rows), row_keys(0.0 * rows))


# ------------------------------------------------------------------------------------- scores


@pytest.mark.parametrize("name", SCORES)
def test_rows_far_out_score_lower(models, name):
    X, new = correlated(200), correlated(100, seed=5)
    odd = np.random.default_rng(6).permuted(new, axis=0) + np.array([3.0, 0.0, -3.0, 0.0])
    scores = models[name].score_samples(np.r_[new, odd])
    assert roc_auc_score(np.repeat([1, 0], 100), scores) > 0.9
    assert np.isfinite(models[name].score_samples(X)).all()


@pytest.mark.parametrize("name", SCORES)
def test_a_score_depends_on_the_row_alone(models, name):
    X = np.r_[correlated(200), correlated(60, seed=5)]
    detector = models[name]
    whole = detector.score_samples(X)
    order = np.random.default_rng(0).permutation(len(X))
    assert_array_equal(whole, detector.score_samples(X))
    assert_array_equal(whole[order], detector.score_samples(X[order]))
    for size in (1, 7, 100):
        parts = [detector.score_samples(X[i : i + size]) for i in range(0, len(X), size)]
        assert_array_equal(whole, np.concatenate(parts))


@pytest.mark.parametrize("name", SCORES)
def test_a_score_comes_back_from_a_file(models, name):
    X = correlated(60, seed=5)
    again = pickle.loads(pickle.dumps(models[name]))
    assert_array_equal(again.score_samples(X), models[name].score_samples(X))


@pytest.mark.parametrize("name", BLENDED)
def test_nats_say_how_many_training_rows_are_as_odd(models, name):
    scores = models[name].score_samples(correlated(200))
    for share in (0.5, 0.1, 0.05):
        assert abs(np.mean(scores <= np.log(share)) - share) < 0.03


@pytest.mark.parametrize(("n_rows", "counts"), [(79, False), (80, True)])
def test_cells_given_others_count_from_eighty_rows_on(n_rows, counts):
    detector = VAEOutlierDetector(**QUICK).fit(correlated(n_rows))
    assert [("cells" in way.counted) for way in detector.score_.ways_] == [counts] * 2
    assert ("cells" in detector.score_.statistics_) == counts
    # What explains a row is there in any case.
    assert detector.explain(correlated(5)).notna().all(axis=None)


def test_the_model_alone_keeps_no_rows(models):
    assert models["model"].score_.reference_ is None
    assert models["model"].score_.keys_ is None
    assert models["auto"].score_.reference_ is not None


def test_members_and_novelties():
    X = correlated(200)
    new = correlated(50, seed=5)
    fits = {
        novelty: VAEOutlierDetector(score_function="local", novelty=novelty, **QUICK).fit(X)
        for novelty in (True, False, "auto")
    }
    scores = {novelty: fit.score_samples(np.r_[X, new]) for novelty, fit in fits.items()}
    assert_array_equal(scores["auto"][:200], scores[False][:200])
    assert_array_equal(scores["auto"][200:], scores[True][200:])
    assert (scores[True] != scores[False]).mean() > 0.9


def test_outliers_that_lie_together_do_not_vouch_for_each_other():
    rng = np.random.default_rng(0)
    X = np.r_[correlated(300), 8 + 0.2 * rng.normal(size=(15, 4))]
    odd = np.repeat([0, 1], [300, 15])
    found = {
        novelty: roc_auc_score(
            odd,
            -VAEOutlierDetector(score_function="local", novelty=novelty, **QUICK)
            .fit(X)
            .score_samples(X),
        )
        for novelty in ("auto", True)
    }
    assert found["auto"] > 0.99 > found[True]


def test_long_tables_are_compared_with_some_of_their_rows(monkeypatch):
    monkeypatch.setattr("skvae.scores.blend.MOST_REFERENCE_ROWS", 80)
    monkeypatch.setattr("skvae.scores.blend.ROWS_AT_ONCE", 70)
    X = correlated(200)
    detector = VAEOutlierDetector(**QUICK).fit(X)
    assert len(detector.score_.reference_.inputs) == 80
    scores = detector.score_samples(X)
    assert_array_equal(scores[:9], detector.score_samples(X[:9]))
    # Those that are kept say where the threshold lies, but for a share of all rows.
    assert 5 < len(detector.held_out_scores_) < 20
    assert set(detector.held_out_scores_) < set(scores)
    given = VAEOutlierDetector(contamination=0.15, **QUICK).fit(X)
    assert (given.predict(X) < 0).sum() == 30
    assert len(given.held_out_scores_) == 30
    weights = np.ones(200)
    none = VAEOutlierDetector(validation_fraction=0.005, **QUICK).fit(X, sample_weight=weights)
    assert len(none.held_out_scores_) == 80
    assert stats.spearmanr(scores, VAEOutlierDetector(**QUICK).fit(X).score_samples(X))[0] > 0.8


def test_a_long_table_is_never_encoded_as_a_whole(monkeypatch):
    monkeypatch.setattr("skvae.scores.blend.MOST_REFERENCE_ROWS", 80)
    monkeypatch.setattr("skvae.scores.blend.ROWS_AT_ONCE", 70)
    joined, seen = VAEOutlierDetector._joined, []

    def counted(self, X):
        seen.append(len(X))
        return joined(self, X)

    monkeypatch.setattr(VAEOutlierDetector, "_joined", counted)
    VAEOutlierDetector(**QUICK).fit(correlated(200))
    assert max(seen) == 80


def test_sparse_tables_need_the_likelihood():
    X = np.random.default_rng(0).poisson(1.0, size=(40, 5)).astype(float)
    params = {"likelihood": "poisson", **QUICK}
    assert VAEOutlierDetector(**params).fit(X).score_.__class__.__name__ == "LikelihoodScore"
    with pytest.raises(ValueError, match=r"LocalScore .*dense rows.*score_function='likelihood'"):
        VAEOutlierDetector(score_function="local", **params).fit(sparse.csr_array(X))


def test_scores_are_parameter_objects():
    detector = VAEOutlierDetector(score_function=LocalScore(), **QUICK)
    assert repr(clone(detector).score_function) == "LocalScore()"
    fitted = detector.fit(correlated(60))
    assert not hasattr(detector.score_function, "reference_")
    assert isinstance(fitted.score_, BlendedScore)
    with pytest.raises(ValueError, match="score_function"):
        VAEOutlierDetector(score_function="nearest").fit(correlated(60))


def test_trimmed_rows_do_not_shape_the_model():
    rng = np.random.default_rng(0)
    X = np.r_[correlated(300), 6 + 0.3 * rng.normal(size=(40, 4))]
    gaps = {}
    for trim in (0.0, 0.2):
        detector = VAEOutlierDetector(
            1, score_function="likelihood", trim=trim, max_iter=40, random_state=0
        ).fit(X)
        scores = detector.score_samples(X)
        gaps[trim] = np.median(scores[:300]) - np.median(scores[300:])
    assert gaps[0.2] > 5 * gaps[0.0] > 0


def test_margins_are_the_shares_of_bins():
    x = np.arange(100, dtype=np.float32)[:, None]
    flags = np.float32([0] * 90 + [1] * 10)[:, None]
    margins = Margins()
    assert_allclose(margins.learn(None, None, described(x)), -np.log(4.1 / 100))
    nats = margins(None, None, described([[-1.0], [0.0], [99.0], [200.0]]))
    assert_allclose(nats, -np.log([0.1 / 100, 4.1 / 100, 4.1 / 100, 0.1 / 100]))
    nats = margins.learn(None, None, described(flags))
    assert_allclose(nats, -np.log(np.repeat([90.1, 10.1], [90, 10]) / 100))
    assert_allclose(margins.learn(None, None, described(0 * x)), -np.log(100.1 / 100))


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("novelty", ["auto", True])
def test_scores_of_the_fit_are_those_of_the_rows(name, novelty):
    X = correlated(80)
    detector = VAEOutlierDetector(score_function=name, novelty=novelty, **QUICK).fit(X)
    again = clone(detector.score_)
    places, scores = again.fit_rows(detector, X, np.arange(60, 80))
    assert_array_equal(places, np.arange(80))
    assert_array_equal(scores, again.rows(detector, X))
