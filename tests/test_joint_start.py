"""The start at one linear model of continuous columns, flags and categories."""

import numpy as np
import pandas as pd
import torch
from components import tiny_vae
from numpy.testing import assert_allclose
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from skvae import VAEOutlierDetector, VAETransformer
from skvae.likelihoods import Columnwise
from skvae.networks import MLP
from skvae.training import Rows, start_at_linear_model

N, SIZES = 600, (3, 4, 3)


def table(n=N, n_numbers=8, n_categories=6, seed=0):
    """Numbers that are independent of all, categories that most often name a hidden group."""
    rng = np.random.default_rng(seed)
    group = rng.integers(3, size=n)
    X = pd.DataFrame(rng.normal(size=(n, n_numbers))).add_prefix("number_")
    for j in range(n_categories):
        level = np.where(rng.uniform(size=n) < 0.7, group, rng.integers(3, size=n))
        X[f"category_{j}"] = pd.Categorical.from_codes(level, ["a", "b", "c"])
    return X, group


def mixed_rows(seed=0):
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(N, 2))
    numbers = factors @ rng.normal(size=(2, 3)) + 0.3 * rng.normal(size=(N, 3))
    levels = [np.digitize(factors[:, j % 2], [0.0, 1.0]) for j in range(len(SIZES))]
    values = torch.as_tensor(np.column_stack([numbers / numbers.std(0), *levels])).float()
    hot = [np.eye(size)[level] for size, level in zip(SIZES, levels)]
    X = np.column_stack([values[:, :3].numpy(), *hot])
    return Rows(torch.as_tensor(X).float(), values, None, None), X.astype(np.float64)


def started(rows, jointly, n_components=2):
    blocks = (("continuous", (1, 1, 1)), ("categorical", SIZES))
    vae = tiny_vae(
        blocks=blocks, likelihood=Columnwise(), n_components=n_components,
        network=MLP((8,), linear_skip=True),
    )  # fmt: skip
    index = torch.arange(len(rows.values)).expand(2, -1)
    start_at_linear_model(vae, rows, index, jointly=jointly)
    return vae, index


def start_of(rows):
    vae, _ = started(rows, True)
    return {name: part.double() for name, part in vae.state_dict().items()}


def test_numbers_start_at_principal_components_of_all_columns():
    rows, X = mixed_rows()
    values, vectors = np.linalg.eigh(np.cov(X.T, bias=True))
    noise = values[:-2].mean()
    kept = vectors[:, -2:] * (1 - noise / values[-2:])
    expected = X.mean(0) + (X - X.mean(0)) @ kept @ vectors[:, -2:].T
    found = {}
    for jointly in (True, False):
        vae, index = started(rows, jointly)
        with torch.no_grad():
            decoded = vae.decode(vae.infer(rows.take(index).inputs).mean)
        found[jointly] = decoded.parts[0].mean[0, 0].numpy()
    assert_allclose(found[True], expected[:, :3], atol=0.02)
    assert np.abs(found[False] - expected[:, :3]).max() > 0.2


def test_noises_start_at_what_is_left_of_the_numbers():
    rows, X = mixed_rows()
    vae, index = started(rows, True)
    with torch.no_grad():
        decoded = vae.decode(vae.infer(rows.take(index).inputs).mean).parts[0]
    left = (decoded.mean[0, 0].numpy() - X[:, :3]).std(0)
    scale = np.broadcast_to(decoded.stddev[0].detach().numpy().ravel()[:1], 3)
    assert_allclose(scale, np.sqrt((left**2).mean()), rtol=0.03)


def test_where_nothing_would_be_left_the_numbers_start_alone():
    rows, _ = mixed_rows()
    with_all, alone = (started(rows, jointly, 12)[0].state_dict() for jointly in (True, False))
    assert all(torch.equal(with_all[name], alone[name]) for name in alone)
    with_all, alone = (started(rows, jointly, 2)[0].state_dict() for jointly in (True, False))
    assert any(not torch.equal(with_all[name], alone[name]) for name in alone)


class StartsAtNumbers(VAETransformer):
    _joint_start = False


def test_codes_tell_of_categories_beside_as_many_numbers_as_latents():
    X, group = table()
    half = N // 2
    accuracy = {}
    for kind in (VAETransformer, StartsAtNumbers):
        vae = kind(8, max_iter=20, random_state=0).fit(X[:half])
        train, test = vae.transform(X[:half]), vae.transform(X[half:])
        accuracy[kind] = [
            model.fit(train, group[:half]).score(test, group[half:])
            for model in (LogisticRegression(max_iter=1000), KNeighborsClassifier(5))
        ]
    assert min(accuracy[VAETransformer]) > max(accuracy[StartsAtNumbers]) + 0.1


def test_a_weight_of_two_is_a_row_twice():
    rows, _ = mixed_rows()
    twice = torch.cat([torch.arange(N), torch.arange(N // 2)])
    weights = torch.ones(N)
    weights[: N // 2] = 2.0
    by_weight = start_of(Rows(rows.inputs, rows.values, None, weights))
    by_rows = start_of(Rows(rows.inputs[twice], rows.values[twice], None, None))
    plain = start_of(rows)
    for name in by_rows:
        assert_allclose(by_weight[name], by_rows[name], atol=0.01)
    assert max(float((plain[name] - by_rows[name]).abs().max()) for name in plain) > 0.02


def test_what_lies_under_holes_is_no_matter():
    rows, _ = mixed_rows()
    seen = torch.rand(rows.values.shape, generator=torch.Generator().manual_seed(0)) > 0.1
    inputs = rows.inputs * seen[:, [0, 1, 2, *np.repeat([3, 4, 5], SIZES)]]
    found = [
        start_of(Rows(inputs, torch.where(seen, rows.values, filler), seen, None))
        for filler in (0.0, 1.0)
    ]
    assert all(torch.isfinite(part).all() for part in found[0].values())
    blind = start_of(Rows(inputs, torch.where(seen, rows.values, 1.0), None, None))
    for name in blind:
        assert_allclose(found[0][name], found[1][name], atol=5e-3)
    assert max(float((blind[name] - found[0][name]).abs().max()) for name in blind) > 0.05


def test_detectors_keep_the_density_of_numbers_first():
    assert VAETransformer._joint_start and not VAEOutlierDetector._joint_start
