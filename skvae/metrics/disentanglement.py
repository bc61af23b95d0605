"""How far each latent stands for one known factor of the rows, and each factor has one latent."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, mutual_info_score
from sklearn.model_selection import train_test_split
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_consistent_length

# Codes whose variance is below this part of that of all latents say nothing.
ACTIVE_SHARE = 1e-4
# A factor of no more values than this is made of classes, whatever its dtype.
MAX_CLASSES = 10


class DCI(NamedTuple):
    """Scores of Eastwood and Williams, each from 0 to 1.

    Parameters
    ----------
    disentanglement : float
        How far each latent is important for one factor alone.
    completeness : float
        How far one latent alone is important for each factor.
    informativeness : float
        How well the factors are predicted from all latents together, on rows held out: mean of
        R squared, or of accuracy above that of the commonest class.
    """

    disentanglement: float
    completeness: float
    informativeness: float


def mutual_information_gap(codes, factors, n_bins=20) -> float:
    """Mutual information gap: how much more one latent tells of a factor than the next one.

    Parameters
    ----------
    codes : array-like of shape (n_samples, n_components)
        What ``transform`` gives.
    factors : array-like or DataFrame of shape (n_samples, n_factors)
        What is known of the rows: classes or numbers.
    n_bins : int, default=20
        Bins of equal frequency into which numbers are put.

    Returns
    -------
    gap : float
        Mean over factors, in units of the entropy of the factor: 1 if one latent determines it
        and no other tells anything, 0 if two tell as much.

    References
    ----------
    Chen et al., Isolating Sources of Disentanglement in Variational Autoencoders, 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.metrics import mutual_information_gap
    >>> factors = np.random.default_rng(0).normal(size=(5000, 2))
    >>> round(mutual_information_gap(factors, factors), 1)
    1.0
    """
    codes, columns = _checked(codes, factors)
    binned = [_binned(column, n_bins) for column in codes.T]
    gaps = []
    for values, is_class in columns:
        labels = values if is_class else _binned(values, n_bins)
        told = np.sort([mutual_info_score(labels, code) for code in binned])
        second = told[-2] if len(told) > 1 else 0.0
        gaps.append((told[-1] - second) / mutual_info_score(labels, labels))
    return float(np.mean(gaps))


def factor_vae_score(
    codes, factors, n_votes=800, n_rows=64, n_bins=10, random_state=None
) -> float:
    """Score of FactorVAE: can the factor that is held be told by the latent that varies least.

    Parameters
    ----------
    codes : array-like of shape (n_samples, n_components)
        What ``transform`` gives.
    factors : array-like or DataFrame of shape (n_samples, n_factors)
        What is known of the rows: classes or numbers.
    n_votes : int, default=800
        Groups of rows that share the value of a factor.
    n_rows : int, default=64
        Rows in each.
    n_bins : int, default=10
        Bins of equal frequency into which numbers are put.
    random_state : int, RandomState instance or None, default=None
        Chooses factors, values and rows.

    Returns
    -------
    score : float
        Share of votes in agreement with the majority of their latent, 1 at best; about one
        over the number of factors where codes tell nothing.

    References
    ----------
    Kim and Mnih, Disentangling by Factorising, 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.metrics import factor_vae_score
    >>> factors = np.random.default_rng(0).normal(size=(5000, 2))
    >>> factor_vae_score(factors, factors, random_state=0)
    1.0
    """
    codes, columns = _checked(codes, factors)
    random = check_random_state(random_state)
    spread = codes.var(0)
    active = spread > ACTIVE_SHARE * max(spread.max(), 1e-300)
    codes, spread = codes[:, active], spread[active]
    labels = [values if is_class else _binned(values, n_bins) for values, is_class in columns]
    votes = np.zeros((codes.shape[1], len(labels)))
    for _ in range(n_votes):
        factor = random.randint(len(labels))
        held = labels[factor][random.randint(len(codes))]
        rows = random.choice(np.flatnonzero(labels[factor] == held), n_rows)
        votes[(codes[rows].var(0) / spread).argmin(), factor] += 1
    return float(votes.max(1).sum() / n_votes)


def dci(codes, factors, random_state=None) -> DCI:
    """Disentanglement, completeness and informativeness by boosted trees.

    Parameters
    ----------
    codes : array-like of shape (n_samples, n_components)
        What ``transform`` gives.
    factors : array-like or DataFrame of shape (n_samples, n_factors)
        What is known of the rows: classes or numbers.
    random_state : int, RandomState instance or None, default=None
        Splits the rows, a third of which are held out, and seeds the trees.

    Returns
    -------
    scores : DCI
        1 at best.

    References
    ----------
    Eastwood and Williams, A Framework for the Quantitative Evaluation of Disentangled
    Representations, 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.metrics import dci
    >>> factors = np.random.default_rng(0).normal(size=(500, 2))
    >>> bool(min(dci(factors, factors, random_state=0)) > 0.9)
    True
    """
    codes, columns = _checked(codes, factors)
    random = check_random_state(random_state)
    seed = random.randint(np.iinfo(np.int32).max)
    train, test = train_test_split(np.arange(len(codes)), test_size=1 / 3, random_state=seed)
    importances, informed = [], []
    for values, is_class in columns:
        kind = GradientBoostingClassifier if is_class else GradientBoostingRegressor
        model: Any = kind(n_estimators=30, random_state=seed).fit(codes[train], values[train])
        importances.append(model.feature_importances_)
        score, base = model.score(codes[test], values[test]), 0.0
        if is_class:
            base = np.bincount(values[test]).max() / len(test)
        informed.append(max((score - base) / max(1.0 - base, 1e-12), 0.0))
    weight = np.array(importances).T
    return DCI(_purity(weight), _purity(weight.T), float(np.mean(informed)))


def separated_predictability(codes, factors, random_state=None) -> float:
    """Separated attribute predictability: how much better one latent predicts than the next.

    Parameters
    ----------
    codes : array-like of shape (n_samples, n_components)
        What ``transform`` gives.
    factors : array-like or DataFrame of shape (n_samples, n_factors)
        What is known of the rows: classes or numbers.
    random_state : int, RandomState instance or None, default=None
        Splits the rows, half of which are held out, where factors are classes.

    Returns
    -------
    gap : float
        Mean over factors of the difference between the two latents that predict best, each
        alone and linearly, in R squared or balanced accuracy.

    References
    ----------
    Kumar, Sattigeri and Balakrishnan, Variational Inference of Disentangled Latent Concepts
    from Unlabeled Observations, 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.metrics import separated_predictability
    >>> factors = np.random.default_rng(0).normal(size=(5000, 2))
    >>> round(separated_predictability(factors, factors), 1)
    1.0
    """
    codes, columns = _checked(codes, factors)
    random = check_random_state(random_state)
    seed = random.randint(np.iinfo(np.int32).max)
    train, test = train_test_split(np.arange(len(codes)), test_size=0.5, random_state=seed)
    standard = (codes - codes.mean(0)) / np.maximum(codes.std(0), 1e-12)
    gaps = []
    for values, is_class in columns:
        if is_class:
            found = [_accuracy(code[:, None], values, train, test) for code in standard.T]
        else:
            scaled = (values - values.mean()) / values.std()
            found = ((standard * scaled[:, None]).mean(0) ** 2).tolist()
        first, second = np.sort([0.0, *found])[[-1, -2]]
        gaps.append(first - second)
    return float(np.mean(gaps))


def _accuracy(code, values, train, test) -> float:
    model = LogisticRegression(class_weight="balanced").fit(code[train], values[train])
    return balanced_accuracy_score(values[test], model.predict(code[test]))


def _purity(weight: np.ndarray) -> float:
    """Mean over rows of one minus the entropy of their shares, rows weighed by their sum."""
    total = weight.sum(1)
    if weight.shape[1] == 1 or not total.any():
        return float(total.any())
    share = weight / np.maximum(total, 1e-300)[:, None]
    entropy = -(share * np.log(np.maximum(share, 1e-300))).sum(1) / np.log(weight.shape[1])
    return float(((1.0 - entropy) * total).sum() / total.sum())


def _binned(values: np.ndarray, n_bins: int) -> np.ndarray:
    """Numbers of bins of equal frequency; equal values share a bin."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, n_bins + 1)[1:-1]))
    # A least value that fills a bin has it for itself.
    edges[0] = max(edges[0], np.nextafter(values.min(), np.inf))
    return np.searchsorted(edges, values, side="right")


def _checked(codes, factors) -> tuple[np.ndarray, list[tuple[np.ndarray, bool]]]:
    """Codes, and each factor as numbers or numbers of classes with whether it is of classes."""
    codes = check_array(codes, dtype=np.float64, input_name="codes")
    columns = []
    if hasattr(factors, "columns"):
        raw = [np.asarray(factors[name]) for name in factors.columns]
    else:
        raw = list(np.atleast_2d(np.asarray(factors).T))
    check_consistent_length(codes, raw[0])
    for place, values in enumerate(raw):
        kinds, numbers = np.unique(values, return_inverse=True)
        if len(kinds) < 2:
            raise ValueError(
                f"A measure of disentanglement needs factors that vary, and factor {place} has "
                f"the one value {kinds.tolist()[0]!r}. Leave it out."
            )
        is_class = values.dtype.kind not in "fiu" or len(kinds) <= MAX_CLASSES
        columns.append((numbers.ravel() if is_class else values.astype(np.float64), is_class))
    return codes, columns
