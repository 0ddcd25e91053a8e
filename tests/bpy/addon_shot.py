"""The add-on in an empty scene with a backend of plain Python, and a shot that is ready to be generated."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bpy
from fake_rendering import FakeBackend

import blender_addon
from blender_addon import session
from blender_addon.bridge.shot_request import plan_shot
from blender_addon.bridge.shot_sampling import run_to_end, sample_shot
from blender_addon.client.job_records import JobRecords
from blender_addon.client.job_reports import RenderOrder
from blender_addon.core.trajectories import TrajectorySet
from blender_addon.properties import scene_settings
from blender_addon.sampling_slot import show_sampling

MODEL_FRAMES = 5
ops: Any = bpy.ops


@contextmanager
def registered_addon(folder: Path) -> Iterator[FakeBackend]:
    """Register the add-on; what it writes goes below `folder`."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    blender_addon.register()
    fake = FakeBackend()
    try:
        use_backend(fake, folder)
        yield fake
    finally:
        blender_addon.unregister()


def use_backend(fake: FakeBackend, folder: Path) -> session.Session:
    """Begin a session as a Blender that was just started has it; the one before ends."""
    new = session.Session(fake, JobRecords(folder / "records"))
    session.replace_session(new).close()
    return new


class ShotSettings:
    """Settings of a scene that a failed test can show after the scene was freed: Blender's own cannot."""

    def __init__(self, settings: Any) -> None:
        object.__setattr__(self, "_settings", settings)

    def __repr__(self) -> str:
        return "ShotSettings"

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "_settings"), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(object.__getattribute__(self, "_settings"), name, value)


def moving_cube(photo: Path) -> Any:
    """A cube that moves in front of a camera; return settings that are complete."""
    scene: Any = bpy.context.scene
    bpy.ops.mesh.primitive_cube_add(size=1.0)
    cube: Any = bpy.context.object
    cube.name = "Dancer"
    cube.keyframe_insert("location", frame=11)
    cube.location.x = 1.0
    cube.keyframe_insert("location", frame=15)
    bpy.ops.object.camera_add(location=(0, -6, 0), rotation=(1.5708, 0, 0))
    scene.camera = bpy.context.object
    scene.frame_set(3)
    settings: Any = ShotSettings(scene_settings(scene))
    settings.source = "CHARACTER"
    settings.character = cube
    settings.photo = str(photo)
    settings.points = 64
    settings.frames = MODEL_FRAMES
    return settings


def begin_sampling(settings: Any) -> None:
    """Sample until the scene stands on another frame, as it does between two events of a window."""
    context: Any = bpy.context
    before = context.scene.frame_current
    sampling = sample_shot(context.scene, context.view_layer, plan_shot(context, settings).sample)
    session.current_session().begin_sampling(sampling)
    while context.scene.frame_current == before:
        show_sampling(next(sampling))


def order_of(settings: Any, folder: Path) -> tuple[RenderOrder, TrajectorySet]:
    """What Generate hands over."""
    context: Any = bpy.context
    plan = plan_shot(context, settings)
    trajectories = run_to_end(sample_shot(context.scene, context.view_layer, plan.sample))
    return plan.order(trajectories, folder), trajectories


def make_video() -> None:
    assert ops.flextraj.generate() == {"FINISHED"}


def strips() -> Any:
    scene: Any = bpy.context.scene
    editor = scene.sequence_editor
    return editor.strips if hasattr(editor, "strips") else editor.sequences
