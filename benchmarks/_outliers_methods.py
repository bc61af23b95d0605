"""What is compared: our detector by score, and peers in a process of their own environment."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from _outliers_splits import Case

# The ten that ranks are among; a mean distance without the row itself differs from DTE-NP in
# contaminated tables alone, and PyOD's VAE takes so long that it has some of the tables only.
PEERS = ("DTE-NP", "KNN", "LOF", "GMM", "IForest", "OCSVM", "HBOS", "PCA", "COPOD", "ECOD")
BESIDE = ("DTE-NP, self left out", "PyOD VAE")
DEFAULT = "skvae"
OURS: dict[str, dict] = {
    DEFAULT: {},
    "skvae, elbo": {"score": "elbo"},
    "skvae, likelihood": {"score": "likelihood"},
    "skvae, conditional": {"score": "conditional"},
    "skvae, local": {"score": "local"},
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


class Peers(contextlib.AbstractContextManager):
    """The process of the peers, started when first needed."""

    def __init__(self, python: Path | None):
        self.python, self.process, self.case = python, None, None

    def __call__(self, method: str, case: Case, seed: int) -> Scores:
        if self.process is None:
            self._start()
        data, out = (str(Path(self.folder.name, f"{name}.npz")) for name in ("data", "out"))
        if case is not self.case:
            self.case, (train, test) = case, case.matrices()
            np.savez(data, **{"train": train} | ({} if test is None else {"test": test}))
        job = {"method": method, "seed": seed, "data": data, "out": out}
        print(json.dumps(job), file=self.process.stdin, flush=True)
        answer = json.loads(self._answer())
        if "error" in answer:
            raise Failure(answer["error"])
        with np.load(out) as found:
            return Scores(found["scores"], answer["seconds"])

    def _start(self) -> None:
        script = Path(__file__).with_name("_outliers_peer.py")
        self.folder = tempfile.TemporaryDirectory()
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            [str(self.python), str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env=os.environ | {"PYTHONWARNINGS": "ignore"},
        )

    def _answer(self) -> str:
        line = self.process.stdout.readline()
        if not line:
            self.log.seek(0)
            raise RuntimeError(f"The process of the peers ended:\n{self.log.read()[-2000:]}")
        return line

    def __exit__(self, *error) -> None:
        if self.process is not None:
            self.process.stdin.close()
            self.process.wait()
            self.folder.cleanup()
