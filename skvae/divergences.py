"""Divergences between distributions: pure functions of tensors, in nats."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution, kl_divergence


def kl(q: Distribution, p: Distribution, z: Tensor) -> Tensor:
    """KL(q || p) per row and latent where a closed form is registered, else from the draws.

    Parameters
    ----------
    q, p : Distribution
        The posterior and the prior.
    z : Tensor (members, draws, rows, n_components)
        Draws from ``q``, used when the pair has no closed form.

    Returns
    -------
    Tensor (members, draws, rows, n_components or 1)
        Nats; one column when the prior does not factorise over the latents.
    """
    try:
        return kl_divergence(q, p)
    except NotImplementedError:
        return log_ratio(q, p, z)


def log_ratio(q: Distribution, p: Distribution, z: Tensor) -> Tensor:
    """Log q(z) - log p(z), per latent where the prior factorises, else one column per row."""
    log_q, log_p = q.log_prob(z), p.log_prob(z)
    if log_p.ndim < log_q.ndim:
        return (log_q.sum(-1) - log_p).unsqueeze(-1)
    return log_q - log_p
