"""What a model must have for a density over codes, and log p(x) by way of it."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from ._arguments import check_count, seed_of
from ._sources import by_parts
from ._warning import level_of_caller
from .conditioning.bridge import STARTS, Course
from .conditioning.marginals import Estimate, both_log_weights, log_weights
from .noise import Noise

# Below so many chains that an estimate rests on, it may be far off.
FEW_CHAINS = 2.0


class DensityMixin:
    """Annealed importance sampling of log p(x), which ``skvae.metrics`` asks for."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    @by_parts
    def _annealed(self, X, asker: str, random_state=None, **course) -> np.ndarray:
        """Log p(x), standard error and effective number of chains, ``(rows, 3)``."""
        check_is_fitted(self)
        self._check_anneals(asker)
        steps = _course(asker, **course)
        seed, reliability = seed_of(self, random_state), []
        n_done = 0

        def score(encoded) -> np.ndarray:
            nonlocal n_done
            if self.vae_.n_steps > 1 and encoded.mask is not None:
                raise ValueError(
                    f"{asker} moves codes apart from cells, and by {self.vae_.network!r} missing "
                    "cells have a say in the codes that follow. Pass rows without missing cells, "
                    "or use score_samples."
                )
            of_members = [
                Estimate.of(log_weights(vae, encoded, steps, (seed, m), n_done, self._device()))
                for m, vae in enumerate(self._members())
            ]
            n_done += len(encoded.values)
            found = [np.stack(part, 1) for part in zip(*of_members)]
            error = np.sqrt(np.square(found[1]).sum(1)) / len(of_members)
            reliability.append(np.stack([error, found[2].min(1)], 1))
            return found[0]

        scores = self._in_units(X, score)
        found = np.column_stack([scores, np.concatenate(reliability)])
        _warn_of_few_chains(asker, steps, found[:, 2])
        return found

    def _annealed_both_ways(
        self, n_samples: int, asker: str, random_state=None, **course
    ) -> tuple[Any, np.ndarray, np.ndarray]:
        """Rows drawn from the model, and log p(x) of them from below and from above."""
        check_is_fitted(self)
        self._check_anneals(asker)
        if self.vae_.n_conditions:
            raise ValueError(
                f"{asker} draws rows, and those of this {type(self).__name__} have conditions, "
                f"condition={self.condition!r}, of which the model knows no distribution. Use "
                "annealed_log_likelihood on rows of your own, from start='encoder' and from "
                "start='prior'."
            )
        n_samples = check_count(asker, "n_samples", n_samples)
        steps = _course(asker, **course)
        seed, device = seed_of(self, random_state), self._device()
        with self._arithmetic(), torch.no_grad():
            vae = next(self._members([self.best_member_]))
            noise = Noise([seed], device)
            z = vae.codes().sample(noise, n_samples)
            values = vae.decode(z).sample(noise)[0, 0].cpu().numpy()
            inputs, codes = self.codec_.inputs(values, None), z[0, 0].cpu().numpy()
            there, back = both_log_weights(vae, values, inputs, codes, steps, (seed, 0), device)
        uniform = None
        if self.codec_.draws_cells_:
            uniform = np.random.RandomState(seed).random_sample(values.shape)
        rows = self.codec_.decode(values, None, uniform)
        # What is drawn may be rounded in the table; the bounds are those of what was drawn.
        units = self._in_units(rows, lambda encoded: np.zeros((len(encoded.values), 1)))
        lower, upper = Estimate.of(there), Estimate.of(back)
        _warn_of_few_chains(asker, steps, np.minimum(lower.effective_size, upper.effective_size))
        return rows, lower.log_mean + units, units - upper.log_mean

    def _members(self, chosen=None) -> Iterator[Any]:
        """Models of the stack one by one, whose weights take no gradient."""
        whole = self.vae_.to(self._device())
        for member in range(whole.n_members) if chosen is None else chosen:
            vae = copy.deepcopy(whole)
            if vae.n_members > 1:
                vae.select(torch.tensor([member]))
            yield vae.requires_grad_(False)

    def _check_anneals(self, asker: str) -> None:
        self._check_has_scores(asker)
        self._check_density(asker)
        self._check_no_classes(asker)

    def _check_density(self, what: str) -> None:
        posterior = self.vae_.posterior
        if not posterior.has_density or posterior.is_discrete:
            lacks = "has categories" if posterior.is_discrete else "has none"
            raise ValueError(
                f"{what} needs a density over codes, and the posterior of this "
                f"{type(self).__name__}, {posterior!r}, {lacks}. Use posterior='normal'."
            )

    def _check_no_classes(self, what: str) -> None:
        if self.vae_.supervision is not None and self.vae_.supervision.of_classes:
            raise ValueError(
                f"{what} sums over codes under one class, and this {type(self).__name__} has "
                "several. Use a model with supervision=None, or with the class among its columns."
            )


def _course(asker: str, start, **numbers) -> Course:
    if not isinstance(start, str) or start not in STARTS:
        raise ValueError(f"{asker} expects start to be one of {sorted(STARTS)}, got {start!r}.")
    return Course(start, **{name: check_count(asker, name, n) for name, n in numbers.items()})


def _warn_of_few_chains(asker: str, course: Course, size: np.ndarray) -> None:
    if course.n_chains == 1 or np.median(size) >= FEW_CHAINS:
        return
    warnings.warn(
        f"{asker}: half of the rows rest on fewer than {np.median(size):.1f} of "
        f"{course.n_chains} chains, and may be off by nats. Raise n_temperatures.",
        UserWarning,
        stacklevel=level_of_caller(),
    )
