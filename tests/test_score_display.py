"""Scores beside the threshold: the picture says what the detector holds; drift of scores."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.preprocessing import StandardScaler

from skvae import VAEOutlierDetector
from skvae.drift import score_drift
from skvae.plotting import ScoreDisplay

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")
pytestmark = pytest.mark.filterwarnings(
    "ignore::skvae.exceptions.PosteriorCollapseWarning",
    "ignore::skvae.exceptions.UnusedLatentsWarning",
)
MAP = np.random.default_rng(0).normal(size=(2, 5))
QUICK = {"n_components": 2, "hidden_layer_sizes": (8,), "max_iter": 5, "n_draws": 2}
QUICK |= {"score_function": "likelihood", "random_state": 0}


def rows(n_rows, seed):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_rows, 2)) @ MAP + 0.3 * rng.normal(size=(n_rows, 5))


X, NEW = rows(400, 1), np.concatenate([rows(80, 2), 4.0 * rows(20, 3)[:, ::-1]])
Y = np.repeat(["normal", "odd"], [80, 20])


@pytest.fixture(scope="module")
def detector():
    return VAEOutlierDetector(**QUICK).fit(X)


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def texts(display):
    return [text.get_text() for text in display.legend_.get_texts()]


# -------------------------------------------------------------------------------- the picture


def test_the_picture_says_what_the_detector_holds(detector):
    display = ScoreDisplay.from_estimator(detector, NEW, Y)
    flagged = detector.predict(NEW) == -1
    assert display.line_.get_xdata()[0] == detector.offset_
    assert display.beyond_["normal"] == flagged[:80].mean()
    assert display.beyond_["odd"] == flagged[80:].mean() > 0.5
    held_out = np.mean(detector.held_out_scores_ < detector.offset_)
    assert display.beyond_["held-out rows"] == held_out
    assert len(texts(display)) == 3 and texts(display)[2].startswith("odd: ")
    title = display.ax_.get_title(loc="left")
    assert f"{flagged.mean():.0%} of 100 new rows" in title
    assert "higher is more normal" in display.ax_.get_xlabel()


def test_heights_are_shares_of_each_group(detector):
    display = ScoreDisplay.from_estimator(detector, NEW, Y)
    for patch in display.patches_:
        np.testing.assert_allclose(patch.get_data().values.sum(), 1.0)


def test_scores_far_out_share_the_first_bin():
    rng = np.random.default_rng(0)
    near = rng.normal(size=300)
    far = np.r_[rng.normal(size=50), np.full(50, -1e4)]
    display = ScoreDisplay(held_out=near, threshold=-3.0, scores=far).plot()
    assert display.ax_.get_xlim()[0] > -100.0
    assert display.patches_[1].get_data().values[0] == 0.5
    assert display.ax_.get_xticklabels()[0].get_text().startswith("<\N{MINUS SIGN}")
    shown = ScoreDisplay(held_out=near, threshold=-3.0, scores=rng.normal(size=99)).plot()
    assert not shown.ax_.get_xticklabels()[0].get_text().startswith("<")


def test_without_new_rows_or_labels(detector):
    alone = ScoreDisplay.from_estimator(detector)
    assert list(alone.beyond_) == ["held-out rows"] and len(alone.patches_) == 1
    together = ScoreDisplay.from_estimator(detector, NEW, name="five columns")
    assert list(together.beyond_) == ["held-out rows", "new rows"]
    assert together.ax_.get_title(loc="left").startswith("five columns\n")
    _, ax = plt.subplots()
    assert together.plot(ax).ax_ is ax


@pytest.mark.parametrize("threshold", [-3.0, -0.5])
def test_a_legend_inside_leaves_the_threshold_legible(threshold):
    rng = np.random.default_rng(0)
    held_out, far = -rng.exponential(size=300), np.r_[-rng.exponential(size=30), np.full(70, -50)]
    figure, ax = plt.subplots()
    display = ScoreDisplay(held_out=held_out, threshold=threshold, scores=far).plot(ax)
    figure.canvas.draw()
    (words,) = ax.texts
    places = [artist.get_window_extent() for artist in (words, display.legend_, ax)]
    assert not places[0].overlaps(places[1])
    assert places[2].x0 <= places[0].x0 and places[0].x1 <= places[2].x1


def test_scores_that_are_all_the_same():
    display = ScoreDisplay(held_out=np.zeros(9), threshold=0.0, scores=np.zeros(3)).plot()
    assert display.beyond_ == {"held-out rows": 0.0, "new rows": 0.0}


def test_what_cannot_be_drawn(detector):
    with pytest.raises(NotFittedError):
        ScoreDisplay.from_estimator(VAEOutlierDetector())
    with pytest.raises(ValueError, match="Pass a VAEOutlierDetector"):
        ScoreDisplay.from_estimator(StandardScaler().fit(X))
    with pytest.raises(ValueError, match="at most 7 classes"):
        ScoreDisplay.from_estimator(detector, NEW, np.arange(100))
    with pytest.raises(ValueError, match="inconsistent"):
        ScoreDisplay.from_estimator(detector, NEW, Y[:5])


# --------------------------------------------------------------------------------------- drift


def test_drift_is_the_chance_that_a_new_row_is_lower():
    held_out, new = np.array([1.0, 2.0, 3.0]), np.array([0.0, 2.0])
    drift = score_drift(held_out, new, threshold=1.5)
    assert drift.effect == (3 + 1.5) / 6
    assert drift.beyond == 0.5 and drift.beyond_expected == 1 / 3
    assert (drift.n_rows, drift.n_held_out) == (2, 3)
    assert score_drift(held_out, held_out, 0.0).effect == 0.5


def test_p_values_of_drift_hold():
    rng = np.random.default_rng(0)
    same = [
        score_drift(rng.gamma(2, size=60), rng.gamma(2, size=40), 0).p_value for _ in range(400)
    ]
    assert abs(np.mean(np.array(same) <= 0.1) - 0.1) < 0.04
    moved = [
        score_drift(rng.gamma(2, size=60), rng.gamma(3, size=40), 0).p_value for _ in range(50)
    ]
    assert np.mean(np.array(moved) <= 0.1) > 0.7


@pytest.mark.parametrize("conformal", [None, 0.3])
def test_drift_of_new_rows(conformal):
    detector = VAEOutlierDetector(conformal=conformal, **QUICK).fit(X)
    still, moved = detector.score_drift(rows(200, 5)), detector.score_drift(rows(200, 5) + 1.0)
    assert still.p_value > 0.01 and abs(still.effect - 0.5) < 0.1
    assert moved.p_value < 1e-6 and moved.effect > 0.7 and moved.beyond > moved.beyond_expected
    assert moved.n_held_out == (60 if conformal is None else 120)
    # Rows that were trained on are nothing to compare with, and rows in the middle look alike.
    assert detector.score_drift(np.tile(X.mean(0), (200, 1))).effect < 0.2
