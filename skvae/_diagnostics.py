"""What a user should know about a trained model, and a warning when the code is empty."""

from __future__ import annotations

import warnings

import numpy as np
import torch

from ._pass import Batch
from .exceptions import PosteriorCollapseWarning

ACTIVE_VARIANCE = 0.01
EMPTY_NATS = 0.1


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
        ``kl_per_latent`` (nats, against N(0, 1)), ``active_units`` (latents whose posterior
        mean has variance over 0.01), ``noise_scale`` (per continuous column, in its units).
    """
    posterior = vae.infer(batch.inputs, codes=batch.codes)
    loc, scale = (t[member, 0].cpu().double() for t in (posterior.mean, posterior.stddev))
    result: dict = {"active_units": int((loc.var(0, correction=0) > ACTIVE_VARIANCE).sum())}
    if vae.posterior.has_density:
        kl = 0.5 * (loc.square() + scale.square() - 1.0) - scale.log()
        result["kl_per_latent"] = kl.mean(0).numpy()
    noise = vae.likelihood.noise_scale(member)
    result["noise_scale"] = {
        name: float(value * np.exp(unit)) for name, value, unit in zip(columns, noise, log_unit)
    }
    return result


def warn_if_empty(diagnostics: dict, name: str) -> None:
    """Warn when the code carries no information, and name the remedies."""
    kl = diagnostics.get("kl_per_latent")
    if kl is not None and kl.sum() < EMPTY_NATS:
        warnings.warn(
            f"The codes of this {name} carry {kl.sum():.3f} nats per row in all: the posterior "
            "has collapsed onto the prior, or the columns are independent. Lower beta or give "
            "the objective a warm_up or free_bits, as in objective=ELBO(warm_up=20), train for "
            "more epochs (max_iter), or start the noise lower (Normal(initial_scale=0.1)).",
            PosteriorCollapseWarning,
            stacklevel=5,
        )
