"""Sensitivities are derivatives of expected cells: loadings where the model is linear."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_wine
from sklearn.decomposition import FactorAnalysis
from sklearn.exceptions import NotFittedError

from skvae import VAETransformer
from skvae.likelihoods import Bernoulli, Normal
from skvae.table import TableCodec
from skvae.table.slopes import level_numbers, slopes, spread_of

X, _ = load_wine(return_X_y=True)
LINEAR = {"hidden_layer_sizes": (), "likelihood": "normal", "random_state": 0}


def factors(n_rows=1500, n_columns=7, n_components=2, seed=0):
    rng = np.random.default_rng(seed)
    loadings = rng.normal(size=(n_components, n_columns)) * np.geomspace(1, 100, n_columns)
    codes = rng.normal(size=(n_rows, n_components))
    noise = 0.3 * np.geomspace(1, 100, n_columns) * rng.normal(size=(n_rows, n_columns))
    return codes @ loadings + noise + 5.0


def planted(n_rows=500, seed=0):
    """Columns of every kind that follow one number, and two that do not."""
    rng = np.random.default_rng(seed)
    u = rng.normal(size=n_rows)
    noisy = u + 0.3 * rng.normal(size=n_rows)
    levels = np.digitize(noisy, [-0.7, 0.7])
    return pd.DataFrame(
        {
            "number": 10 * noisy + 3,
            "positive": np.exp(0.8 * noisy + 6),
            "count": rng.poisson(np.exp(0.5 * u + 2)),
            "flag": noisy > 0,
            "name": np.array(["a", "b", "c"])[levels],
            "grade": pd.Categorical.from_codes(levels, ["low", "mid", "high"], ordered=True),
            "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(100 * noisy, "D"),
            "square": u**2 + 0.1 * rng.normal(size=n_rows),
            "noise": rng.normal(size=n_rows),
            "constant": 4.0,
        }
    )


@pytest.fixture(scope="module")
def mixed():
    table = planted()
    return table, VAETransformer(
        n_components=1, max_iter=60, learning_rate_init=0.01, random_state=0
    ).fit(table)


def differences(vae, codes, step=0.01):
    """Mean change of the rows that codes give, latent by latent."""
    steps = step * np.eye(codes.shape[1])
    ends = [
        (vae.inverse_transform(codes + each), vae.inverse_transform(codes - each))
        for each in steps
    ]
    return np.stack([(up - down).mean(0) / (2 * step) for up, down in ends])


# -- a linear model ---------------------------------------------------------------------------


def test_a_linear_model_has_its_loadings():
    table = factors()
    vae = VAETransformer(n_components=2, **LINEAR).fit(table)
    origin = np.zeros((1, 2))
    steps = vae.inverse_transform(np.eye(2)) - vae.inverse_transform(origin)
    np.testing.assert_allclose(vae.components_, steps, rtol=1e-3, atol=1e-4)
    # One and the same at any code, so the rows do not matter, nor the statistic but for the sign.
    np.testing.assert_allclose(vae.sensitivities(table), vae.components_, rtol=1e-6)
    for statistic in ("absolute", "rms"):
        found = vae.sensitivities(statistic=statistic)
        np.testing.assert_allclose(found, np.abs(vae.components_), rtol=1e-6)


def test_a_linear_model_has_the_loadings_of_factor_analysis():
    table = factors()
    params = {"prior": "normal", "objective": "elbo", "view": None, "weight_decay": 0.0}
    params |= LINEAR | {"likelihood": Normal(scale="column"), "whiten": True}
    vae = VAETransformer(n_components=2, **params).fit(table)
    theirs = FactorAnalysis(2).fit(table).components_
    ours = vae.components_
    # A rotation of the latents is free; what they explain of the covariance is not.
    covariance = theirs.T @ theirs
    scale = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    assert np.abs((ours.T @ ours - covariance) / scale).max() < 0.1
    other = np.linalg.norm((ours.T @ ours - covariance[::-1, ::-1]) / scale)
    assert other > 1


@pytest.mark.parametrize("whiten", [False, True])
def test_units_of_columns_and_of_codes(whiten):
    table = factors()
    vae = VAETransformer(n_components=2, whiten=whiten, **LINEAR).fit(table)
    codes = vae.transform(table)
    origin = np.zeros((1, 2))
    steps = vae.inverse_transform(np.eye(2)) - vae.inverse_transform(origin)
    np.testing.assert_allclose(vae.components_, steps, rtol=1e-3, atol=1e-4)
    standard = vae.sensitivities(table, standardize=True)
    expected = vae.components_ * codes.std(0)[:, None] / table.std(0)
    np.testing.assert_allclose(standard, expected, rtol=0.1, atol=0.02)
    absolute, rms = (vae.sensitivities(statistic=each) for each in ("absolute", "rms"))
    assert (rms >= absolute * (1 - 1e-9)).all()
    assert (absolute >= np.abs(vae.components_) * (1 - 1e-9)).all()


# -- any model --------------------------------------------------------------------------------


def test_derivatives_are_those_of_inverse_transform():
    vae = VAETransformer(n_components=3, likelihood="normal", random_state=0).fit(X)
    expected = differences(vae, vae.transform(X))
    found = vae.sensitivities(X)
    np.testing.assert_allclose(found / X.std(0), expected / X.std(0), atol=2e-3)
    # Where the decoder bends, other rows have other derivatives.
    assert np.abs((vae.sensitivities(X[:20]) - found) / X.std(0)).max() > 0.02


@pytest.mark.parametrize("likelihood", ["normal", "student_t"])
@pytest.mark.parametrize("margins", ["scale", "rank"])
def test_other_likelihoods_and_margins_tell_nearly_the_same(likelihood, margins):
    table = factors(300, 4, 1)
    vae = VAETransformer(
        n_components=1, likelihood=likelihood, margins=margins, max_iter=20, random_state=0
    ).fit(table)
    standard = vae.sensitivities(standardize=True)[0]
    correlations = np.corrcoef(vae.transform(table)[:, 0], table.T)[0, 1:]
    # The model of heavy tails has wider columns.
    scale = standard @ correlations / (correlations @ correlations)
    assert 0.5 < scale < 1.2
    np.testing.assert_allclose(standard / scale, correlations, atol=0.2)


def test_the_same_at_every_call_and_no_global_generator():
    vae = VAETransformer(n_components=2, max_iter=3, n_members=2, random_state=0).fit(X)
    torch.manual_seed(1)
    state, numbers = torch.get_rng_state(), np.random.get_state()[1].copy()
    first, standard = vae.components_, vae.sensitivities(standardize=True)
    np.testing.assert_array_equal(first, vae.components_)
    np.testing.assert_array_equal(standard, vae.sensitivities(standardize=True))
    assert torch.equal(state, torch.get_rng_state())
    np.testing.assert_array_equal(numbers, np.random.get_state()[1])
    assert next(vae.vae_.parameters()).dtype == torch.float32


# -- kinds of columns -------------------------------------------------------------------------


def test_every_kind_in_its_unit(mixed):
    table, vae = mixed
    kinds = {column.name: column.kind for column in vae.codec_.columns_}
    assert kinds["count"] == "count" and kinds["day"] == "continuous"
    found = pd.Series(vae.components_[0], table.columns)
    sign = np.sign(found["number"])
    signed = [name for name in table if name not in ("name", "square", "noise", "constant")]
    assert (sign * found[signed] > 0).all()
    assert found["name"] > 0 and found["constant"] == 0
    # 100 days and 10 numbers per unit of the same thing.
    assert found["day"] / found["number"] == pytest.approx(10, rel=0.1)
    assert abs(found["flag"]) < 1 and abs(found["grade"]) < 2


def test_standardised_columns_can_be_compared(mixed):
    table, vae = mixed
    found = pd.Series(vae.sensitivities(table, standardize=True)[0], table.columns).abs()
    told = found[["number", "positive", "flag", "name", "grade", "day"]]
    assert told.min() > 0.2 and told.max() < 1.6
    assert found["noise"] < 0.15 and found["constant"] == 0


def test_a_column_that_turns_back_shows_in_the_mean_square(mixed):
    table, vae = mixed
    place = table.columns.get_loc("square")
    mean = vae.sensitivities(standardize=True)[0, place]
    rms = vae.sensitivities(standardize=True, statistic="rms")[0, place]
    assert abs(mean) < 0.35 < 0.5 < rms


def test_missing_cells_and_polars(mixed):
    pl = pytest.importorskip("polars")
    table, vae = mixed
    gaps = table[["number", "positive", "noise"]].copy()
    gaps.iloc[::3, 0] = np.nan
    fitted = VAETransformer(n_components=2, max_iter=3, random_state=0).fit(pl.DataFrame(gaps))
    found = fitted.sensitivities(pl.DataFrame(gaps))
    assert found.shape == (2, 3) and np.isfinite(found).all()


def test_slope_of_a_logarithm_has_a_closed_form():
    table = pd.DataFrame({"x": np.exp(np.random.default_rng(0).normal(2, 0.7, 400))})
    (column,) = TableCodec(column_kinds={"x": "positive"}).fit(table).columns_
    loc, sd = np.linspace(-2, 2, 9), np.full(9, 0.6)
    mean = np.exp(column.loc + column.scale * loc + 0.5 * (column.scale * sd) ** 2)
    np.testing.assert_allclose(slopes(column, loc, sd), column.scale * mean, rtol=1e-6)


def test_slope_of_ranks_follows_the_margin():
    cells = np.random.default_rng(0).gamma(2.0, size=4000)
    (column,) = TableCodec(margins="rank").fit(cells[:, None]).columns_
    loc, sd = np.array([-1.0, 1.0]), np.full(2, 0.3)
    found = slopes(column, loc, sd)
    step = 0.5
    ends = [column.decode(loc + way)[0] for way in (step, -step)]
    np.testing.assert_allclose(found, (ends[0] - ends[1]) / (2 * step), rtol=0.1)
    assert found[1] > 2 * found[0]


@pytest.mark.parametrize("days", [False, True])
def test_bins_are_numbers(days):
    values = np.repeat([0.0, 1.0, 5.0], 100)
    table = pd.DataFrame({"x": values})
    if days:
        table["x"] = pd.Timestamp("1970-01-01") + pd.to_timedelta(table["x"], "D")
    (column,) = TableCodec(margins="rank").fit(table).columns_
    np.testing.assert_allclose(level_numbers(column), [0, 1, 5])
    assert spread_of(column, np.repeat([0, 1, 2], 100)) == pytest.approx(values.std())


def test_levels_that_are_numbers_count_as_such():
    table = pd.DataFrame(
        {
            "years": pd.Categorical([8, 10, 16, 8], ordered=True),
            "names": ["a", "b", "a", "b"],
        }
    )
    years, names = TableCodec().fit(table).columns_
    np.testing.assert_array_equal(level_numbers(years), [8, 10, 16])
    assert level_numbers(names) is None
    # Two names are a flag.
    assert spread_of(names, np.array([0, 0, 0, 1])) == pytest.approx(np.sqrt(0.25 * 0.75))


class Sharp(Bernoulli):
    """Flags that are certain but for a hair's breadth."""

    def forward(self, parameters):
        return super().forward(1e4 * parameters)


def test_a_sharp_decoder_is_seen_to_jump(mixed):
    table, vae = mixed
    sharp = copy.deepcopy(vae)
    place = table.columns.get_loc("flag")
    start = [name for name, _ in sharp.codec_.blocks_].index("binary")
    assert sharp.vae_.likelihood.widths[start] == 1
    sharp.vae_.likelihood.parts[start].__class__ = Sharp
    # Much of the probability moves somewhere along the latent.
    codes = vae.transform(table)[:, 0]
    found = sharp.sensitivities()[0, place]
    assert abs(found) * np.ptp(np.quantile(codes, [0.02, 0.98])) > 0.3


# -- refusals ---------------------------------------------------------------------------------


def test_refuses():
    vae = VAETransformer()
    assert not hasattr(vae, "components_")
    with pytest.raises(NotFittedError):
        vae.sensitivities()
    vae = VAETransformer(n_components=2, max_iter=5, learning_rate_init=0.03, random_state=0)
    vae.fit(X)
    with pytest.raises(ValueError, match="sensitivities expects statistic to be one of"):
        vae.sensitivities(statistic="median")
    with pytest.raises(ValueError, match="12 features"):
        vae.sensitivities(X[:, 1:])
