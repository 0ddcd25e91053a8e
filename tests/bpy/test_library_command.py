"""`flextraj synthesize --library`: the user's folder, whatever lies in it."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bpy
import cv2
import numpy as np
import pytest

from blender_addon.core.errors import FlexTrajError, RequestError
from flextraj_backend.synthesis import library_index
from flextraj_backend.synthesis.clip_builder import build_clip
from flextraj_backend.synthesis.dataset_folder import LOG
from flextraj_backend.synthesis.library_index import read_library, record_library
from flextraj_backend.synthesis.pipeline import synthesize
from flextraj_backend.synthesis.plan import SynthesisSettings
from flextraj_backend.synthesis.run import SynthesisProgress
from flextraj_backend.synthesis.scene import SceneOptions, draw_scene
from flextraj_backend.synthesis.shards import iterate_clips
from flextraj_backend.synthesis.user_library import LibraryCharacter, library_motion

JOINTS = {
    "Hips": (None, (0.0, 0.9, 0.0)),
    "Spine": ("Hips", (0.0, 0.2, 0.0)),
    "Neck": ("Spine", (0.0, 0.3, 0.0)),
    "Head": ("Neck", (0.0, 0.1, 0.0)),
    **{
        f"{side}{name}": (parent if parent == "Hips" or parent == "Spine" else f"{side}{parent}", place(sign))
        for side, sign in (("Left", 1.0), ("Right", -1.0))
        for name, parent, place in (
            ("Arm", "Spine", lambda sign: (0.2 * sign, 0.25, 0.0)),
            ("ForeArm", "Arm", lambda sign: (0.28 * sign, 0.0, 0.0)),
            ("Hand", "ForeArm", lambda sign: (0.25 * sign, 0.0, 0.0)),
            ("UpLeg", "Hips", lambda sign: (0.1 * sign, 0.0, 0.0)),
            ("Leg", "UpLeg", lambda sign: (0.0, -0.42, 0.0)),
            ("Foot", "Leg", lambda sign: (0.0, -0.42, 0.0)),
        )
    },
}
FRAMES, RATE = 25, 12.5
OPTIONS = SceneOptions(
    width=72,
    height=48,
    frames=5,
    fps=8.0,
    points=100,
    background_points=40,
    characters=2,
    subject_weights=(1.0,),
    kind_weights=(1.0, 0.0, 0.0),
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(library_index.platformdirs, "user_cache_path", lambda *_, **__: cache)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    yield cache


def write_bvh(path: Path) -> None:
    """A body with Mixamo's names that raises its left arm by 90 degrees in two seconds."""

    def joint(name: str, indent: str) -> str:
        parent, (x, y, z) = JOINTS[name]
        kind = "ROOT" if parent is None else "JOINT"
        channels = "Zrotation Xrotation Yrotation"
        channels = f"6 Xposition Yposition Zposition {channels}" if parent is None else f"3 {channels}"
        inner = indent + "  "
        children = [joint(child, inner) for child, (above, _) in JOINTS.items() if above == name]
        end = f"{inner}End Site\n{inner}{{\n{inner}  OFFSET 0 0.1 0\n{inner}}}\n"
        return (
            f"{indent}{kind} {name}\n{indent}{{\n{inner}OFFSET {x} {y} {z}\n{inner}CHANNELS {channels}\n"
            f"{''.join(children) or end}{indent}}}\n"
        )

    order: list[str] = []

    def walk(name: str) -> None:
        order.append(name)
        for child, (above, _) in JOINTS.items():
            if above == name:
                walk(child)

    walk("Hips")
    rows = []
    for frame in range(FRAMES):
        values = [0.0, 0.9, 0.0]
        for name in order:
            values += [90.0 * frame / (FRAMES - 1) if name == "LeftArm" else 0.0, 0.0, 0.0]
        rows.append(" ".join(f"{value:.4f}" for value in values))
    path.write_text(
        f"HIERARCHY\n{joint('Hips', '')}MOTION\nFrames: {FRAMES}\nFrame Time: {1 / RATE}\n"
        + "\n".join(rows)
        + "\n"
    )


def write_textured_body(path: Path, picture: np.ndarray, image_file: Path | None = None) -> None:
    """A column on a body's skeleton, its front half covered by an image (packed unless it has a file)."""
    armature = bpy.data.armatures.new("Rig")
    rig = bpy.data.objects.new("Rig", armature)
    scene: Any = bpy.data.scenes[0]
    scene.collection.objects.link(rig)
    bpy.context.view_layer.objects.active = rig  # pyright: ignore
    bpy.ops.object.mode_set(mode="EDIT")
    heads: dict[str, np.ndarray] = {}
    for name, (parent, offset) in JOINTS.items():
        bone = armature.edit_bones.new(name)
        x, y, z = offset
        heads[name] = np.array([x, -z, y]) + (heads[parent] if parent else 0.0)
        bone.head, bone.tail = heads[name].tolist(), (heads[name] + [0.0, 0.0, 0.1]).tolist()
        if parent:
            bone.parent = armature.edit_bones[parent]
    bpy.ops.object.mode_set(mode="OBJECT")
    bpy.ops.mesh.primitive_cube_add(size=1.0, location=(0.0, 0.0, 0.85))
    body: Any = bpy.context.object
    body.scale = (0.5, 0.3, 1.7)
    group = body.vertex_groups.new(name="Hips")
    group.add(range(8), 1.0, "REPLACE")
    body.modifiers.new("Rig", "ARMATURE").object = rig
    body.parent = rig
    height, width = picture.shape[:2]
    image: Any = bpy.data.images.new("Skin", width, height)
    values = np.ones((height, width, 4), np.float32)
    values[..., :3] = picture[::-1] / 255.0
    image.pixels.foreach_set(values.ravel())
    image.update()
    if image_file is None:
        image.pack()
    else:
        image.filepath_raw, image.file_format = str(image_file), "PNG"
        image.save()
    material: Any = bpy.data.materials.new("Skin")
    material.use_nodes = True
    node = material.node_tree.nodes.new("ShaderNodeTexImage")
    node.image = image
    shader = material.node_tree.nodes["Principled BSDF"]
    material.node_tree.links.new(node.outputs["Color"], shader.inputs["Base Color"])
    body.data.materials.append(material)
    if path.suffix == ".glb":
        export_glb(path)
    else:
        bpy.ops.export_scene.fbx(filepath=str(path), bake_anim=False, path_mode="ABSOLUTE")
    bpy.ops.wm.read_factory_settings(use_empty=True)


def export_glb(path: Path) -> None:
    """Export in a process of its own: after a glTF export, Blender's module may hang at interpreter exit."""
    code = (
        "import os, sys, bpy\n"
        "blend, path = sys.argv[1:]\n"
        "bpy.ops.wm.open_mainfile(filepath=blend)\n"
        "bpy.ops.export_scene.gltf(filepath=path, export_animations=False)\n"
        "os._exit(0)\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        blend = Path(folder) / "character.blend"
        bpy.ops.wm.save_as_mainfile(filepath=str(blend))
        subprocess.run([sys.executable, "-c", code, str(blend), str(path)], check=True, capture_output=True)


RED_AND_GREEN = np.zeros((32, 32, 3), np.uint8)
RED_AND_GREEN[:, :, 0] = 230
RED_AND_GREEN[::2, :] = (0, 200, 0)


def colors_of(path: Path) -> np.ndarray:
    recipe = draw_scene(np.random.default_rng(2), OPTIONS)
    clip = build_clip(recipe.with_cast([LibraryCharacter(str(path), path.stem)]), "own")
    subject = clip.trajectories.seg_id == 0
    color = clip.trajectories.color
    assert color is not None
    in_picture = clip.frames[0][clip.segments[0] == 1].astype(int)
    assert len(in_picture) > 30
    return color[subject].astype(int)


def test_packed_image_of_a_character_colours_its_points(tmp_path: Path) -> None:
    write_textured_body(tmp_path / "body.glb", RED_AND_GREEN)
    colors = colors_of(tmp_path / "body.glb")
    is_red, is_green = colors[:, 0] > 150, colors[:, 1] > 150
    assert 0.2 < is_red.mean() < 0.9 and 0.2 < is_green.mean() < 0.9
    assert colors[:, 2].max() < 20


def test_image_is_shown_from_the_library_but_not_from_elsewhere(tmp_path: Path) -> None:
    library, elsewhere = tmp_path / "library", tmp_path / "elsewhere"
    library.mkdir()
    elsewhere.mkdir()
    blue = np.full((16, 16, 3), (0, 0, 220), np.uint8)
    write_textured_body(library / "inside.fbx", blue, library / "inside.png")
    write_textured_body(library / "outside.fbx", blue, elsewhere / "secret.png")
    assert np.abs(colors_of(library / "inside.fbx") - (0, 0, 220)).max() <= 2
    assert (colors_of(library / "outside.fbx")[:, 0] > 100).all()
    assert cv2.imread(str(elsewhere / "secret.png")) is not None


def test_bvh_motion_keeps_its_own_pace_and_ends_raised(tmp_path: Path) -> None:
    write_bvh(tmp_path / "raise.bvh")
    library = read_library(tmp_path)
    assert [action.name for action in library.actions] == ["raise"] and not library.characters
    motion = library_motion(str(tmp_path / "raise.bvh"), 0)
    assert motion.seconds == pytest.approx((FRAMES - 1) / RATE, abs=0.1)
    turned = np.degrees(np.arccos((np.trace(motion.turns["upper_arm.L"][-1]) - 1.0) / 2.0))
    assert turned == pytest.approx(90.0, abs=2.0)
    there_and_back = motion.excerpt(0.0, 5, 1.0).turns["upper_arm.L"]
    assert np.allclose(there_and_back[0], there_and_back[4], atol=0.15), "an open motion goes backwards"
    assert not np.allclose(there_and_back[0], there_and_back[2], atol=0.5)


def test_library_is_looked_through_once_and_again_when_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bvh(tmp_path / "raise.bvh")
    scans: list[Path] = []
    scan = library_index.scan_library

    def counted(folder: Path) -> Any:
        scans.append(folder)
        return scan(folder)

    monkeypatch.setattr(library_index, "scan_library", counted)
    assert read_library(tmp_path) == read_library(tmp_path)
    assert len(scans) == 1
    write_bvh(tmp_path / "again.bvh")
    assert len(read_library(tmp_path).actions) == 2
    assert len(scans) == 2


def test_damaged_index_is_made_again(tmp_path: Path, own_cache: Path) -> None:
    write_bvh(tmp_path / "raise.bvh")
    library = read_library(tmp_path)
    (index,) = (own_cache / "libraries").glob("*.json")
    index.write_text('{"producer": 3}')
    assert read_library(tmp_path) == library


def test_changed_library_is_refused_for_a_dataset_that_was_begun(tmp_path: Path) -> None:
    library, dataset = tmp_path / "library", tmp_path / "dataset"
    library.mkdir()
    dataset.mkdir()
    write_bvh(library / "raise.bvh")
    record_library(dataset, library)
    record_library(dataset, library)
    write_bvh(library / "more.bvh")
    with pytest.raises(RequestError, match=r"more\.bvh"):
        record_library(dataset, library)


class Told:
    """Takes what a run says."""

    def __init__(self) -> None:
        self.message = ""

    def advance(self, progress: SynthesisProgress) -> None: ...

    def end(self, progress: SynthesisProgress, message: str) -> None:
        self.message = message

    def fail(self, error: FlexTrajError) -> None:
        self.message = error.message


def test_clips_use_the_users_folder_and_name_its_damaged_files(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library, dataset = tmp_path / "library", tmp_path / "dataset"
    library.mkdir()
    write_bvh(library / "raise.bvh")
    write_textured_body(library / "column.glb", RED_AND_GREEN)
    (library / "broken.glb").write_bytes(b"not a model")
    monkeypatch.setenv("XDG_CACHE_HOME", str(own_cache))  # of the worker process
    settings = SynthesisSettings(1, OPTIONS, others=1, pair_size=2, library=str(library))
    told = Told()
    progress = synthesize(dataset, settings, 4, 1, None, told, threading.Event())
    assert progress.done == 4, (dataset / LOG).read_text() if (dataset / LOG).exists() else told.message
    assert "broken.glb" in told.message
    record = json.loads((dataset / "library.json").read_text())
    assert [item["file"] for item in record["library"]["skipped"]] == ["broken.glb"]
    performers = [who for clip in iterate_clips(dataset) for who in clip.record.performers]
    assert {"column", "raise"} & {name for who in performers for name in (who.character, who.action)}
    assert sorted(path.name for path in library.iterdir()) == ["broken.glb", "column.glb", "raise.bvh"]
