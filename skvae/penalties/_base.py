"""The base of the penalties."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval
from torch import Tensor

from .._component import Component
from .._pass import Pass
from ..noise import Noise


class Penalty(Component):
    """Base of the penalties: a term of the loss beside the bound, in nats per row.

    A penalty is part of the model: it may have weights, which are trained along, and buffers,
    which are saved.  It may have a critic, whose weights are trained in the same step to make
    ``critic_loss`` small, while the model is trained on the term with these weights held.  It
    may also know where codes lie: those of the rows of the table by
    ``prepare``, those of any rows by ``place``.  The posterior then lies there; its raw
    log-scales are the penalty's ``width (members, 1, 1, n_components)``, and the encoder is not
    asked.
    """

    # Most penalties compare the rows of a batch.
    rows_apart = False
    # Whether it must look at all rows before training, so that rows cannot come in batches.
    needs_whole_table = False
    # Most steps of training that are of use; None for as many as the estimator is given.
    n_steps: int | None = None
    # Most rows of a step, where the estimator leaves their number to us.
    largest_batch: int | None = None
    # What the step size of the estimator is multiplied by.
    step_factor = 1.0
    # Whether distances between codes mean something, so that no latent may be rescaled.
    keeps_metric = False
    # Whether ``place`` says where codes lie.
    places = False
    # Whether ``prepare`` looks at the classes of rows, where ``fit`` is given them.
    takes_classes = False
    # Whether it acts on the locations of codes alone, so that the second part of training, which
    # holds them, needs it no more.
    only_locates = False
    # Whether it reads the density of codes given their row.
    needs_density = False
    # Whether it decodes on the side, or looks at the decoder's weights.
    decodes = False
    # Whether it takes the place of the likelihood of the cells.
    replaces_cells = False
    # Whether it is trained against the model: held-out losses of two epochs do not compare then.
    has_critic = False

    def check(self, posterior) -> None:
        """Refuse a posterior that this penalty can do nothing with.

        Parameters
        ----------
        posterior : Posterior
            Of the model that the penalty is a part of.
        """
        if self.needs_density and not posterior.has_density:
            raise ValueError(
                f"{type(self).__name__} compares densities of codes given their rows, and "
                f"{posterior!r} has none. Use posterior='normal', or a penalty that looks at "
                "codes alone: FactorCritic, DIP(of='means')."
            )

    def prepare(self, rows, noise: Noise, classes: np.ndarray | None = None) -> Tensor | None:
        """Look at the table before training; give the codes of its rows if they are known.

        Parameters
        ----------
        rows : Rows
            The resident table.
        noise : Noise
            One generator per member.
        classes : ndarray of int (n,) or None
            Those of the rows, -1 where unknown; only if ``takes_classes``.

        Returns
        -------
        codes : Tensor (members, n, n_components) or None
        """
        return None

    def forward(self, step: Pass, noise: Noise) -> Tensor:
        """Term of the loss per member, ``(members,)``."""
        raise NotImplementedError

    def judged(self, step: Pass, noise: Noise) -> Tensor:
        """Term of what early stopping minimises on held-out rows, ``(members,)``."""
        return self(step, noise)

    def critic_loss(self, step: Pass, noise: Noise) -> Tensor | None:
        """What the weights of the critic minimise, ``(members,)``, and nothing else reads."""
        return None

    def place(self, inputs: Tensor) -> Tensor:
        """Codes ``(members, 1, rows, n_components)`` of ``inputs (members, 1, rows, width)``."""
        raise NotImplementedError

    def reading(self, units) -> Callable[[Tensor], Tensor] | None:
        """``place`` of cells from which ``units`` would make inputs; None if it cannot do so."""
        return None

    @property
    def closed_form(self) -> Any:
        """``width``, where codes are known and the penalty adds nothing to the loss, or None."""
        return None


class WeightedPenalty(Penalty):
    """Base of the penalties that are a weight times one number per member.

    Parameters
    ----------
    weight : float
        Nats per row for a ``term`` of 1.
    """

    _parameter_constraints: dict = {"weight": [Interval(Real, 0, None, closed="left")]}
    # A hyper-parameter; what creates weights is left to parts.
    weight: Any  # type: ignore[assignment]

    def forward(self, step: Pass, noise: Noise) -> Tensor:
        """Weighted term of the batch, ``(members,)``."""
        return self.weight * self.term(step, noise)

    def term(self, step: Pass, noise: Noise) -> Tensor:
        """What is weighted, ``(members,)``."""
        raise NotImplementedError
