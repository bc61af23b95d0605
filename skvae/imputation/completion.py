"""Completed tables, drawn tables and intervals from an ensemble and its refinement."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.special import ndtr
from torch import Tensor

from ..noise import Noise
from .layout import Layout
from .model import ConditionalVAE
from .prediction import Prediction, moments, predict
from .refinement import Refinement

# Decoded rows at once where draws are kept apart.
ROWS_AT_ONCE = 1024
SMALLEST = 1e-6
# Where most cells of a column are one value, bounds meet there, and rounding must not part them.
ROUNDING = 1e-5

# The share of each category, from what the model says of a column of this kind.
SHARES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "categorical": lambda p: p,
    "binary": lambda p: np.concatenate([1.0 - p, p], -1),
}


class Completion:
    """What fills the gaps of encoded tables.

    Parameters
    ----------
    vae : ConditionalVAE
        Trained.
    layout : Layout
    n_draws : int
        Codes drawn per row and member for a prediction.
    """

    def __init__(self, vae: ConditionalVAE, layout: Layout, n_draws: int):
        self.vae, self.layout, self.n_draws = vae, layout, n_draws

    def refine(self, values, mask, folds, rng, n_rounds: int, n_jobs, device) -> None:
        """Fit regressors and errors to the table that the ensemble was trained on."""
        refinement = Refinement(self.layout, rng, n_rounds, n_jobs)
        self.refinement = refinement.fit(self._predictor(device), values, mask, folds)

    def complete(self, values, mask, device) -> tuple[np.ndarray, np.ndarray]:
        """Expanded table without gaps, and the spread of each cell's error."""
        return self.refinement.complete(self._predictor(device), values, mask)

    def point(self, values, mask, device) -> np.ndarray:
        """Best value of every cell."""
        return self.layout.point(self.complete(values, mask, device)[0])

    def interval(self, values, mask, coverage: float, device) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper values; observed cells, flags and categories are their own bounds."""
        table, spread = self.complete(values, mask, device)
        lower, upper = self.layout.point(table), self.layout.point(table)
        for j in self.layout.numeric:
            if self.layout.kinds[j] == "binary":
                continue
            gaps = ~mask[:, j]
            below, above = self.refinement.residuals(j).central(coverage)
            lower[gaps, j] += below * spread[gaps, j] - ROUNDING
            upper[gaps, j] += above * spread[gaps, j] + ROUNDING
            atom, share = self.refinement.models[j].atom
            if share >= coverage:
                # The errors are then those of one value, and say nothing of the next round's.
                lower[gaps, j] = np.minimum(lower[gaps, j], atom - ROUNDING)
                upper[gaps, j] = np.maximum(upper[gaps, j], atom + ROUNDING)
        return lower, upper

    def draws(self, values, mask, n: int, seeds, device) -> list[np.ndarray]:
        """Complete the table ``n`` times at random.

        A member of the ensemble draws a code and cells; each cell's place within what this
        member says of it is kept, and with it how the gaps of a row hang together, while
        location and spread are those of the refined prediction and its held-out errors.
        """
        table, spread = self.complete(values, mask, device)
        said = predict(self.vae, values, mask, self.n_draws, device)
        noise = Noise(seeds, device)
        each = -(-n // self.vae.n_members)
        starts = range(0, len(values), ROWS_AT_ONCE)
        chunks = [slice(start, start + ROWS_AT_ONCE) for start in starts]
        parts = [
            self._drawn(
                values[c],
                mask[c],
                table[c],
                spread[c],
                Prediction(*(m[:, c] for m in said)),
                each,
                noise,
            )
            for c in chunks
        ]
        return list(np.concatenate(parts, axis=1)[:n])

    @torch.no_grad()
    def _drawn(
        self, values, mask, table, spread, said: Prediction, each: int, noise: Noise
    ) -> np.ndarray:
        """Draws ``(draws, rows, columns)``, neighbours from different members."""
        mean, variance = self._conditional(values, mask, each, noise)
        n_rows, n_columns = mask.shape
        shape = (*mean.shape[:2], n_rows)
        white = noise.normal(each, n_rows, n_columns).cpu().numpy().reshape(*shape, n_columns)
        uniform = noise.uniform(each, n_rows, n_columns).cpu().numpy().reshape(white.shape)
        # One for all draws of a member.
        centre, width = said.mean[:, None], np.sqrt(np.maximum(said.variance[:, None], 1e-24))
        out = np.empty((*shape, n_columns))
        out[:] = self.layout.point(table)
        for j, place in enumerate(self.layout.slices):
            gaps = ~mask[:, j]
            if not gaps.any():
                continue
            kind, k = self.layout.kinds[j], place.start
            if kind in SHARES:
                sizes = mean[..., gaps, place], centre[..., gaps, place], table[gaps, place]
                said_now, said_mean, best = (SHARES[kind](part) for part in sizes)
                out[..., gaps, j] = _category(said_now, said_mean, best, uniform[..., gaps, j])
                continue
            x = mean[..., gaps, k] + np.sqrt(variance[..., gaps, k]) * white[..., gaps, j]
            share = ndtr((x - centre[..., gaps, k]) / width[..., gaps, k])
            error = self.refinement.residuals(j).quantile(share)
            drawn = table[gaps, k] + spread[gaps, j] * error
            out[..., gaps, j] = np.maximum(np.rint(drawn), 0.0) if kind == "count" else drawn
        return out.swapaxes(0, 1).reshape(-1, n_rows, n_columns)

    def _conditional(self, values, mask, each: int, noise: Noise) -> tuple[np.ndarray, ...]:
        shown = torch.as_tensor(mask, dtype=torch.float32, device=noise.device)
        shown = shown.expand(self.vae.n_members, 1, -1, -1)
        cells = torch.as_tensor(values, device=noise.device).expand_as(shown)
        prior, context = self.vae.condition(cells, shown)
        found = moments(self.vae.decode(prior.rsample(noise, each), context))
        return tuple(_array(tensor) for tensor in found)

    def _predictor(self, device):
        def predictor(values, visible) -> Prediction:
            return predict(self.vae, values, visible, self.n_draws, device)

        return predictor


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.cpu().double().numpy()


def _category(drawn, mean_drawn, refined, uniform) -> np.ndarray:
    """Draw from the refined probabilities, tilted as the drawn code tilts its member's."""
    share = refined * drawn / np.maximum(mean_drawn, SMALLEST) + SMALLEST * refined
    edges = share.cumsum(-1)
    code = (uniform[..., None] * edges[..., -1:] > edges).sum(-1)
    return np.minimum(code, share.shape[-1] - 1)
