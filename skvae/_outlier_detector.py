"""VAEOutlierDetector: rows that are not like those of the training."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
from sklearn.base import OutlierMixin, _fit_context
from sklearn.utils import _safe_indexing
from sklearn.utils._param_validation import Interval, RealNotInt, StrOptions
from sklearn.utils.validation import _num_samples

from ._base import BaseVAE
from ._explanation import ExplanationMixin
from ._promises import PromisesMixin
from ._resuming import resumable
from ._scoring import ScoringMixin
from ._sklearn_compat import with_callbacks
from ._sources import by_parts, fits_sources
from ._trimming import TrimmingMixin
from ._undo import all_or_nothing
from .scores import SCORES, Score
from .scores.constants import Constants


class VAEOutlierDetector(  # type: ignore[misc]
    ScoringMixin, PromisesMixin, TrimmingMixin, ExplanationMixin, OutlierMixin, BaseVAE
):
    """Outliers of tables, by variational autoencoders and the rows nearby.

    A row is an outlier when its score, in nats, is below ``offset_``.

    Parameters
    ----------
    n_components : int or "auto", default=8
        Number of latents.  ``"auto"`` fits several and keeps the smallest whose bound on the
        rows held out is as good as that of any, at the price of four or five fits.
    contamination : "auto" or float in (0, 0.5], default="auto"
        Share of the training rows to call outliers, which sets ``offset_``.  New rows score
        lower than those of the training, so more of them are flagged.  ``"auto"`` estimates
        the share by what the tail of the scores holds beyond that of normal rows, and puts
        the threshold where about one normal row in a hundred is below it.
    score_function : {"auto", "local", "model", "conditional", "likelihood", "elbo"} or Score, \
            default="auto"
        How normal a row is found to be.  ``"auto"`` blends how far a row is from the training
        rows nearby with how odd its cells are, by themselves and given the others, and gives
        minus its surprise: -4.6 says that one training row in a hundred is at least as odd
        (``BlendedScore``).  ``"local"`` takes the distances alone, ``"model"`` the rest, which
        keeps no rows; the others are log-densities and bounds in nats.  With a likelihood of
        counts, whose tables may be sparse, ``"auto"`` is the likelihood.
    novelty : bool or "auto", default="auto"
        Whether scores by neighbours judge rows as novelties beside training rows that are
        normal (True), or as members of a table that may hold outliers (False).  ``"auto"``:
        the training rows as members, all others as novelties.
    trim : float in [0, 0.5), default=0.0
        Share of the training rows that are left out of the model: those with the lowest
        likelihood in a first fit, for tables that hold many outliers.
    conformal : float in (0, 1), int of at least 2 or None, default=None
        What ``p_values`` and ``select`` compare with: a share of the rows, kept wholly aside
        from training, or each fold of so many by a model of the others, which are as many
        more fits.  None keeps no rows; ``reference=`` of these methods takes others.
    objective : {"auto", "elbo", "iwae", "dreg", "renyi"} or Objective, default="auto"
        Bound that training maximises.  ``"auto"`` is ``ELBO(beta=0.2)``: informative codes,
        whose price in the bound the second part of training gives back; and ``ELBO()`` for
        tables of counts and flags alone, whose codes are informative as they are.
    posterior : {"normal", "deterministic", "epanechnikov", "vector_quantized", "joint", \
            "ladder", "residual_ladder", "fixed_normal"} or Posterior, default="normal"
        Family of q(z|x).
    prior : {"aggregate", "normal", "mixture", "vamp", "flow", "autoregressive"} or Prior, \
            default="aggregate"
        Family of p(z).  ``"aggregate"`` is N(0, I) in training and is fitted to the codes
        afterwards, as ``Aggregate(rows_per_latent=10)``.
    likelihood : {"auto", "normal", "student_t", "normal_mixture", "bernoulli", "poisson", \
            "negative_binomial", "zero_inflated_poisson", "zero_inflated_negative_binomial", \
            "token_sequence"} or Likelihood or Columnwise, default="auto"
        Family of p(x|z) of the numeric columns.  ``"auto"`` tells their kinds by dtype and
        values (see ``column_kinds``) and takes one family per kind: normal for continuous
        ones and for the logarithms of positive ones.  A ``Columnwise`` tells kinds alike, with
        families of your own; any other one is for all numeric columns as they are.  Boolean and
        categorical columns, and categories in an order, have their own in any case.
    network : {"mlp", "convolutional", "recurrent", "variational_recurrent", "tokens", \
            "linear_encoder"} or Network, default="mlp"
        Encoder and decoder.  The string takes ``hidden_layer_sizes`` and ``activation``.
    view : {"denoising", "binarized"} or View or None, default="denoising"
        What the encoder is shown of a row in training.
    missingness : {"self_masking"} or Missingness or None, default=None
        How cells come to be missing: None, in a way that the observed cells explain; else by
        the value that they have.  It shapes training; scores are those of the observed cells.
    penalty : str or Penalty or None, default=None
        What is asked of the codes beside the bound, by a key of ``skvae.penalties.PENALTIES``.
        ``"neighbors"``: that neighbours in the table stay neighbours, for pictures of it;
        ``"mmd"``: that all codes together look like draws from the prior.
    condition : list of str or int, or one of them, default=None
        Columns that are given, by name or, in an array, by position: rows are judged by the
        other columns given these, p(rest | condition), and what is rare about the conditions
        themselves counts for nothing.  A missing condition is a state of its own where ``fit``
        saw some in its column, else the column's mean (or none of its categories).
    hidden_layer_sizes : tuple of int, default=(128, 64)
        Widths of the encoder's hidden layers, reversed in the decoder; () is linear.
    activation : {"silu", "relu", "gelu", "elu", "tanh", "identity"}, default="silu"
        Non-linearity of the hidden layers.
    init : {"linear", "random"}, default="linear"
        Where training starts.  ``"linear"``: the noise and the margins of the columns, and,
        where the network has a linear path (see ``MLP``), the factor model of maximum
        likelihood.
    calibrate : bool, default=True
        Whether noise, prior and posterior width are refitted after training, the networks
        fixed.
    n_members : int, default=1
        Models trained as one stack.  Scores average over them; codes come from the one with
        the best held-out bound.
    n_draws : int, default=16
        Draws from the posterior per row in ``score_samples``.
    max_iter : int, default=200
        Epochs at most.
    batch_size : int or "auto", default="auto"
        Rows per step; ``"auto"`` takes a sixteenth of the rows, from 32 to 512.
    learning_rate : {"cosine", "constant"}, default="cosine"
        How the step size changes over ``max_iter`` epochs.
    learning_rate_init : float, default=3e-3
        Step size at the start.
    weight_decay : float, default=0.3
        Decoupled decay of the weight matrices, per unit of step size.
    clip_norm : float or None, default=100.0
        Largest norm of a gradient, in nats per row.
    early_stopping : bool, default=True
        Whether rows are held out to stop training and to keep the best weights.
    validation_fraction : float, default=0.15
        Share of the rows held out.
    n_iter_no_change : int, default=20
        Epochs without improvement before training stops.
    tol : float, default=1e-4
        Smallest improvement that counts, nats per row.
    warm_start : bool, default=False
        Whether ``fit`` goes on from the model at hand, its units and categories kept.
    checkpoint : path or None, default=None
        Folder in which ``fit`` keeps where it is, about every second.  Killed and called again
        in the same way, it goes on and ends with the same bits as without the kill.
    unknown : {"error", "missing"}, default="error"
        What to do with a category that ``fit`` did not see.
    margins : {"scale", "rank"}, default="scale"
        How continuous columns are mapped to what is modelled.  ``"rank"`` takes normal scores,
        and bins where values are few or recur, so that heavy tails, spikes and ties are no
        matter, and samples have each column's own distribution.
    column_kinds : dict or None, default=None
        Kinds by column name (``"x0"``, ``"x1"``, ... for arrays) in the place of those that
        dtypes and values suggest: "continuous", "positive", "count", "binary", "categorical",
        "ordinal", "token" or "datetime", as in ``{"age": "count"}``.
    n_jobs : int or None, default=None
        Threads for the arithmetic; None is one, -1 all.
    device : str, default="auto"
        "auto", "cpu", "cuda", "cuda:1", "mps": where to train and to infer.
    precision : {"float32", "tf32"}, default="float32"
        How exactly CUDA multiplies matrices; weights and results are float32 in any case.
        Elsewhere it changes nothing.
    random_state : int, RandomState instance or None, default=None
        Seeds the weights, the noise, the order and the split of the rows.
    verbose : int, default=0
        1 prints a progress line, 2 every epoch.

    Attributes
    ----------
    score_ : Score
        The fitted score function.
    offset_ : float
        Threshold in nats: ``decision_function`` is ``score_samples`` minus this.
    contamination_ : float
        Share of outliers among the training rows, as given or as estimated.
    held_out_scores_ : ndarray
        Scores of the rows that stopped the training, or of all rows where none did; of long
        tables, and with ``contamination="auto"``, of those among the 10,000 that are kept.
    calibration_scores_ : list of ndarray
        Scores of the rows kept aside, or of each fold by the model that has not seen it.
    fold_detectors_ : list of VAEOutlierDetector
        The model of each fold, if ``conformal`` is a number of them.
    typical_cells_ : ndarray, one number for each column of ``explain``
        Nats that the median cell of each column adds to the sum that ``explain`` is of.
    constants_ : Constants
        Columns of one value: ``places``, ``values``, and the ``nats`` that another one costs.
    codec_ : TableCodec
        What was learned about the columns.
    vae_ : VAE
        The trained model, a ``torch.nn.Module``; every tensor has a leading member axis.
    history_ : dict of list
        Per epoch, in nats per row in the original units: ``bound`` (at weight 1),
        ``log_likelihood``, ``kl`` and ``loss`` (as weighed in training), and those of the
        held-out rows as ``validation_bound`` and so on.
    n_iter_ : int
        Epochs trained.
    best_epoch_ : int
        Epoch whose weights were kept.
    best_member_ : int
        Member with the best held-out bound.
    n_components_ : int
        Number of latents, also where it was chosen.
    diagnostics_ : dict
        ``kl_per_latent`` (nats), ``active_units``, ``noise_scale`` (per column, its units), and
        with ``n_components="auto"`` the table ``n_components`` of the numbers tried: bounds in
        nats per row, and standard errors of their differences from the best.
    n_features_in_ : int
        Number of columns seen in ``fit``.
    feature_names_in_ : ndarray of str
        Their names, where they are strings.

    References
    ----------
    An and Cho, Variational Autoencoder based Anomaly Detection using Reconstruction
    Probability, 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_wine
    >>> from skvae import VAEOutlierDetector
    >>> X, _ = load_wine(return_X_y=True)
    >>> detector = VAEOutlierDetector(contamination=0.05, random_state=0).fit(X)
    >>> detector.predict(X[:1] + 10 * X.std(axis=0))
    array([-1])
    """

    # A normal of a few rows would make those usual that lie far from all others.
    _settings_of_parts = {"aggregate": {"rows_per_latent": 10}}
    _parameter_constraints: dict = {
        **{
            name: constraints
            for name, constraints in BaseVAE._parameter_constraints.items()
            if name != "supervision"
        },
        "contamination": [StrOptions({"auto"}), Interval(Real, 0, 0.5, closed="right")],
        "score_function": [StrOptions(set(SCORES)), Score],
        "novelty": [StrOptions({"auto"}), "boolean"],
        "trim": [Interval(Real, 0, 0.5, closed="left")],
        "conformal": [
            None,
            Interval(RealNotInt, 0, 1, closed="neither"),
            Interval(Integral, 2, None, closed="left"),
        ],
    }

    def __init__(
        self,
        n_components=8,
        *,
        contamination="auto",
        score_function="auto",
        novelty="auto",
        trim=0.0,
        conformal=None,
        objective="auto",
        posterior="normal",
        prior="aggregate",
        likelihood="auto",
        network="mlp",
        view="denoising",
        missingness=None,
        penalty=None,
        condition=None,
        hidden_layer_sizes=(128, 64),
        activation="silu",
        init="linear",
        calibrate=True,
        n_members=1,
        n_draws=16,
        max_iter=200,
        batch_size="auto",
        learning_rate="cosine",
        learning_rate_init=3e-3,
        weight_decay=0.3,
        clip_norm=100.0,
        early_stopping=True,
        validation_fraction=0.15,
        n_iter_no_change=20,
        tol=1e-4,
        warm_start=False,
        checkpoint=None,
        unknown="error",
        margins="scale",
        column_kinds=None,
        n_jobs=None,
        device="auto",
        precision="float32",
        random_state=None,
        verbose=0,
    ):
        super().__init__(
            n_components,
            objective=objective,
            posterior=posterior,
            prior=prior,
            likelihood=likelihood,
            network=network,
            view=view,
            missingness=missingness,
            penalty=penalty,
            condition=condition,
            hidden_layer_sizes=hidden_layer_sizes,
            activation=activation,
            init=init,
            calibrate=calibrate,
            n_members=n_members,
            n_draws=n_draws,
            max_iter=max_iter,
            batch_size=batch_size,
            learning_rate=learning_rate,
            learning_rate_init=learning_rate_init,
            weight_decay=weight_decay,
            clip_norm=clip_norm,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            tol=tol,
            warm_start=warm_start,
            checkpoint=checkpoint,
            unknown=unknown,
            margins=margins,
            column_kinds=column_kinds,
            n_jobs=n_jobs,
            device=device,
            precision=precision,
            random_state=random_state,
            verbose=verbose,
        )
        self.contamination = contamination
        self.score_function = score_function
        self.novelty = novelty
        self.trim = trim
        self.conformal = conformal

    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    @all_or_nothing
    @resumable
    @fits_sources
    def fit(self, X, y=None, sample_weight=None):
        """Train on the rows of ``X`` and set the threshold.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows; NaN and None are missing cells, booleans and categories are modelled as such.
            With a likelihood of counts, as ``"negative_binomial"``, also a sparse matrix, of
            which only the rows at hand are ever dense.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.  Of those kept aside each counts once, as new rows do.

        Returns
        -------
        self : VAEOutlierDetector
            The fitted estimator.

        Raises
        ------
        DivergedError
            If the loss stops being a finite number.
        ValueError
            If ``n_components="auto"`` finds no rows held out, or no density over codes.
        """
        X, sample_weight, aside = self._keep_aside(X, sample_weight)
        self._fit_scored(X, sample_weight, self._fit_rows)
        self._calibrate_scores(X, sample_weight, aside)
        return self

    def _fit_scored(self, X, sample_weight, fit_rows) -> None:
        """Train, fit the score function and set the threshold."""
        held_out = self._fit_trimmed(X, sample_weight, fit_rows, self.warm_start)
        self.score_ = self._resolve_score()
        with self._arithmetic():
            places, scores = self.score_.fit_rows(self, X, held_out)
            n_rows, judged = _num_samples(X), np.flatnonzero(np.isin(places, held_out))
            if len(places) < n_rows and (self.contamination != "auto" or not len(judged)):
                places, scores = np.arange(n_rows), self.score_.rows(self, X)
        self.constants_ = Constants(self.codec_, n_rows)
        self._fit_explanation(X, held_out)
        if len(places) < n_rows:
            # Rows that stand for the table say what is common in it.
            X, held_out = _safe_indexing(X, places), judged
            sample_weight = None if sample_weight is None else sample_weight[places]
        self._set_threshold(X, sample_weight, held_out, scores)

    @by_parts
    def decision_function(self, X):
        """``score_samples`` minus ``offset_``: negative for outliers.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        decision : ndarray of shape (n_samples,)
            Nats above the threshold.
        """
        return self.score_samples(X) - self.offset_

    @by_parts
    def predict(self, X):
        """Tell inliers (+1) from outliers (-1).

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            +1 or -1.
        """
        return np.where(self.decision_function(X) >= 0, 1, -1)
