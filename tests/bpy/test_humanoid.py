"""The procedural humanoid inside Blender: rig, motion, scene."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

bpy: Any = pytest.importorskip("bpy")

from flextraj_backend.demo.humanoid import Humanoid, HumanoidProportions, add_humanoid  # noqa: E402
from flextraj_backend.demo.motions import FPS, FRAMES, GROOVE, apply_motion  # noqa: E402
from flextraj_backend.demo.scene import HEIGHT, WIDTH, build_scene, render_stills, save_blend  # noqa: E402

pytestmark = pytest.mark.blender
COARSE = 0.02


@pytest.fixture
def humanoid() -> Humanoid:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    return add_humanoid(bpy.data.scenes[0], HumanoidProportions(), "Test", voxel=COARSE)


def _deformed(humanoid: Humanoid) -> np.ndarray:
    """(V, 3) world positions of the evaluated mesh."""
    bpy.context.view_layer.update()
    depsgraph = bpy.context.evaluated_depsgraph_get()
    mesh: Any = humanoid.mesh.evaluated_get(depsgraph).data
    positions = np.empty(len(mesh.vertices) * 3, np.float32)
    mesh.attributes["position"].data.foreach_get("vector", positions)
    return positions.reshape(-1, 3)


def test_turning_the_head_bone_turns_the_head_and_leaves_the_feet(humanoid: Humanoid) -> None:
    rest = _deformed(humanoid)
    armature: Any = humanoid.armature
    bone = armature.pose.bones["head"]
    bone.rotation_mode = "XYZ"
    bone.rotation_euler = (0.0, np.pi / 2, 0.0)  # a bone's own Y axis runs along it, here upwards
    moved = np.linalg.norm(_deformed(humanoid) - rest, axis=1)
    height = rest[:, 2] / rest[:, 2].max()
    assert np.median(moved[height > 0.9]) > 0.05
    assert moved[height < 0.7].max() < 1e-4


def test_the_character_can_be_posed_from_the_scene_it_was_linked_to(humanoid: Humanoid) -> None:
    armature: Any = humanoid.armature
    subject: Any = humanoid.mesh
    assert subject.parent == armature
    assert {"hips", "spine", "chest", "neck", "head", "upper_arm.L", "hand.R", "foot.L"} <= set(
        armature.data.bones.keys()
    )
    assert bpy.context.mode == "OBJECT"
    names = [slot.material.name for slot in subject.material_slots]
    assert len(set(names)) == 6


def test_the_motion_fills_49_frames_and_ends_as_it_began(humanoid: Humanoid) -> None:
    apply_motion(humanoid.armature, GROOVE)
    scene = bpy.data.scenes[0]
    shots = []
    for frame in (1, 9, FRAMES):
        scene.frame_set(frame)
        shots.append(_deformed(humanoid))
    start, sway, end = shots
    assert np.abs(end - start).max() < 1e-4
    assert np.linalg.norm(sway - start, axis=1).max() > 0.03
    armature: Any = humanoid.armature
    start_frame, end_frame = armature.animation_data.action.frame_range
    assert (start_frame, end_frame) == (1, FRAMES)


def test_the_scene_renders_and_opens_again_as_a_blend_file(tmp_path: Path) -> None:
    demo = build_scene()
    assert (demo.scene.render.fps, demo.scene.frame_start, demo.scene.frame_end) == (FPS, 1, FRAMES)
    stills = render_stills(demo, (1, 22), percentage=25, samples=2)
    assert stills.shape == (2, HEIGHT // 4, WIDTH // 4, 3)
    assert np.abs(stills[1].astype(int) - stills[0]).max() > 100
    # The hips' camera rows show the shirt, the corner shows the empty background.
    assert stills[0][-1, :, 0].max() - stills[0][0, 0, 0] > 50
    path = save_blend(tmp_path / "scene.blend")
    subject = demo.subject
    bpy.ops.wm.open_mainfile(filepath=str(path))
    scene = bpy.data.scenes[0]
    assert scene.camera is not None
    assert scene.objects[subject].type == "MESH"
