"""Generated tables through every public method: right, finite answers or documented refusals.

``tables.py`` makes the tables, ``driving.py`` says what must hold.  What ever failed is in
``FAILED``; ``benchmarks/robustness.py`` tries many more and counts them.
"""

from itertools import combinations

import numpy as np
import pytest
from driving import (
    LEAST_TRAITS,
    REFUSALS,
    Case,
    Hangs,
    drive,
    each_case,
    n_traits_apart,
    refusal,
)
from tables import KINDS, Recipe

from skvae import VAETransformer

# Seconds that a table may take, on a busy machine too.
LONGEST = 120
N_PIECES = 35


def test_tables():
    """Forty of them, the same ones every time."""
    each_case(lambda case: drive(case, LONGEST), 40)


@pytest.mark.parametrize("large", [False, True])
def test_tables_are_no_near_copies(large):
    found, again = [], []
    for cases in (found, again):
        each_case(cases.append, 40, 0, large)
    assert found == again and len(found) == 40
    pairs = combinations([case.recipe for case in found], 2)
    assert min(n_traits_apart(*pair) for pair in pairs) >= LEAST_TRAITS


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("piece", range(N_PIECES))
def test_many_tables(piece):
    """More than a thousand different ones, every fifth piece with large ones."""
    each_case(lambda case: drive(case, 10 * LONGEST), 40, piece, large=piece % 5 == 4)


QUICK = "hidden_layer_sizes=(8,), max_iter=1, unknown='missing', random_state=0"
FAILED = {
    "folds of which one leaves a single row": Case(
        f"VAEOutlierDetector({QUICK}, conformal=2, likelihood='poisson')",
        Recipe(("counts", "zero", "rare counts"), n_rows=3, container="csr", seed=123),
    ),
    "imputing a sparse table": Case(
        f"VAETransformer({QUICK}, likelihood='poisson')",
        Recipe(("counts",), n_rows=2, n_columns=1, container="csr", dtype="float16"),
    ),
    "whole numbers of which one value is left": Case(
        f"VAETransformer({QUICK})",
        Recipe(
            ("category", "arrow whole"), n_rows=4, n_columns=10, container="pandas",
            names="long", holes=0.9, seed=207,
        ),
    ),
    "filling a category that was empty in fit": Case(
        f"VAETransformer({QUICK})",
        Recipe(
            ("category of floats", "flag objects", "objects", "Int64", "bool", "spikes"),
            n_rows=12, n_columns=5, container="pandas", names="long", holes=0.9, repeated=1.0,
            seed=614,
        ),
    ),
    "filling nullable numbers that were empty in fit": Case(
        f"VAEImputer({QUICK}, n_components=1)",
        Recipe(("empty nullable",), container="pandas", names="numbers", holes=0.9, seed=191),
    ),
    "a row without gaps among rows with some": Case(
        f"VAETransformer({QUICK}, condition=[0])",
        Recipe(
            ("far", "huge", "shifted", "shifted", "log-normal"), n_rows=6, n_columns=7,
            dtype="longdouble", holes=0.05, hole_rows=True, seed=2,
        ),
    ),
    "a row without gaps, kinds mixed": Case(
        "VAETransformer(init='random', n_members=2, n_components=2, hidden_layer_sizes=(8, 4), "
        "max_iter=2, unknown='missing', random_state=0)",
        Recipe(
            ("category", "rounded", "UInt16", "rounded", "rounded", "category"), n_rows=7,
            n_columns=5, container="pandas", names="numbers", holes=0.05, seed=20,
        ),
    ),
    "neighbours that are equally near": Case(
        "VAETransformer(penalty='neighbors', hidden_layer_sizes=(), max_iter=3, "
        "unknown='missing', random_state=0)",
        Recipe(
            ("flags", "flags", "flags", "flags", "zero", "flags"), n_rows=65, n_columns=10,
            container="pandas", names="like arrays", holes=0.3, repeated=0.5, seed=319,
        ),
    ),
    "numbers whose logarithms are all the same": Case(
        "VAETransformer(hidden_layer_sizes=(8, 4), max_iter=2, unknown='missing', random_state=0)",
        Recipe(
            ("far", "rare flags", "category of numbers", "category of numbers", "normal"),
            n_rows=100, n_columns=4, container="polars", names="letters", hole_rows=True, seed=750,
        ),
    ),
    "a polars column without a name": Case(
        f"VAEOutlierDetector({QUICK}, view='denoising')",
        Recipe(
            ("shifted",), n_rows=60, n_columns=3, container="polars", names="odd",
            hole_rows=True, seed=42,
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAILED)
def test_what_once_failed(name):
    drive(FAILED[name], LONGEST)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_column(kind):
    """Beside a plain column, so that there is something to model."""
    recipe = Recipe((kind, "Float64"), n_columns=2, container="pandas", holes=0.1, seed=3)
    assert "transform" in drive(Case(f"VAETransformer({QUICK})", recipe), LONGEST).answered


# ---------------------------------------------------------------------- what the checks can see


def broken(monkeypatch, method, answer):
    whole = getattr(VAETransformer, method)
    monkeypatch.setattr(VAETransformer, method, lambda self, X, **k: answer(whole(self, X, **k)))
    drive(Case(f"VAETransformer({QUICK})", Recipe(("normal",), holes=0.1)), LONGEST)


def spoilt(values):
    values = values.copy()
    values[-1] = np.nan
    return values


def raises(error):
    def answer(values):
        raise error

    return answer


@pytest.mark.parametrize(
    ("method", "answer", "words"),
    [
        ("transform", spoilt, "not finite"),
        ("score_samples", spoilt, "not finite"),
        ("reconstruct", spoilt, "missing cells came out"),
        ("score_samples", lambda scores: scores - scores.mean(), "of rows in another"),
        ("reconstruct", raises(KeyError("x")), "ended in KeyError"),
        (
            "reconstruct",
            raises(ValueError("operands could not be broadcast")),
            "ended in ValueErr",
        ),
    ],
)
def test_a_broken_estimator_is_found(method, answer, words, monkeypatch):
    with pytest.raises(AssertionError, match=words):
        broken(monkeypatch, method, answer)


def test_a_hang_is_found(monkeypatch):
    monkeypatch.setattr(VAETransformer, "fit", lambda self, X: [None for _ in iter(int, 1)])
    with pytest.raises(Hangs, match="no answer in 1 seconds"):
        drive(Case(f"VAETransformer({QUICK})", Recipe(("normal",))), 1)


def test_infinity_is_refused():
    for container in ("array", "pandas", "polars"):
        recipe = Recipe(("normal",), container=container, infinite=True)
        outcome = drive(Case(f"VAETransformer({QUICK})", recipe), LONGEST)
        assert outcome.refused == {"fit": "ValueError: infinite"} and not outcome.answered


def test_words_of_others_are_no_refusal():
    assert refusal(ValueError("shapes (3,) and (4,) not aligned")) is None
    assert refusal(KeyError("X contains infinity or a value too large")) is None
    assert len(REFUSALS) < 25, "too much is refused"
