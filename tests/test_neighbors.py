"""Codes in which neighbours of the table stay neighbours."""

import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix, triu
from scipy.sparse.csgraph import connected_components
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.metrics import pairwise_distances
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from skvae import VAEOutlierDetector, VAETransformer, inference
from skvae.noise import Noise
from skvae.penalties import NeighborGraph, Penalty
from skvae.penalties.cells import CellEncoder
from skvae.penalties.graph import (
    column_factors,
    neighbor_graph,
    neighbor_weights,
    supervised,
)
from skvae.penalties.layout import SOFTENING, Layout, spectral_start
from skvae.penalties.metric import N_AXES, Metric
from skvae.penalties.parts import RADIUS, start_by_parts
from skvae.penalties.placement import KeptNeighbors, mode_among
from skvae.training.closed_form import GaussianStep
from skvae.training.flat import FlatAdam


def blobs(n=40, groups=3, d=5, seed=0):
    rng = np.random.default_rng(seed)
    centres = 8.0 * rng.normal(size=(groups, d))
    y = np.repeat(np.arange(groups), n)
    return (centres[y] + rng.normal(size=(n * groups, d))).astype(np.float32), y


def graph_of(X, k=8):
    distances, index = NearestNeighbors(n_neighbors=k).fit(X).kneighbors()
    return neighbor_graph(index, distances), index


def mapped(penalty="neighbors", **params):
    settings = {"max_iter": 5, "hidden_layer_sizes": (8,), "random_state": 0}
    return VAETransformer(2, penalty=penalty, **(settings | params))


# ------------------------------------------------------------------------------ the graph


@pytest.mark.parametrize("k", [2, 7, 15])
@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_weights_of_a_row_sum_to_the_logarithm(k, unit):
    distances = unit * np.sort(np.random.default_rng(0).gamma(3.0, size=(30, k)), axis=1)
    weights = neighbor_weights(distances)
    assert_allclose(weights.sum(1), np.log2(1 + k), rtol=1e-6)
    assert_array_equal(weights[:, 0], 1.0)


def test_rows_that_are_the_same_have_weights():
    weights = neighbor_weights(np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]))
    assert_array_equal(weights[0], 1.0)
    assert_allclose(weights[1], [1.0, 1.0, 0.0], atol=1e-6)


def test_an_edge_is_as_sure_as_either_end_makes_it():
    X, _ = blobs()
    graph, index = graph_of(X)
    assert abs(graph - graph.T).max() < 1e-12
    assert graph.max() <= 1.0 and graph.diagonal().max() == 0.0
    nearest = np.asarray(graph[np.arange(len(X)), index[:, 0]]).ravel()
    assert_allclose(nearest, 1.0)


def test_columns_of_one_unit_are_told_from_others():
    rng = np.random.default_rng(0)
    pixels = 16.0 * rng.uniform(size=(50, 12)) * np.r_[np.ones(9), 0.01 * np.ones(3)]
    scale = np.ptp(pixels, 0) / 3.0
    factors = column_factors(pixels / scale, np.log(scale))
    ratio = pixels / scale * factors / pixels
    assert_allclose(ratio, ratio[0, 0])
    mixed = np.geomspace(1.0, 1e4, 12)
    assert_array_equal(column_factors(pixels / scale, np.log(mixed)), 1.0)


# ----------------------------------------------------------------------------- the layout


def test_the_gradient_of_the_layout_is_that_of_autograd():
    graph, _ = graph_of(blobs()[0])
    layout, n = Layout(graph), graph.shape[0]
    codes = np.random.default_rng(1).normal(size=(2, n))
    shifts = np.array([1, 17, n - 1])
    z = torch.tensor(codes, requires_grad=True)
    upper = triu(graph, 1).tocoo()
    first, second = (torch.as_tensor(a).long() for a in (upper.row, upper.col))
    square = (z[:, first] - z[:, second]).square().sum(0)
    loss = (torch.as_tensor(upper.data) * torch.log1p(square)).sum()
    push = torch.as_tensor(layout.push) / (4 * len(shifts))
    for shift in shifts.tolist():
        square = (z - z.roll(-shift, 1)).square().sum(0)
        apart = torch.log((square + SOFTENING) / (square + 1.0)) / (1.0 - SOFTENING)
        loss = loss - ((push + push.roll(-shift)) * apart).sum()
    (expected,) = torch.autograd.grad(loss, z)
    assert_allclose(layout.loss(codes, shifts), loss.item(), rtol=1e-12)
    assert_allclose(layout.gradient(codes, shifts), expected.numpy(), atol=1e-9)


def test_two_halves_of_the_edges_pull_as_all_do(monkeypatch):
    edges = Layout(graph_of(blobs()[0])[0]).edges
    codes = np.random.default_rng(1).normal(size=(2, edges.upper.shape[0]))
    assert edges.turns() == [edges]
    monkeypatch.setattr("skvae.penalties.layout.MANY_EDGES", 10)
    pulls = [half.pull(codes) for half in edges.turns()]
    assert len(pulls) == 2 and not np.allclose(pulls[0], pulls[1])
    assert_allclose(np.mean(pulls, 0), edges.pull(codes), atol=1e-12)


@pytest.mark.parametrize("rotated", [True, False])
def test_distances_in_many_columns_are_those_of_principal_components(rotated):
    """Of rows in a plane of so many axes nothing is lost; of isotropic ones much is."""
    rng = np.random.default_rng(0)
    wide = rng.normal(size=(N_AXES if rotated else 200, 200)) / np.sqrt(200)
    inputs = torch.as_tensor(rng.normal(size=(300, len(wide))) @ wide).float()
    metric = Metric().fit(inputs, None, 200, Noise([0]))
    found, exact = (pairwise_distances(x) for x in (metric(inputs), inputs.numpy()))
    assert metric(inputs).shape == (300, N_AXES)
    assert (np.abs(found - exact).max() < 1e-3 * exact.max()) == rotated
    narrow = Metric().fit(inputs[:, :100], None, 90, Noise([0]))
    assert_array_equal(narrow(inputs[:, :100])[:, :90], inputs[:, :90].numpy())
    assert not narrow(inputs[:, :100])[:, 90:].any()


def test_the_start_is_the_slow_mode_of_a_ring():
    n = 40
    index = (np.arange(n)[:, None] + [1, -1, 2, -2]) % n
    graph = neighbor_graph(index, np.tile([1.0, 1.0, 2.0, 2.0], (n, 1)))
    start = spectral_start(graph, 2)
    radius = np.linalg.norm(start, axis=1)
    assert radius.std() < 1e-2 * radius.mean()


@pytest.mark.parametrize("n_components", [2, 5])
def test_groups_without_an_edge_between_them_are_laid_out(n_components):
    X, y = blobs(groups=4)
    graph, _ = graph_of(X)
    start = spectral_start(graph, n_components)
    shifts = np.random.default_rng(0).integers(1, len(X), size=(150, 8))
    noise = np.random.default_rng(1).normal(size=start.shape)
    codes = Layout(graph).run(start + 1e-3 * noise, shifts)
    assert np.isfinite(codes).all()
    assert KNeighborsClassifier(3).fit(codes[::2], y[::2]).score(codes[1::2], y[1::2]) > 0.95


def n_pieces(codes, reach=1.5):
    near = NearestNeighbors(radius=reach).fit(codes).radius_neighbors_graph()
    return connected_components(near, directed=False)[0]


def test_groups_far_apart_are_not_torn():
    for seed in range(4):
        rng = np.random.default_rng(seed)
        X = np.concatenate([rng.normal(size=(100, 5)) + place for place in (0, 100, 200)])
        graph, _ = graph_of(X, 15)
        start = start_by_parts(graph, X, 2) + 1e-3 * rng.normal(size=(300, 2))
        codes = Layout(graph).run(start, rng.integers(1, 300, size=(300, 16)))
        assert [n_pieces(part) for part in (*np.split(codes, 3), codes)] == [1, 1, 1, 3]
    codes = mapped(max_iter=1).fit_transform(X)
    assert [n_pieces(part) for part in (*np.split(codes, 3), codes)] == [1, 1, 1, 3]


@pytest.mark.parametrize(("groups", "d"), [(2, 3), (3, 5), (6, 12), (40, 8)])
def test_parts_of_a_graph_start_apart(groups, d):
    rng = np.random.default_rng(0)
    # Few centres are all equally far apart: no two dimensions are theirs.
    centres = 50.0 * (np.eye(groups, d) if groups <= d else rng.normal(size=(groups, d)))
    rows = (centres[:, None] + rng.normal(size=(groups, 20, d))).reshape(-1, d)
    graph, _ = graph_of(rows)
    assert connected_components(graph)[0] == groups
    start = start_by_parts(graph, rows, 2).reshape(groups, 20, 2)
    assert np.abs(start).max() == pytest.approx(10.0)
    centres = start.mean(1)
    nearest = np.sort(pairwise_distances(centres), axis=1)[:, 1]
    radius = np.linalg.norm(start - centres[:, None], axis=2).max(1)
    assert (radius < 2 * RADIUS * nearest).all() and (radius > 0.2 * RADIUS * nearest).all()
    # One edge, and it is a graph in one piece.
    whole = graph.tolil()
    whole[0, :] = whole[:, 0] = 0.5
    whole = whole.tocsr()
    assert_array_equal(start_by_parts(whole, rows, 2), spectral_start(whole, 2))


def test_parts_of_one_row_and_edges_that_hold_nothing():
    rows = np.array([[0.0], [1.0], [10.0], [11.0], [50.0]])
    graph = csr_matrix(
        ([1.0, 1.0, 1.0, 1.0, 1e-9, 1e-9], ([0, 1, 2, 3, 1, 2], [1, 0, 3, 2, 2, 1]))
    )
    graph.resize((5, 5))
    start = start_by_parts(graph, rows, 2)
    apart = pairwise_distances(start)
    assert apart[0, 1] < apart[0, 2:].min() and apart[2, 3] < apart[2, [0, 1, 4]].min()


# -------------------------------------------------------------------------- the placement


def test_a_mode_goes_to_the_larger_group_and_a_mean_between_them():
    codes = np.array([[[0.0, 0.0], [0.2, 0.0], [0.0, 0.2], [9.0, 9.0], [9.1, 9.0]]])
    weights = np.ones((1, 5))
    placed = mode_among(codes, weights)[0]
    assert np.linalg.norm(placed) < 0.3
    assert np.linalg.norm(codes.mean(1)[0] - placed) > 3.0


def test_a_kept_row_is_where_it_was_and_no_row_depends_on_the_others():
    X, _ = blobs()
    layout = torch.randn(2, len(X), 3, generator=torch.Generator().manual_seed(0))
    placement = KeptNeighbors(5).fit(X, layout, None, None)
    assert_array_equal(placement(X[::-1].copy()), layout.numpy()[:, ::-1])
    queries = X + 0.1
    # Nor does rounding move a row that was kept.
    assert_array_equal(placement(X * np.float32(1 + 1e-6)), layout.numpy())
    together = placement(queries)
    assert not np.allclose(together, layout)
    alone = np.concatenate([placement(row[None]) for row in queries], 1)
    assert_array_equal(alone, together)


def test_cells_learn_a_layout_and_not_one_of_shuffled_rows():
    X, y = blobs(n=60, groups=4)
    rng = np.random.default_rng(0)
    layout = torch.tensor(6.0 * np.eye(4)[y][:, :2] + 6.0 * (y == 3)[:, None]).float()
    layout += torch.as_tensor(rng.normal(size=layout.shape)).float()
    _, index = graph_of(X)
    train, test = rng.permutation(len(X))[:160], rng.permutation(len(X))[160:]

    def score(codes):
        cells = CellEncoder().fit(X / X.std(), codes[None], index, Noise([0]))
        model = KNeighborsClassifier(5).fit(codes[train], y[train])
        return model.score(cells(X[test] / X.std())[0], y[test])

    assert score(layout) > 0.97
    assert score(layout[rng.permutation(len(X))]) < 0.7


def test_a_wide_table_is_placed_row_by_row_as_together():
    X, y = blobs(n=100, d=160)
    # Columns that no row varies in are left out, and parts are of those that are left.
    X[:, ::9] = 1.0
    model = mapped(NeighborGraph(n_neighbors=6, max_iter=50, keep_neighbors=False)).fit(X)
    many = np.tile(X, (30, 1))
    together = model.transform(many)
    assert len(many) > inference.chunk_rows(width=X.shape[1])
    assert_array_equal(together, np.tile(model.transform(X), (30, 1)))
    assert_array_equal(
        together[::400], np.concatenate([model.transform(r[None]) for r in many[::400]])
    )
    assert (
        KNeighborsClassifier(3)
        .fit(together[::2], np.tile(y, 30)[::2])
        .score(together[1::2], np.tile(y, 30)[1::2])
        > 0.95
    )


# -------------------------------------------------------------------------- in estimators


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    order = np.random.RandomState(0).permutation(len(X))
    return X[order] / 16.0, y[order]


@pytest.mark.parametrize("keep_neighbors", [True, False])
def test_unseen_digits_lie_among_their_like(digits, keep_neighbors):
    X, y = digits
    train, test = slice(0, 600), slice(600, 900)
    penalty = NeighborGraph(keep_neighbors=keep_neighbors)
    codes = mapped(penalty).fit(X[train]).transform
    plain = mapped(None, max_iter=20).fit(X[train]).transform

    def score(transform):
        model = KNeighborsClassifier(5).fit(transform(X[train]), y[train])
        return model.score(transform(X[test]), y[test])

    assert score(codes) > 0.93
    assert score(plain) < 0.9


def test_the_model_follows_the_map(digits):
    X, _ = digits
    model = mapped(max_iter=100, hidden_layer_sizes=(64,)).fit(X[:500])
    loc, scale = model.infer(X[500:600])
    assert (scale == scale[0]).all()
    centre = X[:500].mean(0)
    error = np.square(X[500:600] - model.inverse_transform(loc)).sum()
    assert error < 0.75 * np.square(X[500:600] - centre).sum()
    assert_array_equal(model.reconstruct(X[500:600]), model.inverse_transform(loc))
    noise = np.random.default_rng(0).permutation(X[500:600].ravel()).reshape(100, -1)
    assert model.score(X[500:600]) > model.score(noise) + 10.0
    assert_array_equal(model.score_samples(X[500:540])[:7], model.score_samples(X[500:507]))
    # The prior is where the codes are.
    assert abs(model.transform(model.sample(500)).mean() - loc.mean()) < 1.0


@pytest.mark.parametrize("keep_neighbors", [True, False])
def test_same_seed_same_bits_and_pickles(keep_neighbors):
    X, _ = blobs()
    penalty = NeighborGraph(n_neighbors=6, max_iter=50, keep_neighbors=keep_neighbors)
    one, other = (mapped(penalty).fit(X) for _ in range(2))
    assert_array_equal(one.transform(X + 0.1), other.transform(X + 0.1))
    loaded = pickle.loads(pickle.dumps(one))
    assert_array_equal(one.transform(X + 0.1), loaded.transform(X + 0.1))
    assert_array_equal(one.score_samples(X[:5]), loaded.score_samples(X[:5]))
    third = clone(one).set_params(random_state=1).fit(X)
    assert not np.allclose(one.transform(X), third.transform(X))


def test_rows_with_gaps_categories_and_weights():
    pd = pytest.importorskip("pandas")
    X, y = blobs()
    frame = pd.DataFrame(X, columns=[f"c{i}" for i in range(5)]).astype(float)
    frame["kind"] = pd.Categorical(np.array(["a", "b", "c"])[y])
    frame[
        pd.DataFrame(np.random.default_rng(0).random(frame.shape) < 0.1, columns=frame.columns)
    ] = None
    weights = np.r_[0.0, np.ones(len(X) - 1)]
    model = mapped().fit(frame, sample_weight=weights)
    codes = model.transform(frame)
    assert np.isfinite(codes).all() and np.isfinite(model.score_samples(frame)).all()
    assert KNeighborsClassifier(5).fit(codes[::2], y[::2]).score(codes[1::2], y[1::2]) > 0.9


def test_parameters_are_searched_and_checked():
    X, _ = blobs()
    model = mapped().set_params(penalty__n_neighbors=4)
    assert model.penalty.n_neighbors == 4 and mapped().penalty == "neighbors"
    search = GridSearchCV(mapped(max_iter=2), {"penalty__n_neighbors": [4, 9]}, cv=2).fit(X)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    with pytest.raises(ValueError, match="n_neighbors"):
        mapped(NeighborGraph(n_neighbors=1)).fit(X)
    with pytest.raises(ValueError, match="at least 3 rows"):
        mapped(early_stopping=False).fit(X[[0, 50]])
    assert mapped(NeighborGraph(n_neighbors=50)).fit(X[:20]).transform(X[:20]).shape == (20, 2)


@pytest.mark.parametrize("grow", ["partial_fit", "warm_start"])
def test_rows_cannot_come_in_parts(grow):
    X, _ = blobs()
    with pytest.raises(ValueError, match="whole table"):
        if grow == "partial_fit":
            mapped().partial_fit(X)
        else:
            mapped(warm_start=True).fit(X).fit(X)


def test_members_have_maps_of_their_own():
    X, _ = blobs()
    model = mapped(n_members=2, max_iter=3).fit(X)
    layout = model.vae_.penalty.placement.layout
    assert layout.shape[:2] == (2, len(X)) and not torch.allclose(layout[0], layout[1])
    assert model.transform(X).shape == (len(X), 2)
    assert np.isfinite(model.score_samples(X)).all()


@pytest.mark.parametrize("posterior", ["normal", "deterministic"])
@pytest.mark.parametrize("likelihood", ["normal", "student_t"])
def test_other_parts_compose(posterior, likelihood):
    X, _ = blobs()
    model = mapped(posterior=posterior, likelihood=likelihood).fit(X)
    codes = model.transform(X)
    assert_array_equal(codes, model.vae_.penalty.placement.layout[0].numpy())
    assert model.inverse_transform(codes).shape == X.shape


def test_outliers_of_a_map():
    X, _ = blobs()
    detector = VAEOutlierDetector(
        2, penalty="neighbors", max_iter=20, hidden_layer_sizes=(8,), random_state=0
    ).fit(X)
    far = X + 30.0 * np.random.default_rng(0).normal(size=X.shape)
    assert detector.score_samples(far).max() < np.median(detector.score_samples(X))


def test_the_step_with_known_codes_equals_autograd():
    X, _ = blobs()
    vae = mapped(max_iter=1).fit(X)
    module, objective = vae.vae_.double().train(), vae.objective_
    rows = vae._resident(X, None)
    index = torch.arange(32)[None]
    batch = rows.take(index)
    batch.values, batch.inputs = batch.values.double(), batch.inputs.double()
    batch.codes = module.penalty.placement.layout[:, None, :32].double()
    gradients = []
    for road in ("written out", "by hand", "autograd"):
        optimizer = FlatAdam(module, 0.0, None)
        noise = _Fixed(torch.randn(1, 1, 32, 2, generator=torch.Generator().manual_seed(0)))
        if road == "written out":
            GaussianStep.of(module, objective, optimizer)(batch, noise, 0.7)
        else:
            if road == "autograd":
                optimizer.by_hand = None
                optimizer.others = optimizer.parameters
                views = [optimizer.gradient_of(p) for p in optimizer.parameters]
                optimizer.other_views = views
            step = module(batch, noise, 1, optimizer.by_hand)
            loss = 0.7 * step.mean_kl.sum(-1) - step.mean_log_likelihood
            optimizer.differentiate(loss + module.penalty(step, noise))
        gradients.append(optimizer.gradient.clone())
        width = optimizer.gradient_of(module.penalty.width)
        assert width.abs().min() > 1e-6
        optimizer.release()
    assert gradients[0].abs().max() > 1e-3
    assert_allclose(gradients[1], gradients[2], atol=1e-12)
    assert_allclose(gradients[0], gradients[2], atol=1e-12)


class _Fixed:
    def __init__(self, draws):
        self.draws = draws.double()

    def normal(self, *shape):
        return self.draws.reshape(1, *shape)


class _Small(Penalty):
    """A term like any other: the mean square of the codes."""

    def forward(self, step, noise):
        return 0.3 * step.row_mean(step.z.square().sum(-1).mean(1))


def test_a_penalty_of_the_loss_acts_on_training():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 2)) @ rng.normal(size=(2, 6)) + 0.1 * rng.normal(size=(120, 6))
    spread = []
    for penalty in (None, _Small()):
        model = mapped(penalty, max_iter=60, whiten=True).fit(X)
        spread.append(np.square(model.transform(X)).sum())
    assert spread[1] < 0.8 * spread[0]


# -- supervision ------------------------------------------------------------------------------


def test_edges_between_classes_are_weakened_and_cut():
    graph, _ = graph_of(np.random.default_rng(0).normal(size=(60, 3)), 5)
    classes = np.arange(60) % 2
    apart = classes[:, None] != classes
    for target_weight, share in ((0.5, np.exp(-5.0)), (1.0, 0.0)):
        dense = supervised(graph, classes, target_weight).toarray()
        assert_allclose(dense, dense.T)
        assert dense[apart].max() <= 20 * share and dense[~apart].max() == 1.0
    # Classes that are all the same, or not known, say nothing.
    same = supervised(graph, np.zeros(60, int), 0.5).toarray()
    assert_allclose(supervised(graph, np.full(60, -1), 1.0).toarray(), same, atol=1e-12)
    assert ((same > 0) == (graph.toarray() > 0)).all()


def test_classes_part_what_the_rows_do_not():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(200, 4)), np.repeat(["a", "b"], 100)

    def apart(rows=slice(None), **fitted):
        graph = NeighborGraph(max_iter=100, target_weight=fitted.pop("target_weight"))
        model = VAETransformer(2, penalty=graph, max_iter=2, random_state=0).fit(X, **fitted)
        codes = model.transform(X)
        return KNeighborsClassifier(5).fit(codes[rows], y[rows]).score(codes[rows], y[rows])

    assert apart(target_weight=0.9, y=y) > 0.9
    assert apart(target_weight=0.0, y=y) < 0.8, "negative control"
    assert apart(target_weight=0.9, y=np.full(200, -1)) < 0.8, "negative control"
    some = y.astype(object)
    some[::2] = None
    # Only rows with a class are told apart by it.
    known, told = slice(1, None, 2), {"target_weight": 0.9, "y": some}
    assert apart(known, **told) > apart(known, target_weight=0.0, y=some) + 0.1


@pytest.mark.parametrize("cls", [VAETransformer, VAEOutlierDetector])
def test_classes_that_are_to_be_looked_at_are_asked_for(cls):
    X = np.random.default_rng(0).normal(size=(40, 3))
    with pytest.raises(ValueError, match=r"target_weight=0.5\) looks at the classes.*Pass them"):
        cls(2, penalty=NeighborGraph(target_weight=0.5), max_iter=1).fit(X)


def test_numbers_are_no_classes():
    rng = np.random.default_rng(0)
    vae = VAETransformer(2, penalty=NeighborGraph(target_weight=0.5), max_iter=1)
    with pytest.raises(ValueError, match="expects y to hold classes.*got continuous"):
        vae.fit(rng.normal(size=(40, 3)), rng.normal(size=40))
    with pytest.raises(ValueError, match="inconsistent numbers"):
        vae.fit(rng.normal(size=(40, 3)), np.arange(39) % 2)
