"""A model of rows that are sequences, each step with a code of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from .._component import Shapes
from .._pass import Batch, Pass
from ..conditioning.shared_noise import SharedNoise
from ..distributions import Normal
from ..divergences import kl
from ..noise import FixedDraws, Noise
from ..vae import VAE
from .distributions import CellsOfSequence, CodesOfSequence


class Steps(NamedTuple):
    """Rows step by step.

    Parameters
    ----------
    cells : Tensor (members, 1, rows, steps, features)
        0 where they are not seen.
    seen : Tensor of bool, likewise, or None
        Which cells are observed; None where all are.
    """

    cells: Tensor
    seen: Tensor | None


class Walk(NamedTuple):
    """What one way through the steps of rows gives.

    Parameters
    ----------
    codes : Tensor (members, draws, rows, steps * latents)
        In units of the prior of each step.
    posterior : Normal
        Of these, each given those before it, in the same units.
    parameters : Tensor (members, draws, rows, n_parameters)
        Of the cells of the rows, each step given the code and what was before.
    cells : Tensor (members, draws, rows, steps, features)
        The rows with the cells that were not seen.
    """

    codes: Tensor
    posterior: Normal
    parameters: Tensor
    cells: Tensor


class _Way:
    """What is kept of each step."""

    def __init__(self) -> None:
        self.codes: list[Tensor] = []
        self.loc: list[Tensor] = []
        self.log_scale: list[Tensor] = []
        self.cells: list[Tensor] = []
        self.read: list[Tensor] = []

    def append(self, *parts: Tensor) -> None:
        """Keep a step, in the order of the lists."""
        for kept, part in zip(vars(self).values(), parts):
            kept.append(part)

    def walk(self, network, n_steps: int) -> Walk:
        """The whole way, of which the model knows so many steps."""
        codes, loc, log_scale = (
            torch.cat(part[:n_steps], -1) for part in (self.codes, self.loc, self.log_scale)
        )
        parameters = network.row(torch.stack(self.read[:n_steps], -2))
        return Walk(codes, Normal(loc, log_scale), parameters, torch.stack(self.cells, -2))


class SequentialVAE(VAE):
    """A VAE whose encoder and decoder take turns: q(z_t | x_t, past), then p(x_t | z_t, past).

    The codes of a row are those of its steps in units of the prior p(z_t | past), which is
    learned: one after the other they are N(0, I) before the row is seen.  Whatever is to be
    known of cells given codes, or of codes given cells, takes a walk through the steps.
    """

    calibrates_codes = False

    def build(self, shapes: Shapes, noise: Noise) -> SequentialVAE:
        """Create the weights, with as many codes as steps."""
        self._check_parts(shapes)
        self.view = None
        self.n_steps = self.network.steps_of(shapes)
        n_components = shapes.n_components
        super().build(replace(shapes, n_components=self.n_steps * n_components), noise)
        self.n_continuous = n_components
        return self

    def _check_parts(self, shapes: Shapes) -> None:
        if shapes.n_conditions:
            raise ValueError(
                f"{self.network!r} has no place for conditions. Use condition=None, or "
                "network='recurrent'."
            )
        for axis in ("posterior", "prior"):
            if not getattr(self, axis).closed_form:
                raise ValueError(
                    f"{self.network!r} has a normal prior and a normal posterior at every step, "
                    f"and {getattr(self, axis)!r} is another one. Use {axis}='normal'."
                )
        for axis in ("penalty", "supervision", "missingness"):
            if getattr(self, axis) is not None:
                raise ValueError(
                    f"{self.network!r} has codes at every step, and {axis}="
                    f"{getattr(self, axis)!r} asks for one per row. Set {axis}=None."
                )
        if self.view is not None and (self.view.explains_others or self.view.redraws):
            raise ValueError(
                f"{self.network!r} explains the row that it sees, and {self.view!r} shows it "
                "another one. Use view=None."
            )

    def steps_of(self, values: Tensor, mask: Tensor | None) -> Steps:
        """Cells ``(..., columns)`` step by step."""
        seen = None if mask is None else self.network.steps(mask)
        return Steps(self.network.steps(values), seen)

    def infer(
        self, inputs: Tensor, network=None, codes: Tensor | None = None, mask: Tensor | None = None
    ) -> CodesOfSequence:
        """Posterior of the codes of ``inputs (members, 1, rows, n_inputs)``."""
        n_cells = self.network.n_cells
        if mask is None and inputs.shape[-1] > n_cells:
            mask = inputs.new_ones(*inputs.shape[:-1], n_cells)
            mask[..., list(self.network.indicated)] = inputs[..., n_cells:]
            mask = mask > 0.5
        return CodesOfSequence(self, self.steps_of(inputs[..., :n_cells], mask))

    def decoded(self, z: Tensor, conditions: Tensor | None = None, network=None) -> Tensor:
        """Parameters of the cells, each step going on from the best values of those before."""
        return self.given_codes(z, self._nothing(z)).parameters

    def decode(self, z: Tensor, conditions: Tensor | None = None, network=None) -> CellsOfSequence:
        """Distribution of the cells given codes ``(members, draws, rows, steps * latents)``."""
        return CellsOfSequence(self, z, self._nothing(z))

    def parameters_of(self, batch: Batch, noise: Noise, n_draws: int) -> Tensor:
        """Parameters of the cells of rows, for draws of their codes, given all steps before."""
        return self.drawn_codes(self.steps_of(batch.values, batch.mask), noise, n_draws).parameters

    def forward(
        self, batch: Batch, noise: Noise | FixedDraws, n_draws: int = 1, network=None
    ) -> Pass:
        """Take the rows step by step."""
        walk = self.drawn_codes(self.steps_of(batch.values, batch.mask), noise, n_draws)
        likelihood, prior = self.likelihood(walk.parameters), self.codes()
        return Pass(
            log_likelihood=likelihood.log_prob_rows(batch.values, batch.mask),
            kl=kl(walk.posterior, prior, walk.codes),
            posterior=walk.posterior,
            prior=prior,
            likelihood=likelihood,
            z=walk.codes,
            weights=batch.weights,
            batch=batch,
            model=self,
        )

    # -- walks ----------------------------------------------------------------------------

    def drawn_codes(
        self, steps: Steps, noise: Noise | FixedDraws, n_draws: int, n_more: int = 0,
        draws_end: bool = True,
    ) -> Walk:  # fmt: skip
        """Walk with codes from their posteriors, and ``n_more`` steps behind those of the model.

        Cells that are not seen are drawn; behind the end of a row they may be the best values.
        """
        n_rows = steps.cells.shape[2]
        drawn = noise.normal(n_draws, n_rows, self.n_latents)
        per_step = drawn.unflatten(-1, (self.n_steps, -1))
        if steps.seen is None and not n_more:
            return self._seen_walk(steps.cells, n_draws, per_step)
        if n_more:
            further = noise.normal(n_draws, n_rows, n_more * self.n_continuous)
            per_step = torch.cat([per_step, further.unflatten(-1, (n_more, -1))], -2)

        def draw(t: int, loc: Tensor, log_scale: Tensor) -> Tensor:
            return torch.addcmul(loc, log_scale.exp(), per_step[..., t, :])

        source = noise if isinstance(noise, Noise) else self.shared_noise(steps.cells)
        return self._walk(steps, draw, n_draws, source, n_more, draws_end=draws_end)

    def mean_codes(self, steps: Steps) -> Walk:
        """Walk with the means of the codes and the best values of cells that are not seen."""
        if steps.seen is None:
            return self._seen_walk(steps.cells, 1, None)
        return self._walk(steps, lambda t, loc, log_scale: loc, 1, None)

    def given_codes(
        self, codes: Tensor, steps: Steps, noise: Noise | None = None, judged: bool = False
    ) -> Walk:
        """Walk with these codes; cells that are not seen are drawn, or are the best values.

        The posteriors are those of the codes only where these are to be ``judged``.
        """
        per_step = codes.unflatten(-1, (self.n_steps, -1))

        def draw(t: int, loc: Tensor, log_scale: Tensor) -> Tensor:
            return per_step[..., t, :]

        return self._walk(steps, draw, codes.shape[1], noise, judged=judged)

    def log_weights(self, walk: Walk, batch: Batch) -> Tensor:
        """Log p(x_t, z_t | past) - log q(z_t | x_t, past), ``(members, draws, rows, steps)``."""
        log_prob = self.likelihood(walk.parameters).log_prob(batch.values)
        if batch.mask is not None:
            log_prob = torch.where(batch.mask, log_prob, 0.0)
        odds = self.codes().log_prob(walk.codes) - walk.posterior.log_prob(walk.codes)
        per_code = odds.unflatten(-1, (self.n_steps, -1))
        return self.network.steps(log_prob).sum(-1) + per_code.sum(-1)

    def shared_noise(self, like: Tensor) -> SharedNoise:
        """Draws of cells that all rows share, so that a result depends on the row alone."""
        return SharedNoise([0] * self.n_members, like.device)

    def _nothing(self, codes: Tensor) -> Steps:
        """As many rows as there are of codes, of which nothing is seen."""
        shape = *codes.shape[:1], 1, codes.shape[2], self.n_steps, self.network.step_width
        return Steps(
            codes.new_zeros(shape), torch.zeros(shape, dtype=torch.bool, device=codes.device)
        )

    def _seen_walk(self, cells: Tensor, n_draws: int, noise: Tensor | None) -> Walk:
        """Walk through rows without gaps, codes drawn from their posteriors, or their means.

        Only what the next step needs is found step by step, all else of all steps at once.
        """
        network, take = self.network, self.network.taker()
        cells = cells.expand(self.n_members, n_draws, -1, -1, -1)
        shown = network.shown(cells, None)
        state = network.start_state(n_draws, cells.shape[2])
        kept = []
        for t, x in enumerate(cells.unbind(-2)):
            known = network.known(state)
            loc, log_scale = self._normal(network.see(shown[..., t, :], known))
            z = loc if noise is None else torch.addcmul(loc, log_scale.exp(), noise[..., t, :])
            kept.append((known, loc, log_scale, z))
            state = take(x, z, state)
        known, loc, log_scale, z = (torch.cat(part, 2) for part in zip(*kept))
        mean, log_spread = self._normal(network.expect(known))
        unit = torch.exp(-log_spread)

        def by_row(of_steps: Tensor) -> Tensor:
            return torch.cat(of_steps.chunk(self.n_steps, 2), -1)

        parts = (z - mean) * unit, (loc - mean) * unit, log_scale - log_spread
        codes, loc, log_scale = (by_row(part) for part in parts)
        read = network.emit(z, known).chunk(self.n_steps, 2)
        return Walk(codes, Normal(loc, log_scale), network.row(torch.stack(read, -2)), cells)

    def _walk(
        self, steps: Steps, draw: Callable[[int, Tensor, Tensor], Tensor], n_draws: int,
        noise: Noise | None, n_more: int = 0, judged: bool = True, draws_end: bool = True,
    ) -> Walk:  # fmt: skip
        """Walk through any rows, filling what is not seen on the way."""
        network, take, way = self.network, self.network.taker(), _Way()
        state = network.start_state(n_draws, steps.cells.shape[2])
        for t in range(self.n_steps + n_more):
            known, slot = network.known(state), min(t, self.n_steps - 1)
            mean, log_spread = self._normal(network.expect(known))
            x = steps.cells[..., slot, :]
            there = None if steps.seen is None else steps.seen[..., slot, :]
            if t >= self.n_steps:
                there = torch.zeros_like(x, dtype=torch.bool)
            loc = log_scale = torch.zeros_like(mean)
            if judged:
                told = self._normal(network.see(network.shown(x, there), known))
                # A step without a cell tells nothing but what was expected.
                some = True if there is None else there.any(-1, keepdim=True)
                some = torch.as_tensor(some, device=x.device)
                loc = torch.where(some, (told[0] - mean) * torch.exp(-log_spread), loc)
                log_scale = torch.where(some, told[1] - log_spread, log_scale)
            e = draw(t, loc, log_scale)
            z = torch.addcmul(mean, log_spread.exp(), e)
            read = network.emit(z, known)
            if there is not None:
                guessed = self._guessed(read, slot, noise)
                if not draws_end:
                    best = self._guessed(read, slot, None)
                    goes_on = _seen_behind(steps, t)
                    guessed = best if goes_on is None else torch.where(goes_on, guessed, best)
                x = torch.where(there, x, guessed)
            x = x.expand(*z.shape[:3], -1)
            way.append(e, loc, log_scale, x, read)
            state = take(x, z, state)
        return way.walk(network, self.n_steps)

    def _normal(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the standard deviation of a normal of one step."""
        bound = self.posterior.closed_form
        loc, raw = parameters.chunk(2, -1)
        return loc, bound * torch.tanh(raw / bound)

    @torch.no_grad()
    def _guessed(self, read: Tensor, slot: int, noise: Noise | None) -> Tensor:
        """Cells of a step, drawn or at their best."""
        row = self.likelihood(self.network.row(read.unsqueeze(-2), slot))
        cells = row.point if noise is None else row.sample(noise)
        return self.network.steps(cells)[..., slot, :]


def _seen_behind(steps: Steps, t: int) -> Tensor | None:
    """Which rows have an observed cell behind a step; None where none can have."""
    if steps.seen is None or t + 1 >= steps.seen.shape[-2]:
        return None
    return steps.seen[..., t + 1 :, :].any(-1).any(-1, keepdim=True)
