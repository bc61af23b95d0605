"""A process that answers one row: started anew by ``deployment.py``, and light itself.

python benchmarks/_deployment_start.py {skvae,onnxruntime} FOLDER
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def skvae(folder: Path) -> None:
    import pickle

    row, model = (pickle.loads((folder / f"{name}.pkl").read_bytes()) for name in ("row", "model"))
    model.transform(row)


def onnxruntime(folder: Path) -> None:
    import numpy as np
    import onnxruntime

    with np.load(folder / "row.npz", allow_pickle=True) as row:
        session = onnxruntime.InferenceSession(folder / "model.onnx")
        session.run(None, dict(row))


STARTS = {"skvae": skvae, "onnxruntime": onnxruntime}


def largest_memory() -> float:
    """Of this process alone, in MiB: what is counted for children starts at the parent's."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return float("nan")


if __name__ == "__main__":
    STARTS[sys.argv[1]](Path(sys.argv[2]))
    Path(os.environ["RESULT"]).write_text(json.dumps(largest_memory()))
