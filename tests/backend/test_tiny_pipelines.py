"""The toy base models stand in for the real ones: same layout, same loading, no network."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_pipelines as tiny
from diffusers.pipelines.cogvideo.pipeline_cogvideox_image2video import CogVideoXImageToVideoPipeline
from diffusers.pipelines.wan.pipeline_wan import WanPipeline
from diffusers.pipelines.wan.pipeline_wan_i2v import WanImageToVideoPipeline
from PIL import Image
from safetensors import safe_open

from flextraj_backend.models.backbone import Backbone


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError("a toy model asked for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.parametrize(
    ("backbone", "pipeline", "loaded_as"),
    [
        (Backbone.COGVIDEOX, None, CogVideoXImageToVideoPipeline),
        (Backbone.WAN, tiny.WAN_TEXT_PIPELINE, WanImageToVideoPipeline),
        (Backbone.WAN, tiny.WAN_TEXT_PIPELINE, WanPipeline),
        (Backbone.WAN, tiny.WAN_IMAGE_PIPELINE, WanImageToVideoPipeline),
    ],
)
def test_a_toy_model_loads_offline_and_makes_a_video(
    tmp_path: Path, backbone: Backbone, pipeline: str | None, loaded_as: Any
) -> None:
    folder = tiny.build_tiny(backbone, tmp_path, **({"pipeline": pipeline} if pipeline else {}))
    loaded = loaded_as.from_pretrained(folder, local_files_only=True)
    loaded.set_progress_bar_config(disable=True)
    photo = np.random.default_rng(0).integers(0, 255, (tiny.TINY_HEIGHT, tiny.TINY_WIDTH, 3), np.uint8)
    image = {} if loaded_as is WanPipeline else {"image": Image.fromarray(photo)}
    video = loaded(
        prompt="a dog moving left",
        height=tiny.TINY_HEIGHT,
        width=tiny.TINY_WIDTH,
        num_frames=tiny.TINY_FRAMES,
        num_inference_steps=2,
        output_type="np",
        **image,
    ).frames
    assert video.shape == (1, tiny.TINY_FRAMES, tiny.TINY_HEIGHT, tiny.TINY_WIDTH, 3)
    assert np.isfinite(video).all() and video.std() > 0.01


@pytest.mark.parametrize("backbone", list(Backbone))
def test_a_toy_control_file_has_every_published_key(tmp_path: Path, backbone: Backbone) -> None:
    folder = tiny.build_tiny(backbone, tmp_path / "base")
    path = tiny.write_tiny_adapter(backbone, folder, tmp_path / "adapter.safetensors")
    with safe_open(path, "pt") as file:
        names = set(file.keys())
        assert all(file.get_tensor(name).abs().sum() > 0 for name in names)
    expected = {Backbone.COGVIDEOX: 2 * 4 * 2 + 2, Backbone.WAN: 2 * 8 * 2 + 2}
    assert len(names) == expected[backbone]
