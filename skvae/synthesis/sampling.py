"""Drawing rows until enough are accepted, and choosing those that count as real ones do."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..table.conditions import Conditions
from .balance import Balance
from .critic import Critic
from .drawing import draw
from .features import Features
from .model import GenerativeVAE
from .support import support

# So many rows are drawn at most for each that is asked for; the rest is then filled with the
# best of those that were not accepted.
MOST_DRAWN_PER_ROW = 60
# Candidates for each row where every row has a condition of its own.
DRAWS_PER_CONDITION = 16
FEWEST_AT_ONCE = 256
# Rows that agree with the counts of the table together, and how many they are chosen from for
# each: the more, the fewer they are.
BALANCED_AT_ONCE = 8192
LEAST_PER_ROW, MOST_PER_ROW, DRAWN_AT_LEAST = 2, 4, 2048
MOST_AT_ONCE = 65_536


class Sampler:
    """Rows of a generator, chosen by its critic.

    Parameters
    ----------
    codec : TableCodec
    vae : GenerativeVAE
    critic : Critic or None
    balance : Balance or None
    asker : str
        Who asks, for the errors.
    """

    def __init__(
        self,
        codec,
        vae: GenerativeVAE,
        critic: Critic | None,
        balance: Balance | None,
        asker: str,
    ):
        self.codec, self.vae, self.critic, self.asker = codec, vae, critic, asker
        self.balance, self.features = balance, Features(codec)

    def rows(self, n: int, given: Any, rng, device) -> tuple[Any, float]:
        """A table of ``n`` rows, and how many independent draws it is worth."""
        self.rng, self.device = rng, device
        if given is None or (isinstance(given, dict) and not given):
            # Parts of a table are balanced on their own, so that time grows with their number.
            sizes = map(len, np.array_split(np.empty(n), -(-n // BALANCED_AT_ONCE)))
            parts = [self._free(size) for size in sizes]
            cells, uniform = (np.concatenate(arrays) for arrays in list(zip(*parts))[:2])
            return self.codec.decode(cells, uniform=uniform), sum(part[2] for part in parts)
        conditions = Conditions(self.codec, given, self.asker)
        conditions.check_count(n)
        encoded = self.codec.encode(conditions.frame)
        known = np.ones(encoded.values.shape, dtype=bool) if encoded.mask is None else encoded.mask
        drawn = partial(self._accepted, n) if conditions.is_one else self._one_each
        cells, uniform, size = drawn(encoded.values, known)
        share = support(self.codec, self.vae, encoded, known, rng, device)
        table = self.codec.decode(cells, uniform=uniform)
        return conditions.put_into(table), size * float(share.mean())

    def _free(self, n: int) -> tuple[np.ndarray, np.ndarray, float]:
        """Rows without any condition, chosen among more of them."""
        shape = (1, self.codec.n_modelled_)
        values, known = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=bool)
        if self.balance is None:
            return self._accepted(n, values, known)
        per_row = min(max(DRAWN_AT_LEAST // n, LEAST_PER_ROW), MOST_PER_ROW)
        cells, uniform, size = self._accepted(per_row * n, values, known)
        kept = self.balance.choose(self.features.of_draws(cells, uniform), n, self.rng)
        return cells[kept], uniform[kept], min(size, float(n))

    def _drawn(self, values, known) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows, where their cells lie within bins, and the log-probability to accept each."""
        uniform = self.rng.uniform(size=values.shape)
        cells = draw(self.vae, values, known, self.rng, self.device)
        if self.critic is None:
            return cells, uniform, np.zeros(len(cells))
        weights = self.critic.log_weights(self.features.of_draws(cells, uniform))
        return cells, uniform, weights

    def _accepted(self, n: int, values, known) -> tuple[np.ndarray, np.ndarray, float]:
        """Rows under one condition by rejection, and by resampling where that takes too long."""
        kept: list[tuple] = []
        lost: list[tuple] = []
        n_kept, n_drawn = 0, 0
        while n_kept < n and n_drawn < MOST_DRAWN_PER_ROW * n + FEWEST_AT_ONCE:
            rate = max((n_kept + 1) / (n_drawn + 1), 1.0 / MOST_DRAWN_PER_ROW)
            size = int(np.clip(1.1 * (n - n_kept) / rate, FEWEST_AT_ONCE, MOST_AT_ONCE))
            size = size if self.critic is not None else n - n_kept
            shape = (size, values.shape[1])
            part = self._drawn(np.broadcast_to(values, shape), np.broadcast_to(known, shape))
            accepted = np.log(self.rng.uniform(size=size)) < part[2]
            kept.append(tuple(array[accepted] for array in part))
            lost.append(tuple(array[~accepted] for array in part))
            n_kept, n_drawn = n_kept + int(accepted.sum()), n_drawn + size
        cells, uniform, _ = (np.concatenate(arrays) for arrays in zip(*kept))
        if n_kept >= n:
            return cells[:n], uniform[:n], float(n)
        pool = [np.concatenate(arrays) for arrays in zip(*lost)]
        weight = np.exp(pool[2] - pool[2].max())
        chosen = self.rng.choice(len(weight), n - n_kept, p=weight / weight.sum())
        size = n_kept + min(weight.sum() ** 2 / (weight**2).sum(), n - n_kept)
        cells, uniform = (np.concatenate([a, b[chosen]]) for a, b in zip((cells, uniform), pool))
        order = self.rng.permutation(n)
        return cells[order], uniform[order], float(size)

    def _one_each(self, values, known) -> tuple[np.ndarray, np.ndarray, float]:
        """One row for each condition, chosen among several by their weights."""
        n_draws = 1 if self.critic is None else DRAWS_PER_CONDITION
        parts = self._drawn(np.repeat(values, n_draws, 0), np.repeat(known, n_draws, 0))
        log_weight = parts[2].reshape(-1, n_draws)
        gumbel = self.rng.gumbel(size=log_weight.shape)
        chosen = np.arange(len(values)) * n_draws + (log_weight + gumbel).argmax(1)
        return parts[0][chosen], parts[1][chosen], float(len(values))
