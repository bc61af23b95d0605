"""Models of some columns given others: exact identities, then trained toys and their controls."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import special, stats
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from test_exactness import PPCA, plant

from skvae import VAETransformer
from skvae.likelihoods import Normal
from skvae.model_selection import StackedGridSearchCV
from skvae.training import closed_form, flat

pytestmark = [
    pytest.mark.filterwarnings("error"),
    pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning"),
    pytest.mark.filterwarnings("ignore::skvae.exceptions.UnusedLatentsWarning"),
]
SLOPES = np.array([[1.5, -1.0, 0.0, 0.5, 2.0], [0.0, 1.0, -2.0, 1.0, 0.3]])
LOADINGS = np.array([[1.0, 0.5, -0.8, 0.0, 1.2], [0.0, 0.7, 0.6, 1.5, -0.3]])
NOISE = 0.5
# What kinds of rows shift the columns by, and how many are of each.
KINDS = np.array(
    [[1.0, 0.0, -1.0, 0.5, 0.0], [-1.0, 1.0, 0.0, 0.0, 0.5], [0.0, -1.0, 1.0, 0.0, 0.0]]
)
SHARES = np.array([0.5, 0.3, 0.2])
# Scaled columns, ``x = 3 + c @ SLOPES + z @ LOADINGS + noise``; the conditions are 1 and 3.
GIVEN = [1, 3]
LINEAR = {
    "objective": "elbo",
    "hidden_layer_sizes": (),
    "likelihood": Normal(scale="shared"),
    "prior": "normal",
    "view": None,
    "calibrate": False,
    "learning_rate_init": 1e-12,
    "max_iter": 1,
    "early_stopping": False,
}


def linear_table(n=600, seed=0):
    rng = np.random.default_rng(seed)
    conditions = rng.normal(size=(n, 2))
    codes, noise = rng.normal(size=(n, 2)), NOISE * rng.normal(size=(n, 5))
    rest = 3.0 + conditions @ SLOPES + codes @ LOADINGS + noise
    return np.insert(rest, [1, 2], conditions, axis=1)


def apart(table):
    """The modelled columns, and the conditions."""
    return np.delete(table, GIVEN, 1), table[:, GIVEN]


def log_density(table):
    rest, conditions = apart(table)
    covariance = LOADINGS.T @ LOADINGS + NOISE**2 * np.eye(5)
    return stats.multivariate_normal(np.zeros(5), covariance).logpdf(
        rest - 3.0 - conditions @ SLOPES
    )


def fitted(X, n_components=2, **params):
    defaults = {"condition": GIVEN, "random_state": 0}
    return VAETransformer(n_components, **(defaults | params)).fit(X)


@pytest.fixture(scope="module")
def trained():
    return fitted(linear_table(), max_iter=60, hidden_layer_sizes=(32,))


# ------------------------------------------------------------------------------------- exactly


def test_the_start_is_the_linear_model_of_the_rest_given_the_conditions():
    X = linear_table()
    vae = fitted(X, **LINEAR)
    rest, conditions = apart(X)
    design = np.c_[conditions, np.ones(len(X))]
    scale = np.exp(vae.codec_.log_scale_)
    residual = (rest - design @ np.linalg.lstsq(design, rest, rcond=None)[0]) / scale
    values, vectors = np.linalg.eigh(np.cov(residual.T, bias=True))
    noise = values[:3].mean()
    directions, spread = vectors[:, 3:], values[3:] - noise
    covariance = (directions * spread) @ directions.T + noise * np.eye(5)
    exact = stats.multivariate_normal(np.zeros(5), covariance).logpdf(residual)
    exact = exact - vae.codec_.log_scale_.sum()
    assert_allclose(vae.score_samples(X, n_draws=2), exact, atol=2e-3)
    # Rows beside the conditions of others are less likely, as they would not be to a model
    # that does not look.
    other = np.insert(rest, [1, 2], conditions[::-1], axis=1)
    assert vae.score(other) < vae.score(X) - 3.0


def rows_of_kinds(n, seed):
    """Rows that a kind and a number shift; columns, kinds and numbers as they were drawn."""
    rng = np.random.default_rng(seed)
    kind, number = rng.choice(3, n, p=SHARES), rng.normal(size=n)
    shifts = KINDS[kind] + np.outer(number, SLOPES[0])
    rest = shifts + rng.normal(size=(n, 2)) @ LOADINGS + NOISE * rng.normal(size=(n, 5))
    frame = pd.DataFrame(rest, columns=list("abcde"))
    frame["kind"] = pd.Categorical(np.array(list("xyz"))[kind])
    return frame.assign(number=number), kind


def shares_of_kinds(vae, frame):
    """Bayes' rule over the kinds that a row might have been of."""
    asked = [frame.assign(kind=pd.Categorical([k] * len(frame), list("xyz"))) for k in "xyz"]
    scores = np.stack([vae.score_samples(rows) for rows in asked], 1)
    return special.softmax(scores + np.log(SHARES), 1)


def test_a_planted_model_has_the_density_given_the_conditions_and_bayes_rule_over_them():
    frame, kind = rows_of_kinds(400, 0)
    vae = fitted(frame, condition=["kind", "number"], **LINEAR)
    encoded = vae.codec_.encode(frame)
    given = encoded.inputs[:, 5:].astype(float)
    slopes = np.random.default_rng(1).normal(size=(given.shape[1], 5))
    model = PPCA(encoded.values - given @ slopes, 2)
    plant(vae.vae_, model)
    encoder, decoder = vae.vae_.network.encoder, vae.vae_.network.decoder
    with torch.no_grad():
        told = torch.as_tensor(-slopes).float() @ encoder.weight_0[0, :5, :2]
        decoder.weight_0[0, 2 : 2 + len(slopes), :5] = torch.as_tensor(slopes)

    def exact(conditions):
        residual = encoded.values - conditions @ slopes
        return model.log_density(residual) - vae.codec_.log_scale_.sum()

    # The exact posterior knows what the conditions explain; without that there is a gap.
    gap = exact(given) - vae.score_samples(frame)
    with torch.no_grad():
        encoder.weight_0[0, 5 : 5 + len(slopes), :2] = told
    assert_allclose(vae.score_samples(frame), exact(given), rtol=0, atol=1e-4)
    assert np.abs(gap).max() > 1e-2, "negative control"

    each = []
    for k in range(3):
        asked = given.copy()
        asked[:, 1:] = given[kind == k][0, 1:]  # the number comes first
        each.append(exact(asked) + np.log(SHARES[k]))
    exactly = special.softmax(np.stack(each, 1), 1)
    assert_allclose(shares_of_kinds(vae, frame), exactly, rtol=0, atol=1e-4)
    assert np.abs(exactly - SHARES).max() > 0.5, "the conditions would not matter"


def test_bayes_rule_over_conditions_tells_kinds():
    frame, _ = rows_of_kinds(900, 0)
    new, kind = rows_of_kinds(600, 1)
    covariance = LOADINGS.T @ LOADINGS + NOISE**2 * np.eye(5)
    residual = new[list("abcde")].to_numpy() - np.outer(new["number"], SLOPES[0])
    density = stats.multivariate_normal(np.zeros(5), covariance)
    best = np.stack([density.logpdf(residual - shift) for shift in KINDS], 1) + np.log(SHARES)
    exact = (best.argmax(1) == kind).mean()
    found = []
    for kinds in (frame["kind"], frame["kind"].sample(frac=1.0, random_state=0).to_numpy()):
        vae = fitted(
            frame.assign(kind=kinds), condition=["kind", "number"], max_iter=30,
            hidden_layer_sizes=(32,),
        )  # fmt: skip
        found.append((shares_of_kinds(vae, new).argmax(1) == kind).mean())
    assert found[0] > exact - 0.03
    assert found[1] < SHARES.max() + 0.1 < exact - 0.2, "negative control: kinds of other rows"


def test_steps_by_hand_are_those_of_automatic_differentiation(monkeypatch):
    X, params = linear_table(120), {"max_iter": 3, "hidden_layer_sizes": (6,), "calibrate": False}
    by_hand = fitted(X, **params)
    monkeypatch.setattr(closed_form.GaussianStep, "of", classmethod(lambda *_: None))
    without_step = fitted(X, **params)
    monkeypatch.setattr(type(by_hand.vae_.network), "by_hand", lambda *_: None)
    automatic = fitted(X, **params)
    for other in (without_step, automatic):
        for mine, theirs in zip(by_hand.vae_.parameters(), other.vae_.parameters()):
            assert_allclose(mine.detach(), theirs.detach(), atol=2e-5)
    assert flat.FlatAdam(automatic.vae_, [0.0], [None]).by_hand is None


def test_view_leaves_conditions_alone():
    vae = fitted(linear_table(60), max_iter=1).vae_
    assert (vae.n_inputs, vae.n_conditions) == (7, 2)
    assert vae.network.encoder.n_inputs == 7
    assert vae.network.decoder.n_inputs == 4


# ------------------------------------------------------------------------------------- trained


def test_scores_are_log_densities_of_the_rest_given_the_conditions(trained):
    held_out = linear_table(400, seed=1)
    exact = log_density(held_out)
    scores = trained.score_samples(held_out)
    assert abs(scores.mean() - exact.mean()) < 0.3
    assert np.corrcoef(scores, exact)[0, 1] > 0.9
    blind = fitted(apart(held_out)[0], condition=None, max_iter=20)
    assert blind.score(apart(held_out)[0]) < scores.mean() - 2.0


def test_samples_have_the_moments_that_the_condition_asks_for(trained):
    condition = np.array([1.0, -1.0])
    X = trained.sample(4000, condition=dict(zip(GIVEN, condition)), random_state=0)
    rest, given = apart(X)
    assert_array_equal(given, np.tile(condition, (4000, 1)))
    covariance = LOADINGS.T @ LOADINGS + NOISE**2 * np.eye(5)
    assert_allclose(rest.mean(0), 3.0 + condition @ SLOPES, atol=0.25)
    assert_allclose(np.cov(rest.T), covariance, atol=0.5)


def test_without_the_right_conditions_nothing_follows_them():
    X = linear_table()
    rest, conditions = apart(X)
    shuffled = conditions[np.random.default_rng(0).permutation(len(X))]
    vae = fitted(np.insert(rest, [1, 2], shuffled, axis=1), max_iter=20)
    ends = [
        apart(vae.sample(2000, condition={1: end, 3: -end}, random_state=0))[0].mean(0)
        for end in (1.0, -1.0)
    ]
    assert np.abs(ends[0] - ends[1]).max() < 0.6
    assert np.abs(2 * np.array([1, -1]) @ SLOPES).max() > 3.0


def test_rows_keep_their_own_conditions(trained):
    X = linear_table(50, seed=2)
    rows = trained.reconstruct(X)
    assert_array_equal(rows[:, GIVEN], X[:, GIVEN])
    codes = trained.transform(X)
    assert_array_equal(trained.inverse_transform(codes, condition=X), rows)
    assert_array_equal(trained.inverse_transform(codes, condition=X[:, GIVEN]), rows)
    path = trained.interpolate(X[:2], 3)
    assert_array_equal(path[:, GIVEN], X[[0, 0, 0]][:, GIVEN])
    assert_array_equal(trained.traverse(X[:1], 1)[:, GIVEN], X[[0] * 7][:, GIVEN])


def test_given_cells_beside_conditions(trained):
    rows = trained.sample(500, given={0: 2.0}, condition={1: 0.5, 3: 0.5}, random_state=0)
    assert_array_equal(rows[:, [0, *GIVEN]], np.tile([2.0, 0.5, 0.5], (500, 1)))
    joint = LOADINGS.T @ LOADINGS + NOISE**2 * np.eye(5)
    mean = 3.0 + np.array([0.5, 0.5]) @ SLOPES
    exact = mean[1:] + joint[1:, 0] / joint[0, 0] * (2.0 - mean[0])
    assert_allclose(apart(rows)[0][:, 1:].mean(0), exact, atol=0.4)


def test_missing_cells_of_the_rest_are_filled_given_the_conditions(trained):
    X = linear_table(200, seed=3)
    gaps = X.copy()
    gaps[:, 4] = np.nan
    filled = trained.impute(gaps)
    assert_array_equal(np.delete(filled, 4, 1), np.delete(X, 4, 1))
    assert np.corrcoef(filled[:, 4], X[:, 4])[0, 1] > 0.85
    drawn = trained.impute(gaps[:20], 2, method="gibbs", n_draws=20, random_state=0)
    assert np.isfinite(drawn).all()


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    X = X.reshape(-1, 8, 8)[:, 1:7, 1:7].reshape(-1, 36)[:900]
    return X, y[:900], LogisticRegression(max_iter=2000).fit(X, y[:900])


def share_of_the_class_asked_for(X, labels, judge):
    frame = pd.DataFrame(X, columns=[f"pixel {j}" for j in range(X.shape[1])])
    frame["digit"] = pd.Categorical(labels.astype(str))
    vae = fitted(frame, condition="digit", max_iter=30, hidden_layer_sizes=(64,))
    asked = np.repeat(np.arange(10), 20)
    drawn = np.random.default_rng(0).integers(len(frame), size=len(asked))
    codes = vae.transform(frame)[drawn]
    rows = vae.inverse_transform(codes, [{"digit": str(k)} for k in asked])
    assert_array_equal(rows["digit"], asked.astype(str))
    return np.mean(judge.predict(rows.drop(columns="digit").to_numpy()) == asked)


def test_digits_are_of_the_class_that_is_asked_for(digits):
    X, y, judge = digits
    assert share_of_the_class_asked_for(X, y, judge) >= 0.9
    shuffled = np.random.default_rng(0).permutation(y)
    assert share_of_the_class_asked_for(X, shuffled, judge) < 0.25


# -------------------------------------------------------------------------------------- tables


def people(n=240):
    rng = np.random.default_rng(0)
    group, age = rng.choice(list("abc"), n), rng.integers(18, 80, n)
    size = rng.normal(size=n) + 4.0 * (group == "b")
    frame = pd.DataFrame({"size": size, "group": group, "age": age, "ok": size > 1.0})
    frame["weight"] = frame["size"] + 0.1 * age + 0.1 * rng.normal(size=n)
    frame.loc[::9, "group"] = None
    return frame


@pytest.fixture(scope="module")
def of_people():
    return fitted(people(), condition=["group", "age"], max_iter=40, hidden_layer_sizes=(32,))


def test_conditions_of_a_frame(of_people):
    X = people()
    assert of_people.codec_.modelled_names_ == ["size", "weight", "ok"]
    assert of_people.codec_.n_conditions_ == 5  # a, b, c, age, whether the group is known
    rows = of_people.sample(400, condition={"group": "b", "age": 30}, random_state=0)
    other = of_people.sample(400, condition={"group": "a", "age": 30}, random_state=0)
    assert rows.dtypes.equals(X.dtypes)
    assert set(rows["group"]) == {"b"} and set(rows["age"]) == {30}
    assert rows["size"].mean() > other["size"].mean() + 2.5
    assert rows["ok"].mean() > 0.75 > 0.4 > other["ok"].mean()


def test_one_condition_per_row_in_any_form(of_people):
    X = people().iloc[[0, 1, 2]]  # the group of the first is missing
    forms = [X, X[["age", "group"]], X[["group", "age"]].to_dict("records")]
    first, *others = (of_people.sample(condition=form, random_state=0) for form in forms)
    assert_array_equal(first["age"], X["age"])
    assert first["group"].isna().tolist() == [True, False, False]
    for rows in others:
        pd.testing.assert_frame_equal(rows, first)


def test_polars_in_and_out():
    X = pl.from_pandas(people(90))
    vae = fitted(X, condition=["group", "age"], max_iter=2)
    rows = vae.sample(condition=X[:3], random_state=0)
    assert rows.schema == X.schema
    assert rows["group"].to_list() == X["group"][:3].to_list()
    assert_array_equal(vae.sample(condition=X[:3]["group", "age"], random_state=0), rows)
    assert vae.reconstruct(X[:3])["age"].to_list() == X["age"][:3].to_list()


def test_missing_conditions_are_a_state_of_their_own(of_people):
    X = people()
    missing = X.assign(group=None)
    known = X["group"].notna()
    assert of_people.score(missing[known]) < of_people.score(X[known])
    # A column without gaps in fit: the mean stands in.
    middle = X.assign(age=X["age"].mean())
    without = X.assign(age=np.nan)
    loc = of_people.codec_.columns_[2].loc
    assert abs(middle["age"][0] - loc) < 1e-6
    assert_allclose(of_people.transform(without), of_people.transform(middle), atol=1e-4)


def test_samples_and_scores_outlive_a_pickle(of_people):
    again, X = pickle.loads(pickle.dumps(of_people)), people()
    assert_array_equal(again.score_samples(X), of_people.score_samples(X))
    pd.testing.assert_frame_equal(again.reconstruct(X), of_people.reconstruct(X))


def test_rows_are_scored_alone_and_members_agree():
    X = linear_table(80)
    vae = fitted(X, max_iter=3, n_members=2)
    assert_array_equal(vae.score_samples(X)[7:9], vae.score_samples(X[7:9]))
    assert np.isfinite(vae.sample(3, condition={1: 0.0, 3: 0.0})).all()
    assert vae.components_.shape == (2, 7)
    assert_array_equal(vae.components_[:, GIVEN], 0.0)


def test_searches_over_conditions_agree():
    X = linear_table(90)
    vae = VAETransformer(2, max_iter=3, hidden_layer_sizes=(8,), random_state=0)
    pipe = make_pipeline(StandardScaler(), vae)
    space = {
        "vaetransformer__condition": [None, [1], [1, 3]],
        "vaetransformer__objective__beta": [0.5, 1.0],
    }
    scores = [
        search(pipe, space, cv=2).fit(X).cv_results_["mean_test_score"]
        for search in (GridSearchCV, StackedGridSearchCV)
    ]
    assert_array_equal(*scores)


def share_followed(rest, conditions, **params):
    """How much of what conditions move the rows by the model moves them by, at the same codes."""
    X = np.insert(rest, [1, 2], conditions, axis=1)
    vae = fitted(X, max_iter=40, hidden_layer_sizes=(16,), **params)
    assert_array_equal(vae.reconstruct(X)[:, GIVEN], X[:, GIVEN])
    codes, exact = vae.transform(X), 2.0 * np.array([1.0, -1.0]) @ SLOPES
    ends = [
        apart(vae.inverse_transform(codes, condition={1: end, 3: -end}))[0].mean(0)
        for end in (1.0, -1.0)
    ]
    return (ends[0] - ends[1]) @ exact / (exact @ exact)


@pytest.mark.parametrize(
    "params",
    [
        {"posterior": "deterministic"},
        {"objective": "iwae"},
        {"penalty": "neighbors"},
        {"margins": "rank"},
        {"init": "random"},
    ],
    ids=str,
)
def test_other_parts_follow_conditions(params):
    rest, conditions = apart(linear_table(300))
    # Codes that keep neighbours together tell some of it themselves.
    assert 0.6 < share_followed(rest, conditions, **params) < 1.2
    shuffled = conditions[np.random.default_rng(0).permutation(300)]
    assert abs(share_followed(rest, shuffled, **params)) < 0.2


# ------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (["zz"], "condition holds the column 'zz'; expected among 'size', 'group'"),
        ([], "at least one"),
        (["age", "age"], "distinct"),
        (list(people().columns), "leaves none to model"),
        ([2], "condition holds the column 2"),
        (["same"], "constant or missing in all rows"),
    ],
)
def test_bad_conditions_of_the_model(condition, message):
    X = people(60)
    if "same" in condition:
        X["same"] = 1.0
    with pytest.raises(ValueError, match=message):
        fitted(X, condition=condition, max_iter=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"needs the conditions of the rows.*\['group', 'age'\]"),
        ({"condition": {"group": "b"}}, "'age' is missing, which it never was in fit"),
        ({"condition": {"group": "zz", "age": 3}}, "one of its categories"),
        ({"condition": {"size": 1.0, "age": 3}}, r"got \['size'\] besides"),
        ({"condition": {"nope": 1.0, "age": 3}}, "'nope', which fit has not seen"),
        ({"condition": people()[:3], "n_samples": 5}, "3 conditions for n_samples=5"),
        ({"given": {"size": 1.0}}, "needs the conditions|to be dicts"),
    ],
)
def test_bad_conditions_of_samples(of_people, arguments, message):
    with pytest.raises(ValueError, match=message):
        of_people.sample(**arguments)


def test_other_bad_conditions(of_people):
    codes = np.zeros((2, 2))
    with pytest.raises(TypeError, match="a dict of column to value, or a DataFrame"):
        of_people.sample(condition=3)
    with pytest.raises(ValueError, match="3 conditions for 2 rows"):
        of_people.inverse_transform(codes, condition=people()[:3])
    with pytest.raises(ValueError, match="needs the conditions"):
        of_people.inverse_transform(codes)
    blind = fitted(linear_table(30), condition=None, max_iter=1)
    for call in (blind.sample, lambda condition: blind.inverse_transform(codes, condition)):
        with pytest.raises(ValueError, match="the model has none"):
            call(condition={1: 2.0})
