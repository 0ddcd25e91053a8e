"""Fits over HTTP: what Fit to Photo would show wrongly if its answer were another than a render's."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import tiny_shot
from PIL import Image
from server_harness import Server, wait_until

from blender_addon.client.http_client import BackendError
from blender_addon.client.messages import JobState, ResultKind
from blender_addon.core.errors import ErrorCode
from blender_addon.core.request import FitMode, FitPin, RenderRequest

SLOW_SIDE = 3000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("fits"))
    yield running
    running.close()


def request(server: Server, **settings: Any) -> RenderRequest:
    return server.request(mask=server.client.upload(tiny_shot.png(tiny_shot.mask())), **settings)


def fit_workers(server: Server) -> list[psutil.Process]:
    children = psutil.Process(server.process.pid).children(recursive=True)
    return [child for child in children if any("fit_worker" in part for part in command_of(child))]


def command_of(process: psutil.Process) -> list[str]:
    """The command line; empty where the process has ended meanwhile."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_the_fit_that_is_shown_is_the_fit_of_the_render(server: Server, tmp_path: Path) -> None:
    wanted = request(server, fit=FitMode.GIVEN, fit_matrix=(1.1, 0.0, -3.0, 0.0, 1.1, 2.0))
    shown = server.client.fit(wanted)
    job = server.client.submit(wanted, "render-of-a-fit")
    assert server.finish(job.id).state is JobState.SUCCEEDED
    sidecar = server.client.download(job.id, ResultKind.SIDECAR, tmp_path / "job.json")
    rendered = json.loads(sidecar.read_text())["fit"]
    assert np.asarray(rendered["matrix"]).reshape(-1).tolist() == list(shown.matrix)
    assert rendered["iou"] == shown.iou
    assert np.array_equal(shown.mask(), tiny_shot.mask() > 127)


def test_pins_reach_the_render(server: Server, tmp_path: Path) -> None:
    x, y = (float(value) for value in tiny_shot.trajectories().positions[0, 7, :2])
    wanted = request(server, pins=(FitPin(0, 7, x + 4, y + 3),))
    job = server.client.submit(wanted, "render-with-a-pin")
    assert server.finish(job.id).state is JobState.SUCCEEDED
    sidecar = server.client.download(job.id, ResultKind.SIDECAR, tmp_path / "job.json")
    (group,) = json.loads(sidecar.read_text())["fit"]["pinned"]
    assert group["group"] == 0
    assert np.allclose(group["matrix"], [[1, 0, 4], [0, 1, 3]])


def test_a_refusal_says_the_same_sentence_as_the_render(server: Server) -> None:
    empty = server.client.upload(tiny_shot.png(np.zeros_like(tiny_shot.mask())))
    with pytest.raises(BackendError) as refusal:
        server.client.fit(server.request(mask=empty))
    assert (refusal.value.code, refusal.value.status) == (ErrorCode.MASK, 400)
    assert "paint the subject white" in refusal.value.message


def test_an_asset_that_was_not_uploaded_is_named(server: Server) -> None:
    with pytest.raises(BackendError) as refusal:
        server.client.fit(RenderRequest(trajectories="0" * 64, image="1" * 64))
    assert refusal.value.status == 404


def test_a_cancelled_fit_ends_and_the_server_goes_on(server: Server) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (SLOW_SIDE, SLOW_SIDE, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "BMP")
    slow = RenderRequest(
        trajectories=server.client.upload(tiny_shot.trajectory_bytes()),
        image=server.client.upload(buffer.getvalue()),
    )
    unwanted = threading.Event()
    outcome: list[str] = []

    def fit() -> None:
        try:
            server.client.fit(slow, unwanted.is_set)
            outcome.append("answered")
        except BackendError as error:
            outcome.append(error.message)

    thread = threading.Thread(target=fit)
    thread.start()
    wait_until(lambda: fit_workers(server), "the fit's process")
    assert server.client.health().uptime_seconds > 0  # the event loop is free
    unwanted.set()
    started = time.monotonic()
    thread.join(5)
    assert time.monotonic() - started < 2
    assert outcome == ["The call was cancelled: press the button again to repeat it."]
    wait_until(lambda: not fit_workers(server), "the end of the fit's process")
    assert server.client.fit(request(server)).iou > 0.9
