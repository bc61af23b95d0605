"""Cells given other cells: conditional samples and imputations against closed forms."""

import itertools
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from test_exactness import factor_data, in_units, plant, planted

from skvae import VAETransformer, conditioning
from skvae.conditioning import annealing, gibbs, importance
from skvae.conditioning.evidence import Evidence, effective_size
from skvae.likelihoods import Normal
from skvae.noise import Noise

UNITS = np.array([1, 20, 3, 0.5, 1, 1, 100, 1, 0.1, 1])
GIVEN = [0, 3, 6]


def conditional(density, places, values):
    """Mean and covariance of the other columns of a normal density."""
    rest = [j for j in range(len(density.mean)) if j not in places]
    covariance = density.cov
    slope = covariance[np.ix_(rest, places)] @ np.linalg.inv(covariance[np.ix_(places, places)])
    mean = density.mean[rest] + slope @ (values - density.mean[places])
    return rest, mean, covariance[np.ix_(rest, rest)] - slope @ covariance[np.ix_(places, rest)]


def deviations(rows, rest, mean, covariance):
    """How many standard errors means and variances of drawn columns are off."""
    n, variance = len(rows), np.diag(covariance)
    off = (rows[:, rest].mean(0) - mean) / np.sqrt(variance / n)
    spread = (rows[:, rest].var(0) / variance - 1.0) / np.sqrt(2.0 / n)
    return np.abs(np.concatenate([off, spread]))


@pytest.fixture(scope="module")
def planted_pair():
    X = factor_data() * UNITS
    vae, model = planted(X)
    return vae, in_units(vae, model), X


# --------------------------------------------------------------------- sampling with given cells


@pytest.mark.parametrize("noise, n_given", [(0.5, 3), (0.05, 3), (0.05, 6)])
def test_given_cells_of_a_known_normal(noise, n_given):
    X = factor_data(noise=noise)
    vae, model = planted(X)
    # An encoder that is sure of the wrong codes must not matter.
    plant(vae.vae_, model, shift=1.5, widen=0.3)
    places = [0, 3, 6, 7, 8, 9][:n_given]
    exact = conditional(in_units(vae, model), places, X[7, places])
    rows, size = vae.sample(
        2000, given=dict(zip(places, X[7, places])), return_effective_size=True, random_state=3
    )
    assert 1000 < size <= 2000
    assert_array_equal(rows[:, places], np.broadcast_to(X[7, places], (2000, n_given)))
    # Three standard errors for one column are a little more for the largest of fourteen.
    assert deviations(rows, *exact).max() < 3.0 * np.sqrt(2000 / size) + 0.3
    assert deviations(vae.sample(2000, random_state=3), *exact).max() > 10


def test_given_cells_of_a_learned_linear_model():
    rng = np.random.default_rng(0)
    loadings = rng.normal(size=(2, 6))
    covariance = loadings.T @ loadings + 0.25 * np.eye(6)
    X = rng.multivariate_normal(np.arange(6.0), covariance, size=3000)
    # A mixture fitted to the codes of 3,000 rows is off here and there by more than is looked for.
    exactly = {"objective": "elbo", "view": None, "prior": "normal", "weight_decay": 0}
    exactly["likelihood"] = Normal("column")
    linear = {"hidden_layer_sizes": (), "max_iter": 5, "learning_rate_init": 1e-4}
    model = VAETransformer(2, random_state=0, **linear, **exactly).fit(X)
    truth = stats.multivariate_normal(np.arange(6.0), covariance)
    given = {0: 2.0, 4: 1.0}
    exact = conditional(truth, [0, 4], np.array([2.0, 1.0]))
    # So few rows that what 3,000 rows leave open about the model does not show.
    rows = model.sample(200, given=given, random_state=0)
    assert deviations(rows, *exact).max() < 3.5
    assert deviations(model.sample(200, random_state=0), *exact).max() > 6


def test_draws_of_the_encoder_without_weights_are_wrong(planted_pair):
    vae, density, X = planted_pair
    rest, mean, covariance = conditional(density, GIVEN, X[7, GIVEN])
    holed = np.full((1, X.shape[1]), np.nan)
    holed[0, GIVEN] = X[7, GIVEN]
    encoded = vae.codec_.encode(holed)
    tensors = [torch.as_tensor(part)[None, None] for part in encoded]
    noise = Noise([0])
    with torch.no_grad():
        evidence = Evidence(vae.vae_, *tensors)
        z = evidence.guide.rsample(noise, 2000).transpose(1, 2)
        rows = vae.codec_.decode(vae.vae_.decode(z).sample(noise)[0, 0].numpy())
    assert deviations(rows, rest, mean, covariance).max() > 10


def test_one_condition_per_row(planted_pair):
    vae, density, X = planted_pair
    given = pd.DataFrame({f"x{j}": np.repeat(X[:2, j], 400) for j in GIVEN})
    rows, size = vae.sample(given=given, return_effective_size=True, random_state=0)
    assert rows.shape == (800, 10) and size.shape == (800,)
    assert_array_equal(rows[:, GIVEN], given)
    for part, row, other in ((rows[:400], X[0], X[1]), (rows[400:], X[1], X[0])):
        exact = conditional(density, GIVEN, row[GIVEN])
        assert deviations(part, *exact).max() < 3.5
        assert deviations(part, *conditional(density, GIVEN, other[GIVEN])).max() > 6


def categorical_data(n=1500):
    """Three columns that depend on one another; the table has 2 x 3 x 2 cells."""
    rng = np.random.default_rng(0)
    smokes = rng.random(n) < 0.4
    shape = np.where(rng.random(n) < 0.8, np.where(smokes, 0, 2), 1)
    sick = rng.random(n) < np.array([0.8, 0.4, 0.1])[shape]
    return pd.DataFrame(
        {"smokes": smokes, "shape": np.array(["disc", "ring", "rod"])[shape], "sick": sick}
    )


@pytest.fixture(scope="module")
def discrete_model():
    X = categorical_data()
    return VAETransformer(2, hidden_layer_sizes=(16,), max_iter=30, random_state=0).fit(X)


def joint_probabilities(model, n_codes=40_000):
    """The table of the model itself, from codes drawn from its prior."""
    noise, sizes = Noise([1]), [2, 2, 3]
    with torch.no_grad():
        cells = model.vae_.decode(model.vae_.prior().sample(noise, n_codes))
        terms = []
        for codes in itertools.product(*map(range, sizes)):
            values = torch.tensor(codes, dtype=torch.float32)
            terms.append(cells.log_prob_rows(values, None).exp().mean().item())
    return np.reshape(terms, sizes)  # smokes, sick, shape


@pytest.mark.parametrize("given", [{"shape": "rod"}, {"sick": True, "smokes": False}])
def test_given_cells_of_a_known_table(discrete_model, given):
    table = joint_probabilities(discrete_model)
    n = 4000
    rows, size = discrete_model.sample(n, given=given, return_effective_size=True, random_state=0)
    assert (rows[list(given)] == pd.Series(given)).all().all() and size > 0.4 * n
    levels = {"smokes": [False, True], "sick": [False, True], "shape": ["disc", "ring", "rod"]}
    index = tuple(levels[c].index(given[c]) if c in given else slice(None) for c in levels)
    exact = table[index] / table[index].sum()
    free = [c for c in levels if c not in given]
    shares, marginal = [], []
    plain = discrete_model.sample(n, random_state=0)
    for codes in itertools.product(*(range(len(levels[c])) for c in free)):
        cell = pd.Series({c: levels[c][k] for c, k in zip(free, codes)})
        shares.append((rows[free] == cell).all(axis=1).mean())
        marginal.append((plain[free] == cell).all(axis=1).mean())
    error = np.sqrt(exact.ravel() * (1 - exact.ravel()) / size + 1e-6)
    assert (np.abs(shares - exact.ravel()) < 3 * error).all()
    assert (np.abs(marginal - exact.ravel()) > 6 * error).any()


def mixed_data(n=300):
    rng = np.random.default_rng(0)
    factor = rng.normal(size=n)
    return pd.DataFrame(
        {
            "age": (40 + 10 * factor + rng.normal(size=n)).round().astype(int),
            "sex": pd.Categorical(np.where(factor + rng.normal(size=n) > 0, "female", "male")),
            "weight": 70 + 5 * factor + rng.normal(size=n),
            "member": rng.random(n) < 0.5,
            "country": "NL",
        }
    )


@pytest.fixture(scope="module")
def mixed_model():
    return VAETransformer(2, hidden_layer_sizes=(8,), max_iter=5, random_state=0).fit(mixed_data())


def test_given_cells_keep_dtypes_and_exact_values(mixed_model):
    given = {"sex": "female", "age": 40, "member": True, "country": "NL"}
    rows = mixed_model.sample(50, given=given, random_state=0)
    assert (rows.dtypes == mixed_data().dtypes).all()
    assert (rows[list(given)] == pd.Series(given)).all().all()
    assert rows["weight"].nunique() == 50
    again = mixed_model.sample(50, given=given, random_state=0)
    pd.testing.assert_frame_equal(rows, again)
    assert not rows.equals(mixed_model.sample(50, given=given, random_state=1))
    each = mixed_model.sample(given=[{"sex": "male"}, {"age": 30, "member": False}])
    assert each["sex"][0] == "male" and each["age"][1] == 30 and not each["member"][1]
    assert mixed_model.sample(3, given={}).shape == (3, 5)


@pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning")
def test_given_dates_levels_and_nullable_cells():
    rng = np.random.default_rng(0)
    days = rng.integers(0, 900, 200)
    X = pd.DataFrame(
        {
            "since": pd.Timestamp("2020-01-01", tz="UTC") + pd.to_timedelta(days, unit="D"),
            "grade": pd.Categorical(
                np.array(["low", "mid", "high"])[days // 300],
                categories=["low", "mid", "high"],
                ordered=True,
            ),
            "flag": pd.array(days > 450, dtype="boolean"),
            "visits": rng.poisson(3, 200),
        }
    )
    model = VAETransformer(
        2, hidden_layer_sizes=(8,), max_iter=5, random_state=0, column_kinds={"visits": "count"}
    ).fit(X)
    for given in (
        {"since": "2021-05-01", "flag": 1},
        {"since": pd.Timestamp("2021-05-01"), "visits": 4},
        {"grade": "mid", "visits": 2},
    ):
        rows = model.sample(4, given=given, random_state=0)
        assert (rows.dtypes == X.dtypes).all()
        for column, value in given.items():
            value = pd.Timestamp("2021-05-01", tz="UTC") if column == "since" else value
            assert (rows[column] == value).all()
    with pytest.raises(ValueError, match="'since' should be a date-time; got 5"):
        model.sample(given={"since": 5})
    with pytest.raises(ValueError, match="'visits' should be non-negative whole numbers"):
        model.sample(given={"visits": -1})


def test_given_cells_in_polars(mixed_model):
    pl = pytest.importorskip("polars")
    X = pl.from_pandas(mixed_data())
    model = VAETransformer(2, hidden_layer_sizes=(8,), max_iter=2, random_state=0).fit(X)
    rows = model.sample(5, given={"sex": "male", "age": 30}, random_state=0)
    assert rows.schema == X.schema
    assert set(rows["sex"]) == {"male"} and set(rows["age"]) == {30}


@pytest.mark.parametrize(
    "given, error, match",
    [
        ({"height": 3}, ValueError, "'height', which fit has not seen; expected 'age', 'sex'"),
        ({0: 3}, ValueError, "column 0, which fit has not seen"),
        ({"sex": "other"}, ValueError, "'sex' should be one of its categories, 'female', 'male'"),
        ({"age": "old"}, ValueError, "'age' should be a number; got 'old' of type str"),
        ({"age": 40.5}, ValueError, "'age' should be a whole number; got 40.5"),
        ({"weight": np.inf}, ValueError, "'weight' should be a finite number"),
        ({"weight": np.nan}, ValueError, "'weight' should be a value; got nan.*Leave out"),
        ({"sex": None}, ValueError, "'sex' should be a value; got None"),
        ({"member": "yes"}, ValueError, "'member' should be True or False"),
        ({"country": "BE"}, ValueError, "'country' should be its only value in fit, 'NL'"),
        ({"weight": [60.0, 70.0]}, ValueError, "should be one value.*pass a DataFrame"),
        (dict(zip(mixed_data(), mixed_data().iloc[0])), ValueError, "got all 5 columns in given"),
        (pd.DataFrame({"age": [1.0, np.nan]}), ValueError, "'age' should be a value; got nan"),
        ("female", TypeError, "a dict of column to value.*got str"),
        ([{"age": 3}] * 3, ValueError, "3 conditions for n_samples=2"),
    ],
)
def test_bad_conditions(mixed_model, given, error, match):
    with pytest.raises(error, match=match):
        mixed_model.sample(2, given=given)


def test_given_needs_a_density():
    model = VAETransformer(1, max_iter=1, posterior="deterministic", random_state=0)
    model.fit(factor_data(n=50))
    with pytest.raises(ValueError, match="needs a density.*Deterministic.*posterior='normal'"):
        model.sample(given={0: 1.0})
    with pytest.raises(ValueError, match="impute needs a density"):
        model.impute(factor_data(n=5))


def test_hopeless_conditions_are_warned_of(monkeypatch):
    X = factor_data(noise=0.1)
    vae, _ = planted(X)
    monkeypatch.setattr(annealing, "MAX_STAGES", 1)
    with pytest.warns(UserWarning, match="worth about .* independent draws.*Raise n_draws"):
        vae.sample(500, given=dict(zip(range(6), X[0])), random_state=0)


@pytest.mark.parametrize("cell", [0.0, 1e4, 1e9])
def test_cells_beyond_all_rounding_are_worth_one_draw(cell):
    vae, _ = planted(factor_data(noise=0.1))
    row = np.full((1, 10), np.nan)
    row[0, 0] = cell
    hopeless = pytest.warns(UserWarning, match="effective|independent draws")
    for ask in (
        lambda: vae.sample(50, given={0: cell}, random_state=0),
        lambda: vae.impute(np.repeat(row, 9, axis=0), random_state=0),
    ):
        # Rounding made all draws as good as each other, and so worth 50, at 1e9.
        with hopeless if cell else warnings.catch_warnings():
            ask()


def test_effective_size_of_related_draws():
    generator = torch.Generator().manual_seed(0)
    apart = torch.randn(1, 400, 3, 2, generator=generator)
    own = torch.arange(400).view(1, -1, 1).repeat(1, 1, 3)
    assert_allclose(effective_size(apart, own), 400.0, rtol=1e-3)
    families = own // 8
    assert (effective_size(apart, families) > 250).all()
    together = apart[:, ::8].repeat_interleave(8, 1)
    assert_allclose(effective_size(together, families), 50.0, rtol=1e-3)
    assert (effective_size(apart, 0 * own) == 1).all()


# -------------------------------------------------------------------------------------- imputing


def holed_rows(X, seed=1):
    hidden = np.random.default_rng(seed).random(X.shape) < 0.4
    hidden[0] = True
    hidden[1] = False
    return np.where(hidden, np.nan, X), hidden


def exact_moments(density, holed):
    mean, variance = holed.copy(), np.zeros_like(holed)
    for row, gaps in enumerate(np.isnan(holed)):
        if gaps.any():
            seen = np.flatnonzero(~gaps).tolist()
            rest, m, c = conditional(density, seen, holed[row, seen])
            mean[row, rest], variance[row, rest] = m, np.diag(c)
    return mean, variance


@pytest.mark.parametrize("method, tolerance", [("miwae", 0.08), ("annealed", 0.1), ("gibbs", 0.2)])
def test_imputations_have_the_exact_moments(planted_pair, method, tolerance):
    vae, density, X = planted_pair
    holed, hidden = holed_rows(X[:40])
    mean, variance = exact_moments(density, holed)
    n_draws = {"miwae": 4000, "annealed": 400, "gibbs": 800}[method]
    point = vae.impute(holed, method=method, n_draws=n_draws)
    off = ((point - mean) / np.sqrt(density.cov.diagonal()))[hidden]
    assert np.sqrt(np.mean(off**2)) < tolerance
    naive = ((vae.reconstruct(holed) - mean) / np.sqrt(density.cov.diagonal()))[hidden]
    assert np.sqrt(np.mean(naive**2)) > 1.5 * tolerance
    tables = np.stack(vae.impute(holed, 40, method=method, n_draws=n_draws))
    assert_array_equal(
        tables[:, ~hidden], np.broadcast_to(holed[~hidden], tables[:, ~hidden].shape)
    )
    ratio = tables.var(0)[hidden] / variance[hidden]
    assert abs(ratio.mean() - 1.0) < 0.1


def test_gibbs_step_corrects_a_wrong_encoder(planted_pair):
    """Without the Metropolis-Hastings step the same chains are biased."""
    X = factor_data(noise=1.0)
    vae, model = planted(X)
    plant(vae.vae_, model, shift=0.2)
    density = in_units(vae, model)
    holed, hidden = holed_rows(X[:30], seed=2)
    hidden, holed = hidden[2:], holed[2:]
    mean, _ = exact_moments(density, holed)
    encoded = vae.codec_.encode(holed)
    tensors = [torch.as_tensor(part)[None, None] for part in encoded]
    errors = {}
    with torch.no_grad():
        evidence = Evidence(vae.vae_, *tensors)
        for corrected in (True, False):
            chains = gibbs.gibbs(evidence, Noise([0]), 2000, lambda cells: cells, corrected)
            point = conditioning.completion.point(evidence, chains, None).numpy()
            errors[corrected] = (vae.codec_.decode(point) - mean)[hidden]
        exact = importance.weighted(evidence, Noise([0]), 8000)
        by_weights = conditioning.completion.point(evidence, exact, None).numpy()
    assert np.abs(errors[True].mean(0)) < 0.05 < np.abs(errors[False].mean(0))
    assert np.sqrt(np.mean(errors[True] ** 2)) < 0.12
    assert np.sqrt(np.mean((vae.codec_.decode(by_weights) - mean)[hidden] ** 2)) < 0.08


@pytest.mark.parametrize("method", ["miwae", "annealed", "gibbs"])
def test_best_values_depend_on_the_row_alone(mixed_model, method):
    X = mixed_data()[:60].astype({"member": object})
    gaps = np.random.default_rng(0).random(X.shape) < 0.3
    holed = X.mask(gaps)
    whole = mixed_model.impute(holed, method=method, n_draws=32)
    alone = mixed_model.impute(holed[10:11], method=method, n_draws=32)
    numbers = ["age", "weight"]
    assert_allclose(whole[numbers][10:11].astype(float), alone[numbers].astype(float), rtol=1e-4)
    reversed_ = mixed_model.impute(holed[::-1], method=method, n_draws=32)[::-1]
    assert_allclose(whole[numbers].astype(float), reversed_[numbers].astype(float), rtol=1e-3)
    assert (whole[["sex", "member"]] == reversed_[["sex", "member"]]).mean().min() > 0.95
    assert not whole.isna().any().any()
    for column in X:
        assert (whole[column][~holed[column].isna()] == X[column][~holed[column].isna()]).all()


def test_random_imputations_follow_the_seed(mixed_model):
    holed = mixed_data()[:40].astype({"age": float}).mask(np.eye(40, 5, dtype=bool))
    first, second = mixed_model.impute(holed, 2, random_state=0)
    again = mixed_model.impute(holed, 2, random_state=0)
    pd.testing.assert_frame_equal(first, again[0])
    pd.testing.assert_frame_equal(second, again[1])
    assert not first.equals(second)
    pd.testing.assert_frame_equal(mixed_model.impute(mixed_data()), mixed_data())


def test_weights_find_the_prior_where_the_encoder_never_saw_gaps(planted_pair):
    """Of a row without a cell the encoder says that it is the mean; the weights know better."""
    vae, density, X = planted_pair
    empty = np.full((1, 10), np.nan)
    loc, scale = vae.infer(empty)
    assert scale.max() < 0.7, "the encoder is as sure as of a full row"
    tables = np.stack(vae.impute(np.repeat(empty, 400, 0), 2, n_draws=500)).reshape(-1, 10)
    sd = np.sqrt(density.cov.diagonal())
    assert_allclose(tables.mean(0) / sd, density.mean / sd, atol=4 / 800**0.5)
    assert_allclose(tables.std(0) / sd, 1.0, atol=0.1)
    # Trained on gaps it knows: they come with indicators.
    holed = np.where(np.random.default_rng(0).random(X.shape) < 0.4, np.nan, X)
    holed[:60] = np.nan
    trained = VAETransformer(
        3, hidden_layer_sizes=(16,), prior="normal", view=None, max_iter=60, random_state=0,
        likelihood=Normal(scale="shared"),
    ).fit(holed)  # fmt: skip
    _, full = trained.infer(X)
    loc, scale = trained.infer(empty)
    assert np.abs(loc).max() < 0.3 and scale.mean() > 1.5 * full.mean()
    # The density of no cell at all is 1.
    assert abs(trained.score_samples(empty, n_draws=4000)[0]) < 0.1


def test_bad_arguments_of_impute(mixed_model):
    with pytest.raises(ValueError, match=r"method among \['annealed', 'gibbs', 'miwae'\]"):
        mixed_model.impute(mixed_data(), method="mice")
    with pytest.raises(TypeError, match="n_imputations to be an integer"):
        mixed_model.impute(mixed_data(), 2.5)
    with pytest.raises(ValueError, match="n_draws.*at least 1"):
        mixed_model.impute(mixed_data(), n_draws=0)


def test_few_effective_draws_are_warned_of():
    X = factor_data(noise=0.1)
    vae, model = planted(X)
    plant(vae.vae_, model, shift=3.0)
    with pytest.warns(UserWarning, match="fewer than 5 effective draws.*method='annealed'"):
        vae.impute(holed_rows(X[:40])[0], n_draws=50)
