"""The second part of training: codes stay where they are, the density follows the bound.

Codes that tell most of a row are found with the KL term weighed lightly, noise on the inputs and
one noise for all columns.  None of that makes the best density.  Afterwards decoder, noises and
widths of the posterior are trained on the bound itself, the locations of all codes unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from .settings import Settings

# Of the epochs, and of the step size, of the first part.
SHARE_OF_EPOCHS = 0.2
SHARE_OF_RATE = 1 / 3


def refinable(vae) -> bool:
    """Whether the locations of codes can be held while the rest is trained."""
    if vae.penalty is not None and not vae.penalty.only_locates:
        return False
    plain = vae.missingness is None and vae.posterior.has_density
    return plain and bool(vae.network.locating(vae.n_latents))


def refined(settings: Settings) -> Settings:
    """How to train the second part, given how the first one was."""
    return replace(
        settings,
        max_iter=max(round(SHARE_OF_EPOCHS * settings.max_iter), 1),
        learning_rate=SHARE_OF_RATE * settings.learning_rate,
        n_iter_no_change=max(settings.n_iter_no_change // 2, 1),
        # A decay of weights whose gradient is held at 0 would move the codes.
        weight_decay=0.0,
    )


@contextmanager
def codes_held(vaes: Sequence) -> Iterator[None]:
    """Within it, the codes of these models do not move and encoders see rows as they are.

    What a view draws anew it goes on drawing, as that is what rows are.
    A penalty has done its work: what it asks of codes holds as long as these do.
    """
    parts = [(vae.view, vae.penalty) for vae in vaes]
    try:
        for vae in vaes:
            vae.view = vae.view if vae.view is not None and vae.view.redraws else None
            vae.penalty = None
            vae.holds_codes = True
        yield
    finally:
        for vae, (view, penalty) in zip(vaes, parts):
            vae.view, vae.penalty, vae.holds_codes = view, penalty, False
