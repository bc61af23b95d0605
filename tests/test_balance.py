"""Balance: rows that are chosen count as the real ones do, and on the average change nothing."""

import numpy as np
import pandas as pd
import pytest
from sklearn.tree import DecisionTreeRegressor

from skvae import VAESynthesizer
from skvae.metrics import closest_record, pair_trends, quality
from skvae.synthesis import balance as module
from skvae.synthesis.balance import Balance, Leaves

N = 2000


def rows(n, seed, rho=0.0):
    """Two numbers and a category of three that depends on their product, if ``rho`` is not 0."""
    rng = np.random.RandomState(seed)
    x = rng.normal(size=(n, 2))
    group = rng.choice(3, size=n, p=[0.6, 0.3, 0.1])
    moved = rng.uniform(size=n) < abs(rho)
    group = np.where(moved, np.where(x[:, 0] * x[:, 1] > 0, 0, 1), group)
    x[:, 1] = rho * x[:, 0] + (1 - rho**2) ** 0.5 * x[:, 1]
    return np.column_stack([x, group])


def apart(real, drawn):
    """Largest difference of a share of pairs of thirds and categories."""
    cuts = np.quantile(real[:, 0], [1 / 3, 2 / 3])

    def shares(table):
        code = np.searchsorted(cuts, table[:, 0]) * 3 + table[:, 2].astype(int)
        return np.bincount(code, minlength=9) / len(table)

    return np.abs(shares(real) - shares(drawn)).max()


@pytest.fixture(scope="module")
def real():
    return rows(N, 0)


@pytest.fixture(scope="module")
def balance(real):
    return Balance(real, [False, False, True], 0)


def test_chosen_rows_count_as_the_real_ones_do(real, balance):
    found = []
    for seed in range(5):
        drawn = rows(2 * N, 10 + seed)
        kept = balance.choose(drawn, N, np.random.RandomState(seed))
        assert len(np.unique(kept)) == N and (np.diff(kept) > 0).all()
        found.append([apart(real, drawn[kept]), apart(real, drawn[:N])])
    chosen, independent = np.mean(found, 0)
    assert chosen < 0.3 * independent


def test_what_three_columns_do_together_is_kept_in_the_leaves():
    real, drawn = rows(N, 0, 0.6), rows(2 * N, 1, 0.5)

    def together(table):
        return np.mean((table[:, 0] * table[:, 1] > 0) & (table[:, 2] == 0))

    def miss(n_leaves):
        balance = Balance(real, [False, False, True], 0)
        balance.counts = balance.counts[: 3 + n_leaves]
        kept = balance.choose(drawn, N, np.random.RandomState(0))
        return abs(together(drawn[kept]) - together(real))

    # Pairs alone do not see it.
    assert miss(3) < 0.5 * miss(0)


def test_few_rows_of_many_calls_have_the_shares_of_what_is_drawn(balance):
    rng = np.random.RandomState(0)
    calls, n = 400, 7
    chosen, pool = np.zeros(3), np.zeros(3)
    for call in range(calls):
        drawn = rows(2 * n, 1000 + call)
        kept = balance.choose(drawn, n, rng)
        chosen += np.bincount(drawn[kept][:, 2].astype(int), minlength=3)
        pool += np.bincount(drawn[:, 2].astype(int), minlength=3)
    pool /= pool.sum()
    # Half of what is drawn: its share is known with the error of as many independent rows again.
    error = (pool * (1 - pool) / (2 * calls * n)) ** 0.5
    assert (np.abs(chosen / (calls * n) - pool) < 3.5 * error).all()


def test_leaves_are_those_of_the_tree(real):
    codes = np.column_stack([np.digitize(real[:, j], np.linspace(-2, 2, 20)) for j in (0, 1)])
    codes = np.column_stack([codes, real[:, 2].astype(int)])
    leaves = Leaves(codes, 0, False, 0)
    others = codes.copy()
    others[:, 0] = 0
    tree = DecisionTreeRegressor(min_samples_leaf=module.LEAF_ROWS, random_state=0)
    tree.fit(others, codes[:, 0])
    new = np.random.RandomState(1).permutation(codes)
    hidden = new.copy()
    hidden[:, 0] = 0
    assert (leaves.place(new) == tree.apply(hidden)).all()


def test_wide_tables_are_balanced_on_what_depends(monkeypatch):
    rng = np.random.RandomState(0)
    real = rng.normal(size=(400, 8))
    real[:, 5] = real[:, 2] + 0.1 * rng.normal(size=400)
    monkeypatch.setattr(module, "MOST_PAIRS", 3)
    pairs = Balance(real, [False] * 8, 0).counts[:-8]
    assert len(pairs) == 3 and (2, 5) in {(c.first, c.second) for c in pairs}
    monkeypatch.setattr(module, "MOST_COLUMNS", 4)
    few = Balance(real, [False] * 8, 0)
    assert len(few.columns) == 4 and len(few.choose(real, 100, rng)) == 100


def table(n, seed):
    rng = np.random.default_rng(seed)
    group = rng.choice(3, n, p=[0.5, 0.3, 0.2])
    size = 2.0 * group + rng.normal(size=n)
    flag = rng.uniform(size=n) < 1 / (1 + np.exp(-size))
    return pd.DataFrame(
        {"group": np.array(list("abc"))[group], "size": size, "flag": flag}
    ).astype({"group": "category"})


@pytest.fixture(scope="module")
def synthesizer():
    options = {"max_iter": 15, "hidden_layer_sizes": (32, 32), "random_state": 0}
    return VAESynthesizer(critic=None, **options).fit(table(800, 0))


def test_synthesizers_draw_balanced_rows(synthesizer):
    balanced, other = synthesizer.sample(800), table(800, 1)
    balance, synthesizer.balance_ = synthesizer.balance_, None
    independent = synthesizer.sample(800)
    synthesizer.balance_ = balance
    real = table(800, 0)
    assert quality(real, balanced) > quality(real, other)
    assert pair_trends(real, balanced).mean > pair_trends(real, independent).mean + 0.01
    # More like other real rows, too, and no copies.
    assert quality(other, balanced) > quality(other, independent)
    assert closest_record(real, other, balanced).share < 0.58


def test_conditions_know_no_balance(synthesizer):
    given = {"group": "a"}
    rows = synthesizer.sample(100, given=given, random_state=0)
    balance, synthesizer.balance_ = synthesizer.balance_, None
    again = synthesizer.sample(100, given=given, random_state=0)
    synthesizer.balance_ = balance
    assert rows.equals(again)


def test_parts_of_large_samples_are_balanced_each(synthesizer, monkeypatch):
    monkeypatch.setattr("skvae.synthesis.sampling.BALANCED_AT_ONCE", 300)
    sizes, choose = [], Balance.choose

    def counted(self, drawn, n, rng):
        sizes.append(n)
        return choose(self, drawn, n, rng)

    monkeypatch.setattr(Balance, "choose", counted)
    rows, size = synthesizer.sample(700, return_effective_size=True)
    assert len(rows) == size == 700 and sizes == [234, 233, 233]


def test_gaps_that_depend_on_values_do_not_move_the_counts():
    whole = table(1500, 0)
    rng = np.random.default_rng(1)
    gone = rng.uniform(size=1500) < np.where(whole["group"] == "a", 0.6, 0.1)
    gappy = whole.assign(size=whole["size"].mask(gone))
    options = {"max_iter": 15, "hidden_layer_sizes": (32, 32), "random_state": 0}
    rows = VAESynthesizer(critic=None, **options).fit(gappy).sample(1500)
    off = abs(rows["size"].mean() - whole["size"].mean())
    assert off < 0.4 * abs(gappy["size"].mean() - whole["size"].mean())


def test_without_balance():
    synthesizer = VAESynthesizer(balance=None, critic=None, max_iter=1, random_state=0)
    assert synthesizer.fit(table(100, 0)).balance_ is None
    assert len(synthesizer.sample(5)) == 5
    few = VAESynthesizer(max_iter=1, random_state=0).fit(table(40, 0))
    assert few.balance_ is None and len(few.sample(5)) == 5
