"""Rank margins: true densities in the original units, and samples with the margins of columns."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from skvae import VAEOutlierDetector, VAETransformer
from skvae.table import TableCodec
from skvae.table.margins import Margin, resolution

N = 2000


def columns():
    rng = np.random.default_rng(0)
    return {
        "lognormal": rng.lognormal(2, 1.5, N),
        "cauchy": rng.standard_cauchy(N),
        "normal": 7 * rng.normal(size=N),
        "single": (rng.normal(size=N) * 0.1).astype(np.float32),
        "whole": np.round(rng.normal(50, 20, N)),
        "gaps": np.round(rng.normal(50, 20, N)) * rng.choice([1, 3], N),
        "decimals": np.round(rng.normal(5, 2, N), 1),
        "many": np.round(rng.lognormal(8, 1, N)),
        "spike": np.where(rng.random(N) < 0.4, 0.0, rng.lognormal(2, 1.5, N)),
        "spikes": np.where(rng.random(N) < 0.3, 5.0, np.round(rng.normal(5, 3, N), 2)),
        "atoms": rng.choice([0.0, 1.0, 2.0, 5.0, 100.0], N),
        "some": rng.poisson(20, N).astype(float),
    }


COLUMNS = columns()
BINNED = {"spike", "spikes", "atoms", "some"}
RECURRING = {"whole", "gaps", "decimals"}


def fitted(name, **params):
    X = pd.DataFrame({name: COLUMNS[name]})
    codec = TableCodec(margins="rank", **params).fit(X)
    return X, codec, codec.columns_[0]


# -------------------------------------------------------------------------------- densities


def grid_of(name):
    """Points that are dense where the column has its mass and reach far beyond it."""
    x = COLUMNS[name].astype(np.float64)
    inner = np.unique(np.quantile(x, np.linspace(0, 1, 4000)))
    reach = (x.max() - x.min() + 1.0) * np.geomspace(1e-6, 1e3, 4000)
    ends = np.r_[x.min() - reach[::-1], inner, x.max() + reach]
    return np.unique(np.r_[ends, np.linspace(x.min() - 1, x.max() + 1, 100_001)])


def total_mass(name, log_density, atoms):
    """Probability of the values with a probability of their own, and the integral elsewhere."""
    edges = np.setdiff1d(grid_of(name), atoms)
    middle = edges[:-1] + 0.5 * np.diff(edges)
    free = ~np.isin(middle, atoms)
    density = np.where(free, np.exp(log_density(middle)), 0.0)
    return np.exp(log_density(atoms)).sum() + (density * np.diff(edges)).sum()


@pytest.mark.parametrize("name", COLUMNS)
def test_the_density_of_a_cell_integrates_to_one(name):
    """With the values at their exact distribution: N(0, 1), or the shares of the bins."""
    X, codec, column = fitted(name)
    shares = None
    if name in BINNED:
        codes = codec.encode(X).values[:, 0].astype(int)
        shares = np.log(np.bincount(codes, minlength=column.size) / N)

    def log_density(x, jacobian=True):
        encoded = codec.encode(pd.DataFrame({name: np.asarray(x, dtype=np.float64)}))
        y = encoded.values[:, 0].astype(np.float64)
        law = stats.norm.logpdf(y) if shares is None else shares[y.astype(int)]
        return law - encoded.log_jacobian[:, 0] * jacobian

    atoms = column.low[column.atoms] if name in BINNED else np.zeros(0)
    assert_allclose(total_mass(name, log_density, atoms), 1.0, atol=1e-3)
    if name != "atoms":
        without = total_mass(name, lambda x: log_density(x, False), atoms)
        assert abs(without - 1.0) > 0.01


@pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning")
@pytest.mark.parametrize("name", ["whole", "spikes", "positive"])
def test_scores_are_densities(name):
    rng = np.random.default_rng(1)
    kinds = None
    if name == "positive":
        X, kinds = pd.DataFrame({name: rng.lognormal(1, 0.5, 600)}), {name: "positive"}
        margins = "scale"
    else:
        X, margins = pd.DataFrame({name: COLUMNS[name][:1000]}), "rank"
    model = VAETransformer(
        1, margins=margins, column_kinds=kinds, hidden_layer_sizes=(8,), max_iter=4, random_state=0
    ).fit(X)
    column = model.codec_.columns_[0]
    atoms = column.low[column.atoms] if hasattr(column, "atoms") else np.zeros(0)
    low, high = float(X[name].min()), float(X[name].max())
    inner = np.quantile(X[name], np.linspace(0, 1, 800))
    reach = (high - low) * np.geomspace(1e-4, 30, 200)
    even = np.linspace(low - 1, high + 1, 3001)
    edges = np.setdiff1d(np.r_[low - reach, inner, even, high + reach], atoms)
    middle = edges[:-1] + 0.5 * np.diff(edges)
    free = ~np.isin(middle, atoms)
    scores = model.score_samples(pd.DataFrame({name: np.r_[atoms, middle]}), n_draws=400)
    scores = np.exp(scores)
    mass = scores[: len(atoms)].sum()
    mass += (scores[len(atoms) :] * np.diff(edges))[free].sum()
    assert_allclose(mass, 1.0, atol=0.02)


def test_the_unit_changes_the_score_by_its_logarithm():
    X = np.random.default_rng(0).lognormal(1, 1.5, (400, 2))
    scores = {}
    for margins in ("rank", "scale"):
        for unit in (1.0, 1000.0):
            model = VAETransformer(2, margins=margins, max_iter=3, random_state=0).fit(X * unit)
            # The kinds found are those of positive columns.
            assert not any(column.is_linear for column in model.codec_.columns_)
            scores[unit] = model.score_samples(X * unit)
            history = model.history_["validation_bound"][-1]
            scores[unit, "history"] = history
            scores[unit, "noise"] = np.array(list(model.diagnostics_["noise_scale"].values()))
        shift = 2 * np.log(1000.0)
        assert_allclose(scores[1.0] - scores[1000.0], shift, atol=2e-3)
        assert_allclose(scores[1.0, "history"] - scores[1000.0, "history"], shift, atol=2e-3)
        assert_allclose(scores[1000.0, "noise"] / scores[1.0, "noise"], 1000.0, rtol=1e-3)


def test_bounds_and_scores_agree_in_original_units():
    """The bound of the history is below the score, and by little for a simple table."""
    X = np.random.default_rng(0).lognormal(0, 1, (600, 2))
    X[::7, 0] = np.nan
    # Calibration trains on, and the history is that of the codes.
    plain = {"objective": "elbo", "calibrate": False, "random_state": 0}
    model = VAETransformer(1, margins="rank", max_iter=30, **plain).fit(X)
    bound = model.history_["bound"][model.best_epoch_ - 1]
    assert -0.2 < model.score(X) - bound < 0.6


# ---------------------------------------------------------------------------------- samples


@pytest.mark.parametrize("name", COLUMNS)
def test_exact_values_come_back_with_the_margins_of_the_column(name):
    X, codec, column = fitted(name)
    x = COLUMNS[name].astype(np.float64)
    if name in BINNED:
        codes = np.repeat(np.sort(codec.encode(X).values[:, 0]), 20)
        rng = np.random.default_rng(0)
        cells = column.decode(codes, rng.random(len(codes)))[0]
        assert stats.ks_2samp(cells, x).statistic < 0.012
        return
    cells = column.decode(stats.norm.ppf((np.arange(20 * N) + 0.5) / (20 * N)))[0]
    if name in RECURRING:
        found, counts = np.unique(cells, return_counts=True)
        values, expected = np.unique(x, return_counts=True)
        assert_array_equal(found, values)
        assert_allclose(counts, 20 * expected, atol=1)
    else:
        assert stats.ks_2samp(cells, x).statistic < 0.004
        shares = [0.1, 0.5, 0.9]
        assert_allclose(np.quantile(cells, shares), np.quantile(x, shares), 0.02, 0.005)
    if name == "many":
        assert_array_equal(cells, np.round(cells))
        assert cells.min() >= x.min() and cells.max() <= x.max()


@pytest.mark.parametrize("name", sorted(set(COLUMNS) - BINNED))
def test_round_trip(name):
    X, codec, _ = fitted(name)
    back = codec.decode(codec.encode(X).values)
    assert back.dtypes.tolist() == X.dtypes.tolist()
    if name in RECURRING | {"many"}:
        assert_array_equal(back, X)
    else:
        # Far out, a score in float32 is a wide range of values.
        assert_allclose(back, X, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", sorted(BINNED))
def test_bins_round_trip(name):
    X, codec, column = fitted(name)
    encoded = codec.encode(X)
    back = codec.decode(encoded.values)
    again = codec.encode(back)
    assert_array_equal(again.values, encoded.values)
    kept = np.isin(X[name], column.low[column.atoms])
    assert kept.any()
    assert_array_equal(back[name][kept], X[name][kept])
    drawn = codec.decode(encoded.values, uniform=np.random.default_rng(0).random((N, 1)))
    assert_array_equal(codec.encode(drawn).values, encoded.values)
    if not kept.all():
        assert drawn[name].nunique() > back[name].nunique()


@pytest.mark.parametrize("name", sorted(set(COLUMNS) - BINNED))
def test_new_extremes_have_finite_increasing_scores(name):
    _, codec, _ = fitted(name)
    x = COLUMNS[name].astype(np.float64)
    new = np.r_[-1e300, x.min() - 10, x.min() - 1, np.sort(x)[::50], x.max() + 1, 1e30, 1e300]
    y = codec.encode(pd.DataFrame({name: new})).values[:, 0]
    assert np.isfinite(y).all()
    assert (np.diff(y) >= 0).all() and (np.diff(y)[np.diff(new) > 1e-3][1:-2] > 0).all()


def test_bins_take_any_number():
    _, codec, column = fitted("spikes")
    new = pd.DataFrame({"spikes": [-1e300, -50.0, 4.9999, 5.0, 5.0001, 80.0, 1e300, np.nan]})
    encoded = codec.encode(new)
    assert np.isfinite(encoded.log_jacobian).all()
    assert encoded.mask.tolist() == [[True]] * 7 + [[False]]
    assert encoded.values[3, 0] == column.atoms[0]
    assert encoded.values[0, 0] == 0 and encoded.values[6, 0] == column.size - 1
    # Far out is less likely than near, and both than a value of the column.
    jacobian = encoded.log_jacobian[:, 0]
    assert jacobian[0] > jacobian[1] > jacobian[3] and jacobian[6] > jacobian[5] > jacobian[3]


@pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning")
def test_a_planted_copula_is_found():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(1000, 1)) + 0.4 * rng.normal(size=(1000, 3))
    X = np.exp(z * [1.0, 2.0, 3.0])
    model = VAETransformer(1, margins="rank", max_iter=30, random_state=0).fit(X)
    drawn = model.sample(2000, random_state=1)
    for j in range(3):
        assert stats.ks_2samp(drawn[:, j], X[:, j]).statistic < 0.06
    assert_allclose(stats.spearmanr(drawn)[0], stats.spearmanr(X)[0], atol=0.06)
    plain = VAETransformer(1, likelihood="normal", max_iter=10, random_state=0).fit(X)
    assert stats.ks_2samp(plain.sample(2000, random_state=1)[:, 2], X[:, 2]).statistic > 0.2
    assert model.score(X) > plain.score(X) + 3


def test_samples_of_a_mixed_table():
    rng = np.random.default_rng(0)
    n = 500
    X = pd.DataFrame(
        {
            "price": np.round(rng.lognormal(3, 1, n), 2),
            "gain": np.where(rng.random(n) < 0.9, 0, rng.integers(100, 90_000, n)),
            "age": rng.integers(17, 90, n),
            "sex": rng.choice(["f", "m"], n),
        }
    )
    X.loc[::9, "price"] = np.nan
    model = VAETransformer(2, margins="rank", max_iter=5, random_state=0).fit(X)
    drawn = model.sample(400, random_state=0)
    assert drawn.dtypes.tolist() == X.dtypes.tolist()
    assert (drawn["gain"] == 0).mean() == pytest.approx(0.9, abs=0.08)
    assert drawn["gain"].nunique() > 5 and drawn["age"].between(17, 89).all()
    assert_allclose(drawn["price"], drawn["price"].round(2))
    pd.testing.assert_frame_equal(drawn, model.sample(400, random_state=0))
    assert not drawn.equals(model.sample(400, random_state=1))
    detector = VAEOutlierDetector(2, margins="rank", max_iter=5, random_state=0).fit(X)
    assert np.isfinite(detector.decision_function(X)).all()


def test_default_margins_have_no_jacobian():
    X = np.random.default_rng(0).normal(size=(50, 3))
    encoded = TableCodec().fit(X).encode(X)
    assert encoded.log_jacobian is None and len(encoded) == 3
    assert encoded.inputs is encoded.values


def test_weights_are_repetitions():
    rng = np.random.default_rng(0)
    X = np.c_[rng.lognormal(size=200), rng.integers(0, 9, 200), rng.normal(size=200).round(1)]
    weight = rng.integers(0, 3, 200)
    one = TableCodec(margins="rank").fit(X, sample_weight=weight)
    two = TableCodec(margins="rank").fit(np.repeat(X, weight, axis=0))
    assert one.blocks_ == two.blocks_
    assert_allclose(one.encode(X).values, two.encode(X).values, atol=0.15)


# -------------------------------------------------------------------------------- resolution


@pytest.mark.parametrize(
    "values, step",
    [
        ([1.0, 2.0, 4.0], 1.0),
        ([100.0, 300.0, 500.0], 200.0),
        ([0.1, 0.2, 0.7], 0.1),
        ([12.25, 13.5, 17.0], 0.25),
        ([np.pi, np.e, 1.0], 0.0),
        ([1e17, 3e17, 1e301], 0.0),
        ([1.0], 0.0),
    ],
)
def test_resolution(values, step):
    assert resolution(np.sort(values))[0] == pytest.approx(step)


def test_resolution_of_single_precision():
    x = np.unique(np.round(np.random.default_rng(0).normal(5, 2, 500), 1).astype(np.float32))
    eps = float(np.finfo(np.float32).eps)
    assert resolution(x.astype(np.float64), eps)[0] == pytest.approx(0.1)
    assert resolution(x.astype(np.float64))[0] == 0.0


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", [1.7e308, 1.0, 1e-300])
def test_any_magnitude(size):
    X = np.random.default_rng(0).uniform(-1, 1, (300, 1)) * size
    codec = TableCodec(margins="rank").fit(X)
    encoded = codec.encode(X)
    assert np.isfinite(encoded.values).all() and np.isfinite(encoded.log_jacobian).all()
    if size < 1e308:  # beyond, differences overflow, and the ends of the range become one
        assert abs(encoded.values.std() - 1) < 0.15
    assert_allclose(codec.decode(encoded.values) / size, X / size, atol=0.8)


@pytest.mark.parametrize(
    "values", [[0.0, 1.0], [0.0, 1e-300], [1.0, 1.0 + 1e-15], [-1e300, 1e300]]
)
def test_margins_of_two_values(values):
    values = np.array(values, dtype=np.float64)
    margin = Margin.fit(values, np.array([0.5, 0.5]), 100)
    assert np.isfinite(margin.forward(values)).all()
    assert_array_equal(margin.backward(np.array([-1.0, 1.0])), values)


def test_recurring_values_have_bins_of_their_own_where_rows_are_many():
    rng = np.random.default_rng(0)
    for n, own in ((8000, True), (500, False)):
        spikes = np.where(rng.uniform(size=n) < 0.9, 0, rng.choice(200, n) + 1000)
        spikes[: n // 100], spikes[n // 100 : n // 50] = 5013, 7688
        column = TableCodec(margins="rank").fit(spikes[:, None].astype(float)).columns_[0]
        atoms = set(column.low[column.atoms])
        assert ({5013.0, 7688.0} <= atoms) is own and column.size <= 128
