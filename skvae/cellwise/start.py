"""Where the training of the conditional model begins."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.covariance import ledoit_wolf
from torch import Tensor

from ..imputation.encoding import CellEncoding
from ..imputation.ensemble import marginal_start
from ..likelihoods.mixture import FIRST_LOC, FIRST_SCALE
from .density import parameters_of_columns
from .model import CellwiseVAE

# So much of a regression is where training begins: with all of it, cells far out are believed,
# and of two wrong ones that agree the right ones are found to be odd.
SHRINKAGE = 0.7
# Deviation below which columns do not vary.
RARE = 1e-2


@torch.no_grad()
def start_at_regressions(vae: CellwiseVAE, values: Tensor, seen: Tensor) -> None:
    """Begin with each numeric cell as a shrunk linear regression on the others of its row.

    The margins are those of the observed cells.  The regressions, of visible cells, go by the
    linear paths of both networks, as many of their directions as the prior passes on.

    Parameters
    ----------
    vae : CellwiseVAE
        Built, with its encoding.
    values, seen : Tensor (rows, columns)
        Cells on the scale of the model, and which are observed.
    """
    offset = marginal_start(vae.likelihood, values, seen)
    n, encoding = vae.encoding.n_numeric, vae.encoding
    if not n:
        vae.network.start_offset(offset)
        return
    prior, decoder = vae.network.prior, vae.network.decoder
    scale = encoding.scale[0, 0, 0]
    matrix, spread = _regressions(encoding, values, seen)
    left, sizes, right = torch.linalg.svd(matrix * scale, full_matrices=False)
    first = 2 * vae.n_latents
    n_kept = min(n, prior.n_outputs - first)
    root, passed = sizes[:n_kept].sqrt(), slice(first, first + n_kept)
    getattr(prior, f"weight_{prior.output_layer}")[..., passed] = 0.0
    prior.weight_skip[:, : len(left), passed] = left[:, :n_kept] * root
    places = parameters_of_columns(vae.likelihood)[:n]
    of_numbers = slice(places[0][0], places[-1][-1] + 1)
    getattr(decoder, f"weight_{decoder.output_layer}")[..., of_numbers] = 0.0
    decoder.weight_skip[..., of_numbers] = 0.0
    codes = slice(vae.n_latents, vae.n_latents + n_kept)
    for j, place in enumerate(places):
        locs, raws, _ = np.array_split(place, 3)
        decoder.weight_skip[:, codes, locs[0] : locs[-1] + 1] = (root * right[:n_kept, j])[:, None]
        noise = spread[j] * scale[j]
        apart = torch.linspace(-FIRST_LOC, FIRST_LOC, len(locs), device=noise.device)
        offset[locs] = offset[locs].mean() + noise * apart
        offset[raws] = torch.log(torch.expm1(FIRST_SCALE * noise))
    vae.network.start_offset(offset)


def _regressions(encoding: CellEncoding, values: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """Slopes ``(encoded, numeric columns)`` of standardised cells, and deviations from these."""
    n, places = encoding.n_numeric, encoding.inputs_of_columns()
    # Of the numbers that a numeric cell is shown as, the one that is linear.
    used = [place[1] for place in places[:n]] + [i for place in places[n:] for i in place[1:]]
    shown = encoding(values[None, None], seen[None, None].to(values.dtype))[0, 0]
    x = shown[:, used].cpu().numpy().astype(np.float64)
    unit = np.maximum(x.std(0), RARE)
    covariance, _ = ledoit_wolf(x / unit)
    # As if another row stood far from the others in every direction: a few tell little.
    precision = np.linalg.inv(covariance + np.eye(len(covariance)) / len(x))
    variance = 1.0 / np.diag(precision)[:n]
    slopes = -SHRINKAGE * precision[:, :n] * variance / unit[:, None] * unit[:n]
    slopes[np.arange(n), np.arange(n)] = 0.0
    matrix = np.zeros((encoding.width, n))
    matrix[used] = slopes
    # What is hidden says nothing, and of a category what is visible is more or less than usual.
    for column, place in enumerate(places[n:], n):
        usual = shown[seen[:, column]][:, place[1:]].mean(0).cpu().numpy()
        matrix[place[0]] = -usual @ matrix[place[1:]]
    # What is left of the variance: 1 - R^2, and what is shrunk away of R^2.
    left = variance + (1.0 - SHRINKAGE) ** 2 * np.maximum(1.0 - variance, 0.0)
    found = torch.as_tensor(matrix), torch.as_tensor(np.sqrt(left) * unit[:n])
    return found[0].to(values), found[1].to(values)
