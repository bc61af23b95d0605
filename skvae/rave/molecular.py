"""RAVE: a code of frames, the physical coordinate that is most like it, and a bias along that."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    _fit_context,
    clone,
)
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, Interval
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from .._arguments import check_count
from .._transformer import VAETransformer
from .bias import Bias
from .line_density import LineDensity
from .screening import screened

# Directions of less variance than this, over the largest, say nothing.
SMALLEST_VARIANCE = 1e-10


class MolecularRAVE(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Reaction coordinate of simulated frames, and the bias that crosses its barriers.

    A variational autoencoder of one latent is fitted to order parameters of frames, without a
    time lag.  Among all ``chi = x @ coef`` that one is chosen whose distribution is most like
    that of the code, by KL(P(z) || P(chi)) after alignment: a coordinate that means something.
    ``bias = kT log P(chi)`` makes it flat in the next simulation, whose frames are then weighed
    by ``exp(bias / kT)``.  ``run`` takes turns with a simulator.

    For a time-lagged autoencoder see ``skvae.views.TimeLagged``, for the information bottleneck
    between past and future ``skvae.views.PastFuture``.

    Parameters
    ----------
    estimator : VAETransformer, default=None
        Model of the order parameters, with one component.  None takes
        ``VAETransformer(1, objective="elbo", hidden_layer_sizes=(32,), n_members=4,
        max_iter=30)``: a lower weight of the KL term bends the code, and with it P(z), and the
        best of several members has rarely missed the slow direction.
    kT : float, default=1.0
        Thermal energy, in the unit in which biases are wanted.
    max_bias : float, default=10.0
        Depth of the bias below its highest value, in kT: where no frame was, it is that low.
    whiten : bool, default=True
        Whether the model sees the order parameters rotated to be uncorrelated and of equal
        variance, so that none counts for its unit.
    n_candidates : int, default=200
        Random directions that are screened before the search goes on from the best.
    random_state : int, RandomState instance or None, default=None
        Seeds the model and the candidates.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,)
        The direction, of length 1.
    divergence_ : float
        KL(P(z) || P(chi)) along it, nats.
    grid_ : ndarray of shape (n_points,)
        Values of chi.
    free_energy_ : ndarray of shape (n_points,)
        ``-kT log P(chi)`` there, 0 at its lowest, at most ``max_bias * kT``.
    bias_ : Bias
        What the next simulation is to add to its potential.
    estimator_ : VAETransformer
        The fitted model of the (whitened) order parameters.
    n_features_in_ : int
        Number of order parameters.
    rounds_ : list of dict
        After ``run``: ``coef``, ``divergence`` and ``n_effective`` (frames that the weights
        leave) of each round.

    References
    ----------
    Ribeiro, Bravo, Wang and Tiwary, Reweighted autoencoded variational Bayes for enhanced
    sampling (RAVE), 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.rave import MolecularRAVE
    >>> rng = np.random.default_rng(0)
    >>> well = rng.choice([-1.0, 1.0], 2000) + 0.2 * rng.normal(size=2000)
    >>> X = np.stack([well, rng.normal(size=2000)], 1)
    >>> rave = MolecularRAVE(random_state=0).fit(X)
    >>> bool(abs(rave.coef_[0]) > 0.99)
    True
    >>> bool(rave.bias([[1.0, 0.0]]) > rave.bias([[0.0, 0.0]]))
    True
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "transform"]), None],
        "kT": [Interval(Real, 0, None, closed="neither")],
        "max_bias": [Interval(Real, 0, None, closed="neither")],
        "whiten": ["boolean"],
        "n_candidates": [Interval(Integral, 0, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self, estimator=None, *, kT=1.0, max_bias=10.0, whiten=True, n_candidates=200,
        random_state=None,
    ):  # fmt: skip
        self.estimator = estimator
        self.kT = kT
        self.max_bias = max_bias
        self.whiten = whiten
        self.n_candidates = n_candidates
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None, sample_weight=None):
        """Find the coordinate and the bias along it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Order parameters of frames; their order does not matter.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the frames: ``exp(bias / kT)`` for those of a biased simulation.

        Returns
        -------
        self : MolecularRAVE
            The fitted estimator.

        Raises
        ------
        ValueError
            If the model gives more than one code per row.
        """
        X = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
        weights = _check_sample_weight(
            sample_weight, X, dtype=np.float64, ensure_non_negative=True
        )
        X, weights = X[weights > 0], weights[weights > 0]
        if len(X) < 2:
            raise ValueError(
                f"{type(self).__name__} expects at least two frames with a positive weight, got "
                f"{len(X)}. Check the energies that sample_weight comes from."
            )
        random_state = check_random_state(self.random_state)
        seed = random_state.randint(np.iinfo(np.int32).max)
        center, to_white = _whitening(X, weights, self.whiten)
        white = (X - center) @ to_white
        model: Any = self.estimator
        if model is None:
            model = VAETransformer(
                1, objective="elbo", hidden_layer_sizes=(32,), n_members=4, max_iter=30,
                random_state=seed,
            )  # fmt: skip
        self.estimator_ = clone(model).fit(
            white, sample_weight=None if sample_weight is None else weights
        )
        codes = np.asarray(self.estimator_.transform(white), np.float64)
        if codes.shape[1] != 1:
            raise ValueError(
                f"{type(self).__name__} compares one code with coordinates, and its estimator "
                f"{model!r} gives {codes.shape[1]}. Use n_components=1."
            )
        found = screened(codes[:, 0], white, weights, self.n_candidates, random_state)
        direction, self.divergence_ = found
        coef = to_white @ direction
        self.coef_ = coef / np.linalg.norm(coef)
        line = LineDensity.of(X @ self.coef_, weights)
        self.grid_ = line.centers
        self.free_energy_ = -self.kT * line.log_density(self.max_bias)
        self.bias_ = Bias(self.coef_, self.grid_, -self.free_energy_)
        return self

    def bias(self, X):
        """Bias of frames: what the next simulation adds to their energy.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Order parameters.

        Returns
        -------
        energy : ndarray of shape (n_samples,)
            ``kT log P(chi)``, 0 at its highest.
        """
        check_is_fitted(self)
        return self.bias_(validate_data(self, X, dtype=np.float64, reset=False))

    def transform(self, X):
        """The coordinate chi of frames.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Order parameters.

        Returns
        -------
        chi : ndarray of shape (n_samples, 1)
            ``X @ coef_``.
        """
        check_is_fitted(self)
        return validate_data(self, X, dtype=np.float64, reset=False) @ self.coef_[:, None]

    @property
    def _n_features_out(self):
        return 1

    def run(self, simulate: Callable[[Bias | None], Any], n_rounds: int = 5):
        """Take turns: simulate under the bias at hand, weigh the frames, fit, bias anew.

        Parameters
        ----------
        simulate : callable
            Given the bias, or None in the first round, it gives the order parameters of the
            frames of a simulation with ``bias(x)`` added to the potential, ``(n_frames,
            n_features)``; the force of the bias is ``-bias.gradient(x)``.
        n_rounds : int, default=5
            Simulations.

        Returns
        -------
        self : MolecularRAVE
            Fitted to the last simulation.

        Raises
        ------
        ValueError
            If ``n_rounds`` is no positive integer.
        """
        n_rounds = check_count(f"{type(self).__name__}.run", "n_rounds", n_rounds)
        bias, rounds = None, []
        for _ in range(n_rounds):
            X = np.asarray(simulate(bias), np.float64)
            weights = None
            if bias is not None:
                exponent = bias(X) / self.kT
                weights = np.exp(exponent - exponent.max())
            self.fit(X, sample_weight=weights)
            n_effective = len(X) if weights is None else weights.sum() ** 2 / (weights**2).sum()
            rounds.append(
                {
                    "coef": self.coef_,
                    "divergence": self.divergence_,
                    "n_effective": float(n_effective),
                }
            )
            bias = self.bias_
        self.rounds_ = rounds
        return self


def _whitening(X: np.ndarray, weights: np.ndarray, whiten: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mean of rows, and the map ``(n_features, n_white)`` to what the model sees of them."""
    share = weights / weights.sum()
    center = share @ X
    if not whiten:
        return center, np.eye(X.shape[1])
    centred = X - center
    variance, axes = np.linalg.eigh((share[:, None] * centred).T @ centred)
    kept = variance > SMALLEST_VARIANCE * max(variance[-1], 1e-300)
    return center, axes[:, kept] / np.sqrt(variance[kept])
