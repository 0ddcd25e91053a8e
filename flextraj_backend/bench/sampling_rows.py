"""Bench rows of sampling: evaluating and projecting points, against the scene's cost and the usual way."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from blender_addon.core.frame_mapping import FrameMap, split_frame
from blender_addon.core.sample_settings import ColorSource, SampleSettings
from flextraj_backend.bench.table import BenchRow

if TYPE_CHECKING:
    import bpy

FRAMES = 49
WIDTH, HEIGHT = 720, 480
REPEATS_FEW, REPEATS_MANY = 20, 4
OVERLAP_FROM = 50_000
"""Points from which projecting in threads, while Blender evaluates the next frame, pays."""
# A world_to_camera_view loop is linear in its points; a part of the shot is enough to time it.
PEER_FRAMES = 4


@dataclass(frozen=True)
class _Shot:
    """A loaded scene with a camera."""

    scene: bpy.types.Scene
    view_layer: bpy.types.ViewLayer
    settings: SampleSettings
    frames: FrameMap
    segments: int


def rows(scene_path: Path) -> list[BenchRow]:
    """Measure 10,000 and 1,000,000 points over 49 frames at 720x480.

    Work and reference alternate and each counts its shortest run, so that both see the same machine.

    Raises:
        FlexTrajError: the scene cannot be read or has nothing to sample.
    """
    from blender_addon.bridge.auto_camera import framing_camera
    from blender_addon.bridge.evaluated_meshes import MeshReader
    from blender_addon.bridge.scene_state import preserved_scene
    from blender_addon.bridge.shot_sampling import choose_frames, plan_shot
    from flextraj_backend.scene_import import open_scene

    scene, view_layer = open_scene(scene_path)
    settings = SampleSettings(model_frames=FRAMES, width=WIDTH, height=HEIGHT, color=ColorSource.NONE)
    frames = choose_frames(scene, settings)
    with ExitStack() as stack:
        if scene.camera is None:
            stack.enter_context(framing_camera(scene, view_layer, settings, frames.source_frames))
        stack.enter_context(preserved_scene(scene, view_layer))
        plan = plan_shot(scene, view_layer, settings, frames, MeshReader(view_layer))
        shot = _Shot(scene, view_layer, settings, frames, len(plan.subjects.segments))
        few, bare = _alternate(lambda: _sample(shot, 10_000), lambda: _set_frames(shot), REPEATS_FEW)
        peer = _project_with_blender(shot, 10_000)
        many, bare_again = _alternate(
            lambda: _sample(shot, 1_000_000), lambda: _set_frames(shot), REPEATS_MANY
        )
    note = f"{FRAMES} frames, shortest of {REPEATS_FEW} alternating runs"
    return [
        BenchRow("sampling + evaluation + projection", 10_000, few, "bare frame_set loop", bare, 1.3, note),
        BenchRow(
            "sampling + evaluation + projection",
            10_000,
            few,
            "world_to_camera_view loop",
            peer,
            1 / 20,
            f"the peer is timed on {PEER_FRAMES} of {FRAMES} frames",
        ),
        BenchRow(
            "the same, beyond frame_set",
            1_000_000,
            many - bare_again,
            "budget of 1.5 s",
            1.5,
            1.0,
            f"NumPy only; frame_set itself {bare_again * 1000:.0f} ms",
        ),
    ]


def _alternate(work: Callable[[], None], reference: Callable[[], None], repeats: int) -> tuple[float, float]:
    """Return the shortest times in seconds of two functions that take turns."""
    best = [float("inf"), float("inf")]
    for _ in range(repeats):
        for index, function in enumerate((work, reference)):
            start = time.perf_counter()
            function()
            best[index] = min(best[index], time.perf_counter() - start)
    return best[0], best[1]


def _sample(shot: _Shot, points: int) -> None:
    """Place points and track them over the shot, as `sample_shot` does before visibility.

    Few points are projected in the caller's thread: a tenth of a millisecond a frame is not worth a hand-over
    (`sample_shot` always uses threads, because testing visibility takes longer).
    """
    from blender_addon.bridge.evaluated_meshes import MeshReader
    from blender_addon.bridge.shot_sampling import THREADS, evaluate_frames, plan_shot, project_frame
    from blender_addon.core.pipeline import overlap

    settings = replace(shot.settings, points=points // shot.segments)
    reader = MeshReader(shot.view_layer)
    plan = plan_shot(shot.scene, shot.view_layer, settings, shot.frames, reader)
    positions = np.empty((FRAMES, plan.points.count, 3), dtype=np.float32)
    frames = evaluate_frames(shot.scene, shot.view_layer, settings, plan, reader)
    project = partial(project_frame, plan)
    projected = map(project, frames) if points < OVERLAP_FROM else overlap(frames, project, THREADS)
    for index, of_frame in enumerate(projected):
        positions[index] = of_frame


def _set_frames(shot: _Shot) -> None:
    """The floor: Blender evaluates every frame and nothing is read."""
    for frame in shot.frames.source_frames:
        whole, subframe = split_frame(frame)
        shot.scene.frame_set(whole, subframe=subframe)


def _project_with_blender(shot: _Shot, points: int) -> float:
    """Seconds for the shot in the usual way: `world_to_camera_view` of each of the first vertices."""

    from bpy_extras.object_utils import world_to_camera_view

    from blender_addon.bridge.evaluated_meshes import MeshReader
    from blender_addon.bridge.scene_state import evaluate_frame

    camera = shot.scene.camera
    assert camera is not None
    reader = MeshReader(shot.view_layer)
    numbers = shot.frames.source_frames[:: FRAMES // PEER_FRAMES][:PEER_FRAMES]
    start = time.perf_counter()
    for number in numbers:
        depsgraph = evaluate_frame(shot.scene, shot.view_layer, number)
        for live in reader.live_meshes(depsgraph):
            matrix = live.source.matrix_world
            for vertex in itertools.islice(live.mesh.vertices, points // shot.segments):
                world_to_camera_view(shot.scene, camera, matrix @ vertex.co)
    return (time.perf_counter() - start) * FRAMES / len(numbers)
