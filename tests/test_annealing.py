"""Log p(x) by annealed importance sampling against closed forms, and what must break it."""

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from scipy.sparse import csr_matrix
from sklearn.datasets import load_wine
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from test_exactness import encoded, factor_data, in_units, plant, planted

from skvae import VAEImputer, VAEOutlierDetector, VAETransformer
from skvae.conditioning import bridge
from skvae.conditioning.bridge import STARTS, Bridge, Course
from skvae.conditioning.evidence import Evidence
from skvae.conditioning.hamiltonian import Ends, moved
from skvae.conditioning.marginals import Estimate
from skvae.likelihoods import Normal
from skvae.metrics import annealed_log_likelihood, bidirectional_log_likelihood
from skvae.networks import VariationalRecurrent
from skvae.noise import Noise
from skvae.posteriors import Ladder, VectorQuantized
from skvae.views import TimeLagged

UNITS = np.array([1, 20, 3, 0.5, 1, 1, 100, 1, 0.01, 1])
pytestmark = pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning")
# Of the acceptance test of the reference.
THOROUGH = {"n_temperatures": 200, "n_leapfrog": 10, "random_state": 0}
QUICK = {"n_temperatures": 20, "n_leapfrog": 3, "random_state": 0}
FEW = "ignore:.*Raise n_temperatures:UserWarning"


@pytest.fixture
def astray():
    """Rows, a planted model of them whose encoder errs, and their exact log-densities."""
    X = factor_data(n=64) * UNITS
    vae, model = planted(X)
    exact = in_units(vae, model).logpdf(X)
    plant(vae.vae_, model, shift=0.5)
    return X, vae, exact


# ------------------------------------------------------------------------------ planted models


@pytest.mark.filterwarnings(FEW)
@pytest.mark.parametrize("start", STARTS)
def test_known_normal_by_the_settings_of_the_reference(astray, start):
    X, vae, exact = astray
    found = annealed_log_likelihood(vae, X, start=start, **THOROUGH)
    off = found.log_likelihood - exact
    error = off.std() / np.sqrt(len(off))
    assert abs(off.mean()) < 0.1 and off.mean() < 3 * error
    assert np.sqrt(np.mean(off**2)) < 0.3
    assert (found.effective_size > 2).all() and (found.effective_size <= 16).all()
    # Errors are as large as they are said to be.
    assert 0.6 < np.mean((off / found.standard_error) ** 2) < 3
    plain = annealed_log_likelihood(vae, X, **THOROUGH | {"n_temperatures": 1, "start": start})
    assert (plain.log_likelihood - exact).mean() < -2
    assert (vae.score_samples(X, n_draws=1000) - exact).mean() < -0.5


@pytest.mark.filterwarnings(FEW)
def test_more_temperatures_are_nearer(astray):
    X, vae, exact = astray
    gaps = []
    for n in (1, 5, 20, 100):
        few = {"start": "prior", "n_temperatures": n, "random_state": 0}
        gaps.append((annealed_log_likelihood(vae, X, **few).log_likelihood - exact).mean())
    assert (np.diff(gaps) > 0).all() and gaps[0] < -3 and -0.3 < gaps[-1] < 0.1


def test_an_encoder_that_is_sure_of_the_wrong_codes_costs_temperatures_alone(astray):
    X, vae, exact = astray
    _, model = planted(X)
    plant(vae.vae_, model, shift=1.5, widen=0.3)
    assert (vae.score_samples(X, n_draws=1000) - exact).mean() < -10
    for start in STARTS:
        found = annealed_log_likelihood(vae, X, start=start, n_temperatures=200, random_state=0)
        assert abs((found.log_likelihood - exact).mean()) < 0.2


def test_the_mean_of_weights_is_the_density_itself(astray):
    """However short the way: what is lost is in the logarithm of few chains alone."""
    X, vae, exact = astray
    _, model = planted(X)
    plant(vae.vae_, model, shift=0.2, widen=2.25)
    way = {"n_temperatures": 3, "n_leapfrog": 2, "random_state": 0}
    found = annealed_log_likelihood(vae, X[:4], n_chains=4000, **way)
    assert found.standard_error.max() < 0.05
    share = np.exp(found.log_likelihood - exact[:4])
    assert (np.abs(share - 1.0) < 4 * found.standard_error).all()
    single = annealed_log_likelihood(vae, X, n_chains=1, **way)
    assert (single.log_likelihood - exact).mean() < -0.2


@pytest.mark.filterwarnings(FEW)
def test_bounds_enclose_the_density_and_meet(astray):
    _, vae, _ = astray
    _, model = planted(factor_data(n=64) * UNITS)
    density = in_units(vae, model)

    def sides(n_temperatures):
        rows, lower, upper = bounds = bidirectional_log_likelihood(
            vae, 64, start="prior", n_temperatures=n_temperatures, random_state=0
        )
        exact = density.logpdf(rows)
        for side in (exact - lower, upper - exact):
            assert side.mean() > -3 * side.std() / np.sqrt(len(side))
        return bounds.gap

    assert sides(3) > 2.0
    assert 0.1 < sides(20) < 1.5
    assert abs(sides(300)) < 0.1


@pytest.mark.filterwarnings(FEW)
def test_codes_of_other_rows_give_no_upper_bound(astray, monkeypatch):
    """Control of the test above: the way back must begin at exact draws."""
    _, vae, _ = astray
    _, model = planted(factor_data(n=64) * UNITS)
    back = Bridge.back
    monkeypatch.setattr(Bridge, "back", lambda self, z, steps: back(self, z.roll(1, 2), steps))
    found = bidirectional_log_likelihood(vae, 64, n_temperatures=5, random_state=0)
    assert (found.upper - in_units(vae, model).logpdf(found.rows)).mean() < -1


@pytest.mark.parametrize("seen_in_fit", [False, True])
def test_missing_cells_give_the_exact_marginal(seen_in_fit):
    X = factor_data(noise=1.0, n=64)
    rng = np.random.default_rng(1)
    hidden = rng.random(X.shape) < 0.3
    hidden[hidden.all(1), 0] = False
    holed = np.where(hidden, np.nan, X)
    vae, model = planted(holed if seen_in_fit else X, complete=X)
    joint = in_units(vae, model)
    exact = np.array([
        stats.multivariate_normal(joint.mean[~h], joint.cov[np.ix_(~h, ~h)]).logpdf(x[~h])
        for x, h in zip(X, hidden)
    ])  # fmt: skip
    found = annealed_log_likelihood(vae, holed, random_state=0).log_likelihood
    assert abs((found - exact).mean()) < 0.05 and np.abs(found - exact).max() < 0.5
    filled = np.where(hidden, joint.mean, X)
    other = annealed_log_likelihood(vae, filled, random_state=0).log_likelihood
    assert np.abs(other - exact).max() > 1.0


def test_units_move_it_by_their_logarithm(astray):
    X, vae, _ = astray
    X = X[:20]
    unit = np.where(np.arange(10) == 3, 1024.0, 1.0)
    other, _ = planted(factor_data(n=64) * UNITS * unit)
    other.vae_.load_state_dict(vae.vae_.state_dict())
    found = annealed_log_likelihood(vae, X, random_state=0).log_likelihood
    scaled = annealed_log_likelihood(other, X * unit, random_state=0).log_likelihood
    assert_allclose(scaled - found, -np.log(1024), rtol=1e-6)


# --------------------------------------------------------------------------------------- moves


def _posterior_draws(vae, model, X, n_draws):
    """Evidence of encoded rows, exact draws of their codes, and the moments of these."""
    values = encoded(vae, X)
    inverse = np.linalg.inv(model.loadings.T @ model.loadings / model.variance + np.eye(3))
    mean = (values - model.mean) @ model.loadings @ inverse / model.variance
    root = np.linalg.cholesky(inverse)
    z = mean + np.random.default_rng(0).normal(size=(n_draws, len(X), 3)) @ root.T
    rows = torch.as_tensor(values, dtype=torch.float32)[None, None]
    z = torch.as_tensor(z, dtype=torch.float32)[None]
    return Evidence(vae.vae_, rows, None, rows), z, mean, np.diag(inverse)


def _errors_after_moves(vae, model, X, monkeypatch=None):
    with torch.no_grad():
        evidence, z, mean, variance = _posterior_draws(vae, model, X, 4000)

        def densities(z):
            joint = evidence.log_prior(z) + evidence.log_likelihood(z)
            return evidence.log_prior(z), joint

        ends, noise = Ends.at(densities, z), Noise([1])
        step = 1.4 * evidence.guide.stddev
        for _ in range(5):
            ends, rate = moved(ends, densities, 1.0, step, noise, 5)
    z = ends.z[0].numpy()
    off = (z.mean(0) - mean) / np.sqrt(variance / len(z))
    spread = (z.var(0) / variance - 1.0) / np.sqrt(2.0 / len(z))
    return np.abs(np.concatenate([off, spread])).max(), float(rate.mean())


def test_moves_leave_the_density_as_it_is(monkeypatch):
    X = factor_data()
    vae, model = planted(X)
    error, rate = _errors_after_moves(vae, model, X[:5])
    assert error < 4 and 0.3 < rate < 0.9
    # Moves that are all accepted do not.
    monkeypatch.setattr(Ends, "where", lambda new, chosen, old: new)
    error, _ = _errors_after_moves(vae, model, X[:5])
    assert error > 10


@pytest.mark.filterwarnings(FEW)
def test_moves_that_are_all_accepted_are_wrong(astray, monkeypatch):
    X, vae, exact = astray
    monkeypatch.setattr(bridge, "ACCEPTANCE", 0.5)
    right = annealed_log_likelihood(vae, X, start="prior", random_state=0)
    monkeypatch.setattr(Ends, "where", lambda new, chosen, old: new)
    wrong = annealed_log_likelihood(vae, X, start="prior", random_state=0)
    assert abs((right.log_likelihood - exact).mean()) < 0.2
    assert abs((wrong.log_likelihood - exact).mean()) > 0.5


def test_temperatures_go_from_nothing_to_all():
    shares = Course("prior", 50, 5, 16).shares
    assert shares[0] == 0.0 and shares[-1] == 1.0 and len(shares) == 51
    steps = np.diff(shares)
    assert (steps > 0).all() and steps[25] > 10 * steps[0]
    assert Course("prior", 1, 5, 16).shares == [0.0, 1.0]


def test_estimate_of_known_weights():
    found = Estimate.of(np.log([[2.0, 2.0, 2.0, 2.0], [8.0, 1e-9, 1e-9, 1e-9]]) - 900.0)
    assert_allclose(found.log_mean, np.log(2.0) - 900.0)
    assert_allclose(found.effective_size, [4.0, 1.0])
    assert_allclose(found.standard_error, [0.0, 1.0], atol=1e-7)


# ------------------------------------------------------------------------------- trained models


WINE = load_wine(return_X_y=True)[0]


def short(n_components=2, **parameters):
    return VAETransformer(n_components, **{"max_iter": 20, "random_state": 0} | parameters)


def mixed():
    frame = pd.DataFrame(WINE[:, :5]).rename(columns=str)
    frame["kind"] = pd.Categorical(np.where(WINE[:, 6] > 2, "rich", "poor"))
    frame["count"] = np.random.default_rng(0).poisson(np.exp(frame["0"] - 12))
    frame["flag"] = WINE[:, 0] > 13
    frame.loc[::7, "3"] = np.nan
    return frame


def sequences():
    rng = np.random.default_rng(0)
    return np.cumsum(rng.normal(size=(178, 6)), 1)


def sparse_counts():
    return csr_matrix(np.random.default_rng(0).poisson(0.4, size=(178, 12)))


MODELS = {
    "defaults": (short, WINE),
    "mixed": (lambda: short(), mixed()),
    "ranks": (lambda: short(margins="rank"), WINE),
    "student_t": (lambda: short(likelihood="student_t"), WINE),
    "vamp": (lambda: short(prior="vamp"), WINE),
    "mixture": (lambda: short(prior="mixture"), WINE),
    "flow": (lambda: short(prior="flow"), WINE),
    "chain": (lambda: short(prior="autoregressive"), WINE),
    "ladder": (lambda: short(3, posterior=Ladder(2)), WINE),
    "epanechnikov": (lambda: short(posterior="epanechnikov"), WINE),
    "members": (lambda: short(n_members=2), WINE),
    "condition": (lambda: short(condition=[0, 3]), WINE),
    "properties": (lambda: short(supervision="properties"), WINE),
    "self_masking": (lambda: short(missingness="self_masking"), mixed()),
    "steps": (lambda: short(network=VariationalRecurrent((6, 1)), max_iter=5), sequences()),
    "sparse": (lambda: short(likelihood="negative_binomial"), sparse_counts()),
    "detector": (lambda: VAEOutlierDetector(max_iter=20, random_state=0), WINE),
}


@pytest.mark.parametrize("name", MODELS)
def test_models_of_all_kinds_agree_with_many_importance_weighted_draws(name):
    make, X = MODELS[name]
    vae = make()
    fitted = vae.fit(X, X[:, :1]) if name == "properties" else vae.fit(X)
    few = X[:24]
    way = QUICK | {"n_temperatures": 6} if name == "steps" else QUICK
    found = annealed_log_likelihood(fitted, few, **way)
    plain = fitted._score(few, 2000)
    assert abs((found.log_likelihood - plain).mean()) < 0.15
    assert np.abs(found.log_likelihood - plain).max() < 1.5
    if name == "condition":
        return
    rows, lower, upper = bidirectional_log_likelihood(fitted, 24, **way)
    # A row that is drawn from the edge of the prior may be strange to the encoder.
    assert -0.1 < np.median(upper - lower) < 0.3
    # In the units of the table, but for what is rounded in it and for another member.
    if name not in ("ranks", "members"):
        assert abs(np.median(lower - fitted._score(rows, 2000))) < 0.1


def test_a_row_has_the_numbers_of_its_place_and_nothing_of_others():
    vae = short().fit(WINE)
    state = torch.get_rng_state(), np.random.get_state()[1].copy()
    arguments = {"n_temperatures": 8, "random_state": 0}
    whole = annealed_log_likelihood(vae, WINE, **arguments)
    assert_array_equal(torch.get_rng_state(), state[0])
    assert_array_equal(np.random.get_state()[1], state[1])
    part = annealed_log_likelihood(vae, WINE[:70], **arguments)
    assert_array_equal(part.log_likelihood, whole.log_likelihood[:70])
    changed = np.vstack([WINE[::-1][:20], WINE[20:70]])
    other = annealed_log_likelihood(vae, changed, **arguments)
    assert_array_equal(other.log_likelihood[20:], whole.log_likelihood[20:70])
    assert not np.isin(other.log_likelihood[:20], whole.log_likelihood).any()
    again = annealed_log_likelihood(vae, WINE[:70], **arguments | {"random_state": 1})
    assert not np.isin(again.log_likelihood, whole.log_likelihood).any()
    # Errors of rows have nothing to do with one another, so that a mean is more exact than they.
    twice = annealed_log_likelihood(vae, WINE[[0] * 70], **arguments)
    assert len(np.unique(twice.log_likelihood)) == 70


def test_a_table_in_parts_is_one_table(monkeypatch):
    vae = short().fit(WINE)
    whole = annealed_log_likelihood(vae, WINE, n_temperatures=4, random_state=0)
    monkeypatch.setattr("skvae.inference.PART_ROWS", 64)
    parts = annealed_log_likelihood(vae, WINE, n_temperatures=4, random_state=0)
    for a, b in zip(whole, parts):
        assert_array_equal(a, b)


def test_a_file_is_a_table(tmp_path):
    pytest.importorskip("pyarrow")
    frame = mixed()
    frame.to_parquet(tmp_path / "rows.parquet")
    vae = short().fit(frame)
    ours = annealed_log_likelihood(vae, frame, n_temperatures=4)
    theirs = annealed_log_likelihood(vae, tmp_path / "rows.parquet", n_temperatures=4)
    assert_array_equal(ours.log_likelihood, theirs.log_likelihood)


def test_random_state_of_the_estimator_is_the_default():
    vae = short(random_state=3).fit(WINE)
    ours = annealed_log_likelihood(vae, WINE[:5], n_temperatures=4)
    theirs = annealed_log_likelihood(vae, WINE[:5], n_temperatures=4, random_state=3)
    assert_array_equal(ours.log_likelihood, theirs.log_likelihood)


def test_weights_stay_trainable():
    vae = short().fit(WINE)
    annealed_log_likelihood(vae, WINE[:5], n_temperatures=4)
    assert all(p.requires_grad and p.grad is None for p in vae.vae_.parameters())


def test_few_chains_are_told_of():
    vae, _ = planted(factor_data(noise=0.05) * UNITS)
    X = factor_data(noise=0.05, n=20) * UNITS
    with pytest.warns(UserWarning, match="Raise n_temperatures") as caught:
        annealed_log_likelihood(vae, X, start="prior", n_temperatures=2)
    assert caught[0].filename == __file__


# --------------------------------------------------------------------------------------- errors


CLASSES = np.arange(len(WINE)) % 3 - 1
REFUSED = {
    "deterministic": (lambda: short(posterior="deterministic"), "density over codes"),
    "vector_quantized": (lambda: short(posterior=VectorQuantized(n_codes=4)), "has categories"),
    "joint": (lambda: short(posterior="joint"), "has categories"),
    "classes": (lambda: short(supervision="classes"), "under one class"),
    "lagged": (lambda: short(view=TimeLagged(2)), "a lag of 0"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("ask", [annealed_log_likelihood, bidirectional_log_likelihood])
def test_models_without_a_density_are_refused(name, ask):
    make, words = REFUSED[name]
    vae = make().set_params(max_iter=1).fit(WINE, CLASSES if name == "classes" else None)
    with pytest.raises(ValueError, match=words) as caught:
        ask(vae, WINE[:3] if ask is annealed_log_likelihood else 3)
    assert str(caught.value).startswith(ask.__name__)


def test_missing_cells_of_steps_are_refused():
    X = sequences()
    vae = short(network=VariationalRecurrent((6, 1)), max_iter=1).fit(X)
    X[3, 2] = np.nan
    with pytest.raises(ValueError, match="Pass rows without missing cells"):
        annealed_log_likelihood(vae, X)


def test_rows_with_conditions_cannot_be_drawn():
    vae = short(condition=[0], max_iter=1).fit(WINE)
    with pytest.raises(ValueError, match="of which the model knows no distribution"):
        bidirectional_log_likelihood(vae, 3)


@pytest.mark.parametrize("ask", [annealed_log_likelihood, bidirectional_log_likelihood])
@pytest.mark.parametrize(
    "changed, error, words",
    [
        ({"start": "middle"}, ValueError, r"\['encoder', 'prior'\], got 'middle'"),
        ({"start": ["prior"]}, ValueError, "expects start"),
        ({"n_temperatures": 0}, ValueError, "n_temperatures.*at least 1, got 0"),
        ({"n_leapfrog": 2.5}, TypeError, "n_leapfrog to be an integer.*got 2.5"),
        ({"n_chains": -1}, ValueError, "n_chains.*at least 1, got -1"),
    ],
)
def test_bad_arguments(ask, changed, error, words):
    vae = short(max_iter=1, likelihood=Normal()).fit(WINE)
    with pytest.raises(error, match=words):
        ask(vae, WINE[:3] if ask is annealed_log_likelihood else 3, **changed)


def test_estimators_without_a_likelihood():
    with pytest.raises(TypeError, match="got VAEImputer"):
        annealed_log_likelihood(VAEImputer(), WINE)
    pipeline = make_pipeline(StandardScaler(), short())
    with pytest.raises(TypeError, match="pass the last step"):
        bidirectional_log_likelihood(pipeline)
    with pytest.raises(NotFittedError):
        annealed_log_likelihood(short(), WINE)
    vae = short(max_iter=1).fit(WINE)
    with pytest.raises(TypeError, match="n_samples to be an integer"):
        bidirectional_log_likelihood(vae, 2.0)
