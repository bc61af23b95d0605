"""Tokens one after the other, each given the code and the tokens before it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..noise import Noise
from ._base import Distribution


class TokenSequence(Distribution):
    """Sequences whose tokens have probabilities that depend on those before them.

    ``log_prob`` shows each token those that came before it, so that their sum is the exact
    probability of a row.  A missing token is shown as such to the later ones.

    Parameters
    ----------
    context : Tensor (members, draws, rows, numbers)
        What the code says of the row.
    speller : TokenSequence of skvae.likelihoods
        Gives the next token.
    hidden : Tensor of bool (members, draws, rows, columns) or None
        Tokens that are not shown to later ones.
    known : (Tensor, Tensor) or None
        Values, and which of them are given: drawing goes around them.
    """

    def __init__(
        self,
        context: Tensor,
        speller: Any,
        hidden: Tensor | None = None,
        known: tuple[Tensor, Tensor] | None = None,
    ):
        self.context = context
        self.speller = speller
        self.hidden = hidden
        self.known = known

    @property
    def probs(self) -> Tensor:
        """Probability of each token given the likeliest ones before it, ``(..., tokens)``."""
        return self._spoken(self._likeliest)[1].softmax(-1)

    @property
    def point(self) -> Tensor:
        """The likeliest token at each place, given those chosen before it."""
        return self._spoken(self._likeliest)[0].to(self.context.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        return self._log_prob(value, None)

    def log_prob_rows(self, value: Tensor, mask: Tensor | None) -> Tensor:
        log_prob = self._log_prob(value, mask)
        return (log_prob if mask is None else torch.where(mask, log_prob, 0.0)).sum(-1)

    def sample(self, noise: Noise) -> Tensor:  # type: ignore[override]
        return self._drawn(noise)[0].to(self.context.dtype)

    def drawn_around(self, noise: Noise) -> tuple[Tensor, Tensor] | None:
        """Sequences, and by how much likelier the known tokens are in them than on their own."""
        if self.known is None:
            return None
        value, mask = self.known
        tokens, logits = self._drawn(noise)
        spoken = logits.log_softmax(-1).gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
        weight = torch.where(mask, spoken, 0.0).sum(-1) - self.log_prob_rows(value, mask)
        return tokens.to(self.context.dtype), weight

    def given(self, value: Tensor, mask: Tensor | None) -> TokenSequence:
        """The same with known tokens, which later ones see.

        Earlier ones see them through the code alone, so that ``sample`` is of the exact
        conditional where the known tokens come first; elsewhere the weights of ``drawn_around``
        make it so.
        """
        mask = torch.ones_like(value, dtype=torch.bool) if mask is None else mask
        return TokenSequence(self.context, self.speller, self.hidden, (value, mask))

    def in_training(self, noise: Noise) -> TokenSequence:
        """Some tokens are hidden from later ones, which must learn of them from the code."""
        share = self.speller.word_dropout
        if not share:
            return self
        shape = (*self.context.shape[1:3], self.speller.n_places)
        hidden = noise.uniform(*shape) < share
        return TokenSequence(self.context, self.speller, hidden, self.known)

    def _log_prob(self, value: Tensor, mask: Tensor | None) -> Tensor:
        rows = torch.broadcast_shapes(self.context.shape[:3], value.shape[:3])
        shape = (*rows, self.speller.n_places)
        shown = tokens = value.long().expand(shape)
        for unseen in (None if mask is None else ~mask, self.hidden):
            if unseen is not None:
                shown = torch.where(unseen, self.speller.unseen, shown)
        context = self.context.expand(*rows, -1).flatten(1, 2)
        logits = self.speller.logits(context, shown.flatten(1, 2))
        surprise = F.cross_entropy(logits.flatten(0, -2), tokens.flatten(), reduction="none")
        return -surprise.view(shape)

    def _drawn(self, noise: Noise) -> tuple[Tensor, Tensor]:
        uniform = noise.uniform(*self.context.shape[1:3], self.speller.n_places).flatten(1, 2)

        def drawn(logits: Tensor, place: int) -> Tensor:
            below = logits.softmax(-1).cumsum(-1) < uniform[..., place, None]
            return below.sum(-1).clamp(max=logits.shape[-1] - 1)

        return self._spoken(drawn)

    def _spoken(self, choose: Callable[[Tensor, int], Tensor]) -> tuple[Tensor, Tensor]:
        """Tokens that are chosen one after the other, and the logits that they had."""
        shape, context = self.context.shape[:3], self.context.flatten(1, 2)
        known = self._known(shape)
        tokens, every, state, last = [], [], None, None
        for place in range(self.speller.n_places):
            logits, state = self.speller.step(context, place, last, state)
            last = choose(logits, place)
            if known is not None:
                last = torch.where(known[1][..., place], known[0][..., place], last)
            tokens.append(last)
            every.append(logits)
        chosen, logits = torch.stack(tokens, -1), torch.stack(every, -2)
        return chosen.unflatten(1, shape[1:]), logits.unflatten(1, shape[1:])

    def _known(self, shape: torch.Size) -> tuple[Tensor, Tensor] | None:
        if self.known is None:
            return None
        value, mask = (part.expand(*shape, -1).flatten(1, 2) for part in self.known)
        return value.long(), mask

    @staticmethod
    def _likeliest(logits: Tensor, place: int) -> Tensor:
        return logits.argmax(-1)
