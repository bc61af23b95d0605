"""A process of another environment that answers jobs, a line of JSON each."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any


class PeerProcess(contextlib.AbstractContextManager):
    """Started when first asked; ``folder`` is for the arrays of jobs and answers.

    Parameters
    ----------
    python : Path or None
        Interpreter of the environment.
    """

    script = ""

    def __init__(self, python: Path | None):
        self.python, self.process = python, None

    def path(self, name: str) -> str:
        """Where arrays of this name are handed over."""
        if self.process is None:
            self._start()
        return str(Path(self.folder.name, f"{name}.npz"))

    def ask(self, job: dict) -> Any:
        """The answer to a job."""
        if self.process is None:
            self._start()
        print(json.dumps(job), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            self.log.seek(0)
            raise RuntimeError(f"The process of the peers ended:\n{self.log.read()[-2000:]}")
        return json.loads(line)

    def _start(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            [str(self.python), str(Path(__file__).with_name(self.script))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env=os.environ | {"PYTHONWARNINGS": "ignore"},
        )

    def __exit__(self, *error) -> None:
        if self.process is not None:
            self.process.stdin.close()
            self.process.wait()
            self.folder.cleanup()
