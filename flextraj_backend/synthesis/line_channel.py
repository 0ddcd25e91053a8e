"""Standard output for lines that a program reads: nobody else may write there."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable


def claim_stdout() -> Callable[[str], None]:
    """Take over standard output until the process ends; return what writes a line there.

    What libraries print (Ray does when a worker dies) goes to standard error. Where nobody reads any more,
    lines are lost, so that the run still ends cleanly.
    """
    sys.stdout.flush()
    channel = os.dup(1)
    os.dup2(2, 1)

    def write_line(text: str) -> None:
        data = text.encode() + b"\n"
        with contextlib.suppress(BrokenPipeError):
            while data:
                data = data[os.write(channel, data) :]

    return write_line
