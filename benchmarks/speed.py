"""Speed of training, searches, scoring, imports and stacks, beside PyOD, pythae and skorch.

One thread; what is compared runs alternately in the same run, and the least time of each is kept.
Ratios are the figures to use: absolute ones belong to the machine.

    python benchmarks/speed.py [--rounds 5] [--only training,mixed,kernels,search,scoring]

Peers that are not installed are left out and named (``pip install pyod pythae skorch``).  Results
go to ``benchmarks/results/speed.md``; sections that were not measured keep what they said.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

# First of all, because it holds the libraries to one thread.
from _common import RESULTS  # isort: skip

import _kernels
import _scoring
import _search
import _training
from _report import Machine, write

SECTIONS = {
    "training": ("Training", _training.training),
    "mixed": ("Mixed tables", _training.mixed),
    "kernels": ("Kernels for AVX-512", _kernels.kernels),
    "search": ("Search", _search.search),
    "scoring": ("Scoring", _scoring.scoring),
    "startup": ("Start-up", _scoring.startup),
    "stacks": ("Stacks", _training.stacks),
}

HEAD = """# Speed

`python benchmarks/speed.py`. One thread; times are CPU seconds unless they are called wall; what
is compared runs alternately in the same run, and the least time of each is kept. Ratios are the
figures to use: absolute ones belong to the machine.""".splitlines()


def main(sections: str = ",".join(SECTIONS)) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default=sections, help="sections, by commas")
    parser.add_argument("--output", type=Path, default=RESULTS / "speed.md")
    options = parser.parse_args()
    chosen = options.only.split(",")
    unknown = set(chosen) - set(SECTIONS)
    if unknown:
        parser.error(f"unknown sections {sorted(unknown)}; there are {', '.join(SECTIONS)}")
    warnings.simplefilter("ignore")
    order = [title for title, _ in SECTIONS.values()]
    for name in chosen:
        title, measure = SECTIONS[name]
        print(f"== {title}", flush=True)
        machine = Machine()
        lines = [*measure(options.rounds), "", *machine.describe(options.rounds)]
        write(options.output, HEAD, order, {title: lines})


if __name__ == "__main__":
    main()
