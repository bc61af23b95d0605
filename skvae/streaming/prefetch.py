"""The next item is made while the present one is used."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from queue import Queue
from threading import Event, Thread
from typing import TypeVar

T = TypeVar("T")


class _Failure:
    def __init__(self, error: BaseException):
        self.error = error


_END = object()


def ahead(items: Iterator[T], n: int = 1) -> Generator[T, None, None]:
    """Yield the items of an iterator that runs in a thread of its own, ``n`` ahead.

    What it raises is raised here.  The thread ends with the generator, whether that is used up
    or closed.

    Parameters
    ----------
    items : iterator
    n : int, default=1
        How many items wait.

    Examples
    --------
    >>> from skvae.streaming.prefetch import ahead
    >>> list(ahead(iter(range(3))))
    [0, 1, 2]
    """
    queue: Queue = Queue(n)
    left = Event()

    def run() -> None:
        try:
            for item in items:
                queue.put(item)
                if left.is_set():
                    return
            queue.put(_END)
        except BaseException as error:
            queue.put(_Failure(error))

    thread = Thread(target=run, name="skvae-reader", daemon=True)
    thread.start()
    try:
        while (item := queue.get()) is not _END:
            if isinstance(item, _Failure):
                raise item.error
            yield item
    finally:
        left.set()
        while thread.is_alive():
            # A full queue would keep it from seeing that it is not needed.
            if not queue.empty():
                queue.get_nowait()
            thread.join(0.01)
