"""Penalties on the decoder: small steps of a code make small steps of its row."""

from __future__ import annotations

from numbers import Integral

import torch
from sklearn.utils._param_validation import Interval
from torch import Tensor

from .._component import Shapes
from .._pass import Pass
from ..noise import Noise
from ._base import WeightedPenalty
from .appearance import expected_cells

# Squarings of a matrix, each of which doubles the iterations to its largest singular value.
N_SQUARINGS = 5


class DecoderGradient(WeightedPenalty):
    """Squared slopes of the decoder at the codes of the batch.

    With ``posterior="deterministic"`` this is the regularised autoencoder with a gradient
    penalty; the weight of its codes' own squares is ``beta`` of the objective, and
    ``prior="aggregate"``, the default, is its density of codes fitted after training.

    Parameters
    ----------
    weight : float, default=0.01
        Nats per row for a sum of squared slopes of 1, in units that columns are scaled by per
        unit of a latent.
    n_directions : int or None, default=1
        Random directions per row in which slopes are taken, whose mean over rows is that of all
        slopes; None takes the slope in each latent.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import VAETransformer
    >>> from skvae.penalties import DecoderGradient
    >>> X, _ = load_iris(return_X_y=True)
    >>> vae = VAETransformer(
    ...     2, posterior="deterministic", penalty=DecoderGradient(0.1), max_iter=20, random_state=0
    ... )
    >>> vae.fit(X).sample(3).shape
    (3, 4)

    References
    ----------
    Ghosh, Sajjadi, Vergari, Black and Schoelkopf, From Variational to Deterministic
    Autoencoders, 2020.
    """

    _parameter_constraints = {
        **WeightedPenalty._parameter_constraints,
        "n_directions": [None, Interval(Integral, 1, None, closed="left")],
    }
    decodes = rows_apart = True

    def __init__(self, weight=0.01, n_directions=1):
        super().__init__()
        self.weight = weight
        self.n_directions = n_directions

    def build(self, shapes: Shapes, noise: Noise) -> DecoderGradient:
        """Remember the kinds of columns."""
        self.blocks = shapes.blocks
        return self

    def term(self, step: Pass, noise: Noise) -> Tensor:
        """Sum of squared slopes of the expected cells, ``(members,)``."""
        directions = self._directions(step.z, noise)
        z = step.z[:, :1].expand_as(directions)
        conditions = step.model.conditions(step.batch.inputs)
        with torch.enable_grad():
            z = z if z.requires_grad else z.detach().requires_grad_()
            cells = expected_cells(self.blocks, step.model.decode(z, conditions), None)
            # Backward is linear in what it begins with: its own gradient goes forward.
            begin = torch.zeros_like(cells).requires_grad_()
            (back,) = torch.autograd.grad(cells, z, begin, create_graph=True)
            (slopes,) = torch.autograd.grad(back, begin, directions, create_graph=True)
        squares = slopes.square().sum(-1)
        squares = squares.sum(1) if self.n_directions is None else squares.mean(1)
        return step.row_mean(squares)

    def _directions(self, z: Tensor, noise: Noise) -> Tensor:
        members, _, rows, d = z.shape
        if self.n_directions is None:
            axes = torch.eye(d, dtype=z.dtype, device=z.device)
            return axes[None, :, None].expand(members, -1, rows, -1).contiguous()
        # Signs: the mean of the squares is the sum over latents, with least spread.
        uniform = noise.uniform(self.n_directions, rows, d)
        return torch.where(uniform < 0.5, -1.0, 1.0).to(z.dtype)


class DecoderDecay(WeightedPenalty):
    """Squares of the decoder's weight matrices: a decay that leaves the encoder alone.

    With ``posterior="deterministic"`` and ``weight_decay=0`` this is the regularised
    autoencoder with an L2 penalty; see :class:`DecoderGradient`.

    Parameters
    ----------
    weight : float, default=0.01
        Nats per row for a sum of squared weights of 1.

    Examples
    --------
    >>> from skvae.penalties import DecoderDecay
    >>> DecoderDecay(0.1)
    DecoderDecay(weight=0.1)

    References
    ----------
    Ghosh, Sajjadi, Vergari, Black and Schoelkopf, From Variational to Deterministic
    Autoencoders, 2020.
    """

    decodes = rows_apart = True

    def __init__(self, weight=0.01):
        super().__init__()
        self.weight = weight

    def term(self, step: Pass, noise: Noise) -> Tensor:
        """Sum of squared weights, ``(members,)``."""
        return sum(matrix.square().sum((1, 2)) for matrix in _matrices(step))  # type: ignore[return-value]


class DecoderSpectrum(WeightedPenalty):
    """Squares of the largest singular value of each of the decoder's weight matrices.

    Their product bounds how steep the decoder can be anywhere.  With
    ``posterior="deterministic"`` this is the regularised autoencoder with a spectral penalty;
    see :class:`DecoderGradient`.

    Parameters
    ----------
    weight : float, default=0.1
        Nats per row for a sum of squared singular values of 1.

    Examples
    --------
    >>> from skvae.penalties import DecoderSpectrum
    >>> DecoderSpectrum(0.5)
    DecoderSpectrum(weight=0.5)

    References
    ----------
    Ghosh, Sajjadi, Vergari, Black and Schoelkopf, From Variational to Deterministic
    Autoencoders, 2020; Yoshida and Miyato, Spectral Norm Regularization, 2017.
    """

    decodes = rows_apart = True

    def __init__(self, weight=0.1):
        super().__init__()
        self.weight = weight

    def term(self, step: Pass, noise: Noise) -> Tensor:
        """Sum of the squared largest singular values, ``(members,)``."""
        return sum(largest_square(matrix) for matrix in _matrices(step))  # type: ignore[return-value]


def _matrices(step: Pass) -> list[Tensor]:
    """Weight matrices of the decoder, ``(members, inputs, outputs)`` each.

    A convolution counts as the matrix of its kernels.
    """
    named = step.model.network.decoder.named_parameters()
    return [weight.flatten(2) for name, weight in named if "weight_" in name]


def largest_square(matrix: Tensor) -> Tensor:
    """Square of the largest singular value, ``(members,)``."""
    # In memory by rows: other products round otherwise in a stack.
    wide = matrix if matrix.shape[1] <= matrix.shape[2] else matrix.mT.contiguous()
    with torch.no_grad():
        gram = torch.bmm(wide, wide.mT)
        power = gram
        for _ in range(N_SQUARINGS):
            size = power.diagonal(dim1=1, dim2=2).sum(-1).clamp_min(1e-30)
            power = power / size[:, None, None]
            power = torch.bmm(power, power)
        # The column with the largest diagonal has most of the leading direction.
        place = power.diagonal(dim1=1, dim2=2).argmax(-1)
        vector = power.gather(2, place[:, None, None].expand(-1, power.shape[1], 1))
        vector = vector / vector.square().sum(1, keepdim=True).clamp_min(1e-30).sqrt()
    return torch.bmm(vector.mT, wide).square().sum((1, 2))
