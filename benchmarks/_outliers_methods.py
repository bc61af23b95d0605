"""What is compared: our detector by score, and peers in a process of their own environment."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np
from _outliers_splits import Case
from _peer_process import PeerProcess

# The ten that ranks are among; a mean distance without the row itself differs from DTE-NP in
# contaminated tables alone, and PyOD's VAE takes so long that it has some of the tables only.
PEERS = ("DTE-NP", "KNN", "LOF", "GMM", "IForest", "OCSVM", "HBOS", "PCA", "COPOD", "ECOD")
BESIDE = ("DTE-NP, self left out", "PyOD VAE")
DEFAULT = "skvae"
OURS: dict[str, dict] = {
    DEFAULT: {},
    "skvae, local": {"score_function": "local"},
    "skvae, model": {"score_function": "model"},
    "skvae, elbo": {"score_function": "elbo"},
    "skvae, likelihood": {"score_function": "likelihood"},
    "skvae, conditional": {"score_function": "conditional"},
}
ORDER = [*OURS, *PEERS, *BESIDE]


class Scores(NamedTuple):
    """Of the rows to score, higher for outliers, and CPU seconds of fit and of scoring."""

    rows: np.ndarray
    seconds: list[float]


class Failure(Exception):
    """A method that has no scores for a case."""


def ours(method: str, case: Case, seed: int) -> Scores:
    from skvae import VAEOutlierDetector

    clock = [time.process_time()]
    # A category of a scored row that no training row has must not be an error here.
    detector = VAEOutlierDetector(unknown="missing", random_state=seed, **OURS[method])
    detector.fit(case.train)
    clock.append(time.process_time())
    rows = -detector.score_samples(case.train if case.test is None else case.test)
    clock.append(time.process_time())
    return Scores(rows, np.diff(clock).tolist())


class Peers(PeerProcess):
    """Detectors of PyOD, and DTE-NP."""

    script = "_outliers_peer.py"
    case: Case | None = None

    def __call__(self, method: str, case: Case, seed: int) -> Scores:
        data, out = self.path("data"), self.path("out")
        if case is not self.case:
            self.case, (train, test) = case, case.matrices()
            np.savez(data, **{"train": train} | ({} if test is None else {"test": test}))
        answer = self.ask({"method": method, "seed": seed, "data": data, "out": out})
        if "error" in answer:
            raise Failure(answer["error"])
        with np.load(out) as found:
            return Scores(found["scores"], answer["seconds"])
