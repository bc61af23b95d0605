"""One thread per test process: results that are compared bit by bit need it."""

import os

# scipy reads it once, when it is imported; scikit-learn then checks arrays of the array API, too.
os.environ.setdefault("SCIPY_ARRAY_API", "1")

import pytest  # noqa: E402
import torch  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
