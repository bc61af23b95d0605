"""The table of example components: one place to add a component, and every contract sees it.

Each axis maps an id to an unbuilt component.  ``tiny_vae`` builds a VAE of two members from
any of them, ``random_batch`` gives it rows of the right kinds.
"""

import math

import numpy as np
import pytest
import torch
from scipy import special, stats
from sklearn.base import clone

from skvae import VAETransformer
from skvae import distributions as D
from skvae._component import Shapes
from skvae._pass import Batch
from skvae.ladder import LadderVAE
from skvae.likelihoods import (
    Bernoulli,
    Categorical,
    Columnwise,
    Likelihood,
    NegativeBinomial,
    Normal,
    NormalMixture,
    Ordinal,
    Poisson,
    StudentT,
    TokenSequence,
    ZeroInflatedNegativeBinomial,
    ZeroInflatedPoisson,
)
from skvae.missingness import SelfMasking
from skvae.networks import (
    ACTIVATIONS,
    MLP,
    Convolutional,
    LinearEncoder,
    Recurrent,
    ResidualConvolutional,
    Tokens,
)
from skvae.noise import Noise
from skvae.objectives import ELBO, IWAE, DReG, Renyi
from skvae.penalties import (
    DIP,
    MMD,
    DecoderCritic,
    DecoderDecay,
    DecoderGradient,
    DecoderSpectrum,
    FactorCritic,
    LatentCritic,
    NeighborGraph,
    RadonSobolev,
    SlicedWasserstein,
    SpectralNorm,
    TotalCorrelation,
)
from skvae.posteriors import (
    Deterministic,
    DiagonalNormal,
    Epanechnikov,
    FixedNormal,
    Joint,
    Ladder,
    ResidualLadder,
    VectorQuantized,
)
from skvae.priors import (
    Aggregate,
    AutoregressiveNormal,
    Flow,
    GaussianMixture,
    StandardNormal,
    VampPrior,
)
from skvae.vae import VAE
from skvae.views import Binarized, Denoising, PastFuture, TimeLagged

SEEDS = (3, 7)
N_COMPONENTS = 2
N_ROWS = 6
SIZES = {
    "continuous": (1, 1, 1),
    "count": (1, 1),
    "binary": (1, 1),
    "categorical": (3, 2),
    "ordinal": (4, 3),
    "token": (4, 4, 4),
}

POSTERIORS = {
    "diagonal": DiagonalNormal(),
    "deterministic": Deterministic(),
    "epanechnikov": Epanechnikov(),
    "fixed_normal": FixedNormal(scale=0.1),
    "quantized": VectorQuantized(n_codes=4),
    "joint": Joint(n_categories=3),
    "ladder": Ladder(),
    "residual_ladder": ResidualLadder(),
    "quantized-parts": VectorQuantized(n_codes=3, n_positions=2, n_levels=2),
}
PRIORS = {
    "standard": StandardNormal(),
    "mixture": GaussianMixture(n_mixture_components=3),
    "aggregate": Aggregate(n_mixture_components=2),
    "vamp": VampPrior(n_mixture_components=3),
    "autoregressive": AutoregressiveNormal(correlation=0.8),
    "flow": Flow(n_normals=2, n_hidden=8, max_iter=20),
}
# One block of one kind each; Columnwise wraps them in an estimator.
BLOCK_LIKELIHOODS = {
    "normal-auto": Normal(),
    "normal-shared": Normal(scale="shared", initial_scale=0.5),
    "normal-column": Normal(scale="column", min_scale=0.05),
    "normal-fixed": Normal(scale=0.3),
    "student_t": StudentT(df=3.0),
    "student_t-column": StudentT(scale="column"),
    "normal_mixture": NormalMixture(n_mixture_components=2),
    "bernoulli": Bernoulli(),
    "categorical": Categorical(),
    "ordinal": Ordinal(),
    "poisson": Poisson(),
    "negative_binomial": NegativeBinomial(),
    "zero_inflated_poisson": ZeroInflatedPoisson(),
    "zero_inflated_negative_binomial": ZeroInflatedNegativeBinomial(),
}
LIKELIHOODS = BLOCK_LIKELIHOODS | {
    "columnwise": Columnwise(),
    "columnwise-nested": Columnwise(continuous=StudentT(df=5.0), count=Poisson()),
    "columnwise-mixed": Columnwise(continuous=Normal(scale="column"), binary="bernoulli"),
}
# Cells of a row depend on one another beyond the code: through its size, or one after the other.
SIZED_LIKELIHOODS = {
    "token_sequence": TokenSequence(n_units=6, n_embedding=3),
    "token_sequence-dropout": TokenSequence(n_units=4, n_embedding=3, word_dropout=0.3),
    "poisson-sized": Poisson(row_sizes=True),
    "negative_binomial-sized": NegativeBinomial(row_sizes=True),
    "zero_inflated-sized": ZeroInflatedNegativeBinomial(row_sizes=True),
    "columnwise-sized": Columnwise(count=NegativeBinomial(row_sizes=True)),
}
OBJECTIVES = {
    "elbo": ELBO(),
    "beta": ELBO(beta=4.0),
    "autoencoder": ELBO(beta=0.0),
    "warm_up": ELBO(beta=2.0, warm_up=10),
    "cycles": ELBO(cycles=2),
    "free_bits": ELBO(free_bits=0.1),
    "capacity": ELBO(beta=10.0, capacity=3.0),
    "iwae": IWAE(),
    "iwae-2": IWAE(n_draws=2),
    "dreg": DReG(n_draws=3),
    "renyi": Renyi(n_draws=3),
    "renyi-negative": Renyi(alpha=-1.0, n_draws=2),
}
NETWORKS = {
    "linear": MLP(hidden_layer_sizes=()),
    "one-layer": MLP(hidden_layer_sizes=(5,)),
    "two-layers": MLP(hidden_layer_sizes=(20, 5)),
    "skip": MLP(hidden_layer_sizes=(5,), linear_skip=True),
    "linear_encoder": LinearEncoder((5,)),
    "linear_encoder-linear": LinearEncoder(()),
    "no-skip": MLP(hidden_layer_sizes=[5], linear_skip=False),
    "tokens": Tokens(n_units=5, n_embedding=3, hidden_layer_sizes=(6,)),
    "recurrent": Recurrent((3,), n_units=5),
    "recurrent-lstm": Recurrent((3, 1), "lstm", 4, hidden_layer_sizes=(5,)),
    "convolutional": Convolutional((1, 3), channels=(5, 3)),
    "residual": ResidualConvolutional((1, 3), channels=(5,), n_scales=1),
    "convolutional-skip": Convolutional((3, 1), (2,), (5,), "tanh", linear_skip=True),
} | {f"activation-{name}": MLP((6,), activation=name) for name in ACTIVATIONS}
MISSINGNESS = {"self_masking": SelfMasking(), "self_masking-2": SelfMasking(n_draws=2)}
PENALTIES = {
    "neighbors": NeighborGraph(n_neighbors=3, max_iter=5),
    "neighbors-cells": NeighborGraph(n_neighbors=3, max_iter=5, keep_neighbors=False),
    "mmd": MMD(),
    "mmd-gaussian": MMD(weight=3.0, kernel="gaussian", n_prior_samples=9),
    "sliced_wasserstein": SlicedWasserstein(n_projections=5),
    "radon_sobolev": RadonSobolev(),
    "total_correlation": TotalCorrelation(),
    "total_correlation-weighted": TotalCorrelation(2.0, estimator="weighted"),
    "factor_critic": FactorCritic(hidden_layer_sizes=(5,)),
    "latent_critic": LatentCritic(hidden_layer_sizes=(5, 4)),
    "decoder_critic": DecoderCritic(likelihood_weight=0.5, hidden_layer_sizes=(5,)),
    "decoder_gradient": DecoderGradient(),
    "decoder_gradient-all": DecoderGradient(n_directions=None),
    "decoder_decay": DecoderDecay(),
    "decoder_spectrum": DecoderSpectrum(),
    "spectral_norm": SpectralNorm(),
    "dip": DIP(),
    "dip-means": DIP(weight=3.0, diagonal_weight=5.0, of="means"),
}
VIEWS = {
    "binarized": Binarized(),
    "time_lagged": TimeLagged(lag=2),
    "past_future": PastFuture(lag=2),
    "denoising": Denoising(),
    "denoising-strong": Denoising(scale=0.5),
}

TABLE = {
    "posterior": POSTERIORS,
    "prior": PRIORS,
    "likelihood": LIKELIHOODS | SIZED_LIKELIHOODS,
    "objective": OBJECTIVES,
    "network": NETWORKS,
    "view": VIEWS,
    "missingness": MISSINGNESS,
    "penalty": PENALTIES,
}
EVERY = {
    f"{axis}:{name}": (axis, component)
    for axis, examples in TABLE.items()
    for name, component in examples.items()
}
# What is part of a VAE, as against what judges it.
PARTS = {name: pair for name, pair in EVERY.items() if pair[0] != "objective"}

# Each distribution over cells, given how to make a parameter, beside scipy's own and the
# points that carry its mass.
_COUNTS = np.arange(400.0)
_SHARES = np.array([0.2, 0.5, 0.3])
_EDGES = np.array([-1.0, 0.5, 3.0])
_LEVELS = np.diff([0.0, *stats.logistic(0.4).cdf(_EDGES), 1.0])


class _TwoNormals(stats.rv_continuous):
    def _pdf(self, x):
        first, second = special.softmax([0.2, 0.9])
        normals = stats.norm(-1.0, math.exp(-0.5)), stats.norm(2.0, math.exp(0.2))
        return first * normals[0].pdf(x) + second * normals[1].pdf(x)

    def _stats(self):
        first, second = special.softmax([0.2, 0.9])
        mean = 2.0 * second - first
        squares = first * (1.0 + math.exp(-1.0)) + second * (4.0 + math.exp(0.4))
        return mean, squares - mean**2, None, None


def _with_zeros(counts, share):
    mass = (1 - share) * counts.pmf(_COUNTS)
    mass[0] += share
    return stats.rv_discrete(values=(_COUNTS, mass))


DENSITIES = {
    "normal": (
        lambda full: D.Normal(full(0.3), full(math.log(0.7))),
        stats.norm(0.3, 0.7),
        np.linspace(-8, 8, 4001),
    ),
    "student_t": (
        lambda full: D.StudentT(full(0.3), full(math.log(0.7)), torch.tensor(9.0)),
        stats.t(9.0, 0.3, 0.7),
        np.linspace(-60, 60, 20001),
    ),
    "normal_mixture": (
        lambda full: D.CellMixture(
            full(0.0).unsqueeze(-1) + torch.tensor([0.2, 0.9]),
            full(0.0).unsqueeze(-1) + torch.tensor([-1.0, 2.0]),
            full(0.0).unsqueeze(-1) + torch.tensor([-0.5, 0.2]),
        ),
        _TwoNormals(),
        np.linspace(-12, 14, 4001),
    ),
    "bernoulli": (
        lambda full: D.Bernoulli(full(0.8)),
        stats.bernoulli(special.expit(0.8)),
        np.arange(2.0),
    ),
    "categorical": (
        lambda full: D.Categorical(
            full(0.0) + torch.tensor([*np.log(_SHARES) + 1.0, -math.inf]), [len(_SHARES) + 1]
        ),
        stats.rv_discrete(values=(np.arange(3), _SHARES)),
        np.arange(3.0),
    ),
    "ordinal": (
        lambda full: D.Ordinal(full(0.4), torch.tensor([*_EDGES, math.inf]).view(1, 1, 1, 1, -1)),
        stats.rv_discrete(values=(np.arange(4), _LEVELS)),
        np.arange(4.0),
    ),
    "poisson": (lambda full: D.Poisson(full(math.log(3.2))), stats.poisson(3.2), _COUNTS),
    "negative_binomial": (
        lambda full: D.NegativeBinomial(full(math.log(3.0)), full(math.log(2.0))),
        stats.nbinom(2.0, 2.0 / 5.0),
        _COUNTS,
    ),
    "zero_inflated_poisson": (
        lambda full: D.ZeroInflated(D.Poisson(full(math.log(3.2))), full(-0.7)),
        _with_zeros(stats.poisson(3.2), special.expit(-0.7)),
        _COUNTS,
    ),
    "zero_inflated_negative_binomial": (
        lambda full: D.ZeroInflated(
            D.NegativeBinomial(full(math.log(3.0)), full(math.log(2.0))), full(0.5)
        ),
        _with_zeros(stats.nbinom(2.0, 2.0 / 5.0), special.expit(0.5)),
        _COUNTS,
    ),
}


def blocks_of(likelihood):
    """The columns that suit a likelihood: all kinds but tokens for Columnwise, else its own."""
    every = [kind for kind in SIZES if kind != "token"]
    kinds = [likelihood.kind] if isinstance(likelihood, Likelihood) else every
    return tuple((kind, SIZES[kind]) for kind in kinds)


def shapes_of(blocks, n_components=N_COMPONENTS, row_size=None):
    width = sum(sum(sizes) for _, sizes in blocks)
    return Shapes(width, n_components, tuple(blocks), row_size)


def tiny_vae(seeds=SEEDS, n_components=N_COMPONENTS, blocks=None, **parts):
    """Build a small VAE, one member per seed; the parts given are cloned."""
    defaults = {
        "network": MLP((5,)),
        "posterior": DiagonalNormal(),
        "prior": StandardNormal(),
        "likelihood": Normal(),
        "view": None,
        "missingness": None,
        "penalty": None,
    }
    if isinstance(parts.get("network"), Tokens):
        defaults["likelihood"] = SIZED_LIKELIHOODS["token_sequence"]
    parts = {axis: part and clone(part) for axis, part in (defaults | parts).items()}
    blocks = blocks_of(parts["likelihood"]) if blocks is None else blocks
    row_size = (2.0, 0.5) if parts["likelihood"].row_sizes is True else None
    kind = LadderVAE if parts["posterior"].is_ladder else VAE
    return kind(**parts).build(shapes_of(blocks, n_components, row_size), Noise(seeds))


def random_values(kind, sizes, n_rows, generator):
    """Cells of one kind, ``(n_rows, columns)``."""
    if kind == "continuous":
        return torch.randn(n_rows, len(sizes), generator=generator)
    tops = {"count": 6, "binary": 2}
    tops = [tops.get(kind, size) for size in sizes]
    columns = [torch.randint(top, (n_rows,), generator=generator) for top in tops]
    return torch.stack(columns, -1).float()


def as_inputs(blocks, values):
    """What an encoder is shown of the cells: categories and levels become one-hot."""
    split = values.split([len(sizes) for _, sizes in blocks], -1)
    parts = []
    for (kind, sizes), cells in zip(blocks, split):
        if kind in ("categorical", "ordinal", "token"):
            codes = zip(cells.long().unbind(-1), sizes)
            parts += [torch.nn.functional.one_hot(c, size).float() for c, size in codes]
        else:
            parts.append(cells)
    return torch.cat(parts, -1)


def random_batch(blocks, n_rows=N_ROWS, masked=False, weighted=False, n_members=2, seed=0):
    """Rows of these kinds, the same for every member; missing cells hold 0."""
    generator = torch.Generator().manual_seed(seed)
    cells = [random_values(kind, sizes, n_rows, generator) for kind, sizes in blocks]
    values = torch.cat(cells, -1)
    mask = weights = None
    inputs = as_inputs(blocks, values)
    if masked:
        mask = torch.rand(values.shape, generator=generator) < 0.7
        values = torch.where(mask, values, 0.0)
        widths = [n for _, sizes in blocks for n in sizes]
        inputs = torch.where(mask.repeat_interleave(torch.tensor(widths), -1), inputs, 0.0)
    if weighted:
        weights = torch.rand(n_rows, generator=generator) + 0.1
        weights = (weights / weights.mean()).expand(n_members, -1)

    def stack(rows):
        return None if rows is None else rows.expand(n_members, 1, -1, -1)

    return Batch(stack(inputs), stack(values), stack(mask), weights)


def of_member(batch, member):
    """The rows of one member of a stack, as a stack of one."""
    cut = slice(member, member + 1)
    parts = (batch.inputs, batch.values, batch.mask, batch.weights)
    return Batch(*(None if part is None else part[cut] for part in parts))


# ---------------------------------------------------------------------- what the tests share


STANDARD = D.StandardNormal(torch.zeros(1, 1, 1, 1), N_COMPONENTS)


def over(examples, xfail=None):
    """Arguments for ``parametrize``; ``xfail`` maps the ids of known bugs to their reasons."""
    xfail = xfail or {}
    return [
        pytest.param(
            *(example if isinstance(example, tuple) else (example,)),
            id=name,
            marks=pytest.mark.xfail(strict=True, reason=xfail[name]) if name in xfail else (),
        )
        for name, example in examples.items()
    ]


def vae_and_batch(axis, component, seeds=SEEDS, **kinds):
    """A tiny VAE with this component on this axis, and rows that suit it."""
    vae = tiny_vae(seeds, **({} if axis == "objective" else {axis: component}))
    return vae, random_batch(blocks_of(vae.likelihood), n_members=len(seeds), **kinds)


def is_unbuilt(component):
    fresh = type(component)(**component.get_params(deep=False))
    weights = [*component.parameters(), *component.buffers()]
    return not weights and vars(fresh).keys() == vars(component).keys()


def normal(loc, log_scale):
    """One row of independent normals, as a stack of one."""
    return D.Normal(*(torch.tensor(v).reshape(1, 1, 1, -1) for v in (loc, log_scale)))


def small(**params):
    """An estimator that is trained in no time."""
    defaults = {"max_iter": 3, "hidden_layer_sizes": (8,), "random_state": 0}
    return VAETransformer(2, **(defaults | params))


def table(n=80, d=3):
    """Rows with one strong factor."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 1)) @ np.ones((1, d)) + 0.3 * rng.normal(size=(n, d))
