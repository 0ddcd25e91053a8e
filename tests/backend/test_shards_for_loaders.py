"""Shards in other people's loaders: what a trainer would lose if they were WebDataset files by name only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_clips import toy_clip

from flextraj_backend.synthesis.shards import SHARDS, pack_clip, shard_name, write_shard

CLIPS = [toy_clip(f"clip{i:06d}", i) for i in range(4)]


@pytest.fixture
def shards(tmp_path: Path) -> list[str]:
    (tmp_path / SHARDS).mkdir()
    for number in range(2):
        write_shard(tmp_path, shard_name(number), map(pack_clip, CLIPS[2 * number : 2 * number + 2]))
    return [str(path) for path in sorted((tmp_path / SHARDS).iterdir())]


def check_samples(samples: list[dict[str, Any]]) -> None:
    assert [sample["__key__"] for sample in samples] == [clip.key for clip in CLIPS]
    for sample, clip in zip(samples, CLIPS, strict=True):
        np.testing.assert_array_equal(
            np.asarray(sample["frames.png"]).reshape(clip.frames.shape), clip.frames
        )
        np.testing.assert_array_equal(np.asarray(sample["first.png"]), clip.frames[0])
        np.testing.assert_array_equal(np.asarray(sample["segments.npz"]["segments"]), clip.segments)
        positions = np.asarray(sample["trajectories.npz"]["positions"], np.float32)
        np.testing.assert_array_equal(positions, clip.trajectories.positions)
        other = np.asarray(sample["other1.npz"]["positions"], np.float32)
        np.testing.assert_array_equal(other, clip.others[1].positions)
        assert sample["prompt.txt"] == clip.prompt
        assert sample["json"]["pair_group"] == clip.record.pair_group


def test_webdataset_reads_the_shards(shards: list[str]) -> None:
    webdataset = pytest.importorskip("webdataset")
    check_samples(list(webdataset.WebDataset(shards, shardshuffle=False).decode("rgb8")))


def test_hugging_face_datasets_read_the_shards_offline(
    shards: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setenv(variable, "1")
    datasets = pytest.importorskip("datasets")
    loaded = datasets.load_dataset(
        "webdataset", data_files={"train": shards}, split="train", cache_dir=str(tmp_path / "cache")
    )
    check_samples(list(loaded))
