"""A model of rows that have classes, known for some of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ._component import Shapes
from ._pass import Batch, Pass
from .distributions import Distribution
from .divergences import kl
from .noise import FixedDraws, Noise
from .vae import VAE


@dataclass
class ClassPass(Pass):
    """A pass under every class; bounds weigh these by ``q(y|x)``, marginals sum over them.

    Where there is a penalty, codes and what is decoded from them are those of the known class or
    of the likeliest one, as penalties are of one code per row.

    Parameters
    ----------
    log_weights : Tensor (members, draws * classes, rows)
        Log p(x, y, z) - log q(z|x, y), whose sum of exponentials over classes and mean over
        draws estimates p(x).
    """

    log_weights: Any = None

    def log_weight(self) -> Tensor:
        """Log weights of draws under each class."""
        return self.log_weights


class SemiSupervisedVAE(VAE):
    """A VAE whose last conditions are the class of the row, summed over where it is unknown.

    ``inputs`` may lack the indicators of the classes, as those of new rows do.
    """

    def build(self, shapes: Shapes, noise: Noise) -> SemiSupervisedVAE:
        """Create the weights, with a condition per class."""
        penalty = self.penalty
        if penalty is not None and (penalty.needs_whole_table or penalty.replaces_cells):
            task = "places the code" if penalty.needs_whole_table else "judges the cells"
            raise ValueError(
                f"supervision={self.supervision!r} sums over classes, and penalty={penalty!r} "
                f"{task} of a row without one. Set penalty=None, or use a penalty that looks at "
                "codes, as 'mmd'."
            )
        # A penalty looks at a pass of its own, under one class per row.
        self.passes_twice = penalty is not None
        self.n_classes = len(self.supervision.shares)
        n_inputs, n_conditions = shapes.n_inputs, shapes.n_conditions
        wide = replace(
            shapes, n_inputs=n_inputs + self.n_classes, n_conditions=n_conditions + self.n_classes
        )
        super().build(wide, noise)
        return self

    def wide(self, inputs: Tensor) -> Tensor:
        """Inputs with the indicators of the classes, 0 where these are unknown."""
        lacking = self.n_inputs - inputs.shape[-1]
        return torch.nn.functional.pad(inputs, (0, lacking)) if lacking else inputs

    def log_classes(self, inputs: Tensor) -> Tensor:
        """Log q(y|x), ``(members, 1, rows, classes)``."""
        return self.supervision(inputs[..., : self.n_inputs - self.n_classes])

    def labelled(self, inputs: Tensor) -> Tensor:
        """Inputs with the likeliest class where it is unknown."""
        inputs = self.wide(inputs)
        row, known = inputs[..., : -self.n_classes], inputs[..., -self.n_classes :]
        likeliest = self.log_classes(row).argmax(-1)
        found = torch.nn.functional.one_hot(likeliest, self.n_classes).to(inputs.dtype)
        known = torch.where(known.sum(-1, keepdim=True) > 0, known, found)
        return torch.cat([row.expand(*known.shape[:-1], -1), known], -1)

    def infer(
        self, inputs: Tensor, network=None, codes: Tensor | None = None, mask: Tensor | None = None
    ) -> Distribution:
        """Posterior of the codes, given the class or the likeliest one."""
        return super().infer(self.labelled(inputs), network, codes)

    def categories(self, inputs: Tensor) -> Tensor:
        """Numbers of the discrete latents, given the class or the likeliest one."""
        return super().categories(self.labelled(inputs))

    def conditions(self, inputs: Tensor) -> Tensor | None:
        """Conditions of the rows, the class or the likeliest one among them."""
        return super().conditions(self.labelled(inputs))

    def drawn_conditions(self, noise: Noise, n_rows: int, given: Tensor | None) -> Tensor:
        """Conditions of new rows, with classes drawn from p(y) where they are not given."""
        if given is not None and given.shape[-1] == self.n_conditions:
            return given
        edges = self.supervision.log_prior.exp().cumsum(-1)
        place = torch.searchsorted(edges, noise.uniform(n_rows) * edges[:, -1:])
        drawn = torch.nn.functional.one_hot(place.clamp_max(self.n_classes - 1), self.n_classes)
        drawn = drawn.to(edges.dtype).unsqueeze(1)
        return drawn if given is None else torch.cat([given, drawn], -1)

    def forward(
        self, batch: Batch, noise: Noise | FixedDraws, n_draws: int = 1, network=None
    ) -> ClassPass:
        """Pass the rows under every class."""
        batch = self.drawn_anew(batch, noise)
        inputs = self.wide(batch.inputs)
        known = inputs[..., -self.n_classes :]
        # What a view does to a row may hide its class.
        log_q = self.log_classes(inputs)
        if self.training and self.view is not None:
            inputs = self.view(inputs, noise, self.n_noisy)
        every = self._under_every_class(inputs)
        posterior, prior = self.posterior(self.encoded(every, network)), self.codes()
        z = posterior.rsample(_Shared(noise, self.n_classes), n_draws)
        likelihood = self.decode(z, self.given(every), network)
        if self.training and isinstance(noise, Noise):
            likelihood = likelihood.in_training(noise)
        values, mask = self._repeated(batch.values), self._repeated(batch.mask)
        by_class = likelihood.log_prob_rows(values, mask).unflatten(-1, (self.n_classes, -1))
        nats = kl(posterior, prior, z).unflatten(2, (self.n_classes, -1))
        is_known = known.sum(-1) > 0
        share = torch.where(is_known.unsqueeze(-1), known, log_q.exp())
        by_row = share.transpose(-1, -2)
        log_likelihood = (by_class * by_row).sum(2) + self._class_terms(share, log_q, is_known)
        log_weights = None if self.training else self._weights(by_class, posterior, prior, z)
        if self.passes_twice:
            inputs = self.labelled(inputs)
            posterior = self.posterior(self.encoded(inputs))
            z = posterior.rsample(noise, n_draws)
            likelihood = self.decode(z, self.given(inputs))
        return ClassPass(
            log_likelihood=log_likelihood,
            kl=(nats * by_row.unsqueeze(-1)).sum(2),
            posterior=posterior,
            prior=prior,
            likelihood=likelihood,
            z=z,
            weights=batch.weights,
            batch=batch,
            model=self,
            log_weights=log_weights,
        )

    def _class_terms(self, share: Tensor, log_q: Tensor, is_known: Tensor) -> Tensor:
        """What classes add to the bound: log p(y), and the entropy of those that are unknown."""
        log_p = (share * self.supervision.log_prior[:, None, None]).sum(-1)
        agreement = (share * log_q).sum(-1)
        factor = self.supervision.label_factor if self.training else 0.0
        return log_p + torch.where(is_known, factor * agreement, -agreement)

    def _weights(self, by_class: Tensor, posterior, prior, z: Tensor) -> Tensor:
        odds = posterior.log_odds(prior, z).unflatten(-1, (self.n_classes, -1))
        weight = by_class + odds
        return (weight + self.supervision.log_prior[:, None, :, None]).flatten(1, 2)

    def _under_every_class(self, inputs: Tensor) -> Tensor:
        rows = self._repeated(inputs[..., : -self.n_classes])
        classes = torch.eye(self.n_classes, dtype=inputs.dtype, device=inputs.device)
        classes = classes.repeat_interleave(inputs.shape[2], 0)
        return torch.cat([rows, classes.expand(*rows.shape[:2], -1, -1)], -1)

    def _repeated(self, rows: Tensor | None):
        return None if rows is None else rows.repeat(1, 1, self.n_classes, 1)


class _Shared:
    """Draws that a row has under all classes, so that these differ by nothing else."""

    def __init__(self, noise: Noise | FixedDraws, n_classes: int):
        self.noise, self.n_classes = noise, n_classes

    def normal(self, n_draws: int, n_rows: int, n_components: int) -> Tensor:
        drawn = self.noise.normal(n_draws, n_rows // self.n_classes, n_components)
        return drawn if drawn.shape[2] == 1 else drawn.repeat(1, 1, self.n_classes, 1)
