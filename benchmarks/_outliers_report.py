"""The page: means, ranks, paired comparisons, tables, looks and the log."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
from _outliers_methods import DEFAULT, ORDER, OURS, PEERS
from _report import markdown_table, paragraphs, versions
from _report import write as write_sections
from scipy.stats import wilcoxon

SUITE_TITLES = {"adbench": "ADBench", "pool": "Pool"}
PROTOCOLS = ("one-class", "contaminated")
TITLES = [f"{suite} {protocol}" for suite in SUITE_TITLES.values() for protocol in PROTOCOLS]
ORDER_OF_SECTIONS = [*TITLES, "Speed", "Looks"]
# Less than this apart is a draw.
TIE = 1e-4
HEAD = """
`python benchmarks/outliers.py`. One-class: half of the normal rows to train on, the other half
and all outliers to score. Contaminated: all rows to train on, and the same to score; PyOD then
leaves a row out of its own neighbours, DTE-NP does not, as in the code of its authors. Every
method has the settings that it comes with, the same ones everywhere, and sees the same rows.
Peers see numbers standardised by the training rows, with medians in holes and a column per
category; ours sees the table. `skvae` is `VAEOutlierDetector(random_state=seed)`, and
`skvae, NAME` the same with `score_function="NAME"` (`local`: distances to training rows alone;
`model`: none of them, no training row kept; both together are the default), all with
`unknown="missing"` as categories may be new. Peers are those of PyOD 3.6.7, its PCA without the
components of no variance, by which it would divide; DTE-NP is the mean distance to five
neighbours (Livernoche et al., 2024).

`rank` is among the ten peers and the method itself, of peers among themselves and `skvae`, by the
mean AUROC over seeds of a table, 1 the best. `cpu` is mean CPU seconds of one thread, fit and
scoring, on a machine that others use.
"""
NOTES = {
    "adbench": """
The 22 even-numbered tables of ADBench, at most 5,000 rows, drawn with each seed, as many outliers
among them as in the whole, or 20. They are for confirming what was chosen on the pool: each look
is listed below. An earlier study, which some ideas come from, had chosen on them.
""",
    "pool": """
At most 2,000 rows each: one class normal and 2 to 25 % of others (`one`), a
rare class as outliers (`rare`), cells that come from other rows (`swap`). Defaults were chosen on
them. Tasks of one table are not independent, so tests take their mean.
""",
    "paired": """
Differences in AUROC, ours less the peer's: mean, median, wins, draws and losses; p of Wilcoxon's
signed ranks; least and largest mean where one table is left out; and the same mean and p for
average precision.
""",
    "fewer": """
Not measured everywhere, and here beside the others on the tables and seeds that it has:
""",
}


def write(path: Path, results: dict[str, pd.DataFrame], measured: dict[str, list[str]]) -> None:
    """Markdown from what the CSV files hold, what was measured now, and the log."""
    sections = dict(measured)
    for name, lines in results.items():
        for protocol, part in lines.groupby("protocol"):
            sections[f"{SUITE_TITLES[name]} {protocol}"] = section(name, part)
    looks = path.with_name(f"{path.name}_looks.csv")
    if looks.exists():
        sections["Looks"] = looks_section(pd.read_csv(looks))
    page = path.with_suffix(".md")
    head = ["# Outliers", "", *paragraphs(HEAD), *paragraphs(f"{versions()}.")]
    write_sections(page, head, ORDER_OF_SECTIONS, sections)
    log = path.with_name(f"{path.name}_log.md")
    if log.exists():
        text = re.sub(r"\A# .*\n", "", log.read_text().strip()).strip()
        text = re.sub(r"^## ", "### ", text, flags=re.MULTILINE)
        page.write_text(f"{page.read_text()}\n## Log\n\n{text}\n")


def section(suite: str, lines: pd.DataFrame) -> list[str]:
    """All about one suite and protocol."""
    cells = lines.pivot_table(index=["table", "seed"], columns="method", values="auroc")
    counts = cells.notna().sum()
    whole = [m for m in ORDER if m in cells and counts[m] == counts.max()]
    fewer = [m for m in ORDER if m in cells and m not in whole]
    full = lines[lines["method"].isin(whole)]
    auroc, ap = (by_table(full, figure)[whole] for figure in ("auroc", "ap"))
    seeds = sorted(lines["seed"].unique().tolist())
    number = f"{len(auroc)} tables"
    if suite == "pool":
        number = f"{len(auroc)} tasks of {source_of(auroc.index).nunique()} tables"
    note = f"{number}, seeds {', '.join(map(str, seeds))}. {NOTES[suite].strip()}"
    out = [*paragraphs(note), *means(suite, full, auroc, ap), *failures(full)]
    mine = [m for m in whole if m in OURS]
    if mine:
        out += ["", *paragraphs(NOTES["paired"]), *comparisons(auroc, ap, mine)]
    for method in fewer:
        out += ["", *paragraphs(NOTES["fewer"]), *beside(lines, method, whole)]
    if suite == "adbench":
        out += ["", *paragraphs("Mean AUROC over seeds by table:"), *every_table(auroc)]
    return out


def by_table(lines: pd.DataFrame, figure: str) -> pd.DataFrame:
    """Means over seeds, tables in the rows and methods in the columns."""
    return lines.pivot_table(index="table", columns="method", values=figure)


def source_of(tables: pd.Index) -> pd.Index:
    return tables.str.split(":").str[0]


def rank_of(method: str, auroc: pd.DataFrame) -> float:
    """Mean rank among the ten peers and the method, or ``skvae`` where it is a peer."""
    other = DEFAULT if method in PEERS else method
    field = [m for m in dict.fromkeys([*PEERS, other]) if m in auroc]
    return float(auroc[field].rank(axis=1, ascending=False)[method].mean())


def means(suite: str, lines, auroc: pd.DataFrame, ap: pd.DataFrame) -> list[str]:
    kinds = pd.Series(auroc.index.str.extract(r":([a-z]+)", expand=False), auroc.index)
    shown = ["one", "rare", "swap"] if suite == "pool" else []
    seconds = lines.groupby("method")[["cpu_fit", "cpu_score"]].mean().sum(axis=1)
    rows = [
        [
            method,
            f"{auroc[method].mean():.4f}",
            f"{ap[method].mean():.4f}",
            f"{rank_of(method, auroc):.2f}",
            *(f"{auroc[method][kinds == kind].mean():.4f}" for kind in shown),
            f"{seconds[method]:.2f}",
        ]
        for method in sorted(auroc, key=lambda m: -auroc[m].mean())
    ]
    return markdown_table(["method", "AUROC", "AP", "rank", *shown, "cpu"], rows)


def failures(lines: pd.DataFrame) -> list[str]:
    if "failed" not in lines or not lines["failed"].notna().any():
        return []
    found = lines[lines["failed"].notna()].groupby("method")["table"].agg(set)
    said = "; ".join(f"{m}: {', '.join(sorted(tables))}" for m, tables in found.items())
    return ["", *paragraphs(f"Without scores, and counted as chance: {said}.")]


class Difference:
    """Of two methods, table by table, and what it is without one of the sources."""

    def __init__(self, a: pd.Series, b: pd.Series):
        self.by_table = a - b
        self.sources = source_of(self.by_table.index)
        grouped = self.by_table.groupby(self.sources)
        self.by_source = grouped.mean()
        sums, sizes = grouped.sum(), grouped.size()
        total, size = self.by_table.sum(), len(self.by_table)
        self.without = (total - sums) / np.maximum(size - sizes, 1)

    def record(self) -> str:
        wins = (self.by_table > TIE).sum()
        losses = (self.by_table < -TIE).sum()
        return f"{wins} / {len(self.by_table) - wins - losses} / {losses}"

    def p(self) -> float:
        if self.by_source.abs().max() == 0:
            return 1.0
        return float(wilcoxon(self.by_source).pvalue)


def comparisons(auroc: pd.DataFrame, ap: pd.DataFrame, mine: list[str]) -> list[str]:
    rows = []
    for method in mine:
        others = [m for m in PEERS if m in auroc]
        for peer in sorted(others, key=lambda m: -auroc[m].mean()):
            found = Difference(auroc[method], auroc[peer])
            precision = Difference(ap[method], ap[peer])
            rows.append(
                [
                    method,
                    peer,
                    f"{found.by_table.mean():+.4f}",
                    f"{found.by_table.median():+.4f}",
                    found.record(),
                    f"{found.p():.2g}",
                    f"{found.without.min():+.4f} to {found.without.max():+.4f}",
                    f"{precision.by_table.mean():+.4f}",
                    f"{precision.p():.2g}",
                ]
            )
    head = ["ours", "peer", "mean", "median", "won / even / lost", "p", "one table left out"]
    return markdown_table([*head, "AP", "p of AP"], rows)


def beside(lines: pd.DataFrame, method: str, whole: list[str]) -> list[str]:
    """A method that not all tables and seeds have, and the others on what it has."""
    places = lines.loc[lines["method"] == method, ["table", "seed"]]
    same = lines.merge(places, on=["table", "seed"])
    same = same[same["method"].isin([*whole, method])]
    found = same.groupby("method")[["auroc", "ap", "cpu_fit", "cpu_score"]].mean()
    found["cpu"] = found.pop("cpu_fit") + found.pop("cpu_score")
    found = found.sort_values("auroc", ascending=False)
    rows = [
        [name, f"{line['auroc']:.4f}", f"{line['ap']:.4f}", f"{line['cpu']:.2f}"]
        for name, line in found.iterrows()
    ]
    tables = f"`{method}`, {places['table'].nunique()} tables, seeds "
    tables += f"{', '.join(map(str, sorted(places['seed'].unique())))}:"
    return [tables, "", *markdown_table(["method", "AUROC", "AP", "cpu"], rows)]


def every_table(auroc: pd.DataFrame) -> list[str]:
    number = [int(name.split("_")[0]) for name in auroc.index]
    rows = [
        [name, *(f"{value:.3f}" for value in auroc.loc[name])]
        for name in auroc.index[np.argsort(number)]
    ]
    return markdown_table(["table", *auroc.columns], rows)


def looks_section(looks: pd.DataFrame) -> list[str]:
    note = "Each time that ours ran on the tables of ADBench, and what for:"
    rows = [[str(value) for value in line] for line in looks.to_numpy()]
    return [*paragraphs(note), *markdown_table(list(looks.columns), rows)]
