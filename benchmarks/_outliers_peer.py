"""Runs in the peers' own environment: detectors of PyOD, one job per line of the input.

PYTHON _outliers_peer.py

A line is ``{"method": ..., "seed": ..., "data": NPZ, "out": NPZ}``; the answer is a line of CPU
seconds of fit and of scoring, or of what went wrong.  All have the settings that they come with.
"""

import contextlib
import json
import os
import sys
import time
import warnings

# Before NumPy is imported: it reads them once.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"
warnings.simplefilter("ignore")

import numpy as np  # noqa: E402
from pyod.models.copod import COPOD  # noqa: E402
from pyod.models.ecod import ECOD  # noqa: E402
from pyod.models.gmm import GMM  # noqa: E402
from pyod.models.hbos import HBOS  # noqa: E402
from pyod.models.iforest import IForest  # noqa: E402
from pyod.models.knn import KNN  # noqa: E402
from pyod.models.lof import LOF  # noqa: E402
from pyod.models.ocsvm import OCSVM  # noqa: E402
from pyod.models.pca import PCA  # noqa: E402
from sklearn.neighbors import NearestNeighbors  # noqa: E402


def vae(seed):
    import torch
    from pyod.models.vae import VAE

    torch.set_num_threads(1)
    return VAE(random_state=seed, device="cpu", verbose=0)


class MeanDistance:
    """Mean distance to the five nearest training rows, DTE-NP of Livernoche et al. (2024).

    As in their code a training row is a neighbour of itself.
    """

    n_neighbors, leave_out_self = 5, False

    def fit(self, X):
        self.neighbors_ = NearestNeighbors(n_neighbors=self.n_neighbors).fit(X)
        rows = None if self.leave_out_self else X
        self.decision_scores_ = self.neighbors_.kneighbors(rows)[0].mean(1)

    def decision_function(self, X):
        return self.neighbors_.kneighbors(X)[0].mean(1)


class MeanDistanceToOthers(MeanDistance):
    leave_out_self = True


class RankPCA(PCA):
    """Without the components of no variance, by which PyOD's would divide."""

    def fit(self, X, y=None):
        self.n_components = int(np.linalg.matrix_rank(X - X.mean(0)))
        return super().fit(X, y)


METHODS = {
    "KNN": lambda seed: KNN(),
    "LOF": lambda seed: LOF(),
    "IForest": lambda seed: IForest(random_state=seed),
    "ECOD": lambda seed: ECOD(),
    "COPOD": lambda seed: COPOD(),
    "HBOS": lambda seed: HBOS(),
    "GMM": lambda seed: GMM(random_state=seed),
    "OCSVM": lambda seed: OCSVM(),
    "PCA": lambda seed: RankPCA(random_state=seed),
    "DTE-NP": lambda seed: MeanDistance(),
    "DTE-NP, self left out": lambda seed: MeanDistanceToOthers(),
    "PyOD VAE": vae,
}


def run(method, seed, train, test):
    detector = METHODS[method](seed)
    clock = [time.process_time()]
    detector.fit(train)
    clock.append(time.process_time())
    # Of training rows PyOD has the scores already, neighbours without the row itself.
    scores = detector.decision_scores_ if test is None else detector.decision_function(test)
    clock.append(time.process_time())
    return scores, np.diff(clock).tolist()


def main() -> None:
    answers, warm = sys.stdout, set()
    with contextlib.redirect_stdout(sys.stderr):
        for line in sys.stdin:
            job = json.loads(line)
            with np.load(job["data"]) as data:
                train, test = data["train"], data["test"] if "test" in data else None
            if job["method"] not in warm:
                # Nobody pays for what is compiled or imported once.
                run(job["method"], 0, np.random.default_rng(0).normal(size=(200, 4)), None)
                warm.add(job["method"])
            try:
                scores, seconds = run(job["method"], job["seed"], train, test)
            except (ValueError, np.linalg.LinAlgError) as error:
                answer = {"error": str(error)}
            else:
                np.savez(job["out"], scores=scores)
                answer = {"seconds": seconds}
            print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
