"""From an animated scene to a trajectory set: one `frame_set` a frame for all objects, one step at a time."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass

import bpy
import numpy as np
from numpy.typing import NDArray

from ..core.camera import CameraFrame, camera_track
from ..core.errors import ErrorCode, FlexTrajError
from ..core.frame_mapping import FrameMap, FrameRange, map_frames, shot_range
from ..core.sample_settings import ColorSource, SampleMode, SampleProgress, SampleSettings
from ..core.sampling import check_point_count
from ..core.silhouettes import NO_SEGMENT, segment_silhouettes
from ..core.trajectories import MAX_SAMPLES, MAX_SIDE, TrajectoryMeta, TrajectorySet
from ..core.version import package_version
from ..core.visibility import visible_points
from .appearance import MaterialColors
from .cameras import read_camera
from .evaluated_meshes import MeshKey, MeshReader, MeshState
from .motion_range import motion_range
from .occluders import occluder_meshes
from .point_tracker import PlacedPoints, PointRun, PointTracker, number_points, place_points
from .scene_state import evaluated_depsgraph, preserved_scene, set_frame
from .subjects import Patch, Subjects, SurfaceOwner, choose_subjects, resolve_objects, surface_owner

PRODUCER = "flextraj sample"
MAX_SILHOUETTE_SIZE = 500_000_000
"""Segments x height x width above which the optional silhouettes are left out (thousands of objects)."""


@dataclass(frozen=True, eq=False)
class TrackedFrame:
    """One frame, evaluated and projected.

    Attributes:
        camera: of the frame.
        states: every mesh that renders.
        tracker: holds the vertices of the frame until the next one.
        positions: (N, 3) float32, x and y in pixels and planar depth.
        present: (N,) bool, False where a point's mesh does not exist on this frame.
    """

    camera: CameraFrame
    states: Mapping[MeshKey, MeshState]
    tracker: PointTracker
    positions: NDArray[np.float32]
    present: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class ShotPlan:
    """What is decided on the first frame, which the scene shows when the plan is made."""

    frames: FrameMap
    subjects: Subjects
    points: PlacedPoints
    color: NDArray[np.uint8] | None
    width: int | None
    height: int | None


def sample_shot(
    scene: bpy.types.Scene, view_layer: bpy.types.ViewLayer, settings: SampleSettings
) -> Generator[SampleProgress, None, TrajectorySet]:
    """Sample a shot step by step: yields after each frame, returns the trajectory set.

    Closing the generator cancels; the scene is left as it was in any case.

    Raises:
        FlexTrajError: see `ErrorCode`: NO_CAMERA, NO_SUBJECT, FRAME_RANGE, TOPOLOGY, GEOMETRY, REQUEST.
    """
    check_settings(settings)
    with preserved_scene(scene, view_layer):
        frames = choose_frames(scene, settings)
        reader = MeshReader(view_layer)
        plan = plan_shot(scene, view_layer, settings, frames, reader)
        seg_id, traj_id = number_points(plan.points, plan.subjects)
        frame_count, point_count = len(frames.source_frames), plan.points.count
        if frame_count * point_count > MAX_SAMPLES:
            raise FlexTrajError(
                f"{frame_count} frames of {point_count} points are more than fit in a trajectory set: "
                "ask for fewer points or frames.",
                ErrorCode.MEMORY,
            )
        positions = np.empty((frame_count, point_count, 3), dtype=np.float32)
        visible = np.empty((frame_count, point_count), dtype=bool)
        cameras: list[CameraFrame] = []
        silhouette = None
        for index, frame in enumerate(track_frames(scene, view_layer, settings, plan, reader)):
            occluders = occluder_meshes(frame.states.values())
            positions[index] = frame.positions
            visible[index] = frame.present & visible_points(
                frame.camera, frame.tracker.world_positions(), occluders
            )
            cameras.append(frame.camera)
            if index == 0:
                silhouette = _silhouettes(frame, plan.subjects)
            yield SampleProgress(index + 1, frame_count)
    return TrajectorySet(
        positions=positions,
        visible=visible,
        seg_id=seg_id,
        traj_id=traj_id,
        color=plan.color,
        silhouette=silhouette,
        meta=TrajectoryMeta(
            width=cameras[0].width,
            height=cameras[0].height,
            fps=frames.fps,
            source_frames=frames.source_frames,
            segments=plan.subjects.segments,
            camera=camera_track(cameras),
            aligned=settings.aligned,
            seed=settings.seed,
            producer=PRODUCER,
            producer_version=package_version(),
        ),
    )


def run_to_end(
    steps: Generator[SampleProgress, None, TrajectorySet],
    on_progress: Callable[[SampleProgress], None] | None = None,
) -> TrajectorySet:
    """Run `sample_shot` without stopping; the scene is restored also when `on_progress` raises."""
    try:
        while True:
            progress = next(steps)
            if on_progress is not None:
                on_progress(progress)
    except StopIteration as finished:
        return finished.value
    finally:
        steps.close()


def check_settings(settings: SampleSettings) -> None:
    """Check what can be checked without the scene. Raises FlexTrajError."""

    def must(condition: bool, sentence: str) -> None:
        if not condition:
            raise FlexTrajError(sentence, ErrorCode.REQUEST)

    must(settings.seed >= 0, f"The seed {settings.seed} is negative: choose a whole number from 0 on.")
    if settings.points is not None:
        must(settings.points >= 1, f"{settings.points} points cannot be sampled: ask for at least 1.")
        check_point_count(settings.points, "Each segment")
    elif settings.mode is SampleMode.SURFACE:
        must(
            settings.density is not None and np.isfinite(settings.density) and settings.density > 0,
            "The density must be a number of points per square unit above zero.",
        )
    sides = (settings.width, settings.height)
    if sides != (None, None):
        must(
            all(side is not None and 1 <= side <= MAX_SIDE for side in sides),
            f"The size must be a width and a height of 1 to {MAX_SIDE} pixels.",
        )


def choose_frames(scene: bpy.types.Scene, settings: SampleSettings) -> FrameMap:
    """Choose the shot's scene frames. Raises FlexTrajError (FRAME_RANGE, NO_SUBJECT)."""
    return map_frames(
        _scene_range(scene, settings),
        scene.render.fps / scene.render.fps_base,
        settings.model_frames,
        settings.model_fps,
    )


def _scene_range(scene: bpy.types.Scene, settings: SampleSettings) -> FrameRange:
    if settings.objects:
        named = resolve_objects(scene, settings.objects)
        objects = [scene.objects[name] for name in named] + [ob for obs in named.values() for ob in obs]
    else:
        objects = list(scene.objects)
    return shot_range(
        FrameRange(float(scene.frame_start), float(scene.frame_end)),
        motion_range(objects),
        settings.first_frame,
        settings.last_frame,
    )


def plan_shot(
    scene: bpy.types.Scene,
    view_layer: bpy.types.ViewLayer,
    settings: SampleSettings,
    frames: FrameMap,
    reader: MeshReader,
) -> ShotPlan:
    """Go to the first frame, choose subjects and place the points on them."""
    set_frame(scene, frames.source_frames[0])
    depsgraph = evaluated_depsgraph(scene, view_layer)
    # Also the cheapest moment to find out that there is no camera.
    read_camera(scene, _camera(scene, settings), depsgraph, settings.width, settings.height)
    surfaces: list[SurfaceOwner] = [surface_owner(live) for live in reader.live_meshes(depsgraph)]
    states = reader.read(depsgraph)
    subjects = choose_subjects(scene, settings, surfaces, states)
    points = place_points(subjects, states, settings)
    color = None
    if settings.color is ColorSource.MATERIAL:
        color = _colors(depsgraph, reader, states, points)
    return ShotPlan(frames, subjects, points, color, settings.width, settings.height)


def track_frames(
    scene: bpy.types.Scene,
    view_layer: bpy.types.ViewLayer,
    settings: SampleSettings,
    plan: ShotPlan,
    reader: MeshReader,
) -> Iterator[TrackedFrame]:
    """Evaluate and project every frame of a plan, in order; the scene still shows the first one."""
    tracker = PointTracker(plan.points)
    for index, number in enumerate(plan.frames.source_frames):
        if index > 0:
            set_frame(scene, number)
        depsgraph = evaluated_depsgraph(scene, view_layer)
        camera = read_camera(scene, _camera(scene, settings), depsgraph, plan.width, plan.height)
        states = reader.read(depsgraph)
        positions = np.empty((plan.points.count, 3), dtype=np.float32)
        present = tracker.project(states, camera, number, positions)
        yield TrackedFrame(camera, states, tracker, positions, present)


def _camera(scene: bpy.types.Scene, settings: SampleSettings) -> bpy.types.Object | None:
    if settings.camera is None:
        return scene.camera
    camera = scene.objects.get(settings.camera)
    if camera is None:
        known = ", ".join(ob.name for ob in scene.objects if ob.type == "CAMERA")
        raise FlexTrajError(
            f"There is no camera '{settings.camera}' in the scene: "
            + (f"choose one of {known}." if known else "add one first."),
            ErrorCode.NO_CAMERA,
        )
    return camera


def _colors(
    depsgraph: bpy.types.Depsgraph,
    reader: MeshReader,
    states: Mapping[MeshKey, MeshState],
    points: PlacedPoints,
) -> NDArray[np.uint8]:
    """Look up the colour of every point on the first frame, (N, 3) uint8."""
    materials = MaterialColors()
    colors = np.empty((points.count, 3), dtype=np.uint8)
    runs_of: dict[MeshKey, list[PointRun]] = {}
    for run in points.runs:
        runs_of.setdefault(run.key, []).append(run)
    for live in reader.live_meshes(depsgraph):
        for run in runs_of.get(live.key, ()):
            colors[run.points] = materials.colors(
                live, states[live.key].topology, run.triangle, run.barycentric
            )
    return colors


def _silhouettes(frame: TrackedFrame, subjects: Subjects) -> NDArray[np.bool_] | None:
    """Return each segment's exact silhouette on this frame, (S, H, W); None where it would be too large."""
    segment_count = len(subjects.segments)
    if segment_count * frame.camera.width * frame.camera.height > MAX_SILHOUETTE_SIZE:
        return None
    patches_of: dict[MeshKey, list[Patch]] = {}
    for patch in subjects.patches:
        patches_of.setdefault(patch.key, []).append(patch)
    segment_of_triangle = []
    for state in frame.states.values():
        segments = np.full(len(state.topology.triangles), NO_SEGMENT, dtype=np.intp)
        for patch in patches_of.get(state.key, ()):
            segments[patch.triangles] = patch.segment
        segment_of_triangle.append(segments)
    return segment_silhouettes(
        frame.camera, occluder_meshes(frame.states.values()), segment_of_triangle, segment_count
    )
