"""The engine `mini` on random weights in the bundled model's layout: any shot in, an honest video out."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_engines import Watcher, request, shot
from toy_mini import write_toy_mini
from typer.testing import CliRunner

from blender_addon.core.errors import ErrorCode, FlexTrajError
from blender_addon.core.model_options import ModelOptions
from blender_addon.core.trajectories import Segment, TrajectoryMeta, TrajectorySet
from flextraj_backend.commands import weights as weights_command
from flextraj_backend.conditioning.render import render_conditioning
from flextraj_backend.conditioning.requested import conditioning_settings
from flextraj_backend.engines.base import Cancelled, EngineInputs, EngineOutput, Progress
from flextraj_backend.engines.catalog import engine_infos
from flextraj_backend.engines.diffusion import loading
from flextraj_backend.engines.mini import weights as mini_weights
from flextraj_backend.engines.mini.weights import BUNDLED, MINI_VARIABLE, use_mini
from flextraj_backend.engines.registry import engine
from flextraj_backend.models import weights as stored_weights
from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.cogvideox_pipeline import FlexTrajCogVideoXPipeline
from flextraj_backend.models.denoising import PipelineVideo

CPU = torch.device("cpu")
bundled = pytest.mark.skipif(
    not (BUNDLED / "base" / "model_index.json").is_file(), reason="the mini model is not in this copy"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_mini(tmp_path_factory.mktemp("mini"))


@pytest.fixture(autouse=True)
def toy_mini(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MINI_VARIABLE, str(folder))
    monkeypatch.setattr(stored_weights, "settings_file", lambda: tmp_path / "settings" / "weights.json")


@pytest.fixture(scope="module", autouse=True)
def no_pipeline_left_behind() -> Iterator[None]:
    yield
    loading.forget_pipeline(CPU)


def job(trajectories: TrajectorySet, model: ModelOptions | None = None, **settings: Any) -> EngineInputs:
    """As `render_job` hands it over."""
    asked = replace(request(Backbone.COGVIDEOX, model, **settings), engine="mini")
    meta = trajectories.meta
    photo = np.random.default_rng(1).integers(0, 256, (meta.height, meta.width, 3), dtype=np.uint8)
    fit = np.array([[0.9, 0.0, 5.0], [0.0, 0.9, 3.0]])
    conditioning = render_conditioning(trajectories, conditioning_settings(asked), fit)
    return EngineInputs(asked, trajectories, photo, fit, conditioning)


def render(inputs: EngineInputs, watcher: Watcher | None = None) -> EngineOutput:
    watcher = watcher or Watcher()
    return engine("mini").render(inputs, watcher.report, watcher.cancelled)


@pytest.mark.parametrize(("width", "height", "frames"), [(240, 160, 9), (90, 160, 4), (64, 48, 5)])
def test_a_shot_of_any_size_becomes_a_video_of_that_size_that_says_what_it_is(
    width: int, height: int, frames: int
) -> None:
    watcher = Watcher()
    output = render(job(shot(frames, width=width, height=height), seed=3), watcher)
    assert output.frames.shape == (frames, height, width, 3) and output.frames.std() > 1
    assert output.label == "mini model, 96x64 px"
    assert "small demonstration model that computes 96x64 px" in output.warnings[0]
    expected = ["encoding prompt", "encoding condition", "denoising", "decoding", "enlarging"]
    assert [phase for phase in watcher.phases if phase != "loading"] == expected  # it stays for the next job
    record = json.loads(json.dumps(output.record))
    assert (record["raster"]["width"], record["raster"]["height"]) == (96, 64)
    assert record["guidance_scale"] == 1.0 and record["negative_prompt"] == ""
    again = render(job(shot(frames, width=width, height=height), seed=3))
    np.testing.assert_array_equal(again.frames, output.frames)


def test_the_model_gets_the_whole_photo_and_videos_painted_at_its_own_raster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: dict[str, Any] = {}
    make, encode = FlexTrajCogVideoXPipeline.__call__, FlexTrajCogVideoXPipeline.encode_condition_videos

    def watched_make(pipeline: Any, photo: np.ndarray, **settings: Any) -> PipelineVideo:
        seen["photo"] = photo
        return make(pipeline, photo, **settings)

    def watched_encode(pipeline: Any, ids: np.ndarray, color: np.ndarray) -> Any:
        seen["ids"], seen["color"] = ids, color
        return encode(pipeline, ids, color)

    monkeypatch.setattr(FlexTrajCogVideoXPipeline, "__call__", watched_make)
    monkeypatch.setattr(FlexTrajCogVideoXPipeline, "encode_condition_videos", watched_encode)
    trajectories = shot(5, width=200, height=400)
    colors = np.full((trajectories.point_count, 3), (200, 30, 60), np.uint8)
    inputs = job(replace(trajectories, color=colors), color_cue=True, kept_frames=(0, 4))
    inputs.photo[:] = (10, 90, 170)
    render(inputs)
    assert seen["photo"].shape == (64, 96, 3) and (seen["photo"] == (10, 90, 170)).all()
    ids, color = seen["ids"], seen["color"]
    assert ids.shape == color.shape == (5, 64, 96, 3)
    assert [bool(frame.any()) for frame in ids] == [True, False, False, False, True]
    shown = {tuple(pixel) for pixel in inputs.conditioning.ids.reshape(-1, 3)}
    assert {tuple(pixel) for pixel in ids.reshape(-1, 3)} <= shown  # exact colours: painted, not shrunk
    assert {tuple(pixel) for pixel in color.reshape(-1, 3)} == {(0, 0, 0), (200, 30, 60)}
    # The tall shot is 32 px wide in the middle; points of its left half lie there.
    columns = np.flatnonzero(ids.any(axis=(0, 1, 3)))
    assert columns.min() >= 30 and columns.max() < 66


def test_the_control_acts_and_its_strength_counts() -> None:
    trajectories = shot(9, width=240, height=160)
    whole = render(job(trajectories)).frames.astype(int)
    none = render(job(trajectories, ModelOptions(strength=0.0))).frames
    half = render(job(trajectories, ModelOptions(strength=0.5))).frames
    assert np.abs(whole - none).mean() > 0.5
    assert np.abs(whole - half).mean() > 0 and np.abs(half.astype(int) - none).mean() > 0


def test_a_long_shot_is_made_in_windows_that_advance(folder: Path) -> None:
    watcher = Watcher()
    output = render(job(shot(23, width=120, height=80)), watcher)
    assert output.frames.shape == (23, 80, 120, 3)
    windows = [(window["start"], window["stop"]) for window in output.record["windows"]]
    assert windows == [(0, 9), (7, 16), (14, 23)]
    assert any("may drift" in warning for warning in output.warnings)


def test_a_job_can_be_cancelled_while_it_denoises_and_while_it_is_enlarged() -> None:
    for report in (Progress("denoising", 1, 3), Progress("enlarging", 2, 9)):
        with pytest.raises(Cancelled):
            render(job(shot(9, width=120, height=80)), Watcher(cancel_at=report))


def test_the_estimate_is_of_the_small_model_and_grows_with_the_shot() -> None:
    mini = engine("mini")
    asked = replace(request(Backbone.COGVIDEOX), engine="mini", steps=None)
    short, long = (mini.prepare(asked, shot(count, width=720, height=480)) for count in (9, 49))
    assert 0 < short.seconds < long.seconds < 600
    assert short.memory_bytes < long.memory_bytes and short.vram_bytes == 0
    assert "windows of 9 frames" in long.note and "computes 96x64 px" in short.note


def test_without_settings_it_takes_four_steps_and_no_guidance() -> None:
    trajectories = shot(3, width=96, height=64)
    inputs = job(trajectories)
    output = render(replace(inputs, request=replace(inputs.request, steps=None)))
    assert (output.record["steps"], output.record["guidance_scale"]) == (1, 1.0)
    assert output.record["versions"]["diffusers"]


def test_a_shot_that_it_cannot_make_is_refused_with_what_to_change() -> None:
    mini, asked = engine("mini"), replace(request(Backbone.COGVIDEOX), engine="mini")
    with pytest.raises(FlexTrajError, match="makes 2 to 1001 frames, not 1"):
        mini.prepare(asked, shot(1, width=240, height=160))
    with pytest.raises(FlexTrajError, match="16 to 2048 px a side") as error:
        mini.prepare(asked, shot(9, width=4000, height=160))
    assert error.value.code is ErrorCode.SIZE


def test_a_model_of_another_size_is_used_at_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_toy_mini(tmp_path / "gpu", frames=5, height=48, width=80)
    monkeypatch.setenv(MINI_VARIABLE, str(tmp_path / "gpu"))
    output = render(job(shot(5, width=240, height=160)))
    assert output.label == "mini model, 80x48 px" and output.frames.shape == (5, 160, 240, 3)


def test_missing_weights_say_which_command_makes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in (str(tmp_path), ""):
        monkeypatch.setenv(MINI_VARIABLE, variable)
        monkeypatch.setattr(mini_weights, "BUNDLED", tmp_path / "none")
        found = engine("mini").availability()
        assert not found.available and found.code is ErrorCode.WEIGHTS
        assert "run 'flextraj mini cpu -o DIR'" in found.reason and found.reason.count(". ") == 0
        # It stands in a sidebar.
        assert str(tmp_path) not in found.reason and len(found.reason) < 160
        assert found.reason.startswith("The mini model's weights are missing")
        (info,) = (item for item in engine_infos() if item.name == "mini")
        assert not info.available and info.max_side == 2048


def test_damaged_weights_are_called_so(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    monkeypatch.setenv(MINI_VARIABLE, str(tmp_path / "copy"))
    (tmp_path / "copy" / "base" / "vae" / "config.json").write_text("{")
    found = engine("mini").availability()
    assert not found.available and "cannot be used" in found.reason
    assert "run 'flextraj mini cpu -o DIR'" in found.reason and "CogVideoX-5B" not in found.reason
    assert str(tmp_path) not in found.reason and len(found.reason) < 200


def test_the_named_model_comes_before_the_bundled_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(MINI_VARIABLE)
    monkeypatch.setattr(mini_weights, "BUNDLED", tmp_path / "none")
    assert not engine("mini").availability().available
    use_mini(folder / "base", folder)
    assert engine("mini").availability().available
    assert mini_weights.mini_status().location == mini_weights.locate_mini()
    wide = write_toy_mini(tmp_path / "wide", height=32, width=48)
    monkeypatch.setenv(MINI_VARIABLE, str(wide))
    assert mini_weights.locate_mini().base == wide / "base"


def test_the_command_that_names_weights_takes_a_mini_model_and_lists_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["use", "mini", "--base", str(folder / "base"), "--adapter", str(folder)]
    hidden = CliRunner().invoke(weights_command.app, arguments)
    assert hidden.exit_code == 0 and MINI_VARIABLE not in hidden.stdout  # both are the same folder
    monkeypatch.delenv(MINI_VARIABLE)
    listed = json.loads(CliRunner().invoke(weights_command.app, ["list", "--json"]).stdout)
    (mini,) = (entry for entry in listed["engines"] if entry["engine"] == "mini")
    assert mini["location"]["base"] == str(folder / "base") and mini["problem"] == ""
    monkeypatch.setenv(MINI_VARIABLE, str(folder.parent))
    hidden = CliRunner().invoke(weights_command.app, arguments)
    assert f"{MINI_VARIABLE} is set and comes first" in hidden.stdout


def test_the_catalog_offers_it_right_after_the_preview_on_any_size() -> None:
    infos = engine_infos()
    assert [info.name for info in infos][:2] == ["preview", "mini"]
    mini = infos[1]
    assert mini.available, mini.reason
    assert mini.refusal(49, 720, 480) is None and mini.refusal(50, 480, 854) is None
    assert mini.seconds is not None and mini.memory_bytes is not None
    assert {"prompt", "steps", "model", "kept_frames", "color_cue"} <= set(mini.reads)


def test_listing_it_does_not_load_torch(folder: Path) -> None:
    code = (
        "import sys\nfrom flextraj_backend.engines.mini.weights import installed_mini\n"
        "from flextraj_backend.engines.registry import engine\n"
        "installed_mini(), engine('mini').limits()\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def sliding_square() -> tuple[np.ndarray, TrajectorySet]:
    """A patterned square that crosses a plain picture, and points all over it. (9, 48, 64, 3) uint8"""
    frames, side, left, top = 9, 20, 8, 16
    rows, columns = np.indices((side, side))
    pattern = np.where(((rows // 5 + columns // 5) % 2 == 0)[..., None], (210, 60, 40), (240, 220, 90))
    video = np.full((frames, 48, 64, 3), (120, 150, 110), np.uint8)
    inside = np.stack((columns.ravel(), rows.ravel()), axis=1) + 0.5  # (N, 2)
    places = np.empty((frames, len(inside), 3), np.float32)
    for frame in range(frames):
        start = left + 3 * frame
        video[frame, top : top + side, start : start + side] = pattern
        places[frame] = np.column_stack((inside + np.array((start, top)), np.full(len(inside), 5)))
    points = len(inside)
    meta = TrajectoryMeta(64, 48, 16.0, tuple(map(float, range(frames))), (Segment(0, "Box"),), aligned=True)
    return video, TrajectorySet(
        positions=places,
        visible=np.ones((frames, points), bool),
        seg_id=np.zeros(points, np.uint16),
        traj_id=np.arange(points, dtype=np.uint16),
        color=pattern.reshape(-1, 3).astype(np.uint8),
        meta=meta,
    )


@bundled
def test_the_bundled_model_moves_what_it_is_told_to_move(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MINI_VARIABLE)
    assert engine("mini").availability().available
    exact, trajectories = sliding_square()
    errors = []
    for strength in (1.0, 0.0):
        inputs = job(trajectories, ModelOptions(strength=strength), surface=True, color_cue=True)
        conditioning = render_conditioning(trajectories, conditioning_settings(inputs.request))
        inputs = replace(inputs, photo=exact[0], fit=np.eye(2, 3), conditioning=conditioning)
        errors.append(np.abs(render(inputs).frames[4:].astype(int) - exact[4:]).mean())
    assert errors[0] < 0.7 * errors[1]
    assert sum(file.stat().st_size for file in BUNDLED.rglob("*") if file.is_file()) <= 40 << 20
