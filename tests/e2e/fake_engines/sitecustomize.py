"""Adds the engine 'fake' to each Python process that has this folder on its path; its prompt drives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from flextraj_backend.engines import registry
from flextraj_backend.engines.base import (
    Availability,
    Cancelled,
    EngineError,
    EngineInputs,
    EngineOutput,
    Estimate,
    IsCancelled,
    Limits,
    Progress,
    ReportProgress,
)

LONG = 60.0
NOISE_FRAMES = 200
"""As a video they take some 2 MB."""


class FakeEngine:
    name = "fake"
    title = "Fake"
    reads = frozenset({"seed"})

    def availability(self) -> Availability:
        return Availability(True)

    def limits(self) -> Limits:
        return Limits(1, 1000)

    def prepare(self, request: object, trajectories: object) -> Estimate:
        return Estimate(2.0, 1 << 20)

    def render(
        self, inputs: EngineInputs, report_progress: ReportProgress, cancelled: IsCancelled
    ) -> EngineOutput:
        height, width = inputs.photo.shape[:2]
        frames = np.zeros((inputs.trajectories.frame_count, height, width, 3), np.uint8)
        report_progress(Progress("rendering", 1, 4))
        match inputs.request.prompt:
            case "wait":
                if inputs.request.negative_prompt:
                    # A file that tells the test that the job has come this far.
                    Path(inputs.request.negative_prompt).touch()
                deadline = time.monotonic() + LONG
                while time.monotonic() < deadline:
                    if cancelled():
                        raise Cancelled
                    time.sleep(0.02)
            case "wait the first time":
                marker = Path(inputs.request.negative_prompt)
                if not marker.exists():
                    marker.touch()
                    time.sleep(LONG)
            case "stubborn":
                # With a child of its own, as an encoder would be.
                subprocess.run([sys.executable, "-c", f"import time; time.sleep({LONG})"])
            case "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            case "segfault":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "memory":
                raise MemoryError
            case "bug":
                raise ValueError("shapes (3,) and (4,)\nsecond line")
            case "refuse":
                raise EngineError("The engine cannot do this: ask for less.")
            case "print":
                print("noise on standard output", flush=True)
                os.write(1, b"noise from a library\n")
            case "noise":
                shape = (NOISE_FRAMES, height, width, 3)
                frames = np.random.default_rng(inputs.request.seed).integers(0, 256, shape, dtype=np.uint8)
        return EngineOutput(frames, "fake draft", ("A warning.",))


class AbsentEngine(FakeEngine):
    name = "absent"
    title = "Absent"

    def availability(self) -> Availability:
        return Availability(False, "The weights are not here: run 'flextraj doctor'.")


registry._MAKERS |= {"fake": FakeEngine, "absent": AbsentEngine}
