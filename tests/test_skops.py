"""skops: what files of estimators hold that use scikit-learn's trees, as the guide lists it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from skvae import VAEImputer, VAESynthesizer

skops_io = pytest.importorskip("skops.io")

GUIDE = Path(__file__).parent.parent / "docs" / "user_guide" / "saving.rst"
TREES = {
    VAEImputer: {"sklearn.tree._tree.Tree"},
    VAESynthesizer: {
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.utils.validation.check_array",
        "functools.partial",
    },
}
PLAIN = {VAEImputer: {"refine": None}, VAESynthesizer: {"critic": None}}


def table():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 3)) @ rng.normal(size=(3, 4))
    X[rng.uniform(size=X.shape) < 0.1] = np.nan
    return pd.DataFrame(X, columns=list("abcd")).assign(kind=rng.choice(["x", "y"], len(X)))


def answers(estimator):
    return (
        estimator.transform(table())
        if hasattr(estimator, "transform")
        else estimator.sample(9, random_state=0)
    )


@pytest.mark.parametrize("cls", TREES)
@pytest.mark.parametrize("plain", [False, True])
def test_files_hold_what_the_guide_lists(cls, plain):
    estimator = cls(max_iter=1, random_state=0, **(PLAIN[cls] if plain else {})).fit(table())
    blob = skops_io.dumps(estimator)
    unknown = set(skops_io.get_untrusted_types(data=blob))
    others = {name for name in unknown if not name.startswith("skvae.")}
    assert others == (set() if plain else TREES[cls])
    assert all(name in GUIDE.read_text() for name in others)
    loaded = skops_io.loads(blob, trusted=sorted(unknown))
    pd.testing.assert_frame_equal(answers(loaded), answers(estimator))
