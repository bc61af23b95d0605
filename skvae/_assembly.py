"""Which model the parts make up, and by which objective it is trained unless told otherwise."""

from __future__ import annotations

import math
from typing import Any

import torch

from ._component import Component, Shapes
from .ladder import LadderVAE
from .noise import Noise
from .objectives import ELBO, DReG, Objective
from .semi_supervised import SemiSupervisedVAE
from .sequences import SequentialVAE
from .vae import VAE

# Of the epochs of a model of sequences, before which a decoder with a memory would learn to do
# without codes; and the noise meanwhile, in standard deviations of a column.
WARM_UP = 0.4
WARM_UP_SCALE = math.exp(-2.0)


def assembled(
    parts: dict[str, Any], objective: Objective | None, shapes: Shapes, noise: Noise, max_iter: int
) -> tuple[VAE, Objective | None]:
    """The built model of these parts, and the objective; that given unless it is None.

    None is given back where what the estimator does with tables is right.
    """
    _check_together(parts, objective)
    kind, own = VAE, None
    supervision, posterior = parts.get("supervision"), parts["posterior"]
    if supervision is not None and supervision.of_classes:
        # Codes that cost less than classes would tell the class, too.
        kind, own = SemiSupervisedVAE, ELBO()
    elif parts["network"].unrolls:
        warm_up = math.ceil(WARM_UP * max_iter)
        kind, own = SequentialVAE, ELBO(warm_up=warm_up, hold_noise=True)
    elif posterior.is_ladder:
        kind = LadderVAE
    # Counts and flags have no noise that could be large at first: their codes tell most of a
    # row on the bound itself, and overfit below it.
    if own is None and shapes.is_discrete:
        own = ELBO()
    vae = kind(**parts).build(shapes, noise)
    if objective is not None:
        return vae, objective
    if own is not None and own.hold_noise:
        scale = torch.full((noise.n_members, vae.likelihood.n_locations), WARM_UP_SCALE)
        shared = torch.ones(noise.n_members, dtype=torch.bool)
        vae.likelihood.start_scale(scale.to(noise.device), shared.to(noise.device))
    return vae, own


def _check_together(parts: dict[str, Component], objective: Objective | None) -> None:
    """Raise for parts that do not go together."""
    supervision, posterior = parts.get("supervision"), parts["posterior"]
    if parts["network"].unrolls and isinstance(objective, DReG):
        raise ValueError(
            f"{objective!r} looks at what a code does to the cells alone, and with "
            f"{parts['network']!r} it moves later codes too. Use objective='iwae'."
        )
    for axis in ("supervision", "missingness"):
        part = parts.get(axis)
        if part is not None and isinstance(objective, ELBO) and objective.hold_noise:
            raise ValueError(
                f"{objective!r} looks at the cells alone while their noise is held, and {axis}="
                f"{part!r} would learn nothing meanwhile. Use hold_noise=False."
            )
    if supervision is None or not supervision.of_classes:
        return
    for axis, part, is_apart in (
        ("posterior", posterior, posterior.is_ladder),
        ("network", parts["network"], parts["network"].unrolls),
    ):
        if is_apart:
            usual = {"posterior": "'normal'", "network": "'mlp'"}[axis]
            raise ValueError(
                f"supervision={supervision!r} sums over classes, and {axis}={part!r} gives "
                f"latents one group after the other. Use {axis}={usual}."
            )
    if objective is not None and not isinstance(objective, ELBO):
        raise ValueError(
            f"supervision={supervision!r} weighs bounds by classes, and {objective!r} gives one "
            "that cannot be weighed. Use objective='elbo'."
        )
