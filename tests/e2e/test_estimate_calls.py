"""Estimates over HTTP: what a user would decide wrongly if the figures were of another job, or late."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from server_harness import Server

from blender_addon.client.estimates import EstimateQuestion
from blender_addon.client.http_client import BackendError
from blender_addon.core.errors import ErrorCode
from blender_addon.core.request import RenderRequest


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("estimates"))
    yield running
    running.close()


def question(engine: str = "preview", **settings: Any) -> EstimateQuestion:
    """About assets that were never uploaded."""
    request = RenderRequest("0" * 64, "0" * 64, engine=engine)
    return replace(EstimateQuestion(request, 49, 720, 480), **settings)


def test_the_estimate_is_of_this_length_and_size(server: Server) -> None:
    nominal = server.client.estimate(question())
    longer = server.client.estimate(question(frames=98))
    smaller = server.client.estimate(question(width=360, height=240))
    assert smaller.seconds < nominal.seconds < longer.seconds
    assert smaller.memory_bytes < nominal.memory_bytes < longer.memory_bytes
    assert "motion draft" in nominal.note
    assert server.client.estimate(question(aligned=True)).note == ""


def test_what_cannot_be_made_is_refused_with_a_sentence(server: Server) -> None:
    too_long = server.client.estimate(question(frames=19_000))
    assert "at most" in too_long.refusal
    assert too_long.refusal_code is not None
    absent = server.client.estimate(question("absent"))
    assert absent.refusal.startswith("The weights are not here")
    unknown = server.client.estimate(question("unknown"))
    assert unknown.refusal.startswith("There is no engine 'unknown'")


def test_a_broken_question_is_refused(server: Server) -> None:
    wrong = question()
    object.__setattr__(wrong, "frames", 10**9)
    with pytest.raises(BackendError, match="from 1 to") as caught:
        server.client.estimate(wrong)
    assert caught.value.code is ErrorCode.REQUEST


def test_the_engines_say_what_they_read(server: Server) -> None:
    reads = {engine.name: set(engine.reads) for engine in server.client.engines()}
    assert "prompt" not in reads["preview"]
    for name in ("wan", "cogvideox"):
        assert {"prompt", "negative_prompt", "steps", "guidance_scale", "model"} <= reads[name]
