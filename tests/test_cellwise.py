"""The conditional model by its parts: mixtures laid out anew, and where training begins."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from skvae._component import Shapes
from skvae.cellwise.density import ComponentsFirst, FlooredMixture
from skvae.cellwise.leave_one_out import LeaveOneOut
from skvae.cellwise.masks import LeaveOutMask
from skvae.cellwise.model import CellwiseVAE
from skvae.cellwise.start import SHRINKAGE, start_at_regressions
from skvae.distributions import CellMixture
from skvae.imputation.encoding import CellEncoding
from skvae.likelihoods import Columnwise
from skvae.noise import Noise
from skvae.synthesis.network import GenerativeNetwork

N_NUMBERS, N_LEVELS = 4, 3


def table(n_rows=4000):
    """Numbers of a normal, far from the origin and of unlike units, and a category."""
    rng = np.random.RandomState(0)
    mix = rng.randn(N_NUMBERS, N_NUMBERS)
    covariance = mix @ mix.T + 0.2 * np.eye(N_NUMBERS)
    unit = np.array([0.2, 1.0, 3.0, 0.5])
    x = rng.multivariate_normal(np.zeros(N_NUMBERS), covariance, n_rows) * unit + 2 * unit
    X = np.column_stack([x, rng.randint(N_LEVELS, size=n_rows)])
    covariance *= np.outer(unit, unit)
    return torch.as_tensor(X, dtype=torch.float32), 2 * unit, np.linalg.inv(covariance)


def started(values, seen, hidden=(16, 16)):
    blocks = ("continuous", (1,) * N_NUMBERS), ("categorical", (N_LEVELS,))
    likelihood = Columnwise(FlooredMixture(np.full(N_NUMBERS, 0.01)))
    network = GenerativeNetwork(hidden, "silu")
    vae = CellwiseVAE(network, likelihood, CellEncoding(), LeaveOutMask())
    vae.build(Shapes(0, 2, blocks), Noise([0]))
    vae.encoding.learn(values, seen, 1)
    start_at_regressions(vae, values, seen)
    return vae


def guesses(vae, values):
    with torch.no_grad():
        cells = LeaveOneOut(vae)(values[None, None], torch.ones_like(values)[None, None])
    numbers, levels = cells.parts
    return numbers.mean[0, 0].numpy(), numbers.variance[0, 0].numpy(), levels.probs[0, 0].numpy()


def test_training_begins_at_the_regressions_of_a_normal():
    values, loc, precision = table()
    seen = torch.ones_like(values, dtype=torch.bool)
    x, variance = values[:, :N_NUMBERS].numpy().astype(float), 1.0 / np.diag(precision)
    exact = loc + SHRINKAGE * (x - loc - (x - loc) @ precision * variance)
    # Cells far out are shown to the model as less far.
    inside = np.abs((x - x.mean(0)) / x.std(0)).max(1) < 2.0
    vae = started(values, seen)
    found, spread, _ = guesses(vae, values)
    errors = (found - exact)[inside].std(0) / np.sqrt(variance)
    assert errors.max() < 0.1
    left = (x - exact).var(0)
    assert_allclose(spread.mean(0) / left, spread.mean(0)[0] / left[0], rtol=0.1)
    # Where columns are shuffled, a guess is next to nothing.
    rng = np.random.RandomState(0)
    shuffled = torch.stack([c[rng.permutation(len(c))] for c in values.unbind(1)], 1)
    blind, *_ = guesses(started(shuffled, seen), values)
    assert ((blind - exact)[inside].std(0) / np.sqrt(variance)).min() > 0.7


@pytest.mark.parametrize("hidden", [(16, 16), (16, 2)])
def test_gaps_and_narrow_networks_begin_with_what_they_can(hidden):
    values, loc, precision = table()
    seen = torch.rand(values.shape, generator=torch.Generator().manual_seed(0)) < 0.8
    vae = started(torch.where(seen, values, 0.0), seen, hidden)
    x, variance = values[:, :N_NUMBERS].numpy().astype(float), 1.0 / np.diag(precision)
    exact = x - (x - loc) @ precision * variance
    found, _, levels = guesses(vae, values)
    left = [np.corrcoef(found[:, j], exact[:, j])[0, 1] for j in range(N_NUMBERS)]
    assert np.isfinite(found).all() and np.mean(left) > 0.5
    assert_allclose(levels.sum(-1), 1.0, rtol=1e-5)


def test_a_mixture_is_the_same_in_either_layout():
    generator = torch.Generator().manual_seed(0)
    loc, raw, logits = torch.randn(3, 2, 1, 2, 5, 4, generator=generator, dtype=torch.float64)
    floor = torch.linspace(0.1, 0.4, 4, dtype=torch.float64)
    x = torch.randn(1, 1, 5, 4, generator=generator, dtype=torch.float64)
    # Normals, members, draws, rows, columns.
    loc, raw, logits = (part.movedim(2, 0) for part in (loc, raw, logits))
    mine = ComponentsFirst(loc, raw, logits, floor)
    log_scale = (torch.nn.functional.softplus(raw) + floor).log()
    other = CellMixture(*(part.movedim(0, -1) for part in (logits, loc, log_scale)))
    assert_allclose(mine.log_prob(x), other.log_prob(x), rtol=1e-12)
    for name in ("mean", "variance", "loc", "log_scale", "log_weights"):
        assert_allclose(getattr(mine, name), getattr(other, name), rtol=1e-12)
    assert torch.equal(mine.sample(Noise([0, 1])), other.sample(Noise([0, 1])))
