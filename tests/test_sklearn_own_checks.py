"""The eleven checks that scikit-learn runs on its own estimators only."""

import pytest
from sklearn.utils import estimator_checks

from skvae import VAEOutlierDetector, VAETransformer

ANY_ESTIMATOR = [
    "check_dataframe_column_names_consistency",
    "check_inplace_ensure_writeable",
    "check_param_validation",
]
TRANSFORMERS = [
    "check_get_feature_names_out_error",
    "check_global_output_transform_pandas",
    "check_global_set_output_transform_polars",
    "check_set_output_transform",
    "check_set_output_transform_pandas",
    "check_set_output_transform_polars",
    "check_transformer_get_feature_names_out",
    "check_transformer_get_feature_names_out_pandas",
]
CASES = [
    (VAETransformer(max_iter=3), ANY_ESTIMATOR + TRANSFORMERS),
    (VAETransformer(n_components=2, n_members=2, max_iter=3), ANY_ESTIMATOR + TRANSFORMERS),
    (VAEOutlierDetector(max_iter=3), ANY_ESTIMATOR),
]


@pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning")
@pytest.mark.parametrize(
    ("estimator", "check"),
    [
        pytest.param(estimator, check, id=f"{estimator}-{check}")
        for estimator, checks in CASES
        for check in checks
    ],
)
def test_scikit_learns_own_check(estimator, check):
    if check.endswith("polars"):
        pytest.importorskip("polars")
    getattr(estimator_checks, check)(type(estimator).__name__, estimator)


def test_every_own_check_is_listed():
    """A check of set_output or feature names that a release adds must be added here."""
    asked = {check for _, checks in CASES for check in checks}
    known = {
        name
        for name in dir(estimator_checks)
        if name.startswith("check_") and ("output_transform" in name or "_names_out" in name)
    }
    assert known <= asked
