"""Numbers beside a category, each with a capacity of its own."""

import math
import re

import numpy as np
import pytest
from components import small, table, vae_and_batch
from numpy.testing import assert_allclose
from scipy.optimize import linear_sum_assignment
from test_variants_codes import clusters_with_a_factor

from skvae import VAETransformer
from skvae.networks import MLP
from skvae.noise import Noise
from skvae.objectives import ELBO
from skvae.posteriors import Joint
from skvae.priors import GaussianMixture

pytestmark = [
    pytest.mark.filterwarnings("error"),
    pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning"),
    pytest.mark.filterwarnings("ignore::skvae.exceptions.UnusedLatentsWarning"),
]


def test_each_part_has_its_own_target_and_price():
    vae, batch = vae_and_batch("posterior", Joint(n_categories=3))
    step = vae.train()(batch, Noise((3, 7)), 1)
    fit, nats = step.log_likelihood.mean((1, 2)), step.kl.mean((1, 2))
    numbers, category = nats[:, :-1].sum(-1), nats[:, -1]
    objective = ELBO(beta=7.0, capacity=(0.4, 0.3), warm_up=10)
    # Half of the warm-up leaves half of the targets.
    for epoch, share in ((5.0, 0.5), (20.0, 1.0)):
        missed = (numbers - 0.4 * share).abs() + (category - 0.3 * share).abs()
        assert_allclose(objective(step, epoch, 99).detach(), (7.0 * missed - fit).detach())
    # A category cannot carry more than the logarithm of how many there are.
    most = ELBO(capacity=(0.0, math.log(3))).judged(step)
    assert_allclose(ELBO(capacity=(0.0, 99.0)).judged(step).detach(), most.detach())
    # With one target, what the numbers carry too much makes up for the category.
    one = ELBO(capacity=math.log(3)).judged(step)
    assert ((most - one) > 0.05).all()


@pytest.mark.parametrize(
    ("params", "capacity"),
    [
        ({}, (1.0, 1.0)),
        ({"posterior": Joint(2)}, (1.0, 1.0, 1.0)),
        ({"posterior": Joint(2), "prior": GaussianMixture(2)}, (1.0, 1.0)),
        ({"posterior": Joint(2)}, (-1.0, 1.0)),
    ],
)
def test_two_targets_need_two_parts(params, capacity):
    told = re.escape(f"capacity={capacity}) expects a target for numbers and one for a category")
    with pytest.raises(ValueError, match=told):
        small(objective=ELBO(capacity=capacity, warm_up=5), **params).fit(table())


def fitted(X, capacity, **params):
    settings = {"network": MLP((16,), linear_skip=True), "max_iter": 60, "random_state": 0}
    return VAETransformer(
        1, posterior=Joint(5), objective=ELBO(beta=30.0, capacity=capacity, warm_up=20),
        early_stopping=False, calibrate=False, view=None, **settings | params,
    ).fit(X)  # fmt: skip


def nats_of(vae):
    numbers, *shares = vae.diagnostics_["kl_per_latent"]
    return numbers, sum(shares)


@pytest.mark.parametrize("seed", range(3))
def test_two_capacities_are_met_where_one_leaves_the_share_open(seed):
    X = clusters_with_a_factor(300, 0)[0]
    settings = {"init": "random", "random_state": seed}
    assert_allclose(nats_of(fitted(X, (0.5, 1.4), **settings)), (0.5, 1.4), atol=0.1)
    numbers, category = nats_of(fitted(X, 1.9, **settings))
    assert abs(numbers + category - 1.9) < 0.2
    assert abs(numbers - 0.5) > 0.3


def hungarian(y, found):
    """Share of rows that agree under the best naming of the categories."""
    counts = np.zeros((5, 5))
    np.add.at(counts, (y, found), 1)
    return counts[linear_sum_assignment(-counts)].sum() / len(y)


def told_within(codes, factor, y):
    return min(abs(np.corrcoef(codes[y == k], factor[y == k])[0, 1]) for k in range(5))


@pytest.mark.parametrize("seed", range(3))
def test_category_and_number_find_clusters_and_what_varies_within(seed):
    X, y, factor = clusters_with_a_factor(500, 0)
    vae = fitted(X[:300], (1.5, 10.0), random_state=seed)
    found, codes = vae.categories(X[300:])[:, 0], vae.transform(X[300:])[:, 0]
    assert hungarian(y[300:], found) >= 0.95
    assert told_within(codes, factor[300:], y[300:]) >= 0.9
    numbers, category = nats_of(vae)
    assert abs(numbers - 1.5) < 0.1 and category <= math.log(5) + 1e-6
    # Without room for the number it tells nothing; of other labels the categories tell nothing.
    none = fitted(X[:300], (0.0, 10.0), random_state=seed)
    assert told_within(none.transform(X[300:])[:, 0], factor[300:], y[300:]) < 0.7
    assert hungarian(np.random.default_rng(0).permutation(y[300:]), found) < 0.4
