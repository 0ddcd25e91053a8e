"""From an animated scene to a trajectory set: one `frame_set` a frame for all objects, one step at a time."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TypeVar, cast

import bpy
import numpy as np
from numpy.typing import NDArray

from ..core.camera import CameraFrame, camera_track
from ..core.errors import ErrorCode, FlexTrajError
from ..core.frame_mapping import FrameMap, FrameRange, map_frames, shot_range
from ..core.pipeline import overlap_steps
from ..core.rasterizer import OccluderMesh
from ..core.sample_settings import ColorSource, SampleMode, SampleProgress, SampleSettings
from ..core.sampling import check_point_count
from ..core.silhouettes import NO_SEGMENT, segment_silhouettes
from ..core.tracking import project_points, world_points
from ..core.trajectories import MAX_SAMPLES, MAX_SIDE, TrajectoryMeta, TrajectorySet
from ..core.version import package_version
from ..core.visibility import visible_points
from .cameras import CameraReader, read_camera
from .density import read_density
from .evaluated_meshes import MeshKey, MeshReader, MeshState
from .motion_range import motion_range
from .occluders import occluder_meshes
from .point_colors import look_up_colors
from .point_tracker import (
    FollowedMeshes,
    MeshFollower,
    PlacedPoints,
    check_finite,
    number_points,
    place_points,
)
from .scene_state import evaluate_frame, preserved_scene, shows_frame
from .simulations import SimulationPlayer, walk_to_start
from .subjects import Patch, Subjects, SurfaceOwner, choose_subjects, resolve_objects, surface_owner

Value = TypeVar("Value")

PRODUCER = "flextraj sample"
THREADS = 2
"""Project and test points of past frames while Blender evaluates the next one."""
MAX_SILHOUETTE_SIZE = 500_000_000
"""Segments x height x width above which the optional silhouettes are left out (thousands of objects)."""


@dataclass(frozen=True, eq=False)
class EvaluatedFrame:
    """One frame, copied out of Blender: what follows may run in any thread.

    Attributes:
        number: scene frame.
        camera: of the frame.
        states: every mesh that renders.
        followed: the meshes with points on them.
    """

    number: float
    camera: CameraFrame
    states: Mapping[MeshKey, MeshState]
    followed: FollowedMeshes


@dataclass(frozen=True, eq=False)
class TrackedFrame:
    """The points of one frame.

    Attributes:
        camera: of the frame.
        positions: (N, 3) float32, x and y in pixels and planar depth.
        visible: (N,) bool.
        silhouette: (S, H, W) bool, or None where it was not drawn.
    """

    camera: CameraFrame
    positions: NDArray[np.float32]
    visible: NDArray[np.bool_]
    silhouette: NDArray[np.bool_] | None


@dataclass(frozen=True, eq=False)
class ShotPlan:
    """What is decided on the first frame, which the scene shows when the plan is made."""

    frames: FrameMap
    subjects: Subjects
    points: PlacedPoints


def sample_shot(
    scene: bpy.types.Scene, view_layer: bpy.types.ViewLayer, settings: SampleSettings
) -> Generator[SampleProgress, None, TrajectorySet]:
    """Sample a shot step by step, return the trajectory set.

    A step evaluates one frame, or reads one image; where only threads are waited for it ends after a moment,
    with the progress of the step before. Closing the generator cancels; the scene is left as it was in any
    case.

    Raises:
        FlexTrajError: see `ErrorCode`: NO_CAMERA, NO_SUBJECT, FRAME_RANGE, TOPOLOGY, GEOMETRY, REQUEST.
    """
    check_settings(settings)
    return (yield from _sample_frames(scene, view_layer, settings, choose_frames(scene, settings)))


def sample_first_frame(
    scene: bpy.types.Scene, view_layer: bpy.types.ViewLayer, settings: SampleSettings
) -> Generator[SampleProgress, None, TrajectorySet]:
    """Like `sample_shot`, but only its first frame: the same points and silhouettes, for placing them."""
    check_settings(settings)
    frames = choose_frames(scene, settings)
    first = FrameMap(frames.source_frames[:1], frames.fps)
    return (yield from _sample_frames(scene, view_layer, settings, first))


def _sample_frames(
    scene: bpy.types.Scene, view_layer: bpy.types.ViewLayer, settings: SampleSettings, frames: FrameMap
) -> Generator[SampleProgress, None, TrajectorySet]:
    with preserved_scene(scene, view_layer):
        frame_count = len(frames.source_frames)
        progress = SampleProgress(0, frame_count)
        yield progress
        yield from _each_as(progress, walk_to_start(scene, frames.source_frames[0]))
        reader = MeshReader(view_layer)
        plan = plan_shot(scene, view_layer, settings, frames, reader)
        seg_id, traj_id = number_points(plan.points, plan.subjects)
        point_count = plan.points.count
        if frame_count * point_count > MAX_SAMPLES:
            raise FlexTrajError(
                f"{frame_count} frames of {point_count} points are more than fit in a trajectory set: "
                "ask for fewer points or frames.",
                ErrorCode.MEMORY,
            )
        yield progress
        color = None
        if settings.color is ColorSource.MATERIAL:
            color = yield from _each_as(progress, look_up_colors(view_layer, reader, plan.points))
            yield progress
        positions = np.empty((frame_count, point_count, 3), dtype=np.float32)
        visible = np.empty((frame_count, point_count), dtype=bool)
        cameras: list[CameraFrame] = []
        silhouette = None
        evaluated = evaluate_frames(scene, view_layer, settings, plan, reader)
        with closing(overlap_steps(evaluated, partial(_track, plan), THREADS)) as tracked:
            for frame in tracked:
                if frame is not None:
                    index = progress.done
                    positions[index] = frame.positions
                    visible[index] = frame.visible
                    cameras.append(frame.camera)
                    silhouette = frame.silhouette if index == 0 else silhouette
                    progress = SampleProgress(index + 1, frame_count)
                yield progress
    return TrajectorySet(
        positions=positions,
        visible=visible,
        seg_id=seg_id,
        traj_id=traj_id,
        color=color,
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
    steps: Generator[SampleProgress, None, Value],
    on_progress: Callable[[SampleProgress], None] | None = None,
) -> Value:
    """Run `sample_shot` without stopping; the scene is restored also when `on_progress` raises."""
    last = None
    try:
        while True:
            progress = next(steps)
            if on_progress is not None and progress != last:
                on_progress(progress)
            last = progress
    except StopIteration as finished:
        return finished.value
    finally:
        steps.close()


def _each_as(
    progress: SampleProgress, steps: Generator[None, None, Value]
) -> Generator[SampleProgress, None, Value]:
    """Yield the same progress for every step; return what the steps return."""
    with closing(steps):
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return end.value
            yield progress


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
    for name, points in ((wanted.name, wanted.points) for wanted in settings.densities):
        if points is not None:
            must(points >= 1, f"'{name}' cannot get {points} points: ask for at least 1.")
            check_point_count(points, name)
    sides = (settings.width, settings.height)
    if sides != (None, None):
        must(
            all(side is not None and 1 <= side <= MAX_SIDE for side in sides),
            f"The size must be a width and a height of 1 to {MAX_SIDE} pixels.",
        )


def choose_frames(scene: bpy.types.Scene, settings: SampleSettings) -> FrameMap:
    """Choose the shot's scene frames. Raises FlexTrajError (FRAME_RANGE, NO_SUBJECT, NO_CAMERA)."""
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
        objects += _shot_cameras(scene, settings)
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
    depsgraph = evaluate_frame(scene, view_layer, frames.source_frames[0])
    # Also the cheapest moment to find out that there is no camera.
    read_camera(scene, shot_camera(scene, settings), depsgraph, settings.width, settings.height)
    surfaces: list[SurfaceOwner] = [surface_owner(live) for live in reader.live_meshes(depsgraph)]
    states = reader.read(depsgraph)
    subjects = choose_subjects(scene, settings, surfaces, states)
    density = read_density(scene, settings, reader.live_meshes(depsgraph))
    return ShotPlan(frames, subjects, place_points(subjects, states, settings, density))


def evaluate_frames(
    scene: bpy.types.Scene,
    view_layer: bpy.types.ViewLayer,
    settings: SampleSettings,
    plan: ShotPlan,
    reader: MeshReader,
) -> Generator[EvaluatedFrame, None, None]:
    """Evaluate every frame of a plan, in order; the first only where the scene does not show it any more."""
    follower = MeshFollower(plan.points)
    cameras = CameraReader(scene, settings.width, settings.height)
    simulations = SimulationPlayer(scene)
    for index, number in enumerate(plan.frames.source_frames):
        simulations.play_to(number)
        if index > 0 or not shows_frame(scene, number):
            depsgraph = evaluate_frame(scene, view_layer, number)
        else:
            depsgraph = cast(bpy.types.Depsgraph, view_layer.depsgraph)
        camera = cameras.read(shot_camera(scene, settings), depsgraph)
        states = reader.read(depsgraph)
        yield EvaluatedFrame(number, camera, states, follower.follow(states, number))


def project_frame(plan: ShotPlan, frame: EvaluatedFrame) -> NDArray[np.float32]:
    """Return where the plan's points are on a frame, (N, 3) float32: x and y in pixels and planar depth.

    Raises:
        FlexTrajError: a mesh has a vertex that is not a finite number.
    """
    positions = project_points(frame.followed.meshes, plan.points.binding, frame.camera.world_to_raster)
    check_finite(positions, plan.points, frame.number)
    return positions


def _track(plan: ShotPlan, frame: EvaluatedFrame) -> TrackedFrame:
    """Project the points of a frame and test what the camera sees of them."""
    positions = project_frame(plan, frame)
    binding = plan.points.binding
    occluders = occluder_meshes(frame.states.values())
    visible = visible_points(frame.camera, world_points(frame.followed.meshes, binding), occluders)
    visible &= frame.followed.present[binding.mesh]
    is_first = frame.number == plan.frames.source_frames[0]
    silhouette = draw_silhouettes(frame.camera, frame.states, occluders, plan.subjects) if is_first else None
    return TrackedFrame(frame.camera, positions, visible, silhouette)


def shot_camera(scene: bpy.types.Scene, settings: SampleSettings) -> bpy.types.Object | None:
    """The camera that sees the shot. Raises FlexTrajError where the one asked for is not there."""
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


def _shot_cameras(scene: bpy.types.Scene, settings: SampleSettings) -> list[bpy.types.Object]:
    """Return the cameras of the shot: the chosen one, or the scene's and those its markers switch to."""
    cameras = [shot_camera(scene, settings)]
    if settings.camera is None:
        cameras += [marker.camera for marker in scene.timeline_markers]
    return [camera for camera in cameras if camera is not None]


def draw_silhouettes(
    camera: CameraFrame,
    states: Mapping[MeshKey, MeshState],
    occluders: Sequence[OccluderMesh],
    subjects: Subjects,
) -> NDArray[np.bool_] | None:
    """Return each segment's exact silhouette on a frame, (S, H, W); None where it would be too large.

    Args:
        states: every mesh that renders; `occluders` are the same in world space.
    """
    segment_count = len(subjects.segments)
    if segment_count * camera.width * camera.height > MAX_SILHOUETTE_SIZE:
        return None
    patches_of: dict[MeshKey, list[Patch]] = {}
    for patch in subjects.patches:
        patches_of.setdefault(patch.key, []).append(patch)
    segment_of_triangle = []
    for state in states.values():
        segments = np.full(len(state.topology.triangles), NO_SEGMENT, dtype=np.intp)
        for patch in patches_of.get(state.key, ()):
            segments[patch.triangles] = patch.segment
        segment_of_triangle.append(segments)
    return segment_silhouettes(camera, occluders, segment_of_triangle, segment_count)
