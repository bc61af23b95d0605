"""Results as Markdown, section by section, and the same for the pages of the site."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import resource
import textwrap
import time
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("torch", "numpy", "scikit-learn", "pyod", "pythae", "skorch")
MANY_OTHERS = 0.2
FEW_ROUNDS = 3
WIDTH = 98


def markdown_table(header: list[str], rows: list[list[str]]) -> list[str]:
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    return lines + [f"| {' | '.join(row)} |" for row in rows]


def paragraphs(text: str) -> list[str]:
    """Lines of a text whose paragraphs are filled anew after figures were put in."""
    parts = text.strip().split("\n\n")
    return [line for part in parts for line in [*textwrap.wrap(part, WIDTH), ""]]


def versions() -> str:
    import skvae

    found = [f"skvae {skvae.__version__}"]
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found.append(f"{name} {version(name)}")
    return ", ".join([*found, f"Python {platform.python_version()}"])


def cpu_name() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


class Machine:
    """What the machine was doing between the start and the end of a section."""

    def __init__(self):
        self.started = time.time()
        self.load = os.getloadavg()
        self.busy, self.ours = _busy_seconds(), _our_seconds()
        self.source = _source()

    def describe(self, rounds: int) -> list[str]:
        """How it was measured, and whether that was good enough."""
        return textwrap.wrap(" ".join(self._sentences(rounds)), WIDTH)

    def _sentences(self, rounds: int) -> list[str]:
        seconds = max(time.time() - self.started, 1e-9)
        lines = [
            f"Best of {rounds} alternating round{'s' * (rounds > 1)}, one thread per process.",
            f"{versions()}. {cpu_name()}, {os.cpu_count()} cores; load average "
            f"{_numbers(self.load)} at the start and {_numbers(os.getloadavg())} at the end "
            f"(1, 5 and 15 minutes), {seconds / 60:.1f} minutes apart"
            f" ({time.strftime('%Y-%m-%d', time.gmtime(self.started))}).",
        ]
        others = 0.0
        if self.busy is not None:
            spent = (_busy_seconds() or 0.0) - self.busy - (_our_seconds() - self.ours)
            others = max(spent, 0.0) / seconds / (os.cpu_count() or 1)
            lines.append(f"Other processes took {others:.0%} of the time of the cores.")
        if rounds < FEW_ROUNDS or others > MANY_OTHERS:
            lines.append("Provisional: to be measured again with more rounds on a quiet machine.")
        if self.source != _source():
            lines.append("The source of skvae changed meanwhile: not to be relied on.")
        return lines


def _source() -> str:
    """Tells one state of the library from another: processes start from what lies there."""
    import skvae

    files = sorted(Path(skvae.__file__).parent.rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _numbers(values) -> str:
    return ", ".join(f"{value:.1f}" for value in values)


def _busy_seconds() -> float | None:
    """CPU time of everything on the machine, time taken away by its host included."""
    with suppress(OSError):
        user, nice, system, idle, waiting, *rest = map(
            int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
        )
        return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")
    return None


def _our_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


# -- files ----------------------------------------------------------------------------------


def write(path: Path, head: list[str], order: list[str], sections: dict[str, list[str]]) -> None:
    """Write the sections; those of the file that were not measured now stay.

    Parameters
    ----------
    path : Path
        Of the Markdown file; its twin for the site ends in ``.rst``.
    head : list of str
        Title and opening lines.
    order : list of str
        Titles of all sections.
    sections : dict of str to list of str
        Lines of the sections measured now, by title.
    """
    known = {}
    if path.exists():
        for part in path.read_text().split("\n## ")[1:]:
            title, body = part.split("\n", 1)
            known[title] = body.strip("\n").split("\n")
    known |= sections
    lines = list(head)
    for title in order:
        if title in known:
            lines += ["", f"## {title}", "", *known[title]]
    path.parent.mkdir(exist_ok=True)
    text = "\n".join(line.rstrip() for line in lines).strip("\n") + "\n"
    path.write_text(re.sub(r"\n{3,}", "\n\n", text))
    parts = [_as_rst(title, known[title]) for title in order if title in known]
    path.with_suffix(".rst").write_text(
        ".. Written by the benchmark, for pages to include. Do not edit.\n\n" + "\n".join(parts)
    )


def _as_rst(title: str, lines: list[str]) -> str:
    """A section between two comments that an ``include`` can look for."""
    name = title.lower().replace(" ", "-")
    out: list[str] = []
    rows: list[list[str]] = []
    for line in [*lines, ""]:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
            continue
        if rows:
            out += _list_table(rows)
            rows = []
        out.append(re.sub(r"`([^`]+)`", r"``\1``", line))
    body = re.sub(r"\n{3,}", "\n\n", "\n".join(out)).strip("\n")
    return f".. begin {name}\n\n{body}\n\n.. end {name}\n"


def _list_table(rows: list[list[str]]) -> list[str]:
    lines = ["", ".. list-table::", "   :header-rows: 1", ""]
    for row in rows:
        if set("".join(row)) <= set("-|"):
            continue
        for i, cell in enumerate(row):
            text = re.sub(r"`([^`]+)`", r"``\1``", cell)
            lines.append(f"   {'* -' if i == 0 else '  -'} {text}".rstrip())
    return [*lines, ""]
