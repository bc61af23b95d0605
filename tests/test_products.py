"""Products of large matrices on the processor."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from skvae import VAETransformer, products
from skvae.products import LARGE, affine, affine_columns, host_product

ROWS, INNER, COLUMNS = 256, 260, 96
needs_kernels = pytest.mark.skipif(
    not products._has_wide_kernels(), reason="the processor has no AVX-512"
)


def factors(n_members, left, right):
    rng = np.random.default_rng(0)
    a = rng.normal(size=(n_members, INNER, ROWS) if left else (n_members, ROWS, INNER))
    b = rng.normal(size=(n_members, COLUMNS, INNER) if right else (n_members, INNER, COLUMNS))
    a, b = a.astype(np.float32), b.astype(np.float32)
    return a.mT if left else a, b.mT if right else b


@pytest.mark.parametrize("right", [False, True])
@pytest.mark.parametrize("left", [False, True])
def test_large_products_are_those_of_numpy(left, right):
    a, b = factors(2, left, right)
    product = host_product(ROWS * INNER * COLUMNS, torch.float32)
    out = np.empty((2, ROWS, COLUMNS), np.float32)
    assert product(a, b, out=out) is out
    exact = a.astype(np.float64) @ b.astype(np.float64)
    assert_allclose(out, exact, atol=1e-4)
    # Products in a shorter format would be off by more.
    short = torch.as_tensor(a).bfloat16() @ torch.as_tensor(b).bfloat16()
    assert abs(short.double().numpy() - exact).max() > 1e-2
    for member in range(2):
        alone = np.empty((ROWS, COLUMNS), np.float32)
        product(a[member], b[member], out=alone)
        assert_array_equal(alone, out[member])


@pytest.mark.parametrize(("n_inputs", "n_outputs"), [(32, 128), (8, 16), (784, 96)])
def test_layers_are_those_of_torch_and_know_no_other_rows(n_inputs, n_outputs):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 2048, n_inputs, generator=generator)
    weight = torch.randn(2, n_inputs, n_outputs, generator=generator)
    bias = torch.randn(2, 1, n_outputs, generator=generator)
    found = affine(bias, x, weight)
    assert_allclose(found, torch.baddbmm(bias, x, weight), atol=2e-4)
    offset, matrix = bias[0].T, weight[0].T
    columns = torch.empty(n_outputs, 2048)
    affine_columns(offset, matrix, x[0].T, columns)
    assert_allclose(columns.T, found[0], atol=2e-4)
    for start, size in [(0, 64), (5, 128), (777, 256), (100, 1024)]:
        rows = slice(start, start + size)
        assert_array_equal(affine(bias[:1], x[:1, rows], weight[:1])[0], found[0, rows])
        some = torch.empty(n_outputs, size)
        affine_columns(offset, matrix, x[0, rows].T, some)
        assert_array_equal(some, columns[:, rows])


@needs_kernels
def test_who_computes_which_products():
    assert host_product(LARGE, torch.float32) is products._wide
    assert host_product(LARGE - 1, torch.float32) is np.matmul
    assert host_product(LARGE, torch.float64) is np.matmul


def test_processors_without_the_kernels_have_numpy(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert host_product(LARGE, torch.float32) is np.matmul


@needs_kernels
def test_wide_tables_train_as_they_do_with_numpy(monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 4)) @ rng.normal(size=(4, 260)) + rng.normal(size=(600, 260))

    def score():
        settings = {"max_iter": 4, "batch_size": 256, "random_state": 0}
        return VAETransformer(4, early_stopping=False, **settings).fit(X).score(X)

    wide, calls = products._wide, []

    def counted(a, b, out):
        calls.append(out.shape)
        return wide(a, b, out)

    monkeypatch.setattr(products, "_wide", counted)
    fast = score()
    assert calls
    monkeypatch.setattr(products, "LARGE", np.inf)
    assert fast == pytest.approx(score(), abs=0.02)
