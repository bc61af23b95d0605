"""Codes of which each latent is a mixture of normals given the latents before it."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..alignment import HIDDEN_ALIGNMENT, aligned, padded
from ..noise import Noise
from ._base import Distribution
from .codes import DRAWN_ROWS, NormalMixture
from .normal import LOG_2PI

# In standard deviations of the codes: narrower normals would sit on single rows.
SMALLEST_LOG_SCALE = -4.0
BATCH_ROWS = 128
LEARNING_RATE, BETAS = 1e-2, (0.9, 0.999)
HELD_OUT = 0.15
# Passes over the codes without a gain before fitting stops.
PATIENCE = 25
N_SHARE_STEPS = 20


class MaskedNetwork(NamedTuple):
    """A hidden layer from codes to mixtures of normals, each seeing the latents before it.

    Parameters
    ----------
    centre, spread : Tensor (members, columns)
        Mean and standard deviation of the codes.
    weight_in : Tensor (members, width, hidden)
        From the columns, and zeros up to an aligned width.
    bias_in : Tensor (members, 1, hidden)
    weight_out : Tensor (members, hidden, columns * 3 * normals)
        To the logits, means and log-scales of the normals of each column.
    bias_out : Tensor (members, 1, columns * 3 * normals)
    """

    centre: Tensor
    spread: Tensor
    weight_in: Tensor
    bias_in: Tensor
    weight_out: Tensor
    bias_out: Tensor

    @classmethod
    def start(
        cls, codes: Tensor, n_normals: int, n_hidden: int, generator: torch.Generator
    ) -> MaskedNetwork:
        """Weights of one member for codes ``(rows, columns)``: the same mixture for all rows."""
        n, hidden = codes.shape[1], aligned(n_hidden, HIDDEN_ALIGNMENT)
        weight_in = torch.zeros(1, aligned(n), hidden)
        weight_in[0, :n] = torch.randn(n, hidden, generator=generator)
        bias_in = 4.0 * torch.rand(1, 1, hidden, generator=generator) - 2.0
        weight_out = 0.1 * torch.randn(1, hidden, n * 3 * n_normals, generator=generator)
        bias_out = torch.zeros(n, 3, n_normals)
        bias_out[:, 1] = torch.linspace(-1.5, 1.5, n_normals) if n_normals > 1 else 0.0
        bias_out[:, 2] = -1.0 if n_normals > 1 else 0.0
        centre, spread = codes.mean(0)[None], codes.std(0).clamp_min(1e-6)[None]
        return cls(centre, spread, weight_in, bias_in, weight_out, bias_out.view(1, 1, -1))

    def masks(self) -> tuple[Tensor, Tensor]:
        """0 where a column would see itself or one after it, for both layers of weights."""
        n, hidden = self.centre.shape[1], self.weight_in.shape[2]
        last_seen = torch.arange(hidden, device=self.centre.device) % max(n - 1, 1)
        column = torch.arange(self.weight_in.shape[1], device=last_seen.device)
        seen = (column[:, None] <= last_seen).to(self.weight_in)
        used = (last_seen[:, None] < column[:n]).to(self.weight_in)
        return seen, used.repeat_interleave(self.weight_out.shape[2] // n, 1)

    def log_prob(self, codes: Tensor) -> Tensor:
        """Log density of codes ``(members, rows, columns)``, per row."""
        x = (codes - self.centre[:, None]) / self.spread[:, None]
        log_share, loc, log_scale = self.normals(x)
        z = (x.unsqueeze(-1) - loc) * (-log_scale).exp()
        terms = log_share - 0.5 * z * z - log_scale - 0.5 * LOG_2PI
        return torch.logsumexp(terms, -1).sum(-1) - self.spread.log().sum(-1, keepdim=True)

    def normals(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log shares, means and log-scales ``(members, rows, columns, normals)``.

        ``x (members, rows, columns)`` are standardised codes.
        """
        n = x.shape[-1]
        h = torch.tanh(torch.baddbmm(self.bias_in, padded(x, aligned(n)), self.weight_in))
        width = self.weight_out.shape[-1]
        weight, bias = (padded(t, aligned(width)) for t in (self.weight_out, self.bias_out))
        out = torch.baddbmm(bias, h, weight)[..., :width]
        logits, loc, log_scale = out.unflatten(-1, (n, 3, width // (3 * n))).unbind(-2)
        bounded = SMALLEST_LOG_SCALE + F.softplus(log_scale - SMALLEST_LOG_SCALE)
        return logits.log_softmax(-1), loc, bounded


class AutoregressiveCodes(Distribution):
    """Each latent a mixture of normals given those before it, beside a simpler distribution.

    Parameters
    ----------
    network : MaskedNetwork
        With its masks applied.
    base : NormalMixture
        Over codes: it has the tails that the network has not seen.
    share : Tensor (members,)
        Share of the network in the mixture of both.
    """

    def __init__(self, network: MaskedNetwork, base: NormalMixture, share: Tensor):
        self.network = network
        self.base = base
        self.share = share

    def log_prob(self, value: Tensor) -> Tensor:
        _, draws, rows, n = value.shape
        flat = value.expand(len(self.share), -1, -1, -1).reshape(len(self.share), -1, n)
        ours = self.network.log_prob(flat).view(-1, draws, rows)
        share = self.share[:, None, None]
        theirs = self.base.log_prob(value)
        return torch.logaddexp(share.log() + ours, torch.log1p(-share) + theirs)

    def sample(self, noise: Noise, n_rows: int) -> Tensor:  # type: ignore[override]
        """Draw codes ``(members, 1, n_rows, columns)``."""
        theirs = self.base.sample(noise, n_rows)
        chosen = noise.uniform(n_rows, 1) < self.share[:, None, None]
        sizes = [min(DRAWN_ROWS, n_rows - start) for start in range(0, n_rows, DRAWN_ROWS)]
        ours = torch.cat([self._draw(noise, size) for size in sizes], 1)
        return torch.where(chosen, ours, theirs[:, 0]).unsqueeze(1)

    def _draw(self, noise: Noise, n_rows: int) -> Tensor:
        members, n = self.network.centre.shape
        x = self.network.centre.new_zeros(members, n_rows, n)
        for column in range(n):
            log_share, loc, log_scale = (t[:, :, column] for t in self.network.normals(x))
            edges = log_share.exp().cumsum(-1)
            kind = (noise.uniform(n_rows, 1) > edges).sum(-1, keepdim=True)
            kind = kind.clamp_(max=edges.shape[-1] - 1)
            scale = log_scale.exp().gather(-1, kind)[..., 0]
            x[..., column] = loc.gather(-1, kind)[..., 0] + scale * noise.normal(n_rows)
        return x * self.network.spread[:, None] + self.network.centre[:, None]


@torch.enable_grad()
def fitted_autoregressive(
    base: NormalMixture, codes: Tensor, n_normals: int, n_hidden: int, max_iter: int, seed: int
) -> tuple[MaskedNetwork, Tensor]:
    """Network of one member at which codes are likeliest, and its share beside ``base``.

    Parameters
    ----------
    base : NormalMixture
        Over codes, of one member.
    codes : Tensor (rows, columns)
        The first ones are held out to stop at the best and to find the share.
    n_normals, n_hidden, max_iter : int
    seed : int
        Of the weights and the order of the rows.

    Returns
    -------
    network : MaskedNetwork
    share : Tensor (1,)
    """
    generator = torch.Generator().manual_seed(seed)
    start = MaskedNetwork.start(codes, n_normals, n_hidden, generator)
    weights = [part.clone().requires_grad_() for part in start[2:]]
    moments = [(torch.zeros_like(w), torch.zeros_like(w)) for w in weights]
    n_held_out, n_steps = max(round(HELD_OUT * len(codes)), 1), 0
    held_out, codes = codes[:n_held_out], codes[n_held_out:]

    seen, used = start.masks()

    def network_of(weights) -> MaskedNetwork:
        weight_in, bias_in, weight_out, bias_out = weights
        return MaskedNetwork(*start[:2], weight_in * seen, bias_in, weight_out * used, bias_out)

    def density(rows: Tensor, weights) -> Tensor:
        return network_of(weights).log_prob(rows[None]).mean()

    best, kept, waited = -math.inf, weights, 0
    for epoch in range(max_iter):
        rate = 0.5 * LEARNING_RATE * (1.0 + math.cos(math.pi * epoch / max_iter))
        for places in torch.randperm(len(codes), generator=generator).split(BATCH_ROWS):
            loss = -density(codes[places], weights)
            n_steps += 1
            for each in zip(weights, torch.autograd.grad(loss, weights), moments):
                _adam(*each, rate, n_steps)
        with torch.no_grad():
            found = float(density(held_out, weights))
        waited += 1
        if found > best:
            best, kept, waited = found, [w.detach().clone() for w in weights], 0
        if waited == PATIENCE:
            break
    network = network_of([w.detach() for w in kept])
    return network, _share(network, base, held_out)


@torch.no_grad()
def _share(network: MaskedNetwork, base: NormalMixture, codes: Tensor) -> Tensor:
    """Share of the network at which codes that it has not seen are likeliest."""
    share = torch.full((1,), 0.5, dtype=codes.dtype)
    ours, theirs = network.log_prob(codes[None]), base.log_prob(codes[None, None])[0]
    for _ in range(N_SHARE_STEPS):
        log_odds = (share / (1.0 - share)).log() + ours - theirs
        # One row more of each kind: no share is 0 or 1.
        share = ((log_odds.sigmoid().sum() + 0.5) / (log_odds.numel() + 1.0)).view(1)
    return share


@torch.no_grad()
def _adam(weight: Tensor, gradient: Tensor, moments, rate: float, n_steps: int) -> None:
    """One step; the first one of torch's own optimisers costs as much as a fit."""
    first, second = moments
    first.lerp_(gradient, 1.0 - BETAS[0])
    second.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1.0 - BETAS[1])
    corrections = [1.0 - beta**n_steps for beta in BETAS]
    spread = (second / corrections[1]).sqrt_().add_(1e-8)
    weight.sub_(first / spread, alpha=rate / corrections[0])
