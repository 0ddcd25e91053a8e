"""The cache of encoded videos: never stale, never half-written, never larger than asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_cogvideox import AutoencoderKLCogVideoX
from tiny_training import FRAMES, HEIGHT, WIDTH, build_training_base

from flextraj_backend.models.backbone import Backbone
from flextraj_backend.training.latent_cache import LatentCache, cache_key
from flextraj_backend.training.video_codec import EncodedVideo, VideoCodec, folder_fingerprint

TENSORS = {"a": torch.arange(6.0).reshape(2, 3)}


def test_what_was_kept_comes_back_with_its_record(tmp_path: Path) -> None:
    cache = LatentCache(tmp_path, "vae", 10**6)
    cache.put("ab12", TENSORS, {"prompt": "ä dog"})
    found = LatentCache(tmp_path, "vae", 10**6).get("ab12")
    assert found is not None and found.record == {"prompt": "ä dog"}
    assert torch.equal(found.tensors["a"], TENSORS["a"])


def test_another_vae_finds_nothing(tmp_path: Path) -> None:
    LatentCache(tmp_path, "vae", 10**6).put("ab12", TENSORS)
    assert LatentCache(tmp_path, "other", 10**6).get("ab12") is None


@pytest.mark.parametrize("size", [0, 5, 60])
def test_a_cut_off_file_counts_as_missing(tmp_path: Path, size: int) -> None:
    cache = LatentCache(tmp_path, "vae", 10**6)
    cache.put("ab12", TENSORS)
    path = next(tmp_path.rglob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:size])
    assert cache.get("ab12") is None


def test_a_full_cache_stops_growing_and_says_so(tmp_path: Path) -> None:
    cache = LatentCache(tmp_path, "vae", 400)
    for number in range(9):
        cache.put(cache_key(number), TENSORS)
    assert cache.full and "--cache-limit-gb" in cache.note
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.safetensors")) <= 400
    assert cache.get(cache_key(0)) is not None and cache.get(cache_key(8)) is None


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_training_base(Backbone.COGVIDEOX, tmp_path_factory.mktemp("base"))


def test_changed_weights_change_the_fingerprint(base: Path, tmp_path: Path) -> None:
    before = folder_fingerprint(base / "vae")
    copied = tmp_path / "vae"
    copied.mkdir()
    for path in (base / "vae").iterdir():
        (copied / path.name).write_bytes(path.read_bytes())
    assert folder_fingerprint(copied) == before
    weights = copied / "diffusion_pytorch_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert folder_fingerprint(copied) != before


def test_latents_do_not_depend_on_what_else_was_missing(base: Path) -> None:
    vae = AutoencoderKLCogVideoX.from_pretrained(base / "vae").requires_grad_(False)
    rng = np.random.default_rng(0)
    videos = [rng.integers(0, 256, (FRAMES, HEIGHT, WIDTH, 3), dtype=np.uint8) for _ in range(3)]
    together = VideoCodec(vae, Backbone.COGVIDEOX, group=2).encode([*videos, np.zeros_like(videos[0])])
    alone = VideoCodec(vae, Backbone.COGVIDEOX, group=2).encode([videos[1]])[0]
    assert all(torch.equal(together[1].tensors()[name], part) for name, part in alone.tensors().items())
    assert not torch.equal(together[0].mean, together[1].mean)


def test_draws_vary_about_the_mean_by_the_deviation() -> None:
    mean, deviation = torch.full((1, 1, 100, 100), 2.0), torch.full((1, 1, 100, 100), 0.5)
    encoded = EncodedVideo(mean, deviation, mean[..., :1], torch.empty(0))
    video, first = encoded.draw(torch.Generator().manual_seed(0))
    assert abs(float(video.mean()) - 2) < 0.02 and abs(float(video.std()) - 0.5) < 0.02
    assert torch.equal(first, mean[..., :1])
    again, _ = encoded.draw(torch.Generator().manual_seed(0))
    assert torch.equal(video, again)
