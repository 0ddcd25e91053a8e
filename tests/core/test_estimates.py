"""Estimates: what a user would lose if they were asked too often, never, or shown for another job."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from job_fakes import FakeBackend, FakeService

from blender_addon.client.estimates import EstimateAnswer, EstimateDesk, EstimateQuestion, EstimateReport
from blender_addon.client.job_runner import JobRunner
from blender_addon.client.job_texts import estimate_text
from blender_addon.core.errors import ErrorCode, FlexTrajError, RequestError
from blender_addon.core.request import RenderRequest

REQUEST = RenderRequest("0" * 64, "0" * 64, steps=12)
QUESTION = EstimateQuestion(REQUEST, 49, 720, 480)
OTHER = replace(QUESTION, frames=81)
ANSWER = EstimateAnswer(12.0, 3 << 30, 5 << 30, "One model at a time.")


def test_a_question_and_its_answer_arrive_as_they_were_sent() -> None:
    assert EstimateQuestion.from_json(QUESTION.to_json()) == QUESTION
    refused = EstimateAnswer(refusal="No weights.", refusal_code=ErrorCode.WEIGHTS)
    for answer in (ANSWER, refused):
        assert EstimateAnswer.from_dict(answer.to_dict()) == answer


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(["request", "frames", "width", "height", "aligned"]), json_values)
def test_any_value_in_a_question_is_taken_or_refused_in_one_sentence(name: str, value: Any) -> None:
    values = json.loads(QUESTION.to_json()) | {name: value}
    try:
        EstimateQuestion.from_json(json.dumps(values))
    except RequestError as error:
        assert error.message.endswith(".")


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 9999, '{"frames": 1}'])
def test_what_is_no_question_is_refused(text: str) -> None:
    with pytest.raises(RequestError):
        EstimateQuestion.from_json(text)


def test_settings_that_are_being_dragged_are_asked_about_once_they_rest() -> None:
    desk = EstimateDesk()
    asked = []
    for tick in range(20):
        desk.want(replace(QUESTION, frames=10 + min(tick, 10)), tick * 0.1)
        asked += filter(None, [desk.take_due(tick * 0.1)])
    assert [question.frames for question in asked] == [20]


def test_one_question_is_under_way_at_a_time_and_the_last_wish_counts() -> None:
    desk = EstimateDesk()
    desk.want(QUESTION, 0.0)
    assert desk.take_due(1.0) == QUESTION
    desk.want(OTHER, 1.1)
    assert desk.take_due(9.0) is None
    desk.take(EstimateReport(QUESTION, ANSWER))
    assert desk.is_busy
    assert desk.take_due(9.0) == OTHER
    desk.take(EstimateReport(OTHER, ANSWER))
    assert not desk.is_busy


def test_an_estimate_is_not_shown_for_another_job() -> None:
    desk = EstimateDesk()
    desk.want(QUESTION, 0.0)
    desk.take_due(1.0)
    desk.take(EstimateReport(QUESTION, ANSWER))
    assert desk.report_on(QUESTION) == EstimateReport(QUESTION, ANSWER)
    assert desk.report_on(OTHER) is None


def test_an_old_estimate_is_asked_for_again_while_somebody_looks() -> None:
    desk = EstimateDesk()
    desk.want(QUESTION, 0.0)
    desk.take_due(1.0)
    desk.take(EstimateReport(QUESTION, ANSWER))
    desk.want(QUESTION, 20.0)
    assert desk.take_due(20.0) is None
    desk.want(QUESTION, 40.0)
    assert desk.take_due(40.0) == QUESTION


def test_a_desk_that_nobody_looks_at_asks_nothing() -> None:
    desk = EstimateDesk()
    assert not desk.is_busy
    assert desk.take_due(1e9) is None


def reports(runner: JobRunner) -> list[EstimateReport]:
    found: list[EstimateReport] = []
    while not found:
        found += [report for report in runner.wait(5.0) if isinstance(report, EstimateReport)]
    return found


def test_the_worker_brings_the_answer(start: Callable[[FakeBackend], JobRunner]) -> None:
    service = FakeService()
    runner = start(FakeBackend(service))
    runner.start_backend()
    runner.estimate(QUESTION)
    assert reports(runner) == [EstimateReport(QUESTION, service.estimate_answer)]
    assert service.questions == [QUESTION]


def test_a_question_does_not_start_the_backend(start: Callable[[FakeBackend], JobRunner]) -> None:
    service = FakeService()
    runner = start(FakeBackend(service))
    runner.estimate(QUESTION)
    (report,) = reports(runner)
    assert report.answer is None
    assert isinstance(report.error, FlexTrajError)
    assert not service.questions


def test_an_estimate_reads_like_a_sentence() -> None:
    assert estimate_text(ANSWER) == "About 12 s, 3.0 GiB of memory and 5.0 GiB of GPU memory"
    assert estimate_text(replace(ANSWER, vram_bytes=0, seconds=90)) == "About 1 min 30 s, 3.0 GiB of memory"
