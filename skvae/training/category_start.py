"""Where training starts if rows have a category: at k-means, and linear within clusters."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch import Tensor

from ..factor_model import linear_model
from .rows import Rows

MAX_ROWS = 4096
# Shares of clusters that hardly any row belongs to.
SMALLEST_SHARE = 1e-3


def starts_at_clusters(vae) -> bool:
    """Whether the code has a category beside numbers, and columns that clusters differ in."""
    has_category = vae.n_latents > vae.n_continuous > 0
    return has_category and vae.likelihood.n_locations > 0 and not vae.n_conditions


def model_of_clusters(vae, rows: Rows, train_index: Tensor, floor: float) -> list[Tensor]:
    """Linear encoder and decoder of clusters, and of what varies within them.

    The logits of the clusters are those of spherical normals about their centres.  Where the
    category is right, decoded locations are those of the factor model of its own rows.

    Parameters
    ----------
    vae : VAE
        Built.
    rows : Rows
        The resident table.
    train_index : Tensor (members, rows)
    floor : float
        Smallest noise variance.

    Returns
    -------
    weights, biases : Tensor (members, n_inputs, n_encoded), (members, n_encoded)
        Of the encoder.
    loadings : Tensor (members, n_latents, n_parameters)
    scale : Tensor (members, n_locations)
        Of the noise.
    shared : Tensor of bool (members,)
    """
    same = bool((train_index == train_index[:1]).all())
    distinct = train_index[:1] if same else train_index
    found = [_of_member(vae, rows, index[:MAX_ROWS], floor) for index in distinct]
    found = found * len(train_index) if same else found
    return [torch.stack(parts) for parts in zip(*found)]


def _of_member(vae, rows: Rows, index: Tensor, floor: float) -> tuple[Tensor, ...]:
    n, n_categories = vae.likelihood.n_locations, vae.n_latents - vae.n_continuous
    batch = rows.take(index[None])
    inputs = batch.inputs[0, 0].cpu().numpy().astype(np.float64)
    X = batch.values[0, 0, :, :n].cpu().numpy().astype(np.float64)
    seen = None if batch.mask is None else batch.mask[0, 0, :, :n].cpu().numpy()
    w = None if batch.weights is None else batch.weights[0].cpu().numpy()
    fit = KMeans(min(n_categories, len(np.unique(inputs, axis=0))), n_init=5, random_state=0)
    labels = fit.fit_predict(inputs, sample_weight=w)
    centres = np.zeros((n_categories, inputs.shape[1]))
    centres[: fit.n_clusters] = fit.cluster_centers_
    counts = np.bincount(labels, minlength=n_categories)
    log_share = np.log(np.maximum(counts / len(labels), SMALLEST_SHARE))
    variance = max(fit.inertia_ / inputs.size, 1e-6)
    to_logit = centres.T / variance
    logit = log_share - 0.5 * (centres**2).sum(1) / variance
    # Missing cells are 0 in both, and a residual of 0 is what a cell that is not seen tells.
    residuals = X - centres[labels][:, :n]
    residuals = residuals if seen is None else np.where(seen, residuals, 0.0)
    given = vae.likelihood.shares_noise, vae.likelihood.given_noise
    model, shared = linear_model(residuals, seen, w, vae.n_continuous, floor, *given)
    matrix, offset, log_scale = model.posterior()
    loadings = np.zeros((vae.n_latents, vae.likelihood.n_parameters))
    loadings[: vae.n_continuous, :n] = model.loadings.T
    # The numbers bring along a part of where the cluster lies; the rest is the category's.
    of_centres = centres[:, :n]
    loadings[vae.n_continuous :, :n] = of_centres - of_centres @ matrix @ model.loadings.T
    to_code = np.zeros((inputs.shape[1], vae.n_continuous))
    to_code[:n] = matrix

    def tensor(array) -> Tensor:
        return torch.as_tensor(np.asarray(array), dtype=torch.float32, device=index.device)

    weights, biases = (
        part[0]
        for part in vae.posterior.start(*(tensor(a)[None] for a in (to_code, offset, log_scale)))
    )
    place = slice(vae.n_continuous, vae.n_latents)
    weights[:, place], biases[place] = tensor(to_logit), tensor(logit)
    scale = tensor(np.sqrt(model.variance))
    return weights, biases, tensor(loadings), scale, torch.tensor(shared, device=index.device)
