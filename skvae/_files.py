"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """A file to write that takes its name once all of it is on the disk.

    Whoever reads ``path``, after a crash too, finds the old content or the new one.

    Parameters
    ----------
    path : path
        Of a file, whether it is there or not.

    Yields
    ------
    file : binary file
        Beside it, under its name with ``.tmp`` behind.

    Examples
    --------
    >>> import os, tempfile
    >>> from skvae._files import replacing
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(os.path.join(folder, "a.txt")) as file:
    ...         _ = file.write(b"all of it")
    ...     os.listdir(folder)
    ['a.txt']
    """
    path = Path(path)
    beside = path.with_name(path.name + ".tmp")
    try:
        with open(beside, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(beside)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where the system can."""
    if os.name == "nt":
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


class FolderLock:
    """A folder that one process at a time works in; the lock ends with the process.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._number: int | None = None

    def acquire(self) -> bool:
        """Whether nobody else works there; True where the system knows no locks."""
        try:
            import fcntl
        except ImportError:  # Windows
            return True
        number = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(number)
            return False
        except OSError:
            # Some network file systems have none.
            pass
        self._number = number
        return True

    def release(self) -> None:
        """Let others work there."""
        if self._number is not None:
            os.close(self._number)
            self._number = None
