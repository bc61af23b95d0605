"""VAEImputer: categories in an order are filled by their median level."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from skvae import VAEImputer
from skvae.imputation.codec import ImputationCodec
from skvae.imputation.layout import Layout

LEVELS = ["never", "rarely", "sometimes", "often", "always"]


def ratings(n=300, seed=0):
    """Codes of six questions that one attitude answers."""
    rng = np.random.default_rng(seed)
    noisy = rng.normal(size=(n, 1)) + 0.8 * rng.normal(size=(n, 6))
    return np.digitize(noisy, [-1.2, -0.4, 0.4, 1.2])


def frame(codes, hidden, ordered):
    labels = pd.CategoricalDtype(LEVELS, ordered=ordered)
    table = pd.DataFrame(np.array(LEVELS)[codes], columns=list("abcdef")).astype(labels)
    return table.mask(hidden)


def codes_of(table):
    return np.column_stack([table[name].cat.codes for name in table])


@pytest.fixture(scope="module")
def filled():
    """Codes, hidden cells, and the table filled by an imputer that knows of an order or not."""
    codes = ratings()
    hidden = np.random.default_rng(1).uniform(size=codes.shape) < 0.25
    imputers = {
        ordered: VAEImputer(random_state=0).fit(frame(codes, hidden, ordered))
        for ordered in (True, False)
    }
    return codes, hidden, imputers


def error(codes, hidden, imputer, ordered):
    found = codes_of(imputer.transform(frame(codes, hidden, ordered)))
    return np.abs(found - codes)[hidden].mean()


def test_levels_are_closer_where_the_order_is_known(filled):
    codes, hidden, imputers = filled
    known = error(codes, hidden, imputers[True], ordered=True)
    assert known < 0.96 * error(codes, hidden, imputers[False], ordered=False)


def test_an_order_changes_no_draw(filled):
    codes, hidden, imputers = filled
    drawn = [
        codes_of(imputers[ordered].impute(frame(codes, hidden, ordered), 1)[0])
        for ordered in (True, False)
    ]
    assert_array_equal(*drawn)


def test_an_order_may_be_asked_for():
    kinds = {"x0": "ordinal", "x1": "categorical"}
    codec = ImputationCodec(column_kinds=kinds).fit(ratings(50)[:, :3].astype(float))
    assert [codec.modelled_names_[slot] for slot in codec.in_order()] == ["x0"]


def test_rare_labels_have_no_place_in_an_order():
    many = [f"{number:03d}" for number in range(300)]
    X = pd.DataFrame({"many": pd.Categorical(many * 2, many, ordered=True)})
    assert ImputationCodec().fit(X).in_order() == []


@pytest.mark.parametrize("ordered, best", [((), [0, 2, 1]), ((0,), [1, 2, 1])])
def test_the_median_halves_the_probability(ordered, best):
    shares = np.array([[0.4, 0.25, 0.35], [0.0, 0.0, 1.0], [0.2, 0.5, 0.3]])
    layout = Layout((("categorical", (3,)),), ordered)
    assert_array_equal(layout.point(shares)[:, 0], best)
