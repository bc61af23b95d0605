"""Log p(row) of encoded tables, chain by chain, in chunks of rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .. import inference
from ..noise import Noise
from .bridge import N_PILOTS, Bridge, Course
from .evidence import Evidence

# Rows at once, whatever their number: a chunk has random numbers of its own, so that those of a
# row depend on its place alone.
ROWS_AT_ONCE = 64


class Estimate(NamedTuple):
    """Log of a mean of weights per row, and how far it is to be relied on.

    Parameters
    ----------
    log_mean : ndarray (rows,)
    standard_error : ndarray (rows,)
    effective_size : ndarray (rows,)
        Chains that would tell as much had they equal weights.
    """

    log_mean: np.ndarray
    standard_error: np.ndarray
    effective_size: np.ndarray

    @classmethod
    def of(cls, log_weight: np.ndarray) -> Estimate:
        """Of log-weights ``(rows, chains)``.

        Examples
        --------
        >>> import numpy as np
        >>> from skvae.conditioning.marginals import Estimate
        >>> Estimate.of(np.log([[1.0, 3.0]])).log_mean.round(3)
        array([0.693])
        """
        n_chains = log_weight.shape[1]
        largest = log_weight.max(1, keepdims=True)
        weight = np.exp(log_weight - largest)
        size = weight.sum(1) ** 2 / np.square(weight).sum(1)
        excess = np.maximum(1.0 / size - 1.0 / n_chains, 0.0)
        error = np.sqrt(excess * n_chains / max(n_chains - 1, 1))
        return cls(largest[:, 0] + np.log(weight.mean(1)), error, size)


def log_weights(
    vae, encoded, course: Course, seeds: tuple[int, ...], first: int, device: torch.device
) -> np.ndarray:
    """Log-weights of chains whose mean has the expectation p(row), ``(rows, chains)``.

    Parameters
    ----------
    vae : VAE
        Of one member, in evaluation.
    encoded : Encoded
        Rows.
    course : Course
    seeds : tuple of int
        Of the random numbers.
    first : int
        Place of the first row in a table that these are a part of.
    device : torch.device
    """

    def weigh(
        values: Tensor, mask: Tensor | None, inputs: Tensor, places: Tensor
    ) -> tuple[Tensor, ...]:
        noise = _noise_at(places, seeds)
        log_weight, _ = Bridge(Evidence(vae, values, mask, inputs), noise, course).forth()
        return (log_weight[0].T,)

    arrays = [*encoded, _places(first, len(encoded.values))]
    (found,) = inference.in_chunks(weigh, arrays, device, _rows_at_once(vae, course))
    return found


def both_log_weights(
    vae,
    values: np.ndarray,
    inputs: np.ndarray,
    codes: np.ndarray,
    course: Course,
    seeds: tuple[int, ...],
    device: torch.device,
) -> tuple[np.ndarray, np.ndarray]:
    """Log-weights of rows whose codes are known, there and back, ``(rows, chains)`` each.

    The mean of the latter has the expectation 1 / p(row).

    Parameters
    ----------
    vae, course, seeds, device
        As of ``log_weights``.
    values, inputs : ndarray (rows, width)
        Rows drawn given ``codes``, all of whose cells are observed.
    codes : ndarray (rows, n_components)
        Drawn from the prior.
    """

    def weigh(values: Tensor, inputs: Tensor, z: Tensor, places: Tensor) -> tuple[Tensor, ...]:
        noise = _noise_at(places, seeds)
        bridge = Bridge(Evidence(vae, values, None, inputs), noise, course)
        there, steps = bridge.forth()
        return there[0].T, bridge.back(z, steps)[0].T

    arrays = [values, inputs, codes, _places(0, len(values))]
    there, back = inference.in_chunks(weigh, arrays, device, _rows_at_once(vae, course))
    return there, back


def _rows_at_once(vae, course: Course) -> int:
    n_decoded = N_PILOTS + course.n_chains
    return min(ROWS_AT_ONCE, inference.chunk_rows(n_decoded, vae.likelihood.n_parameters))


def _places(first: int, n_rows: int) -> np.ndarray:
    return np.arange(first, first + n_rows)[:, None]


def _noise_at(places: Tensor, seeds: tuple[int, ...]) -> Noise:
    """Random numbers of a chunk, which a place tells from others."""
    words = np.random.SeedSequence([*seeds, int(places[0, 0, 0, 0])]).generate_state(1)
    return Noise([int(words[0])], places.device)
