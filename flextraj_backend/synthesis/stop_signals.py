"""What ends a run from outside: Ctrl-C, SIGTERM, or the end of the program that started it."""

from __future__ import annotations

import os
import signal
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stopping_on_signals() -> Iterator[threading.Event]:
    """Yield an event that SIGINT and SIGTERM set; the signals do nothing else meanwhile."""
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_with_parent(stop: threading.Event) -> None:
    """Set the event when standard input ends, if it is a pipe: whoever held its other end is gone.

    A terminal or `/dev/null` says nothing about a parent.
    """
    try:
        is_pipe = stat.S_ISFIFO(os.fstat(0).st_mode) or stat.S_ISSOCK(os.fstat(0).st_mode)
    except OSError:
        return
    if is_pipe:
        threading.Thread(target=_watch, args=(stop,), name="parent watch", daemon=True).start()


def _watch(stop: threading.Event) -> None:
    # os.read, not sys.stdin: a buffered reader's lock would be held when the interpreter shuts down.
    while os.read(0, 4096):
        pass
    stop.set()
