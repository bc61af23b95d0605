"""The pictures say what the estimator holds, wherever they are drawn."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_wine
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvae import VAEImputer, VAEOutlierDetector, VAETransformer
from skvae.code_axes import CodeAxes
from skvae.objectives import ELBO, IWAE
from skvae.plotting import LatentDisplay, TrainingDisplay

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")

X, Y = load_wine(return_X_y=True)
QUICK = {"n_components": 3, "hidden_layer_sizes": (8,), "max_iter": 6}
QUICK |= {"learning_rate_init": 0.03, "random_state": 0}


@pytest.fixture(scope="module")
def vae():
    return VAETransformer(**QUICK).fit(X)


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def labels(legend):
    return [text.get_text() for text in legend.get_texts()]


# -- training ---------------------------------------------------------------------------------


def test_training_draws_both_bounds_and_the_best_epoch(vae):
    display = TrainingDisplay.from_estimator(vae)
    history = vae.history_
    train, held_out = display.lines_
    np.testing.assert_array_equal(train.get_xdata(), np.arange(1, vae.n_iter_ + 1))
    np.testing.assert_allclose(train.get_ydata(), history["bound"])
    np.testing.assert_allclose(held_out.get_ydata(), history["validation_bound"])
    best = int(np.argmax(history["validation_bound"])) + 1
    assert display.best_epoch == best
    assert display.best_.get_xdata() == [best]
    assert f"epoch {best} of {vae.n_iter_}" in display.ax_.get_title(loc="left")
    assert display.ax_.get_xlabel() == "Epoch"
    assert "nats per row" in display.ax_.get_ylabel()
    assert display.figure_ is display.ax_.figure


@pytest.mark.parametrize(
    "estimator",
    [
        VAEOutlierDetector(**QUICK),
        VAETransformer(n_members=2, **QUICK),
        VAETransformer(objective=IWAE(3), **QUICK),
        VAETransformer(objective=ELBO(beta=4.0), **QUICK),
    ],
    ids=["detector", "members", "iwae", "beta"],
)
def test_training_of_any_estimator(estimator):
    display = TrainingDisplay.from_estimator(estimator.fit(X))
    bound, held_out = (line.get_ydata() for line in display.lines_)
    assert np.isfinite(bound).all() and np.isfinite(held_out).all()
    # Both curves are bounds at weight 1, whatever the objective weighs.
    assert abs(bound[-1] - held_out[-1]) < 8


def test_what_learns_by_parts_of_rows_has_no_bound_to_draw():
    imputer = VAEImputer(max_iter=1, n_members=1, refine=None, random_state=0).fit(X)
    with pytest.raises(ValueError, match="VAEImputer learns parts .* in its history_"):
        TrainingDisplay.from_estimator(imputer)


def test_training_without_held_out_rows():
    vae = VAETransformer(early_stopping=False, **QUICK).fit(X)
    display = TrainingDisplay.from_estimator(vae)
    assert len(display.lines_) == 1
    assert display.best_ is None
    assert display.ax_.get_title(loc="left").startswith("Bound")


def test_training_goes_on_counting_when_fit_goes_on():
    vae = VAETransformer(warm_start=True, **QUICK).fit(X).fit(X)
    display = TrainingDisplay.from_estimator(vae)
    n_epochs = len(vae.history_["loss"])
    assert display.lines_[0].get_xdata()[-1] == n_epochs > QUICK["max_iter"]
    last = np.asarray(vae.history_["validation_bound"])[QUICK["max_iter"] :]
    assert display.best_epoch == QUICK["max_iter"] + np.argmax(last) + 1


def test_held_out_bound_of_the_last_epochs_only():
    display = TrainingDisplay(bound=[-3, -2, -1.5], validation_bound=[-2.5, -2.0], best_epoch=3)
    display.plot()
    np.testing.assert_array_equal(display.lines_[1].get_xdata(), [2, 3])
    assert display.best_.get_ydata() == [-2.0]


@pytest.mark.parametrize(
    "beta, best_epoch, said", [(0.2, 3, True), (0.2, 2, False), (1.0, 3, False)]
)
def test_training_says_why_the_bound_falls(beta, best_epoch, said):
    curves = {"bound": [-3, -2, -2.5], "validation_bound": [-3, -2, -2.5]}
    display = TrainingDisplay(**curves, best_epoch=best_epoch, beta=beta).plot()
    assert (f"counts {beta:g} in training" in display.ax_.get_title(loc="left")) == said


def test_training_does_not_speak_of_a_fall_that_nobody_sees():
    rising = {"bound": [-9, -2, -1], "validation_bound": [-9, -1.99, -2]}
    display = TrainingDisplay(**rising, best_epoch=3, beta=0.2).plot()
    assert "falls" not in display.ax_.get_title(loc="left")


def test_legends_keep_to_axes_that_were_given():
    """The room beside them may be that of others."""
    figure, places = plt.subplots(1, 2)
    TrainingDisplay(bound=[-3, -2], validation_bound=[-3, -2]).plot(places[0])
    figure.canvas.draw()
    legend, ax = places[0].get_legend(), places[0]
    assert legend.get_window_extent().x1 < ax.get_window_extent().x1
    own = TrainingDisplay(bound=[-3, -2], validation_bound=[-3, -2]).plot().ax_
    own.figure.canvas.draw()
    assert own.get_legend().get_window_extent().x0 > own.get_window_extent().x1


def test_training_names_and_style(vae):
    display = TrainingDisplay.from_estimator(vae, name="wine", linewidth=3)
    assert display.ax_.get_title(loc="left").startswith("wine\n")
    assert {line.get_linewidth() for line in display.lines_} == {3}
    assert display.plot(name="other").ax_.get_title(loc="left").startswith("other\n")


def test_training_refuses_what_has_no_history(vae):
    with pytest.raises(NotFittedError):
        TrainingDisplay.from_estimator(VAETransformer())
    with pytest.raises(ValueError, match="history_"):
        TrainingDisplay.from_estimator(StandardScaler().fit(X))


# -- latents ----------------------------------------------------------------------------------


def test_latents_draw_the_codes_with_classes(vae):
    y = pd.Series(Y, name="cultivar").map({0: "a", 1: "b", 2: "c"})
    display = LatentDisplay.from_estimator(vae, X, y, components=(2, 0), labels="legend")
    drawn = np.asarray(display.scatter_.get_offsets())
    np.testing.assert_allclose(
        np.sort(drawn, axis=0), np.sort(vae.transform(X)[:, [2, 0]], axis=0), rtol=1e-6
    )
    assert labels(display.legend_) == ["a", "b", "c"]
    assert display.legend_.get_title().get_text() == "cultivar"
    assert display.colorbar_ is None
    assert display.ax_.get_xlabel().startswith("Latent 2")
    assert display.ax_.get_ylabel().startswith("Latent 0")
    first = display.circles_[0].width
    assert [circle.width for circle in display.circles_] == [first, 2 * first, 3 * first]
    assert display.labels_ == []
    assert "of 3 carry" in display.ax_.get_title(loc="left")


def test_latents_give_each_row_the_colour_of_its_class(vae):
    display = LatentDisplay.from_estimator(vae, X, Y, labels="legend")
    codes, drawn = vae.transform(X)[:, :2], np.asarray(display.scatter_.get_offsets())
    colors = [line.get_color() for line in display.legend_.get_lines()]
    for row in (0, 70, 177):
        place = np.abs(drawn - codes[row]).sum(axis=1).argmin()
        expected = matplotlib.colors.to_rgb(colors[Y[row]])
        np.testing.assert_allclose(display.scatter_.get_facecolors()[place][:3], expected)


def test_latents_with_numbers_get_a_colour_bar(vae):
    y = pd.Series(X[:, -1], name="proline")
    y[3] = np.nan
    display = LatentDisplay.from_estimator(vae, X, y)
    assert display.legend_ is None
    assert display.colorbar_.ax.get_ylabel() == "proline"


@pytest.mark.parametrize("zone", [None, "Asia/Kolkata"])
def test_latents_with_dates_get_a_colour_bar_of_dates(vae, zone):
    days = pd.date_range("2025-12-30", periods=len(X), freq="D", tz=zone)
    y = pd.Series(days, name="admitted").mask(np.arange(len(X)) == 3)
    display = LatentDisplay.from_estimator(vae, X, y)
    display.figure_.canvas.draw()
    bar = display.colorbar_
    assert display.legend_ is None and bar.ax.get_ylabel() == "admitted"
    ticks = [label.get_text() for label in bar.ax.get_yticklabels()]
    assert ticks[0] == "2026" and {"Feb", "Mar", "Apr", "May", "Jun"} & set(ticks)
    first = matplotlib.dates.date2num(days[0].tz_localize(None))
    assert bar.vmin == pytest.approx(first) and bar.vmax == pytest.approx(first + len(X) - 1)
    few = pd.Series(days[np.arange(len(X)) % 3])
    assert len(labels(LatentDisplay.from_estimator(vae, X, few, labels="legend").legend_)) == 3


def test_latents_without_y_and_in_a_pipeline():
    pipeline = make_pipeline(StandardScaler(), VAETransformer(**QUICK))
    display = LatentDisplay.from_estimator(pipeline.set_output(transform="pandas").fit(X), X)
    assert display.legend_ is None and display.colorbar_ is None
    assert len(display.scatter_.get_offsets()) == len(X)


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        (Y == 0, ["False", "True"]),
        (Y.astype(float), ["0", "1", "2"]),
        (np.where(Y == 0, None, Y.astype(str)), ["1", "2", "missing"]),
        (pd.Categorical.from_codes(Y, ["c", "b", "a"]), ["c", "b", "a"]),
        (pd.Series(Y, dtype="Int64").mask(Y == 1), ["0", "2", "missing"]),
        (["x"] * len(X), ["x"]),
    ],
    ids=["bool", "float", "none", "categorical", "nullable", "one"],
)
def test_classes_of_any_dtype(vae, y, expected):
    display = LatentDisplay.from_estimator(vae, X, y, labels="legend")
    assert labels(display.legend_) == expected


def test_many_classes_keep_the_commonest(vae):
    y = [f"{row % 14:02d}" for row in range(len(X))]
    # Classes that lie everywhere cannot be named inside.
    found = labels(LatentDisplay.from_estimator(vae, X, y).legend_)
    assert len(found) == 10 and found[-1] == "others"


def test_latents_of_a_deterministic_code():
    vae = VAETransformer(posterior="deterministic", **QUICK).fit(X)
    title = LatentDisplay.from_estimator(vae, X).ax_.get_title(loc="left")
    assert title == "178 rows, 3 latents"


def islands(n_rows=900, n_islands=6, seed=0):
    """Codes in clear groups, and the group of each."""
    rng = np.random.default_rng(seed)
    group = np.arange(n_rows) % n_islands
    angle = 2 * np.pi * group / n_islands
    centre = 2.0 * np.stack([np.cos(angle), np.sin(angle)], 1)
    return centre + 0.15 * rng.normal(size=(n_rows, 2)), group


def test_classes_are_named_amid_their_rows():
    codes, group = islands()
    names = np.array(list("abcdef"))[group]
    display = LatentDisplay(codes=codes, y=names).plot()
    assert display.legend_ is None
    assert [text.get_text() for text in display.labels_] == list("abcdef")
    for text in display.labels_:
        middle = np.median(codes[names == text.get_text()], axis=0)
        np.testing.assert_allclose(text.get_position(), middle)
    assert display.plot(labels="legend").labels_ == []
    assert labels(display.legend_) == list("abcdef")


def test_a_class_in_two_places_is_named_in_one_of_them():
    codes, group = islands()
    names = np.where(group % 3 == 0, "split", "others")
    names[group == 1] = "c"
    display = LatentDisplay(codes=codes, y=names).plot(labels="auto")
    place = {text.get_text(): text.get_position() for text in display.labels_}
    distance = np.linalg.norm(codes[names == "split"] - place["split"], axis=1)
    assert np.median(distance) > 0.15 and distance.min() < 0.05


def test_names_that_would_touch_go_to_a_legend():
    codes, group = islands()
    names = np.array([f"a very long name of a class {k}" for k in range(6)])[group]
    assert LatentDisplay(codes=codes, y=names).plot().labels_ == []
    assert len(LatentDisplay(codes=codes, y=names).plot(labels="inside").labels_) == 6
    mixed = np.random.default_rng(0).permutation(group).astype(str)
    assert LatentDisplay(codes=codes, y=mixed).plot().labels_ == []


def test_contours_hold_the_share_that_they_say():
    codes, group = islands()
    display = LatentDisplay(codes=codes).plot()
    (_, lines) = display.contours_
    assert len(lines.levels) == 3
    for level, share in zip(np.sort(lines.levels), (0.95, 0.75, 0.5)):
        paths = lines.get_paths()[list(lines.levels).index(level)].to_polygons()
        inside = np.zeros(len(codes), dtype=int)
        for polygon in paths:
            inside += matplotlib.path.Path(polygon).contains_points(codes)
        assert np.mean(inside % 2) == pytest.approx(share, abs=0.03)
    by_class = LatentDisplay(codes=codes, y=group).plot()
    assert len(by_class.contours_) == 6
    assert LatentDisplay(codes=codes).plot(density=False).contours_ == []
    assert LatentDisplay(codes=codes[:50]).plot().contours_ == []


@pytest.mark.parametrize("codes", [np.zeros((300, 2)), np.ones((3, 2)), islands(1200)[0] * 50])
def test_latents_of_any_shape(codes):
    display = LatentDisplay(codes=codes, y=np.arange(len(codes)) % 3).plot(density=True)
    display.figure_.canvas.draw()
    is_near = np.abs(codes).max() < 5
    assert bool(display.circles_) == is_near
    assert ("sd of the prior" in display.ax_.get_xlabel()) == is_near


def shares_inside(display, points):
    """Of points of the plane that is shown, in each ellipse."""
    return [
        np.mean(matplotlib.path.Path(ellipse.get_verts()).contains_points(drawn))
        for ellipse in display.circles_
        for drawn in [display.ax_.transData.transform(points)]
    ]


def test_the_prior_is_drawn_on_the_axes_of_the_codes():
    codes, _ = islands()
    display = LatentDisplay(codes=codes, covariance=np.diag([0.25, 4.0])).plot()
    assert (display.circles_[0].width, display.circles_[0].height) == (4, 1)
    assert abs(display.circles_[0].angle) == pytest.approx(90.0)
    assert display.ax_.get_xlabel() == "Latent 0"
    rng = np.random.default_rng(0)
    axes = CodeAxes(
        np.arange(3), np.array([2.0, -1.0, 1.5]), np.ones(3), np.eye(3) + np.tri(3, k=-1)
    )
    drawn = axes.outward(rng.normal(size=(20_000, 3)))
    expected = 1.0 - np.exp([-0.5, -2.0, -4.5])
    np.testing.assert_allclose(np.cov(drawn.T), axes.covariance, rtol=0.05, atol=0.05)
    for plane in [(0, 1), (2, 0), (1, 2)]:
        params = dict(codes=drawn[:500], components=plane)
        tilted = LatentDisplay(covariance=axes.covariance, **params).plot()
        points = drawn[:, plane]
        np.testing.assert_allclose(shares_inside(tilted, points), expected, atol=0.015)
        upright = LatentDisplay(covariance=np.diag(np.diag(axes.covariance)), **params).plot()
        error = np.abs(shares_inside(upright, points) - expected).max()
        assert error > 0.03, "negative control: they are tilted"


def test_the_prior_of_a_fit_is_that_of_its_codes(vae):
    display = LatentDisplay.from_estimator(vae, X, components=(1, 2))
    latents = np.random.default_rng(0).normal(size=(20_000, 3))
    codes = vae._axes.outward(latents)[:, [1, 2]]
    expected = 1.0 - np.exp([-0.5, -2.0, -4.5])
    np.testing.assert_allclose(shares_inside(display, codes), expected, atol=0.015)


def test_latents_refuse(vae):
    with pytest.raises(ValueError, match="labels to be one of"):
        LatentDisplay.from_estimator(vae, X, Y, labels="outside")
    with pytest.raises(NotFittedError):
        LatentDisplay.from_estimator(VAETransformer(), X)
    with pytest.raises(TypeError, match="VAEOutlierDetector has none"):
        LatentDisplay.from_estimator(VAEOutlierDetector(**QUICK).fit(X), X)
    with pytest.raises(ValueError, match="from 0 to 2"):
        LatentDisplay.from_estimator(vae, X, components=(0, 3))
    with pytest.raises(ValueError, match="two different numbers"):
        LatentDisplay.from_estimator(vae, X, components=(0, 0))
    with pytest.raises(ValueError, match="Fit a model with n_components=2"):
        LatentDisplay(codes=np.zeros((5, 1))).plot()
    with pytest.raises(ValueError, match="VAETransformer.inverse_transform does not accept"):
        vae.inverse_transform(np.full((1, 3), np.nan))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        LatentDisplay.from_estimator(vae, X, Y[:-1])


# -- both -------------------------------------------------------------------------------------


def test_a_given_axes_is_used(vae):
    figure, (left, right) = plt.subplots(1, 2)
    training = TrainingDisplay.from_estimator(vae, ax=left)
    latents = LatentDisplay.from_estimator(vae, X, Y, ax=right)
    assert training.ax_ is left and latents.ax_ is right
    assert training.figure_ is latents.figure_ is figure
    figure.tight_layout()
    figure.canvas.draw()
    assert len(plt.get_fignums()) == 1


def test_importing_is_light():
    code = "import sys, skvae.plotting; print({'matplotlib', 'torch'} & set(sys.modules))"
    root = Path(__file__).resolve().parents[1]
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "set()"


@pytest.mark.parametrize("draw", [TrainingDisplay.from_estimator, LatentDisplay.from_estimator])
def test_missing_matplotlib_is_named(vae, draw, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    arguments = () if draw == TrainingDisplay.from_estimator else (X,)
    with pytest.raises(ImportError, match=r'pip install "skvae\[plot\]"'):
        draw(vae, *arguments)
