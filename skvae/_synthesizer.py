"""VAESynthesizer: new rows like those of a table, also with some of their cells given."""

from __future__ import annotations

import os
import warnings
from numbers import Integral, Real

from sklearn.base import BaseEstimator, _fit_context
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ._arguments import check_count, generator_of
from ._persistence import checked_state, stamp_version
from ._resuming import resumable
from ._sklearn_compat import CallbackSupportMixin, with_callbacks
from ._sources import fits_samples
from ._undo import all_or_nothing
from ._warning import level_of_caller
from .synthesis.features import Features
from .synthesis.fitting import (
    ACTIVATIONS,
    SynthesisCodec,
    fit_balance,
    fit_critic,
    fit_generator,
    on_device,
)
from .synthesis.sampling import Sampler
from .table import check_table

# Below this share of the rows that were asked for, their distribution is not to be relied on.
LOW_SHARE = 0.1


class VAESynthesizer(CallbackSupportMixin, BaseEstimator):
    """Synthetic tables: rows that hang together as those of a table do, and copy none of them.

    An ensemble learns p(any cell | any other cells) by conditional codes and mixture heads on
    normal scores, and draws a row cell by cell, in a new order each time.  A critic that tells
    drawn rows from real ones then accepts each with a probability in proportion to how much
    likelier it is among the real ones.  Of two to four times as many rows, those are kept that
    together count as the real ones do.

    Parameters
    ----------
    n_components : int, default=16
        Number of latents.
    critic : {"auto"} or None, default="auto"
        Whether rows are accepted by gradient boosting that was taught to tell them from real
        ones.  None is faster to fit and to draw from, and less faithful where columns determine
        one another.
    balance : {"auto"} or None, default="auto"
        Whether rows without conditions are chosen so that, in all, pairs of columns and columns
        within leaves of trees are counted as often as in ``fit``.  They belong together then:
        their counts vary less than those of independent rows, which None draws.
    hidden_layer_sizes : tuple of int, default=(96, 96)
        Widths of the hidden layers.
    activation : {"silu", "relu", "gelu", "elu", "tanh", "identity"}, default="silu"
        Non-linearity of the hidden layers.
    n_mixture_components : int, default=5
        Normals in the mixture of each continuous cell.
    n_members : int, default=2
        Models trained as one stack.
    n_draws : int, default=1
        Codes per row that the bound weighs in training.
    max_iter : int, default=120
        Epochs at most.  The step size falls to nothing about every forty epochs.
    batch_size : int or "auto", default="auto"
        Rows per step; ``"auto"`` takes a sixteenth of the rows, from 32 to 512.
    learning_rate_init : float, default=7e-3
        Largest step size; it rises first, falls along a cosine about every forty epochs, and
        begins again lower.
    weight_decay : float, default=0.1
        Decoupled decay of the weight matrices, per unit of step size.
    early_stopping : bool, default=True
        Whether members stop, and keep their best weights, by held-out rows.
    validation_fraction : float, default=0.1
        Share of the rows that a member holds out; members hold out different ones.
    n_iter_no_change : int, default=40
        Epochs without improvement before a member stops; fewer than a fall of the step size
        takes would stop where the next one begins.
    tol : float, default=1e-4
        Smallest improvement that counts, nats per row.
    checkpoint : path or None, default=None
        Folder in which ``fit`` keeps where it is, about every second.  Killed and called again
        in the same way, it goes on and ends with the same bits as without the kill.
    column_kinds : dict or None, default=None
        Kinds by column name that take the place of those found.
    n_jobs : int or None, default=None
        Threads for the arithmetic; None is one, -1 all.
    device : str, default="auto"
        "auto", "cpu", "cuda", "cuda:1", "mps": where to train and to draw.
    random_state : int, RandomState instance or None, default=None
        Seeds weights, noise, masks, held-out rows, critic and drawn rows.
    verbose : int, default=0
        1 prints a progress line, 2 every epoch.

    Attributes
    ----------
    codec_ : TableCodec
        What was learned about the columns.
    vae_ : GenerativeVAE
        The trained ensemble.
    critic_ : Critic or None
        What accepts rows.
    balance_ : Balance or None
        Counts with which drawn rows agree; None for fewer than 60 rows.
    history_ : dict of list
        Per epoch, means over the members: ``bound``, ``log_likelihood``, ``loss`` and
        ``validation_bound``, the log-likelihood of held-out rows drawn cell by cell, in nats
        per row.
    n_iter_ : int
        Epochs trained.
    n_features_in_ : int
        Number of columns seen in ``fit``.
    feature_names_in_ : ndarray of str
        Their names, where they are strings.

    References
    ----------
    Sohn, Lee and Yan, Learning Structured Output Representation using Deep Conditional
    Generative Models, 2015.

    Azadi et al., Discriminator Rejection Sampling, 2019.

    Deville and Tille, Efficient Balanced Sampling: the Cube Method, 2004.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import VAESynthesizer
    >>> X = load_iris(as_frame=True).frame.astype({"target": "category"})
    >>> synthesizer = VAESynthesizer(max_iter=2, random_state=0).fit(X)
    >>> synthesizer.sample(150).shape
    (150, 5)
    >>> synthesizer.sample(3, given={"target": 2})["target"].tolist()
    [2, 2, 2]
    """

    _parameter_constraints: dict = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "critic": [StrOptions({"auto"}), None],
        "balance": [StrOptions({"auto"}), None],
        "hidden_layer_sizes": ["array-like"],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "n_mixture_components": [Interval(Integral, 1, None, closed="left")],
        "n_members": [Interval(Integral, 1, None, closed="left")],
        "n_draws": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 0.5, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "checkpoint": [None, str, os.PathLike],
        "column_kinds": [dict, None],
        "n_jobs": [None, Integral],
        "device": [str],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        n_components=16,
        *,
        critic="auto",
        balance="auto",
        hidden_layer_sizes=(96, 96),
        activation="silu",
        n_mixture_components=5,
        n_members=2,
        n_draws=1,
        max_iter=120,
        batch_size="auto",
        learning_rate_init=7e-3,
        weight_decay=0.1,
        early_stopping=True,
        validation_fraction=0.1,
        n_iter_no_change=40,
        tol=1e-4,
        checkpoint=None,
        column_kinds=None,
        n_jobs=None,
        device="auto",
        random_state=None,
        verbose=0,
    ):
        self.n_components = n_components
        self.critic = critic
        self.balance = balance
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.n_mixture_components = n_mixture_components
        self.n_members = n_members
        self.n_draws = n_draws
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.weight_decay = weight_decay
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.checkpoint = checkpoint
        self.column_kinds = column_kinds
        self.n_jobs = n_jobs
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    @all_or_nothing
    @resumable
    @fits_samples
    def fit(self, X, y=None):
        """Learn what the rows of a table look like.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows with or without missing cells; drawn rows have none.  Of a large source (a file,
            say) it takes a sample: 65,536 rows, fewer where they have more than 256 columns,
            and with them the extremes and each category.  The critic meets 20,000 of them.
        y : None
            Ignored.

        Returns
        -------
        self : VAESynthesizer
            The fitted synthesizer.

        Raises
        ------
        DivergedError
            If the loss stops being a finite number.
        """
        X = check_table(self, X)
        codec = SynthesisCodec(
            margins="rank", unknown="missing", range_ratio=None, column_kinds=self.column_kinds
        )
        self.codec_ = codec.fit(X)
        encoded = codec.encode(X)
        self.vae_ = fit_generator(self, encoded)
        self.critic_ = self.balance_ = None
        features = Features(self.codec_)
        real = features.of_rows(X, encoded)
        if self.critic is not None:
            self.critic_ = fit_critic(self, features, real)
        if self.balance is not None:
            self.balance_ = fit_balance(self, features, real, encoded)
        return self

    def sample(self, n_samples=1, *, given=None, return_effective_size=False, random_state=None):
        """Draw new rows; ``given`` fixes some of their cells.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        given : dict, DataFrame or list of dict, default=None
            Values that cells must have, by the name of their column (or its position in an
            array); the others are drawn from p(rest | given).  A frame or a list holds one
            condition per row, and ``n_samples`` is then their number, and may be left out.
        return_effective_size : bool, default=False
            Whether to tell how many independent draws the rows are worth.
        random_state : int, RandomState instance or None, default=None
            None takes that of the constructor.

        Returns
        -------
        rows : ndarray or DataFrame of shape (n_samples, n_features)
            With the columns, dtypes and categories seen in ``fit``; given cells as given.
        effective_size : float
            Only with ``return_effective_size=True``: ``n_samples`` where the critic accepted
            all rows, less where it had to take some more than once, and less in proportion
            where given cells are less likely than those of 99 of 100 free rows.

        Warns
        -----
        UserWarning
            If the rows are worth less than a tenth of their number, as where given cells
            contradict one another or lie far from all in ``fit``.

        Raises
        ------
        ValueError
            If a column or category is unknown, a value is missing or of another kind than its
            column, or all columns are given.
        """
        check_is_fitted(self)
        asker = f"{type(self).__name__}.sample"
        n_samples = check_count(asker, "n_samples", n_samples)
        rng = generator_of(self, random_state)
        sampler = Sampler(self.codec_, self.vae_, self.critic_, self.balance_, asker)
        with on_device(self) as device:
            rows, size = sampler.rows(n_samples, given, rng, device)
        if size < LOW_SHARE * len(rows):
            warnings.warn(
                f"{type(self).__name__}.sample: the {len(rows)} rows are worth about {size:.2g} "
                "independent draws, because the given cells are unlikely under the model. Give "
                "fewer cells, or look whether rows like these were in fit.",
                UserWarning,
                stacklevel=level_of_caller(),
            )
        return (rows, size) if return_effective_size else rows

    def __getstate__(self):
        return stamp_version(super().__getstate__())

    def __setstate__(self, state):
        super().__setstate__(checked_state(state, type(self)))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        return tags
