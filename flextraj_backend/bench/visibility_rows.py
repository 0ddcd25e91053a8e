"""Bench rows of visibility: the exact test against one `scene.ray_cast` per point, on the same frames."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from blender_addon.core.camera import CameraFrame
from blender_addon.core.camera_track import Projection
from blender_addon.core.sample_settings import ColorSource, SampleSettings
from blender_addon.core.sampling import SurfaceSamples, sample_surface
from blender_addon.core.visibility import RELATIVE_TOLERANCE, visible_points
from flextraj_backend.bench.table import BenchRow

if TYPE_CHECKING:
    from mathutils import Vector

    from blender_addon.bridge.evaluated_meshes import MeshState

FRAMES, WIDTH, HEIGHT = 49, 720, 480
LIMITS = {10_000: 0.6, 100_000: 0.4}
# 100,000 ray casts take a second a frame: every twelfth frame shows the same ratio.
FRAME_STEPS = {10_000: 1, 100_000: 12}


@dataclass(frozen=True, eq=False)
class _Frame:
    """One frame of the shot: camera, points (N, 3) in world space and what renders."""

    camera: CameraFrame
    points: NDArray[np.float32]
    states: list[MeshState]


def rows(scene_path: Path) -> list[BenchRow]:
    """Measure 10,000 points on 49 frames and 100,000 points on five of them, at 720x480.

    The two take turns on each frame, so that both see the same machine.

    Raises:
        FlexTrajError: the scene cannot be read or has nothing to sample.
    """
    return [_measure(scene_path, points, limit) for points, limit in LIMITS.items()]


def cast_rays(camera: CameraFrame, points: NDArray[np.floating]) -> NDArray[np.bool_]:
    """The reference: one `scene.ray_cast` from the near clip plane to each point in view, (N,) bool."""
    import bpy

    context: Any = bpy.context
    scene, depsgraph = context.scene, context.evaluated_depsgraph_get()
    x, y, depth = camera.world_to_pixels(points).T
    visible = (x >= 0) & (x < camera.width) & (y >= 0) & (y < camera.height)
    visible &= (depth >= camera.clip_start) & (depth <= camera.clip_end)
    in_view = np.flatnonzero(visible)
    targets, depth = points[in_view], depth[in_view]
    if camera.projection is Projection.PERSPECTIVE:
        ways = targets - camera.camera_to_world[:3, 3]
    else:
        ways = -camera.camera_to_world[:3, 2] * depth[:, None]
    lengths = np.linalg.norm(ways, axis=1)
    starts = lengths * camera.clip_start / depth
    directions = ways / lengths[:, None]
    origins = targets - directions * (lengths - starts)[:, None]
    reaches = lengths * (1 - RELATIVE_TOLERANCE) - starts
    ray_cast = scene.ray_cast
    visible[in_view] = [
        not ray_cast(depsgraph, origin, direction, distance=reach)[0]
        for origin, direction, reach in zip(
            _vectors(origins), _vectors(directions), reaches.tolist(), strict=True
        )
    ]
    return visible


def _vectors(values: NDArray[np.floating]) -> Iterator[Vector]:
    from mathutils import Vector

    return map(Vector, values.tolist())


def _measure(scene_path: Path, point_count: int, limit: float) -> BenchRow:
    from blender_addon.bridge.occluders import occluder_meshes

    exact = reference = 0.0
    agreeing = triangles = frame_count = 0
    for frame in _frames(scene_path, point_count, FRAME_STEPS[point_count]):
        start = time.perf_counter()
        seen = visible_points(frame.camera, frame.points, occluder_meshes(frame.states))
        middle = time.perf_counter()
        expected = cast_rays(frame.camera, frame.points)
        reference += time.perf_counter() - middle
        exact += middle - start
        agreeing += np.count_nonzero(seen == expected)
        triangles = sum(len(state.topology.triangles) for state in frame.states)
        frame_count += 1
    agreement = agreeing / (point_count * frame_count)
    return BenchRow(
        work="exact visibility",
        points=point_count,
        seconds=exact / frame_count,
        reference="scene.ray_cast per point",
        reference_seconds=reference / frame_count,
        limit=limit,
        note=f"a frame, mean of {frame_count}; {triangles:,} triangles; agreement {agreement:.3%}",
    )


def _frames(scene_path: Path, point_count: int, step: int) -> Iterator[_Frame]:
    """Every `step`-th frame of the shot, while the scene shows it, with points spread over all surfaces."""
    from blender_addon.bridge.auto_camera import framing_camera
    from blender_addon.bridge.cameras import read_camera
    from blender_addon.bridge.evaluated_meshes import MeshReader
    from blender_addon.bridge.occluders import occluder_meshes
    from blender_addon.bridge.scene_state import evaluate_frame, preserved_scene
    from blender_addon.bridge.shot_sampling import choose_frames
    from flextraj_backend.scene_import import open_scene

    scene, view_layer = open_scene(scene_path)
    settings = SampleSettings(model_frames=FRAMES, width=WIDTH, height=HEIGHT, color=ColorSource.NONE)
    numbers = choose_frames(scene, settings).source_frames
    samples: SurfaceSamples | None = None
    with ExitStack() as stack:
        if scene.camera is None:
            stack.enter_context(framing_camera(scene, view_layer, settings, numbers))
        stack.enter_context(preserved_scene(scene, view_layer))
        reader = MeshReader(view_layer)
        for number in numbers[::step]:
            depsgraph = evaluate_frame(scene, view_layer, number)
            states = list(reader.read(depsgraph).values())
            corners = np.concatenate(
                [mesh.vertices[mesh.triangles] for mesh in occluder_meshes(states)]
            )  # (M, 3, 3)
            if samples is None:
                areas = np.linalg.norm(
                    np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
                )
                samples = sample_surface(areas, point_count, np.random.default_rng(0), scene_path.name)
            points = np.einsum("kn,nkd->nd", samples.barycentric, corners[samples.triangle])
            camera = read_camera(scene, scene.camera, depsgraph, WIDTH, HEIGHT)
            yield _Frame(camera, points.astype(np.float32), states)
