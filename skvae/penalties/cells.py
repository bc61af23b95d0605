"""The cells: a network that says in which part of a layout a row belongs, and where in it."""

from __future__ import annotations

import math

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch import Tensor
from torch.nn import functional as F

from .._component import Component
from ..noise import Noise
from ..products import affine
from .placement import SHARPNESS

N_CELLS = 100
HIDDEN = 128, 64
BATCH_SIZE = 256
N_STEPS, N_EPOCHS = 300, 20
RATE, WEIGHT_DECAY = 8e-3, 0.1
# Weight of the place within the cell beside that of the cell.
PLACE_WEIGHT = 0.3


class CellEncoder(Component):
    """A classifier of rows into cells of a layout, each with the place that the row has there.

    A network that gives the place itself puts a row that may belong to two groups between
    them; one that gives a probability per cell sends it to the likeliest one.  It is trained on
    rows, on rows between them and their neighbours, and on rows with noise, and keeps none.
    """

    def __init__(self):
        super().__init__()

    def fit(self, rows: np.ndarray, layout: Tensor, index: np.ndarray, noise: Noise):
        """Learn the ``layout (members, n, n_components)`` of ``rows (n, width)``.

        Parameters
        ----------
        rows : ndarray (n, width)
        layout : Tensor (members, n, n_components)
        index : ndarray (n, n_neighbors)
            The neighbours of each row.
        noise : Noise
        """
        n, width = rows.shape
        n_cells, d = min(N_CELLS, max(n // 5, 1)), layout.shape[-1]
        seeds = (noise.uniform(1)[:, 0].cpu().double() * 2**31).long().tolist()
        centres = [
            KMeans(n_cells, n_init=1, random_state=seed).fit(codes.cpu().numpy()).cluster_centers_
            for seed, codes in zip(seeds, layout)
        ]
        self.register_buffer("centres", torch.as_tensor(np.stack(centres)).to(layout))
        sizes = [width, *HIDDEN, n_cells * (1 + d)]
        for i, (n_in, n_out) in enumerate(zip(sizes, sizes[1:])):
            weight = (2.0 * noise.uniform(n_in, n_out) - 1.0) / math.sqrt(n_in)
            self.register_buffer(f"matrix_{i}", weight)
            self.register_buffer(f"offset_{i}", weight.new_zeros(len(weight), 1, n_out))
        self._train(torch.as_tensor(rows, device=layout.device), layout, index, noise)
        return self

    @torch.no_grad()
    def forward(self, queries: np.ndarray) -> np.ndarray:
        """Places ``(members, rows, n_components)``."""
        x = torch.as_tensor(queries, device=self.centres.device)
        hidden = self._hidden(x.expand(len(self.centres), -1, -1))
        n_cells, d = self.centres.shape[1:]
        offset, matrix = self.offset_2[..., :n_cells], self.matrix_2[..., :n_cells]
        best = affine(offset, hidden, matrix.contiguous()).cpu().numpy().argmax(-1)
        # Of all the places only those in the likeliest cells are asked for.
        slopes = self.matrix_2[..., n_cells:].mT.unflatten(1, (n_cells, d)).contiguous()
        starts = self.centres + self.offset_2[:, 0, n_cells:].unflatten(1, (n_cells, d))
        members = zip(best, *(t.cpu().numpy() for t in (hidden, slopes, starts)))
        return np.stack([s[b] + np.einsum("rdk,rk->rd", w[b], h) for b, h, w, s in members])

    def _layers(self) -> tuple[list[Tensor], list[Tensor]]:
        matrices = [self.matrix_0, self.matrix_1, self.matrix_2]
        return matrices, [self.offset_0, self.offset_1, self.offset_2]

    def _hidden(self, x: Tensor) -> Tensor:
        """What the last layer sees of ``x (members, rows, width)``."""
        layer = torch.baddbmm if torch.is_grad_enabled() else affine
        h = F.gelu(layer(self.offset_0, x, self.matrix_0))
        return F.gelu(layer(self.offset_1, h, self.matrix_1))

    def _cells(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Log-odds of the cells, and the place in each, of ``x (members, rows, width)``."""
        x = torch.baddbmm(self.offset_2, self._hidden(x), self.matrix_2)
        n_cells, d = self.centres.shape[1:]
        return x[..., :n_cells], self.centres[:, None] + x[..., n_cells:].unflatten(-1, (-1, d))

    def _train(self, rows: Tensor, layout: Tensor, index: np.ndarray, noise: Noise) -> None:
        neighbors = torch.as_tensor(index, device=rows.device)
        apart = (rows - rows[neighbors[:, -1]]).square().mean(-1, keepdim=True).sqrt()
        members = torch.arange(len(layout), device=rows.device)[:, None]
        n, k = index.shape
        matrices, offsets = self._layers()
        for tensor in (*matrices, *offsets):
            tensor.requires_grad_()
        groups = [
            {"params": matrices, "weight_decay": WEIGHT_DECAY},
            {"params": offsets, "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=RATE)
        n_steps = max(N_STEPS, N_EPOCHS * n // BATCH_SIZE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, n_steps, pct_start=0.15)
        for _ in range(n_steps):
            u = noise.uniform(3, BATCH_SIZE)
            first = (u[:, 0] * n).long().clamp_(max=n - 1)
            second = neighbors[first, (u[:, 1] * k).long().clamp_(max=k - 1)]
            share = u[:, 2, :, None]
            x = torch.lerp(rows[first], rows[second], share)
            x += apart[first] * noise.normal(BATCH_SIZE, rows.shape[1])
            nearer = torch.where(share[..., 0] < 0.5, first, second)
            loss = self._loss(x, layout[members, nearer]).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        for tensor in (*matrices, *offsets):
            tensor.requires_grad_(False)
            tensor.grad = None

    def _loss(self, x: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy of the cells and spread within them, ``(members,)``."""
        logits, places = self._cells(x)
        target = target[:, :, None]
        belongs = (-2.0 * (self.centres[:, None] - target).square().sum(-1)).softmax(-1)
        missed = torch.log1p(SHARPNESS * (places - target).square().sum(-1))
        cost = PLACE_WEIGHT * missed - logits.log_softmax(-1)
        return (belongs * cost).sum(-1).mean(-1)
