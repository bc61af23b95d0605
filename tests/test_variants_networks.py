"""Networks that know how a row is laid out: exact identities, then trained toys with controls."""

import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from components import SEEDS, tiny_vae
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV

from skvae import VAETransformer
from skvae._component import Shapes
from skvae.networks import MLP, Convolutional, Recurrent
from skvae.networks.convolutions import Convolutions, TransposedConvolutions
from skvae.networks.unfolding import Unfolding
from skvae.noise import Noise
from skvae.penalties import DecoderSpectrum
from skvae.recurrence import CELLS, Recurrence

# Most fits here are too short to teach a code anything.
pytestmark = [
    pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning"),
    pytest.mark.filterwarnings("ignore::skvae.exceptions.UnusedLatentsWarning"),
]
SHAPES = Shapes(3, 2, (("continuous", (1, 1, 1)),))


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def image_shapes(n, n_conditions=0):
    return Shapes(n + n_conditions, 2, (("continuous", (1,) * n),), n_conditions=n_conditions)


def connected(network, shapes, n_encoded=4, n_decoded=None, seeds=SEEDS):
    n_decoded = sum(len(sizes) for _, sizes in shapes.blocks) if n_decoded is None else n_decoded
    network = clone(network)
    network.connect(shapes, n_encoded, n_decoded, Noise(seeds))
    return network


# --------------------------------------------------------------------------------- laying out


def test_numbers_lie_where_their_columns_stand():
    shapes = Shapes(
        6, 2, (("continuous", (1, 1)), ("binary", (1,))),
        n_conditions=1, places=(4, 0, 3), n_places=5, indicated=(0, 2),
    )  # fmt: skip
    layout = Unfolding("Asker", 5)
    layout.lay_out(shapes, 3, Noise(SEEDS))
    # Cells 10, 20 and 30, gaps in the first and the third column, and a condition.
    inputs = torch.tensor([10.0, 20.0, 30.0, 0.0, 1.0, 7.0]).expand(2, 1, 1, -1)
    cells = layout.unfold(inputs)
    assert cells[0, 0, 0, :, 0].tolist() == [20, 0, 0, 30, 10]
    assert cells[0, 0, 0, :, 1].tolist() == [1, 0, 0, 1, 0]
    assert layout.fold(cells[..., :1])[1, 0, 0].tolist() == [10, 20, 30]


def test_categories_are_channels_of_their_cell():
    shapes = Shapes(6, 2, (("categorical", (3, 2)), ("binary", (1,))), places=(2, 0, 1))
    layout = Unfolding("Asker", None)
    layout.lay_out(shapes, 6, Noise(SEEDS))
    inputs = torch.arange(1.0, 7.0).expand(2, 1, 1, -1)
    assert layout.unfold(inputs)[0, 0, 0].tolist() == [[4, 5, 0], [6, 0, 0], [1, 2, 3]]
    assert layout.fold(layout.unfold(inputs)).equal(inputs)


def test_parameters_that_belong_to_no_cell_are_refused():
    shapes = Shapes(3, 2, (("continuous", (1, 1)), ("count", (1,))))
    with pytest.raises(ValueError, match="which of the 4 parameters"):
        connected(Convolutional((1, 3)), shapes, n_decoded=4)
    network = connected(Convolutional((1, 3)), Shapes(3, 2, (("count", (1, 1, 1)),)), n_decoded=6)
    assert network.decode(torch.zeros(2, 1, 4, 2)).shape == (2, 1, 4, 6)


# ------------------------------------------------------------------------------------- images


def built(kind, channels, size):
    return kind(channels, size, 3, "tanh").build(SHAPES, Noise(SEEDS))


def test_moving_an_image_moves_its_feature_maps():
    down = built(Convolutions, (2, 4, 5), (24, 24))
    images = numbers(2, 3, 2, 24, 24)
    maps = down(images)
    assert maps.shape == (2, 3, 5, 6, 6)
    for step, agrees in ((4, True), (1, False)):
        moved = down(images.roll((step, step), (-2, -1)))
        inner = moved[..., 2:-1, 2:-1], maps[..., 1:-2, 1:-2]
        assert torch.allclose(*inner, atol=1e-5) is agrees


def test_maps_without_structure_give_an_image_that_repeats():
    up = built(TransposedConvolutions, (1, 4, 5), (24, 24))
    for maps, repeats in (
        (numbers(2, 3, 5, 1, 1).expand(-1, -1, -1, 6, 6), True),
        (numbers(2, 3, 5, 6, 6), False),
    ):
        image = up(maps)
        assert image.shape == (2, 3, 1, 24, 24)
        inner = image[..., 4:-8, 4:-8], image[..., 8:-4, 4:-8]
        assert torch.allclose(*inner, atol=1e-5) is repeats


@pytest.mark.parametrize("shape", [(7, 5), (1, 9), (4, 4, 3), (2, 3, 2)])
def test_an_image_of_any_size_comes_back_in_its_size(shape):
    n = int(np.prod(shape))
    network = connected(Convolutional(shape, (4, 3, 2)), image_shapes(n, 2))
    assert network.encode(numbers(2, 3, 5, n + 2)).shape == (2, 3, 5, 4)
    assert network.decode(numbers(2, 3, 5, 4)).shape == (2, 3, 5, n)


def test_a_pixel_far_away_says_nothing_behind_one_convolution():
    network = connected(Convolutional((12, 12, 2), (6,)), image_shapes(288))
    inputs = numbers(2, 1, 1, 288)
    changed = inputs.clone()
    changed[..., 0] += 1.0
    seen = []
    network.encoder.convolutions.register_forward_hook(lambda *call: seen.append(call[-1]))
    network.encode(inputs), network.encode(changed)
    different = (seen[0] != seen[1]).any(0).any(0).any(0)
    assert different[0, 0] and different.sum() == 1


def test_conditions_reach_the_encoder_and_the_decoder():
    network = connected(Convolutional((3, 3), (4,)), image_shapes(9, 1))
    inputs, z = numbers(2, 1, 3, 10).requires_grad_(), numbers(2, 1, 3, 3).requires_grad_()
    for out, given in ((network.encode(inputs), inputs), (network.decode(z), z)):
        (slope,) = torch.autograd.grad(out.sum(), given)
        assert (slope[..., -1] != 0).all()


def test_a_linear_start_is_linear():
    network = connected(Convolutional((2, 3), (4,), (5,), linear_skip=True), image_shapes(6))
    assert network.has_linear_path and not Convolutional((2, 3)).has_linear_path
    encoder, offset, decoder = numbers(2, 6, 4), numbers(2, 4, seed=1), numbers(2, 2, 6, seed=2)
    network.start(encoder, offset, decoder)
    network.start_offset(numbers(2, 6, seed=3))
    x, z = numbers(2, 1, 7, 6, seed=4), numbers(2, 1, 7, 2, seed=5)
    given = encoder[:, None], offset[:, None, None], decoder[:, None], numbers(2, 1, 1, 6, seed=3)
    assert_allclose(network.encode(x).detach(), x @ given[0] + given[1], atol=1e-5)
    levels = numbers(2, 6, seed=3)[:, None, None]
    assert_allclose(network.decode(z).detach(), z @ given[2] + levels, atol=1e-5)


def test_what_holds_codes_is_all_that_they_depend_on():
    network = connected(Convolutional((3, 3), (4,), (5,), linear_skip=True), image_shapes(9))
    x = numbers(2, 1, 3, 9)
    before = network.encode(x).detach()
    held = {id(p): columns for p, columns in network.locating(2)}
    with torch.no_grad():
        for parameter in network.parameters():
            added = torch.ones_like(parameter)
            if id(parameter) in held:
                added[..., held[id(parameter)]] = 0.0
            parameter += added
    after = network.encode(x).detach()
    assert torch.equal(after[..., :2], before[..., :2])
    assert not torch.equal(after[..., 2:], before[..., 2:])


def test_kernels_count_as_matrices_in_penalties_of_the_decoder():
    vae = tiny_vae(network=Convolutional((1, 3), (4,)), penalty=DecoderSpectrum())
    kernel = vae.network.decoder.convolutions.weight_0
    step = type("Step", (), {"model": vae})
    before = vae.penalty.term(step, None)
    largest = torch.linalg.matrix_norm(kernel.detach().flatten(2), 2)
    with torch.no_grad():
        kernel.mul_(2.0)
    grown = vae.penalty.term(step, None) - before
    assert_allclose(grown.detach(), 3.0 * largest.square(), rtol=0.02)


@pytest.mark.parametrize(
    "shape, match",
    [
        ((8, 9), "has 72 numbers per row, and the table has 12 columns"),
        (None, "square images, and the table has 12 columns"),
        ((4,), "must be \\(height, width\\)"),
        ((3.0, 4), "must be \\(height, width\\)"),
    ],
)
def test_an_image_of_the_wrong_size_is_refused(shape, match):
    with pytest.raises(ValueError, match=match):
        VAETransformer(2, network=Convolutional(shape)).fit(np.random.rand(30, 12))


@pytest.mark.parametrize(
    "params, match",
    [
        ({"channels": ()}, "channels"),
        ({"channels": (4, 0)}, "channels"),
        ({"kernel_size": 2}, "odd"),
        ({"hidden_layer_sizes": (0,)}, "hidden_layer_sizes"),
    ],
)
def test_bad_layers_are_refused(params, match):
    with pytest.raises(ValueError, match=match):
        VAETransformer(2, network=Convolutional((3, 4), **params)).fit(np.random.rand(30, 12))


# ---------------------------------------------------------------------------------- sequences


@pytest.mark.parametrize("cell", CELLS)
def test_a_recurrent_layer_sees_what_was_and_not_what_follows(cell):
    layer = Recurrence(2, 5, cell).build(SHAPES, Noise(SEEDS))
    steps = numbers(2, 3, 7, 2)
    changed = steps.clone()
    changed[:, :, 4] += 1.0
    same = (layer(steps) == layer(changed)).all(-1)
    assert same[:, :, :4].all() and not same[:, :, 4:].any()


@pytest.mark.parametrize("cell", CELLS)
def test_what_follows_the_end_of_a_sequence_changes_nothing(cell):
    """A network of eight steps and one of five, with the same weights, on five steps."""
    longer, shorter = (
        connected(
            Recurrent((n, 2), cell, 6, (4,)),
            Shapes(4 * n, 2, (("continuous", (1,) * 2 * n),), indicated=tuple(range(2 * n))),
        )
        for n in (8, 5)
    )
    cells, seen = numbers(2, 1, 9, 16), torch.ones(2, 1, 9, 16)
    seen[..., 10:] = 0.0
    seen[:, :, 0, 2:4] = 0.0  # a gap before the end is seen as one
    cells = cells * seen
    short = shorter.encode(torch.cat([cells[..., :10], seen[..., :10]], -1))
    assert_allclose(
        longer.encode(torch.cat([cells, seen], -1)).detach(), short.detach(), atol=1e-6
    )
    # What is no gap but a 0 is part of the sequence.
    other = longer.encode(torch.cat([cells, torch.ones_like(seen)], -1))
    assert (other != short).any(-1).all()
    z = numbers(2, 1, 9, 2)
    assert_allclose(longer.decode(z)[..., :10].detach(), shorter.decode(z).detach(), atol=1e-6)


def test_whole_sequences_start_at_a_line_and_those_that_end_do_not():
    network = connected(Recurrent((6,), n_units=4, hidden_layer_sizes=(5,)), image_shapes(6, 1))
    assert network.has_linear_path
    encoder, offset, decoder = numbers(2, 7, 4), numbers(2, 4, seed=1), numbers(2, 3, 6, seed=2)
    network.start(encoder, offset, decoder)
    network.start_offset(numbers(2, 6, seed=3))
    x, z = numbers(2, 1, 8, 7, seed=4), numbers(2, 1, 8, 3, seed=5)
    expected = x @ encoder[:, None] + offset[:, None, None]
    assert_allclose(network.encode(x).detach(), expected, atol=1e-5)
    expected = z @ decoder[:, None] + numbers(2, 1, 1, 6, seed=3).view(2, 1, 1, 6)
    assert_allclose(network.decode(z).detach(), expected, atol=1e-5)
    ends = replace(image_shapes(6), n_inputs=7, indicated=(5,))
    assert not connected(Recurrent((6,)), ends).has_linear_path
    assert not connected(Recurrent((6,), linear_skip=False), image_shapes(6)).has_linear_path
    assert connected(Recurrent((6,), linear_skip=True), ends).has_linear_path


def test_widths_of_layers_of_sequences_are_checked():
    with pytest.raises(ValueError, match="'hidden_layer_sizes' parameter of Recurrent"):
        connected(Recurrent((6,), hidden_layer_sizes=(4, 0)), image_shapes(6))


def test_noise_on_what_the_encoder_sees_leaves_the_end_where_it_is():
    X = waves(60, 0)[0]
    vae = quick(Recurrent(n_units=4), view="denoising", max_iter=1).fit(X).vae_
    assert vae.n_noisy == 20 and vae.n_inputs == 20 + np.isnan(X).any(0).sum()
    assert quick("mlp", max_iter=1).fit(X).vae_.n_noisy == vae.n_inputs


@pytest.mark.parametrize(
    "shape, match",
    [
        ((8,), "has 8 numbers per row, and the table has 12 columns"),
        ((5, 2), "has 10 numbers per row"),
        ((3, 2, 2), "must be \\(n_steps,\\)"),
        ((3.0, 4), "must be \\(n_steps,\\)"),
    ],
)
def test_a_sequence_of_the_wrong_length_is_refused(shape, match):
    with pytest.raises(ValueError, match=match):
        VAETransformer(2, network=Recurrent(shape)).fit(np.random.rand(30, 12))


# ---------------------------------------------------------------------------- through estimators


def digits(n=120):
    X, _ = load_digits(return_X_y=True)
    return X[np.random.default_rng(0).permutation(len(X))[:n]]


def quick(network, **params):
    defaults = {"max_iter": 2, "random_state": 0, "n_draws": 4}
    return VAETransformer(2, network=network, **(defaults | params))


def gaps(X):
    X = X.astype(float)
    X[np.random.default_rng(1).random(X.shape) < 0.1] = np.nan
    return X


LAYOUTS = {
    "convolutional": Convolutional((8, 8), (4, 5)),
    "convolutional-skip": Convolutional((8, 8), (4,), (6,), linear_skip=True),
    "recurrent": Recurrent((8, 8), n_units=6),
    "recurrent-lstm": Recurrent((16, 4), "lstm", 5, (6,)),
}


@pytest.mark.parametrize("network", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize(
    "change, params",
    [
        (np.array, {}),
        (gaps, {}),
        (lambda X: X / 16.0, {"likelihood": "bernoulli"}),
        (np.array, {"likelihood": "poisson"}),
        (np.array, {"penalty": "mmd", "prior": "vamp"}),
    ],
    ids=["normal", "gaps", "bernoulli", "poisson", "penalty"],
)
def test_every_method_works_as_with_other_networks(network, change, params):
    X = change(digits())
    vae = quick(network, **params).fit(X)
    again = pickle.loads(pickle.dumps(vae))
    codes = vae.transform(X)
    assert np.array_equal(codes, again.transform(X)) and codes.std(0).all()
    rows = [vae.inverse_transform(codes), vae.sample(4)]
    seen = np.nanmax(X, 0) > np.nanmin(X, 0)
    for table in rows:
        assert table.shape[1] == 64 and np.isfinite(table).all()
        # A pixel that never changes stays what it is.
        assert (table[:, ~seen] == np.nanmin(X, 0)[~seen]).all() and not seen.all()
    if vae.vae_.posterior.has_density:
        scores = vae.score_samples(X)
        assert np.isfinite(scores).all()
        assert np.array_equal(scores[:5], vae.score_samples(X[:5]))
        assert np.array_equal(scores, again.score_samples(X))


@pytest.mark.parametrize("network", LAYOUTS.values(), ids=LAYOUTS)
def test_a_member_of_a_stack_is_trained_to_the_bits_of_the_same_model_alone(network):
    X = digits(60)
    stack, *alone = (
        quick(network, n_members=len(seeds))._fit(X, None, seeds=np.array(seeds)).vae_
        for seeds in (SEEDS, SEEDS[:1], SEEDS[1:])
    )
    for i, vae in enumerate(alone):
        pairs = zip(stack.network.parameters(), vae.network.parameters(), strict=True)
        assert all(torch.equal(ours[i : i + 1], theirs) for ours, theirs in pairs)
    codes = [vae.network.encode(numbers(1, 1, 3, vae.n_inputs)) for vae in alone]
    assert not torch.equal(*codes)


def test_search_over_channels_by_the_string():
    vae = quick("convolutional", hidden_layer_sizes=(7,))
    vae.set_params(network__image_shape=(8, 8))
    assert vae.network.hidden_layer_sizes == (7,)
    grid = {"network__channels": [(3,), (4, 5)]}
    search = GridSearchCV(vae, grid, cv=2, error_score="raise").fit(digits(60))
    assert np.unique(search.cv_results_["mean_test_score"]).size == 2
    assert search.best_estimator_.vae_.network.channels in grid["network__channels"]


def test_conditions_have_no_place_in_the_image():
    X = np.column_stack([digits(60)[:, :32], np.arange(60) % 3, digits(60)[:, 32:]])
    vae = quick(Convolutional((8, 8), (4,)), condition=[32]).fit(X)
    assert vae.sample(2, condition={"x32": 1.0}).shape == (2, 65)
    plain = quick(Convolutional((8, 8), (4,))).fit(np.delete(X, 32, 1))
    ours, theirs = (v.vae_.network.decoder.unfolding for v in (vae, plain))
    assert torch.equal(ours.target, theirs.target)


# ------------------------------------------------------------------------------- trained toys


def glyphs(n, seed, side=12):
    """A ring or a cross somewhere in an image."""
    rng = np.random.default_rng(seed)
    center, grid = rng.uniform(2, side - 3, (n, 2, 1, 1)), np.arange(side)
    y, x = grid[None, :, None] - center[:, 0], grid[None, None, :] - center[:, 1]
    r = np.hypot(y, x)
    ring = np.exp(-((r - 1.8) ** 2) / 0.6)
    cross = np.exp(-(np.minimum(abs(y), abs(x)) ** 2) / 0.5) * (r < 2.6)
    chosen = np.where(rng.integers(2, size=(n, 1, 1)), ring, cross)
    return (chosen + 0.1 * rng.normal(size=chosen.shape)).reshape(n, -1)


def test_convolutions_pay_where_neighbours_are_neighbours():
    """Beside an MLP with more weights; pixels in another order are the control."""
    order = np.random.default_rng(5).permutation(144)
    scores = {}
    for name, network, places in (
        ("images", Convolutional((12, 12), (8, 16)), slice(None)),
        ("mixed", Convolutional((12, 12), (8, 16)), order),
        ("mlp", MLP((15,), linear_skip=False), slice(None)),
    ):
        vae = VAETransformer(
            4, network=network, view=None, batch_size=64, max_iter=40, learning_rate_init=1e-2,
            random_state=0,
        )  # fmt: skip
        vae.fit(glyphs(600, 0)[:, places])
        scores[name] = vae.score(glyphs(300, 1)[:, places])
    gain = scores["images"] - scores["mlp"]
    assert gain > 4.0
    assert scores["mixed"] - scores["mlp"] < 0.5 * gain


def waves(n, seed, n_steps=20):
    """Sines of any frequency and phase, cut at any length from 12 on; and whole ones."""
    rng = np.random.default_rng(seed)
    frequency, phase = rng.uniform(0.3, 0.9, (n, 1)), rng.uniform(0, 2 * np.pi, (n, 1))
    whole = np.sin(frequency * np.arange(n_steps) + phase) + 0.05 * rng.normal(size=(n, n_steps))
    length = rng.integers(12, n_steps + 1, (n, 1))
    return np.where(np.arange(n_steps) < length, whole, np.nan), whole


def test_recurrent_networks_follow_what_is_in_time_and_go_on_with_it():
    """Steps in another order, the same in all rows, are the control."""
    order = np.random.default_rng(3).permutation(20)
    found = {}
    for name, places in (("in time", np.arange(20)), ("shuffled", order)):
        vae = VAETransformer(
            3, network=Recurrent(n_units=32), view=None, batch_size=64, max_iter=30,
            learning_rate_init=2e-2, random_state=0,
        )  # fmt: skip
        vae.fit(waves(600, 0)[0][:, places])
        X, whole = (rows[:, places] for rows in waves(100, 1))
        there = ~np.isnan(X)
        errors = (vae.reconstruct(X) - X)[there], vae.forecast(whole[:, :17], 3) - whole[:, 17:]
        found[name] = [np.square(error).mean() for error in errors]
    repeated = np.square(whole[:, 17:] - whole[:, 16:17]).mean()
    reconstruction, forecast = np.array(list(found.values())).T
    assert reconstruction[0] < 0.2 < 0.4 < reconstruction[1]
    assert forecast[0] < 0.35 < 0.4 < min(forecast[1], repeated)


# ----------------------------------------------------------------------------------- forecasts


@pytest.fixture(scope="module")
def forecaster():
    return VAETransformer(2, network=MLP((8,)), max_iter=5, random_state=0).fit(waves(150, 0)[0])


def test_a_forecast_is_what_the_model_puts_behind_the_end(forecaster):
    whole = waves(12, 1)[1]
    short = whole.copy()
    short[:, 14:] = np.nan
    expected = forecaster.impute(short)[:, 14:17]
    assert np.array_equal(forecaster.forecast(short, 3), expected)
    # Where there is no room the sequence begins later.
    moved = np.column_stack([whole[:, 3:], np.full((12, 3), np.nan)])
    expected = forecaster.impute(moved)[:, 17:]
    assert np.array_equal(forecaster.forecast(whole, 3), expected)
    mixed = np.vstack([short[:6], whole[6:]])
    assert np.array_equal(forecaster.forecast(mixed, 3)[6:], expected[6:])
    drawn = forecaster.forecast(whole, 2, 3, random_state=0)
    assert np.shape(drawn) == (3, 12, 2) and np.std(drawn, 0).all()


def test_a_step_may_have_several_columns():
    X = waves(60, 0)[1][:, :12]
    vae = quick(Recurrent((6, 2), n_units=4)).fit(gaps(X))
    moved = np.column_stack([X[:, 4:], np.full((60, 4), np.nan)])
    assert np.array_equal(vae.forecast(X, 2), vae.impute(moved)[:, 8:])


@pytest.mark.parametrize("n_steps", [0, 20, 1.5])
def test_forecasts_need_a_step_to_go_by(forecaster, n_steps):
    with pytest.raises(ValueError, match="from 1 to 19"):
        forecaster.forecast(waves(3, 1)[1], n_steps)


def test_forecasts_that_cannot_be_made_are_refused(forecaster):
    X = waves(3, 1)[1]
    X[1] = np.nan
    with pytest.raises(ValueError, match="1 rows without an observed cell"):
        forecaster.forecast(X)
    vae = quick("mlp", condition=[0]).fit(waves(40, 0)[1])
    with pytest.raises(ValueError, match="fit with condition=None"):
        vae.forecast(X)
    labels = pd.DataFrame({"a": [0.0, 1.0, 2.0] * 9, "b": ["u", "v", "w"] * 9})
    with pytest.raises(TypeError, match="steps of sequences .* column 'b' held none in fit"):
        quick("mlp").fit(labels).forecast(labels)
