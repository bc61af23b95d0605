"""Peak memory of a piece of work, measured inside the process that does it."""

from __future__ import annotations

import ctypes
import gc
import re
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
MIB = 2**20


def _read(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", STATUS.read_text(), re.MULTILINE)
    return int(found.group(1)) * 1024 if found else 0


def _settle() -> None:
    """Give back what was freed: growth into room left over would not be seen."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


class Growth:
    """Bytes by which memory grew; ``bytes`` is known at the end."""

    bytes = 0


@contextmanager
def peak_growth():
    """By how much the resident memory rose at its peak above where it began."""
    _settle()
    with suppress(OSError):
        # Forgets the peak of what came before.
        CLEAR.write_text("5")
    growth, before = Growth(), _read("VmRSS")
    yield growth
    growth.bytes = max(_read("VmHWM") - before, 0)


@contextmanager
def peak_growth_beside_files(interval: float = 0.002):
    """The same without the pages of mapped files, which are a cache; looked at every so often."""
    _settle()
    growth, before = Growth(), _read("RssAnon")
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            growth.bytes = max(growth.bytes, _read("RssAnon") - before)
            time.sleep(interval)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield growth
    finally:
        done.set()
        thread.join()
