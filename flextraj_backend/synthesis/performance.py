"""One cast's performance of a scene: points followed over the frames by the add-on's own sampling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from blender_addon.core.camera import CameraFrame
from blender_addon.core.frame_mapping import FrameMap
from blender_addon.core.rasterizer import OccluderMesh
from blender_addon.core.sample_settings import ColorSource, SampleSettings, SegmentBy
from blender_addon.core.tracking import world_points
from flextraj_backend.synthesis.color_encoding import encode_srgb
from flextraj_backend.synthesis.raster_renderer import MeshSurface
from flextraj_backend.synthesis.scene import SceneRecipe

if TYPE_CHECKING:
    from blender_addon.bridge.evaluated_meshes import MeshKey
    from blender_addon.bridge.point_tracker import PlacedPoints
    from flextraj_backend.synthesis.stage import Performer, Stage


@dataclass(frozen=True, eq=False)
class Performance:
    """What a cast does, S subjects with N points altogether over T frames.

    Attributes:
        cameras: (T).
        meshes: (T) the subjects' meshes in world space, in the same order on every frame.
        surfaces: what these meshes look like.
        segment_of_mesh: (meshes) index of each mesh's subject.
        names: (S) of the subjects.
        positions: (T, N, 3) float32 pixels and depth.
        places: (T, N, 3) float32 world space.
        seg_id, traj_id: (N,) uint16.
        color: (N, 3) uint8 sRGB of the surface.
    """

    cameras: tuple[CameraFrame, ...]
    meshes: tuple[tuple[OccluderMesh, ...], ...]
    surfaces: tuple[MeshSurface, ...]
    segment_of_mesh: tuple[int, ...]
    names: tuple[str, ...]
    positions: NDArray[np.float32]
    places: NDArray[np.float32]
    seg_id: NDArray[np.uint16]
    traj_id: NDArray[np.uint16]
    color: NDArray[np.uint8]


def perform(stage: Stage, recipe: SceneRecipe, performers: Sequence[Performer]) -> Performance:
    """Follow points on what is on the stage (see `Stage.playing`)."""
    from blender_addon.bridge.evaluated_meshes import MeshReader
    from blender_addon.bridge.occluders import occluder_meshes
    from blender_addon.bridge.point_tracker import number_points
    from blender_addon.bridge.shot_sampling import evaluate_frames, plan_shot, project_frame

    settings = SampleSettings(
        segment_by=SegmentBy.COLLECTION,
        points=recipe.points,
        width=recipe.width,
        height=recipe.height,
        seed=recipe.seed,
        color=ColorSource.NONE,
    )
    reader = MeshReader(stage.view_layer)
    frames = FrameMap(tuple(float(number + 1) for number in range(recipe.frames)), recipe.fps)
    plan = plan_shot(stage.scene, stage.view_layer, settings, frames, reader)
    seg_id, traj_id = number_points(plan.points, plan.subjects)
    surface_of = {key: surface for performer in performers for key, surface in performer.surfaces.items()}
    segment_of = {patch.key: patch.segment for patch in plan.subjects.patches}
    keys = tuple(segment_of)
    cameras, meshes = [], []
    positions = np.empty((recipe.frames, plan.points.count, 3), np.float32)
    places = np.empty_like(positions)
    evaluated = evaluate_frames(stage.scene, stage.view_layer, settings, plan, reader)
    for index, frame in enumerate(evaluated):
        positions[index] = project_frame(plan, frame)
        places[index] = world_points(frame.followed.meshes, plan.points.binding)
        cameras.append(frame.camera)
        meshes.append(tuple(occluder_meshes([frame.states[key] for key in keys])))
    return Performance(
        cameras=tuple(cameras),
        meshes=tuple(meshes),
        surfaces=tuple(surface_of[key] for key in keys),
        segment_of_mesh=tuple(segment_of[key] for key in keys),
        names=tuple(segment.name for segment in plan.subjects.segments),
        positions=positions,
        places=places,
        seg_id=seg_id,
        traj_id=traj_id,
        color=_colors(plan.points, surface_of),
    )


def _colors(points: PlacedPoints, surface_of: Mapping[MeshKey, MeshSurface]) -> NDArray[np.uint8]:
    colors = np.empty((points.count, 3), np.uint8)
    for run in points.runs:
        exact = np.zeros(len(run.triangle))
        albedo = surface_of[run.key].albedo.linear(run.triangle, run.barycentric, exact)
        colors[run.points] = encode_srgb(albedo)
    return colors
