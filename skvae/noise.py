"""Randomness as an argument: one generator per member, never the global one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.special import ndtri
from scipy.stats import qmc
from torch import Tensor

POOL = 1 << 15
LARGEST_RATE = 2.0**62


class Noise:
    """A source of random numbers with one generator per member of a stack.

    A member draws the same numbers whether it is alone or in a stack.  Normal numbers come
    from a pool that is filled in one call, because many small draws cost more than one.

    Parameters
    ----------
    seeds : sequence of int
        One seed per member.
    device : str or torch.device
        Where the numbers are drawn.

    Examples
    --------
    >>> from skvae.noise import Noise
    >>> stack, alone = Noise([3, 7]), Noise([7])
    >>> bool((stack.normal(2, 4)[1] == alone.normal(2, 4)[0]).all())
    True
    """

    def __init__(self, seeds: Sequence[int], device: str | torch.device = "cpu"):
        self.device = torch.device(device)
        self.generators = [torch.Generator(self.device).manual_seed(int(s)) for s in seeds]
        self._pool = torch.empty(len(seeds), 0, device=self.device)
        self._used = 0

    @property
    def n_members(self) -> int:
        """Number of members."""
        return len(self.generators)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers, ``(members, *shape)``."""
        size = 1
        for length in shape:
            size *= length
        if self._used + size > self._pool.shape[1]:
            self._pool = self._each(
                lambda g: torch.randn(max(size, POOL), generator=g, device=self.device)
            )
            self._used = 0
        start, self._used = self._used, self._used + size
        return self._pool.narrow(1, start, size).view(self.n_members, *shape)

    def uniform(self, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1), ``(members, *shape)``."""
        return self._each(lambda g: torch.rand(shape, generator=g, device=self.device))

    def permutation(self, n: int) -> Tensor:
        """One random order of ``n`` rows per member, ``(members, n)``."""
        return self._each(lambda g: torch.randperm(n, generator=g, device=self.device))

    def gamma(self, concentration: Tensor) -> Tensor:
        """Gamma numbers of rate 1 for concentrations ``(members, ...)``."""
        return torch.stack(
            [torch._standard_gamma(c, generator=g) for c, g in zip(concentration, self.generators)]
        )

    def poisson(self, rate: Tensor) -> Tensor:
        """Poisson counts for rates ``(members, ...)``."""
        # Counts are drawn as integers, which end somewhere.
        rates = rate.clamp_max(LARGEST_RATE)
        return torch.stack([torch.poisson(r, generator=g) for r, g in zip(rates, self.generators)])

    def seeds(self) -> list[int]:
        """One number per member that a source of other numbers may start from."""
        drawn = self._each(lambda g: torch.randint(1 << 62, (), generator=g, device=self.device))
        return drawn.tolist()

    @classmethod
    def joined(cls, sources: Sequence[Noise]) -> Noise:
        """One source of the members of all, which must not have drawn from their pools apart."""
        whole = copy.copy(sources[0])
        whole.generators = [g for source in sources for g in source.generators]
        whole._pool = torch.cat([source._pool for source in sources])
        return whole

    def select(self, members: Sequence[int]) -> Noise:
        """The source of these members, each where it is; this one must not be used again."""
        chosen = copy.copy(self)
        chosen.generators = [self.generators[i] for i in members]
        chosen._pool = self._pool[list(members)]
        return chosen

    def state(self) -> dict[str, np.ndarray]:
        """Where the source is, as arrays."""
        used = np.array(self._used)
        return {"generators": self.places(), "pool": self._pool.cpu().numpy(), "used": used}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Go on from a state of a source of as many members."""
        self.load_places(state["generators"])
        self._pool = torch.tensor(state["pool"], device=self.device)
        self._used = int(state["used"])

    def places(self) -> np.ndarray:
        """States of the generators alone, ``(members, bytes)``."""
        return np.stack([g.get_state().numpy() for g in self.generators])

    def load_places(self, places: np.ndarray) -> None:
        """Put the generators where they were."""
        for generator, place in zip(self.generators, places):
            generator.set_state(torch.tensor(place))

    def _each(self, draw: Callable[[torch.Generator], Tensor]) -> Tensor:
        return torch.stack([draw(g) for g in self.generators])


class Tempered:
    """A source whose normal numbers are narrower or wider; all others are as they are.

    Parameters
    ----------
    noise : Noise
        The source.
    temperature : float
        Standard deviation of the normal numbers; 0 leaves nothing of them.
    """

    def __init__(self, noise: Noise, temperature: float):
        self._noise, self._temperature = noise, temperature

    def normal(self, *shape: int) -> Tensor:
        """Normal numbers, ``(members, *shape)``."""
        return self._temperature * self._noise.normal(*shape)

    def __getattr__(self, name: str):
        return getattr(self._noise, name)


class FixedDraws:
    """The same draws for every row and every member: scoring that depends on the row alone.

    The draws are a shifted Sobol sequence mapped to normal numbers, which estimates an
    expectation better than as many independent draws.

    Parameters
    ----------
    n_draws : int
        Draws per row.
    n_components : int
        Number of latent dimensions.
    device : str or torch.device
        Where the numbers are kept.
    seed : int, default=0
        Which draws: that of the shift.
    n_rows : int, default=1
        So many rows have a shift of their own; of one, it is that of every row.
    """

    def __init__(
        self,
        n_draws: int,
        n_components: int,
        device: str | torch.device = "cpu",
        seed: int = 0,
        n_rows: int = 1,
    ):
        self._draws = _sobol_normal(n_draws, n_rows, n_components, seed).to(device)

    def normal(self, n_draws: int, n_rows: int, n_components: int) -> Tensor:
        """Standard normal numbers ``(1, n_draws, rows, n_components)``, of 1 row for all."""
        return self._draws[None, :n_draws, :, :n_components]

    def of_rows(self, rows: slice) -> FixedDraws:
        """Those of some of the rows that have their own."""
        part = copy.copy(self)
        part._draws = self._draws[:, rows]
        return part


def _sobol_normal(n_draws: int, n_rows: int, n_components: int, seed: int) -> Tensor:
    # A shifted lattice point is never 0 or 1, and the shift keeps each draw uniform.
    random, n_ordered = np.random.default_rng(seed), min(n_components, qmc.Sobol.MAXDIM)
    points = qmc.Sobol(n_ordered, scramble=False).random_base2((n_draws - 1).bit_length())
    shift = random.random((n_rows, n_components))
    # Dimensions beyond the last of the sequence have independent draws.
    beyond = random.random((n_draws, n_components - n_ordered))
    points = np.concatenate([points[:n_draws], beyond], 1)
    uniform = ((points[:, None] + shift) % 1.0).clip(1e-9, 1 - 1e-9)
    return torch.as_tensor(ndtri(uniform), dtype=torch.float32)
