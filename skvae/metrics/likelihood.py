"""Log p(x) of rows as exactly as computing time allows, and how exactly it is known."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class AnnealedLikelihood(NamedTuple):
    """What `annealed_log_likelihood` gives.

    Parameters
    ----------
    log_likelihood : ndarray of shape (n_samples,)
        Log p(x), nats in the original units; higher is more normal.
    standard_error : ndarray of shape (n_samples,)
        Of these, by how much the weights of the chains differ; nats.  It is too small where the
        effective size is near 1.
    effective_size : ndarray of shape (n_samples,)
        Chains of equal weight that would tell as much, from 1 to ``n_chains``.
    """

    log_likelihood: np.ndarray
    standard_error: np.ndarray
    effective_size: np.ndarray


class LikelihoodBounds(NamedTuple):
    """What `bidirectional_log_likelihood` gives.

    Parameters
    ----------
    rows : ndarray or DataFrame of shape (n_samples, n_features)
        What was drawn from the model.
    lower, upper : ndarray of shape (n_samples,)
        Log p(x) of the rows, nats in the original units: on average too low, and too high.
    """

    rows: Any
    lower: np.ndarray
    upper: np.ndarray

    @property
    def gap(self) -> float:
        """Mean of the upper bounds minus the lower ones, nats per row."""
        return float(np.mean(self.upper - self.lower))


def annealed_log_likelihood(
    estimator,
    X,
    *,
    start="encoder",
    n_temperatures=100,
    n_leapfrog=5,
    n_chains=16,
    random_state=None,
) -> AnnealedLikelihood:
    """Log p(x) of each row over its observed cells, by annealed importance sampling.

    Chains of codes start where ``start`` says and are moved, temperature by temperature, to
    p(z|x) by Hamiltonian Monte Carlo.  In expectation the mean of their weights is p(x) itself,
    so that the logarithm of it is a lower bound on average, which rises to log p(x) with the
    number of temperatures.

    Parameters
    ----------
    estimator : VAETransformer or VAEOutlierDetector
        Fitted.  Members of a stack are averaged over, as in ``score_samples``.
    X : array-like or DataFrame of shape (n_samples, n_features)
        Rows; missing cells are left out, as in ``score_samples``.
    start : {"encoder", "prior"}, default="encoder"
        Where chains begin.  The encoder's q(z|x) is near the end; the prior knows nothing of the
        row, needs many times as many temperatures and shares no mistake with the encoder.
    n_temperatures : int, default=100
        Steps from the start to p(z|x), spaced by a sigmoid.  With one, chains are not moved:
        importance sampling from the start.
    n_leapfrog : int, default=5
        Steps of each move along the slope.  Their length is adapted per row, towards 90 % of
        moves accepted, by four more chains that have no weight, so that nothing is biased.
    n_chains : int, default=16
        Chains per row.
    random_state : int, RandomState instance or None, default=None
        Of the chains; None takes that of the estimator.  A row has the numbers of its place in
        the table, whatever the other rows are.

    Returns
    -------
    AnnealedLikelihood
        Its log-likelihoods, their standard errors and effective sizes, each of shape
        (n_samples,).

    Raises
    ------
    TypeError
        If the estimator has no log p(x), or a number is no integer.
    ValueError
        If the posterior has no density or has categories, the model sums over classes or
        explains later rows, rows of steps have missing cells, ``start`` is unknown, or a number
        is below 1.

    Warns
    -----
    UserWarning
        If half of the rows rest on fewer than two chains.

    References
    ----------
    Neal, Annealed importance sampling, 2001; Wu, Burda, Salakhutdinov and Grosse, On the
    Quantitative Analysis of Decoder-Based Generative Models, 2017.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skvae import VAETransformer
    >>> from skvae.metrics import annealed_log_likelihood
    >>> X, _ = load_wine(return_X_y=True)
    >>> vae = VAETransformer(2, max_iter=20, random_state=0).fit(X)
    >>> found = annealed_log_likelihood(vae, X, n_temperatures=30, random_state=0)
    >>> bool(abs(found.log_likelihood.mean() - vae.score_samples(X, n_draws=1000).mean()) < 0.1)
    True
    """
    anneal = _method(estimator, "_annealed", "annealed_log_likelihood")
    found = anneal(
        X,
        "annealed_log_likelihood",
        random_state=random_state,
        start=start,
        n_temperatures=n_temperatures,
        n_leapfrog=n_leapfrog,
        n_chains=n_chains,
    )
    return AnnealedLikelihood(*found.T)


def bidirectional_log_likelihood(
    estimator,
    n_samples=100,
    *,
    start="encoder",
    n_temperatures=100,
    n_leapfrog=5,
    n_chains=16,
    random_state=None,
) -> LikelihoodBounds:
    """Log p(x) from both sides, of rows that the model draws: how exact estimates are.

    The code of a drawn row is an exact draw from p(z|x).  Chains that go from there back to the
    start overestimate log p(x) on average, as chains from the start to p(z|x) underestimate it;
    between them lies the truth.  Where they meet, `annealed_log_likelihood` with the same
    arguments is as exact on rows like these.

    Parameters
    ----------
    estimator : VAETransformer or VAEOutlierDetector
        Fitted.  Of a stack, the member that gives the codes.
    n_samples : int, default=100
        Rows to draw.
    start, n_temperatures, n_leapfrog, n_chains, random_state
        As in `annealed_log_likelihood`.

    Returns
    -------
    LikelihoodBounds
        The rows, lower and upper bounds of shape (n_samples,) in nats, and their mean ``gap``.

    Raises
    ------
    TypeError, ValueError
        As in `annealed_log_likelihood`, and if the rows of the model have conditions.

    References
    ----------
    Grosse, Ghahramani and Adams, Sandwiching the marginal likelihood using bidirectional Monte
    Carlo, 2015; Wu, Burda, Salakhutdinov and Grosse, On the Quantitative Analysis of
    Decoder-Based Generative Models, 2017.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skvae import VAETransformer
    >>> from skvae.metrics import bidirectional_log_likelihood
    >>> X, _ = load_wine(return_X_y=True)
    >>> vae = VAETransformer(2, max_iter=20, random_state=0).fit(X)
    >>> bool(abs(bidirectional_log_likelihood(vae, 20, random_state=0).gap) < 0.2)
    True
    """
    both_ways = _method(estimator, "_annealed_both_ways", "bidirectional_log_likelihood")
    return LikelihoodBounds(
        *both_ways(
            n_samples,
            "bidirectional_log_likelihood",
            random_state=random_state,
            start=start,
            n_temperatures=n_temperatures,
            n_leapfrog=n_leapfrog,
            n_chains=n_chains,
        )
    )


def _method(estimator, name: str, asker: str):
    method = getattr(estimator, name, None)
    if method is None:
        raise TypeError(
            f"{asker} expects a fitted VAETransformer or VAEOutlierDetector, got "
            f"{type(estimator).__name__}. Of a Pipeline, pass the last step, and rows as that "
            "step sees them."
        )
    return method
