"""Generated tables through every public method of the four estimators: what came of each."""

import argparse
import json
import sys
import time
from collections import Counter, defaultdict
from dataclasses import fields
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from _report import cpu_name, markdown_table, versions  # noqa: E402
from driving import LEAST_TRAITS, Hangs, drive, each_case  # noqa: E402
from tables import Recipe  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "robustness.md"
RAW = ROOT / "build" / "robustness"
N_CASES = 40
APART = (
    f"Of {N_CASES} that are drawn together any two differ in {LEAST_TRAITS} of "
    f"{len(fields(Recipe))} traits or more."
)


def run(piece: int, longest: float) -> None:
    """The cases of a piece, one JSON line each; what fails is noted and does not stop others."""
    RAW.mkdir(parents=True, exist_ok=True)
    path = RAW / f"{piece}.jsonl"
    with path.with_suffix(".tmp").open("w") as file:

        def act(case):
            start = time.perf_counter()
            recipe = case.recipe
            record = {
                "spelling": case.spelling, "recipe": repr(recipe), "rows": recipe.n_rows,
                "columns": recipe.n_columns, "container": recipe.container, "failed": "",
            }  # fmt: skip
            try:
                outcome = drive(case, longest)
                record |= {"answered": outcome.answered, "refused": outcome.refused}
            except (AssertionError, Hangs) as error:
                record["failed"] = f"{type(error).__name__}: {error}"
            record["seconds"] = time.perf_counter() - start
            file.write(json.dumps(record) + "\n")
            file.flush()

        each_case(act, N_CASES, piece, large=piece % 5 == 4)
    path.with_suffix(".tmp").rename(path)


def report() -> str:
    """What came of all pieces so far."""
    lines = [line for path in RAW.glob("*.jsonl") for line in path.read_text().splitlines()]
    records = [json.loads(line) for line in lines]
    text = [
        "# Robustness",
        "",
        *in_all(records),
        *answers(
            Counter(name for record in sound(records) for name in record["answered"]),
            Counter(pair for record in sound(records) for pair in record["refused"].items()),
        ),
        "",
        f"Mean {sum(r['seconds'] for r in records) / len(records):.2f} s per run, the longest "
        f"{slowest(records)}. That is beside other work on the machine: a bound on how long a "
        "call may take, and no measure of speed. "
        f"{versions()}. {cpu_name()}.",
    ]
    return "\n".join(text) + "\n"


def in_all(records) -> list[str]:
    """How many runs there were, and which failed."""
    failed = [record for record in records if record["failed"]]
    tables = {record["recipe"] for record in records}
    rows = [record["rows"] for record in records]
    columns = [record["columns"] for record in records]
    return [
        f"`benchmarks/robustness.py`: {len(records)} runs of an estimator "
        f"({counted(estimator_of(r) for r in records)}) on {len(tables)} different generated "
        f"tables ({counted(r['container'] for r in records)}) of {min(rows)} to {max(rows)} rows "
        f"and {min(columns)} to {max(columns)} columns (imputers: at most 100 columns; a table "
        f"has at most 15,000 cells). {APART} Each run calls every public method and checks its "
        "answers: no NaN but where documented, the same bits for rows in another order and "
        "company, the same bits after pickling, errors only with documented words.",
        "",
        f"**Failed: {len(failed)}** (answers that were wrong, exceptions without an explanation, "
        "or no answer in time). What failed in earlier runs is mended, and kept in "
        "`tests/test_properties.py`.",
        "",
        *(f"- `{r['spelling']}` on `{r['recipe']}`: {r['failed'][:200]!r}" for r in failed),
        *[""] * bool(failed),
        f"{sum('fit' in r['refused'] for r in sound(records))} of the runs ended in `fit` with a "
        "documented refusal, as of a table in which nothing varies; the others went through all "
        "methods.",
        "",
    ]


def answers(methods: Counter, refusals: Counter) -> list[str]:
    """A table of the calls that answered and that refused, those of one number in one row."""
    reasons, together = defaultdict(list), defaultdict(list)
    for (name, why), k in refusals.most_common():
        reasons[name].append(f"{k} {why.removeprefix('ValueError: ')}")
    for name, k in methods.most_common():
        together[k, "; ".join(reasons.pop(name, []))].append(name)
    rows = [[", ".join(names), str(k), why] for (k, why), names in together.items()]
    rows += [[name, "0", "; ".join(why)] for name, why in reasons.items()]
    return markdown_table(["call", "answered", "refused, by documented reason"], rows)


def slowest(records) -> str:
    """The tables on which all calls together took longest."""
    longest: dict[str, float] = {}
    for r in sorted(records, key=lambda record: -record["seconds"]):
        kind = f"`{estimator_of(r)}`, {r['rows']} x {r['columns']}, {r['container']}"
        longest.setdefault(kind, r["seconds"])
    return "; ".join(f"{kind}: {seconds:.1f} s" for kind, seconds in [*longest.items()][:3])


def sound(records) -> list[dict]:
    return [record for record in records if not record["failed"]]


def counted(names) -> str:
    return ", ".join(f"{count} {name}" for name, count in Counter(names).most_common())


def estimator_of(record) -> str:
    return record["spelling"].split("(")[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pieces", type=int, nargs="*", default=range(35))
    parser.add_argument("--longest", type=float, default=1200.0, help="seconds per table")
    parser.add_argument("--report", action="store_true", help="only write what there is")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if not arguments.report:
        for piece in arguments.pieces:
            run(piece, arguments.longest)
    RESULTS.write_text(report())
    print(RESULTS.read_text())


if __name__ == "__main__":
    main()
