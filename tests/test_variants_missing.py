"""Half of the cells missing at random: draws against the exact conditional law."""

import numpy as np
import pytest
from components import vae_and_batch
from numpy.testing import assert_allclose
from scipy import stats

from skvae import VAETransformer
from skvae._pass import Batch
from skvae.noise import FixedDraws
from skvae.objectives import IWAE

pytestmark = [
    pytest.mark.filterwarnings("ignore::skvae.exceptions.UnusedLatentsWarning"),
    pytest.mark.filterwarnings("ignore:.*effective draws"),
]


def half_of_the_cells(seed, n=500, noise=0.5):
    """Rows of three factors, the same with gaps, and the exact deviation of each gap."""
    rng = np.random.default_rng(seed)
    loadings = np.random.default_rng(3).normal(size=(3, 10))
    X = rng.normal(size=(n, 3)) @ loadings + noise * rng.normal(size=(n, 10))
    covariance = loadings.T @ loadings + noise**2 * np.eye(10)
    gone = rng.random(X.shape) < 0.5
    deviation = np.zeros_like(X)
    for row, gaps in enumerate(gone):
        seen = ~gaps
        gain = np.linalg.solve(covariance[np.ix_(seen, seen)], covariance[np.ix_(seen, gaps)])
        left = covariance[np.ix_(gaps, gaps)] - covariance[np.ix_(gaps, seen)] @ gain
        deviation[row, gaps] = np.sqrt(left.diagonal())
    return X, np.where(gone, np.nan, X), gone, deviation


def share_covered(tables, X, gone):
    """Share of the gaps within the middle nine tenths of their draws, and how wide these are."""
    low, high = np.quantile(tables[:, gone], [0.05, 0.95], axis=0)
    return np.mean((X[gone] >= low) & (X[gone] <= high)), np.mean(high - low)


@pytest.mark.parametrize("seed", [0, *(pytest.param(k, marks=pytest.mark.slow) for k in (1, 2))])
def test_draws_of_a_model_trained_on_gaps_cover_them(seed):
    X, holed, gone, deviation = half_of_the_cells(seed)
    vae = VAETransformer(
        3, hidden_layer_sizes=(32,), objective=IWAE(n_draws=5), max_iter=60, random_state=seed
    ).fit(holed)  # fmt: skip
    tables = np.stack(vae.impute(holed, 40, random_state=0))
    assert tables.var(0)[gone].min() > 0.0
    covered, width = share_covered(tables, X, gone)
    assert 0.85 <= covered <= 0.95
    # Draws by the margins of the columns would be wider.
    whole = 2 * stats.norm.ppf(0.95) * np.nanstd(holed, 0)[np.nonzero(gone)[1]]
    assert width < 0.9 * whole.mean()
    assert width > 2 * stats.norm.ppf(0.95) * deviation[gone].mean() * 0.9
    # One table as many times tells nothing of what is not known.
    once = np.repeat(tables[:1], 40, 0)
    assert share_covered(once, X, gone)[0] < 0.05


@pytest.mark.parametrize("n_draws", [1, 5])
def test_what_stands_in_a_gap_changes_nothing(n_draws):
    vae, batch = vae_and_batch("objective", IWAE(n_draws), masked=True)
    bounds = []
    for there in (0.0, 1e9, -3.0):
        values = batch.values.masked_fill(~batch.mask, there)
        same = Batch(batch.inputs, values, batch.mask, None)
        bounds.append(IWAE(n_draws).bound(vae(same, FixedDraws(n_draws, 2), n_draws)).detach())
    assert_allclose(bounds[1], bounds[0], rtol=1e-6)
    assert_allclose(bounds[2], bounds[0], rtol=1e-6)
    seen = Batch(batch.inputs, batch.values + 0.1, batch.mask, None)
    other = IWAE(n_draws).bound(vae(seen, FixedDraws(n_draws, 2), n_draws)).detach()
    assert (other - bounds[0]).abs().max() > 1e-3
