"""Stands in for `python -m flextraj_backend synthesize`: says what the file `script.json` beside it tells.

Run as an interpreter of the backend: `fake_python -m flextraj_backend synthesize --output=... ...`.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path

SHEET = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d49444154789c6360f8cfc000000003010100189dd9ee0000000049454e44ae426082"
)


def say(**values: object) -> None:
    print(json.dumps(values), flush=True)


def main() -> int:
    plan = json.loads(Path(os.environ["FAKE_SYNTHESIZE"]).read_text("utf-8"))
    arguments = sys.argv[1:]
    Path(plan["heard"]).write_text(json.dumps({"arguments": arguments, "pid": os.getpid()}), "utf-8")
    options = dict(one.removeprefix("--").split("=", 1) for one in arguments if one.startswith("--"))
    clips, folder = int(options["clips"]), Path(options["output"])
    ended = threading.Event()

    def watch() -> None:
        # Not `sys.stdin`: a thread that holds its lock crashes the interpreter's end.
        while os.read(0, 4096):
            pass
        ended.set()

    if plan["way"] != "deaf":
        threading.Thread(target=watch, daemon=True).start()
    print("Blender writes here, too")
    if plan["way"] == "refuse":
        print("flextraj: The folder is of another seed: choose another folder.", file=sys.stderr)
        return 2
    if plan["way"] == "error":
        say(state="error", message="The GPU is gone: use the fast renderer.", done=1, clips=clips)
        return 2
    if plan["way"] == "crash":
        print("Something broke", file=sys.stderr)
        return 7
    folder.mkdir(exist_ok=True)
    (folder / "dataset.json").write_text("{}", "utf-8")
    finished_clips = folder / "clips.jsonl"
    finished_clips.touch()
    before = len(finished_clips.read_text("utf-8").splitlines())
    for done in range(before + 1, clips + 1):
        if ended.is_set():
            return 130
        with finished_clips.open("a", encoding="utf-8") as finished:
            finished.write(json.dumps({"key": f"clip{done:06}"}) + "\n")
        say(state="running", done=done, clips=clips, clips_per_minute=120.0, eta_seconds=(clips - done) / 2)
        while plan["way"] in ("hang", "deaf") and not ended.is_set():
            time.sleep(0.02)
        if plan["way"] == "slow":
            time.sleep(0.7)
    (folder / "contact_sheet.png").write_bytes(SHEET)
    say(state="done", done=clips, clips=clips, clips_per_minute=120.0, eta_seconds=0, message="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
