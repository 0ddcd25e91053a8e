"""Checking a data set: what a training would learn from clips that nobody looked at."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from toy_clips import toy_clip

from flextraj_backend.cli import main
from flextraj_backend.synthesis.clip import SyntheticClip
from flextraj_backend.synthesis.clip_checks import broken_limits, measure_clip, share_inside
from flextraj_backend.synthesis.contact_sheet import draw_contact_sheet
from flextraj_backend.synthesis.dataset_folder import (
    FORMAT_VERSION,
    DatasetDescription,
    DatasetFolder,
    write_description,
)
from flextraj_backend.synthesis.plan import SynthesisSettings
from flextraj_backend.synthesis.scene import SceneOptions
from flextraj_backend.synthesis.shards import (
    INDEX,
    SHARDS,
    dataset_keys,
    pack_clip,
    shard_name,
    write_index,
    write_shard,
)
from flextraj_backend.synthesis.validation import check_dataset, repair_dataset

SETTINGS = SynthesisSettings(0, SceneOptions(width=72, height=48, frames=9), others=2, clips_per_shard=3)


def make_dataset(folder: Path, clips: list[SyntheticClip]) -> Path:
    (folder / SHARDS).mkdir(parents=True)
    entries = []
    for first in range(0, len(clips), 3):
        entries += write_shard(folder, shard_name(first // 3), map(pack_clip, clips[first : first + 3]))
    write_index(folder, entries)
    write_description(folder, DatasetDescription(FORMAT_VERSION, "test", len(clips), len(clips), 0, SETTINGS))
    return folder


def numbered(number: int) -> SyntheticClip:
    return toy_clip(f"clip{number:06d}", number, pair_group=f"group{number // 3:06d}")


def still(clip: SyntheticClip) -> SyntheticClip:
    """The same clip without motion."""
    own = clip.trajectories
    held = dataclasses.replace(own, positions=np.repeat(own.positions[:1], own.frame_count, axis=0))
    return dataclasses.replace(clip, trajectories=held)


SPOILED: dict[str, Callable[[SyntheticClip], SyntheticClip]] = {
    "outside their masks": lambda clip: dataclasses.replace(clip, segments=clip.segments[:, ::-1].copy()),
    "plain first frame": lambda clip: dataclasses.replace(clip, frames=np.full_like(clip.frames, 90)),
    "do not change": lambda clip: dataclasses.replace(
        clip, frames=np.repeat(clip.frames[:1], len(clip.frames), axis=0)
    ),
    "subjects that hardly move": still,
    "hides its subjects": lambda clip: dataclasses.replace(
        clip,
        trajectories=dataclasses.replace(
            clip.trajectories,
            visible=clip.trajectories.visible & (np.arange(len(clip.frames)) > 0)[:, None],
        ),
    ),
    "other casts that hardly move": lambda clip: dataclasses.replace(
        clip, others=(clip.others[0], still(clip).trajectories)
    ),
    "1 other casts, not 2": lambda clip: dataclasses.replace(clip, others=clip.others[:1]),
}


def test_a_sound_data_set_passes(tmp_path: Path) -> None:
    found = check_dataset(make_dataset(tmp_path / "d", [numbered(i) for i in range(4)]))
    assert found.is_sound and found.clips == 4 and not found.missing
    inside = found.figures[0]
    assert inside.smallest >= 0.97 and inside.bad == 0


@pytest.mark.parametrize("problem", SPOILED)
def test_a_bad_clip_is_found_with_its_reason(problem: str, tmp_path: Path) -> None:
    clips = [numbered(i) for i in range(4)]
    clips[2] = SPOILED[problem](clips[2])
    found = check_dataset(make_dataset(tmp_path / "d", clips))
    assert [bad.key for bad in found.bad] == ["clip000002"]
    assert problem in found.bad[0].problem


def test_the_same_clip_twice_is_found(tmp_path: Path) -> None:
    twin = dataclasses.replace(toy_clip("clip000002", 0))
    found = check_dataset(make_dataset(tmp_path / "d", [numbered(0), numbered(1), twin]))
    assert [(bad.key, bad.problem) for bad in found.bad] == [
        ("clip000002", "has the same frames as clip000000")
    ]


def test_a_flipped_byte_a_lost_shard_and_missing_clips_are_found(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "d", [numbered(i) for i in range(9)])
    path = folder / SHARDS / shard_name(0)
    data = bytearray(path.read_bytes())
    data[5000] ^= 1
    path.write_bytes(data)
    (folder / SHARDS / shard_name(2)).unlink()
    lines = (folder / INDEX).read_text().splitlines()
    (folder / INDEX).write_text("\n".join(lines[:4] + lines[5:]) + "\n")
    found = check_dataset(folder)
    assert [bad.key for bad in found.bad] == ["clip000000", "clip000006", "clip000007", "clip000008"]
    assert "SHA-256" in found.bad[0].problem and "cannot be read" in found.bad[1].problem
    assert found.missing == ("clip000004",)


def test_repair_takes_out_bad_clips_alone_so_that_they_are_made_again(tmp_path: Path) -> None:
    clips = [numbered(i) for i in range(7)]
    clips[1], clips[6] = still(clips[1]), still(clips[6])
    folder = make_dataset(tmp_path / "d", clips)
    repair_dataset(folder, check_dataset(folder))
    assert dataset_keys(folder) == tuple(f"clip{i:06d}" for i in (0, 2, 3, 4, 5))
    assert not (folder / SHARDS / shard_name(2)).exists()
    assert check_dataset(folder).is_sound
    again = DatasetFolder(folder, SETTINGS, 7)
    assert again.missing() == [1, 6]
    for index in again.missing():
        again.add(index, pack_clip(numbered(index)))
    again.finish()
    whole = make_dataset(tmp_path / "whole", [numbered(i) for i in range(7)])
    assert (folder / INDEX).read_text() == (whole / INDEX).read_text()
    assert check_dataset(folder).is_sound


def test_the_command_lists_bad_clips_and_exits_with_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_dataset(tmp_path / "d", [numbered(0), still(numbered(1)), numbered(2)])
    with pytest.raises(SystemExit) as end:
        main(["synthesize", "--check", str(folder)])
    assert end.value.code == 1
    output = capsys.readouterr().out
    assert "clip000001: " in output and "has subjects that hardly move" in output
    assert "2 clips are sound, 1 are bad" in output
    with pytest.raises(SystemExit) as end:
        main(["synthesize", "--check", str(folder), "--repair"])
    assert end.value.code == 1
    with pytest.raises(SystemExit) as end:
        main(["synthesize", "--check", str(folder)])
    assert end.value.code == 0
    assert "1 are still to be made" in capsys.readouterr().out


def test_a_damaged_index_can_be_repaired_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_dataset(tmp_path / "d", [numbered(i) for i in range(3)])
    lines = (folder / INDEX).read_text().splitlines()
    (folder / INDEX).write_text("\n".join([lines[0], lines[1][:40], lines[2]]) + "\n")
    with pytest.raises(SystemExit) as end:
        main(["synthesize", "--check", str(folder)])
    assert end.value.code == 2 and "Line 2" in capsys.readouterr().err
    with pytest.raises(SystemExit) as end:
        main(["synthesize", "--check", str(folder), "--repair"])
    assert end.value.code == 0
    assert dataset_keys(folder) == ("clip000000", "clip000002")


def test_a_folder_that_is_no_data_set_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["synthesize", "--check", str(tmp_path)])
    assert end.value.code == 2 and "is no dataset" in capsys.readouterr().err


def test_a_data_set_without_a_complete_shard_is_told_apart_from_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_description(tmp_path, DatasetDescription(FORMAT_VERSION, "test", 3, 0, 0, SETTINGS))
    with pytest.raises(SystemExit) as end:
        main(["synthesize", "--check", str(tmp_path)])
    assert end.value.code == 2 and "has no complete shard yet" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Give a folder with -o"),
        (["-o", "x", "--repair"], "--repair belongs to --check"),
        (["-o", "x", "--size", "720"], "'720' is not a size"),
        (["-o", "x", "--size", "8x8"], "16 to 4096"),
        (["-o", "x", "--actions", "walk,fly"], "no 'fly': --actions takes"),
        (["-o", "x", "--cameras", "drone"], "no 'drone': --cameras takes static"),
        (["-o", "x", "--others", "40"], "--others"),
    ],
)
def test_wrong_options_are_a_sentence_and_no_folder(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["synthesize", *arguments])
    assert end.value.code == 2 and sentence in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_point_beside_its_outline_counts_as_inside_and_one_two_pixels_off_does_not() -> None:
    clip = toy_clip()
    moved = dataclasses.replace(
        clip.trajectories, positions=clip.trajectories.positions + np.array([30, 0, 0], np.float32)
    )
    assert share_inside(clip.trajectories, clip.segments) == 1.0
    assert share_inside(moved, clip.segments) < 0.2
    assert not broken_limits(measure_clip(clip))


def test_the_contact_sheet_has_a_row_for_each_clip_of_a_pair() -> None:
    one = draw_contact_sheet([toy_clip()], 1)
    two = draw_contact_sheet([toy_clip(), toy_clip(seed=2)], 2)
    assert one.shape[1] == two.shape[1] and one.shape[0] < two.shape[0]
    assert one.std() > 10
