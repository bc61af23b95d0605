"""Explanations and repairs: sums, planted errors, and cells that nobody touched."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from skvae import VAEOutlierDetector
from skvae.cellwise.attribution import LEAST_GAIN
from skvae.cellwise.slips import is_one_slip

N_ROWS, N_WRONG = 900, 120
COLUMNS = ["kind", "size", "weight", "number", "flag", "same", "other"]


def planted(seed):
    """Columns of all kinds that one hidden class tells, some with holes."""
    rng = np.random.RandomState(seed)
    kind = rng.randint(3, size=N_ROWS)
    other = np.where(rng.rand(N_ROWS) < 0.97, kind, rng.randint(3, size=N_ROWS))
    size = np.array([-5.0, 0.0, 5.0])[kind] + 0.5 * rng.randn(N_ROWS)
    number = rng.poisson(np.array([3, 30, 300])[kind])
    X = pd.DataFrame(
        {
            "kind": pd.Categorical.from_codes(kind, ["a", "b", "c"]),
            "size": size,
            "weight": np.exp(size / 5 + 0.1 * rng.randn(N_ROWS)),
            "number": number,
            "flag": kind == 1,
            "same": 1.0,
            "other": pd.Categorical.from_codes(other, ["x", "y", "z"]),
        },
        index=np.arange(N_ROWS) + 10,
    )
    X.loc[X.index[rng.rand(N_ROWS) < 0.1], "size"] = np.nan
    return X


def fitted(X, **settings):
    standard = {
        "n_components": 2, "max_iter": 30, "contamination": 0.05, "random_state": 0,
        "score_function": "conditional",
    }  # fmt: skip
    return VAEOutlierDetector(**(standard | settings)).fit(X)


def spoiled(X, seed=0):
    """One wrong cell in each row, and its column."""
    rng = np.random.RandomState(seed)
    wrong = X.iloc[:N_WRONG].copy()
    column = rng.choice([0, 1, 2, 3, 4, 6], N_WRONG)
    column[(column == 1) & wrong["size"].isna()] = 2
    for i, j in enumerate(column):
        cell = wrong.iat[i, j]
        if j in (0, 6):
            letters = "abc" if j == 0 else "xyz"
            wrong.iat[i, j] = letters[(letters.index(cell) + 1 + rng.randint(2)) % 3]
        elif j == 4:
            wrong.iat[i, j] = not cell
        else:
            wrong.iat[i, j] = cell * 1000 if j < 3 else 2000
    return wrong, column


@pytest.fixture(scope="module")
def table():
    return planted(0)


@pytest.fixture(scope="module")
def detector(table):
    return fitted(table)


@pytest.mark.parametrize("score_function", ["conditional", "elbo", "likelihood"])
def test_contributions_sum_to_the_score(table, detector, score_function):
    if score_function != "conditional":
        detector = fitted(table, score_function=score_function)
    X = pd.concat([table.iloc[:100], spoiled(table)[0]])
    told = detector.explain(X)
    assert list(told) == [*COLUMNS, *["(code)"][: score_function != "conditional"]]
    # Missing cells are NaN, which a sum over columns passes by.
    total = (told + detector.typical_cells_).sum(axis=1)
    scores = detector.score_samples(X)
    np.testing.assert_allclose(total, scores, rtol=1e-5, atol=1e-4)
    # Cell by cell what the others say is not what a row gains without the cell.
    if score_function == "conditional":
        alone = detector.score_.cells(detector, X) - detector.typical_cells_
        assert np.abs(told.fillna(0).to_numpy() - np.where(X.isna(), 0, alone)).max() > LEAST_GAIN


@pytest.mark.parametrize("score_function", ["conditional", "local", "likelihood"])
def test_a_wrong_cell_comes_first(table, detector, score_function):
    if score_function != "conditional":
        detector = fitted(table, score_function=score_function)
    wrong, column = spoiled(table)
    told = detector.explain(wrong)[COLUMNS].fillna(0).to_numpy()
    assert np.mean(told.argmin(1) == column) > 0.9
    assert np.median(told.min(1)) < -LEAST_GAIN


def test_a_right_row_has_no_such_cell(table, detector):
    told = detector.explain(table.iloc[:N_WRONG])
    assert np.mean(told.min(axis=1) > -LEAST_GAIN) > 0.9
    assert np.abs(told.median()).max() < 1.0


def test_columns_that_know_nothing_of_one_another_tell_no_wrong_cell(table):
    rng = np.random.RandomState(0)
    shuffled = table.apply(lambda column: rng.permutation(column.array)).set_axis(table.index)
    for name in ("kind", "other"):
        shuffled[name] = shuffled[name].astype(table[name].dtype)
    shuffled["same"] = 1.0
    wrong, column = spoiled(table)
    told = fitted(shuffled).explain(wrong)[COLUMNS].fillna(0).to_numpy()
    classes = np.isin(column, [0, 4, 6])
    assert np.mean(told.argmin(1) == column, where=classes) < 0.6


def test_two_wrong_cells_come_first_and_second(table, detector):
    wrong = table[table["kind"] == "a"].iloc[:30].copy()
    wrong["number"], wrong["weight"] = 2000, 50.0
    told = detector.explain(wrong)
    first = np.argsort(told.fillna(0).to_numpy(), axis=1)[:, :2]
    assert np.mean(np.sort(first, 1) == [2, 3]) > 0.95
    # And the rest of the row is exonerated.
    rest = told.drop(columns=["number", "weight"]).min(axis=1)
    assert np.mean(rest > -LEAST_GAIN) > 0.9


def test_an_explanation_is_a_frame_like_the_table(table, detector):
    told = detector.explain(table.iloc[3:9])
    assert list(told.columns) == COLUMNS
    assert list(told.index) == list(table.index[3:9])
    np.testing.assert_array_equal(told["size"].isna(), table["size"].iloc[3:9].isna())
    assert (told["same"] == 0).all()


def test_a_row_is_explained_alike_in_any_company(table, detector):
    wrong = spoiled(table)[0]
    whole = detector.explain(wrong)
    pd.testing.assert_frame_equal(detector.explain(wrong.iloc[:1]), whole.iloc[:1], rtol=0, atol=0)
    backwards = detector.explain(wrong.iloc[::-1]).iloc[::-1]
    pd.testing.assert_frame_equal(backwards, whole, rtol=0, atol=0)
    again = pickle.loads(pickle.dumps(detector))
    pd.testing.assert_frame_equal(again.explain(wrong), whole, rtol=0, atol=0)


def test_repair_restores_the_wrong_cell_and_no_other(table, detector):
    wrong, column = spoiled(table)
    found = detector.predict(wrong) < 0
    assert found.mean() > 0.9
    repaired, changed = detector.repair(wrong)
    assert list(repaired.dtypes) == list(wrong.dtypes)
    assert list(changed.index) == list(wrong.index)
    marks = changed.to_numpy()
    assert (marks.sum(1) <= 1).all()
    assert not marks[~found].any()
    for j, name in enumerate(COLUMNS):
        kept = ~marks[:, j]
        pd.testing.assert_series_equal(repaired[name][kept], wrong[name][kept])
    true, deviation = table.iloc[:N_WRONG], table[["size", "weight", "number"]].std()
    right = [
        abs(repaired.iat[i, j] - true.iat[i, j]) < deviation[COLUMNS[j]]
        if j in (1, 2, 3)
        else repaired.iat[i, j] == true.iat[i, j]
        for i, j in enumerate(column)
    ]
    assert np.mean(np.asarray(right)[found]) > 0.85
    assert np.mean(detector.predict(repaired)[found] > 0) > 0.8


def test_repair_takes_as_many_cells_as_it_may(table, detector):
    wrong = table[table["kind"] == "a"].iloc[:20].copy()
    wrong["number"], wrong["weight"] = 2000, 50.0
    one, two = detector.repair(wrong)[1], detector.repair(wrong, n_cells=2)[1]
    assert (one.sum(axis=1) == 1).all()
    assert two[["number", "weight"]].to_numpy().mean() > 0.95
    # A row is left as soon as it is normal.
    assert (detector.repair(wrong, n_cells=5)[1].sum(axis=1) <= 3).all()
    for n_cells in (0, 1.5):
        with pytest.raises(ValueError, match="n_cells"):
            detector.repair(wrong, n_cells=n_cells)


def test_arrays_have_numbered_columns():
    rng = np.random.RandomState(0)
    factor = rng.randn(600, 1)
    X = (factor + 0.3 * rng.randn(600, 3)).astype(np.float32)
    detector = fitted(X)
    wrong = X[:5].copy()
    wrong[:, 1] *= -1000
    told = detector.explain(wrong)
    assert list(told.columns) == ["x0", "x1", "x2"]
    assert (told.idxmin(axis=1) == "x1").all()
    repaired, changed = detector.repair(wrong)
    assert repaired.dtype == np.float32
    assert changed["x1"].all()
    np.testing.assert_array_equal(repaired[:, [0, 2]], wrong[:, [0, 2]])
    assert np.abs(repaired[:, 1] - X[:5, 1]).max() < 1.5


def test_polars_frames_come_back_as_such(table, detector):
    pl = pytest.importorskip("polars")
    plain = table.drop(columns=["kind", "other"]).reset_index(drop=True)
    detector = fitted(pl.DataFrame(plain))
    wrong = plain.iloc[:5].copy()
    wrong["number"] = 100_000
    told = detector.explain(pl.DataFrame(wrong))
    assert (told.idxmin(axis=1) == "number").all()
    repaired, changed = detector.repair(pl.DataFrame(wrong))
    assert changed["number"].all()
    assert repaired["flag"].to_list() == plain["flag"].iloc[:5].to_list()
    assert repaired["number"].max() < 1000


def test_slips_are_undone(table, detector):
    wrong = table.iloc[:40].copy()
    wrong["weight"] /= 1000
    repaired, changed = detector.repair(wrong)
    assert changed["weight"].mean() > 0.9
    np.testing.assert_allclose(
        repaired["weight"][changed["weight"]], table["weight"].iloc[:40][changed["weight"]],
        rtol=1e-4,
    )  # fmt: skip
    # What no slip explains has the best guess.
    wrong["weight"] = 77.0
    guessed = detector.repair(wrong)[0]["weight"]
    assert np.mean(np.isclose(guessed, table["weight"].iloc[:40], rtol=1e-4)) < 0.2


def test_words_are_one_slip_apart():
    for wrong in ("Privaet", "Privte", "Privatee", "Privute", "rPivate", "Privat"):
        assert is_one_slip(wrong, "Private"), wrong
    for wrong in ("Private", "Prvia", "Prviaet", "Public"):
        assert not is_one_slip(wrong, "Private"), wrong


def test_what_would_be_normal_is_told_for_each_cell(table, detector):
    wrong, column = spoiled(table)
    told, normal = detector.explain(wrong, return_normal=True)
    pd.testing.assert_frame_equal(told, detector.explain(wrong), rtol=0, atol=0)
    assert list(normal.dtypes) == list(wrong.dtypes)
    true = table.iloc[:N_WRONG]
    assert np.mean(normal["kind"].to_numpy() == true["kind"].to_numpy()) > 0.97
    assert np.mean(np.abs(normal["size"].to_numpy() - true["size"].to_numpy()) < 2.5) > 0.85
    assert not normal.isna().any(axis=None)


def test_picture_shows_the_wrong_cell_and_what_would_be_normal(table, detector):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from skvae.plotting import ExplanationDisplay

    wrong, column = spoiled(table)
    display = ExplanationDisplay.from_estimator(detector, wrong, rows=[4, 0, 2], n_cells=3)
    assert [names[0] for names in display.columns_] == [COLUMNS[column[i]] for i in (4, 0, 2)]
    told = detector.explain(wrong.iloc[[4, 0, 2]])
    tops = [bars[0].get_width() for bars in display.bars_]
    np.testing.assert_allclose(tops, -told.min(axis=1))
    assert all(len(bars) == 3 for bars in display.bars_)
    texts = [text.get_text() for panel in display.axes_ for text in panel.texts]
    assert sum(text.startswith("normal: ") for text in texts) >= 3
    assert f"row {wrong.index[4]}" in display.axes_[0].get_title("left")
    lowest = ExplanationDisplay.from_estimator(detector, wrong, n_rows=1)
    place = wrong.index[np.argmin(detector.score_samples(wrong))]
    assert lowest.axes_[0].get_title("left").startswith(f"row {place}:")
    with pytest.raises(TypeError, match="explain"):
        ExplanationDisplay.from_estimator(detector.codec_, wrong)
    matplotlib.pyplot.close("all")


def test_sparse_counts_are_explained_and_repaired():
    rng = np.random.RandomState(0)
    counts = rng.poisson(rng.gamma(1, 2, (300, 1)) * rng.gamma(1, 1, (1, 20)))
    detector = VAEOutlierDetector(
        likelihood="poisson", score_function="likelihood", n_components=2, max_iter=5,
        random_state=0,
    ).fit(sparse.csr_matrix(counts))  # fmt: skip
    wrong = counts[:5].copy()
    wrong[:, 3] = 500
    table = sparse.csr_matrix(wrong)
    told = detector.explain(table)
    assert (told.idxmin(axis=1) == "x3").all()
    total = (told + detector.typical_cells_).sum(axis=1)
    np.testing.assert_allclose(total, detector.score_samples(table), rtol=1e-4)
    repaired, changed = detector.repair(table)
    assert isinstance(repaired, sparse.csr_matrix)
    assert changed["x3"].all()
    assert repaired[:, 3].max() < 100


def test_exchanged_numbers_are_put_back():
    rng = np.random.RandomState(0)
    factor = rng.randn(600)
    spread = np.array([0.3, 150, 0.3, 0.3])
    X = np.column_stack([factor, 7000 + 500 * factor, factor, -factor])
    X += spread * rng.randn(600, 4)
    detector = fitted(X)
    wrong = X[:20].copy()
    wrong[:, :2] = wrong[:, 1::-1]
    repaired, changed = detector.repair(wrong, n_cells=2)
    both = changed[["x0", "x1"]].all(axis=1)
    assert both.mean() > 0.9
    back = np.isclose(repaired, X[:20], rtol=1e-5).all(1)
    assert back.mean() > 0.8
    # The best guess is near it, and no more.
    guess = detector.explain(wrong, return_normal=True)[1]
    assert not np.isclose(guess, X[:20], rtol=1e-5).all(1).any()
    assert (detector.repair(wrong)[1].sum(axis=1) == 1).all()
