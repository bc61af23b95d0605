"""Graphs of the default score where rounding would come out in nats."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

pytest.importorskip("onnxruntime")

from test_export_onnx import TOLERANCE, error, run  # noqa: E402

from skvae import VAEOutlierDetector  # noqa: E402
from skvae.export import to_onnx  # noqa: E402
from skvae.scores.neighbors import Neighbors  # noqa: E402
from skvae.scores.surprise import Surprise  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning")
SETTINGS = {"max_iter": 10, "random_state": 0}


def _certain():
    """Columns that others determine, but for a few cells: all but certain ones are the rule."""
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 3, 300)
    X = pd.DataFrame({"kind": np.array(["a", "b", "c"])[kind], "flag": kind == 1})
    X["other"] = np.where(rng.random(300) < 0.01, "y", np.array(["x", "y", "x"])[kind])
    X["level"] = np.where(rng.random(300) < 0.9, 1.0, rng.integers(2, 9, 300))
    X["size"] = np.round(kind + 0.1 * rng.normal(size=300), 3)
    X.loc[rng.random(300) < 0.05, ["kind", "size"]] = None
    return X


def _tied():
    """Categories alone: of each row, many others are at one distance."""
    rng = np.random.default_rng(1)
    return pd.DataFrame({f"{n} labels": rng.choice(list("abcde"[:n]), 300) for n in range(2, 6)})


def _counted():
    """Counts of wide range, whose residuals are many nats: rounding parts a row from itself."""
    rng = np.random.default_rng(2)
    means = np.minimum(np.exp(rng.normal(5.0, 3.0, (300, 5))), 1e6)
    X = pd.DataFrame(rng.poisson(means) * (rng.random((300, 5)) > 0.4), columns=list("abcde"))
    return X.assign(x=np.round(rng.normal(size=300), 2))


TABLES = {"certain": _certain, "tied": _tied, "counted": _counted}
# Of cells that are all but certain float32 rounds what is left: up to 1.4e-5 over eight seeds.
LIMITS = dict.fromkeys(TABLES, TOLERANCE) | {"certain": 2e-5}


@pytest.mark.parametrize("name", TABLES)
def test_the_default_score_agrees_in_every_row(name):
    X = TABLES[name]()
    detector = VAEOutlierDetector(2, **SETTINGS).fit(X[:220])
    found = run(to_onnx(detector), X)["decision_function"]
    wanted = detector.decision_function(X)
    for rows in (slice(220), slice(220, None)):
        assert error(found[rows], wanted[rows]) < LIMITS[name]


def test_rows_at_one_distance_count_alike_in_whatever_order():
    """Negative control: the mean of those that a search finds first depends on the order."""
    rng = np.random.default_rng(0)
    rows, values = np.repeat(np.eye(8), 6, axis=0), np.repeat(rng.normal(size=8), 6)
    new = np.r_[np.full((1, 8), 0.1), rows[:1], rng.normal(size=(1, 8))]
    means, found_first = [], []
    for order in (np.arange(48), rng.permutation(48)):
        neighbors = Neighbors(11).fit(rows[order])
        near = neighbors(new)
        assert_array_equal(near.itself >= 0, [False, True, False])
        means.append(neighbors.mean_of(values[order], new, near, 10, np.full(3, 1e-6)))
        found_first.append(values[order][near.places[:, :10]].mean(1))
    assert_allclose(*means, rtol=1e-12)
    assert np.abs(np.subtract(*found_first))[0] > 0.01
    # All are as far from the first row; five are equal to the second, which is not among them.
    assert_allclose(means[0][0], values.mean())
    assert_allclose(means[0][1], (5 * values[0] + 5 * values[6:].mean()) / 10)


def test_cells_that_are_all_but_certain_are_told_apart():
    """Negative control: float32 has but a few steps between such cells and nothing."""
    detector = VAEOutlierDetector(2, **SETTINGS).fit(_certain())
    cells = detector.score_.statistics_["cells"].conditional_.cells(detector, _certain())
    flag = -cells[:, detector.feature_names_in_.tolist().index("flag")]
    assert 0.0 < flag.min() < 1e-3
    lost = np.float32(1.0) - np.exp(-flag).astype(np.float32)
    assert np.abs(lost / flag - 1.0).max() > 1e-3


def test_values_that_differ_by_rounding_surprise_alike():
    values = np.repeat([0.3, 1.0, 2.0], [40, 40, 20])
    values[:20] = np.nextafter(0.3, 0.0)
    surprise = Surprise().fit(values)
    low, high, other = surprise(np.array([np.nextafter(0.3, 0.0), 0.3, 1.0]))
    assert high - low < 1e-9 < 0.1 < other - high
