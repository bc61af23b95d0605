"""A normalising flow fitted to the codes after training."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
import torch
from sklearn.utils._param_validation import Interval

from .. import distributions
from ..distributions.autoregressive import MaskedNetwork, fitted_autoregressive
from .normal import MAX_FITTED_ROWS, Aggregate

# Fewer codes than this say nothing beyond their mixture of normals.
MIN_ROWS = 100


class Flow(Aggregate):
    """Standard normal in training; afterwards a masked autoregressive flow fitted to the codes.

    Each latent follows a mixture of normals whose shares, means and widths a network finds
    from the latents before it; the distribution functions of these mixtures turn codes into
    uniform numbers and back.  The flow stands beside the mixture of ``Aggregate``, with the
    share that codes held out ask for.  It is worth its time where codes lie on curves, rings
    or sheets, and there are thousands of them.

    Parameters
    ----------
    n_normals : int, default=8
        Normals in the mixture of each latent.
    n_hidden : int, default=64
        Width of the network.
    n_mixture_components : int, default=10
        Largest number of full-covariance normals in the mixture beside the flow.
    max_iter : int, default=150
        Passes over the codes at most.

    Examples
    --------
    >>> from skvae.priors import Flow
    >>> Flow(n_hidden=32)
    Flow(n_hidden=32)

    References
    ----------
    Papamakarios, Pavlakou and Murray, Masked Autoregressive Flow for Density Estimation, 2017;
    Germain et al., MADE, 2015; Ghosh et al., From Variational to Deterministic Autoencoders,
    2020, for fitting it afterwards.
    """

    _parameter_constraints = {
        **Aggregate._parameter_constraints,
        "n_normals": [Interval(Integral, 1, None, closed="left")],
        "n_hidden": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(self, n_normals=8, n_hidden=64, n_mixture_components=10, max_iter=150):
        super().__init__(n_mixture_components)
        self.n_normals = n_normals
        self.n_hidden = n_hidden
        self.max_iter = max_iter

    def forward(self, encoded=None) -> distributions.Distribution:
        """Give N(0, I) in training and before calibration, the fitted flow afterwards."""
        base: Any = super().forward()
        if self.training or "share" not in self._buffers:
            return base
        network = MaskedNetwork(*(getattr(self, name) for name in MaskedNetwork._fields))
        return distributions.AutoregressiveCodes(network, base, self.share)

    def calibrate(self, codes: np.ndarray, seeds, n_draws: int = 1) -> None:
        """Fit the mixture, then the flow, to the codes of each member."""
        self.uncalibrate()
        super().calibrate(codes, seeds, n_draws)
        # One of each row: what is held out would not be new beside another draw of its row.
        codes = codes[:, : codes.shape[1] // n_draws]
        if codes.shape[1] < MIN_ROWS:
            return
        fits = [self._fit(m, codes[m], int(seed)) for m, seed in enumerate(seeds)]
        networks, shares = zip(*fits)
        for name, parts in zip(MaskedNetwork._fields, zip(*networks)):
            self.register_buffer(name, torch.cat(parts).to(self.zero.device))
        self.register_buffer("share", torch.cat(shares).to(self.zero.device))

    def uncalibrate(self) -> None:
        """Go back to N(0, I)."""
        super().uncalibrate()
        for name in (*MaskedNetwork._fields, "share"):
            self._buffers.pop(name, None)

    def _fit(self, member: int, codes: np.ndarray, seed: int):
        parts = (self.log_weights, self.loc, self.whitening)
        base = distributions.NormalMixture(*(t[member : member + 1].cpu() for t in parts))
        order = np.random.RandomState(seed).permutation(len(codes))[:MAX_FITTED_ROWS]
        rows = torch.as_tensor(codes[order], dtype=torch.float32)
        sizes = self.n_normals, self.n_hidden, self.max_iter
        return fitted_autoregressive(base, rows, *sizes, seed)
