"""Jobs on a Ray cluster (of this machine): what a studio would lose if they did not end like local ones."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from server_harness import Server

from blender_addon.client.messages import JobState, ResultKind
from blender_addon.core.errors import FlexTrajError
from flextraj_backend.server.ray_launcher import RayLauncher

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")


@needs_ray
@pytest.mark.slow
def test_jobs_on_a_cluster_end_like_local_ones(start_server: Callable[..., Server], tmp_path: Path) -> None:
    server = start_server("--ray", "local", "--workers", "2")
    waiting = server.submit("wait")
    done = server.finish(server.submit("print", title="Far away").id)
    assert (done.state, done.error) == (JobState.SUCCEEDED, None)
    assert done.label == "fake draft" and set(done.results) == set(ResultKind)
    assert server.client.download(done.id, ResultKind.VIDEO, tmp_path / "v.mp4").stat().st_size > 0
    assert "noise on standard output" in server.client.log(done.id)
    assert (server.job_folder(done.id) / "job.json").is_file()
    server.wait_until_rendering(waiting.id)
    server.client.cancel(waiting.id)
    assert server.finish(waiting.id).state is JobState.CANCELLED
    killed = server.finish(server.submit("killed").id)
    assert killed.state is JobState.FAILED
    assert killed.error is not None and "\n" not in killed.error
    refused = server.finish(server.submit("refuse").id)
    assert refused.error == "The engine cannot do this: ask for less."


@needs_ray
@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:99999"])
def test_a_cluster_that_is_not_there_is_a_sentence_and_not_minutes_of_silence(address: str) -> None:
    with pytest.raises(FlexTrajError, match="does not answer"):
        RayLauncher(address)


def test_without_ray_the_sentence_has_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(FlexTrajError, match=r"pip install .*ray\]"):
        RayLauncher("local")
