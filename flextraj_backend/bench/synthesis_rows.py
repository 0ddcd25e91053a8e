"""Rows of `bench synthesis`: clips a minute on processes of this machine and on Ray workers, in one run."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flextraj_backend.bench.table import BenchRow
from flextraj_backend.synthesis.clip_maker import BLENDER_MAKER, WorkerLauncher
from flextraj_backend.synthesis.dataset_folder import LOG, DatasetFolder
from flextraj_backend.synthesis.plan import SynthesisSettings
from flextraj_backend.synthesis.process_workers import ProcessLauncher
from flextraj_backend.synthesis.run import SynthesisProgress, make_dataset
from flextraj_backend.synthesis.scene import Renderer, SceneOptions

WORKER_COUNTS = (1, 2)
_PLACES = (("process", "processes"), ("Ray worker", "Ray workers"))
_FIRST_CLIPS = 2
"""Of each worker, not counted."""
_LARGEST_SHARE = 1.0
"""Two workers must not be slower than one."""


@dataclass(frozen=True)
class SynthesisBench:
    """What is measured.

    Attributes:
        clips: made by each arrangement of workers.
        width, height, frames: of each clip.
        with_ray: measure Ray workers, too.
        maker: 'module:Class' of the ClipMaker.
    """

    clips: int = 24
    width: int = 72
    height: int = 48
    frames: int = 9
    with_ray: bool = True
    maker: str = BLENDER_MAKER

    @property
    def settings(self) -> SynthesisSettings:
        scene = SceneOptions(
            width=self.width,
            height=self.height,
            frames=self.frames,
            fps=8.0,
            points=200,
            background_points=100,
            renderer=Renderer.RASTER,
        )
        return SynthesisSettings(seed=0, scene=scene)


def rows(bench: SynthesisBench, tell: Callable[[str], None]) -> list[BenchRow]:
    """Measure every arrangement; each row is compared with one process in the same run.

    Each worker's first clips are not counted: Blender starts, and the first characters are built.

    Raises:
        FlexTrajError: clips cannot be made here, or Ray is missing although it is asked for.
    """
    measured: list[BenchRow] = []
    one_process = 0.0
    for singular, plural in _PLACES if bench.with_ray else _PLACES[:1]:
        for workers in WORKER_COUNTS:
            makers = f"{workers} {singular if workers == 1 else plural}"
            tell(f"Making {bench.clips} clips with {makers} ...")
            seconds = _seconds_a_clip(bench, workers, is_on_ray=singular != "process")
            one_process = one_process or seconds
            measured.append(
                BenchRow(
                    work=f"a clip, {makers}",
                    points=None,
                    seconds=seconds,
                    reference="a clip, 1 process",
                    reference_seconds=one_process,
                    # One Ray worker is a process with a longer way; the margin is the noise of a short run.
                    limit=1.25 if workers == 1 else _LARGEST_SHARE,
                    note=f"{60 / seconds:.1f} clips a minute; {bench.clips} clips of "
                    f"{bench.frames} frames, {bench.width}x{bench.height} px",
                )
            )
    return measured


def _seconds_a_clip(bench: SynthesisBench, workers: int, *, is_on_ray: bool) -> float:
    times: list[float] = []  # when the n-th report came; the first one has no clip

    def on_report(progress: SynthesisProgress) -> None:
        times.append(time.perf_counter())

    with tempfile.TemporaryDirectory(prefix="flextraj-bench-") as name:
        folder = DatasetFolder(Path(name) / "data", bench.settings, bench.clips)
        launcher: WorkerLauncher
        if is_on_ray:
            from flextraj_backend.synthesis.ray_workers import RayLauncher

            launcher = RayLauncher("local", bench.settings, max(WORKER_COUNTS), bench.maker)
        else:
            launcher = ProcessLauncher(bench.settings, folder.path / LOG, bench.maker)
        make_dataset(folder, launcher, workers, on_report, threading.Event())
    warm = min(_FIRST_CLIPS * workers, bench.clips - 1)
    return (times[-1] - times[warm]) / (len(times) - 1 - warm)
