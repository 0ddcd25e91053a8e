"""The panel's settings: what an animator would lose if one of them did not reach the request."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

bpy = pytest.importorskip("bpy")

from addon_shot import MODEL_FRAMES, make_video, ops  # noqa: E402
from drawn_panel import drawn_layout  # noqa: E402
from fake_rendering import FakeBackend  # noqa: E402

from blender_addon.bridge.shot_request import conditioning_settings, estimate_question  # noqa: E402
from blender_addon.client.messages import EngineInfo  # noqa: E402
from blender_addon.core.model_options import ModelOptions  # noqa: E402
from blender_addon.core.request import FitMode, RenderRequest  # noqa: E402
from blender_addon.panels.presets import FLEXTRAJ_PT_presets  # noqa: E402
from blender_addon.presets import BUILT_IN, SUBFOLDER, listed_presets  # noqa: E402
from blender_addon.session import current_session  # noqa: E402

MODEL_VALUES = {
    "guidance_schedule": "ramp",
    "scheduler": "model",
    "condition_tokens": "occupied",
    "cache_storage": "fp8",
    "cache_place": "host",
    "step_cache": "mag",
    "compile": "regional",
    "attention": "sage",
    "window_overlap": 12,
}


def change_everything(settings: Any, tmp_path: Path) -> None:
    """Give every setting of the panel a value that is not its default."""
    mask = tmp_path / "mask.png"
    mask.write_bytes(b"a mask")
    settings.mask = str(mask)
    settings.engine = "cogvideox"
    settings.prompt, settings.negative_prompt = "a dancer", "blur"
    settings.seed, settings.steps, settings.guidance = 7, 11, 3.5
    settings.fit = FitMode.NONE.value
    settings.placement.mirror = True
    settings.keep_points, settings.frame_choice, settings.frame_step = 0.5, "every_nth", 2
    settings.surface, settings.color_cue, settings.strength = True, True, 0.5
    settings.photo_colors = True
    settings.memory = "group_offload"
    for name, value in MODEL_VALUES.items():
        setattr(settings.model, name, value)
    lora = settings.model.loras.add()
    lora.name, lora.scale = "style", 0.75


def test_every_setting_of_a_request_is_what_the_panel_says(
    backend: FakeBackend, shot: Any, tmp_path: Path
) -> None:
    change_everything(shot, tmp_path)
    make_video()
    request = backend.service.requests[0]
    expected = {
        "trajectories": f"{1:064x}",
        "image": f"{2:064x}",
        "mask": f"{3:064x}",
        "engine": "cogvideox",
        "prompt": "a dancer",
        "negative_prompt": "blur",
        "seed": 7,
        "steps": 11,
        "guidance_scale": 3.5,
        "fit": FitMode.NONE,
        "fit_matrix": None,
        "mirror": True,
        "pins": (),
        "keep_points": 0.5,
        "keep_frames": 1.0,
        "kept_frames": (0, 2, 4),
        "surface": True,
        "color_cue": True,
        "photo_colors": True,
        "model": ModelOptions.from_dict(
            {
                **MODEL_VALUES,
                "strength": 0.5,
                "memory": "group_offload",
                "loras": [{"name": "style", "scale": 0.75}],
            }
        ),
        "title": "Dancer",
        "protocol": RenderRequest("0" * 64, "0" * 64).protocol,
    }
    # A new setting of the request must come from somewhere, or be named here.
    assert set(expected) == {item.name for item in fields(RenderRequest)}
    assert {name: getattr(request, name) for name in expected} == expected


def test_every_model_option_has_a_place_in_the_panel(backend: FakeBackend, shot: Any) -> None:
    own = {"strength", "memory", "loras"}
    assert set(MODEL_VALUES) | own == {item.name for item in fields(ModelOptions)}


def test_an_untouched_panel_asks_for_the_authors_settings(backend: FakeBackend, shot: Any) -> None:
    make_video()
    request = backend.service.requests[0]
    assert (request.steps, request.guidance_scale, request.kept_frames) == (None, None, None)
    assert request.model == ModelOptions()


def test_the_estimate_is_of_the_job_that_would_be_sent(
    backend: FakeBackend, shot: Any, tmp_path: Path
) -> None:
    change_everything(shot, tmp_path)
    question = estimate_question(bpy.context, shot)  # type: ignore[arg-type]
    make_video()
    request = backend.service.requests[0]
    for name in ("engine", "prompt", "negative_prompt", "seed", "steps", "guidance_scale", "keep_points"):
        assert getattr(question.request, name) == getattr(request, name)
    assert (question.request.model, question.request.surface) == (request.model, request.surface)
    assert (question.frames, question.width, question.height) == (MODEL_FRAMES, 720, 480)


def test_keyframes_and_markers_choose_the_frames(backend: FakeBackend, shot: Any) -> None:
    dancer = bpy.data.objects["Dancer"]
    dancer.location.z = 1.0
    dancer.keyframe_insert("location", index=2, frame=13)
    shot.frame_choice = "keyframes"
    make_video()  # the frames 11 to 15
    bpy.context.scene.timeline_markers.new("Pose", frame=12)
    bpy.context.scene.timeline_markers.new("Elsewhere", frame=40)
    shot.frame_choice = "markers"
    make_video()
    assert [request.kept_frames for request in backend.service.requests] == [(0, 2, 4), (0, 1, 4)]
    assert [request.keep_frames for request in backend.service.requests] == [1.0, 1.0]


def test_the_preview_keeps_the_frames_that_generate_would(backend: FakeBackend, shot: Any) -> None:
    shot.frame_choice, shot.frame_step, shot.keep_frames = "every_nth", 3, 0.5
    context: Any = bpy.context
    wanted = conditioning_settings(context, shot, tuple(map(float, range(8))))
    assert (wanted.frames, wanted.keep_frames) == ((0, 3, 6, 7), 1.0)
    shot.frame_choice = "share"
    wanted = conditioning_settings(context, shot, tuple(map(float, range(8))))
    assert (wanted.frames, wanted.keep_frames) == (None, 0.5)


def test_a_lora_without_a_name_is_refused_before_anything_is_sampled(backend: FakeBackend, shot: Any) -> None:
    shot.model.loras.add()
    with pytest.raises(RuntimeError, match="A LoRA of the list has no name"):
        ops.flextraj.generate()
    assert not backend.service.requests


def execute_preset(name: str) -> None:
    path = BUILT_IN / "presets" / SUBFOLDER / f"{name}.py"
    assert bpy.ops.script.execute_preset(filepath=str(path), menu_idname="FLEXTRAJ_PT_presets") == {
        "FINISHED"
    }


def test_presets_go_from_draft_to_final_with_one_click(backend: FakeBackend, shot: Any) -> None:
    shot.prompt, shot.steps, shot.strength = "a dancer", 3, 0.2
    shot.model.step_cache = "mag"
    shot.model.loras.add().name = "style"
    execute_preset("Standard")
    assert (shot.engine, shot.steps, shot.strength, shot.model.step_cache) == ("wan", 25, 1.0, "none")
    execute_preset("Final")
    assert (shot.engine, shot.steps, len(shot.model.loras)) == ("wan", 0, 0)
    execute_preset("Draft")
    assert (shot.engine, shot.prompt) == ("preview", "a dancer")


def test_a_preset_for_a_final_video_never_means_the_demonstration_model(
    backend: FakeBackend, shot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = (EngineInfo(name, name, False, "The weights are missing.") for name in ("wan", "cogvideox"))
    monkeypatch.setattr(current_session(), "engines", (*large, EngineInfo("mini", "Mini", True)))
    for engine in ("preview", "mini"):
        shot.engine = engine
        execute_preset("Final")
        assert shot.engine == "wan"


def test_presets_stand_from_the_fastest_to_the_best_and_the_users_own_below(
    backend: FakeBackend, shot: Any
) -> None:
    ops.flextraj.add_preset(name="A Look")
    try:
        assert [preset.name for preset in listed_presets()] == ["Draft", "Standard", "Final", "A Look"]
        buttons = drawn_layout(FLEXTRAJ_PT_presets).buttons
        loads = [Path(found.filepath).stem for name, found in buttons if name == "script.execute_preset"]
        assert loads == ["Draft", "Standard", "Final", "A_Look"]
        assert [found.name for _, found in buttons if hasattr(found, "remove_name")] == ["A Look"]
    finally:
        ops.flextraj.add_preset(name="A Look", remove_name=True)
    assert [preset.name for preset in listed_presets()] == ["Draft", "Standard", "Final"]


def test_an_own_preset_brings_everything_back_and_can_be_removed(backend: FakeBackend, shot: Any) -> None:
    shot.engine, shot.steps, shot.model.attention = "cogvideox", 17, "sage"
    lora = shot.model.loras.add()
    lora.name, lora.scale = "style", 0.5
    assert ops.flextraj.add_preset(name="My Look") == {"FINISHED"}
    try:
        execute_preset("Draft")
        execute_preset("Final")
        path = bpy.utils.preset_find("My_Look", SUBFOLDER, ext=".py")
        bpy.ops.script.execute_preset(filepath=path, menu_idname="FLEXTRAJ_PT_presets")
        assert (shot.engine, shot.steps, shot.model.attention) == ("cogvideox", 17, "sage")
        assert [(row.name, row.scale) for row in shot.model.loras] == [("style", 0.5)]
    finally:
        ops.flextraj.add_preset(name="My_Look", remove_name=True)
    assert bpy.utils.preset_find("My_Look", SUBFOLDER, ext=".py") is None


def test_the_built_in_presets_are_not_deleted(backend: FakeBackend, shot: Any) -> None:
    with pytest.raises(RuntimeError, match="'Draft' comes with FlexTraj and stays: only presets of your own"):
        ops.flextraj.add_preset(name="Draft", remove_name=True)
    execute_preset("Final")
    with pytest.raises(RuntimeError, match="'Final' comes with FlexTraj and stays"):
        ops.flextraj.add_preset(remove_active=True)
    assert {"Draft.py", "Final.py"} <= {path.name for path in (BUILT_IN / "presets" / SUBFOLDER).iterdir()}


def test_a_new_seed_is_another_one(backend: FakeBackend, shot: Any) -> None:
    seeds = set()
    for _ in range(3):
        ops.flextraj.new_seed()
        seeds.add(shot.seed)
    assert len(seeds) > 1


def test_loras_are_listed_once_each(backend: FakeBackend, shot: Any) -> None:
    ops.flextraj.add_lora(name="style")
    with pytest.raises(RuntimeError, match="each of them once"):
        ops.flextraj.add_lora(name="style")
    ops.flextraj.remove_lora()
    assert len(shot.model.loras) == 0
    assert not ops.flextraj.remove_lora.poll()
