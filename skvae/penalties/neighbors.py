"""NeighborGraph: rows that are neighbours in the table have neighbouring codes."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors
from sklearn.utils._param_validation import Interval
from torch import Tensor, nn

from .._component import Shapes
from .._pass import Pass
from ..noise import Noise
from ._base import Penalty
from .cells import CellEncoder
from .graph import neighbor_graph, supervised
from .layout import START_NOISE, Layout, n_shifts
from .metric import Metric
from .parts import start_by_parts
from .placement import KeptNeighbors, one_pool

# Where the width of the posterior starts, in units of the layout.
START_WIDTH = 0.3


class NeighborGraph(Penalty):
    """Codes in which the neighbours of each row stay its neighbours: a picture of the table.

    The graph of nearest neighbours of all rows is laid out first, as UMAP does; on these codes
    the decoder is then trained, with one width of the posterior for all rows.  New rows go to
    where their neighbours among the rows of ``fit`` are, so that ``transform``,
    ``score_samples``, ``inverse_transform`` and all else follow the picture.  Codes are in
    units of the layout, where neighbours are within about 1 of one another.

    The decoder is trained for 500 steps at most, ten times as large as the estimator's, on up
    to 256 rows each.
    The weights of rows say how much they count in its training, not where they lie.

    Parameters
    ----------
    n_neighbors : int, default=15
        Neighbours of each row: fewer show detail, more the whole.
    max_iter : int, default=500
        Steps of the layout.
    keep_neighbors : bool, default=True
        Whether the fitted model keeps the rows, to place new ones among them.  Without, a
        network learns where rows go: it is fast, holds no rows, and is a little less exact.
    target_weight : float, default=0.0
        How much the classes ``y`` of ``fit`` set rows of different ones apart, from 0, where
        they are not looked at, to 1, where no edge is left between them.  -1 and missing ones
        are rows without a class.

    Attributes
    ----------
    placement : KeptNeighbors or CellEncoder
        Of the fitted model, ``estimator.vae_.penalty``: what places rows in the layout.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import VAETransformer
    >>> from skvae.penalties import NeighborGraph
    >>> X, y = load_iris(return_X_y=True)
    >>> vae = VAETransformer(2, penalty=NeighborGraph(n_neighbors=10), random_state=0).fit(X)
    >>> vae.transform(X).shape
    (150, 2)

    References
    ----------
    McInnes, Healy and Melville, UMAP: Uniform Manifold Approximation and Projection for
    Dimension Reduction, 2018; Sainburg, McInnes and Gentner, Parametric UMAP Embeddings for
    Representation and Semisupervised Learning, 2021.
    """

    _parameter_constraints = {
        "n_neighbors": [Interval(Integral, 2, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "keep_neighbors": ["boolean"],
        "target_weight": [Interval(Real, 0, 1, closed="both")],
    }
    needs_whole_table = keeps_metric = rows_apart = True
    # A decoder of codes that do not move bears large steps, and is soon trained.
    n_steps, step_factor, largest_batch = 500, 10.0, 256

    def __init__(self, n_neighbors=15, max_iter=500, keep_neighbors=True, target_weight=0.0):
        super().__init__()
        self.target_weight = target_weight
        self.n_neighbors = n_neighbors
        self.max_iter = max_iter
        self.keep_neighbors = keep_neighbors

    def build(self, shapes: Shapes, noise: Noise) -> NeighborGraph:
        """Create the width of the posterior."""
        self.blocks, self.n_latents = shapes.blocks, shapes.n_components
        start = torch.full((1, 1, self.n_latents), math.log(START_WIDTH), device=noise.device)
        self.width: nn.Parameter = self.weight(noise, lambda generator: start)
        return self

    @property
    def closed_form(self) -> nn.Parameter | None:
        """The width: once the codes are known, nothing is added to the loss."""
        return self.width if type(self) is NeighborGraph else None

    @property
    def places(self) -> bool:  # type: ignore[override]
        """Whether the rows have been laid out."""
        return "placement" in self._modules

    @property
    def takes_classes(self) -> bool:  # type: ignore[override]
        """Whether ``prepare`` looks at the classes of rows."""
        return self.target_weight > 0

    def forward(self, step: Pass, noise: Noise) -> Tensor:
        """Nothing: the layout is the minimum of what neighbours cost, and codes stay there."""
        return torch.zeros_like(step.mean_log_likelihood)

    def prepare(self, rows, noise: Noise, classes: np.ndarray | None = None) -> Tensor:
        """Lay the rows out; give their codes, ``(members, n, n_components)``."""
        n = len(rows.values)
        if n < 3:
            raise ValueError(
                f"NeighborGraph expects at least 3 rows, whose neighbours it keeps, got {n}."
            )
        if classes is None and self.takes_classes:
            raise ValueError(
                f"{self!r} looks at the classes of rows, and got none. Pass them as y to "
                "VAETransformer.fit, -1 where unknown, or set target_weight=0."
            )
        inputs = self._measured(rows, noise)
        k = min(self.n_neighbors, n - 1)
        with one_pool():
            distances, index = NearestNeighbors(n_neighbors=k).fit(inputs).kneighbors()
        graph = neighbor_graph(index, distances)
        if classes is not None:
            graph = supervised(graph, classes, self.target_weight)
        layout = self._layout(graph, inputs, noise)
        placement = KeptNeighbors(k) if self.keep_neighbors else CellEncoder()
        self.placement = placement.fit(inputs, layout, index, noise)
        return layout

    @torch.no_grad()
    def place(self, inputs: Tensor) -> Tensor:
        """Put rows into the layout."""
        return self._placed(self.metric, inputs)

    def reading(self, units) -> Callable[[Tensor], Tensor] | None:
        """``place`` of cells, where distances are those of principal components."""
        # A subclass may place rows in another way.
        metric = self.metric.reading(units) if type(self) is NeighborGraph else None
        return None if metric is None else partial(self._placed, metric)

    def _placed(self, metric: Callable[[Tensor], np.ndarray], rows: Tensor) -> Tensor:
        places = torch.as_tensor(self.placement(metric(rows[0, 0])), dtype=rows.dtype)
        return places.to(rows.device)[:, None]

    def _layout(self, graph, inputs: np.ndarray, noise: Noise) -> Tensor:
        n = graph.shape[0]
        with one_pool():
            layout, start = Layout(graph), start_by_parts(graph, inputs, self.n_latents)
        wobble = START_NOISE * noise.normal(n, self.n_latents).cpu().numpy()
        uniform = noise.uniform(self.max_iter, n_shifts(n)).cpu().double().numpy()
        shifts = np.minimum((uniform * (n - 1)).astype(np.int64) + 1, n - 1)
        found = np.stack([layout.run(start + w, s) for w, s in zip(wobble, shifts)])
        found -= found.mean(1, keepdims=True)
        return torch.as_tensor(found, device=noise.device)

    def _measured(self, rows, noise: Noise) -> np.ndarray:
        """The rows as distances are taken of them; the metric is chosen by them."""
        every = torch.arange(len(rows.values), device=rows.values.device)
        parts = [part.inputs[0, 0] for part in rows.parts(every[None])]
        n_columns = sum(sum(sizes) for _, sizes in self.blocks)
        kind, sizes = self.blocks[0]
        numeric = kind == "continuous" and rows.log_unit is not None
        unit = rows.log_unit[: len(sizes)] if numeric else None
        self.metric = Metric().fit(torch.cat(parts), unit, n_columns, noise)
        return np.concatenate([self.metric(part) for part in parts])
