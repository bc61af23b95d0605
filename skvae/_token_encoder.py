"""TokenEncoder: strings to columns of whole numbers, and back."""

from __future__ import annotations

import re
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted, validate_data

# Tokens of notations; what no alternative takes is a token of one character.
PATTERNS = {
    "characters": r"(?s:.)",
    # Atoms in brackets, those of two letters, and rings of two digits are one token each.
    "smiles": r"(?s:\[[^\]]*\]|Br|Cl|%\d\d|.)",
    "selfies": r"(?s:\[[^\]]*\]|.)",
}
# The end of a string, and what stands behind it.
END = 0


class TokenEncoder(TransformerMixin, BaseEstimator):
    """Strings as columns of whole numbers, one per token, and back.

    The columns are of the kind "token": ``VAETransformer(likelihood="token_sequence")`` models
    a table of them alone, and ``column_kinds={name: "token", ...}`` names them in another.

    Parameters
    ----------
    max_length : int or None, default=None
        Number of tokens that the longest string may have.  None takes that of the longest one
        in ``fit``.
    pattern : {"characters", "smiles", "selfies"} or str, default="characters"
        What a token is, as a regular expression that all of a string must be made of.
        ``"smiles"`` takes atoms in brackets, ``Br``, ``Cl`` and ``%10`` for one token each,
        ``"selfies"`` whatever is in brackets.
    unknown : {"error", "missing"}, default="error"
        What to do with a token that ``fit`` did not see, and with a missing string: an error, or
        NaN in the place of the token, or of the whole string.

    Attributes
    ----------
    tokens_ : list of str
        The tokens in the order of their numbers, from 1 on; 0 stands for the end of a string, and
        for all that follows it.
    max_length_ : int
        Number of columns.

    Raises
    ------
    ValueError
        If a string is longer than ``max_length_``, has a token that is unknown, or is not made
        of tokens.

    Examples
    --------
    >>> from skvae import TokenEncoder
    >>> encoder = TokenEncoder(pattern="smiles").fit(["CCO", "CCl", "c1ccccc1"])
    >>> encoder.tokens_
    ['1', 'C', 'Cl', 'O', 'c']
    >>> encoder.transform(["CCO"])
    array([[2, 2, 4, 0, 0, 0, 0, 0]])
    >>> encoder.inverse_transform(encoder.transform(["ClC1CC1"]))
    array(['ClC1CC1'], dtype=object)
    """

    _parameter_constraints = {
        "max_length": [None, Interval(Integral, 1, None, closed="left")],
        "pattern": [str],
        "unknown": [StrOptions({"error", "missing"})],
    }

    def __init__(self, max_length=None, pattern="characters", unknown="error"):
        self.max_length = max_length
        self.pattern = pattern
        self.unknown = unknown

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Learn which tokens there are, and how long strings become.

        Parameters
        ----------
        X : array-like of str of shape (n_samples,) or (n_samples, 1)
            Strings, as a list, an array, or one column of a DataFrame.
        y : None
            Ignored.

        Returns
        -------
        self : TokenEncoder
            The fitted encoder.
        """
        split = [self._split(s, row) for row, s in enumerate(self._strings(X, reset=True))]
        longest = max((len(tokens) for tokens in split if tokens is not None), default=0)
        if longest == 0:
            raise ValueError(
                f"TokenEncoder.fit found no token in {len(split)} strings. Pass at least one "
                "string that is not empty."
            )
        self.max_length_ = longest if self.max_length is None else int(self.max_length)
        for row, tokens in enumerate(split):
            self._check_length(tokens, row)
        self.tokens_ = sorted({token for tokens in split for token in tokens or ()})
        return self

    def transform(self, X):
        """Numbers of the tokens of each string.

        Parameters
        ----------
        X : array-like of str of shape (n_samples,) or (n_samples, 1)
            Strings.

        Returns
        -------
        columns : ndarray of shape (n_samples, n_places)
            Whole numbers, 0 behind the end of a string; with ``unknown="missing"`` floats.
        """
        check_is_fitted(self)
        number = {token: i for i, token in enumerate(self.tokens_, END + 1)}
        strings = self._strings(X)
        columns = np.full((len(strings), self.max_length_), float(END))
        for row, string in enumerate(strings):
            tokens = self._split(string, row)
            if tokens is None:
                columns[row] = np.nan
                continue
            self._check_length(tokens, row)
            found = [number.get(token, np.nan) for token in tokens]
            if self.unknown == "error" and np.isnan(found).any():
                new = next(token for token in tokens if token not in number)
                raise ValueError(
                    f"TokenEncoder found the token {new!r}, unseen in fit, in {string!r} of row "
                    f'{row}. Use unknown="missing" to treat such tokens as missing.'
                )
            columns[row, : len(found)] = found
        return columns if self.unknown == "missing" else columns.astype(np.int64)

    def inverse_transform(self, X):
        """Strings of rows of numbers.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_places)
            Numbers of tokens; a string ends at the first 0.

        Returns
        -------
        strings : ndarray of str of shape (n_samples,)
            Strings; None for a row in which a number before the end is missing.
        """
        check_is_fitted(self)
        numbers = np.asarray(X, dtype=np.float64)
        if numbers.ndim != 2 or numbers.shape[1] != self.max_length_:
            raise ValueError(
                f"TokenEncoder.inverse_transform expects {self.max_length_} columns, as transform "
                f"gives, got shape {numbers.shape}."
            )
        outside = (numbers < END) | (numbers > len(self.tokens_)) | (numbers % 1 != 0)
        outside &= ~np.isnan(numbers)
        if outside.any():
            row, column = np.argwhere(outside)[0]
            raise ValueError(
                f"TokenEncoder.inverse_transform expects whole numbers from {END} to "
                f"{len(self.tokens_)}, got {numbers[row, column]} in row {row}."
            )
        strings = np.empty(len(numbers), dtype=object)
        strings[:] = [self._joined(row) for row in numbers]
        return strings

    def get_feature_names_out(self, input_features=None):
        """Names of the columns: that of the strings, and the place of the token.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Name of the column of strings, where it is not that of ``fit``.

        Returns
        -------
        names : ndarray of str
            ``"smiles_0"``, ``"smiles_1"``, and so on.
        """
        check_is_fitted(self)
        (name,) = _check_feature_names_in(self, input_features)
        return np.array([f"{name}_{place}" for place in range(self.max_length_)], dtype=object)

    def _joined(self, row: np.ndarray) -> str | None:
        ends = np.flatnonzero(row == END)
        row = row[: ends[0]] if len(ends) else row
        if np.isnan(row).any():
            return None
        return "".join(self.tokens_[int(number) - 1] for number in row)

    def _strings(self, X, reset: bool = False) -> np.ndarray:
        """The strings, and the name of their column."""
        if isinstance(X, str):
            raise ValueError(
                f"TokenEncoder expects a column of strings, got the string {X!r}. Pass [{X!r}]."
            )
        if np.ndim(X) == 1:
            if reset:
                self.n_features_in_ = 1
                name = getattr(X, "name", None)
                if isinstance(name, str):
                    self.feature_names_in_ = np.array([name], dtype=object)
                elif hasattr(self, "feature_names_in_"):
                    del self.feature_names_in_
            return np.asarray(X, dtype=object)
        X = validate_data(self, X, reset=reset, dtype=object, ensure_all_finite=False)
        if X.shape[1] != 1:
            raise ValueError(
                f"TokenEncoder expects one column of strings, got {X.shape[1]}. Use one encoder "
                "per column, as in a ColumnTransformer."
            )
        return X[:, 0]

    def _split(self, string: Any, row: int) -> list[str] | None:
        """Tokens of a string; None where it is missing and may be."""
        if not isinstance(string, str):
            missing = _is_missing(string)
            if missing and self.unknown == "missing":
                return None
            hint = ' Use unknown="missing" to allow for missing ones.' if missing else ""
            raise ValueError(
                f"TokenEncoder expects strings, got {string!r} of type {type(string).__name__} in "
                f"row {row}.{hint}"
            )
        found = re.finditer(PATTERNS.get(self.pattern, self.pattern), string)
        tokens = [match.group() for match in found]
        if "".join(tokens) != string:
            raise ValueError(
                f"TokenEncoder(pattern={self.pattern!r}) does not take all of {string!r} in row "
                f"{row}: the tokens are {tokens!r}. Let another alternative of the pattern, as "
                '"|.", take the rest.'
            )
        return tokens

    def _check_length(self, tokens: list[str] | None, row: int) -> None:
        if tokens is not None and len(tokens) > self.max_length_:
            raise ValueError(
                f"TokenEncoder has {self.max_length_} columns, and the string of row {row} "
                f"has {len(tokens)} tokens. Fit with max_length={len(tokens)} or more."
            )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.input_tags.allow_nan = self.unknown == "missing"
        return tags


def _is_missing(cell: Any) -> bool:
    # Nothing is equal to NaN, and what pandas has for it is the answer to any question.
    return cell is None or (cell != cell) is cell or (isinstance(cell, float) and cell != cell)
