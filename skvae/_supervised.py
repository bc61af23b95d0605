"""What a model that has learned of targets says of new rows, and rows that meet a target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from . import inference
from ._arguments import check_count
from ._sources import by_parts
from .table.conditioned import Given
from .table.frames import labelled_as
from .table.targets import class_targets, property_targets

# Of a property's standard deviation: no property is predicted so well that less would matter.
SMALLEST_RESIDUAL = 1e-2


def _is_supervised(estimator) -> bool:
    return estimator.supervision is not None


def _knows_classes(estimator) -> bool:
    return _is_supervised(estimator) and estimator._resolve("supervision").of_classes


def _knows_properties(estimator) -> bool:
    return _is_supervised(estimator) and not estimator._resolve("supervision").of_classes


class SupervisedMixin:
    """Classes and properties of rows."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    @available_if(_is_supervised)
    @by_parts
    def predict(self, X):
        """Likeliest class, or expected properties, of each row.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_properties)
            As ``y`` in ``fit``: classes, or properties in their units, at the posterior mean.
        """
        if _knows_classes(self):
            return self.classes_[self.predict_proba(X).argmax(1)]
        check_is_fitted(self)
        vae = self._coder()
        head = vae.supervision

        def properties(inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
            codes = vae.infer(inputs).mean
            return (head(vae.whole(codes, vae.conditions(inputs)))[0, 0],)

        found = head.outward(self._of_inputs(X, properties))
        return found[:, 0] if self._one_property else found

    @available_if(_knows_classes)
    @by_parts
    def predict_proba(self, X):
        """Probability q(y|x) of each class.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``.
        """
        check_is_fitted(self)
        vae = self._coder()

        def classes(inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return (vae.log_classes(inputs).exp()[0, 0],)

        return self._of_inputs(X, classes)

    @available_if(_knows_properties)
    def optimize(self, X, target, *, max_iter=200, learning_rate=0.05):
        """Rows like those of ``X`` that the model expects to have other properties.

        From the code of each row, gradient ascent on ``log p(target|z) + log p(z)``; the prior
        keeps codes where rows like those of ``fit`` are.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows to start at.
        target : float or array-like of shape (n_properties,) or (n_samples, n_properties)
            Wanted properties in their units; NaN for those that do not matter.
        max_iter : int, default=200
            Steps.
        learning_rate : float, default=0.05
            Size of the first steps, in standard deviations of the prior.

        Returns
        -------
        rows : ndarray or DataFrame of shape (n_samples, n_features)
            Best rows for the codes found, under the conditions of ``X``.

        Raises
        ------
        ValueError
            If ``max_iter`` or the shape of ``target`` does not fit.
        """
        check_is_fitted(self)
        max_iter = check_count(f"{type(self).__name__}.optimize", "max_iter", max_iter)
        (loc,) = self._infer(X, ["mean"])
        vae, device = self._coder(), self._device()
        wanted = torch.as_tensor(self._wanted(target, len(loc)), device=device)[None, None]
        under, given = self._given(self._conditions_of(X), "optimize", len(loc)), None
        if under is not None:
            given = torch.as_tensor(under.inputs, device=device)[None, None]
        codes = torch.as_tensor(loc, device=device)[None, None]
        with self._arithmetic():
            scale = torch.as_tensor(self._residual_scale, dtype=codes.dtype, device=device)
            found = _ascent(vae, codes, wanted, scale, given, max_iter, learning_rate)
        return labelled_as(self._decode(found[0, 0].cpu().numpy(), under), X)

    def _wanted(self, target, n_rows: int) -> np.ndarray:
        head = self.vae_.supervision
        wanted = np.asarray(target, dtype=np.float64)
        if wanted.ndim == 1 and len(head.loc) == 1 and len(wanted) == n_rows:
            wanted = wanted[:, None]
        try:
            wanted = np.broadcast_to(wanted, (n_rows, len(head.loc)))
        except ValueError as error:
            raise ValueError(
                f"{type(self).__name__}.optimize expects target to be a number, one per property "
                f"({len(head.loc)}), or one row of these per row of X ({n_rows}); got shape "
                f"{np.shape(target)}."
            ) from error
        return head.inward(wanted).astype(np.float32)

    def _of_inputs(self, X, function) -> np.ndarray:
        n_rows, parts = self._parts(X)
        found = []
        for _, encoded in parts:
            with self._arithmetic():
                width = encoded.inputs.shape[1]
                at_once = inference.chunk_rows(width=width)
                (part,) = inference.in_chunks(function, [encoded.inputs], self._device(), at_once)
            found.append(part)
        return np.concatenate(found).astype(np.float64)

    # -- targets in fit -------------------------------------------------------------------

    def _targets(self, X, y) -> np.ndarray | None:
        """Targets as numbers, for the supervision of the model."""
        supervision = self._resolve("supervision")
        if supervision is None:
            return None
        owner = f"{type(self).__name__}(supervision={supervision!r})"
        if y is None:
            raise ValueError(
                f"{owner} learns of targets, and y is None. Pass y, with -1 or NaN where it is "
                "unknown, or set supervision=None."
            )
        check_consistent_length(X, y)
        if supervision.of_classes:
            codes, self.classes_ = class_targets(y, owner, supervision.n_classes)
            return codes
        targets = property_targets(y, owner)
        self._one_property = np.ndim(y) == 1
        return targets

    def _note_residuals(self, X, targets: np.ndarray | None) -> None:
        """Take note of how far properties are from what is predicted."""
        if targets is not None and _knows_properties(self):
            missed = targets - self.predict(X).reshape(targets.shape)
            scaled = np.sqrt(np.nanmean(missed**2, 0)) / self.vae_.supervision.unit
            self._residual_scale = np.maximum(scaled, SMALLEST_RESIDUAL)

    # -- classes beside conditions --------------------------------------------------------

    def _classes_of(self, X):
        """Classes that rows are given, or None where the model has none."""
        return self.predict(X) if _knows_classes(self) else None

    def _with_classes(self, given: Given | None, y, n_rows: int, asker: str) -> Given | None:
        """Conditions with indicators of the classes behind them."""
        if not _knows_classes(self):
            if y is not None:
                raise ValueError(
                    f"{asker} got classes y, and the model has none. Leave out y, or fit with "
                    "supervision='classes'."
                )
            return given
        labels = np.asarray(y).ravel()
        unknown = [label for label in np.unique(labels) if label not in self.classes_]
        if y is None or unknown or len(labels) not in (1, n_rows):
            got = f"{unknown!r}, unknown in fit" if unknown and y is not None else f"{y!r}"
            raise ValueError(
                f"{asker} expects y to be a class, or one for each of {n_rows} rows, among "
                f"{self.classes_.tolist()}; got {got}."
            )
        shown = (labels[:, None] == self.classes_).astype(np.float32)
        shown = np.broadcast_to(shown, (n_rows, shown.shape[1])).copy()
        if given is None:
            return Given(shown, np.empty((n_rows, 0)), None, np.empty((n_rows, 0), bool))
        return given._replace(inputs=np.hstack([given.inputs, shown]))


def _ascent(vae, codes, wanted, scale, given, max_iter: int, learning_rate: float) -> torch.Tensor:
    """Codes ``(1, 1, rows, n_components)`` after so many steps towards the wanted properties."""
    known, head = ~wanted.isnan(), vae.supervision
    wanted = torch.where(known, wanted, 0.0)
    z = codes.clone().requires_grad_()
    optimizer = torch.optim.Adam([z], lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max_iter)
    prior = vae.codes()
    for _ in range(max_iter):
        missed = torch.where(known, (head(vae.whole(z, given)) - wanted) / scale, 0.0)
        loss = 0.5 * missed.square().sum() - prior.log_prob(z).sum()
        (z.grad,) = torch.autograd.grad(loss, [z])
        optimizer.step()
        schedule.step()
    return z.detach()
