"""Codes from a codebook that follows the encoder."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.utils._param_validation import Interval
from torch import Tensor

from .. import distributions
from .._component import Shapes
from ..arrays import on_host
from ..distributions.code_tree import CodeTree
from ..distributions.quantized import Codebook, CodePrior, Quantized
from ..noise import Noise
from ._base import Posterior

# Codes with less than this part of their fair share of the rows are moved to rows at hand.
DEAD_SHARE = 0.05
RESTART_SHARE = 0.2


class VectorQuantized(Posterior):
    """The nearest code of a codebook: discrete codes, as in VQ-VAE.

    The codebook starts at k-means of what the encoder says at first, follows the encoder by a
    moving average, and moves codes that no row takes to rows at hand.  The gradient passes
    from the code to the encoder unchanged.  After training a tree of dependencies is fitted to
    the numbers of the codes, and is the prior; the ``prior`` of the estimator plays no part.

    ``transform`` gives the vectors of the codebook, ``categories`` their numbers.
    ``score_samples`` is the bound ``log p(x|code) + log p(code)`` on log p(x), with the code
    that the encoder chooses.

    Parameters
    ----------
    n_codes : int, default=64
        Vectors in each codebook.
    n_positions : int, default=1
        Parts of equal width into which the latents are split, each with codebooks of its own;
        ``n_components`` must be a multiple of it.
    n_levels : int, default=1
        Codebooks per part.  Those of a second level code what the first one leaves, so that
        the first carries the gist and the second the detail, as in VQ-VAE-2.
    commitment : float, default=0.25
        How strongly the encoder is drawn to its codes: weight of the squared distance, which
        the objective weighs like a KL term.
    decay : float, default=0.9
        Of the moving average, per step.  The 0.99 of the paper is for hundreds of thousands of
        steps: in the few hundred of a table a codebook that slow lags behind its encoder.

    Raises
    ------
    ValueError
        In ``fit``, if ``n_components`` is no multiple of ``n_positions``, or the prior of the
        estimator is one that is trained.

    Examples
    --------
    >>> from skvae.posteriors import VectorQuantized
    >>> VectorQuantized(n_codes=16)
    VectorQuantized(n_codes=16)

    References
    ----------
    van den Oord, Vinyals and Kavukcuoglu, Neural Discrete Representation Learning, 2017;
    Razavi, van den Oord and Vinyals, Generating Diverse High-Fidelity Images with VQ-VAE-2,
    2019; Lee et al., Autoregressive Image Generation using Residual Quantization, 2022.
    """

    has_density = False
    is_discrete = True
    # A codebook follows the rows of a whole batch.
    rows_apart = False

    @property
    def has_bound(self) -> bool:
        """That the code of a row and its probability bound log p(x)."""
        return True

    _parameter_constraints = {
        "n_codes": [Interval(Integral, 1, None, closed="left")],
        "n_positions": [Interval(Integral, 1, None, closed="left")],
        "n_levels": [Interval(Integral, 1, None, closed="left")],
        "commitment": [Interval(Real, 0, None, closed="left")],
        "decay": [Interval(Real, 0, 1, closed="left")],
    }

    def __init__(self, n_codes=64, n_positions=1, n_levels=1, commitment=0.25, decay=0.9):
        super().__init__()
        self.n_codes = n_codes
        self.n_positions = n_positions
        self.n_levels = n_levels
        self.commitment = commitment
        self.decay = decay

    def build(self, shapes: Shapes, noise: Noise) -> VectorQuantized:
        """Create codebooks, at draws from N(0, 1), and the shares of the rows, 0 at first."""
        if shapes.n_components % self.n_positions:
            raise ValueError(
                f"VectorQuantized(n_positions={self.n_positions}) splits the latents into parts "
                f"of equal width, and n_components={shapes.n_components} is no multiple of "
                "n_positions. Change one of them."
            )
        size = shapes.n_components // self.n_positions
        shape = self.n_levels, self.n_positions, self.n_codes, size
        device = noise.device
        self.codebook = self.weight(
            noise, lambda g: torch.randn(shape, generator=g, device=device)
        )
        shares = torch.zeros(noise.n_members, *shape[:-1], device=device)
        self.register_buffer("shares", shares)
        return self

    @property
    def book(self) -> Codebook:
        """The codebooks."""
        return Codebook(self.codebook.detach())

    def n_parameters(self, shapes: Shapes) -> int:
        """Location of each latent."""
        return shapes.n_components

    def start(self, matrix: Tensor, offset: Tensor, log_scale: Tensor):
        """Location linear in the inputs."""
        return matrix, offset

    def forward(self, parameters: Tensor) -> Quantized:
        """Turn encoder outputs into codes; in a training step the codebook then follows."""
        found = Quantized(parameters, self.book, self.commitment)
        if self.training and torch.is_grad_enabled() and parameters.requires_grad:
            # The codes of this step stay what they were.
            self._follow(parameters.detach()[:, 0], found.numbers)
        return found

    @torch.no_grad()
    def start_at(self, parameters: Tensor) -> None:
        """Begin at k-means of what the encoder says, level by level."""
        for member, codes in enumerate(parameters[:, 0]):
            left = codes.unflatten(-1, (self.n_positions, -1)).transpose(0, 1).cpu().numpy()
            for level in range(self.n_levels):
                for position in range(self.n_positions):
                    self._cluster(member, level, position, left[position])

    def _cluster(self, member: int, level: int, position: int, rows: np.ndarray) -> None:
        """Set one codebook by k-means, and take from the rows what it codes, in place."""
        n = min(self.n_codes, len(np.unique(rows, axis=0)))
        fit = KMeans(n, n_init=3, random_state=0).fit(rows)
        place = member, level, position
        self.codebook[place][:n] = torch.as_tensor(fit.cluster_centers_).to(self.codebook)
        shares = np.bincount(fit.labels_, minlength=self.n_codes) / len(rows)
        self.shares[place] = torch.as_tensor(shares).to(self.shares)
        rows -= fit.cluster_centers_[fit.labels_].astype(rows.dtype)

    @torch.no_grad()
    def _follow(self, encoded: Tensor, numbers: Tensor) -> None:
        """Move each code towards the mean of its rows, and unused ones to rows at hand."""
        members, n_rows = encoded.shape[:2]
        place = torch.arange(members * self.n_positions, device=encoded.device)
        for level, left in enumerate(self.book.left(encoded, numbers)):
            index = numbers[:, :, level].transpose(1, 2).flatten(0, 1)
            index = (index + self.n_codes * place[:, None]).flatten()
            vectors, shares = self.codebook[:, level], self.shares[:, level]
            sums = torch.zeros_like(vectors).view(-1, vectors.shape[-1])
            sums.index_add_(0, index, left.flatten(0, 2))
            counts = torch.zeros_like(shares).flatten()
            counts.index_add_(0, index, torch.ones_like(index, dtype=counts.dtype))
            kept, new = self.decay * shares, (1.0 - self.decay) / n_rows
            total = kept + new * counts.view_as(shares)
            mean = kept.unsqueeze(-1) * vectors + new * sums.view_as(vectors)
            used = total > 0
            mean = mean / total.where(used, 1.0).unsqueeze(-1)
            vectors.copy_(torch.where(used.unsqueeze(-1), mean, vectors))
            shares.copy_(total)
            self._restart(vectors, shares, left)

    def _restart(self, vectors: Tensor, shares: Tensor, left: Tensor) -> None:
        """Move codes that hardly any row takes to the first rows, whose order is random."""
        dead = shares < DEAD_SHARE / self.n_codes
        if on_host(dead) and not bool(dead.any()):
            return
        turn = (dead.cumsum(-1) - 1).clamp_min(0) % left.shape[2]
        rows = left.gather(2, turn.unsqueeze(-1).expand_as(vectors))
        vectors.copy_(torch.where(dead.unsqueeze(-1), rows, vectors))
        shares.copy_(torch.where(dead, RESTART_SHARE / self.n_codes, shares))

    def over(self, prior: distributions.Distribution) -> CodePrior:
        """Give all codes alike in training, and the fitted tree afterwards."""
        if not isinstance(prior, distributions.StandardNormal):
            raise ValueError(
                f"The codes of {self!r} are numbers from a codebook, whose prior is fitted after "
                f"training; the prior of the estimator, {prior!r}, would play no part. Leave it "
                "at prior='aggregate'."
            )
        if self.training or "log_table" not in self._buffers:
            return CodePrior(self.book)
        return CodePrior(self.book, self.order, self.parent, self.log_table)

    def continuous(self, codes: np.ndarray) -> None:
        """None: the prior of the estimator has nothing to be fitted to."""
        return None

    def categories(self, parameters: Tensor) -> Tensor:
        """Numbers of the codes, level by level."""
        return self.book.numbers(parameters[:, 0]).flatten(2)

    @torch.no_grad()
    def calibrate_prior(self, found: list, codes: np.ndarray) -> None:
        """Fit a tree to the numbers of the codes."""
        numbers = torch.cat([q.numbers for q in found], 1).flatten(2)
        trees = [CodeTree.fit(rows.cpu().numpy(), self.n_codes) for rows in numbers]
        for name in CodeTree._fields:
            stacked = torch.as_tensor(np.stack([getattr(tree, name) for tree in trees]))
            dtype = torch.float32 if name == "log_table" else torch.long
            self.register_buffer(name, stacked.to(self.codebook.device, dtype))

    def uncalibrate(self) -> None:
        """Go back to codes that are all alike."""
        for name in CodeTree._fields:
            self._buffers.pop(name, None)
