"""Training once more, with the kernels for AVX-512 that NumPy's library did not choose."""

from __future__ import annotations

import sys
from pathlib import Path

# First of all, because it holds the libraries to one thread.
from _common import hand_in, whole_process  # isort: skip

from _report import paragraphs
from _training import training_table
from threadpoolctl import threadpool_info

KERNELS = "SkylakeX"
NOTES = f"""
The section on training once more, in a process that started with
`OPENBLAS_CORETYPE={KERNELS}`. OpenBLAS, which comes with NumPy, picks its kernels by the name of
the processor. Where it does not know a new one it takes those of 2013, though the processor has
AVX-512. The products of torch come from another library, which the variable does not reach.
"""


def architecture() -> str | None:
    """Whose kernels NumPy's library has chosen; None if it is not OpenBLAS."""
    found = (entry.get("architecture") for entry in threadpool_info() if "openblas" in str(entry))
    return next(found, None)


def kernels(rounds: int) -> list[str]:
    """The table of the section on training, where it would differ."""
    flags = Path("/proc/cpuinfo")
    chosen = architecture()
    if not flags.exists() or "avx512f" not in flags.read_text() or chosen in (None, KERNELS):
        return [f"Not measured: the kernels are {chosen}, and the processor has no others."]
    arguments = [str(Path(__file__)), str(rounds)]
    table = whole_process(arguments, OPENBLAS_CORETYPE=KERNELS).result
    notes = f"{NOTES.strip()} Here they were those of {chosen}."
    return [*paragraphs(notes), "", *table]


if __name__ == "__main__":
    hand_in(training_table(int(sys.argv[1])))
