"""The base of the penalties."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from .._component import Component
from .._pass import Pass
from ..noise import Noise


class Penalty(Component):
    """Base of the penalties: a term of the loss beside the bound, in nats per row.

    A penalty is part of the model: it may have weights, which are trained along, and buffers,
    which are saved.  It may also know where codes lie: those of the rows of the table by
    ``prepare``, those of any rows by ``place``.  The posterior then lies there; its raw
    log-scales are the penalty's ``width (members, 1, 1, n_components)``, and the encoder is not
    asked.
    """

    # Whether it must look at all rows before training, so that rows cannot come in batches.
    needs_whole_table = False
    # Most steps of training that are of use; None for as many as the estimator is given.
    n_steps: int | None = None
    # What the step size of the estimator is multiplied by.
    step_factor = 1.0
    # Whether distances between codes mean something, so that no latent may be rescaled.
    keeps_metric = False
    # Whether ``place`` says where codes lie.
    places = False
    # Whether ``prepare`` looks at the classes of rows, where ``fit`` is given them.
    takes_classes = False

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

    def place(self, inputs: Tensor) -> Tensor:
        """Codes ``(members, 1, rows, n_components)`` of ``inputs (members, 1, rows, width)``."""
        raise NotImplementedError

    @property
    def closed_form(self) -> Any:
        """``width``, where codes are known and the penalty adds nothing to the loss, or None."""
        return None
