"""The backend's messages: what the panel would show wrong if reading them were sloppy."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blender_addon.client.messages import (
    BackendHealth,
    DeviceInfo,
    EngineInfo,
    JobState,
    JobStatus,
    ResultKind,
)
from blender_addon.core.errors import ErrorCode, FlexTrajError

texts = st.text(max_size=20)
counts = st.integers(0, 2**40)
numbers = st.floats(0, 1e12)

job_statuses = st.builds(
    JobStatus,
    id=texts,
    state=st.sampled_from(JobState),
    engine=texts,
    title=texts,
    phase=texts,
    step=counts,
    steps=counts,
    eta_seconds=st.none() | numbers,
    created=numbers,
    finished=st.none() | numbers,
    error=st.none() | texts,
    error_code=st.none() | st.sampled_from(ErrorCode),
    label=texts,
    warnings=st.lists(texts, max_size=3).map(tuple),
    results=st.lists(st.sampled_from(ResultKind), max_size=3).map(tuple),
)
engine_infos = st.builds(
    EngineInfo,
    name=texts,
    title=texts,
    available=st.booleans(),
    reason=texts,
    reason_code=st.none() | st.sampled_from(ErrorCode),
    min_frames=counts,
    max_frames=counts,
    frame_step=counts,
    frame_offset=counts,
    side_multiple=counts,
    max_side=counts,
    fixed_width=counts,
    fixed_height=counts,
    seconds=st.none() | numbers,
    memory_bytes=st.none() | counts,
    vram_bytes=st.none() | counts,
    note=texts,
)
healths = st.builds(BackendHealth, protocol=counts, version=texts, uptime_seconds=numbers)
devices = st.builds(
    DeviceInfo,
    name=texts,
    memory_name=texts,
    total_bytes=st.none() | counts,
    free_bytes=st.none() | counts,
    reason=texts,
    is_being_asked=st.booleans(),
)


@given(job_statuses | engine_infos | healths | devices)
def test_a_message_arrives_as_it_was_sent(
    message: JobStatus | EngineInfo | BackendHealth | DeviceInfo,
) -> None:
    assert type(message).from_dict(json.loads(json.dumps(message.to_dict()))) == message


@given(job_statuses)
def test_a_newer_backend_is_understood_as_far_as_it_is_known(status: JobStatus) -> None:
    values = status.to_dict() | {"new": {"a": 1}, "results": [*status.results, "hologram"]}
    assert JobStatus.from_dict(values) == status
    values["error_code"] = "an error of tomorrow"
    assert JobStatus.from_dict(values).error_code is None


json_values = st.none() | st.booleans() | st.integers() | st.floats() | texts | st.lists(st.integers())


@given(st.sampled_from(sorted(asdict(JobStatus("a", JobState.QUEUED, "b")))), json_values)
def test_a_wrong_type_is_an_error_that_names_the_setting_and_never_a_wrong_panel(
    name: str, value: Any
) -> None:
    values = JobStatus("a", JobState.QUEUED, "b").to_dict() | {name: value}
    try:
        JobStatus.from_dict(values)
    except FlexTrajError as error:
        assert error.code is ErrorCode.BACKEND_VERSION
        assert name in error.message
        assert "same version" in error.message


@pytest.mark.parametrize("kind", [JobStatus, EngineInfo, BackendHealth])
@pytest.mark.parametrize("values", [None, [], "text", {}, {"id": "x"}])
def test_an_answer_that_lacks_something_is_an_error(
    kind: type[JobStatus] | type[EngineInfo] | type[BackendHealth], values: Any
) -> None:
    with pytest.raises(FlexTrajError):
        kind.from_dict(values)


def test_a_job_without_steps_shows_no_progress_instead_of_failing() -> None:
    assert JobStatus("a", JobState.RUNNING, "b", step=3, steps=0).fraction == 0.0
    assert JobStatus("a", JobState.RUNNING, "b", step=3, steps=2).fraction == 1.0
    assert JobStatus("a", JobState.RUNNING, "b", step=1, steps=4).fraction == 0.25


def test_only_the_four_ends_count_as_finished() -> None:
    ends = {JobState.CANCELLED, JobState.SUCCEEDED, JobState.FAILED, JobState.INTERRUPTED}
    assert {state for state in JobState if state.is_finished} == ends


def test_an_engine_of_one_size_says_which_before_anything_is_sampled() -> None:
    engine = EngineInfo(
        "cogvideox", "CogVideoX", True, min_frames=5, max_frames=97, fixed_width=720, fixed_height=480
    )
    assert engine.refusal(49, 720, 480) is None
    refusal = engine.refusal(49, 480, 720)
    assert refusal is not None and refusal.code is ErrorCode.SIZE
    assert "720 × 480 pixels and no other size" in refusal.message and "not 480 × 720" in refusal.message


@given(
    st.builds(
        EngineInfo,
        name=texts,
        title=texts,
        available=st.just(True),
        min_frames=st.integers(1, 100),
        max_frames=st.integers(100, 1000),
        frame_step=st.integers(1, 16),
        frame_offset=st.integers(0, 1),
        side_multiple=st.sampled_from([1, 2, 16, 32]),
        max_side=st.integers(32, 4096),
        fixed_width=st.sampled_from([0, 720]),
        fixed_height=st.just(480),
    ),
    st.integers(1, 2000),
    st.integers(16, 8192),
    st.integers(16, 8192),
)
def test_what_the_fix_button_sets_is_what_the_engine_makes(
    engine: EngineInfo, frames: int, width: int, height: int
) -> None:
    length, size = engine.nearest_frames(frames), engine.nearest_size(width, height)
    assert engine.refusal(length, *size) is None
    if engine.refusal(frames, *size) is None:
        assert length == frames
    if engine.refusal(length, width, height) is None:
        assert size == (width, height)
    if not engine.fixed_width and max(width, height) <= engine.max_side - engine.side_multiple:
        assert max(abs(size[0] - width), abs(size[1] - height)) < 2 * engine.side_multiple


@pytest.mark.parametrize(
    ("frames", "width", "code", "words"),
    [
        (200, 720, ErrorCode.FRAME_RANGE, "Wan makes 5 to 121 frames, not 200"),
        (50, 720, ErrorCode.FRAME_RANGE, "Wan cannot make 50 frames: set Frames to 49"),
        (49, 2048, ErrorCode.SIZE, "at most 1280 pixels a side"),
        (49, 700, ErrorCode.SIZE, "multiples of 16"),
    ],
)
def test_a_refusal_says_whether_length_or_size_is_to_blame(
    frames: int, width: int, code: ErrorCode, words: str
) -> None:
    engine = EngineInfo(
        "wan", "Wan", True, min_frames=5, max_frames=121, frame_step=4, frame_offset=1, side_multiple=16,
        max_side=1280,
    )  # fmt: skip
    refusal = engine.refusal(frames, width, 480)
    assert refusal is not None
    assert refusal.code is code
    assert words in refusal.message


def test_an_engine_without_weights_is_refused_with_the_code_that_brings_the_right_button() -> None:
    engine = EngineInfo("wan", "Wan", False, "Run 'fetch'.", ErrorCode.WEIGHTS)
    refusal = engine.refusal(49, 720, 480)
    assert refusal is not None
    assert (refusal.message, refusal.code) == ("Run 'fetch'.", ErrorCode.WEIGHTS)
