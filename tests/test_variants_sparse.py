"""Very sparse flags: a planted basket of bundles, with controls that must fail."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose
from scipy import stats

from skvae import VAETransformer
from skvae.priors import VampPrior

pytestmark = [
    pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning"),
    pytest.mark.filterwarnings("ignore::skvae.exceptions.UnusedLatentsWarning"),
]
N_ROWS, N_ITEMS, N_BUNDLES, SIZE = 2000, 500, 10, 8


def baskets(n, seed):
    """Flags of density 1 %: bundles of eight items of which a row has most or none, and others."""
    rng = np.random.default_rng(seed)
    bought = rng.random((n, N_BUNDLES)) < np.linspace(0.03, 0.14, N_BUNDLES)
    X = np.zeros((n, N_ITEMS))
    kept = rng.random((n, N_BUNDLES * SIZE)) < 0.6
    X[:, : N_BUNDLES * SIZE] = np.repeat(bought, SIZE, 1) & kept
    return np.maximum(X, rng.random((n, N_ITEMS)) < 0.0022).astype(float)


def lifts(X):
    """How much more often two items of a bundle go together than by chance, for each pair."""
    share, found = X.mean(0), []
    for first in range(0, N_BUNDLES * SIZE, SIZE):
        items = slice(first, first + SIZE)
        both = X[:, items].T @ X[:, items] / len(X)
        ratio = both / np.maximum(np.outer(share[items], share[items]), 1e-9)
        found.append(ratio[np.triu_indices(SIZE, 1)])
    return np.concatenate(found)


def likeness(drawn, truth):
    """Relative errors of density and of empty rows, distance of row sizes, rank of the lifts."""
    sizes, true = drawn.sum(1), truth.sum(1)
    return {
        "density": drawn.mean() / truth.mean() - 1,
        "sizes": stats.ks_2samp(sizes, true).statistic,
        "lifts": stats.spearmanr(lifts(drawn), lifts(truth)).statistic,
        "empty": (sizes == 0).mean() / (true == 0).mean() - 1,
    }


def model(**params):
    settings = {
        "likelihood": "bernoulli",
        "prior": VampPrior(n_mixture_components=100),
        "view": None,
        "max_iter": 60,
        "random_state": 0,
    }
    return VAETransformer(12, **settings | params)


def log_prob_apart(X, T):
    """Mean log-likelihood of rows of ``T`` if all columns were independent."""
    share = np.clip(X.mean(0), 0.5 / len(X), 1.0)
    return (T * np.log(share) + (1 - T) * np.log1p(-share)).sum(1).mean()


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_baskets_of_planted_bundles(seed):
    X, T, truth = (baskets(n, 10 * seed + i) for i, n in enumerate((N_ROWS, 2000, 20_000)))
    assert truth.mean() == pytest.approx(0.01, abs=0.001)
    vae = model(random_state=seed, max_iter=30).fit(sp.csr_array(X))
    drawn = vae.sample(5000, random_state=1)
    assert type(drawn) is sp.csr_array
    drawn = drawn.toarray()
    found = likeness(drawn, truth)
    assert abs(found["density"]) < 0.1
    assert found["sizes"] < 0.1
    assert found["lifts"] > 0.7
    assert abs(found["empty"]) < 0.2
    assert set(np.unique(drawn)) == {0.0, 1.0}
    score = vae.score(sp.csr_array(T))
    assert score > log_prob_apart(X, T) + 4.0
    # Rows of whatever is likelier than not are far too often empty.
    best = vae.inverse_transform(vae.transform(sp.csr_array(T))) > 0.5
    assert (best.sum(1) == 0).mean() > 2 * (truth.sum(1) == 0).mean()


def test_control_columns_apart():
    X, truth = baskets(N_ROWS, 0), baskets(20_000, 2)
    share = X.mean(0)
    found = likeness((np.random.default_rng(0).random((5000, N_ITEMS)) < share) * 1.0, truth)
    assert abs(found["density"]) < 0.1, "what a model without codes gets right"
    assert found["sizes"] > 0.2
    assert abs(found["lifts"]) < 0.5
    assert found["empty"] < -0.8


def test_sparse_and_dense_baskets_give_the_same_loss():
    X = baskets(300, 0)
    dense, sparse = (model(max_iter=2).fit(table) for table in (X, sp.csr_array(X)))
    for name, values in dense.history_.items():
        assert_allclose(sparse.history_[name], values, rtol=1e-6)
    assert_allclose(sparse.score_samples(sp.csr_array(X)), dense.score_samples(X), atol=1e-5)
