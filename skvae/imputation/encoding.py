"""What a network is shown of a row of which only some cells are visible."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .._component import Component, Shapes
from ..noise import Noise

# The narrowest piece, in standard deviations: below it a quantile is an atom of the column.
NARROWEST = 1e-3
# How far a new value may lie beyond the observed ones, in their range, before it is cut.
MARGIN = 0.5


class CellEncoding(Component):
    """Visible cells as numbers: linear, by pieces between quantiles, one-hot, and the mask.

    An invisible cell is 0 in all of them.  The pieces let one layer bend where the column has
    its mass, whatever its shape.

    Parameters
    ----------
    n_pieces : int, default=8
        Pieces per numeric column.

    References
    ----------
    Gorishniy et al., On Embeddings for Numerical Features in Tabular Deep Learning, 2022.
    """

    def __init__(self, n_pieces=8):
        super().__init__()
        self.n_pieces = n_pieces

    def build(self, shapes: Shapes, noise: Noise) -> CellEncoding:
        """Note where which kind of column is; ``learn`` does the rest."""
        kinds = [(kind, size) for kind, sizes in shapes.blocks for size in sizes]
        self.sizes = [size for kind, size in kinds if kind == "categorical"]
        self.n_numeric = len(kinds) - len(self.sizes)
        self.n_counts = sum(kind == "count" for kind, _ in kinds)
        self.first_count = sum(kind == "continuous" for kind, _ in kinds)
        self.width = self.n_numeric * (1 + self.n_pieces) + sum(self.sizes) + len(kinds)
        owner = torch.block_diag(*(torch.ones(1, size) for size in self.sizes))
        self._keep("owner", owner.to(noise.device), noise.n_members)
        return self

    def learn(self, values: Tensor, mask: Tensor, n_members: int) -> None:
        """Take location, scale and quantiles of the observed cells ``(rows, columns)``."""
        device = values.device
        if not self.n_numeric:
            for name in ("loc", "scale", "low", "high"):
                self._keep(name, values.new_ones(0), n_members)
            for name in ("edge", "width_of_piece"):
                self._keep(name, values.new_ones(self.n_pieces, 0), n_members)
            return
        # In float64, which not every device has.
        x = self._squashed(values[:, : self.n_numeric].cpu().double())
        seen = mask[:, : self.n_numeric].cpu()
        columns = [cells[visible] for cells, visible in zip(x.unbind(1), seen.unbind(1))]
        found = [self._column(cells) for cells in columns]
        for name, per_column in zip(("loc", "scale", "low", "high"), zip(*found)):
            self._keep(name, torch.stack(per_column).float().to(device), n_members)
        edges = [self._edges(c, loc, scale) for c, (loc, scale, *_) in zip(columns, found)]
        for name, pair in zip(("edge", "width_of_piece"), zip(*edges)):
            self._keep(name, torch.stack(pair, -1).float().to(device), n_members)

    def forward(self, values: Tensor, visible: Tensor) -> Tensor:
        """Encode ``(members, draws, rows, columns)``, with ``visible`` 1 or 0."""
        return self.masked(self.features(values), visible)

    def features(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """All cells as numbers, as if all were visible.

        Those of numeric columns are ``(members, draws, rows, 1 + n_pieces, columns)``, those of
        the others ``(members, draws, rows, categories of all columns)``.
        """
        x = self._squashed(values[..., : self.n_numeric])
        x = torch.clamp(x, self.low[:1], self.high[:1])
        x = ((x - self.loc[:1]) / self.scale[:1]).unsqueeze(-2)
        pieces = ((x - self.edge[:1]) / self.width_of_piece[:1]).clamp_(0.0, 1.0)
        codes = values[..., self.n_numeric :].long().unbind(-1)
        parts = [F.one_hot(c, size).to(values.dtype) for c, size in zip(codes, self.sizes)]
        return torch.cat([x, pieces], -2), torch.cat([values[..., :0], *parts], -1)

    def masked(self, features: tuple[Tensor, Tensor], visible: Tensor) -> Tensor:
        """Those of the visible cells, and which these are."""
        numeric, categories = features
        shown = visible[..., : self.n_numeric].unsqueeze(-2)
        parts = [visible, (numeric * shown).flatten(-2)]
        if self.sizes:
            # Gathering a mask per category costs more than this product.
            parts.append(categories * (visible[..., self.n_numeric :] @ self.owner[0, 0]))
        return torch.cat(parts, -1)

    def inputs_of_columns(self) -> list[list[int]]:
        """Which of the numbers that ``masked`` gives each column has."""
        n_columns = self.n_numeric + len(self.sizes)
        numeric = n_columns + self.n_numeric * (1 + self.n_pieces)
        places = [
            [j, *range(n_columns + j, numeric, self.n_numeric)] for j in range(self.n_numeric)
        ]
        start = numeric
        for j, size in enumerate(self.sizes, self.n_numeric):
            places.append([j, *range(start, start + size)])
            start += size
        return places

    def _squashed(self, x: Tensor) -> Tensor:
        """Numeric cells, counts by their logarithm."""
        if not self.n_counts:
            return x
        first, stop = self.first_count, self.first_count + self.n_counts
        return torch.cat([x[..., :first], x[..., first:stop].log1p(), x[..., stop:]], -1)

    def _column(self, cells: Tensor) -> tuple[Tensor, ...]:
        low, high = cells.min(), cells.max()
        margin = MARGIN * (high - low)
        return cells.mean(), cells.std(correction=0).clamp_min(1e-6), low - margin, high + margin

    def _edges(self, cells: Tensor, loc: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Left edge and width of each piece; pieces of atoms stand beyond all values."""
        shares = torch.linspace(0, 1, self.n_pieces + 1, dtype=cells.dtype, device=cells.device)
        # torch.quantile refuses long columns.
        ordered = ((cells - loc) / scale).sort().values
        place = shares * (len(ordered) - 1)
        below = place.long()
        above = (below + 1).clamp_max(len(ordered) - 1)
        edges = torch.lerp(ordered[below], ordered[above], place - below)
        edges = edges.unique()
        left = torch.full((self.n_pieces,), 1e9, dtype=cells.dtype, device=cells.device)
        width = torch.ones_like(left)
        left[: len(edges) - 1] = edges[:-1]
        width[: len(edges) - 1] = edges.diff().clamp_min(NARROWEST)
        return left, width

    def _keep(self, name: str, tensor: Tensor, n_members: int) -> None:
        self.register_buffer(name, tensor.expand(n_members, 1, 1, *tensor.shape).clone())
