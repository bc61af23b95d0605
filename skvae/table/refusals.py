"""What the tables refuse, and the words for it."""

from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

import numpy as np

# Text columns may repeat freely up to here; above, half of the rows is the limit.
FREE_TEXT_CATEGORIES = 50


def refuse_duplicates(names: list) -> None:
    """Raise when two columns share a name."""
    if len(set(names)) < len(names):
        twice = sorted({str(name) for name in names if names.count(name) > 1})
        raise ValueError(
            f"Expected unique column names, got duplicates: {', '.join(map(repr, twice))}. "
            "Rename or drop them."
        )


def refuse_column(name: Any, dtype: Any, repair: str) -> None:
    """Raise for a column that is no number, boolean or category."""
    raise TypeError(
        f"Column {name!r} of dtype {dtype} cannot be encoded: expected numbers, booleans, "
        f"dates, strings or categories. Repair: {repair}."
    )


_CELLS = {
    "numeric": "numbers",
    "boolean": "booleans",
    "categorical": "labels",
    "datetime": "date-times",
}


_MAKERS = {"datetime": ", as by pd.to_datetime"}


def refuse_role(name: Any, role: str, expected: str) -> None:
    """Raise for a column whose cells are of another sort than in fit."""
    raise TypeError(
        f"Column {name!r} held {_CELLS[expected]} in fit and holds {_CELLS[role]} now. Pass the "
        f"column with the dtype that it had in fit{_MAKERS.get(expected, '')}."
    )


def refuse_sparse(name: str, dense: Iterable[str] = ()) -> None:
    """Raise for a sparse matrix, in scikit-learn's words and with the remedy.

    ``dense`` are the parameters in use that no sparse matrix goes with.
    """
    without = "".join(f", and without {parameter}" for parameter in dense)
    raise TypeError(
        f"Sparse data was passed for X, but dense data is required by this {name}. Use "
        "'.toarray()' to convert to a dense numpy array. Counts and flags may stay sparse with "
        "a likelihood of theirs, as VAETransformer(likelihood='negative_binomial') and "
        f"'bernoulli'{without}."
    )


def refuse_complex(name: Any) -> None:
    """Raise for complex numbers, in scikit-learn's words."""
    raise ValueError(
        f"Complex data not supported: column {name!r} holds complex numbers. Pass the real "
        "and the imaginary part as two columns."
    )


def refuse_string(text: Any, why: str) -> None:
    """Raise for a string where a number should be, in scikit-learn's words."""
    raise ValueError(f"could not convert string to float: {text!r} ({why})")


def refuse_array(X: Any, error: TypeError | ValueError) -> NoReturn:
    """Raise what scikit-learn has raised for an array, with the remedy where it has none."""
    row = next(iter(X), None) if isinstance(X, list) else X
    if isinstance(row, Mapping):
        # The words of scikit-learn would show all of it.
        raise ValueError(
            "Expected 2D array, got dictionaries. Make them a frame: pd.DataFrame(rows) of a "
            "list, pd.DataFrame([row]) of one row."
        ) from None
    repair = _repair_of_array(X)
    if repair is None:
        raise error
    kind = TypeError if isinstance(error, TypeError) else ValueError
    raise kind(f"{str(error).rstrip('. ')}. {repair}") from error


def _repair_of_array(X: Any) -> str | None:
    if hasattr(X, "to_frame"):
        return "A Series is no table. Of a frame, X.iloc[[i]] is one of one row."
    try:
        X = np.asarray(X)
    except ValueError:
        return "All rows should have one length: let shorter ones end in NaN."
    if X.ndim > 2:
        return (
            "Make each sample one row, as by X.reshape(len(X), -1); networks of images and "
            "sequences have a parameter for the shape."
        )
    texts = X.dtype.kind == "O" and any(isinstance(cell, str) for cell in X.flat)
    if X.ndim == 2 and (texts or X.dtype.kind in "US"):
        return (
            "An array holds numbers alone. Text and categories need a DataFrame: pass that, or "
            "let the step before give one by set_output(transform='pandas')."
        )
    return None


def refuse_infinite(name: Any) -> None:
    """Raise for infinite cells, in scikit-learn's words and with the column."""
    raise ValueError(
        "Input X contains infinity or a value too large for dtype('float64'). The first one "
        f"is in column {name!r}; replace it by NaN to treat it as missing."
    )


def plain_labels(name: Any, dtype: Any, labels: Iterable) -> list:
    """Return categories as plain Python objects; refuse any others."""
    plain = [label.item() if isinstance(label, np.generic) else label for label in labels]
    for label in plain:
        if not isinstance(label, (str, bool, int, float)):
            refuse_column(
                name,
                f"{dtype} with categories of type {type(label).__name__}",
                'make the categories strings first, .astype(str).astype("category")',
            )
    return plain


def refuse_unseen(name: Any, unseen: list, known: list) -> None:
    """Raise for categories that fit has not seen, if there are any."""
    if unseen:
        raise ValueError(
            f"Column {name!r} holds categories unseen in fit: {_listed(unseen, 5)}; expected one "
            f"of {_listed(known, 10)}. Replace them by missing cells, or fit with "
            'unknown="missing", which does so.'
        )


def _listed(labels: list, most: int) -> str:
    # Numbers are read as floats, also where they came as integers.
    plain = [int(x) if isinstance(x, float) and x.is_integer() else x for x in labels[:most]]
    return ", ".join(map(repr, plain)) + (", ..." if len(labels) > most else "")


def refuse_free_text(name: Any, n_labels: int, n_rows: int) -> None:
    """Raise when a string column has so many values that it is text, not categories."""
    if n_labels > max(FREE_TEXT_CATEGORIES, n_rows / 2):
        raise ValueError(
            f"Column {name!r} looks like free text: expected at most "
            f"{FREE_TEXT_CATEGORIES} categories or one per two rows, got {n_labels} different "
            f"strings in {n_rows} rows. Drop the column, turn it into numbers (an embedding, "
            "a hash, a count), or declare its categories with a categorical dtype."
        )
