"""Scores that are the model's own log p(x), or its bound."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..cellwise.evidence import Evidence
from ..cellwise.reconstruction import BoundTerms, LikelihoodTerms
from ._base import Score


class LikelihoodScore(Score):
    """Importance-weighted log p(x) over the observed cells of a row, in nats.

    The number of draws is ``n_draws`` of the detector.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skvae import VAEOutlierDetector
    >>> X, _ = load_wine(return_X_y=True)
    >>> detector = VAEOutlierDetector(score_function="likelihood", random_state=0).fit(X)
    >>> detector.score_samples(X).shape
    (178,)

    References
    ----------
    Burda, Grosse and Salakhutdinov, Importance Weighted Autoencoders, 2016.
    """

    def rows(self, model: Any, X) -> np.ndarray:
        """Log p(x) of each row."""
        model._check_has_scores()
        return model._score(X, model.n_draws)

    def evidence(self, model: Any) -> Evidence:
        """The terms of each cell, draws of the code weighed by importance."""
        model._check_has_scores()
        return LikelihoodTerms(model.vae_, model.codec_, model.n_draws)


class BoundScore(Score):
    """Evidence lower bound on log p(x) over the observed cells of a row, in nats.

    Below the log-likelihood by what the encoder does not know: rows of a kind that it was not
    trained on pay twice.

    Examples
    --------
    >>> from skvae.scores import BoundScore
    >>> BoundScore()
    BoundScore()

    References
    ----------
    An and Cho, Variational Autoencoder based Anomaly Detection using Reconstruction
    Probability, 2015.
    """

    def rows(self, model: Any, X) -> np.ndarray:
        """Bound of each row."""
        model._check_has_scores()
        return model._bound(X, model.n_draws)

    def evidence(self, model: Any) -> Evidence:
        """The terms of each cell."""
        model._check_has_scores()
        return BoundTerms(model.vae_, model.codec_, model.n_draws)
