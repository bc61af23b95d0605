"""Rows with gaps, by scores that compare them with the rows of the training."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from skvae import VAEOutlierDetector
from skvae._scoring import ScoringMixin

SHARE = 0.05


def drawn(n, seed):
    """Columns that hang together, with categories that go with them."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 2))
    cells = z @ np.random.default_rng(0).normal(size=(2, 6)) + 0.2 * rng.normal(size=(n, 6))
    frame = pd.DataFrame(cells, columns=list("abcdef"))
    for name, side in zip("ghi", (z[:, 0], z[:, 1], z[:, 0] - z[:, 1]), strict=True):
        frame[name] = np.array(["low", "mid", "high"])[np.digitize(side, [-0.5, 0.5])]
    return frame


def with_gaps(frame, share, seed=1):
    gaps = np.random.default_rng(seed).random(frame.shape) < share
    return frame.mask(gaps)


def flagged(detector, X):
    return float(np.mean(detector.predict(X) < 0))


@pytest.fixture(scope="module", params=[0.0, 0.1], ids=["whole rows", "rows with gaps"])
def detector(request):
    X = with_gaps(drawn(400, 2), request.param)
    return VAEOutlierDetector(contamination=SHARE, max_iter=30, random_state=0).fit(X)


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_ordinary_rows_with_many_gaps_are_no_outliers(detector, share, monkeypatch):
    X = with_gaps(drawn(300, 3), share)
    assert flagged(detector, X) < 3 * SHARE
    # The gaps as zeros are no row that anybody has seen.
    monkeypatch.setattr(ScoringMixin, "_without_gaps", lambda self, encoded, gaps: encoded)
    assert flagged(detector, X) > 6 * SHARE


def test_what_is_odd_beside_gaps_is_seen(detector):
    X = with_gaps(drawn(50, 4), 0.5).assign(a=9.0)
    assert flagged(detector, X) == 1.0


def test_a_row_of_nothing_is_no_outlier(detector):
    nothing = drawn(2, 5).mask(np.ones((2, 9), dtype=bool))
    assert_array_equal(detector.predict(nothing), 1)


def test_a_row_with_gaps_is_judged_alone(detector):
    X = with_gaps(drawn(40, 6), 0.4)
    alone = [detector.score_samples(X[i : i + 1])[0] for i in range(8)]
    assert_array_equal(alone, detector.score_samples(X)[:8])
