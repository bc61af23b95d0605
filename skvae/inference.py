"""Encoding, decoding and scoring in parts of a table and chunks of fixed shape.

Chunks are padded to one of a few numbers of rows, so that the result for a row depends on
neither its neighbours nor how many rows are asked for at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.sparse import issparse
from torch import Tensor

from ._memory import in_parts
from ._pass import Batch, Pass
from .arrays import wide
from .gaussian_score import GaussianScore
from .noise import FixedDraws, Noise, Tempered
from .vae import VAE

CHUNK_ROWS = 2048
MIN_CHUNK_ROWS = 32
# Whole chunks; enough to forget what the check of a table costs, few enough for their copies.
PART_ROWS = 15 * CHUNK_ROWS
# Of wide tables fewer rows, so that memory does not grow with the columns.
PART_NUMBERS = 1 << 20
# Far out is far out: beyond this, sums of weighted codes would overflow.
LARGEST_CODE = 1e9
# Each brings what is put into gaps closer to what the model makes of it; more change little.
ROUNDS_OF_COMPLETION = 2


def parts_of(
    X, encode: Callable[[Any], Any], width: int
) -> tuple[int, Iterator[tuple[slice, Any]]]:
    """Number of rows, and the slices of a table, each with what ``encode`` makes of it.

    An encoded row is of ``width`` numbers.  A long array of numbers is never copied as a whole,
    and a sparse matrix never made dense as a whole; any other table is one part.
    """
    if issparse(X):
        return X.shape[0], _parts_of_array(X.tocsr(), encode, max(width, X.shape[1]))
    if type(X) not in (np.ndarray, np.memmap) or X.ndim != 2 or X.dtype.kind not in "fiub":
        encoded = encode(X)
        return len(encoded.values), iter([(slice(None), encoded)])
    return len(X), _parts_of_array(np.asarray(X), encode, width)


def _parts_of_array(X, encode: Callable[[Any], Any], width: int) -> Iterator[tuple[slice, Any]]:
    n_rows = X.shape[0]
    at_once = max(min(PART_ROWS, PART_NUMBERS // width), 1)
    # Whole chunks, or the rest of each part would be padded to one.
    at_once = at_once - at_once % chunk_rows(width=width) or at_once
    for start in range(0, max(n_rows, 1), at_once):
        rows = slice(start, start + at_once)
        try:
            encoded = encode(X[rows])
        except (TypeError, ValueError) as error:
            failure = error
            break
        yield rows, encoded
    else:
        return
    # Only the error of the whole table says which of its rows is bad.
    encode(X)
    raise failure


def chunk_rows(n_draws: int = 1, width: int = 1) -> int:
    """Rows per chunk: a fixed number of decoded rows, fewer where these are wide."""
    decoded = min(CHUNK_ROWS, PART_NUMBERS // width)
    return max(decoded // n_draws // MIN_CHUNK_ROWS, 1) * MIN_CHUNK_ROWS


@torch.no_grad()
def in_chunks(
    function: Callable[..., tuple[Tensor, ...]], arrays: list, device, rows_at_once: int
) -> list[np.ndarray]:
    """Apply ``function`` to chunks of the arrays and join its results along the rows.

    ``function`` maps tensors ``(1, 1, rows, width)``, or None where an array is None, to
    tensors with rows first.
    """

    def results(start: int, stop: int, size: int) -> list[np.ndarray]:
        # A few rows need not fill a whole chunk; the kernels, and so the bits, are the same.
        size = min(size, max(2 * MIN_CHUNK_ROWS, 1 << (stop - start - 1).bit_length()))
        tensors = [_chunk(array, start, stop, size, device) for array in arrays]
        return [t[: stop - start].cpu().numpy() for t in function(*tensors)]

    parts = in_parts(results, len(arrays[0]), rows_at_once)
    return [np.concatenate(part) for part in zip(*parts)]


def _chunk(array, start: int, stop: int, size: int, device) -> Tensor | None:
    if array is None:
        return None
    part = torch.as_tensor(array[start:stop], device=device)
    if stop - start < size:
        padded = torch.empty(size, part.shape[1], dtype=part.dtype, device=device)
        padded[: stop - start], padded[stop - start :] = part, 0
        part = padded
    return part[None, None]


def encode(
    vae: VAE, inputs: np.ndarray, device, mask: np.ndarray | None = None,
    statistics: Sequence[str] = ("mean", "stddev"),
) -> list[np.ndarray]:  # fmt: skip
    """Statistics of the posterior of the first member, each ``(rows, n_components)``.

    ``mask (rows, columns)`` says which cells are observed, for models that must know.
    """

    def infer(x: Tensor, seen: Tensor | None) -> tuple[Tensor, ...]:
        posterior = vae.infer(x, mask=seen)
        return tuple(getattr(posterior, statistic)[0, 0] for statistic in statistics)

    return in_chunks(infer, [inputs, mask], device, chunk_rows(width=inputs.shape[1]))


def categories(vae: VAE, inputs: np.ndarray, device) -> np.ndarray:
    """Numbers of the discrete latents of the first member, ``(rows, categories)``."""

    def numbers(x: Tensor) -> tuple[Tensor, ...]:
        return (vae.categories(x)[0],)

    (found,) = in_chunks(numbers, [inputs], device, chunk_rows(width=inputs.shape[1]))
    return found


def decode(vae: VAE, z: np.ndarray, device, conditions: np.ndarray | None = None) -> np.ndarray:
    """Best value of each cell given codes, by the first member, ``(rows, columns)``.

    ``conditions (rows, n_conditions)`` are those of the rows, where the model has some.
    """

    def point(codes: Tensor, given: Tensor | None) -> tuple[Tensor, ...]:
        return (vae.decode(codes, given).point[0, 0],)

    codes = np.clip(z, -LARGEST_CODE, LARGEST_CODE).astype(np.float32)
    width = vae.likelihood.n_parameters
    (values,) = in_chunks(point, [codes, conditions], device, chunk_rows(width=width))
    return values


def completed(
    vae: VAE, values: np.ndarray, mask: np.ndarray, inputs: np.ndarray, device,
    to_inputs: Callable[[np.ndarray, None], np.ndarray],
) -> np.ndarray:  # fmt: skip
    """Inputs of rows whose missing cells hold what the first member puts there.

    What a row is taken for depends on what is in its gaps, and the other way round: both in
    turn, from ``inputs`` on.  ``to_inputs`` makes inputs of values, None of which is missing.
    """
    for _ in range(ROUNDS_OF_COMPLETION):
        best = decode(vae, encode(vae, inputs, device)[0], device)
        best = np.clip(best, -LARGEST_CODE, LARGEST_CODE)
        inputs = to_inputs(np.where(mask, values, best), None)
    return inputs


@torch.no_grad()
def sample(
    vae: VAE, n_rows: int, noise: Noise, conditions: np.ndarray | None = None,
    temperature: float = 1.0,
) -> np.ndarray:  # fmt: skip
    """Draw codes from the prior and cells from the likelihood, ``(rows, columns)``."""
    of_codes: Any = noise if temperature == 1.0 else Tempered(noise, temperature)

    def drawn(start: int, stop: int, size: int) -> np.ndarray:
        given = None
        if conditions is not None:
            given = torch.as_tensor(conditions[start:stop], device=noise.device)[None, None]
        z = vae.codes().sample(of_codes, stop - start)
        given = vae.drawn_conditions(noise, stop - start, given)
        return vae.decode(z, given).sample(noise)[0, 0].cpu().numpy()

    return np.concatenate(in_parts(drawn, n_rows, 64 * CHUNK_ROWS))


def log_marginal(
    vae: VAE, n_draws: int, device, noise: Noise | None = None
) -> Callable[..., np.ndarray]:
    """Importance-weighted log p(x) as a function of an encoded table or of its parts.

    Scores are ``(rows, members)``, in nats over the observed cells; units are those of the
    values.  The draws are the same for every row, unless a ``noise`` gives each row its own.
    """
    if noise is not None:
        return partial(_log_marginal, vae, noise, n_draws, device)
    draws = FixedDraws(n_draws, vae.n_latents, device)
    written_out = GaussianScore.of(vae, draws, n_draws)
    if written_out is None:
        return partial(_log_marginal, vae, draws, n_draws, device)
    log_factors = vae.posterior.log_factor.flatten().tolist()

    def score(encoded) -> np.ndarray:
        arrays = encoded.values, encoded.mask, encoded.inputs
        members = enumerate(log_factors)
        return np.stack([written_out(m, *arrays, [factor])[0] for m, factor in members], 1)

    return score


def bound(vae: VAE, n_draws: int, device) -> Callable[..., np.ndarray]:
    """The evidence lower bound, likewise, by fixed draws and the closed form of the KL term."""
    return partial(
        _by_pass, Pass.bound, vae, FixedDraws(n_draws, vae.n_latents, device), n_draws, device
    )


def _log_marginal(
    vae: VAE, draws: FixedDraws | Noise, n_draws: int, device, encoded
) -> np.ndarray:
    def of_pass(step: Pass) -> Tensor:
        return torch.logsumexp(step.log_weight(), 1) - math.log(n_draws)

    return _by_pass(of_pass, vae, draws, n_draws, device, encoded)


def _by_pass(
    of_pass: Callable[[Pass], Tensor], vae: VAE, draws: FixedDraws | Noise, n_draws: int, device,
    encoded,
) -> np.ndarray:  # fmt: skip
    shared = encoded.inputs is encoded.values

    def rows(values: Tensor, mask: Tensor | None, inputs: Tensor | None) -> tuple[Tensor, ...]:
        batch = Batch(values if inputs is None else inputs, values, mask, None)
        return (of_pass(vae(_for_members(batch, vae.n_members), draws, n_draws)).T,)

    arrays = [encoded.values, encoded.mask, None if shared else encoded.inputs]
    width = vae.likelihood.n_parameters
    (scores,) = in_chunks(rows, arrays, device, chunk_rows(n_draws, width))
    return scores


def residuals(vae: VAE, n_continuous: int, device, encoded) -> np.ndarray:
    """What the model leaves of each cell, averaged over members, ``(rows, columns)``.

    The first ``n_continuous`` columns minus what the decoder puts in their place; of the others
    the nats that they are unlikely by.  A missing cell leaves 0.
    """
    shared = encoded.inputs is encoded.values

    def apart(values: Tensor, mask: Tensor | None, inputs: Tensor | None) -> tuple[Tensor, ...]:
        batch = Batch(values if inputs is None else inputs, values, mask, None)
        x = _for_members(batch, vae.n_members).inputs
        cells = vae.likelihood(wide(vae.decoded(vae.infer(x).mean, vae.conditions(x))))
        values = wide(values)
        numbers = (values - cells.point)[..., :n_continuous]
        surprise = -cells.log_prob(values)[..., n_continuous:]
        apart = torch.cat([numbers, surprise], -1).mean((0, 1))
        return ((apart if mask is None else apart * mask[0, 0]).float(),)

    arrays = [encoded.values, encoded.mask, None if shared else encoded.inputs]
    (rows,) = in_chunks(apart, arrays, device, chunk_rows(width=vae.likelihood.n_parameters))
    return rows


def _for_members(batch: Batch, n_members: int) -> Batch:
    if n_members == 1:
        return batch
    inputs = batch.inputs.expand(n_members, -1, -1, -1)
    return Batch(inputs, batch.values, batch.mask, batch.weights)
