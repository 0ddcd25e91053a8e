"""Bench rows of the demo: the whole main job, and the preview engine inside of it, against their budgets."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

from flextraj_backend.bench.table import BenchRow

DEMO_BUDGET, PREVIEW_BUDGET = 90.0, 15.0
"""Seconds on 2 cores."""


def rows() -> list[BenchRow]:
    """Run the demo once into a temporary folder.

    Raises:
        FlexTrajError: the demo cannot run here.
    """
    from flextraj_backend.demo.run import SIDECAR, DemoOptions, run_demo

    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "demo"
        start = time.perf_counter()
        run_demo(DemoOptions(output, "preview", seed=0, with_blend=False), lambda _: None)
        total = time.perf_counter() - start
        stages = json.loads((output / SIDECAR).read_text(encoding="utf-8"))["seconds"]
    preview = float(stages["fitting"] + stages["rendering"])
    return [
        BenchRow(
            "flextraj demo", None, total, "budget of 90 s", DEMO_BUDGET, 1.0, "one run, server start included"
        ),
        BenchRow(
            "preview engine", None, preview, "budget of 15 s", PREVIEW_BUDGET, 1.0, "49 frames, 720x480"
        ),
    ]
