"""Measures of synthetic tables: identities, planted faults, and where each is blind."""

import subprocess
import sys
from functools import partial

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import ks_2samp
from scipy.stats.contingency import association

from skvae.metrics import (
    closest_record,
    column_shapes,
    pair_trends,
    quality,
    synthesis_report,
    train_on_synthetic,
    two_sample_auc,
)


def mixed(n, seed, missing=0.0):
    """A table whose columns depend on one another, of every kind."""
    rng = np.random.default_rng(seed)
    size = rng.normal(size=n)
    price = np.exp(size + 0.3 * rng.normal(size=n))
    shape = np.array(["disc", "ring", "rod"])[
        np.digitize(size + 0.4 * rng.normal(size=n), [-0.5, 0.8])
    ]
    table = pd.DataFrame(
        {
            "size": size,
            "price": price,
            "count": rng.poisson(np.exp(size / 2)),
            "shape": shape,
            "grade": pd.Categorical(np.where(size > 0, 2, 1), categories=[1, 2, 3], ordered=True),
            "large": size + 0.5 * rng.normal(size=n) > 0,
            "when": pd.Timestamp("2020-01-01") + pd.to_timedelta((9 * size).round(), unit="D"),
        }
    )
    if missing:
        table = table.astype({"count": float, "large": "boolean"})
        table = table.mask(rng.uniform(size=table.shape) < missing)
    return table


def permuted(table, seed=0):
    """The same columns, each in its own order: shapes stay, dependence goes."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame({c: v.array[rng.permutation(len(table))] for c, v in table.items()})


TABLES = {"complete": partial(mixed, 400, 0), "missing": partial(mixed, 400, 0, 0.2)}


@pytest.fixture(params=TABLES)
def real(request):
    return TABLES[request.param]()


def test_the_same_table_is_perfect(real):
    assert (column_shapes(real, real).scores == 1).all()
    trends = pair_trends(real, real)
    off_diagonal = ~np.eye(len(trends.scores), dtype=bool)
    assert (trends.scores.to_numpy()[off_diagonal] == 1).all()
    assert trends.mean == quality(real, real) == 1
    assert two_sample_auc(real, real, random_state=0) == 0.5


def test_permuted_columns_keep_shapes_and_lose_trends(real):
    other = permuted(real)
    assert column_shapes(real, other).mean == pytest.approx(1)
    assert pair_trends(real, other).mean < 0.85
    assert quality(real, other) == pytest.approx((1 + pair_trends(real, other).mean) / 2)
    assert two_sample_auc(real, other, random_state=0) > 0.75


def test_a_second_sample_is_good_but_not_perfect(real):
    other = mixed(400, 1, 0.2 if real.isna().any(axis=None) else 0.0)
    assert 0.9 < column_shapes(real, other).mean < 1
    assert 0.9 < pair_trends(real, other).mean < 1
    assert 0.4 < two_sample_auc(real, other, random_state=0) < 0.6


def test_shapes_are_those_of_kolmogorov_smirnov_and_total_variation():
    a, b = mixed(300, 0), mixed(200, 1)
    b["size"] += 0.3
    scores = column_shapes(a, b).scores
    assert scores["size"] == pytest.approx(1 - ks_2samp(a["size"], b["size"]).statistic)
    assert scores["count"] == pytest.approx(1 - ks_2samp(a["count"], b["count"]).statistic)
    days = [t["when"].astype("int64") for t in (a, b)]
    assert scores["when"] == pytest.approx(1 - ks_2samp(*days).statistic)
    shares = [t["shape"].value_counts(normalize=True) for t in (a, b)]
    assert scores["shape"] == pytest.approx(1 - (shares[0] - shares[1]).abs().sum() / 2)


def test_disjoint_columns_score_zero():
    a = pd.DataFrame({"x": [1.0, 2.0], "y": ["a", "b"]})
    b = pd.DataFrame({"x": [3.0, 4.0], "y": ["c", "d"]})
    assert (column_shapes(a, b).scores == 0).all()
    assert pair_trends(a, b).scores.loc["x", "y"] == 0


@pytest.mark.parametrize("correlation", ["pearson", "spearman"])
def test_trends_of_numbers_are_differences_of_correlations(correlation):
    a, b = mixed(300, 0, 0.1), mixed(300, 1)
    b["price"] = -b["price"]
    scores = pair_trends(a, b, correlation=correlation).scores
    rho, other = (t[["size", "price"]].corr(method=correlation).iloc[0, 1] for t in (a, b))
    assert scores.loc["size", "price"] == pytest.approx(1 - abs(rho - other) / 2)
    assert scores.equals(scores.T)


def test_cramers_v_is_that_of_scipy(real):
    counts = pd.crosstab(real["shape"].fillna("-"), real["grade"].astype(object).fillna("-"))
    expected = association(counts, method="cramer")
    assert pair_trends(real, real).strength.loc["shape", "grade"] == pytest.approx(expected)


def test_what_is_lost_in_the_synthetic_table_counts():
    """A column that has collapsed must not be passed over."""
    real = mixed(300, 0)
    trends = pair_trends(real, real.assign(price=1.0))
    assert trends.scores.loc["size", "price"] == 1 - trends.strength.loc["size", "price"] / 2
    scores = column_shapes(real, real.assign(price=np.nan)).scores
    assert scores["price"] == 0 and scores.drop("price").eq(1).all()
    assert np.isnan(column_shapes(real.assign(price=np.nan), real).scores["price"])


@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
def test_trends_of_mixed_pairs_are_those_of_bins_of_the_real_table(strategy):
    a, b = mixed(300, 0), mixed(300, 1)
    b.loc[0, "price"] = 1e9  # an outlier must not move the bins
    cut = {
        "uniform": partial(np.histogram_bin_edges, bins=10),
        "quantile": partial(np.quantile, q=np.linspace(0, 1, 11)),
    }
    edges = cut[strategy](a["price"])[1:-1]
    joint = [
        pd.crosstab(np.digitize(t["price"], edges), t["shape"], normalize="all") for t in (a, b)
    ]
    expected = 1 - joint[0].sub(joint[1], fill_value=0).abs().sum().sum() / 2
    scores = pair_trends(a, b, strategy=strategy).scores
    assert scores.loc["price", "shape"] == pytest.approx(expected)


def test_only_pairs_that_depend_in_the_real_table_count():
    rng = np.random.default_rng(0)
    x = rng.normal(size=500)
    real = pd.DataFrame({"x": x, "y": x + 0.1 * rng.normal(size=500), "z": rng.normal(size=500)})
    broken = permuted(real)
    trends = pair_trends(real, broken)
    assert trends.mean == trends.scores.loc["x", "y"] < 0.6
    assert trends.strength.loc["x", "y"] > 0.9 > 0.2 > trends.strength.loc["x", "z"]
    everything = pair_trends(real, broken, min_correlation=0, min_association=0)
    assert everything.mean > 0.8
    alone = real[["x", "z"]]
    assert np.isnan(pair_trends(alone, alone).mean)
    assert quality(alone, permuted(alone)) == pytest.approx(1)


def test_a_share_of_copies_is_the_share_of_copies():
    train, holdout, fresh = (mixed(300, seed) for seed in range(3))
    copied = closest_record(train, holdout, train.iloc[::-1])
    assert copied.share == copied.copies == 1
    assert copied.median == copied.low == 0 < copied.holdout_low < copied.holdout_median
    half = closest_record(train, holdout, pd.concat([train[:150], fresh[:150]]))
    assert half.copies == 0.5
    assert half.share == pytest.approx(0.75, abs=0.06)
    honest = closest_record(train, holdout, fresh)
    assert honest.share == pytest.approx(0.5, abs=0.07)
    assert honest.copies == honest.holdout_copies == 0
    assert honest.median == pytest.approx(honest.holdout_median, rel=0.3)
    backwards = closest_record(holdout, train, train)
    assert backwards.share == 0


def test_noise_on_copies_is_seen_as_copying():
    train, holdout = (np.random.default_rng(s).normal(size=(300, 4)) for s in (0, 1))
    noise = np.random.default_rng(2).normal(size=train.shape)
    found = closest_record(train, holdout, train + 0.05 * noise)
    assert found.share > 0.95 and found.copies == 0 and found.median < found.holdout_median / 3


def test_distances_are_manhattan_on_ranks_and_halved_dummies():
    train, holdout, synthetic = (mixed(120, seed) for seed in range(3))
    numbers = ["size", "price", "count", "when"]
    known = pd.concat([train, holdout])

    def coded(table):
        parts = [
            (known[c].to_numpy() < table[[c]].to_numpy()).mean(1) / 2
            + (known[c].to_numpy() <= table[[c]].to_numpy()).mean(1) / 2
            for c in numbers
        ]
        dummies = pd.concat([known, table])[["shape", "grade", "large"]].astype(str)
        halves = pd.get_dummies(dummies, dtype=float)[len(known) :].to_numpy() / 2
        return np.column_stack([*parts, halves])

    near = cdist(coded(synthetic), coded(train), "cityblock").min(1)
    far = cdist(coded(synthetic), coded(holdout), "cityblock").min(1)
    found = closest_record(train, holdout, synthetic)
    assert found.median == pytest.approx(np.median(near))
    assert found.low == pytest.approx(np.quantile(near, 0.05))
    assert found.share == pytest.approx(np.mean(near < far), abs=1 / 120)


def test_tables_of_unequal_sizes_are_compared_at_equal_ones():
    X = np.random.default_rng(0).normal(size=(900, 3))
    found = closest_record(X[:600], X[600:700], X[700:], random_state=0)
    assert found.share == pytest.approx(0.5, abs=0.1)
    assert found == closest_record(X[:600], X[600:700], X[700:], random_state=0)
    assert closest_record(X[:600], X[600:700], X[:600]).copies == 1


def test_blocks_change_nothing(monkeypatch):
    parts = [mixed(150, seed, 0.1) for seed in range(3)]
    whole = closest_record(*parts)
    monkeypatch.setattr("skvae.metrics.privacy._BLOCK_CELLS", 1000)
    assert closest_record(*parts) == whole


def test_copies_of_half_a_table_do_not_hide_the_other_half():
    real = mixed(400, 0)
    half = pd.concat([real[:200], permuted(mixed(200, 1))], ignore_index=True)
    assert 0.6 < two_sample_auc(real, half, random_state=0) < 0.9


def test_equal_rows_are_not_told_apart_by_their_twins():
    """Few distinct rows: equal ones must neither cancel what differs nor betray what does not."""
    a = pd.DataFrame({"x": [True] * 100 + [False] * 100})
    b = pd.DataFrame({"x": [True] * 180 + [False] * 20})
    assert two_sample_auc(a, a, random_state=0) == 0.5
    assert two_sample_auc(a, b, random_state=0) == pytest.approx(0.7, abs=0.02)


def test_many_levels_by_many_levels_fit_into_memory():
    rng = np.random.default_rng(0)
    levels = np.arange(60_000)
    table = pd.DataFrame({c: pd.Categorical(rng.permutation(levels)) for c in "ab"})
    trends = pair_trends(table, table)
    assert trends.mean == 1 and trends.strength.loc["a", "b"] == pytest.approx(1)


def test_many_levels_are_no_obstacle():
    rng = np.random.default_rng(0)
    levels = pd.Categorical(rng.integers(1000, size=3000))
    table = pd.DataFrame({"x": levels, "y": rng.normal(size=3000)})
    other = table.iloc[rng.permutation(3000)[:1500]]
    assert two_sample_auc(table, other, random_state=0) < 0.6
    assert 0.5 < column_shapes(table, other).mean < 1


@pytest.mark.parametrize(
    ("target", "score"), [("large", "roc_auc"), ("shape", "accuracy"), ("price", "r2")]
)
def test_training_on_other_real_rows_is_as_good_and_on_noise_worthless(target, score):
    train, other, test = (mixed(400, seed, 0.05) for seed in range(3))
    good = train_on_synthetic(train, other, test, target, random_state=0)
    assert good.score == score
    assert good.synthetic == pytest.approx(good.real, abs=0.12) and good.real > 0.6
    bad = train_on_synthetic(train, permuted(other), test, target, random_state=0)
    assert bad.real == good.real
    assert bad.synthetic < good.real - 0.2


def test_numbers_of_two_values_are_classes():
    X = np.random.default_rng(0).normal(size=(600, 3))
    X[:, 2] = 1 + (X[:, 0] > 0)
    found = train_on_synthetic(X[:200], X[200:400], X[400:], 2, random_state=0)
    assert found.score == "roc_auc" and found.synthetic > 0.95
    blurred = X[200:400] + 0.1 * np.random.default_rng(1).normal(size=(200, 3))
    assert train_on_synthetic(X[:200], blurred, X[400:], 2, random_state=0).synthetic > 0.95


def test_a_synthetic_table_of_one_class_is_worth_a_guess():
    tables = [mixed(200, seed) for seed in range(3)]
    share = (tables[2]["shape"] == "ring").mean()
    for target, value, guess in (("large", True, 0.5), ("shape", "ring", share)):
        constant = tables[1].assign(**{target: value})
        found = train_on_synthetic(tables[0], constant, tables[2], target, random_state=0)
        assert found.synthetic == guess


def test_containers_and_orders_do_not_matter():
    polars = pytest.importorskip("polars")
    a, b = (mixed(200, seed).astype({"grade": str, "shape": str}) for seed in (0, 1))
    measures = [quality, partial(two_sample_auc, random_state=0)]
    for measure in measures:
        expected = measure(a, b)
        assert measure(a, b[list(b.columns[::-1])]) == expected
        assert measure(polars.from_pandas(a), b) == pytest.approx(expected, abs=0.02)
    X, Y = (table[["size", "price"]] for table in (a, b))
    assert quality(X.to_numpy(), Y.to_numpy()) == quality(X, Y) == quality(X, Y.to_numpy())


def test_a_random_state_is_obeyed_and_global_generators_left_alone():
    a, b = mixed(50, 0), mixed(50, 1)
    before = np.random.get_state()[1].copy()
    first = two_sample_auc(a, b, random_state=3)
    assert first == two_sample_auc(a, b, random_state=3)
    states = [np.random.RandomState(1) for _ in range(2)]
    assert two_sample_auc(a, b, random_state=states[0]) == two_sample_auc(
        a, b, random_state=states[1]
    )
    two_sample_auc(a, b)
    assert (np.random.get_state()[1] == before).all()


@pytest.mark.parametrize("where", ["nowhere", "one row", "the real table alone"])
def test_columns_with_hardly_a_cell_are_no_obstacle(where):
    rng = np.random.default_rng(0)
    tables = [
        pd.DataFrame({"a": rng.normal(size=80), "gone": np.nan}).assign(b=lambda X: X["a"] > 0)
        for _ in range(3)
    ]
    if where == "one row":
        tables[0].loc[3, "gone"] = 1.0
    if where == "the real table alone":
        tables[0]["gone"] = tables[2]["gone"] = rng.normal(size=80)
    auc = two_sample_auc(*tables[:2], random_state=0)
    # That a column is there in one table only tells the tables apart.
    assert auc == 1.0 if where.startswith("the") else abs(auc - 0.5) < 0.15
    worth = train_on_synthetic(*tables, "b", random_state=0)
    assert min(worth.real, worth.synthetic) > 0.95
    report = synthesis_report(tables[0], tables[2], {"x": tables[1]}, target="b", random_state=0)
    assert np.isfinite(report.loc["x", ["auc", "trained_on_synthetic"]].astype(float)).all()


def test_report_holds_what_the_measures_say():
    train, holdout, other = (mixed(150, seed) for seed in range(3))
    tables = {"copy": train, "other": other}
    report = synthesis_report(train, holdout, tables, target="large", random_state=0)
    assert list(report.index) == ["copy", "other"]
    assert report.loc["copy", ["quality", "closer_to_train", "copies"]].tolist() == [1, 1, 1]
    line = report.loc["other"]
    assert line["quality"] == quality(train, other)
    assert line["auc"] == two_sample_auc(holdout, other, random_state=0)
    worth = train_on_synthetic(train, other, holdout, "large", random_state=0)
    assert (line["trained_on_synthetic"], line["trained_on_real"]) == worth[:2]
    assert line["closer_to_train"] == closest_record(train, holdout, other).share
    alone = synthesis_report(train, holdout, other, random_state=0)
    assert list(alone.index) == ["synthetic"] and "trained_on_real" not in alone


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"target": "larg"}, "target .* 'larg'"),
        ({"target": "price"}, "target that varies"),
        ({"more": "size"}, "synthesis_report expects .* missing .'size'"),
    ],
    ids=["unknown target", "constant target", "a table of other columns"],
)
def test_report_refuses_before_it_works(wrong, message, monkeypatch):
    train, holdout, synthetic = (mixed(60, seed).assign(price=1.0) for seed in range(3))
    tables = {"good": synthetic}
    if "more" in wrong:
        tables["other"] = synthetic.drop(columns=wrong["more"])

    def work(*arguments, **options):
        raise AssertionError("it has worked")

    for name in ("column_shapes", "pair_trends", "two_sample_auc", "closest_record"):
        monkeypatch.setattr("skvae.metrics.report." + name, work)
    with pytest.raises(ValueError, match=message):
        synthesis_report(train, holdout, tables, wrong.get("target"), random_state=0)


A = mixed(20, 0)
BAD = {
    "no rows": (lambda: quality(A, A[:0]), "column_shapes expects .* synthetic table without"),
    "other columns": (lambda: quality(A, A.rename(columns={"size": "width"})), "missing .'size'"),
    "too few columns": (lambda: quality(A.to_numpy()[:, :2].astype(float), A), "2 columns"),
    "text for numbers": (lambda: quality(A, A.astype({"count": str})), "'count' .* same kind"),
    "no such target": (lambda: train_on_synthetic(A, A, A, "weight"), "target .* 'weight'"),
    "constant target": (
        lambda: train_on_synthetic(*[A.assign(size=1.0)] * 3, "size"),
        "target that varies",
    ),
    "missing target": (
        lambda: train_on_synthetic(A, A.assign(size=np.nan), A, "size"),
        "synthetic table where 'size' is missing",
    ),
    "nothing beside": (
        lambda: train_on_synthetic(*[A[["size"]]] * 3, "size"),
        "beside the target",
    ),
    "correlation": (lambda: pair_trends(A, A, correlation="kendall"), "correlation should be"),
    "strategy": (lambda: pair_trends(A, A, strategy="kmeans"), "strategy should be one of"),
    "bins": (lambda: pair_trends(A, A, n_bins=0), "n_bins should be"),
    "infinite": (lambda: quality(A, A.assign(price=np.inf)), "infinity .* column 'price'"),
    "one class in the test": (
        lambda: train_on_synthetic(A, A, A[A["large"]], "large"),
        "both values of 'large'",
    ),
    "splits": (lambda: two_sample_auc(A, A, n_splits=50), "n_splits .* 20, got 50"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_with_the_repair(name):
    call, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        call()


def test_measures_need_no_torch():
    code = "import sys, skvae.metrics; print({'torch', 'matplotlib'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"
