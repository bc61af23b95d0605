"""Noise per column: when it is chosen, and what of it the encoder is shown."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from skvae import VAETransformer
from skvae._component import Shapes
from skvae.factor_model import linear_model
from skvae.likelihoods import Normal
from skvae.noise import Noise
from skvae.views import Denoising

# Columns of one variance, so that noise that is even stays so in units of the columns.
ANGLES = np.linspace(0.0, np.pi, 8, endpoint=False)
LOADINGS = np.stack([np.cos(ANGLES), np.sin(ANGLES)])
UNEVEN = np.geomspace(0.03, 1.0, 8)


def table(noise, n_rows=400, seed=0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_rows, 2)) @ LOADINGS + noise * rng.normal(size=(n_rows, 8))


def gain_of_own_noise(X, new) -> float:
    """Nats per column that new rows are likelier by with the noises of a factor model."""
    own, one = (linear_model(X, None, None, 2, 1e-6, shared=s)[0] for s in (False, True))
    return (own.log_likelihood(new) - one.log_likelihood(new)) / X.shape[1]


@pytest.mark.parametrize("spread", [0.0, 0.3, 1.0])
def test_own_noise_needs_a_clear_gain(spread):
    noise = UNEVEN**spread
    X, new = table(noise), table(noise, 4000, seed=1)
    gain = gain_of_own_noise(X, new)
    shared = linear_model(X, None, None, 2, 1e-6)[1]
    assert shared == (spread < 1.0)
    # The middle one gains beyond doubt, but too little to be worth it.
    low, high = {0.0: (-0.02, 0.0), 0.3: (0.01, 0.1), 1.0: (0.2, 1.0)}[spread]
    assert low < gain < high


def built(n_inputs, n_members=2, scale="auto") -> Denoising:
    shapes = Shapes(n_inputs, 2, (("continuous", (1,) * 3),))
    return Denoising(scale).build(shapes, Noise(range(n_members), torch.device("cpu")))


def test_columns_of_own_noise_are_shown_with_as_much_of_it():
    scale = torch.tensor([[0.1, 0.2, 0.4], [0.1, 0.2, 0.4]])
    mean = scale[0].square().mean().sqrt()
    view = built(n_inputs=5)
    view.start(scale, torch.tensor([False, True]))
    seen = view(torch.zeros(2, 1, 40_000, 6), Noise([0, 1], torch.device("cpu")), 5)
    expected = torch.stack([torch.cat([scale[0], mean.expand(2)]), mean.expand(5)])
    assert_allclose(seen[..., :5].std(dim=(1, 2)), expected, rtol=0.02)
    assert (seen[..., 5] == 0).all(), "no noise on what is exact"


def test_shared_noise_is_shown_as_one_number():
    scale = torch.tensor([[0.1, 0.2, 0.4]])
    noises = Noise([3], torch.device("cpu")), Noise([3], torch.device("cpu"))
    one, fixed = built(3, 1), built(3, 1, scale=float(scale.square().mean().sqrt()))
    one.start(scale, torch.tensor([True]))
    fixed.start(scale, torch.tensor([False]))
    rows = torch.randn(1, 1, 7, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(one(rows, noises[0], 3), fixed(rows, noises[1], 3))


def test_auto_is_the_kind_of_noise_that_it_takes():
    uneven, even = table(UNEVEN, 120), table(0.3, 120)
    for X, scale in ((uneven, "column"), (even, "shared")):
        fits = [
            VAETransformer(2, likelihood=Normal(scale=kind), max_iter=5, random_state=0).fit(X)
            for kind in ("auto", scale)
        ]
        assert_allclose(*(fit.score_samples(X) for fit in fits), rtol=0)
