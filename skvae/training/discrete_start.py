"""The linear start of tables with flags and categories, alone or beside continuous columns."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from ..factor_model import linear_model
from .rows import Rows

# Rows and columns beyond which the start would cost more than it saves.
MAX_ROWS = 10_000
MAX_COLUMNS = 1000
# Of the inputs, in their own variances: enough where some of them determine one another.
RIDGE = 1e-3


def starts_at_indicators(vae, jointly: bool) -> bool:
    """Whether flags and categories have a say in where training starts.

    They have where there is no continuous column, and ``jointly`` beside free ones: a model of
    the continuous columns alone would spend all latents on these.
    """
    likelihood = vae.likelihood
    taken = sum(part.n_expanded for part in likelihood.parts if part.has_slopes)
    if not likelihood.n_locations or not 0 < taken <= MAX_COLUMNS:
        return 0 < taken <= MAX_COLUMNS
    plain = vae.encodes and not vae.n_conditions and vae.n_latents == vae.n_continuous
    return jointly and plain and vae.network.has_linear_path and likelihood.given_noise is None


def model_of_indicators(vae, rows: Rows, index: Tensor, means: Tensor, floor: float):
    """Probabilistic PCA of continuous columns and indicators of the others, as a start.

    From zero weights a model of categories hardly gets away: no code tells anything yet.

    Parameters
    ----------
    vae : VAE
        Built.
    rows : Rows
        The resident table.
    index : Tensor (rows,)
        Rows of one member.
    means : Tensor (n_expanded,)
        Means of the expanded columns.
    floor : float
        Smallest noise variance.

    Returns
    -------
    loadings : ndarray (n_components, n_parameters)
    matrix, offset : ndarray (n_inputs, n_components), (n_components,)
        Of the linear encoder.
    log_scale : ndarray (n_components,)
    scale : ndarray (n_locations,)
        Of what is left of the continuous columns.

    Or None where so many components leave nothing of a table with continuous columns.

    References
    ----------
    Pagès, Analyse factorielle de données mixtes, 2004.
    """
    likelihood = vae.likelihood
    batch = rows.take(index[None, :MAX_ROWS])
    values = batch.values[0, 0]
    seen = None if batch.mask is None else likelihood.repeat(batch.mask[0, 0].to(values))
    taken, slopes, places = _taken(likelihood, means)
    cells = likelihood.expand(values)[:, taken].cpu().numpy().astype(np.float64)
    mask = None if seen is None else seen[:, taken].cpu().numpy() > 0
    weights = None if batch.weights is None else batch.weights[0].cpu().numpy()
    model, _ = linear_model(cells, mask, weights, vae.n_continuous, floor, True, None)
    n_locations = likelihood.n_locations
    if n_locations and model.variance[0] <= floor:
        return None
    filled = cells if mask is None else np.where(mask, cells, model.mean)
    to_code, shift, log_scale = model.posterior()
    codes = filled @ to_code + shift
    matrix, offset = _regression(batch.inputs[0, 0, :, : vae.n_inputs].cpu().numpy(), codes)
    loadings = np.zeros((vae.n_continuous, likelihood.n_parameters))
    loadings[:, places] = model.loadings.T * slopes
    left = (cells - model.mean - codes @ model.loadings.T)[:, :n_locations]
    share = np.ones_like(left) if mask is None else mask[:, :n_locations].astype(np.float64)
    share = share if weights is None else share * weights[:, None]
    variance = (share * left**2).sum(0) / np.maximum(share.sum(0), 1e-12)
    return loadings, matrix, offset, log_scale, np.sqrt(np.maximum(variance, floor))


def _taken(likelihood, means: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places of the expanded columns that take part, slopes and places of their parameters."""
    taken, slopes, places = [], [], []
    expanded = parameters = 0
    for part, mean in zip(likelihood.parts, means.split([p.n_expanded for p in likelihood.parts])):
        if part.has_slopes or part.n_locations:
            slope = part.slopes(mean) if part.has_slopes else mean.new_ones(len(mean))
            taken.append(np.arange(expanded, expanded + part.n_expanded))
            slopes.append(slope.cpu().numpy().astype(np.float64))
            places.append(np.arange(parameters, parameters + part.n_expanded))
        expanded += part.n_expanded
        parameters += part.n_parameters
    return np.concatenate(taken), np.concatenate(slopes), np.concatenate(places)


def _regression(inputs: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The linear map from what the encoder sees to the codes, as far as there is one."""
    inputs = inputs.astype(np.float64)
    mean = inputs.mean(0)
    centred = inputs - mean
    gram = centred.T @ centred / len(inputs)
    gram += (RIDGE * max(np.trace(gram) / len(gram), 1e-12)) * np.eye(len(gram))
    matrix = np.linalg.solve(gram, centred.T @ (codes - codes.mean(0)) / len(inputs))
    return matrix, codes.mean(0) - mean @ matrix
