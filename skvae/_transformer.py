"""VAETransformer: rows to codes and back."""

from __future__ import annotations

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin, _fit_context
from sklearn.utils.validation import check_consistent_length

from ._base import BaseVAE
from ._conditional import ConditionalMixin
from ._decoding import DecodingMixin
from ._forecasting import ForecastingMixin
from ._latents import LatentsMixin
from ._resuming import resumable
from ._sklearn_compat import with_callbacks
from ._sources import by_parts, fits_sources
from ._supervised import SupervisedMixin
from ._undo import all_or_nothing
from .code_axes import PRINCIPAL_ROWS, CodeAxes, Effects, n_typical_rows
from .table.classes import encoded_classes


class VAETransformer(
    DecodingMixin,
    ConditionalMixin,
    ForecastingMixin,
    SupervisedMixin,
    LatentsMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseVAE,
):
    """Codes of rows by a variational autoencoder, with the way back, samples and scores.

    The encoder and the decoder start at the linear factor model that explains the table
    best, are trained on the bound on log p(x), and are calibrated afterwards.

    Parameters
    ----------
    n_components : int or "auto", default=8
        Number of latents, for ``network="variational_recurrent"`` those of each step.
        ``"auto"`` fits several and keeps the smallest whose bound on the rows held out is as
        good as that of any, at the price of four or five fits.
    objective : {"auto", "elbo", "iwae", "dreg", "renyi"} or Objective, default="auto"
        Bound that training maximises.  ``"auto"`` is ``ELBO(beta=0.2)``: informative codes,
        whose price in the bound the second part of training gives back; and ``ELBO()`` for
        tables of counts and flags alone, whose codes are informative as they are; networks that
        go step by step have a warm-up.
    posterior : {"normal", "deterministic", "epanechnikov", "vector_quantized", "joint", \
            "ladder", "residual_ladder", "fixed_normal"} or Posterior, default="normal"
        Family of q(z|x).
    prior : {"aggregate", "normal", "mixture", "vamp", "flow", "autoregressive"} or Prior, \
            default="aggregate"
        Family of p(z).  ``"aggregate"`` is N(0, I) in training and is fitted to the codes
        afterwards.
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
    view : {"denoising", "time_lagged", "past_future", "binarized"} or View or None, \
            default="denoising"
        What the encoder is shown of a row in training; with ``"binarized"``, zeros and ones drawn
        anew from probabilities.
    missingness : {"self_masking"} or Missingness or None, default=None
        How cells come to be missing: None, in a way that the observed cells explain; else by
        the value that they have.  It shapes training and ``impute``; scores are those of the
        observed cells.
    penalty : str or Penalty or None, default=None
        What is asked of the codes beside the bound, by a key of ``skvae.penalties.PENALTIES``.
        ``"neighbors"``: that neighbours in the table stay neighbours, for pictures of it;
        ``"mmd"``: that all codes together look like draws from the prior.
    supervision : {"classes", "properties"} or Supervision or None, default=None
        What is learned of ``y``, known for some rows: ``"classes"``, which decoder and encoder
        see beside the code and which are summed over where unknown, or ``"properties"``, which
        a head on the code explains.  Both give ``predict``.
    condition : list of str or int, or one of them, default=None
        Columns that are given, by name or, in an array, by position: encoder and decoder see
        them, and the model is of the other columns given these, p(rest | condition).  A missing
        condition counts as a state of its own where ``fit`` saw some in its column, and as the
        column's mean (or none of its categories) where it did not.
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
    whiten : bool, default=False
        Axes and unit of codes.  False: latents are turned into principal axes, which change the
        row in directions apart and do not go together, and the variance of a code is that of
        the scaled row that changes with it, so that distances between codes are like those
        between rows; where the decoder bends, the geometric mean of all that changes
        (``explained_variance_``) and of what changes in a straight line.  With a penalty, and
        with less than four rows per latent, axes are the latents themselves.  True: the
        latents, in the unit of the prior, in which all vary alike.
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
        Member with the best held-out bound, which gives the codes.
    explained_ : ndarray of shape (n_components,)
        Nats that each component carries about a row, in descending order (but for
        ``penalty="neighbors"``, whose axes stay as they are); NaN where the posterior has no
        density.  What all latents carry is shared out among principal axes as parallel
        Gaussian channels with these ``explained_variance_`` and one noise would do it.
    explained_variance_ : ndarray of shape (n_components,)
        Variance of the scaled row that changes with each latent: the total effect of Sobol
        (1993) on the expected cells.  Continuous columns are scaled as in training, by their
        standard deviation or a third of their range, whichever is larger; of counts and
        probabilities the square roots are compared.  NaN for codes of steps.
    n_components_ : int
        Number of latents, also where it was chosen.
    classes_ : ndarray
        Names of the classes, with ``supervision="classes"``.
    diagnostics_ : dict
        ``kl_per_latent`` (nats, of the latents before they are turned), ``active_units``,
        ``noise_scale`` (per column, its units), and with ``n_components="auto"`` the table
        ``n_components`` of the numbers tried: bounds in nats per row, and standard errors of
        their differences from the best.
    components_ : ndarray of shape (n_components, n_features)
        Mean change of each column per unit of each latent, in units of the column; see
        ``sensitivities``.
    n_features_in_ : int
        Number of columns seen in ``fit``.
    feature_names_in_ : ndarray of str
        Their names, where they are strings.

    References
    ----------
    Kingma and Welling, Auto-Encoding Variational Bayes, 2014; Rezende, Mohamed and Wierstra,
    Stochastic Backpropagation and Approximate Inference in Deep Generative Models, 2014.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skvae import VAETransformer
    >>> X, y = load_wine(return_X_y=True)
    >>> vae = VAETransformer(n_components=2, random_state=0).fit(X)
    >>> vae.transform(X).shape
    (178, 2)
    >>> vae.sample(3).shape
    (3, 13)
    >>> vae.score_samples(X).shape
    (178,)
    """

    _parameter_constraints = {**BaseVAE._parameter_constraints, "whiten": ["boolean"]}
    _joint_start = True

    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    @all_or_nothing
    @resumable
    @fits_sources
    def fit(self, X, y=None, sample_weight=None):
        """Train on the rows of ``X``.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows; NaN and None are missing cells, booleans and categories are modelled as such.
            With a likelihood of counts or flags, as ``"negative_binomial"`` or ``"bernoulli"``,
            also a sparse matrix, of which only the rows at hand are ever dense.
        y : array-like of shape (n_samples,) or (n_samples, n_properties), default=None
            Classes of the rows, -1 or missing where unknown, for ``supervision="classes"`` or a
            penalty that is to look at them, as ``NeighborGraph(target_weight=0.5)``; for
            ``supervision="properties"`` numbers, NaN where unknown.  Else ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        self : VAETransformer
            The fitted estimator.

        Raises
        ------
        DivergedError
            If the loss stops being a finite number.
        ValueError
            If the penalty looks at classes and ``y`` holds other numbers.
        ValueError
            If ``n_components="auto"`` finds no rows held out, or no density over codes.
        """
        known = {"classes": self._classes(X, y), "targets": self._targets(X, y)}
        self._fit(X, sample_weight, resume=self.warm_start, **known)
        self._note_residuals(X, known["targets"])
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    @all_or_nothing
    @fits_sources
    def partial_fit(self, X, y=None, sample_weight=None):
        """Train for one epoch on the rows of ``X``; the first call fixes units and categories.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        self : VAETransformer
            The estimator.
        """
        return self._fit(X, sample_weight, resume=True, n_epochs=1)

    @by_parts
    def transform(self, X):
        """Posterior mean of the code of each row.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        codes : ndarray of shape (n_samples, n_components)
            The latent that carries most first; for their unit see ``whiten``.
        """
        (loc,) = self._infer(X, ["mean"])
        return self._axes.outward(loc)

    @by_parts
    def infer(self, X):
        """Mean and standard deviation of the posterior q(z|x) of each row.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        loc, scale : ndarray of shape (n_samples, n_components)
            In the units of ``transform``.
        """
        loc, scale = self._infer(X)
        return self._axes.outward(loc), self._axes.outward_scale(scale)

    def _classes(self, X, y) -> np.ndarray | None:
        """Classes as numbers, for a penalty that looks at them."""
        penalty = None if y is None else self._resolve("penalty")
        if penalty is None or not penalty.takes_classes:
            return None
        check_consistent_length(X, y)
        return encoded_classes(y, f"{type(self).__name__}(penalty={penalty!r})")[0]

    def _complete(self, job, history, calibrated):
        places = super()._complete(job, history, calibrated)
        nats = self.diagnostics_.get("kl_per_latent")
        # Codes of a stream of batches keep the axes of the first one.
        if calibrated or not hasattr(self, "_axes"):
            self._axes = self._found_axes(job, nats)
        if nats is not None:
            # Latents that are turned into axes have no order of their own.
            own = self._axes.directions is None
            self.diagnostics_["kl_per_latent"] = nats[self._axes.order] if own else -np.sort(-nats)
            nats = self._axes.nats(nats)
        self.explained_ = np.full(len(self._axes.unit), np.nan) if nats is None else nats
        self.explained_variance_ = self._axes.variance
        return places

    def _found_axes(self, job, nats: np.ndarray | None) -> CodeAxes:
        vae, best = self._coder(), self.best_member_
        if vae.n_steps > 1:
            return CodeAxes.as_given(vae.n_latents)
        index = job.train_index[best : best + 1, :PRINCIPAL_ROWS]
        typical = job.rows.take(index[:, : n_typical_rows(vae.n_latents)])
        with self._arithmetic():
            effects = Effects(vae, typical)
            # Which group a latent is of would be lost.
            as_they_are = vae.posterior.is_discrete or vae.posterior.n_groups > 1
            if as_they_are or (vae.penalty is not None and vae.penalty.keeps_metric):
                return CodeAxes.of_model(effects)
            # What a penalty asks of codes is as a rule asked of each latent.
            if self.whiten or vae.penalty is not None or effects.slopes is None:
                return CodeAxes.of_latents(effects, nats, self.whiten)
            return CodeAxes.principal(effects, job.rows.take(index))

    @property
    def _n_features_out(self):
        return self.vae_.n_latents

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags
