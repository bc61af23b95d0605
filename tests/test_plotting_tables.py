"""Pictures of tables say what the tables hold: their gaps, what filled them, what was made."""

import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_wine
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import StandardScaler

from skvae import VAEImputer, VAETransformer
from skvae.metrics import column_shapes, pair_trends
from skvae.plotting import (
    ImputationDisplay,
    MissingnessDisplay,
    ReconstructionDisplay,
    SampleDisplay,
)
from skvae.plotting._associations import associations, levels_by_column
from skvae.plotting._margins import _edges
from skvae.plotting._tables import OTHERS, frame_of, levels_of, shares_of

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")
pytest.importorskip("matplotlib.dates")

QUICK = {"n_members": 1, "max_iter": 1, "refine": None, "hidden_layer_sizes": (8,)}


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def mixed(n_rows=120, seed=0):
    """A table of every kind of column; ``flag`` follows ``size``."""
    rng = np.random.default_rng(seed)
    size = rng.normal(10, 2, n_rows)
    return pd.DataFrame(
        {
            "size": size,
            "count": rng.poisson(3, n_rows),
            "flag": size > 10,
            "shape": rng.choice(["disc", "ring", "rod"], n_rows, p=[0.6, 0.3, 0.1]),
            "grade": pd.Categorical(
                rng.choice(["low", "mid", "high"], n_rows), ["low", "mid", "high"], ordered=True
            ),
            "name": [f"n{j % 40:02d}" for j in range(n_rows)],
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 300, n_rows), "D"),
            "same": 3.0,
            "income": np.exp(rng.normal(0, 2.5, n_rows)),
        }
    )


def with_gaps(table, share=0.2, seed=1):
    gaps = np.random.default_rng(seed).random(table.shape) < share
    return table.mask(gaps), gaps


def as_polars(table):
    pl = pytest.importorskip("polars")
    cells = {
        name: [None if pd.isna(cell) else cell for cell in column.astype(object)]
        for name, column in table.items()
    }
    return pl.DataFrame(cells, strict=False)


def labels(legend):
    return [text.get_text() for text in legend.get_texts()]


def title(display):
    return display.figure_.get_suptitle()


def draw(display):
    display.figure_.canvas.draw()
    return display


# -- missing cells ----------------------------------------------------------------------------


def test_missingness_counts_cells_columns_and_patterns():
    X = np.zeros((10, 3))
    X[:4, 1] = np.nan
    X[2:4, 2] = np.nan
    display = draw(MissingnessDisplay.from_data(X, name="planted"))
    np.testing.assert_allclose(display.shares_, [0, 0.4, 0.2])
    assert display.patterns_ == [((), 6), (("x1",), 2), (("x1", "x2"), 2)]
    # The column with most gaps comes first, and rows with gaps in it stand to the left.
    names = [text.get_text() for text in display.axes_[0].get_yticklabels()]
    assert names == ["x1", "x2", "x0"]
    expected = [[1] * 4 + [0] * 6, [1] * 2 + [0] * 8, [0] * 10]
    np.testing.assert_array_equal(display.image_.get_array(), expected)
    np.testing.assert_allclose([bar.get_width() for bar in display.bars_], [0.4, 0.2, 0])
    assert title(display) == (
        "planted\n20% of the cells are missing, in 2 of 3 columns and 40% of 10 rows"
    )


def test_missingness_of_many_rows_averages_neighbours():
    rng = np.random.default_rng(0)
    missing = rng.random((30_000, 3)) < (0.5, 0.1, 0.0)
    display = MissingnessDisplay(missing=missing, names=list("abc")).plot()
    picture = display.image_.get_array()
    assert picture.shape[1] < 2000
    np.testing.assert_allclose(picture.mean(1), missing.mean(0), atol=1e-3)


@pytest.mark.parametrize(("n_rows", "n_columns"), [(1, 1), (100, 3), (5000, 60), (50, 130)])
def test_missingness_of_any_size(n_rows, n_columns):
    X = np.random.default_rng(0).normal(size=(n_rows, n_columns))
    X[X > 1] = np.nan
    display = draw(MissingnessDisplay.from_data(X))
    assert len(display.axes_[0].get_yticks()) == min(n_columns, 60)
    assert len(display.patterns_) <= 8
    assert ("60 columns shown" in title(display)) == (n_columns > 60)


def test_missingness_without_gaps_says_so():
    display = draw(MissingnessDisplay.from_data(mixed()))
    assert title(display) == "No cell is missing: 120 rows and 9 columns"
    assert display.patterns_ == [((), 120)]


@pytest.mark.parametrize("container", [lambda table: table, as_polars], ids=["pandas", "polars"])
def test_missingness_of_frames(container):
    table, gaps = with_gaps(mixed())
    display = MissingnessDisplay.from_data(container(table))
    np.testing.assert_allclose(display.shares_, gaps.mean(0))
    assert display.names == list(table)


def test_missingness_as_an_imputer_sees_it():
    X = np.array([[1, -1], [2, 3], [-1, 3]])
    seen = MissingnessDisplay.from_estimator(SimpleImputer(missing_values=-1), X)
    np.testing.assert_allclose(seen.shares_, [1 / 3, 1 / 3])
    unseen = MissingnessDisplay.from_estimator(StandardScaler(), X)
    np.testing.assert_allclose(unseen.shares_, [0, 0])


def test_missingness_refuses():
    with pytest.raises(ValueError, match="2D array"):
        MissingnessDisplay.from_data(np.zeros(3))
    with pytest.raises(ValueError, match="at least one row"):
        MissingnessDisplay.from_data(np.zeros((0, 3)))


# -- imputed cells ----------------------------------------------------------------------------


class Drawer(SimpleImputer):
    """Draws 0, 1, 2, ... in turn, so that it is known what was drawn."""

    def impute(self, X, n_imputations=5, *, random_state=None):
        return [pd.DataFrame(X).fillna(float(j)) for j in range(n_imputations)]


def test_imputation_draws_all_draws_of_the_missing_cells():
    X = pd.DataFrame({"a": [np.nan, 5.0, 6.0, np.nan, 7.5], "b": [1.0, 2.0, 3.0, 4.0, 5.0]})
    display = draw(ImputationDisplay.from_estimator(Drawer().fit(X), X, n_imputations=3))
    assert display.columns_ == ["a"]  # b has no gaps
    assert title(display) == "3 draws for each of 4 missing cells".replace("4", "2")
    observed, imputed = (patch.get_data() for patch in display.axes_[0].patches)
    places = np.array([0.0, 1.0, 2.0])
    heights = np.histogram(np.repeat(places, 2), imputed.edges)[0] / 6
    np.testing.assert_allclose(imputed.values, heights)
    np.testing.assert_allclose(observed.values.sum(), 1)
    assert labels(display.legend_) == ["observed", "imputed"]
    assert "40% imputed" in display.axes_[0].get_xlabel()


def test_imputation_of_every_kind_of_column():
    truth = mixed()
    X, gaps = with_gaps(truth)
    imputer = VAEImputer(random_state=0, **QUICK).fit(X)
    display = draw(ImputationDisplay.from_estimator(imputer, X, X_complete=truth, n_imputations=2))
    assert set(display.columns_) == set(X)
    shares = dict(zip(X, gaps.mean(0)))
    assert [shares[name] for name in display.columns_] == sorted(shares.values(), reverse=True)
    assert labels(display.legend_) == ["observed", "imputed", "true, hidden"]
    panel = display.axes_[display.columns_.index("grade")]
    levels = [text.get_text() for text in panel.get_yticklabels()]
    assert levels == ["low", "mid", "high"]
    hidden = truth["grade"][gaps[:, list(X).index("grade")]]
    expected = hidden.value_counts(normalize=True)[levels]
    np.testing.assert_allclose(panel.lines[-1].get_xdata(), expected)


def test_imputation_of_dates_and_of_polars():
    truth = mixed()
    X, _ = with_gaps(truth)
    display = draw(ImputationDisplay(X=as_polars(X), tables=[as_polars(truth)]).plot())
    panel = display.axes_[display.columns_.index("day")]
    shown = [matplotlib.dates.num2date(edge).year for edge in panel.get_xlim()]
    assert shown[0] in (2023, 2024) and shown[1] == 2024
    assert any("2024" in text.get_text() for text in panel.get_xticklabels())
    assert title(display).startswith("1 draw for each of")


def test_imputation_by_best_guess_is_called_that():
    X, _ = with_gaps(mixed()[["size", "count", "income"]])
    imputer = SimpleImputer(add_indicator=True).fit(X.to_numpy())
    display = ImputationDisplay.from_estimator(imputer, X.to_numpy(), name="mean")
    assert title(display).startswith("mean\nBest guess for each of")
    assert set(display.columns_) == {"x0", "x1", "x2"}


def test_imputation_with_a_column_left_out():
    X = np.array([[1.0, np.nan, 2.0], [3.0, np.nan, np.nan], [1.0, np.nan, 4.0]])
    imputer = SimpleImputer().fit(X)
    with pytest.warns(UserWarning, match="Skipping features"):
        display = ImputationDisplay.from_estimator(imputer, X)
    assert display.columns_ == ["x2"]


def test_imputation_of_pairs():
    X, _ = with_gaps(mixed()[["size", "count", "income"]])
    display = draw(
        ImputationDisplay.from_estimator(
            Drawer().fit(X), X, columns=["size", ("size", "income")], n_imputations=2
        )
    )
    assert display.columns_ == ["size", ("size", "income")]
    panel = display.axes_[1]
    rows = [len(part.get_offsets()) for part in panel.collections]
    gaps = X[["size", "income"]].isna().to_numpy()
    n_both = (~gaps.any(1)).sum()
    assert rows == [n_both, *(np.bincount(gaps @ [1, 2], minlength=4)[1:])]
    assert labels(display.legend_)[-3:] == ["x imputed", "y imputed", "both imputed"]


def test_imputation_by_place_and_with_a_placeholder():
    X = np.where(np.isnan(with_gaps(mixed()[["size", "income"]])[0]), -1, 2.0)
    display = ImputationDisplay.from_estimator(
        SimpleImputer(missing_values=-1).fit(X), X, columns=[1, 0]
    )
    assert display.columns_ == ["x1", "x0"]


def test_imputation_refuses():
    X, _ = with_gaps(mixed()[["size", "shape"]])
    with pytest.raises(NotFittedError):
        ImputationDisplay.from_estimator(VAEImputer(), X)
    with pytest.raises(ValueError, match="X has none"):
        ImputationDisplay(X=mixed(), tables=[mixed()]).plot()
    with pytest.raises(ValueError, match="no column 'weight'; the table has 'size', 'shape'"):
        ImputationDisplay(X=X, tables=[X], columns=["weight"]).plot()
    with pytest.raises(ValueError, match="'shape' holds categories"):
        ImputationDisplay(X=X, tables=[X], columns=[("size", "shape")]).plot()
    with pytest.raises(ValueError, match="of the 120 rows of X, got 3"):
        ImputationDisplay(X=X, tables=[X[:3]]).plot()


# -- synthetic rows ---------------------------------------------------------------------------


def test_sample_of_the_same_rows_is_no_different():
    table = mixed()
    display = draw(SampleDisplay.from_tables(table, table.sample(frac=1, random_state=0)))
    np.testing.assert_allclose(
        display.real_associations_, display.synthetic_associations_, atol=1e-12
    )
    assert title(display) == "120 synthetic rows against 120 real ones: shapes 1.00, trends 1.00"
    assert all("shape 1.00" in panel.get_xlabel() for panel in display.axes_)
    assert labels(display.legend_) == ["real", "synthetic"]


def test_sample_shows_what_was_lost():
    table = mixed()[["size", "flag", "count"]]
    broken = table.assign(size=np.random.default_rng(0).permutation(table["size"]))
    display = SampleDisplay.from_tables(table, broken)
    difference = display.synthetic_associations_ - display.real_associations_
    assert difference[0, 1] < -0.6  # size and flag were one
    assert abs(difference[1, 2]) < 1e-12
    np.testing.assert_allclose(
        display.matrix_axes_[2].images[0].get_array().filled(np.nan), difference
    )
    shapes, trends = column_shapes(table, broken).mean, pair_trends(table, broken).mean
    assert title(display).endswith(f"shapes {shapes:.2f}, trends {trends:.2f}")


def test_sample_of_an_estimator():
    X, _ = load_wine(return_X_y=True)
    vae = VAETransformer(2, learning_rate_init=0.03, max_iter=6, random_state=0).fit(X)
    display = draw(SampleDisplay.from_estimator(vae, X, n_samples=50, columns=[0, "x3"]))
    assert display.columns_ == ["x0", "x3"]
    assert display.synthetic.shape == (50, 13)
    assert title(display).startswith("50 synthetic rows against 178 real ones")
    assert title(display).endswith("2 of 13 columns drawn")


def test_columns_with_levels_are_columns_and_no_pairs():
    table = mixed()[["size", "count", "shape"]]
    table.columns = pd.MultiIndex.from_tuples([("a", "size"), ("a", "count"), ("b", "shape")])
    with_holes, _ = with_gaps(table)
    completed = with_holes.fillna({column: table[column].iloc[0] for column in table})
    display = ImputationDisplay(X=with_holes, tables=[completed])
    assert set(display.plot().columns_) == set(table.columns)
    size, count, _ = table.columns
    display = ImputationDisplay(X=with_holes, tables=[completed], columns=[count, (size, count)])
    assert display.plot().columns_ == [count, (size, count)]
    scores = ReconstructionDisplay(original=table, reconstruction=completed).plot().scores_
    assert list(scores) == list(table.columns)


@pytest.mark.parametrize("parts", ["margins", "associations"])
def test_sample_draws_the_parts_asked_for(parts):
    table = mixed()[["size", "shape"]]
    display = draw(SampleDisplay.from_tables(table, table, parts=parts))
    assert (display.axes_ is None) == (parts == "associations")
    assert (display.matrix_axes_ is None) == (parts == "margins")


def test_sample_of_polars():
    table = as_polars(with_gaps(mixed())[0])
    display = draw(SampleDisplay.from_tables(table, table))
    assert "missing" in display.axes_[0].get_xlabel()


def test_sample_refuses():
    table = mixed()[["size", "shape"]]
    with pytest.raises(NotFittedError):
        SampleDisplay.from_estimator(VAETransformer(), table)
    with pytest.raises(TypeError, match="StandardScaler has none"):
        SampleDisplay.from_estimator(StandardScaler().fit(table[["size"]]), table)
    with pytest.raises(ValueError, match="'shape' is not among the synthetic ones"):
        SampleDisplay.from_tables(table, table[["size"]])
    with pytest.raises(ValueError, match="got 'all'"):
        SampleDisplay.from_tables(table, table, parts="all")


# -- what they have in common -----------------------------------------------------------------


def test_associations_of_planted_pairs():
    n = 4000
    rng = np.random.default_rng(0)
    x, group = rng.normal(size=n), rng.integers(0, 3, n)
    table = pd.DataFrame(
        {
            "x": x,
            "minus": -np.exp(x),
            "noise": rng.normal(size=n),
            "group": group.astype(str),
            "renamed": np.array(["u", "v", "w"])[group],
            "by group": group * 100 + rng.random(n),
            "same": 1.0,
        }
    )
    found = associations(table, levels_by_column(table, table))
    found = pd.DataFrame(found, table.columns, table.columns)
    np.testing.assert_allclose(found.loc["x", "minus"], -1)
    np.testing.assert_allclose(found.loc["group", "renamed"], 1)
    # Three equal groups of ranks: 1 - 1/9 of the variance lies between them.
    np.testing.assert_allclose(found.loc["group", "by group"], np.sqrt(8 / 9), rtol=0.01)
    assert found.loc["noise", ["x", "minus", "group", "renamed"]].abs().max() < 0.06
    assert found["same"].isna().all()
    assert (found.isna() | (found == found.T)).all(axis=None)


def test_many_levels_are_gathered():
    column = pd.Series([f"n{j:02d}" for j in range(40) for _ in range(40 - j)])
    levels = levels_of(column)
    assert levels == [f"n{j:02d}" for j in range(12)] + [OTHERS]
    shares = shares_of(column, levels)
    np.testing.assert_allclose(shares.sum(), 1)
    np.testing.assert_allclose(shares[-1], sum(range(1, 29)) / sum(range(1, 41)))


def test_a_category_called_others_keeps_its_share():
    column = pd.Series(["others", "a", "a"])
    np.testing.assert_allclose(shares_of(column, levels_of(column)), [2 / 3, 1 / 3])


def test_long_tails_are_cut_and_said():
    values = np.r_[np.linspace(0, 1, 999), 1e6]
    edges, is_cut = _edges([values])
    assert is_cut and edges[0] == 0 and edges[-1] < 1.1
    edges, is_cut = _edges([values[:-1]])
    assert not is_cut and edges[-1] == 1
    table = pd.DataFrame({"income": np.r_[values, -3.5]})
    display = SampleDisplay.from_tables(table, table, parts="margins")
    assert "beyond: 0.2% | 0.2%" in display.axes_[0].get_xlabel()


def test_whole_numbers_get_bins_of_equal_numbers():
    for values in (np.arange(6.0), np.arange(1000.0) // 3):
        edges, _ = _edges([values])
        np.testing.assert_allclose(edges % 1, 0.5)
        assert np.ptp(np.diff(edges)) == 0 and len(edges) <= 32


def test_frames_of_anything():
    assert list(frame_of([[1, 2.5], [3, None]])) == ["x0", "x1"]
    objects = frame_of(np.array([[1, "a"], [2, None]], dtype=object))
    assert pd.api.types.is_numeric_dtype(objects["x0"])
    shuffled = frame_of(pd.DataFrame({"a": [1, 2]}, index=[5, 3]))
    assert list(shuffled.index) == [0, 1]


def displays():
    X, _ = with_gaps(mixed()[["size", "shape", "income"]])
    yield lambda ax: MissingnessDisplay.from_data(X, ax=ax, name="here")
    yield lambda ax: ImputationDisplay(X=X, tables=[mixed()], estimator_name="here").plot(ax)
    yield lambda ax: SampleDisplay.from_tables(X, X, ax=ax, name="here")


@pytest.mark.parametrize("make", list(displays()), ids=["missingness", "imputation", "sample"])
def test_the_place_of_a_given_axes_is_divided(make):
    figure, (left, right) = plt.subplots(1, 2, figsize=(14, 6), layout="constrained")
    display = draw(make(right))
    assert display.figure_ is figure and len(plt.get_fignums()) == 1
    middle = left.get_position().x1
    assert all(panel.get_position().x0 > middle for panel in figure.axes if panel is not left)
    assert any(panel.get_title(loc="left").startswith("here\n") for panel in figure.axes)
    with pytest.raises(ValueError, match="in no grid"):
        make(plt.figure().add_axes([0, 0, 1, 1]))


def test_axes_may_be_given_one_by_one():
    X, _ = with_gaps(mixed()[["size", "shape"]])
    _, panels = plt.subplots(1, 3)
    display = ImputationDisplay(X=X, tables=[mixed()]).plot(panels)
    assert list(display.axes_) == list(panels[:2])
    assert not panels[2].axison
    with pytest.raises(ValueError, match="needs 2 axes, one per panel; ax holds 1"):
        ImputationDisplay(X=X, tables=[mixed()]).plot(panels[:1])


@pytest.mark.parametrize("make", list(displays()), ids=["missingness", "imputation", "sample"])
def test_missing_matplotlib_is_named(make, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r'pip install "skvae\[plot\]"'):
        make(None)
