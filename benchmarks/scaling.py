"""Time and memory of fit and score against rows, columns and members.

Each point is measured in a process of its own, on one thread.

    python benchmarks/scaling.py [--rounds 3] [--streams]

Results go to ``benchmarks/results/scaling.md``, the picture to ``docs/_static/scaling.png``.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

# First of all, because it holds the libraries to one thread.
from _common import RESULTS, cpu_seconds, default, hand_in, one_thread, table, whole_process

import _scaling_streams as streams  # isort: skip
from _memory import MIB, peak_growth  # isort: skip
from _report import Machine, markdown_table, paragraphs, write  # isort: skip

N_EPOCHS, BATCH_SIZE = 5, 256
ROWS = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
COLUMNS = (10, 30, 100, 300, 1_000)
MEMBERS = (1, 2, 4, 8, 16, 32, 64)
# Rows, columns and members where they are not what is varied.
BASE = (5_000, 30, 1)
SWEEPS = {"rows": ROWS, "columns": COLUMNS, "members": MEMBERS}
# What takes longer than this many seconds is measured once: it averages over disturbances.
LONG = 10.0
# Nothing smaller is drawn.
SMALLEST = 0.01
PICTURE = Path(__file__).parents[1] / "docs" / "_static" / "scaling.png"

HEAD = ["# Scaling", "", "`python benchmarks/scaling.py`, and `--streams` of it for files."]
TITLES = ["Scaling of fit and score", streams.TITLE]
NOTES = f"""
CPU seconds and peak memory of `fit` ({N_EPOCHS} epochs in batches of {BATCH_SIZE}, else the
defaults, start and calibration included) and of `score_samples` on the same rows (16 draws, the
default). Where it is not varied there are {BASE[0]:,} rows, {BASE[1]} columns and one member.
Memory is the growth of the resident memory at its peak beyond the float32 table that is passed in,
after a first small fit.
"""


def points() -> list[tuple[int, int, int]]:
    """Rows, columns and members of each process."""
    found = []
    for place, values in enumerate(SWEEPS.values()):
        found += [BASE[:place] + (value,) + BASE[place + 1 :] for value in values]
    return list(dict.fromkeys(found))


def measure(n_rows: int, n_columns: int, n_members: int) -> dict:
    """Time and memory of one point, in this process."""
    one_thread()
    warnings.simplefilter("ignore")
    warm = default(BATCH_SIZE, 1).fit(table(300, 5))
    warm.score_samples(table(300, 5))
    X = table(n_rows, n_columns)
    model = default(BATCH_SIZE, N_EPOCHS, n_members=n_members)
    found = {}
    for name, call in (("fit", model.fit), ("score", model.score_samples)):
        with peak_growth() as growth:
            found[f"{name} seconds"] = cpu_seconds(call, X)
        found[f"{name} bytes"] = growth.bytes
    return found


def measure_all(rounds: int) -> dict[tuple, dict]:
    """The least of each figure over some rounds through the points."""
    best: dict[tuple, dict] = {}
    for _ in range(rounds):
        for point in points():
            if best.get(point, {}).get("fit seconds", 0.0) > LONG:
                continue
            arguments = [__file__, "--point", *map(str, point)]
            found = whole_process(arguments).result
            before = best.get(point, found)
            best[point] = {name: min(value, before[name]) for name, value in found.items()}
            print(point, best[point], flush=True)
    return best


def sweep(best: dict[tuple, dict], place: int) -> list[dict]:
    """The points along one direction."""
    values = list(SWEEPS.values())[place]
    return [best[BASE[:place] + (value,) + BASE[place + 1 :]] for value in values]


def tables(best: dict[tuple, dict]) -> list[str]:
    lines: list[str] = []
    for place, (name, values) in enumerate(SWEEPS.items()):
        found = sweep(best, place)
        rows = [
            [
                f"{value:,}",
                *(_figures(point[f"{what} seconds"]) for what in ("fit", "score")),
                *(_figures(point[f"{what} bytes"] / MIB) for what in ("fit", "score")),
            ]
            for value, point in zip(values, found)
        ]
        header = [name, "fit, CPU s", "score, CPU s", "fit, MiB", "score, MiB"]
        times = f"{values[-1] / values[-3]:.0f} times"
        sentence = (
            f"From {values[-3]:,} to {values[-1]:,} {name}, {times} as many: "
            f"{_grown(found, 'fit')}, {_grown(found, 'score')}."
        )
        lines += [*markdown_table(header, rows), "", *paragraphs(sentence)]
    return lines


def _grown(found: list[dict], what: str) -> str:
    time, memory = (
        found[-1][f"{what} {kind}"] / max(found[-3][f"{what} {kind}"], 1e-9)
        for kind in ("seconds", "bytes")
    )
    return f"{what} takes {time:.1f} times the time and {memory:.1f} times the memory"


def _figures(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def draw(best: dict[tuple, dict], path: Path) -> None:
    """Two rows of panels, time and memory, one column for each direction."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from skvae.plotting._style import INK, axes

    plt.rcParams["font.size"] = 9
    figure, grid = plt.subplots(
        2, 3, figsize=(8.4, 5.0), sharex="col", sharey="row", layout="constrained"
    )
    figure.get_layout_engine().set(wspace=0.04, hspace=0.06)
    kinds = (("seconds", 1.0, "CPU seconds"), ("bytes", MIB, "peak memory, MiB"))
    for line, (kind, unit, title) in enumerate(kinds):
        for place, (name, values) in enumerate(SWEEPS.items()):
            ax = axes("scaling.py", grid[line, place], (0, 0))
            heights = {
                what: [
                    max(point[f"{what} {kind}"] / unit, SMALLEST) for point in sweep(best, place)
                ]
                for what in ("fit", "score")
            }
            unit_of_axis = 1_000 if name == "rows" else 1
            _panel(ax, [value / unit_of_axis for value in values], heights)
            if name == "members":
                ax.set_xticks(values)
                _name_lines(ax, values[-1], heights)
            ax.tick_params(labelleft=place == 0, labelbottom=line == 1)
            if line == 1:
                ax.set_xlabel("rows, thousands" if name == "rows" else name, color=INK)
        grid[line, 0].set_ylabel(title, color=INK)
    _name_dashes(grid[0, 1])
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=160)
    plt.close(figure)


def _panel(ax, values: list[float], heights: dict[str, list[float]]) -> None:
    from matplotlib.ticker import FuncFormatter

    from skvae.plotting._style import QUIET

    ax.set(xscale="log", yscale="log")
    # Along the dashed line, which ends where fit does, twice as many take twice as much.
    top = heights["fit"][-1]
    few = max(values[0], values[-1] * SMALLEST / top)
    ends = [few, values[-1]], [top * few / values[-1], top]
    ax.plot(*ends, color=QUIET, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0, scaley=False)
    for what, ys in heights.items():
        ax.plot(values, ys, color=_colour(what), marker="o", markersize=3.5, linewidth=1.4)
    plain = FuncFormatter(lambda value, _: f"{value:,.10g}")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(plain)
    ax.minorticks_off()
    ax.tick_params(color=QUIET)


def _colour(what: str) -> str:
    from skvae.plotting._style import BLUE, VERMILION

    return BLUE if what == "fit" else VERMILION


def _name_lines(ax, end: float, heights: dict[str, list[float]]) -> None:
    for what, ys in heights.items():
        ax.annotate(
            what, (end, ys[-1]), (7, 0), textcoords="offset points", color=_colour(what),
            va="center", annotation_clip=False,
        )  # fmt: skip


def _name_dashes(ax) -> None:
    (x, _), (y, _) = ax.lines[0].get_data()
    ax.annotate(
        "in proportion", (x, y), (26, 3), textcoords="offset points", color="0.4",
        fontsize="small", va="center",
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=RESULTS / "scaling.md")
    parser.add_argument("--picture", type=Path, default=PICTURE)
    parser.add_argument("--point", type=int, nargs=3, help="rows, columns, members: only these")
    parser.add_argument("--stream", nargs=3, help="rows, path, rounds: only this file")
    parser.add_argument("--streams", action="store_true", help="from Parquet files, only these")
    parser.add_argument("--folder", help="for the Parquet files, 2.5 GB at most")
    options = parser.parse_args()
    if options.point:
        hand_in(measure(*options.point))
        return
    if options.stream:
        streams.hand_in_point(*options.stream)
        return
    if options.streams:
        lines = streams.section(__file__, options.folder, options.rounds)
        write(options.output, HEAD, TITLES, {streams.TITLE: lines})
        return
    machine = Machine()
    best = measure_all(options.rounds)
    lines = [*paragraphs(NOTES), *tables(best), "", *machine.describe(options.rounds)]
    write(options.output, HEAD, TITLES, {TITLES[0]: lines})
    draw(best, options.picture)


if __name__ == "__main__":
    main()
