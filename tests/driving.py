"""Every public method of an estimator on a table, with what must hold of its answers.

``drive`` says which methods answered and which refused, and by what words; anything else is an
``AssertionError``.
"""

import pickle
import re
import signal
import threading
import traceback
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, Phase, assume, given, seed, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.utils import _safe_indexing
from tables import Recipe, recipes

from skvae import VAEImputer, VAEOutlierDetector, VAESynthesizer, VAETransformer
from skvae.exceptions import DivergedError, PosteriorCollapseWarning
from skvae.likelihoods import Columnwise, Normal, StudentT
from skvae.networks import MLP
from skvae.objectives import ELBO, IWAE, DReG, Renyi
from skvae.penalties import MMD, FactorCritic, TotalCorrelation
from skvae.posteriors import Joint, VectorQuantized
from skvae.priors import AutoregressiveNormal, Flow, GaussianMixture, VampPrior
from skvae.table.filling import missing_cells
from skvae.views import Denoising, TimeLagged

NAMES = {
    cls.__name__: cls
    for cls in (
        *(VAETransformer, VAEOutlierDetector, VAEImputer, VAESynthesizer),
        *(Columnwise, Normal, StudentT, MLP, ELBO, IWAE, DReG, Renyi, MMD, FactorCritic),
        *(TotalCorrelation, Joint, VectorQuantized, AutoregressiveNormal, Flow),
        *(GaussianMixture, VampPrior, Denoising, TimeLagged),
    )
}

# What an estimator may refuse, by the words that it has to use.  Each says what came and what
# to do; who asks is in the message, or the column that it is about.
REFUSALS = {
    "infinite": r"Input X contains infinity or a value too large",
    "nothing to model": r"nothing to model: every column of the \d+ is constant or missing.*Pass",
    "free text": r"Column .* looks like free text: expected at most .* got .*Drop the column",
    "outside the domain": r"Column .* is modelled as \w+, which expects .*; got .* in row \d+",
    "large count": r"Column .* expects .* got ",
    "few rows to select": r"select of VAEOutlierDetector with fdr=.* can find nothing.*Keep",
    "few rows to train on": r"conformal=.* leaves fewer than \d of \d+ rows to train on.*set",
    "no rows held out": r"n_components='auto' .* rows held out",
    "no density": r"needs a density over codes, and the posterior of this .* Use posterior",
    "rows explain others": r"explains later rows by earlier ones.*Compare",
    "discrete latents differ": r"interpolate: the rows differ in discrete latents.*Give rows",
    "no path between categories": r"traverse: component \d+ belongs to discrete latents.*Decode",
    "diverged": r"Training diverged in epoch \d+: .*Lower learning_rate_init",
    "partial_fit without targets": r"partial_fit, .* take no targets, which supervision=.*Call",
    "partial_fit without the table": r"partial_fit, .* looks at the whole table first.*Call fit",
    "partial_fit of auto": r"n_components='auto' of .* is chosen by fit.*Call fit first",
    "sum over classes": r"sums over codes under one class, and this .* has",
    "conditions tell nothing": r"condition holds the columns .* constant or missing in all.*Take",
    "dense score of a sparse table": r"\w+ of VAEOutlierDetector compares dense rows.*Use",
    "prior of a codebook": r"The codes of VectorQuantized.* would play no part.*Leave it at",
    "parts that do not go together": r"\. Use (posterior|objective|prior|penalty|likelihood)='",
    "only conditions": r"condition holds all \d+ columns, which leaves none to model.*Leave out",
}


class Hangs(Exception):
    """No answer within the time."""


@contextmanager
def deadline(seconds):
    """Raise in the main thread when the time is over; elsewhere wait as long as it takes."""
    here = threading.current_thread() is threading.main_thread()
    if not hasattr(signal, "SIGALRM") or not here:
        yield
        return

    def stop(*_):
        raise Hangs(f"no answer in {seconds:.0f} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# -------------------------------------------------------------------------------------- cases


@dataclass(frozen=True)
class Case:
    """An estimator, as it is spelled, on the table of a recipe."""

    spelling: str
    recipe: Recipe

    def estimator(self):
        return eval(self.spelling, dict(NAMES))  # noqa: S307


@dataclass
class Outcome:
    """Which methods answered, and which refused by which of ``REFUSALS``."""

    answered: list = field(default_factory=list)
    refused: dict = field(default_factory=dict)


def of(values):
    return st.sampled_from(values)


AXES = {
    "objective": of(
        ["'auto'", "'elbo'", "'iwae'", "'dreg'", "ELBO(beta=4.0, warm_up=2)", "Renyi(alpha=0.5)"]
    ),
    "posterior": of(
        ["'normal'", "'normal'", "'deterministic'", "'epanechnikov'", "VectorQuantized(n_codes=4)",
         "Joint(n_categories=2)"]
    ),
    "prior": of(
        ["'aggregate'", "'normal'", "'mixture'", "'vamp'", "Flow(max_iter=3)", "'autoregressive'"]
    ),
    "likelihood": of(["'auto'", "'auto'", "'normal'", "'student_t'", "StudentT(df=3.0)"]),
    "view": of(["'denoising'", "None", "Denoising(scale=0.5)"]),
    "missingness": of(["None", "None", "'self_masking'"]),
    "penalty": of(
        ["None", "None", "None", "'neighbors'", "'mmd'", "'decoder_gradient'", "'radon_sobolev'",
         "FactorCritic()", "TotalCorrelation()", "'dip'", "'sliced_wasserstein'"]
    ),
    "init": of(["'linear'", "'linear'", "'random'"]),
    "calibrate": of(["True", "True", "False"]),
    "n_members": of(["1", "1", "2"]),
    "n_components": of(["1", "2", "2", "5", "'auto'"]),
    "hidden_layer_sizes": of(["(8,)", "(8, 4)", "()"]),
    "margins": of(["'scale'", "'rank'"]),
    "batch_size": of(["'auto'", "1000", "7"]),
    "early_stopping": of(["True", "False"]),
}  # fmt: skip
COMMON = {
    "max_iter": of(["1", "2", "3"]),
    "unknown": st.just("'missing'"),
    "random_state": st.just("0"),
}
OWN = {
    "VAETransformer": {**AXES, **COMMON, "whiten": of(["False", "True"])},
    "VAEOutlierDetector": {
        **AXES,
        **COMMON,
        "score_function": of(
            ["'auto'", "'local'", "'model'", "'conditional'", "'likelihood'", "'elbo'"]
        ),
        "contamination": of(["'auto'", "0.1", "0.5"]),
        "novelty": of(["'auto'", "True", "False"]),
        "trim": of(["0.0", "0.0", "0.2"]),
        "conformal": of(["None", "None", "0.3", "2"]),
    },
    "VAEImputer": {
        **COMMON,
        "n_components": of(["1", "4"]),
        "likelihood": of(["'auto'", "'normal'", "'student_t'"]),
        "refine": of(["'auto'", "None"]),
        "add_indicator": of(["False", "True"]),
        "keep_empty_features": of(["False", "True"]),
        "n_members": of(["1", "2", "4"]),
        "hidden_layer_sizes": of(["(8,)", "(8, 4)"]),
        "early_stopping": of(["True", "False"]),
    },
    "VAESynthesizer": {
        "n_components": of(["1", "4"]),
        "critic": of(["'auto'", "None"]),
        "balance": of(["'auto'", "None"]),
        "max_iter": COMMON["max_iter"],
        "n_members": of(["1", "2"]),
        "hidden_layer_sizes": of(["(8,)", "(8, 4)"]),
        "early_stopping": of(["True", "False"]),
        "random_state": st.just("0"),
    },
}
# Whatever is drawn as well, these stay as they are: an axis or two at once are enough to meet.
FEW = 3
WIDEST_IMPUTED = 100
FIXED = ("max_iter", "hidden_layer_sizes", "unknown", "random_state")
SPARSE = ("'poisson'", "'negative_binomial'", "'zero_inflated_negative_binomial'")


@st.composite
def cases(draw, large=False):
    """A table, and an estimator with a few parameters that are not the default."""
    recipe = draw(recipes(large))
    sparse = recipe.container == "csr"
    name = draw(of(list(OWN)[:2] if sparse else list(OWN)))
    if name == "VAEImputer":
        # Every column is predicted by all others, so that time grows with their square.
        recipe = replace(recipe, n_columns=min(recipe.n_columns, WIDEST_IMPUTED))
    choices = OWN[name]
    free = [key for key in choices if key not in FIXED]
    chosen = draw(st.lists(of(free), max_size=FEW, unique=True))
    params = {key: draw(choices[key]) for key in choices if key in FIXED or key in chosen}
    if sparse:
        params["likelihood"] = draw(of(SPARSE))
    elif name == "VAETransformer" and draw(of([False, False, True])):
        supervised = draw(of(["condition", "supervision"]))
        options = {"condition": ["[0]"], "supervision": ["'classes'", "'properties'"]}
        params[supervised] = draw(of(options[supervised]))
        if supervised == "condition" and recipe.container != "array":
            params[supervised] = repr([_first_name(recipe)])
    arguments = ", ".join(f"{key}={value}" for key, value in params.items())
    return Case(f"{name}({arguments})", recipe)


def _first_name(recipe):
    # Polars names a column itself whose name is empty.
    return next(iter(recipe.table().columns))


# -------------------------------------------------------------------------------------- checks


def frame_of(X):
    if hasattr(X, "to_pandas"):  # which would make whole numbers with holes inexact
        return pd.DataFrame(
            {name: pd.Series(X[name].to_list(), dtype=object) for name in X.columns}
        )
    return pd.DataFrame(X.toarray() if hasattr(X, "toarray") else np.asarray(X))


def missing_of(X):
    return missing_cells(X) if hasattr(X, "columns") else pd.isna(frame_of(X)).to_numpy()


def finite(values):
    values = np.asarray(values)
    assert np.isfinite(values).all(), f"{(~np.isfinite(values)).sum()} cells are not finite"


def check_rows(rows, n, empty):
    """A table of so many rows, with values in all columns but those never observed."""
    assert np.shape(rows)[0] == n and np.shape(rows)[1] == len(empty)
    missing = missing_of(rows)
    assert not missing[:, ~empty].any(), "missing cells came out"
    assert not has_infinity(rows), "infinite cells"


class Driver:
    """Calls methods, and sorts what they raise."""

    def __init__(self, outcome):
        self.outcome = outcome

    def __call__(self, name, function, *args, **kwargs):
        try:
            answer = function(*args, **kwargs)
        except Hangs:
            raise
        except Exception as error:
            reason = refusal(error)
            if reason is None:
                trace = "".join(traceback.format_exception(error)[-3:])
                raise AssertionError(
                    f"{name} ended in {type(error).__name__}: {error}\n{trace}"
                ) from error
            self.outcome.refused[name] = f"{type(error).__name__}: {reason}"
            return None
        self.outcome.answered.append(name)
        return answer


def refusal(error):
    """Which documented refusal an error is, or None."""
    if not isinstance(error, (ValueError, TypeError, DivergedError)):
        return None
    text = " ".join(str(error).split())
    for reason, words in REFUSALS.items():
        if re.search(words, text):
            return reason
    return None


def drive(case, seconds):
    """Fit the estimator of a case, and call each of its public methods."""
    outcome = Outcome()
    with deadline(seconds), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", category=RuntimeWarning, module=r"skvae(\..*)?")
        warnings.simplefilter("ignore", PosteriorCollapseWarning)
        X = case.recipe.table()
        estimator = case.estimator()
        call = Driver(outcome)
        y = targets(estimator, case.recipe.n_rows)
        arguments = (X,) if y is None else (X, y)
        fitted = call("fit", estimator.fit, *arguments)
        if case.recipe.infinite and has_infinity(X):
            assert fitted is None and "infinite" in outcome.refused["fit"], "took infinity"
        if fitted is None:
            return outcome
        assert fitted is estimator
        DRIVES[type(estimator)](call, estimator, case, X, y)
        return outcome


def has_infinity(X):
    cells = frame_of(X).to_numpy(dtype=object).ravel()
    return any(isinstance(cell, (float, np.floating)) and np.isinf(cell) for cell in cells)


def targets(estimator, n):
    supervision = getattr(estimator, "supervision", None)
    known = {"classes": np.arange(n) % 2, "properties": np.arange(n) / n}
    return known.get(supervision) if isinstance(supervision, str) else None


def rows_of(X, index):
    if isinstance(X, list):
        return [X[i] for i in index]
    return X[index] if hasattr(X, "toarray") else _safe_indexing(X, index)


def same_rows(call, name, function, X, n, whole):
    """Rows in another order and in other company have the same answer, bit by bit."""
    order = np.random.default_rng(0).permutation(n)
    half, one = order[: n // 2 + 1], order[:1]
    for how, index in {"in another order": order, "in another batch": half, "alone": one}.items():
        part = call(f"{name} of rows {how}", function, rows_of(X, index))
        if part is not None:
            assert_array_equal(part, whole[index], err_msg=f"other {name} of rows {how}")


def comes_back(call, estimator, method, X, expected):
    blob = call("pickle", pickle.dumps, estimator)
    again = call("unpickle", pickle.loads, blob)
    assert_array_equal(getattr(again, method)(X), expected, err_msg="other bits after pickle")
    assert repr(call("clone", clone, estimator)) == repr(estimator)


def is_empty(estimator):
    """Columns without an observed cell in fit, and conditions, which stay as they come."""
    given = getattr(estimator.codec_, "condition", ())
    columns = enumerate(estimator.codec_.columns_)
    return np.array(
        [getattr(c, "value", 0) is None or j in given or c.name in given for j, c in columns]
    )


def drive_transformer(call, vae, case, X, y):
    n, empty = case.recipe.n_rows, is_empty(vae)
    codes = call("transform", vae.transform, X)
    assert codes.shape == (n, vae.vae_.n_latents) and codes.dtype == np.float32
    finite(codes)
    same_rows(call, "transform", vae.transform, X, n, codes)
    loc, scale = call("infer", vae.infer, X)
    assert_array_equal(loc, codes)
    finite(scale)
    assert (scale >= 0).all()
    assert len(call("get_feature_names_out", vae.get_feature_names_out)) == codes.shape[1]
    check_rows(call("reconstruct", vae.reconstruct, X), n, empty)
    given = {} if vae.condition is None else {"condition": X}
    if y is not None and vae.supervision == "classes":
        given["y"] = y
    back = call("inverse_transform", vae.inverse_transform, codes, **given)
    check_rows(back, n, empty)
    some = {key: rows_of(value, [0, 1]) for key, value in given.items()}
    drawn = call("sample", vae.sample, 2 if some else 7, **some)
    check_rows(drawn, 2 if some else 7, empty)
    scores = call("score_samples", vae.score_samples, X)
    if scores is not None:
        assert scores.shape == (n,) and scores.dtype == np.float64
        finite(scores)
        same_rows(call, "score_samples", vae.score_samples, X, n, scores)
        finite(call("score_samples of 3 draws", vae.score_samples, X, n_draws=3))
        finite(call("score", vae.score, X))
    completed = call("impute", vae.impute, X)
    for table in () if completed is None else (completed, *vae.impute(X, 2, n_draws=20)):
        check_rows(table, n, empty)
    for method in ("annealed", "gibbs"):
        if completed is not None and n <= 9:
            check_rows(call(f"impute {method}", vae.impute, X, method=method), n, empty)
    path = call("interpolate", vae.interpolate, rows_of(X, [0, n - 1]), 5)
    if path is not None:
        check_rows(path, 5, empty)
    path = call("traverse", vae.traverse, rows_of(X, [0]), 0)
    if path is not None:
        check_rows(path, 7, empty)
    if vae.condition is None and y is None:
        found = call("sensitivities", vae.sensitivities)
        if found is not None:
            finite(found)
    if y is not None:
        finite(call("predict", vae.predict, X))
    if y is not None and vae.supervision == "classes":
        finite(call("predict_proba", vae.predict_proba, X))
    if y is not None and vae.supervision == "properties":
        check_rows(call("optimize", vae.optimize, X, 0.5, max_iter=2), n, empty)
    comes_back(call, vae, "transform", X, codes)
    drive_later(call, vae, X, case.recipe.other().table(), scores is not None)


def drive_later(call, vae, X, later, scored):
    """What comes after fit: later rows, another calibration, rows that stream in."""
    new = call("transform of later rows", vae.transform, later)
    if new is not None:
        finite(new)
    if scored and new is not None:
        finite(call("score_samples of later rows", vae.score_samples, later))
        call("recalibrate", vae.recalibrate, X)
        finite(call("score_samples after recalibrate", vae.score_samples, X))
    stream = call("partial_fit", clone(vae).partial_fit, X)
    if stream is not None:
        call("partial_fit again", stream.partial_fit, later)
        finite(call("transform of a stream", stream.transform, X))


def drive_detector(call, detector, case, X, y):
    n = case.recipe.n_rows
    assert np.isfinite(detector.offset_)
    scores = call("score_samples", detector.score_samples, X)
    assert scores.shape == (n,)
    finite(scores)
    same_rows(call, "score_samples", detector.score_samples, X, n, scores)
    assert_array_equal(
        call("decision_function", detector.decision_function, X), scores - detector.offset_
    )
    labels = call("predict", detector.predict, X)
    assert set(labels) <= {-1, 1}
    share = call("outlier_probability", detector.outlier_probability, X)
    if share is not None:
        finite(share)
        assert (share >= 0).all() and (share <= 1).all()
    answer = call("score", detector.score, X)
    assert answer is None or np.isfinite(answer)
    answer = call("explain", detector.explain, X, return_normal=True)
    if answer is not None:
        parts, normal = answer
        missing = missing_of(X)
        cells = parts.to_numpy(dtype=float)[:, : missing.shape[1]]
        empty = is_empty(detector)
        # Labels of rows that were kept aside or trimmed are as good as missing.
        encoded = detector._joined(X)
        modelled = cells[:, detector.codec_.modelled_index_]
        finite(modelled if encoded.mask is None else modelled[encoded.mask])
        check_rows(normal, n, empty)
    answer = call("repair", detector.repair, X, n_cells=2)
    if answer is not None:
        repaired, changed = answer
        changed = changed.to_numpy()
        assert not changed[labels > 0].any(), "an inlier was changed"
        assert (changed.sum(1) <= 2).all()
        assert_array_equal(missing_of(repaired), missing_of(X))
        same = frame_of(repaired).astype(object).where(~changed & ~missing_of(X), 0)
        assert (same == frame_of(X).astype(object).where(~changed & ~missing_of(X), 0)).all(None)
    later = case.recipe.other().table()
    new = call("score_samples of later rows", detector.score_samples, later)
    if new is not None:
        finite(new)
        p = call("p_values", detector.p_values, later, reference=X)
        assert (p > 0).all() and (p <= 1).all()
        call("select", detector.select, later, 0.2, reference=X)
        drift = call("score_drift", detector.score_drift, later)
        assert 0 <= drift.p_value <= 1
        if detector.conformal is not None:
            p = call("p_values of rows kept aside", detector.p_values, later)
            assert (p > 0).all() and (p <= 1).all()
    comes_back(call, detector, "score_samples", X, scores)
    if not case.recipe.n_rows > 200:
        call("fit_predict", clone(detector).fit_predict, X)


def drive_imputer(call, imputer, case, X, y):
    n, empty = case.recipe.n_rows, is_empty(imputer)
    if imputer.keep_empty_features:
        empty[:] = False
    missing = missing_of(X)
    completed = call("transform", imputer.transform, X)
    n_kept = int((~empty).sum())
    check_completed(completed, X, missing, empty)
    names = call("get_feature_names_out", imputer.get_feature_names_out)
    assert len(names) == completed.shape[1]
    drawn = call("impute", imputer.impute, X, 2)
    for table in drawn:
        # A frame of Polars without columns has no rows.
        assert table.shape[1] == n_kept and (len(table) == n or not n_kept)
        check_completed(table, X, missing, empty)
    lower, upper = call("predict_interval", imputer.predict_interval, X, 0.8)
    for bound in (lower, upper):
        check_completed(bound, X, missing, empty)
    later = case.recipe.other().table()
    new = call("transform of later rows", imputer.transform, later)
    if new is not None and imputer.unknown == "error":
        check_rows(new, n, np.zeros(new.shape[1], bool))
    order = np.arange(n)[::-1]
    again = call("transform of rows in another order", imputer.transform, rows_of(X, order))
    if n_kept:
        assert_array_equal(missing_of(again), missing_of(completed)[order])
    blob = call("pickle", pickle.dumps, imputer)
    back = pickle.loads(blob).transform(X)
    pd.testing.assert_frame_equal(frame_of(back), frame_of(completed), check_exact=True)
    assert repr(call("clone", clone, imputer)) == repr(imputer)
    call("fit_transform", clone(imputer).fit_transform, X)


def check_completed(table, X, missing, empty):
    if empty.all():
        return
    rows = frame_of(table).iloc[:, : int((~empty).sum())]
    assert not pd.isna(rows).to_numpy().any(), "missing cells are left"
    before = frame_of(X).loc[:, ~empty].astype(object)
    rows = rows.astype(object).set_axis(before.columns, axis=1)
    seen = ~missing[:, ~empty]
    assert (rows.where(seen, 0) == before.where(seen, 0)).all(None), "observed cells changed"


def drive_synthesizer(call, synthesizer, case, X, y):
    empty = is_empty(synthesizer)
    check_rows(call("sample", synthesizer.sample, 5), 5, empty)
    rows, size = call("sample and its worth", synthesizer.sample, 40, return_effective_size=True)
    check_rows(rows, 40, empty)
    assert 0 < size <= 40
    if empty.sum() + 1 < len(empty):
        drive_given(call, synthesizer, X, empty)
    blob = call("pickle", pickle.dumps, synthesizer)
    again, now = pickle.loads(blob).sample(5), synthesizer.sample(5)
    pd.testing.assert_frame_equal(frame_of(again), frame_of(now), check_exact=True)
    assert repr(call("clone", clone, synthesizer)) == repr(synthesizer)


def drive_given(call, synthesizer, X, empty):
    missing = missing_of(X)
    modelled = set(synthesizer.codec_.modelled_index_)
    places = [j for j in np.flatnonzero(~missing[0]) if j in modelled]
    if not places or len(modelled) < 2:
        return
    first = frame_of(rows_of(X, [0]))
    names = list(X.columns) if hasattr(X, "columns") else range(len(empty))
    given = {names[places[0]]: first.iloc[0, places[0]]}
    rows = call("sample given", synthesizer.sample, 3, given=given)
    if rows is not None:
        check_rows(rows, 3, empty)


DRIVES = {
    VAETransformer: drive_transformer,
    VAEOutlierDetector: drive_detector,
    VAEImputer: drive_imputer,
    VAESynthesizer: drive_synthesizer,
}


# ---------------------------------------------------------------------------------- many cases


# Tables that differ in fewer traits than these are near copies: Hypothesis varies what it drew.
LEAST_TRAITS = 3


def n_traits_apart(recipe, other) -> int:
    """In how many traits two tables differ."""
    return sum(getattr(recipe, trait) != getattr(other, trait) for trait in vars(recipe))


def each_case(act, n_cases, seed_number=None, large=False):
    """Call ``act`` with so many cases, no near copies; of one seed the same ones every time."""
    driven = []

    @given(cases(large))
    def run(case):
        assume(all(n_traits_apart(case.recipe, other) >= LEAST_TRAITS for other in driven))
        act(case)
        # One that failed is called again, and is not a copy of itself.
        driven.append(case.recipe)

    run = settings(
        max_examples=n_cases,
        deadline=None,
        database=None,
        derandomize=seed_number is None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )(run)
    run = run if seed_number is None else seed(seed_number)(run)
    run()
