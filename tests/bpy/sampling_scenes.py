"""Small scenes for the tests of sampling, and what a test wants to know about a scene afterwards."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack
from typing import Any

import bpy
import numpy as np
from numpy.typing import NDArray

from blender_addon.bridge.shot_sampling import run_to_end, sample_shot
from blender_addon.core.sample_settings import SampleProgress, SampleSettings
from blender_addon.core.trajectories import TrajectorySet


def scene() -> Any:
    return bpy.context.scene


def view_layer() -> Any:
    return bpy.context.view_layer


def add_camera(location=(0.0, -10.0, 0.0), rotation=(np.pi / 2, 0.0, 0.0)) -> Any:
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    camera.location, camera.rotation_euler = location, rotation
    scene().collection.objects.link(camera)
    scene().camera = camera
    return camera


def add_cube(name: str = "Cube", location=(0.0, 0.0, 0.0), size: float = 2.0) -> Any:
    bpy.ops.mesh.primitive_cube_add(size=size, location=location)
    cube: Any = bpy.context.object
    cube.name = name
    return cube


def animate_location(ob: Any, first: int, last: int, end=(2.0, 0.0, 0.0)) -> None:
    """Move linearly from where the object is."""
    context: Any = bpy.context
    edit = context.preferences.edit
    before, edit.keyframe_new_interpolation_type = edit.keyframe_new_interpolation_type, "LINEAR"
    ob.keyframe_insert("location", frame=first)
    start = ob.location.copy()
    ob.location = end
    ob.keyframe_insert("location", frame=last)
    ob.location = start
    edit.keyframe_new_interpolation_type = before


def two_cubes() -> None:
    """Two moving cubes whose names are not in the order of their making."""
    add_camera()
    animate_location(add_cube("Zebra", (-2, 0, 0)), 1, 9, (-1, 0, 0))
    animate_location(add_cube("Ant", (2, 0, 0)), 1, 9, (3, 1, 0))


def sample(**settings: Any) -> TrajectorySet:
    """Sample the current scene with few points and frames."""
    wanted = {"points": 200, "model_frames": 5, "width": 180, "height": 120, **settings}
    return run_to_end(sample_shot(scene(), view_layer(), SampleSettings(**wanted)))


def sample_until(steps: Generator[SampleProgress, None, TrajectorySet], done: int) -> None:
    """Go on sampling until so many frames are complete; closes the steps where that fails."""
    with ExitStack() as on_failure:
        on_failure.callback(steps.close)
        while next(steps).done < done:
            pass
        on_failure.pop_all()


def world_positions(shot: TrajectorySet) -> NDArray[np.float64]:
    """Lift a shot back to world space, (T, N, 3)."""
    camera = shot.meta.camera
    assert camera is not None
    local = camera.unproject(shot.positions) * [1, -1, -1]
    rotation, origin = camera.camera_to_world[:, :3, :3], camera.camera_to_world[:, :3, 3]
    return np.einsum("tij,tnj->tni", rotation, local) + origin[:, None]


def state_of_scene() -> dict[str, Any]:
    """Everything that sampling must leave as it was."""
    view_layer().update()
    return {
        "frame": (scene().frame_current, round(scene().frame_subframe, 6)),
        "camera": scene().camera.name if scene().camera else None,
        "range": (scene().frame_start, scene().frame_end),
        "objects": {
            ob.name: (
                ob.hide_viewport,
                ob.hide_render,
                ob.hide_get(),
                ob.select_get(),
                tuple(round(value, 6) for row in ob.matrix_world for value in row),
            )
            for ob in scene().objects
        },
        "collections": {
            collection.name: (collection.hide_viewport, collection.hide_render)
            for collection in bpy.data.collections
        },
        "active": view_layer().objects.active and view_layer().objects.active.name,
        "data": (len(bpy.data.objects), len(bpy.data.meshes), len(bpy.data.cameras), len(bpy.data.actions)),
    }
