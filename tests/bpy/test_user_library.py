"""The user's own characters and motions in synthetic clips."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import bpy
import numpy as np
import pytest

from blender_addon.core.errors import RequestError
from flextraj_backend.synthesis.actions.recipe import ActionName, ActionRecipe
from flextraj_backend.synthesis.clip_builder import build_clip
from flextraj_backend.synthesis.retargeting import NEEDED, body_part, body_parts
from flextraj_backend.synthesis.scene import SceneOptions, draw_scene
from flextraj_backend.synthesis.user_library import (
    LibraryAction,
    LibraryCharacter,
    import_character,
    library_motion,
    scan_library,
)

ASSETS = Path(
    os.environ.get(
        "FLEXTRAJ_ASSETS_DIR", str(Path(__file__).resolve().parents[2].parent / "shared" / "assets")
    )
)
needs_assets = pytest.mark.skipif(not (ASSETS / "Xbot.glb").is_file(), reason="no character assets here")
RECIPE = draw_scene(
    np.random.default_rng(0),
    SceneOptions(
        width=72,
        height=48,
        frames=5,
        fps=8.0,
        points=150,
        background_points=60,
        characters=2,
        subject_weights=(1.0,),
        kind_weights=(1.0, 0.0, 0.0),
    ),
)


def test_bones_of_mixamo_and_bvh_are_known() -> None:
    assert body_part("mixamorig:LeftUpLeg") == "thigh.L"
    assert body_part("RightForeArm") == "forearm.R"
    assert body_part("upper_arm.L") == "upper_arm.L"
    assert body_part("mixamorig:LeftHandThumb1") is None
    bones = ("Hips", "Spine", "Spine1", "Spine2", "LeftArm", "LeftForeArm", "LeftUpLeg", "LeftLeg")
    parts = body_parts((*bones, "RightArm", "RightForeArm", "RightUpLeg", "RightLeg"))
    assert parts["chest"] == "Spine2"
    assert set(NEEDED) <= set(parts)


def test_damaged_file_is_named_and_skipped(tmp_path: Path) -> None:
    (tmp_path / "broken.glb").write_bytes(b"not a model")
    with pytest.raises(RequestError, match=r"broken\.glb"):
        scan_library(tmp_path)


@needs_assets
def test_good_files_are_used_beside_damaged_ones(tmp_path: Path) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    shutil.copy(ASSETS / "Xbot.glb", tmp_path)
    (tmp_path / "broken.fbx").write_bytes(b"not a model")
    library = scan_library(tmp_path)
    assert [character.name for character in library.characters] == ["Xbot"]
    # Blender 4.2's importer adds the armature's name to the action's.
    assert any(action.name.startswith("Xbot walk") for action in library.actions)
    assert [item.file for item in library.skipped] == ["broken.fbx"]
    assert not bpy.data.objects and not bpy.data.actions


@needs_assets
def test_users_character_performs_our_motions_upright_and_alike() -> None:
    action = ActionRecipe(ActionName.WAVE, 1)
    own = build_clip(replace(RECIPE, actions=(action,)), "own")
    character = LibraryCharacter(str(ASSETS / "Xbot.glb"), "Xbot")
    other = build_clip(replace(RECIPE, actions=(action,), characters=(character,)), "other")
    for frame in range(RECIPE.frames):
        first, second = (item.segments[frame] == 1 for item in (own, other))
        assert np.count_nonzero(first & second) > 0.5 * min(first.sum(), second.sum())
        heights = [np.ptp(np.flatnonzero(mask.any(axis=1))) for mask in (first, second)]
        assert abs(heights[0] - heights[1]) < 0.25 * heights[0]
    assert other.record.performers[0].character == "Xbot"


@needs_assets
def test_our_person_performs_the_users_motion() -> None:
    action = LibraryAction(str(ASSETS / "flair.fbx"), 0, "flair")
    clip = build_clip(replace(RECIPE, actions=(action,)), "flair")
    tracks = clip.trajectories
    moved = np.linalg.norm(np.diff(tracks.positions[:, tracks.seg_id == 0, :2], axis=0), axis=-1)
    assert np.median(moved) > 1.0
    assert clip.record.performers[0].action == "flair"


@needs_assets
def test_a_file_with_a_motion_but_no_body_is_no_character(tmp_path: Path) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.import_scene.gltf(filepath=str(ASSETS / "Xbot.glb"))
    for ob in [ob for ob in bpy.data.objects if ob.type == "MESH"]:
        bpy.data.objects.remove(ob)
    written = tmp_path / "motion.glb"
    # In a process of its own Blender's exporter cannot hang this one at its end.
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "motion.blend"))
    export = (
        f"import bpy; bpy.ops.wm.open_mainfile(filepath={str(tmp_path / 'motion.blend')!r}); "
        f"bpy.ops.export_scene.gltf(filepath={str(written)!r}); import os; os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", export], check=True, timeout=120, stdout=subprocess.DEVNULL)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    (tmp_path / "motion.blend").unlink()
    library = scan_library(tmp_path)
    assert library.actions and not library.characters


@needs_assets
def test_a_glb_motion_has_the_same_frames_whatever_the_scenes_rate(tmp_path: Path) -> None:
    lengths = set()
    for fps in (16, 24, 30):
        bpy.ops.wm.read_factory_settings(use_empty=True)
        bpy.data.scenes[0].render.fps = fps
        library_motion.cache_clear()
        motion = library_motion(str(ASSETS / "Xbot.glb"), 0)
        lengths.add(len(motion.shift))
    assert len(lengths) == 1


@needs_assets
def test_a_glb_character_leaves_no_collection_of_its_file_in_the_scene() -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    before = set(bpy.data.scenes[0].collection.children)
    import_character(bpy.data.scenes[0], LibraryCharacter(str(ASSETS / "Xbot.glb"), "Xbot"))
    assert set(bpy.data.scenes[0].collection.children) == before
