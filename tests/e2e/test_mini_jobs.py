"""A job of the mini engine through a real server: listed, estimated, rendered at the shot's size."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_shot
from server_harness import Server, wait_until
from toy_mini import write_toy_mini

from blender_addon.client.http_client import BackendError
from blender_addon.client.messages import EngineInfo, JobState, JobStatus, ResultKind
from blender_addon.core.request import RenderRequest
from flextraj_backend.engines.mini.weights import MINI_VARIABLE
from flextraj_backend.video_io import read_video

PATIENCE = 240.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MINI_VARIABLE, str(write_toy_mini(tmp_path_factory.mktemp("mini"))))
        running = Server(tmp_path_factory.mktemp("server"))
    yield running
    running.close()


def test_a_shot_of_any_size_is_rendered_with_label_warning_and_record(server: Server, tmp_path: Path) -> None:
    def ask() -> EngineInfo | None:
        try:
            return next(info for info in server.client.engines() if info.name == "mini")
        except BackendError:  # the first answer waits for torch to be asked about the device
            return None

    mini = wait_until(ask, "the list of engines", PATIENCE)
    assert mini.available, mini.reason
    assert mini.refusal(tiny_shot.FRAMES, tiny_shot.WIDTH, tiny_shot.HEIGHT) is None
    request = RenderRequest(
        trajectories=server.client.upload(tiny_shot.trajectory_bytes()),
        image=server.client.upload(tiny_shot.png(tiny_shot.photo())),
        engine="mini",
        prompt="a red box moves right",
        steps=3,
        seed=2,
    )
    job = server.client.submit(request, "mini")

    def look() -> JobStatus | None:
        status = server.client.job(job.id)
        return status if status.state.is_finished else None

    status = wait_until(look, "the job to end", PATIENCE)
    assert status.state is JobState.SUCCEEDED, status.error
    frames, _ = read_video(server.client.download(job.id, ResultKind.VIDEO, tmp_path / "video.mp4"))
    assert frames.shape == (tiny_shot.FRAMES, tiny_shot.HEIGHT, tiny_shot.WIDTH, 3)
    sidecar = json.loads(server.client.download(job.id, ResultKind.SIDECAR, tmp_path / "j.json").read_text())
    assert sidecar["label"] == "mini model, 96x64 px"
    assert any("small demonstration model" in warning for warning in sidecar["warnings"])
    assert sidecar["engine"] == "mini" and sidecar["generation"]["raster"]["width"] == 96
