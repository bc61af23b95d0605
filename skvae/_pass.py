"""Records that travel between a VAE, the objectives and the training loop."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from torch import Tensor

from .distributions import Distribution


@dataclass
class Batch:
    """Rows of a table, one batch per member.

    Parameters
    ----------
    inputs : Tensor (members, 1, rows, n_inputs)
        The rows as the encoder sees them.
    values : Tensor (members, 1, rows, columns)
        The rows as the likelihood explains them; 0 where a cell is missing.
    mask : Tensor (members, 1, rows, columns) or None
        Which cells are observed; None when all are.
    weights : Tensor (members, rows) or None
        Weights of the rows, mean 1 over the table; None when all are 1.
    codes : Tensor (members, 1, rows, n_components) or None
        Where the codes of the rows lie, if a penalty knows; None where the encoder says it.
    targets : Tensor (members, 1, rows, properties) or None
        What goes with the rows, NaN where it is unknown.
    shares : Tensor (members, 1, rows, cells) or None
        How probable a 1 is in each cell that a view draws anew; None where none is.
    """

    inputs: Tensor
    values: Tensor
    mask: Tensor | None
    weights: Tensor | None
    codes: Tensor | None = None
    targets: Tensor | None = None
    shares: Tensor | None = None


@dataclass
class Pass:
    """What one pass of a batch through a VAE gives, for objectives and penalties.

    Parameters
    ----------
    log_likelihood : Tensor (members, draws, rows)
        log p(x|z), summed over the observed cells of each row.
    kl : Tensor (members, 1 or draws, rows, n_components or 1)
        KL(q || p), or its one-draw estimate where no closed form exists.
    posterior, prior, likelihood : Distribution
    z : Tensor (members, draws, rows, n_components)
    weights : Tensor (members, rows) or None
        Weights of the rows, mean 1 over the table.
    seen : Tensor (members, draws, rows, n_components) or None
        The codes that the decoder saw: ``z`` by a view of its own.
    batch : Batch
        The rows, for penalties that look at cells.
    model : VAE
        What the rows passed through, for penalties that decode codes of their own.
    """

    log_likelihood: Tensor
    kl: Tensor
    posterior: Distribution
    prior: Distribution
    likelihood: Distribution
    z: Tensor
    weights: Tensor | None
    seen: Tensor | None = None
    batch: Batch = None  # type: ignore[assignment]
    model: Any = None

    def log_weight(self) -> Tensor:
        """Log p(x, z) - log q(z|x), per draw: ``(members, draws, rows)``."""
        return self._log_weight

    # Kept, as what it is made of may lie in buffers that a backward pass writes over.
    @cached_property
    def _log_weight(self) -> Tensor:
        return self.log_likelihood + self.posterior.log_odds(self.prior, self.z)

    def bound(self) -> Tensor:
        """The bound on log p(x) at weight 1, per row: ``(members, rows)``."""
        return self.log_likelihood.mean(1) - self.kl.sum(-1).mean(1)

    @cached_property
    def mean_log_likelihood(self) -> Tensor:
        """Mean of log p(x|z) over draws and weighted rows, ``(members,)``."""
        if self.weights is None:
            return self.log_likelihood.mean((1, 2))
        return self.row_mean(self.log_likelihood.mean(1))

    @cached_property
    def mean_kl(self) -> Tensor:
        """Mean KL over draws and weighted rows, ``(members, n_components or 1)``."""
        if self.weights is None:
            return self.kl.mean((1, 2))
        return (self.kl.mean(1) * self.weights.unsqueeze(-1)).mean(1)

    def row_mean(self, rows: Tensor) -> Tensor:
        """Weighted mean over the rows of ``(members, rows)``."""
        return (rows if self.weights is None else rows * self.weights).mean(-1)


class Cells(NamedTuple):
    """What a calibration looks at.

    Parameters
    ----------
    parameters : Tensor (members, draws, rows, n_parameters)
        Output of the decoder.
    values : Tensor (members, 1, rows, columns)
    weights : Tensor (members, 1, rows, columns)
        Weight of each cell; 0 where it is missing.
    """

    parameters: Tensor
    values: Tensor
    weights: Tensor
