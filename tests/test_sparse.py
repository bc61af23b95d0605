"""Sparse counts: what dense ones give, without ever being dense as a whole."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import get_tags

from skvae import VAEOutlierDetector, VAETransformer, _decoding, inference
from skvae.likelihoods import Columnwise, NegativeBinomial, Poisson
from skvae.table import TableCodec
from skvae.training import Rows, SparseRows, rows

pytestmark = pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning")

COUNTED = [
    "poisson",
    "negative_binomial",
    "zero_inflated_poisson",
    "zero_inflated_negative_binomial",
]


def counts(n=120, d=9):
    """Counts of one factor, mostly zeros; one column holds nothing else."""
    rng = np.random.default_rng(0)
    X = rng.poisson(np.exp(rng.normal(size=(n, 1)) @ rng.normal(size=(1, d)) - 1.0))
    X[:, 3] = 0
    return X.astype(float)


def small(cls=VAETransformer, likelihood="negative_binomial", **params):
    settings = {"max_iter": 3, "hidden_layer_sizes": (8,), "random_state": 0}
    return cls(2, likelihood=likelihood, **(settings | params))


@pytest.mark.parametrize("likelihood", COUNTED)
def test_sparse_and_dense_give_the_same(likelihood):
    X = counts()
    dense, sparse = (small(likelihood=likelihood).fit(T) for T in (X, sp.csr_array(X)))
    assert_array_equal(dense.score_samples(X), sparse.score_samples(sp.csr_array(X)))
    assert_array_equal(dense.score_samples(X), sparse.score_samples(X))
    for a, b in zip(dense.infer(X), sparse.infer(sp.csr_array(X))):
        assert_array_equal(a, b)
    drawn = sparse.sample(20)
    assert type(dense.sample(2)) is np.ndarray and type(drawn) is sp.csr_array
    assert_array_equal(dense.sample(20), drawn.toarray())
    assert drawn.dtype == X.dtype and drawn.nnz == np.count_nonzero(drawn.toarray())
    assert_array_equal(dense.reconstruct(X), sparse.reconstruct(sp.csr_array(X)))
    assert dense.history_ == sparse.history_
    assert sparse.sample(5).toarray()[:, 3].tolist() == [0.0] * 5
    # What goes in comes out, and goes in again.
    assert sparse.score_samples(drawn).shape == (20,)


def test_rows_are_drawn_sparse_part_by_part(monkeypatch):
    sparse = small().fit(sp.csr_array(counts()))
    monkeypatch.setattr(_decoding, "DENSE_CELLS", 3 * sparse.n_features_in_)
    drawn = sparse.sample(20, random_state=1)
    assert type(drawn) is sp.csr_array and drawn.shape == (20, sparse.n_features_in_)
    assert len(np.unique(drawn.toarray(), axis=0)) > 10, "parts have draws of their own"
    assert_array_equal(drawn.toarray(), sparse.sample(20, random_state=1).toarray())
    given = sparse.sample(4, given={0: 2.0}, random_state=0)
    assert type(given) is sp.csr_array and given.toarray()[:, 0].tolist() == [2.0] * 4
    frame = sparse.set_output(transform="pandas").sample(4)
    assert type(frame) is pd.DataFrame


@pytest.mark.parametrize("n_members", [1, 2])
def test_weights_and_streams_of_sparse_rows(n_members):
    X = counts()
    weight = np.random.default_rng(1).integers(0, 3, len(X)).astype(float)
    results = []
    for table in (X, sp.csr_array(X)):
        vae = small(n_members=n_members).fit(table, sample_weight=weight)
        vae.partial_fit(table[:50]).recalibrate(table, sample_weight=weight)
        results.append(vae.score_samples(table))
    assert_array_equal(*results)
    assert not np.array_equal(results[0], small(n_members=n_members).fit(X).score_samples(X))


def test_outliers_of_sparse_rows():
    X = counts()
    fits = [small(VAEOutlierDetector).fit(table) for table in (X, sp.csc_array(X))]
    assert fits[0].offset_ == fits[1].offset_
    assert_array_equal(*[fit.predict(sp.csr_array(X)) for fit in fits])


@pytest.mark.parametrize(
    "convert",
    [
        sp.csr_array, sp.csc_array, sp.coo_array, sp.csr_matrix, sp.csc_matrix, sp.coo_matrix,
        lambda X: sp.csr_array(X.astype(np.int64)), lambda X: sp.csr_matrix(X.astype(np.float32)),
    ],
)  # fmt: skip
def test_every_format_and_dtype(convert):
    X = counts()
    S = convert(X)
    before = S.copy()
    vae = small().fit(S)
    assert_array_equal(vae.transform(S), small().fit(X).transform(X))
    assert (before != S).nnz == 0 and vae.sample(1).dtype == S.dtype
    twin = pickle.loads(pickle.dumps(vae))
    assert_array_equal(twin.score_samples(S), vae.score_samples(S))


def test_cells_stored_twice_add_up_and_stored_zeros_are_zeros():
    X = counts()
    row, column = np.nonzero(X >= 0)
    halves = np.r_[np.floor(X.ravel() / 2), np.ceil(X.ravel() / 2)]
    indptr = np.arange(len(X) + 1) * 2 * X.shape[1]
    order = np.argsort(np.r_[row, row], kind="stable")
    S = sp.csr_array((halves[order], np.r_[column, column][order], indptr), shape=X.shape)
    assert not S.has_canonical_format and S.nnz == 2 * X.size
    assert_array_equal(small().fit(S).score_samples(S), small().fit(X).score_samples(X))
    assert S.nnz == 2 * X.size, "the caller's matrix was changed"


# ------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize("cls", [VAETransformer, VAEOutlierDetector])
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"likelihood": "normal"},
        {"likelihood": "student_t"},
        {"likelihood": Columnwise(count="poisson")},
        {"likelihood": "poisson", "column_kinds": {"x0": "continuous"}},
    ],
    ids=str,
)
def test_other_models_refuse_sparse_rows(cls, params):
    X = counts()
    model = cls(2, max_iter=1, **params)
    assert not get_tags(model).input_tags.sparse
    with pytest.raises(TypeError, match=r"Sparse data was passed.*toarray.*negative_binomial"):
        model.fit(sp.csr_array(X))
    dense = clone(model).fit(np.minimum(X, 1.0))
    with pytest.raises(TypeError, match="Sparse data was passed"):
        dense.score_samples(sp.csr_array(X))


@pytest.mark.parametrize(
    "params",
    [{"condition": [0]}, {"supervision": "classes"}, {"column_kinds": {"x0": "continuous"}}],
)
def test_what_no_sparse_table_goes_with_is_named(params):
    (name,) = params
    with pytest.raises(TypeError, match=rf"'bernoulli', and without {name}\.$"):
        small(**params).fit(sp.csr_array(counts()), np.arange(120) % 2)


def test_expected_counts_have_the_dtype_of_the_table():
    X = np.minimum(counts(), 1.0)
    whole, exact = (small(likelihood="poisson").fit(X.astype(t)) for t in ("int32", "float32"))
    codes = exact.transform(X)
    assert_array_equal(whole.transform(X), codes)
    assert_array_equal(whole.inverse_transform(codes), exact.inverse_transform(codes).round())
    assert whole.inverse_transform(codes).dtype == np.int32


def test_sparse_flags_are_those_of_a_dense_table():
    X = np.minimum(counts(), 1.0)
    dense = small(likelihood="bernoulli").fit(X)
    for S in (sp.csr_array(X), sp.csc_matrix(X > 0)):
        sparse = small(likelihood="bernoulli").fit(S)
        assert_array_equal(dense.score_samples(X), sparse.score_samples(S))
        assert_array_equal(dense.transform(X), sparse.transform(S))
    bad = X.copy()
    bad[7, 2] = 2.0
    with pytest.raises(ValueError, match=r"'x2'.*between 0 and 1; got 2.0 in row 7"):
        small(likelihood="bernoulli").fit(sp.csr_array(bad))


@pytest.mark.parametrize(
    "likelihood", [*COUNTED, NegativeBinomial(), Poisson(), "bernoulli"], ids=str
)
def test_the_tag_says_who_takes_sparse_rows(likelihood):
    assert get_tags(VAETransformer(likelihood=likelihood)).input_tags.sparse
    assert get_tags(VAEOutlierDetector(likelihood=likelihood)).input_tags.sparse


@pytest.mark.parametrize(
    "cell, message",
    [
        (-1.0, "'x4' is modelled as count, which expects non-negative.*got -1.0 in row 100"),
        (1.5, "'x4'.*whole numbers.*got 1.5 in row 100"),
        (2e9, "'x4'.*up to 1e9.*row 100"),
        (np.nan, "Input X contains NaN, and a sparse.*not store are 0. Pass X.toarray"),
        (np.inf, "Input X contains infinity"),
    ],
)
def test_cells_that_are_no_counts(cell, message, monkeypatch):
    monkeypatch.setattr(inference, "PART_ROWS", 32)
    X = counts()
    bad = X.copy()
    bad[100, 4] = cell
    vae = small().fit(sp.csr_array(X))
    for refused in (small().fit, vae.score_samples, vae.transform, vae.partial_fit):
        with pytest.raises(ValueError, match=message):
            refused(sp.csr_array(bad))


def test_too_many_columns_and_too_few_rows():
    S = sp.csr_array(counts())
    vae = small().fit(S)
    with pytest.raises(ValueError, match="X has 8 features, but VAETransformer is expecting 9"):
        vae.transform(S[:, :8])
    with pytest.raises(ValueError, match="minimum of 2 is required"):
        small().fit(S[:1])
    with pytest.raises(ValueError, match="nothing to model"):
        small().fit(sp.csr_array((20, 3)))


def test_sparse_rows_at_the_end_of_a_pipeline():
    S = sp.csr_array(counts())
    pipeline = make_pipeline(FunctionTransformer(accept_sparse=True), small())
    assert_array_equal(pipeline.fit_transform(S), small().fit_transform(S))


# -------------------------------------------------------------------------------------- memory


def test_batches_of_sparse_rows_are_those_of_dense_ones(monkeypatch):
    monkeypatch.setattr(rows, "PART_NUMBERS", 64)
    X = counts()
    weight = np.arange(1.0, len(X) + 1)
    codec = TableCodec(numeric="count").fit(X)
    encoded = codec.encode(sp.csr_array(X))
    assert_array_equal(encoded.values, codec.encode(X).values)
    device = torch.device("cpu")
    dense = Rows.from_arrays(encoded, codec.log_scale_, weight, device)
    kept = sp.csr_array(X)[:, codec.modelled_index_]
    sparse = SparseRows.of(kept, codec.inputs, codec.n_inputs_, weight, device)
    assert sparse.values.shape == dense.values.shape and sparse.inputs.shape == dense.inputs.shape
    assert sparse.values.untyped_storage().nbytes() == 4
    index = torch.tensor([[5, 2, 2, 100], [7, 0, 119, 3]])
    parts = list(sparse.parts(index))
    assert len(parts) > 1
    for ours, theirs in ((sparse.take(index), dense.take(index)), *zip(parts, dense.parts(index))):
        assert torch.equal(ours.values, theirs.values) and torch.equal(ours.inputs, theirs.inputs)
        assert torch.equal(ours.weights, theirs.weights) and ours.mask is None


def test_wide_tables_are_judged_some_rows_after_the_others(monkeypatch):
    whole = small(VAEOutlierDetector).fit(counts())
    monkeypatch.setattr(inference, "PART_NUMBERS", 9 * 64)
    parted = clone(whole).fit(counts())
    assert_array_equal(whole.score_samples(counts()), parted.score_samples(counts()))
    assert inference.chunk_rows(2, 9) == 32 and inference.chunk_rows(2, 1) == 288


MEMORY = """
import resource
import numpy as np
import pandas as pd
import scipy.sparse as sp
from skvae import VAETransformer

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

def counts(n, d=5000, density=0.002):
    rng = np.random.default_rng(0)
    size = int(n * d * density)
    cells = rng.integers(1, 9, size).astype(np.float32)
    places = rng.integers(0, n, size), rng.integers(0, d, size)
    return sp.csr_array(sp.coo_array((cells, places), shape=(n, d)))

vae = VAETransformer(
    2, likelihood="poisson", hidden_layer_sizes=(8,), max_iter=1, batch_size=64, random_state=0
)
vae.fit(counts(100)).score_samples(counts(100))
before = peak()
X = counts(20_000)
vae.fit(X)
codes = vae.transform(X)
vae.score_samples(X[:2000])
print(peak() - before)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_rows_times_columns():
    pytest.importorskip("resource")
    # What is allocated counts, not what the heap of the C library keeps in pieces afterwards.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(2**20)}
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MEMORY],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    dense = 20_000 * 5000 * 4 / 2**20
    assert float(ran.stdout) < 0.4 * dense, "MiB beyond those of a table of 100 rows"
