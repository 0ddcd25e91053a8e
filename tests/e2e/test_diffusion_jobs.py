"""Jobs of the diffusion engines on toy weights through a real server: from the engine list to the video."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_shot
from diffusers.models.autoencoders.autoencoder_kl_cogvideox import AutoencoderKLCogVideoX
from diffusers.models.transformers.cogvideox_transformer_3d import CogVideoXTransformer3DModel
from server_harness import TOKEN, Server, wait_until
from tiny_pipelines import build_tiny, write_tiny_adapter
from toy_engines import install_toy_weights, shot

from blender_addon.client.http_client import BackendError
from blender_addon.client.messages import EngineInfo, JobState, JobStatus, ResultKind
from blender_addon.core.errors import ErrorCode
from blender_addon.core.model_options import MemoryMode, ModelOptions
from blender_addon.core.request import RenderRequest
from blender_addon.core.trajectories import TrajectorySet
from blender_addon.core.trajectory_file import trajectories_to_bytes
from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.devices import LIMIT_VARIABLE
from flextraj_backend.models.weights import WEIGHTS_VARIABLE
from flextraj_backend.video_io import read_video

FRAMES, HEIGHT, WIDTH = 9, 64, 96
PATIENCE = 120.0
LIMIT = "1394MiB"
"""A memory plan for a CPU counts 1 GiB of it for the program itself."""
WIDE_FRAMES, WIDE_HEADS = 49, 32
"""A transformer whose weights and condition fit into the rest, and whose denoising does not."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install_toy_weights(tmp_path_factory.mktemp("weights"), Backbone.WAN)


@pytest.fixture(scope="module")
def server(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(WEIGHTS_VARIABLE, str(weights))
        patch.setenv(LIMIT_VARIABLE, LIMIT)
        running = Server(tmp_path_factory.mktemp("server"))
    yield running
    running.close()


def submit(
    server: Server, backbone: Backbone, trajectories: TrajectorySet | None = None, **settings: Any
) -> JobStatus:
    trajectories = trajectories or shot(FRAMES, width=WIDTH, height=HEIGHT)
    request = RenderRequest(
        trajectories=server.client.upload(trajectories_to_bytes(trajectories)),
        image=server.client.upload(tiny_shot.png(tiny_shot.photo())),
        engine=backbone.value,
        prompt="a red box moves right",
        **settings,
    )
    return server.client.submit(request, f"{backbone} {time.monotonic_ns()}")


def engine_info(server: Server, backbone: Backbone) -> EngineInfo:
    """What the server says about an engine; the first answer waits for torch to be asked about the device."""

    def ask() -> dict[str, EngineInfo] | None:
        with contextlib.suppress(BackendError):
            return {item.name: item for item in server.client.engines()}
        return None

    return wait_until(ask, "the list of engines", PATIENCE)[backbone.value]


def finish(server: Server, job_id: str) -> JobStatus:
    def look() -> JobStatus | None:
        status = server.client.job(job_id)
        return status if status.state.is_finished else None

    return wait_until(look, f"{job_id} to end", PATIENCE)


def events(server: Server, job_id: str) -> list[dict[str, Any]]:
    """All that the server tells about a job until it ends."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    connection.request("GET", f"/v1/jobs/{job_id}/events", headers={"Authorization": f"Bearer {TOKEN}"})
    text = connection.getresponse().read().decode()
    connection.close()
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]


def test_a_job_becomes_a_video_and_shows_each_of_its_phases(server: Server, tmp_path: Path) -> None:
    wan = engine_info(server, Backbone.WAN)
    assert wan.available, wan.reason
    assert wan.refusal(FRAMES, WIDTH, HEIGHT) is None
    job = submit(server, Backbone.WAN, steps=300, color_cue=True, seed=2)
    told = events(server, job.id)
    assert told[-1]["state"] == "succeeded", told[-1]["error"]
    order = ["loading", "encoding prompt", "encoding condition", "denoising", "decoding"]
    phases = [event["phase"] for event in told]
    seen = [phase for phase in order if phase in phases]
    # Short phases may pass between two looks.
    assert "denoising" in seen and len(seen) >= 3
    assert [phases.index(phase) for phase in seen] == sorted(phases.index(phase) for phase in seen)
    denoising = [event["step"] for event in told if event["phase"] == "denoising"]
    assert len(set(denoising)) > 2 and denoising == sorted(denoising) and denoising[-1] <= 300
    frames, _ = read_video(server.client.download(job.id, ResultKind.VIDEO, tmp_path / "video.mp4"))
    assert frames.shape == (FRAMES, HEIGHT, WIDTH, 3)
    sidecar = json.loads(server.client.download(job.id, ResultKind.SIDECAR, tmp_path / "j.json").read_text())
    assert sidecar["generation"]["steps"] == 300
    assert sidecar["generation"]["memory"]["explanation"]
    assert sidecar["label"] == ""


def test_a_job_that_denoises_can_be_cancelled_and_the_backend_goes_on(server: Server) -> None:
    job = submit(server, Backbone.WAN, steps=1000)

    def look() -> JobStatus | None:
        status = server.client.job(job.id)
        assert not status.state.is_finished, status
        return status if status.phase == "denoising" and status.step > 2 else None

    wait_until(look, "the denoising", PATIENCE)
    server.client.cancel(job.id)
    status = finish(server, job.id)
    assert status.state is JobState.CANCELLED
    assert status.phase == "denoising" and status.step < 1000
    assert not list(server.job_folder(job.id).glob("**/*.mp4"))


def test_weights_that_are_missing_say_what_to_run_and_count_once_they_are_there(
    server: Server, weights: Path
) -> None:
    cogvideox = engine_info(server, Backbone.COGVIDEOX)
    assert not cogvideox.available
    assert cogvideox.reason_code is ErrorCode.WEIGHTS
    assert "flextraj weights fetch cogvideox" in cogvideox.reason
    with pytest.raises(BackendError, match="flextraj weights fetch"):
        submit(server, Backbone.COGVIDEOX)
    install_wide_cogvideox(weights)
    cogvideox = engine_info(server, Backbone.COGVIDEOX)
    assert cogvideox.available, cogvideox.reason
    assert (cogvideox.fixed_width, cogvideox.fixed_height) == (WIDTH, HEIGHT)


def test_a_job_that_runs_out_of_memory_gets_advice_and_the_next_one_runs(
    server: Server, weights: Path
) -> None:
    install_wide_cogvideox(weights)
    resident = ModelOptions(memory=MemoryMode.RESIDENT)
    trajectories = shot(WIDE_FRAMES, width=WIDTH, height=HEIGHT)
    status = finish(server, submit(server, Backbone.COGVIDEOX, trajectories, steps=2, model=resident).id)
    assert status.state is JobState.FAILED
    assert status.error is not None and "ran out of memory while denoising" in status.error
    assert "choose memory mode 'fp8_weights'" in status.error
    assert "\n" not in status.error and status.results == ()
    assert server.client.health().uptime_seconds > 0
    assert finish(server, submit(server, Backbone.WAN, steps=2).id).state is JobState.SUCCEEDED


def install_wide_cogvideox(weights: Path) -> None:
    """A toy whose single block is 2048 wide, behind a VAE that takes little."""
    place = weights / Backbone.COGVIDEOX.value
    if place.exists():
        return
    unfinished = weights / "unfinished"
    base = build_tiny(Backbone.COGVIDEOX, unfinished / "base", frames=WIDE_FRAMES)
    for part, kind, changes in (
        (
            "transformer",
            CogVideoXTransformer3DModel,
            {"num_attention_heads": WIDE_HEADS, "attention_head_dim": 64, "num_layers": 1},
        ),
        ("vae", AutoencoderKLCogVideoX, {"block_out_channels": (2, 2, 2, 2), "norm_num_groups": 1}),
    ):
        former: Any = kind.load_config(base / part)
        config = {**former, **changes}
        shutil.rmtree(base / part)
        model: Any = kind.from_config(config)
        model.save_pretrained(base / part)
    control = unfinished / f"flextraj_{Backbone.COGVIDEOX}.safetensors"
    write_tiny_adapter(Backbone.COGVIDEOX, base, control)
    unfinished.rename(place)
