"""Where training starts: at the linear model that explains the table best."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..factor_model import FactorModel, linear_model
from .category_start import model_of_clusters, starts_at_clusters
from .conditional_start import slopes_of
from .discrete_start import model_of_indicators, starts_at_indicators
from .lagged_start import LaggedModel
from .rows import Rows

# Variance below which a column counts as determined by the others, in units of its scale.
FLOOR = 1e-3
# So many rows tell where codes begin.
STARTED_ROWS = 4096


@torch.no_grad()
def start_at_linear_model(
    vae, rows: Rows, train_index: Tensor, cache: dict | None = None, jointly: bool = False
) -> None:
    """Set each member to the maximum-likelihood linear model of its rows.

    Continuous columns start at factor analysis or probabilistic PCA, whichever predicts
    held-out rows better; the others at their marginals.  Where there are none, or ``jointly``,
    flags and categories start at probabilistic PCA of their indicators.  A network without a
    linear path starts with the noise and the marginals only.  Under conditions the linear model
    is that of what a linear regression on them leaves.

    Parameters
    ----------
    vae : VAE
        Built.
    rows : Rows
        The resident table.
    train_index : Tensor (members, rows)
    cache : dict, optional
        Filled with the linear models; further calls with it take those of the same rows.
    jointly : bool, default=False
        Whether one linear model is of continuous columns, flags and categories, so that codes
        tell of all of them and not of the continuous columns first.  Where so many components
        leave no noise the continuous columns start alone, as under conditions.
    """
    cache = {} if cache is None else cache
    n_members = len(train_index)
    same = bool((train_index == train_index[:1]).all())
    distinct = train_index[:1] if same else train_index
    starts = [_start_of_member(vae, rows, index, cache, jointly) for index in distinct]
    if same:
        starts = starts * n_members
    stacked = [torch.stack(parts) for parts in zip(*starts)]
    loadings, matrix, offset, log_scale, means, scale, shared = stacked
    linear = vae.posterior.start(matrix, offset, log_scale)
    # Without noise, an encoder and a decoder that are both 0 would never leave it.
    leads = vae.posterior.has_density or bool(loadings.any())
    # The factors of the linear model are none of the codes that are known.
    linear_path = linear is not None and vae.network.has_linear_path and leads and vae.encodes
    if linear_path and starts_at_clusters(vae):
        found = model_of_clusters(vae, rows, train_index, FLOOR)
        *linear, loadings, scale, shared = found
        means[:, : vae.likelihood.n_locations] = 0.0
    if linear_path:
        vae.network.start(*linear, loadings)
        vae.likelihood.start_scale(scale, shared)
    else:
        vae.likelihood.start_scale(None, shared)
    cells = vae.likelihood.start(means)
    if linear_path and vae.n_conditions:
        cells = cells - (vae.usual_conditions[:, 0] @ loadings[:, vae.n_latents :])[:, 0]
    vae.network.start_offset(cells)
    if vae.posterior.is_discrete:
        first = rows.take(train_index[:, :STARTED_ROWS])
        vae.posterior.start_at(vae.network.encode(first.inputs))
    pseudo = vae.prior.pseudo_inputs
    if pseudo is not None:
        vae.prior.start(rows.take(train_index[:, : pseudo.shape[2]]).inputs)
    if vae.view is not None:
        vae.view.start(scale, shared)
    if vae.missingness is not None and rows.mask is not None:
        vae.missingness.start(1.0 - rows.mask[train_index].float().mean(1))


def _start_of_member(
    vae, rows: Rows, index: Tensor, cache: dict, jointly: bool
) -> tuple[Tensor, ...]:
    n_locations = vae.likelihood.n_locations
    means = _cell_means(vae.likelihood, rows, index)
    parts = None
    if starts_at_indicators(vae, jointly and not rows.is_lagged):
        parts = model_of_indicators(vae, rows, index, means, FLOOR)
    if parts is not None:
        found = [torch.as_tensor(part, dtype=means.dtype, device=means.device) for part in parts]
        found[0] = _under_conditions(vae, found[0])
        return *found[:4], means, found[4], torch.tensor(True, device=means.device)
    shared, slopes = True, None
    # Where codes are known only the kind of noise is asked for, if it is open.
    asked = vae.encodes or vae.likelihood.shares_noise is None
    model: Any = _empty_model(n_locations, vae.n_continuous)
    if n_locations and rows.is_lagged:
        model = _lagged_model(vae, rows, index)
    elif n_locations and asked:
        model, shared, slopes = _linear_model(vae, rows, index, cache)
    matrix, offset, log_scale = model.posterior()
    device = rows.values.device

    def tensor(array) -> Tensor:
        return torch.as_tensor(np.asarray(array), dtype=torch.float32, device=device)

    loadings = torch.zeros(vae.n_continuous, vae.likelihood.n_parameters, device=device)
    loadings[:, :n_locations] = tensor(model.loadings.T)
    inputs = torch.zeros(vae.n_inputs, vae.n_continuous, device=device)
    inputs[: len(matrix)] = tensor(matrix)
    loadings = _under_conditions(vae, loadings)
    if slopes is not None:
        loadings[vae.n_latents :, :n_locations] = tensor(slopes)
        inputs[-vae.n_conditions :] = -tensor(slopes @ matrix)
    scale = tensor(np.sqrt(model.variance))
    return (
        loadings, inputs, tensor(offset), tensor(log_scale), means, scale,
        torch.tensor(shared, device=device),
    )  # fmt: skip


def _under_conditions(vae, loadings: Tensor) -> Tensor:
    """Loadings of the codes, with rows of zeros for discrete latents and the conditions."""
    n_others = vae.n_latents - vae.n_continuous + vae.n_conditions
    return torch.cat([loadings, loadings.new_zeros(n_others, loadings.shape[1])])


def _lagged_model(vae, rows: Rows, index: Tensor) -> LaggedModel:
    batch = rows.take(index[None])
    inputs = batch.inputs[0, 0, :, : vae.n_inputs].cpu().numpy()
    values = batch.values[0, 0, :, : vae.likelihood.n_locations].cpu().numpy()
    weights = None if batch.weights is None else batch.weights[0].cpu().numpy()
    return LaggedModel.fit(inputs, values, weights, vae.n_continuous, FLOOR)


def _linear_model(
    vae, rows: Rows, index: Tensor, cache
) -> tuple[FactorModel, bool, np.ndarray | None]:
    """The factor model, whether columns share its noise, and their slopes on conditions."""
    likelihood = vae.likelihood
    n_locations = likelihood.n_locations
    settings = vae.n_continuous, likelihood.shares_noise, likelihood.given_noise
    tables = tuple(map(id, (rows.values, rows.mask, rows.weights)))
    key = *tables, index.cpu().numpy().tobytes(), n_locations, vae.n_conditions, *settings
    if key not in cache:
        batch = rows.take(index[None])
        X = batch.values[0, 0, :, :n_locations].cpu().numpy()
        seen = None if batch.mask is None else batch.mask[0, 0, :, :n_locations].cpu().numpy()
        w = None if batch.weights is None else batch.weights[0].cpu().numpy()
        slopes, conditions = None, vae.given(batch.inputs)
        if conditions is not None:
            given = conditions[0, 0].cpu().numpy()
            slopes = slopes_of(given, X, seen, w)
            X = (X - given @ slopes).astype(X.dtype)
        n_components, shared, noise = settings
        fitted = linear_model(X, seen, w, n_components, FLOOR, shared, noise)
        # The rows are kept too: another table must not get the number that names this one.
        cache[key] = rows, (*fitted, slopes)
    return cache[key][1]


def _empty_model(n_columns: int, n_components: int) -> FactorModel:
    nothing = np.zeros((n_columns, n_components))
    return FactorModel(np.zeros(n_columns), nothing, np.ones(n_columns))


def _cell_means(likelihood, rows: Rows, index: Tensor) -> Tensor:
    total: Any = 0.0
    weight: Any = 0.0
    for batch in rows.parts(index[None]):
        values = batch.values[0, 0]
        seen = torch.ones_like(values) if batch.mask is None else batch.mask[0, 0].to(values)
        if batch.weights is not None:
            seen = seen * batch.weights[0, :, None]
        seen = likelihood.repeat(seen)
        total = total + (likelihood.expand(values) * seen).sum(0)
        weight = weight + seen.sum(0)
    return total / weight.clamp_min(1e-12)
