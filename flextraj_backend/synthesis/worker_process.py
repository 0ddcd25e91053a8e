"""The child process that makes clips: `python -m flextraj_backend.synthesis.worker_process`.

Standard input, lines: first `{"maker": ..., "settings": {...}}`, then the number of a clip each. Its end ends
the process at once: a worker does not outlive its run. Standard output: for each line a JSON line, followed
by `size` bytes of a packed clip where it has one. Everything else that is printed goes to standard error.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from typing import BinaryIO

from blender_addon.core.errors import FlexTrajError
from flextraj_backend.synthesis.clip_maker import FailedClip, load_maker, make_packed
from flextraj_backend.synthesis.plan import SynthesisSettings
from flextraj_backend.synthesis.record_json import from_json


def main() -> int:
    """Serve until standard input ends. The exit code is 0 unless no clip can be made here at all."""
    # Libraries print to standard output; only this channel is ours.
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read_lines, args=(lines,), name="standard input", daemon=True).start()
    order = json.loads(lines.get())
    settings = from_json(SynthesisSettings, order["settings"])
    try:
        maker = load_maker(order["maker"], settings)
    except FlexTrajError as error:
        _send(channel, {"refused": error.message})
        return 1
    _send(channel, {"ready": True})
    while True:
        result = make_packed(maker, settings, int(lines.get()))
        if isinstance(result, FailedClip):
            _send(channel, {"key": result.key, "sentence": result.sentence})
        else:
            head = {"key": result.key, "pair_group": result.pair_group, "size": len(result.data)}
            _send(channel, head, result.data)


def _send(channel: BinaryIO, head: dict[str, object], data: bytes = b"") -> None:
    channel.write(json.dumps(head).encode() + b"\n" + data)
    channel.flush()


def _read_lines(lines: queue.SimpleQueue[bytes]) -> None:
    for line in sys.stdin.buffer:
        lines.put(line)
    # The run is over or gone: not even a clip that renders for minutes is wanted any more.
    os._exit(0)


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    # Not sys.exit: at interpreter shutdown the daemon thread still holds the lock of standard input.
    os._exit(code)
