"""`flextraj sample` on files: what a user at the command line would lose."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

bpy = pytest.importorskip("bpy")

from sampling_scenes import add_camera, add_cube, animate_location  # noqa: E402

from blender_addon.core.errors import FlexTrajError  # noqa: E402
from blender_addon.core.trajectory_file import read_trajectories  # noqa: E402
from flextraj_backend.commands import sample  # noqa: E402
from flextraj_backend.scene_import import open_scene  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[2]
ASSETS = Path(os.environ.get("FLEXTRAJ_ASSETS_DIR") or REPOSITORY.parent / "shared" / "assets")

app = typer.Typer()
app.command("sample")(sample.command)


def _run(*arguments: Any) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, FlexTrajError):
        raise result.exception
    assert result.exit_code == 0, result.output
    # Terminal width must not decide what a test finds.
    return re.sub(r"\s+", " ", result.output)


@pytest.fixture(autouse=True)
def _empty_scene():
    bpy.ops.wm.read_factory_settings(use_empty=True)


@pytest.fixture
def blend(tmp_path: Path) -> Path:
    """A moving cube with a camera, 90 x 60 pixels, frames 1 to 9."""
    add_camera()
    animate_location(add_cube("Hero"), 1, 9, (1, 0, 0))
    add_cube("Ground", (0, 0, -2))
    bpy.context.scene.render.resolution_x, bpy.context.scene.render.resolution_y = 90, 60
    path = tmp_path / "shot.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(path))
    return path


def test_a_blend_file_becomes_a_set_with_its_own_camera_and_size(blend: Path, tmp_path: Path):
    output = tmp_path / "shot.npz"
    text = _run(
        blend, "-o", output, "--objects", "Hero,Ground", "--background", "Ground", "--points", 50, "--aligned"
    )
    shot = read_trajectories(output)
    assert (shot.meta.width, shot.meta.height) == (90, 60)
    assert (shot.frame_count, shot.point_count) == (49, 100)
    assert shot.meta.source_frames[0] == 1
    assert shot.meta.source_frames[-1] == 9
    assert shot.meta.fps == pytest.approx(24 * 48 / 8)
    assert shot.meta.aligned
    assert {segment.name: segment.background for segment in shot.meta.segments} == {
        "Hero": False,
        "Ground": True,
    }
    assert "49 frames x 100 points in 2 segments (Hero, Ground), 90x60" in text
    assert "automatic" not in text


def test_every_option_reaches_the_set(blend: Path, tmp_path: Path):
    output = tmp_path / "shot.npz"
    options = "--mode vertices --frames 2:6 --model-frames 0 --size 120x80 --color none --seed 7"
    text = _run(blend, "-o", output, *options.split())
    shot = read_trajectories(output)
    assert shot.point_count == 16
    assert shot.meta.source_frames == (2, 3, 4, 5, 6)
    assert (shot.meta.width, shot.meta.height, shot.meta.fps) == (120, 80, 24)
    assert shot.meta.seed == 7
    assert shot.color is None
    assert "scene frames 2 to 6" in text


EXPORTERS = {
    ".glb": "export_scene.gltf(filepath=path)",
    ".fbx": "export_scene.fbx(filepath=path)",
    ".usdc": "wm.usd_export(filepath=path, export_animation=True)",
    ".abc": "wm.alembic_export(filepath=path, as_background_job=False)",
}


def _export(blend: Path, path: Path) -> None:
    """Export in a process of its own: after a glTF export, Blender's module may hang at interpreter exit."""
    code = (
        "import os, sys, bpy\n"
        "blend, path = sys.argv[1:]\n"
        "bpy.ops.wm.open_mainfile(filepath=blend)\n"
        f"bpy.ops.{EXPORTERS[path.suffix]}\n"
        "os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(blend), str(path)], check=True, capture_output=True)


@pytest.mark.parametrize("ending", EXPORTERS)
def test_files_without_a_camera_get_one_that_sees_the_whole_motion(ending: str, tmp_path: Path):
    animate_location(add_cube("Hero"), 1, 40, (30, 5, 9))
    bpy.context.scene.frame_end = 40
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "hero.blend"))
    path = tmp_path / f"hero{ending}"
    _export(tmp_path / "hero.blend", path)
    output = tmp_path / "shot.npz"
    text = _run(path, "-o", output, "--points", 40, "--model-frames", 9)
    shot = read_trajectories(output)
    assert "automatic one frames the whole motion" in text
    assert (shot.meta.width, shot.meta.height) == (720, 480)
    inside = (shot.positions[..., :2] > 0) & (shot.positions[..., :2] < [720, 480])
    assert inside.all()
    assert np.ptp(shot.positions[:, 0, 0]) > 300
    assert not any(ob.name.startswith("FlexTraj") for ob in bpy.data.objects)


def test_a_slow_rate_is_mentioned_with_the_way_out(blend: Path, tmp_path: Path):
    text = _run(blend, "-o", tmp_path / "shot.npz", "--points", 9, "--frames", "1:400")
    assert "play at 2.9 frames per second" in text
    assert "--model-fps" in text
    text = _run(blend, "-o", tmp_path / "shot.npz", "--points", 9, "--frames", "1:400", "--model-fps", 8)
    assert "frames per second:" not in text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--points", "5", "--density", "5"], "--points or --density"),
        (["--frames", "1-9"], "'1-9' is not a frame range: give the first and last frame as A:B"),
        (["--frames", "5:5"], "single frame 5"),
        (["--size", "720"], "'720' is not a size: give width and height in pixels as WxH"),
        (["--objects", "Nobody"], "no object 'Nobody' in the scene: choose one of Hero, Ground"),
        (["--camera", "Nobody"], "no camera 'Nobody' in the scene: choose one of Camera"),
    ],
)
def test_a_wrong_option_ends_in_one_sentence_and_writes_nothing(arguments, sentence, blend, tmp_path):
    with pytest.raises(FlexTrajError) as caught:
        _run(blend, "-o", tmp_path / "shot.npz", *arguments)
    assert sentence in caught.value.message
    assert sorted(item.name for item in tmp_path.iterdir()) == ["shot.blend"]


@pytest.mark.parametrize("ending", [".blend", ".fbx", ".glb", ".usdc", ".abc"])
def test_a_damaged_scene_ends_in_one_sentence(ending: str, tmp_path: Path):
    path = tmp_path / f"scene{ending}"
    path.write_bytes(b"not a scene" * 50)
    with pytest.raises(FlexTrajError, match=f"scene{ending} cannot be read") as caught:
        open_scene(path)
    assert "\n" not in caught.value.message
    assert caught.value.message.endswith("export it again.")


def test_a_missing_or_unknown_scene_file_ends_in_one_sentence(tmp_path: Path):
    with pytest.raises(FlexTrajError, match=r"There is no file .*scene\.fbx"):
        open_scene(tmp_path / "scene.fbx")
    (tmp_path / "photo.jpg").write_bytes(b"")
    with pytest.raises(FlexTrajError, match=r"photo\.jpg is not a scene that can be read"):
        open_scene(tmp_path / "photo.jpg")
    with pytest.raises(FlexTrajError, match="There is no folder"):
        _run(tmp_path / "scene.fbx", "-o", tmp_path / "missing" / "shot.npz")


def test_scripts_inside_a_blend_file_do_not_run(blend: Path, tmp_path: Path):
    bpy.ops.wm.open_mainfile(filepath=str(blend))
    trace = tmp_path / "trace"
    script = bpy.data.texts.new("evil.py")
    script.from_string(f"open({str(trace)!r}, 'w').close()")
    script.use_module = True
    bpy.ops.wm.save_mainfile()
    open_scene(blend)
    assert not trace.exists()


def test_without_blenders_module_the_sentence_says_how_to_install_it(tmp_path: Path):
    (tmp_path / "scene.fbx").write_bytes(b"")
    code = (
        "import sys; sys.modules['bpy'] = None\n"
        "from pathlib import Path\n"
        "from blender_addon.core.errors import FlexTrajError\n"
        "from flextraj_backend.commands import sample\n"
        "from flextraj_backend.scene_import import open_scene\n"
        "try:\n    open_scene(Path(sys.argv[1]))\n"
        "except FlexTrajError as error:\n    print(error.message)\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "scene.fbx")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert 'pip install "flextraj[blender]"' in found.stdout


@pytest.mark.assets
@pytest.mark.parametrize(
    ("name", "frames", "segments", "shown"),
    [
        ("samba.fbx", (1, 595), {"Beta_Joints", "Beta_Surface"}, 0.2),
        ("Xbot.glb", (0, 44), {"Beta_Joints", "Beta_Surface"}, 0.2),
        ("Robot.glb", (0, 80), {"Head", "Torso", "Hand.L"}, 0.2),
        ("Soldier.glb", (0, 47.2), {"vanguard_Mesh", "vanguard_visor"}, 0.1),
    ],
)
def test_downloaded_rigs_are_sampled_as_they_come(name, frames, segments, shown, tmp_path):
    if not (ASSETS / name).is_file():
        pytest.skip(f"{name} is not there")
    output = tmp_path / "shot.npz"
    _run(ASSETS / name, "-o", output, "--points", 300, "--model-frames", 5)
    shot = read_trajectories(output)
    assert shot.meta.source_frames[0] == pytest.approx(frames[0], abs=0.01)
    assert shot.meta.source_frames[-1] == pytest.approx(frames[1], abs=0.1)
    names = {segment.name for segment in shot.meta.segments}
    assert segments <= names
    assert "Icosphere" not in names
    assert len({segment.group for segment in shot.meta.segments}) == 1
    assert shot.visible.mean() > shown
    assert np.ptp(shot.positions, axis=0).max() > 5
    # What is visible on the first frame lies on its segment's silhouette, to a pixel.
    assert shot.silhouette is not None
    seen = shot.visible[0]
    x, y = shot.positions[0, seen, :2].astype(int).T
    rows = np.clip(y[:, None] + np.repeat([-1, 0, 1], 3), 0, 479)
    columns = np.clip(x[:, None] + np.tile([-1, 0, 1], 3), 0, 719)
    assert shot.silhouette[shot.seg_id[seen][:, None], rows, columns].any(axis=1).mean() > 0.98


@pytest.mark.skipif(not (ASSETS / "samba.fbx").is_file(), reason="needs the rigs of FLEXTRAJ_ASSETS_DIR")
def test_an_fbx_gives_the_same_ids_and_points_in_every_run(tmp_path: Path) -> None:
    contents = set()
    scene = str(ASSETS / "samba.fbx")
    for seed in ("0", "2", "4"):
        command = [sys.executable, "-m", "flextraj_backend", "sample", scene, "--frames", "1:5"]
        output = tmp_path / f"{seed}.npz"
        subprocess.run(
            [*command, "--model-frames", "2", "--points", "50", "-o", str(output)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            timeout=120,
        )
        contents.add(output.read_bytes())
    assert len(contents) == 1


@pytest.mark.skipif(os.name == "nt", reason="sends a POSIX signal to itself")
def test_ctrl_c_inside_of_blender_ends_the_program_afterwards() -> None:
    from flextraj_backend.scene_import import quiet_stdout

    finished = []
    with pytest.raises(KeyboardInterrupt), quiet_stdout():
        os.kill(os.getpid(), signal.SIGINT)
        finished.append("Blender's work")
    assert finished
