"""Pictures of what latents mean: sensitivities, traversals, reconstructions."""

import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits, load_wine
from sklearn.exceptions import NotFittedError
from sklearn.metrics import r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvae import VAEOutlierDetector, VAETransformer
from skvae.exceptions import PosteriorCollapseWarning
from skvae.networks import Convolutional
from skvae.plotting import ReconstructionDisplay, SensitivityDisplay, TraversalDisplay

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")
pytest.importorskip("matplotlib.dates")

X = load_wine(as_frame=True).data
DIGITS = load_digits().data
QUICK = {"n_components": 3, "hidden_layer_sizes": (8,), "max_iter": 6}
QUICK |= {"learning_rate_init": 0.03, "random_state": 0}
DISPLAYS = (SensitivityDisplay, TraversalDisplay, ReconstructionDisplay)


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def vae():
    return VAETransformer(**QUICK).fit(X)


@pytest.fixture(scope="module")
def images():
    return VAETransformer(**QUICK).fit(DIGITS)


@pytest.fixture(scope="module")
def mixed():
    rng = np.random.default_rng(0)
    size = rng.normal(10, 2, 150)
    table = pd.DataFrame(
        {
            "size": size,
            "count": rng.poisson(3, 150),
            "flag": size > 10,
            "shape": np.where(size > 11, "disc", rng.choice(["ring", "rod"], 150)),
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 300, 150), "D"),
            "same": 3.0,
        }
    )
    table.loc[:20, "size"] = np.nan
    return table, VAETransformer(**QUICK | {"max_iter": 30}).fit(table)


def title(display):
    return display.figure_.get_suptitle()


def draw(display):
    display.figure_.canvas.draw()
    return display


# -- sensitivities ----------------------------------------------------------------------------


def test_the_map_holds_the_sensitivities(vae):
    display = draw(SensitivityDisplay.from_estimator(vae, X, components=[2, 0]))
    expected = vae.sensitivities(X, standardize=True)
    rows = [list(X.columns).index(name) for name in display.columns_]
    assert sorted(rows) == list(range(13))
    np.testing.assert_allclose(display.image_.get_array(), expected[[2, 0]][:, rows].T)
    low, high = display.image_.get_clim()
    assert low == -high and np.abs(expected[[2, 0]]).max() <= high
    assert [text.get_text()[0] for text in display.ax_.get_xticklabels()] == ["2", "0"]


def test_columns_stand_with_the_latent_that_moves_them():
    mean = np.array([[0.9, -0.1, -0.5, 0.1], [0.2, 0.8, 0.0, -0.7]])
    display = SensitivityDisplay(mean=mean, rms=np.abs(mean), names=list("abcd")).plot()
    assert display.columns_ == ["a", "c", "b", "d"]
    assert display.turning_ is None
    chosen = SensitivityDisplay(mean=mean, rms=np.abs(mean), names=list("abcd"), columns=["d", 0])
    assert chosen.plot().columns_ == ["d", "a"]
    assert "2 of 4 columns" in chosen.ax_.get_title(loc="left")


def test_rings_where_a_column_turns_back():
    mean = np.array([[0.0, 0.9, 0.01]])
    rms = np.array([[0.8, 0.9, 0.02]])
    display = SensitivityDisplay(mean=mean, rms=rms, names=list("abc")).plot()
    assert len(display.turning_.get_xdata()) == 1
    assert display.columns_[int(display.turning_.get_ydata()[0])] == "a"
    assert "rings" in display.ax_.get_xlabel()
    # A column that rises here little and there a lot does not turn.
    absolute = np.array([[0.8, 0.9, 0.02]])
    names = list("abc")
    turns = SensitivityDisplay(mean=mean, rms=2 * rms, absolute=absolute, names=names).plot()
    assert len(turns.turning_.get_xdata()) == 1
    rises = np.array([[0.1, 0.9, 0.01]])
    rising = SensitivityDisplay(mean=rises, rms=rms, absolute=rises, names=names).plot()
    assert rising.turning_ is None


def test_a_column_of_uneven_slopes_has_no_ring():
    z = np.random.default_rng(0).normal(size=300)
    table = pd.DataFrame({"z": z, "steep": np.exp(1.5 * z), "bent": z**2})
    settings = {"likelihood": "normal", "max_iter": 60, "random_state": 0}
    display = SensitivityDisplay.from_estimator(VAETransformer(1, **settings).fit(table))
    rings = [display.columns_[int(down)] for down in display.turning_.get_ydata()]
    assert rings == ["bent"]


def within(figure, text):
    """Whether a text lies within the figure, but for a pixel."""
    inner = text.get_window_extent()
    return bool((inner.min >= -1).all() and (inner.max <= np.add(figure.bbox.max, 1)).all())


@pytest.mark.parametrize("n_columns", [1, 2, 3, 5, 8])
def test_the_unit_beside_the_map_is_legible(n_columns):
    mean = np.full((1, n_columns), 0.5)
    display = SensitivityDisplay(mean=mean, rms=mean, names=list("abcdefgh"[:n_columns])).plot()
    draw(display)
    assert within(display.figure_, display.colorbar_.ax.yaxis.label)


def test_categories_are_grey(mixed):
    display = draw(SensitivityDisplay.from_estimator(mixed[1]))
    signed, grey = (np.ma.getmaskarray(i.get_array()) for i in (
        display.image_, display.nominal_image_))  # fmt: skip
    place = display.columns_.index("shape")
    assert signed[place].all() and not grey[place].any()
    assert (signed ^ grey).all() and signed.sum() == 3
    assert "grey" in display.ax_.get_xlabel()


def test_many_columns_and_latents_are_cut(images):
    display = draw(SensitivityDisplay.from_estimator(images))
    assert len(display.columns_) == 30
    assert "30 of 64 columns" in display.ax_.get_title(loc="left")


# -- traversals -------------------------------------------------------------------------------


def test_lines_are_what_inverse_transform_gives(vae):
    display = draw(TraversalDisplay.from_estimator(vae, X, components=[1], n_steps=5))
    codes = vae.transform(X)
    path = np.tile(np.median(codes, axis=0), (5, 1))
    path[:, 1] = np.linspace(*np.quantile(codes[:, 1], [0.02, 0.98]), 5)
    expected = vae.inverse_transform(path)
    assert len(display.columns_) == len(display.axes_) == 8
    for panel, name in zip(display.axes_, display.columns_):
        line = panel.get_lines()[0]
        np.testing.assert_allclose(line.get_xdata(), path[:, 1], rtol=1e-5)
        np.testing.assert_allclose(line.get_ydata(), expected[name], rtol=1e-4)
    assert "8 of 13 columns" in title(display)


def test_columns_that_one_latent_moves_the_most_come_first(vae):
    display = TraversalDisplay.from_estimator(vae, components=[1])
    moved = vae.sensitivities(statistic="rms", standardize=True)[1]
    assert display.columns_ == list(X.columns[np.argsort(-moved, kind="stable")[:8]])


def test_each_latent_has_columns_that_it_moves(vae):
    assert len(TraversalDisplay.from_estimator(vae).columns_) == 8
    vae = VAETransformer(3, max_iter=60, random_state=0).fit(X)
    display = TraversalDisplay.from_estimator(vae)
    moved = vae.sensitivities(statistic="rms", standardize=True)
    assert (moved.max(1) > 0.25).all()
    assert {X.columns[j] for j in moved.argmax(1)} <= set(display.columns_[:3])
    assert len(set(display.columns_)) == 8
    assert [text.get_text()[:8] for text in display.legend_.get_texts()] == [
        f"Latent {k}" for k in range(3)
    ]


def test_traversals_start_where_they_are_told(vae):
    display = TraversalDisplay.from_estimator(vae, X, start=X[:1], components=[0], n_steps=3)
    path = np.repeat(vae.transform(X[:1]), 3, 0)
    path[:, 0] = display.values[0]
    np.testing.assert_allclose(display.rows[0], vae.inverse_transform(path), rtol=1e-5)
    with pytest.raises(ValueError, match="one row, got 2"):
        TraversalDisplay.from_estimator(vae, X, start=X[:2])


def test_traversals_of_every_kind(mixed):
    table, vae = mixed
    display = draw(TraversalDisplay.from_estimator(vae, table, columns=list(table)))
    assert display.columns_ == list(table)
    place = list(table).index("shape")
    ticks = [text.get_text() for text in display.axes_[place].get_yticklabels()]
    assert set(ticks) <= {"disc", "ring", "rod"}


def test_strips_of_images(images):
    display = draw(TraversalDisplay.from_estimator(images, DIGITS, image_shape=(8, 8), n_steps=4))
    picture = display.image_.get_array()
    assert picture.shape == (3 * 9 - 1, 4 * 9 - 1)
    np.testing.assert_allclose(picture[:8, :8].ravel(), display.rows[0][0], rtol=1e-6)
    np.testing.assert_allclose(picture[18:, 27:].ravel(), display.rows[2][3], rtol=1e-6)
    assert np.ma.getmaskarray(picture)[8].all() or np.isnan(picture[8]).all()
    assert display.columns_ == [] and display.legend_ is None


@pytest.mark.parametrize("display", [TraversalDisplay, ReconstructionDisplay])
def test_a_network_of_images_says_their_shape(display):
    network = Convolutional((8, 8), channels=(4,))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PosteriorCollapseWarning)
        settings = {"network": network, "max_iter": 1, "random_state": 0}
        vae = VAETransformer(2, **settings).fit(DIGITS[:60])
    assert draw(display.from_estimator(vae, DIGITS[:9])).image_shape == (8, 8)
    assert draw(display.from_estimator(vae, DIGITS[:9], columns=[20])).columns_ == ["x20"]


def test_images_of_colours_and_wrong_shapes(images):
    display = draw(TraversalDisplay.from_estimator(images, DIGITS, image_shape=(4, 4, 4)))
    assert display.image_.get_array().shape[-1] == 4
    with pytest.raises(ValueError, match="8 x 9 = 72 pixels"):
        TraversalDisplay.from_estimator(images, DIGITS, image_shape=(8, 9))


@pytest.mark.parametrize("n_columns", [1, 2, 4, 8])
@pytest.mark.parametrize("n_latents", [1, 4, 5, 8])
def test_legend_and_title_stay_in_the_picture(n_columns, n_latents):
    rows = [np.zeros((3, n_columns)) for _ in range(n_latents)]
    values, nats = np.tile(np.arange(3.0), (n_latents, 1)), np.full(n_latents, 12.34)
    made = {"components": list(range(n_latents)), "kl_per_latent": nats}
    display = draw(TraversalDisplay(values=values, rows=rows, **made).plot())
    texts = display.legend_.get_texts()
    assert len(texts) == n_latents
    assert all(within(display.figure_, text) for text in (*texts, display.figure_._suptitle))


# -- reconstructions --------------------------------------------------------------------------


def test_scores_are_those_of_scikit_learn(vae):
    display = draw(ReconstructionDisplay.from_estimator(vae, X))
    expected = r2_score(X, vae.reconstruct(X), multioutput="raw_values")
    np.testing.assert_allclose(list(display.scores_.values()), expected, atol=1e-6)
    order = X.columns[np.argsort(-expected)]
    assert display.columns_ == [*order[:3], *order[-3:]]
    drawn = display.axes_[0].collections[0].get_offsets()
    assert len(drawn) == len(X)


def test_categories_count_what_is_right(mixed):
    table, vae = mixed
    display = draw(ReconstructionDisplay.from_estimator(vae, table))
    right = (vae.reconstruct(table)["shape"] == table["shape"]).mean()
    assert display.scores_["shape"] == pytest.approx(right)
    assert np.isnan(display.scores_["same"]) and "same" not in display.columns_
    seen = table["size"].notna()
    found = r2_score(table["size"][seen], vae.reconstruct(table)["size"][seen])
    assert display.scores_["size"] == pytest.approx(found, abs=1e-6)
    assert all(np.isfinite(display.scores_[name]) for name in ("count", "flag", "day"))


def test_images_stand_above_their_reconstructions(images):
    display = draw(ReconstructionDisplay.from_estimator(images, DIGITS, image_shape=(8, 8)))
    again = images.reconstruct(DIGITS)
    error = ((DIGITS - again) ** 2).sum(1)
    assert (np.diff(error[display.rows_]) >= 0).all()
    assert display.rows_[0] == error.argmin() and display.rows_[-1] == error.argmax()
    picture = display.axes_[0].images[0].get_array()
    np.testing.assert_allclose(picture[:8, :8].ravel(), DIGITS[display.rows_[0]])
    np.testing.assert_allclose(picture[9:, :8].ravel(), again[display.rows_[0]], rtol=1e-6)
    spread = ((DIGITS - DIGITS.mean(0)) ** 2).sum()
    assert display.r2_ == pytest.approx(1 - error.sum() / spread, abs=1e-6)


def overlap(first, second):
    a, b = first.get_window_extent(), second.get_window_extent()
    return bool((a.min < b.max).all() and (b.min < a.max).all())


def test_names_of_panels_and_categories_are_clear_of_one_another():
    rng = np.random.default_rng(0)
    levels = np.array(["a category with a name", "two", "three"])
    columns = {f"a column that has a long name {j}": levels[rng.integers(0, 3, 80)] for j in "ab"}
    table = pd.DataFrame(columns)
    made = {"values": [np.arange(80.0)], "rows": [table], "components": [0]}
    display = draw(TraversalDisplay(**made).plot())
    kept = draw(ReconstructionDisplay(original=table, reconstruction=table[::-1]).plot())
    for axes in (display.axes_, kept.axes_):
        first, second = (panel._left_title for panel in axes)
        assert not overlap(first, second)
    labels = kept.axes_[0].get_xticklabels()
    assert not any(overlap(*pair) for pair in zip(labels, labels[1:]))


# -- all --------------------------------------------------------------------------------------


@pytest.mark.parametrize("display", DISPLAYS)
def test_polars_tables(display, mixed):
    pl = pytest.importorskip("polars")
    table = pl.DataFrame(mixed[0][["size", "flag", "shape"]].astype({"shape": object}))
    draw(display.from_estimator(VAETransformer(**QUICK).fit(table), table))


@pytest.mark.parametrize("display", DISPLAYS)
def test_sparse_counts(display, images):
    sparse = pytest.importorskip("scipy.sparse")
    counts = sparse.csr_matrix(np.random.default_rng(0).poisson(2.0, (200, 5)))
    vae = VAETransformer(likelihood="poisson", **QUICK)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PosteriorCollapseWarning)
        vae.fit(counts)
    draw(display.from_estimator(vae, counts))
    digits = sparse.csr_matrix(DIGITS)
    drawn = ReconstructionDisplay(
        original=digits, reconstruction=images.reconstruct(DIGITS), image_shape=(8, 8)
    )
    assert draw(drawn.plot()).r2_ > 0


@pytest.mark.parametrize("display", DISPLAYS)
def test_a_given_axes_and_a_name(display, vae):
    figure, (left, _) = plt.subplots(1, 2)
    drawn = display.from_estimator(vae, X, ax=left, name="wine")
    figure.canvas.draw()
    assert drawn.figure_ is figure and len(plt.get_fignums()) == 1
    assert any(ax.get_title(loc="left").startswith("wine\n") for ax in figure.axes)


@pytest.mark.parametrize("display", DISPLAYS)
def test_refusals(display, vae):
    with pytest.raises(NotFittedError):
        display.from_estimator(VAETransformer(), X)
    with pytest.raises(TypeError, match="VAEOutlierDetector has none"):
        display.from_estimator(VAEOutlierDetector(**QUICK), X)
    with pytest.raises(TypeError, match="Pipeline. Pass its last step"):
        display.from_estimator(make_pipeline(StandardScaler(), vae), X)
    with pytest.raises(ValueError, match="no column 'acid'"):
        display.from_estimator(vae, X, columns=["acid"])


@pytest.mark.parametrize("display", [SensitivityDisplay, TraversalDisplay])
def test_unknown_latents(display, vae):
    with pytest.raises(ValueError, match="from 0 to 2"):
        display.from_estimator(vae, X, components=[3])


@pytest.mark.parametrize("display", DISPLAYS)
def test_missing_matplotlib_is_named(display, vae, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r'pip install "skvae\[plot\]"'):
        display.from_estimator(vae, X)
