"""VAESynthesizer: rows like those of a table, conditions, the critic, bad input."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from skvae import VAESynthesizer
from skvae.metrics import closest_record, column_shapes, pair_trends
from skvae.noise import Noise
from skvae.synthesis import drawing
from skvae.synthesis.critic import _trust
from skvae.synthesis.fitting import CyclicSettings
from skvae.synthesis.masks import UniformMask

QUICK = {"max_iter": 24, "n_members": 2, "hidden_layer_sizes": (48, 48), "random_state": 0}


def mixed_table(n=600, seed=0):
    """A normal, a skewed and a gridded number, and a category that all of them depend on."""
    rng = np.random.default_rng(seed)
    group = rng.choice(3, n, p=[0.5, 0.3, 0.2])
    size = 2.0 * group + rng.normal(size=n)
    return pd.DataFrame(
        {
            "group": pd.Categorical.from_codes(group, ["a", "b", "c"]),
            "size": size,
            "price": np.exp(0.5 * size + 0.3 * rng.normal(size=n)),
            "age": np.round(40 + 8 * rng.normal(size=n) + 3 * group).astype(int),
            "flag": rng.uniform(size=n) < 0.2 + 0.3 * (group == 1),
        }
    )


@parametrize_with_checks([VAESynthesizer(max_iter=2, n_members=1, hidden_layer_sizes=(16, 16))])
def test_estimator_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def table():
    return mixed_table()


@pytest.fixture(scope="module")
def synthesizer(table):
    return VAESynthesizer(**QUICK | {"max_iter": 40}).fit(table)


def test_rows_have_the_shape_of_the_table(synthesizer, table):
    rows = synthesizer.sample(600, random_state=1)
    assert rows.dtypes.equals(table.dtypes) and list(rows) == list(table)
    assert not rows.isna().any().any()
    assert column_shapes(table, rows).mean > 0.92
    assert pair_trends(table, rows).mean > 0.9
    rng = np.random.default_rng(0)
    apart = pd.DataFrame({name: rows[name].to_numpy()[rng.permutation(600)] for name in rows})
    assert pair_trends(table, apart).mean < pair_trends(table, rows).mean - 0.02


def test_rows_copy_no_row(synthesizer, table):
    rows, others = synthesizer.sample(600, random_state=2), mixed_table(seed=1)
    assert closest_record(table, others, rows).share < 0.6
    assert closest_record(table, others, table).share > 0.95


def test_recorded_resolution_and_range_are_kept(synthesizer, table):
    rows = synthesizer.sample(500)
    assert rows["age"].between(table["age"].min(), table["age"].max()).all()
    assert rows["price"].gt(0).all()


def test_given_cells_are_as_given_and_move_the_others(synthesizer, table):
    for level, expected in table.groupby("group", observed=True):
        rows, size = synthesizer.sample(400, given={"group": level}, return_effective_size=True)
        assert (rows["group"] == level).all() and size > 200
        error = expected["size"].std() * (1 / len(expected) + 1 / size) ** 0.5
        way = expected["size"].mean() - table["size"].mean()
        # What is learned from some hundred rows falls a little short of what they show.
        assert abs(rows["size"].mean() - expected["size"].mean()) < 3 * error + 0.3 * abs(way)
        if level != "b":
            assert (rows["size"].mean() - table["size"].mean()) / way > 0.5


def test_one_condition_per_row(synthesizer):
    given = pd.DataFrame({"group": ["a", "c"] * 100, "flag": [True, False] * 100})
    rows = synthesizer.sample(given=given)
    assert rows["group"].tolist() == given["group"].tolist()
    assert rows["flag"].tolist() == given["flag"].tolist()
    means = rows.groupby("group", observed=True)["size"].mean()
    assert means["c"] > means["a"] + 2.0


@pytest.mark.parametrize("rho", [0.8, -0.5])
def test_conditional_moments_of_a_known_normal(rho):
    rng = np.random.default_rng(0)
    X = rng.multivariate_normal([1.0, -2.0], [[1.0, 2 * rho], [2 * rho, 4.0]], size=1500)
    synthesizer = VAESynthesizer(**QUICK | {"max_iter": 30}).fit(X)
    rows, size = synthesizer.sample(2000, given={0: 2.0}, return_effective_size=True)
    assert np.all(rows[:, 0] == 2.0)
    sd = 2 * (1 - rho**2) ** 0.5
    # The table itself tells the mean at 2 only up to its own error, about twice that at 1.
    error = sd * (1 / size + 2 / len(X)) ** 0.5
    assert abs(rows[:, 1].mean() - (-2.0 + 2 * rho)) < 4 * error
    assert abs(rows[:, 1].std() / sd - 1.0) < 0.15
    assert abs(synthesizer.sample(1000)[:, 1].mean() - (-2.0 + 2 * rho)) > 4 * error


def test_conditional_shares_of_a_known_discrete_table():
    rng = np.random.default_rng(0)
    cause = rng.choice(["x", "y"], 1500)
    effect = np.where(rng.uniform(size=1500) < np.where(cause == "x", 0.9, 0.2), "on", "off")
    X = pd.DataFrame({"cause": cause, "effect": effect}, dtype="category")
    synthesizer = VAESynthesizer(**QUICK).fit(X)
    for level, share in (("x", 0.9), ("y", 0.2)):
        rows = synthesizer.sample(1000, given={"cause": level})
        error = (share * (1 - share) * (1 / 1000 + 2 / 1500)) ** 0.5
        assert abs((rows["effect"] == "on").mean() - share) < 4 * error


@pytest.mark.parametrize(
    "given",
    [{"size": 40.0}, {"age": 400}, {"group": "a", "size": 8.0}, {"price": 90.0, "size": -1.0}],
    ids=["far", "far-bin", "category-number", "numbers"],
)
def test_conditions_that_no_row_is_like_are_told(synthesizer, given):
    with pytest.warns(UserWarning, match="200 rows are worth about"):
        rows, size = synthesizer.sample(200, given=given, return_effective_size=True)
    assert len(rows) == 200 and size < 20


def test_conditions_that_rows_meet_count_in_full(synthesizer, table):
    few = table.sample(20, random_state=0)[["group", "size", "flag"]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for given in ({"group": "a", "size": 0.5}, {"age": 41}, {"price": 2.7, "size": 2.0}):
            assert synthesizer.sample(50, given=given, return_effective_size=True)[1] == 50
        assert synthesizer.sample(given=few, return_effective_size=True)[1] > 15
    # One impossible condition of two takes its half.
    apart = [{"size": 1.0}, {"size": 40.0}]
    assert synthesizer.sample(given=apart, return_effective_size=True)[1] == pytest.approx(1.0)


def test_combinations_of_no_probability_are_told():
    code = np.random.default_rng(0).choice(4, 2000)
    X = pd.DataFrame({"part": np.array(list("abcd"))[code], "of": np.array(list("ppqq"))[code]})
    X["size"] = code + np.random.default_rng(1).normal(size=2000)
    synthesizer = VAESynthesizer(**QUICK).fit(X.astype({"part": "category", "of": "category"}))
    assert (
        synthesizer.sample(100, given={"part": "a", "of": "p"}, return_effective_size=True)[1]
        == 100
    )
    with pytest.warns(UserWarning, match="unlikely under the model"):
        synthesizer.sample(100, given={"part": "a", "of": "q"})


def test_step_size_falls_to_nothing_and_begins_again_lower():
    settings = CyclicSettings(160, 32, 1e-2)
    tops, ends = [settings.rate(e) for e in (3.3, 40, 80, 120)], [39.9, 79.9, 119.9, 159.9]
    assert tops == sorted(tops, reverse=True) and tops[-1] > 3e-3
    assert all(settings.rate(e) < 1e-5 for e in ends)
    short = CyclicSettings(10, 32, 1e-2)
    assert short.rate(5.0) > 4e-3 and short.rate(9.9) < 1e-5


def test_critic_mends_a_poor_generator(table):
    poor = VAESynthesizer(**QUICK | {"max_iter": 1}).fit(table)
    with_critic = poor.sample(600, random_state=3)
    without = clone(poor).set_params(critic=None).fit(table).sample(600, random_state=3)
    assert pair_trends(table, with_critic).mean > pair_trends(table, without).mean


def test_critic_trusts_itself_as_far_as_unseen_rows_allow():
    rng = np.random.default_rng(0)
    unseen, drawn = rng.normal(1.0, 1.0, 4000), rng.normal(-1.0, 1.0, 4000)
    # The log-odds of two normals of these means are 2 x: a critic that says 8 x is too sure.
    assert 0.4 <= _trust(4 * unseen, 4 * drawn) <= 0.6
    assert 0.9 <= _trust(2 * unseen, 2 * drawn) <= 1.1
    assert _trust(rng.normal(size=4000), rng.normal(size=4000)) <= 0.1


def test_tables_with_gaps_give_complete_rows(table):
    rng = np.random.default_rng(0)
    gappy = table.mask(rng.uniform(size=table.shape) < 0.3)
    rows = VAESynthesizer(**QUICK).fit(gappy).sample(300)
    assert not rows.isna().any().any()
    assert column_shapes(table, rows).mean > 0.85


def test_same_seed_same_rows_and_no_global_generator(synthesizer, table):
    state = np.random.get_state()[1].copy()
    first = synthesizer.sample(50, random_state=5)
    assert first.equals(synthesizer.sample(50, random_state=5))
    assert not first.equals(synthesizer.sample(50, random_state=6))
    again = pickle.loads(pickle.dumps(synthesizer)).sample(50, random_state=5)
    assert first.equals(again)
    assert (np.random.get_state()[1] == state).all()


@pytest.mark.parametrize("container", ["numpy", "polars"])
def test_containers_come_back(container, table):
    X = table[["size", "price", "age"]]
    if container == "polars":
        pl = pytest.importorskip("polars")
        X = pl.DataFrame({name: X[name].to_numpy() for name in X})
    else:
        X = X.to_numpy()
    rows = VAESynthesizer(**QUICK | {"max_iter": 2}).fit(X).sample(7)
    assert type(rows) is type(X) and rows.shape == (7, 3)


def test_masks_that_judge_are_the_same_each_time():
    import torch

    seen = torch.ones(2, 1, 200, 10)
    masks = UniformMask()
    assert torch.equal(masks.fixed(seen), masks.fixed(seen))
    drawn = masks(seen, Noise([0, 1]))
    assert not torch.equal(drawn[0], drawn[1])
    counts = drawn.sum(-1).flatten().numpy()
    assert np.ptp(np.bincount(counts.astype(int), minlength=11)[1:10]) < 40


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda s: s.sample(0), ValueError, "at least 1"),
        (lambda s: s.sample(2.5), TypeError, "integer"),
        (lambda s: s.sample(given={"sex": "a"}), ValueError, "'sex'"),
        (lambda s: s.sample(given={"group": "z"}), ValueError, "'a', 'b', 'c'"),
        (lambda s: s.sample(given={"size": np.nan}), ValueError, "Leave out"),
        (lambda s: s.sample(5, given=pd.DataFrame({"group": ["a", "b"]})), ValueError, "2 cond"),
    ],
)
def test_bad_requests_say_what_to_do(synthesizer, call, error, words):
    with pytest.raises(error, match=words):
        call(synthesizer)


def test_layers_without_width_are_refused(table):
    with pytest.raises(ValueError, match="hidden_layer_sizes"):
        VAESynthesizer(hidden_layer_sizes=()).fit(table)


@pytest.mark.parametrize(
    "X",
    [
        pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]}),
        pd.DataFrame({"a": [1.0, 2.0, 3.0] * 10, "b": ["same"] * 30}),
        pd.DataFrame({"a": [1.0, None, 3.0] * 10, "b": [None, "x", "y"] * 10}),
    ],
    ids=["two-rows", "constant", "gaps"],
)
def test_small_and_odd_tables_work(X):
    rows = VAESynthesizer(**QUICK | {"max_iter": 2}).fit(X).sample(4)
    assert rows.shape == (4, X.shape[1]) and not rows.isna().any().any()


def test_rows_without_gaps_among_those_with_some_need_no_draw(monkeypatch):
    monkeypatch.setattr(drawing, "ROWS_AT_ONCE", 64)
    table = mixed_table(200)
    table.loc[150:, "size"] = np.nan
    VAESynthesizer(**QUICK | {"max_iter": 2}).fit(table)
