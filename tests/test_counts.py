"""Counts of rows that differ in size: their density, and what the code is spared."""

import itertools
import math

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from skvae import VAEImputer, VAEOutlierDetector, VAETransformer
from skvae import distributions as D
from skvae.likelihoods import (
    Columnwise,
    NegativeBinomial,
    Poisson,
    ZeroInflatedNegativeBinomial,
    ZeroInflatedPoisson,
)
from skvae.noise import Noise
from skvae.table import TableCodec
from skvae.table.row_sizes import SizedCountColumn

pytestmark = pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning")

SHARES = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.double).log()


def bases(n_rows, total_count):
    log_share = SHARES.expand(1, 1, n_rows, 4)
    log_total = torch.full((1, 1, 1, 4), math.log(total_count), dtype=torch.double)
    counts = D.NegativeBinomial(log_share, log_total)
    return [D.Poisson(log_share), counts, D.ZeroInflated(counts, torch.full_like(log_share, -1.0))]


def sized(base, loc, scale, n_nodes=16):
    loc, scale = (torch.full((1, 1, 1, 1), x, dtype=torch.double) for x in (loc, scale))
    return D.SizedCounts(base, loc, scale, n_nodes)


def rows_of(counts):
    return torch.as_tensor(np.array(list(counts)), dtype=torch.double)[None, None]


# ----------------------------------------------------------------------------------- the density


@pytest.mark.parametrize("loc, scale, total_count", [(0.0, 0.5, 1.0), (1.5, 1.0, 3.0)])
@pytest.mark.parametrize("masked", [False, True])
def test_the_size_of_a_row_is_integrated_out(loc, scale, total_count, masked):
    value = rows_of(itertools.product(range(4), range(3), range(2), [0, 9]))
    mask = torch.tensor([True, False, True, True]).expand(value.shape) if masked else None
    value = value if mask is None else value * mask
    sizes = torch.linspace(loc - 12 * scale, loc + 12 * scale, 4001, dtype=torch.double)
    step = float(sizes[1] - sizes[0])
    for base in bases(value.shape[2], total_count):
        by_sum = torch.stack(
            [
                base.scaled(u).log_prob_rows(value, mask) - 0.5 * ((u - loc) / scale) ** 2
                for u in sizes
            ]
        ).logsumexp(0) + math.log(step / scale / math.sqrt(2 * math.pi))
        for n_nodes, error in ((16, 2e-6), (8, 2e-3)):
            log_prob = sized(base, loc, scale, n_nodes).log_prob_rows(value, mask)
            assert_allclose(log_prob, by_sum, atol=error)
        # One pass is near enough to train by, where a row has counts to tell its size by.
        many = value.sum(-1) >= 9
        rough = sized(base, loc, scale, 1).log_prob_rows(value, mask)
        assert (rough - by_sum)[many].abs().median() < 0.4


@pytest.mark.parametrize("place", range(3))
def test_probabilities_of_rows_and_of_cells_sum_to_one(place):
    value = rows_of(itertools.product(range(50), range(50)))
    full = bases(value.shape[2], 2.0)[place]
    two = {"loc": 0.3, "scale": 0.4}
    value = torch.cat([value, torch.zeros_like(value)], -1)
    mask = torch.tensor([True, True, False, False]).expand(value.shape)
    assert float(sized(full, **two).log_prob_rows(value, mask).exp().sum()) == pytest.approx(
        1, abs=1e-5
    )
    ladder = torch.arange(200.0, dtype=torch.double).view(1, 1, -1, 1).expand(-1, -1, -1, 4)
    cells = sized(bases(200, 2.0)[place], **two).log_prob(ladder).exp().sum(2)
    assert_allclose(cells, 1.0, atol=1e-5)


def test_slopes_by_size_are_derivatives():
    value = rows_of(itertools.product(range(4), range(3), range(2), [0, 9]))
    mask = torch.rand(value.shape, generator=torch.Generator().manual_seed(0)) < 0.7
    for base in bases(value.shape[2], 2.0)[:2]:
        here, up, down = (
            base.scaled(torch.tensor(h)).size_terms(value, mask) for h in (0.0, 1e-5, -1e-5)
        )
        assert_allclose(here.slope, (up.log_prob - down.log_prob) / 2e-5, atol=1e-8)
        assert_allclose(here.curvature, (down.slope - up.slope) / 2e-5, atol=1e-8)


def test_large_total_counts_are_a_poisson_with_its_gradient():
    value = rows_of([[0, 3, 0, 40]])
    for log_total in (8.0, 14.0):
        log_mean = (SHARES + 3.0).expand(1, 1, 1, 4).float().requires_grad_()
        total = torch.full((1, 1, 1, 4), log_total).requires_grad_()
        negative_binomial = D.NegativeBinomial(log_mean, total).log_prob_rows(value.float(), None)
        poisson = D.Poisson(log_mean).log_prob_rows(value.float(), None)
        assert_allclose(
            negative_binomial.detach(), poisson.detach(), atol=1000 * math.exp(-log_total)
        )
        slopes = [
            torch.autograd.grad(r.sum(), log_mean, retain_graph=True)[0]
            for r in (negative_binomial, poisson)
        ]
        assert_allclose(*slopes, atol=2000 * math.exp(-log_total))
        assert torch.autograd.grad(negative_binomial.sum(), total)[0].abs().max() < 0.3


def test_known_cells_tell_the_size_of_the_others():
    n = 500
    rng = np.random.default_rng(0)
    size = np.exp(rng.normal(4.0, 1.0, n))
    value = rows_of(rng.poisson(size[:, None] * SHARES.exp().numpy()))
    mask = torch.tensor([True, True, True, False]).expand(value.shape)
    base = D.Poisson(SHARES.expand(1, 1, n, 4))
    before = sized(base, 4.0, 1.0)
    after = before.given(torch.where(mask, value, 0.0), mask)
    hidden = value[0, 0, :, 3]
    errors = [(d.mean[0, 0, :, 3] - hidden).square().mean().sqrt() for d in (after, before)]
    assert errors[0] < 0.4 * errors[1]
    standard = (torch.as_tensor(size).log() - after.loc[0, 0, :, 0]) / after.scale[0, 0, :, 0]
    assert abs(float(standard.mean())) < 0.15 and float(standard.std()) == pytest.approx(
        1, abs=0.15
    )
    nothing = before.given(torch.zeros_like(value), torch.zeros_like(mask))
    assert_allclose(nothing.loc, 4.0, atol=1e-9)
    assert_allclose(nothing.scale, 1.0, atol=1e-9)


def test_moments_and_draws():
    base = D.Poisson(SHARES.expand(1, 1, 100_000, 4))
    cells = sized(base, 3.0, 0.5)
    draws = cells.sample(Noise([0]))[0, 0]
    assert_allclose(draws.mean(0), cells.mean[0, 0, 0], rtol=0.01)
    assert float(draws.sum(-1).median()) == pytest.approx(math.exp(3.0), rel=0.03)
    assert_allclose(cells.point.sum(-1)[0, 0, 0], math.exp(3.0))


# ------------------------------------------------------------------------------- the whole model


def planted(n=700, d=24, seed=0):
    """Counts of one factor, in rows whose sizes vary by a factor of ten."""
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(n, 1))
    size = np.exp(rng.uniform(np.log(30.0), np.log(300.0), (n, 1)))
    logits = factor * rng.normal(size=d) + rng.normal(size=d)
    share = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return rng.poisson(size * share).astype(float), factor[:, 0], np.log(size[:, 0])


def small(likelihood="negative_binomial", n_components=2, cls=VAETransformer, **params):
    settings = {"max_iter": 30, "hidden_layer_sizes": (16,), "random_state": 0}
    return cls(n_components, likelihood=likelihood, **(settings | params))


def explained(codes, what):
    """Share of the variance of ``what`` that is linear in the codes."""
    A = np.column_stack([codes, np.ones(len(codes))])
    rest = what - A @ np.linalg.lstsq(A, what, rcond=None)[0]
    return 1.0 - rest.var() / what.var()


def test_the_code_is_spared_the_size():
    X, factor, log_size = planted()
    codes = small().fit(X).transform(X)
    assert explained(codes, log_size) < 0.1
    assert explained(codes, factor) > 0.7
    blind = small(NegativeBinomial(row_sizes=False)).fit(X).transform(X)
    assert explained(blind, log_size) > 0.7


def test_sizes_score_better_where_there_are_some():
    X, _, _ = planted(1000)
    train, test = X[:600], X[600:]
    with_sizes, without = (
        small(NegativeBinomial(row_sizes=sizes), 1).fit(train).score(test)
        for sizes in (True, False)
    )
    assert with_sizes > without + 1.5


def test_density_of_a_whole_model_sums_to_one():
    rng = np.random.default_rng(0)
    X = rng.poisson(np.exp(rng.normal(1.0, 0.5, (200, 1))) * [0.6, 0.4]).astype(float)
    vae = small(Poisson(row_sizes=True), 1, max_iter=5).fit(X)
    everything = np.array(list(itertools.product(range(40), range(30))), dtype=float)
    assert np.exp(vae.score_samples(everything, n_draws=512)).sum() == pytest.approx(1, abs=0.02)


def test_samples_have_sizes_and_decoded_rows_the_median_one():
    X, _, _ = planted()
    vae = small().fit(X)
    loc, scale = vae.codec_.row_size_
    totals = np.log(X.sum(1))
    assert (loc, scale) == pytest.approx((totals.mean(), totals.std()), abs=0.02)
    assert_allclose(vae.inverse_transform(vae.transform(X[:5])).sum(1), math.exp(loc), rtol=1e-3)
    drawn = np.log(vae.sample(4000, random_state=1).sum(1))
    assert (drawn.mean(), drawn.std()) == pytest.approx((loc, scale), abs=0.1)
    given = vae.sample(500, given={"x0": 40.0}, random_state=1)
    assert np.median(given.sum(1)) > 1.5 * math.exp(loc), "a large count is of a large row"


@pytest.mark.filterwarnings("ignore:.*effective draws")
def test_gaps_are_filled_by_the_size_of_their_row():
    X, _, _ = planted()
    # A few large counts make most of the error of one mask.
    masks = np.random.default_rng(1).uniform(size=(3, *X.shape)) < 0.2
    error = {}
    for sizes in (True, False):
        filled = []
        for holes in masks:
            gappy = np.where(holes, np.nan, X)
            vae = small(Poisson(row_sizes=sizes)).fit(gappy)
            assert np.isfinite(vae.score_samples(gappy)).all()
            filled.append(vae.impute(gappy, n_draws=50))
            assert_array_equal(filled[-1][~holes], X[~holes])
        error[sizes] = np.sqrt(np.square(filled - X)[masks].mean())
    assert error[True] < 0.8 * X[masks[0]].std()
    assert error[True] < 1.1 * error[False]


@pytest.mark.parametrize(
    "likelihood",
    [
        Poisson(row_sizes=True),
        NegativeBinomial(),
        ZeroInflatedPoisson(),
        ZeroInflatedNegativeBinomial(),
        Columnwise(count=NegativeBinomial(row_sizes=True)),
    ],
    ids=repr,
)
def test_a_stack_gives_the_bits_of_single_fits_and_sparse_those_of_dense(likelihood):
    X, _, _ = planted(150)
    weight = np.random.default_rng(0).integers(1, 3, len(X)).astype(float)
    kinds = (
        {f"x{j}": "count" for j in range(X.shape[1])}
        if isinstance(likelihood, Columnwise)
        else None
    )
    settings = {"max_iter": 3, "column_kinds": kinds}
    stack = small(likelihood, n_members=2, **settings).fit(X, sample_weight=weight)
    assert all(hasattr(part, "size_loc") for part in stack.vae_.likelihood.parts)
    assert isinstance(stack.codec_.columns_[0], SizedCountColumn)
    if kinds is None:
        sparse = small(likelihood, n_members=2, **settings).fit(
            sp.csr_array(X), sample_weight=weight
        )
        assert_array_equal(stack.score_samples(X), sparse.score_samples(sp.csr_array(X)))
        assert_array_equal(stack.sample(20), sparse.sample(20).toarray())
    assert_array_equal(stack.score_samples(X)[:7], stack.score_samples(X[:7]))


def test_only_rows_that_differ_in_size_have_sizes():
    X, _, _ = planted()
    rng = np.random.default_rng(0)
    independent = rng.negative_binomial(2.0, 0.3, X.shape).astype(float)
    loads = np.repeat([-0.3, 0.3], X.shape[1] // 2)
    factor = rng.poisson(9.0 * np.exp(rng.normal(size=(len(X), 1)) * loads)).astype(float)

    def has_sizes(X, row_sizes="auto"):
        return TableCodec("count", row_sizes=row_sizes).fit(X).row_size_ is not None

    assert has_sizes(X) and has_sizes(sp.csr_array(X))
    assert not has_sizes(independent) and not has_sizes(factor)
    assert not has_sizes(X, False) and has_sizes(independent, True)
    assert not has_sizes(X[:, :3]), "the total of few columns is what a row is"
    holes = rng.uniform(size=X.shape) < 0.3
    assert has_sizes(np.where(holes, np.nan, X))


def test_the_encoder_sees_rows_of_one_size():
    codec = TableCodec("count", row_sizes=True).fit(planted()[0])
    row = planted(1, seed=3)[0]
    rows = np.concatenate([row, 7 * row])
    _, _, inputs = codec.encode(rows)
    assert_allclose(inputs[0], inputs[1], atol=1e-5)
    _, _, raw = TableCodec("count").fit(planted()[0]).encode(rows)
    assert abs(raw[0] - raw[1]).max() > 0.5


def test_empty_rows_have_finite_codes_and_scores():
    X, _, _ = planted(200)
    X[3] = 0.0
    vae = small(max_iter=3).fit(X)
    assert np.isfinite(vae.score_samples(X)).all() and np.isfinite(vae.transform(X)).all()
    gone = X[:4].copy()
    gone[0] = np.nan
    assert vae.score_samples(gone, n_draws=256)[0] == pytest.approx(0.0, abs=0.05)


def test_models_of_single_cells_refuse_sizes():
    X, _, _ = planted(60)
    with pytest.raises(
        ValueError, match=r"rows have sizes.*Use NegativeBinomial\(row_sizes=False"
    ):
        VAEImputer(likelihood=NegativeBinomial(row_sizes=True), max_iter=1).fit(X)
    assert np.isfinite(small(cls=VAEOutlierDetector, max_iter=3).fit(X).score_samples(X)).all()


def test_codes_of_counts_without_noise_leave_their_start():
    """No linear model stands behind counts: encoder and decoder would both start at 0."""
    rng = np.random.default_rng(0)
    X = rng.poisson(np.exp(rng.normal(size=(200, 2)) @ rng.normal(size=(2, 12)) / 2)).astype(float)
    params = {"likelihood": "poisson", "max_iter": 5, "random_state": 0}
    codes = VAETransformer(8, posterior="deterministic", **params).fit_transform(X)
    assert (codes.std(0) > 0).all()


@pytest.mark.parametrize("name", ["poisson", "negative_binomial", "zero_inflated"])
def test_counts_of_a_million_are_scored_to_the_digits_of_float32(name):
    """Terms of ten million cancel: float32 alone is off by tenths of a nat."""
    counts = np.array([0.0, 3.0, 300.0, 2e4, 8e5])
    mean, total = np.array([1.0, 2.0, 320.0, 1.99e4, 7.995e5]), 2.0
    value, log_mean = (torch.tensor(x).float().view(1, 1, 1, -1) for x in (counts, np.log(mean)))
    mean = log_mean.double().exp().numpy().ravel()
    log_total = torch.full((1, 1, 1, 5), math.log(total))
    with torch.no_grad():
        if name == "poisson":
            found = D.Poisson(log_mean)
            wanted = stats.poisson.logpmf(counts, mean)
        else:
            found = D.NegativeBinomial(log_mean, log_total)
            wanted = stats.nbinom.logpmf(counts, total, total / (total + mean))
        if name == "zero_inflated":
            found = D.ZeroInflated(found, torch.full_like(log_mean, -1.0))
            share = 1.0 / (1.0 + math.e)
            wanted = np.log((counts == 0) * share + (1 - share) * np.exp(wanted))
        cells = found.log_prob(value).numpy().ravel()
        rows = float(found.log_prob_rows(value, None))
        some = float(found.log_prob_rows(value, value < 1e5))
    assert_allclose(cells, wanted, rtol=1e-6, atol=2e-4)
    assert_allclose((rows, some), (wanted.sum(), wanted[:-1].sum()), rtol=1e-5, atol=2e-4)
