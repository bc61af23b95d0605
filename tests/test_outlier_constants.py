"""Columns that were constant in fit: another value there is odd, and said to be."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from skvae import VAEOutlierDetector
from skvae.scores import SCORES

QUICK = {"max_iter": 5, "random_state": 0}


def table(n_rows=120, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n_rows)
    columns = {
        "a": x,
        "b": x + rng.normal(size=n_rows),
        "sensor": 0.1,
        "c": rng.normal(size=n_rows),
    }
    return pd.DataFrame(columns).assign(valid=True, unit="mm")


@pytest.mark.parametrize("name", SCORES)
def test_another_value_costs_what_the_rule_of_succession_says(name):
    X = table()
    detector = VAEOutlierDetector(score_function=name, **QUICK).fit(X)
    nats = np.log(121 / 2)
    assert detector.constants_.nats == pytest.approx(nats)
    new = table(5, seed=1)
    before = detector.score_samples(new)
    # As written in another way, or missing, it is no other value.
    rounded = new.assign(sensor=[0.1, 0.3 - 0.2, 1 / 10, np.nan, 0.1])
    assert_array_equal(detector.score_samples(rounded), before)
    odd = new.assign(sensor=[0.1, 0.2, 0.1, -5.0, 1e9], valid=[True, True, False, False, True])
    fallen = np.array([0, 1, 1, 2, 1])
    assert_allclose(before - detector.score_samples(odd), nats * fallen, rtol=1e-9, atol=1e-9)
    assert (detector.predict(odd)[3:4] == -1).all() or name in ("likelihood", "elbo")
    told = detector.explain(odd)[["sensor", "valid"]].to_numpy()
    assert_allclose(told, -nats * np.array([[0, 1, 0, 1, 1], [0, 0, 1, 1, 0]]).T)
    as_ever = detector.explain(new)["sensor"]
    assert (as_ever == 0).all() and not np.signbit(as_ever).any()


def test_contributions_of_constants_are_part_of_the_sum():
    X = table()
    detector = VAEOutlierDetector(score_function="conditional", **QUICK).fit(X)
    odd = table(8, seed=2).assign(sensor=3.0)
    total = detector.explain(odd).sum(axis=1) + detector.typical_cells_.sum()
    assert_allclose(total, detector.score_samples(odd), rtol=1e-5, atol=1e-4)


def test_the_training_rows_and_their_threshold_know_nothing_of_it():
    X = table().drop(columns=["valid", "unit"])
    without = X.drop(columns="sensor").to_numpy()
    detector, plain = (VAEOutlierDetector(**QUICK).fit(part) for part in (X.to_numpy(), without))
    assert_array_equal(detector.score_samples(X.to_numpy()), plain.score_samples(without))
    assert detector.offset_ == plain.offset_
    assert not len(plain.constants_.places)


def test_many_constant_columns_together_err_as_often_as_one():
    rng = np.random.default_rng(0)
    # One cell in a thousand is another value.
    X = np.hstack([rng.normal(size=(200, 3)), np.zeros((200, 60))])
    new = np.hstack([rng.normal(size=(2000, 3)), rng.random((2000, 60)) < 1e-3])
    detector = VAEOutlierDetector(score_function="likelihood", **QUICK).fit(X)
    assert detector.constants_.nats == pytest.approx(np.log(201 / 60))
    without = np.hstack([new[:, :3], np.zeros((2000, 60))])
    cost = detector.score_samples(without) - detector.score_samples(new)
    assert np.mean(cost > 0) == pytest.approx(0.06, abs=0.02)


def test_conditions_are_not_judged_and_sparse_tables_stay_sparse():
    X = table().assign(other=2.0)
    detector = VAEOutlierDetector(condition=["a", "other"], score_function="elbo", **QUICK).fit(X)
    names = [detector.feature_names_in_[j] for j in detector.constants_.places]
    assert names == ["sensor", "valid"]
    counts = np.random.default_rng(0).poisson(1.0, size=(40, 5)).astype(float)
    counts[:, 2] = 0
    rows = sparse.csr_array(counts)
    fitted = VAEOutlierDetector(likelihood="poisson", **QUICK).fit(rows)
    assert np.isfinite(fitted.score_samples(rows)).all()


def test_graphs_know_of_it():
    pytest.importorskip("onnxruntime")
    from test_export_onnx import run

    from skvae.export import to_onnx

    X = table().drop(columns=["valid", "unit"]).to_numpy()
    detector = VAEOutlierDetector(score_function="likelihood", **QUICK).fit(X)
    odd = X[:6].copy()
    odd[:4, 2] = [0.2, np.nan, -1.0, 0.3 - 0.2]
    found = run(to_onnx(detector), odd)["decision_function"].ravel()
    assert_allclose(found, detector.decision_function(odd), atol=1e-4)
    assert found[0] < detector.decision_function(X[:1])[0] - 4.0


def test_a_constant_is_repaired_before_cells_that_are_ordinary_and_behind_odd_ones():
    asked = {"score_function": "conditional", "contamination": 0.2}
    detector = VAEOutlierDetector(**asked, **QUICK).fit(table())
    new = table(3, seed=1).assign(sensor=[7.0, 0.1, -3.0], valid=[True, True, False])
    new["b"] = [new["a"][0], new["a"][1], 1e3]
    _, one = detector.repair(new)
    assert [list(new.columns[row]) for row in one.to_numpy()] == [["sensor"], [], ["b"]]
    repaired, changed = detector.repair(new, n_cells=3)
    assert list(new.columns[changed.to_numpy()[2]]) == ["b", "sensor", "valid"]
    assert (repaired["sensor"] == 0.1).all() and repaired["valid"].all()
    assert (detector.explain(repaired)[["sensor", "valid"]] == 0).all(axis=None)
