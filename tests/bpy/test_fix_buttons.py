"""The buttons against errors: after one click the error must be gone, or the right place open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

bpy = pytest.importorskip("bpy")

from addon_shot import make_video, ops  # noqa: E402
from fake_rendering import FakeBackend  # noqa: E402

from blender_addon import session  # noqa: E402
from blender_addon.bridge.shot_request import chosen_size, first_problem  # noqa: E402
from blender_addon.client.messages import EngineInfo, JobState, JobStatus  # noqa: E402
from blender_addon.core.errors import ErrorCode, FlexTrajError  # noqa: E402
from blender_addon.error_fixes import FIXES, Fix  # noqa: E402
from blender_addon.properties import runtime_state  # noqa: E402

WAN = EngineInfo(
    "wan", "Wan", True, min_frames=5, max_frames=121, frame_step=4, frame_offset=1, side_multiple=16,
    max_side=1280,
)  # fmt: skip
COG = EngineInfo(
    "cog", "Cog", True, min_frames=9, max_frames=49, frame_step=8, frame_offset=1, fixed_width=720,
    fixed_height=480,
)  # fmt: skip


@pytest.fixture(params=[WAN, COG], ids=lambda engine: engine.name)
def engine(request: pytest.FixtureRequest, backend: FakeBackend, shot: Any) -> EngineInfo:
    """An engine with limits, chosen for the shot."""
    session.current_session().engines = (request.param,)
    shot.engine, shot.frames = request.param.name, 49
    return request.param


def press(code: ErrorCode, message: str = "", key: str = "") -> set[str]:
    """Press an error's button as the panel draws it."""
    fix = FIXES[code]
    assert isinstance(fix, Fix)
    category, name = fix.operator.split(".")
    given = {"message": message, "key": key}
    details = {detail.value: given[detail.value] for detail in fix.details}
    return getattr(getattr(bpy.ops, category), name)(**dict(fix.settings), **details)


def problem(settings: Any) -> FlexTrajError | None:
    engine = session.current_session().engine(settings.engine)
    return first_problem(bpy.context, settings, engine)


def test_every_button_calls_an_operator_that_exists_with_properties_that_it_has(backend: FakeBackend) -> None:
    for code, fix in FIXES.items():
        if isinstance(fix, Fix):
            category, name = fix.operator.split(".")
            properties = getattr(getattr(bpy.ops, category), name).get_rna_type().properties.keys()
            wanted = {*dict(fix.settings), *(detail.value for detail in fix.details)}
            assert wanted <= set(properties), code


def test_the_panel_draws_the_button_with_what_it_needs(backend: FakeBackend, shot: Any) -> None:
    from blender_addon.fix_button import draw_fix

    class Button:
        pass

    class Layout:
        def operator(self, name: str, text: str, icon: str) -> Button:
            drawn.append((name, text, button := Button()))
            return button

    drawn: list[tuple[str, str, Any]] = []
    assert draw_fix(Layout(), "defect", "It broke.", "job7")  # type: ignore[arg-type]
    assert draw_fix(Layout(), "topology", "'Cube' changes.")  # type: ignore[arg-type]
    assert not draw_fix(Layout(), "request", "The seed must be a number.")  # type: ignore[arg-type]
    assert not draw_fix(Layout(), "", "No kind.")  # type: ignore[arg-type]
    assert [(name, text, vars(button)) for name, text, button in drawn] == [
        ("flextraj.open_log", "Open Log", {"key": "job7"}),
        ("flextraj.show_object", "Show Modifiers", {"tab": "MODIFIER", "message": "'Cube' changes."}),
    ]


# The scene


def test_a_missing_camera_is_added(backend: FakeBackend, shot: Any) -> None:
    bpy.data.objects.remove(bpy.context.scene.camera)
    assert problem(shot).code is ErrorCode.NO_CAMERA  # type: ignore[union-attr]
    press(ErrorCode.NO_CAMERA)
    assert problem(shot) is None
    make_video()


@pytest.mark.parametrize("source", ["CHARACTER", "SELECTION", "LIST"])
def test_a_missing_subject_is_the_object_that_was_clicked(
    backend: FakeBackend, shot: Any, source: str
) -> None:
    dancer = bpy.data.objects["Dancer"]
    shot.source, shot.character = source, None
    for ob in bpy.context.selected_objects:
        ob.select_set(False)
    assert problem(shot).code is ErrorCode.NO_SUBJECT  # type: ignore[union-attr]
    with pytest.raises(RuntimeError, match="Click the character in the viewport first"):
        press(ErrorCode.NO_SUBJECT)
    dancer.select_set(True)
    bpy.context.view_layer.objects.active = dancer
    press(ErrorCode.NO_SUBJECT)
    assert (problem(shot), shot.character) == (None, dancer)


def test_a_clicked_mesh_stands_for_its_armature_and_a_lonely_armature_needs_no_click(
    backend: FakeBackend, shot: Any
) -> None:
    bpy.ops.object.armature_add()
    rig, dancer = bpy.context.object, bpy.data.objects["Dancer"]
    dancer.modifiers.new("Armature", "ARMATURE").object = rig
    for clicked in (dancer, None):
        shot.character = None
        for ob in bpy.context.selected_objects:
            ob.select_set(False)
        if clicked is not None:
            clicked.select_set(True)
        bpy.context.view_layer.objects.active = clicked
        press(ErrorCode.NO_SUBJECT)
        assert shot.character == rig


@pytest.mark.parametrize(
    ("code", "setting"), [(ErrorCode.NO_PHOTO, "photo"), (ErrorCode.IMAGE, "photo"), (ErrorCode.MASK, "mask")]
)
def test_a_missing_or_broken_picture_is_chosen_anew(
    backend: FakeBackend, shot: Any, code: ErrorCode, setting: str
) -> None:
    session.show_error(FlexTrajError("It is gone.", code))
    target = dict(FIXES[code].settings)["target"]  # type: ignore[union-attr]
    ops.flextraj.pick_image(target=target, filepath="//another.png")
    assert getattr(shot, setting) == "//another.png"
    assert runtime_state().error_text == ""


def test_the_object_that_changes_its_topology_is_selected(backend: FakeBackend, shot: Any) -> None:
    dancer = bpy.data.objects["Dancer"]
    build = dancer.modifiers.new("Build", "BUILD")
    build.frame_start, build.frame_duration = 1, 100
    for ob in bpy.context.selected_objects:
        ob.select_set(False)
    with pytest.raises(RuntimeError, match="Dancer"):
        ops.flextraj.generate()
    state = runtime_state()
    press(ErrorCode(state.error_code), state.error_text)
    assert bpy.context.selected_objects == [dancer]
    assert bpy.context.view_layer.objects.active == dancer


def test_the_longest_name_in_a_sentence_is_the_object_that_is_meant(backend: FakeBackend) -> None:
    for name in ("Cube", "Cube's lid", "Lid"):
        bpy.ops.mesh.primitive_cube_add()
        bpy.context.object.name = name
    press(
        ErrorCode.TOPOLOGY, "'Cube's lid' changes its topology on frame 3, so its points cannot be followed."
    )
    assert [ob.name for ob in bpy.context.selected_objects] == ["Cube's lid"]
    with pytest.raises(RuntimeError, match="not in this scene any more"):
        press(ErrorCode.GEOMETRY, "'Sphere' has no surface to sample.")


# What the engine can make


@pytest.mark.parametrize("frames", [2, 48, 50, 500])
def test_a_length_that_the_engine_cannot_make_becomes_the_nearest_that_it_can(
    engine: EngineInfo, shot: Any, frames: int
) -> None:
    shot.frames = frames
    assert problem(shot).code is ErrorCode.FRAME_RANGE  # type: ignore[union-attr]
    press(ErrorCode.FRAME_RANGE)
    assert problem(shot) is None
    assert shot.frames == engine.nearest_frames(frames)


@pytest.mark.parametrize("width", [100, 721, 4096])
def test_a_size_that_the_engine_cannot_make_becomes_the_nearest_that_it_can(
    engine: EngineInfo, shot: Any, width: int
) -> None:
    shot.size, shot.width, shot.height = "CUSTOM", width, 480
    assert problem(shot).code is ErrorCode.SIZE  # type: ignore[union-attr]
    press(ErrorCode.SIZE)
    assert problem(shot) is None
    if engine is COG:
        assert (shot.size, chosen_size(bpy.context, shot)) == ("DRAFT", (720, 480))


@pytest.mark.parametrize(("first", "last"), [(10, 10), (20, 5)])
def test_a_range_without_frames_gets_as_many_as_the_video_has(
    backend: FakeBackend, shot: Any, first: int, last: int
) -> None:
    shot.frame_range, shot.first_frame, shot.last_frame = "CUSTOM", first, last
    with pytest.raises(RuntimeError, match="last frame must come after"):
        ops.flextraj.generate()
    press(ErrorCode.FRAME_RANGE)
    assert (shot.first_frame, shot.last_frame) == (first, first + shot.frames - 1)
    make_video()


def test_a_scene_of_one_frame_gets_a_range(backend: FakeBackend, shot: Any) -> None:
    bpy.context.scene.frame_start = bpy.context.scene.frame_end = 7
    shot.frame_range = "SCENE"
    with pytest.raises(RuntimeError, match="single frame"):
        ops.flextraj.generate()
    assert runtime_state().error_code == ErrorCode.FRAME_RANGE.value
    press(ErrorCode.FRAME_RANGE)
    assert runtime_state().error_text == ""
    make_video()


def test_each_click_against_full_gpu_memory_asks_for_less_until_nothing_is_left(
    engine: EngineInfo, shot: Any
) -> None:
    seen = [shot.memory]
    for _ in range(3):
        press(ErrorCode.GPU_MEMORY)
        seen.append(shot.memory)
    assert seen == ["auto", "group_offload", "fp8_weights", "fp8_tiled"]
    sizes = [(*chosen_size(bpy.context, shot), shot.frames)]
    with pytest.raises(RuntimeError, match="This is the least"):
        for _ in range(100):
            press(ErrorCode.GPU_MEMORY)
            sizes.append((*chosen_size(bpy.context, shot), shot.frames))
            assert problem(shot) is None
    assert len(sizes) > 2
    assert sizes == sorted(sizes, reverse=True)


def test_the_chosen_memory_mode_is_what_the_backend_gets(backend: FakeBackend, shot: Any) -> None:
    press(ErrorCode.GPU_MEMORY)
    make_video()
    assert backend.service.requests[0].model.memory == "group_offload"


def test_each_click_against_full_memory_asks_for_fewer_points_then_a_smaller_video(
    backend: FakeBackend, shot: Any
) -> None:
    shot.points = 2000
    seen = []
    for _ in range(4):
        press(ErrorCode.MEMORY)
        seen.append((shot.points, *chosen_size(bpy.context, shot)))
    assert seen == [(1000, 720, 480), (500, 720, 480), (256, 720, 480), (256, 540, 360)]


def test_an_engine_that_cannot_run_is_exchanged_in_its_menu(backend: FakeBackend, shot: Any) -> None:
    fix = FIXES[ErrorCode.ENGINE]
    assert isinstance(fix, Fix)
    assert hasattr(bpy.types, dict(fix.settings)["name"])
    session.show_error(FlexTrajError("Wan cannot run here.", ErrorCode.ENGINE))
    ops.flextraj.choose_engine(name="preview")
    assert runtime_state().error_text == ""


# The backend


def test_a_backend_that_does_not_answer_is_restarted(backend: FakeBackend) -> None:
    ops.flextraj.start_backend()
    press(ErrorCode.BACKEND)
    assert backend.stops == 1
    assert runtime_state().backend_phase == "running"
    backend.connect_error = FlexTrajError("The port is refused: allow it.", ErrorCode.BACKEND)
    with pytest.raises(RuntimeError, match="The port is refused"):
        press(ErrorCode.BACKEND)
    assert runtime_state().error_code == "backend"


@pytest.mark.parametrize(
    ("code", "message", "command"),
    [
        (
            ErrorCode.BACKEND_MISSING,
            "Not installed: run 'python3 scripts/bootstrap.py demo' in the FlexTraj folder.",
            "python3 scripts/bootstrap.py demo",
        ),
        (
            ErrorCode.BACKEND_VERSION,
            "The backend 1 speaks protocol 1: update both.",
            "python3 scripts/bootstrap.py demo",
        ),
        (
            ErrorCode.WEIGHTS,
            "The weights are missing: run 'flextraj weights fetch wan' to get them.",
            "weights fetch wan",
        ),
    ],
)
def test_the_command_that_mends_it_is_on_the_clipboard_and_in_the_preferences(
    backend: FakeBackend, code: ErrorCode, message: str, command: str
) -> None:
    assert press(code, message) == {"FINISHED"}
    assert runtime_state().help_command.endswith(command)


def test_the_log_of_a_job_that_broke_is_shown_in_blender(backend: FakeBackend, shot: Any) -> None:
    backend.service.outcome = JobStatus(
        "job1", JobState.FAILED, "preview", error="It broke.", error_code=ErrorCode.DEFECT
    )
    with pytest.raises(RuntimeError, match="It broke"):
        ops.flextraj.generate()
    press(ErrorCode.DEFECT, key=runtime_state().error_job)
    assert bpy.data.texts["Dancer.log"].as_string() == "first line\nlast line"
    press(ErrorCode.DEFECT)
    assert bpy.data.texts["FlexTraj backend.log"].as_string() == "It listens.\nIt renders."


def test_a_damaged_video_is_fetched_again(backend: FakeBackend, shot: Any) -> None:
    make_video()
    job = runtime_state().jobs[0]
    Path(job.video).write_bytes(b"damaged")
    with pytest.raises(RuntimeError, match="not a video that Blender can read"):
        ops.flextraj.load_result(target="CLIP")
    assert (runtime_state().error_code, runtime_state().error_job) == ("video", job.key)
    press(ErrorCode.VIDEO, key=job.key)
    assert ops.flextraj.load_result(target="CLIP") == {"FINISHED"}
    assert runtime_state().error_text == ""


def test_a_full_disk_leads_to_the_folders(backend: FakeBackend) -> None:
    with pytest.raises(RuntimeError, match="install the extension to set preferences"):
        press(ErrorCode.DISK)
