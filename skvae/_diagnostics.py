"""What a user should know about a trained model, and a warning when latents are empty."""

from __future__ import annotations

import warnings

import numpy as np
import torch

from ._pass import Batch
from ._warning import in_cross_validation, level_of_caller
from .exceptions import PosteriorCollapseWarning, UnusedLatentsWarning

ACTIVE_VARIANCE = 0.01
EMPTY_NATS = 0.1
USED_NATS = 0.05
FEW_LATENTS = 8


@torch.no_grad()
def diagnose(vae, member: int, batch: Batch, columns: list[str], log_unit: np.ndarray) -> dict:
    """Summarise the code and the noise of one member over a batch of rows.

    Parameters
    ----------
    vae : VAE
        Trained.
    member : int
        Which member.
    batch : Batch
        Held-out rows, or training rows where none were held out.
    columns : list of str
        Names of the modelled columns.
    log_unit : ndarray
        Logarithm of the unit of each modelled column, that of a typical cell where it varies.

    Returns
    -------
    diagnostics : dict
        ``kl_per_latent`` (nats, against N(0, 1), before calibration), ``active_units`` (latents
        whose posterior mean has variance over 0.01), ``noise_scale`` (per continuous column, in
        its units); where latents come in groups, ``kl_per_group``, each against those before.
    """
    # Calibration widens the posteriors of all latents alike, also of those that say nothing.
    evaluated = not vae.posterior.training
    vae.posterior.train()
    posterior = vae.infer(batch.inputs, codes=batch.codes)
    vae.posterior.train(not evaluated)
    loc = posterior.mean[member, 0].cpu().double()
    result: dict = {"active_units": int((loc.var(0, correction=0) > ACTIVE_VARIANCE).sum())}
    if vae.posterior.has_density:
        kl = vae.posterior.nats(posterior)[member, 0]
        result["kl_per_latent"] = kl.mean(0).cpu().numpy()
        if vae.posterior.is_ladder:
            groups = np.split(result["kl_per_latent"], np.cumsum(vae.posterior.sizes)[:-1])
            result["kl_per_group"] = np.array([group.sum() for group in groups])
    noise = vae.likelihood.noise_scale(member)
    result["noise_scale"] = {
        name: float(value * np.exp(unit)) for name, value, unit in zip(columns, noise, log_unit)
    }
    return result


def warn_of_latents(diagnostics: dict, name: str, n_columns: int, n_steps: int = 1) -> None:
    """Warn when the code is empty, or most latents are, and name the remedies.

    Of latents without use the folds of a cross-validation tell nothing: the model that is kept
    does, once.

    Parameters
    ----------
    diagnostics : dict
        Of ``diagnose``.
    name : str
        Who was fitted.
    n_columns : int
        Width of the table as the encoder sees it.
    n_steps : int, default=1
        How many steps the latents are of; those of all steps count as one.
    """
    kl = diagnostics.get("kl_per_latent")
    if kl is None:
        return
    kl = kl.reshape(n_steps, -1).sum(0)
    n_latents, n_used = len(kl), int((kl >= USED_NATS).sum())
    if kl.sum() < EMPTY_NATS:
        warnings.warn(
            f"The codes of this {name} carry {kl.sum():.3f} nats per row in all: the posterior "
            "has collapsed onto the prior, or the columns are independent. Lower beta or give "
            "the objective a warm_up or free_bits, as in objective=ELBO(warm_up=20), train for "
            "more epochs (max_iter), or start the noise lower (Normal(initial_scale=0.1)).",
            PosteriorCollapseWarning,
            stacklevel=level_of_caller(),
        )
        return
    # Few columns have no use for the latents that every fit has unless told otherwise.
    idle = 2 * n_used <= n_latents and (n_latents < n_columns or n_latents > FEW_LATENTS)
    if idle and not in_cross_validation():
        warnings.warn(
            f"Of {n_latents} latents this {name} uses {n_used}; the others carry less "
            f"than {USED_NATS} nats per row each. Set n_components={max(n_used, 1)}, or "
            "n_components='auto', which takes the smallest number that explains rows held out "
            "as well as any.",
            UnusedLatentsWarning,
            stacklevel=level_of_caller(),
        )
