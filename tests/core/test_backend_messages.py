"""The backend's messages: what the panel would show wrong if reading them were sloppy."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blender_addon.client.messages import BackendHealth, EngineInfo, JobState, JobStatus, ResultKind
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


@given(job_statuses | engine_infos | healths)
def test_a_message_arrives_as_it_was_sent(message: JobStatus | EngineInfo | BackendHealth) -> None:
    assert type(message).from_dict(json.loads(json.dumps(message.to_dict()))) == message


@given(job_statuses)
def test_a_newer_backend_is_understood_as_far_as_it_is_known(status: JobStatus) -> None:
    values = status.to_dict() | {"new": {"a": 1}, "results": [*status.results, "hologram"]}
    assert JobStatus.from_dict(values) == status


json_values = st.none() | st.booleans() | st.integers() | st.floats() | texts | st.lists(st.integers())


@given(st.sampled_from(sorted(asdict(JobStatus("a", JobState.QUEUED, "b")))), json_values)
def test_a_wrong_type_is_an_error_that_names_the_setting_and_never_a_wrong_panel(
    name: str, value: Any
) -> None:
    values = JobStatus("a", JobState.QUEUED, "b").to_dict() | {name: value}
    try:
        JobStatus.from_dict(values)
    except FlexTrajError as error:
        assert error.code is ErrorCode.BACKEND
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
    assert engine.refusal(49, 720, 480) == ""
    sentence = engine.refusal(49, 480, 720)
    assert "720 × 480 pixels and no other size" in sentence and "not 480 × 720" in sentence
