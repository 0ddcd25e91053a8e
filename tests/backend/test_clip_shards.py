"""Clips in shards: what training would lose if a clip did not come back as it was made."""

from __future__ import annotations

import dataclasses
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_clips import toy_clip

from blender_addon.core.errors import FlexTrajError
from blender_addon.core.trajectory_file import trajectories_to_bytes
from flextraj_backend.synthesis.clip import SyntheticClip
from flextraj_backend.synthesis.clip_files import ClipError, clip_from_files, clip_to_files
from flextraj_backend.synthesis.frame_members import VideoQuality
from flextraj_backend.synthesis.shards import (
    INDEX,
    SHARDS,
    ClipEntry,
    ClipStore,
    DatasetError,
    dataset_keys,
    iterate_clips,
    pack_clip,
    read_clip,
    shard_name,
    unpack_files,
    write_index,
    write_shard,
)

LARGE = (360, 240)


def write_dataset(folder: Path, clips: list[SyntheticClip], per_shard: int = 2) -> Path:
    (folder / SHARDS).mkdir(parents=True)
    entries: list[ClipEntry] = []
    for number in range(0, len(clips), per_shard):
        part = [pack_clip(clip) for clip in clips[number : number + per_shard]]
        entries += write_shard(folder, shard_name(number // per_shard), part)
    write_index(folder, entries)
    return folder


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "data", [toy_clip(f"clip{i:06d}", i) for i in range(5)])


def assert_equal(a: SyntheticClip, b: SyntheticClip) -> None:
    assert (a.key, a.prompt, a.record) == (b.key, b.prompt, b.record)
    np.testing.assert_array_equal(a.frames, b.frames)
    np.testing.assert_array_equal(a.segments, b.segments)
    sets = zip((a.trajectories, *a.others), (b.trajectories, *b.others), strict=True)
    assert all(trajectories_to_bytes(one) == trajectories_to_bytes(two) for one, two in sets)


@pytest.mark.parametrize(("size", "member"), [((72, 48), "frames.png"), (LARGE, "video.mp4")])
def test_a_lossless_clip_comes_back_bit_for_bit(size: tuple[int, int], member: str) -> None:
    clip = toy_clip(seed=3, size=size)
    files = clip_to_files(clip)
    assert member in files and {"first.png", "other0.npz", "other1.npz", "json"} <= files.keys()
    assert_equal(clip_from_files(clip.key, files), clip)


def test_odd_sizes_are_lossless_too() -> None:
    clip = toy_clip(seed=3, size=(361, 241), frames=6)
    assert_equal(clip_from_files(clip.key, clip_to_files(clip)), clip)


def test_high_quality_is_close_to_the_frames_and_keeps_the_photo_exactly() -> None:
    clip = toy_clip(seed=3, size=LARGE)
    files = clip_to_files(clip, VideoQuality.HIGH)
    read = clip_from_files(clip.key, files)
    error = np.abs(read.frames.astype(int) - clip.frames)
    assert 0 < error.mean() < 4
    assert files["first.png"] == clip_to_files(clip)["first.png"]
    with pytest.raises(FlexTrajError, match="even width"):
        clip_to_files(toy_clip(size=(71, 48)), VideoQuality.HIGH)


def test_the_same_clip_is_the_same_bytes() -> None:
    assert pack_clip(toy_clip(seed=5)).sha256 == pack_clip(toy_clip(seed=5)).sha256
    assert pack_clip(toy_clip(seed=5)).sha256 != pack_clip(toy_clip(seed=6)).sha256


def test_any_clip_is_read_at_random_and_all_in_order(dataset: Path) -> None:
    assert dataset_keys(dataset) == tuple(f"clip{i:06d}" for i in range(5))
    assert_equal(read_clip(dataset, "clip000003"), toy_clip("clip000003", 3))
    assert [clip.key for clip in iterate_clips(dataset)] == list(dataset_keys(dataset))
    some = ["clip000004", "clip000000"]
    assert [clip.key for clip in iterate_clips(dataset, some)] == some
    with pytest.raises(DatasetError, match="no clip 'nobody'"):
        read_clip(dataset, "nobody")


def test_a_shard_is_a_plain_tar_file(dataset: Path) -> None:
    with tarfile.open(dataset / SHARDS / "train-000000.tar") as archive:
        names = archive.getnames()
    assert names[0] == "clip000000.frames.png" and "clip000001.trajectories.npz" in names
    assert [name.partition(".")[0] for name in names] == sorted(name.partition(".")[0] for name in names)


@pytest.mark.parametrize("place", [600, 6000, 20_000])
def test_a_flipped_byte_in_a_shard_is_found_when_its_clip_is_read(dataset: Path, place: int) -> None:
    path = dataset / SHARDS / "train-000001.tar"
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(ClipError, match="'clip000002' is damaged"):
        read_clip(dataset, "clip000002")
    assert read_clip(dataset, "clip000003").key == "clip000003"


def test_a_cut_off_or_missing_shard_is_a_sentence(dataset: Path) -> None:
    path = dataset / SHARDS / "train-000000.tar"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ClipError, match="cut off"):
        read_clip(dataset, "clip000001")
    path.unlink()
    with pytest.raises(ClipError, match=r"cannot be read from train-000000\.tar"):
        read_clip(dataset, "clip000000")


@pytest.mark.parametrize(
    "change",
    [
        {"shard": "../secret.tar"},
        {"shard": "/etc/passwd"},
        {"offset": -512},
        {"offset": 7},
        {"size": 0},
        {"key": "../clip"},
        {"sha256": 5},
        {"extra": 1},
    ],
)
def test_an_index_cannot_lead_out_of_the_folder(dataset: Path, change: dict[str, object]) -> None:
    lines = (dataset / INDEX).read_text().splitlines()
    lines[1] = json.dumps(json.loads(lines[1]) | change)
    (dataset / INDEX).write_text("\n".join(lines) + "\n")
    with pytest.raises(DatasetError, match="Line 2 of"):
        ClipStore(dataset)


def test_an_index_that_promises_too_much_allocates_nothing(dataset: Path) -> None:
    entry = dataclasses.replace(ClipStore(dataset).entry("clip000000"), size=1 << 50)
    write_index(dataset, [entry])
    with pytest.raises(ClipError, match="cut off"):
        read_clip(dataset, "clip000000")


def test_a_folder_without_an_index_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="is no dataset"):
        dataset_keys(tmp_path)


def test_a_clip_with_members_of_another_clip_is_refused() -> None:
    data = pack_clip(toy_clip("clip000000")).data
    with pytest.raises(ClipError, match="no member of it"):
        unpack_files("clip000001", data)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_a_shard_are_refused(kind: bytes) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("clip000000.json")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    with pytest.raises(ClipError, match="no member of it"):
        unpack_files("clip000000", buffer.getvalue())


@pytest.mark.parametrize(
    "name", ["frames.png", "trajectories.npz", "other0.npz", "segments.npz", "prompt.txt", "json"]
)
def test_a_missing_member_is_a_sentence_that_names_the_clip(name: str) -> None:
    files = clip_to_files(toy_clip())
    del files[name]
    with pytest.raises(ClipError, match="clip000000"):
        clip_from_files("clip000000", files)


@pytest.mark.parametrize(
    "name", ["frames.png", "video.mp4", "trajectories.npz", "other0.npz", "segments.npz", "json"]
)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_damaged_members_raise_nothing_but_a_sentence(name: str, data: st.DataObject) -> None:
    files = dict(VIDEO_FILES if name == "video.mp4" else STRIP_FILES)
    content = bytearray(files[name])
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    files[name] = bytes(content)
    try:
        clip_from_files("clip000000", files)
    except ClipError as error:
        assert "clip000000" in error.message and "\n" not in error.message


STRIP_FILES = clip_to_files(toy_clip())
VIDEO_FILES = clip_to_files(toy_clip(size=LARGE))


def test_frames_of_another_size_than_the_tracks_are_refused() -> None:
    files = clip_to_files(toy_clip())
    for other in (toy_clip(frames=8), toy_clip(size=(80, 48)), toy_clip(size=LARGE)):
        changed = clip_to_files(other)
        for name in ("frames.png", "video.mp4", "segments.npz"):
            if name in changed:
                mixed = {key: value for key, value in files.items() if key != "frames.png"}
                mixed |= {"frames.png": files["frames.png"]} if name == "segments.npz" else {}
                with pytest.raises(ClipError):
                    clip_from_files("clip000000", mixed | {name: changed[name]})


@pytest.mark.parametrize(
    "change",
    [
        {"key": "Clip 1"},
        {"key": "../x"},
        {"frames": np.zeros((9, 48, 72, 3), np.float32)},
        {"frames": np.zeros((9, 48, 70, 3), np.uint8)},
        {"segments": np.full((9, 48, 72), 9, np.uint8)},
        {"segments": np.zeros((8, 48, 72), np.uint8)},
        {"others": toy_clip(frames=8).others},
    ],
)
def test_a_clip_that_breaks_the_contract_is_never_stored(change: dict[str, object]) -> None:
    with pytest.raises(ClipError):
        clip_to_files(dataclasses.replace(toy_clip(), **change))  # pyright: ignore[reportArgumentType]


def test_an_interrupted_shard_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / SHARDS).mkdir()

    def clips():
        yield pack_clip(toy_clip())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shard(tmp_path, shard_name(0), clips())
    assert not list((tmp_path / SHARDS).iterdir())


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(FlexTrajError, match="cannot be written"):
        write_shard(tmp_path / "missing", shard_name(0), [pack_clip(toy_clip())])
