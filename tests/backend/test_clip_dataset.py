"""Clips on the disk as training samples: what resume, several workers and held-out clips rely on."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from masked_clips import masked_clip
from tiny_training import write_toy_dataset
from torch.utils.data import DataLoader, DistributedSampler

from blender_addon.core.errors import FlexTrajError
from flextraj_backend.synthesis.clip import SyntheticClip
from flextraj_backend.synthesis.shards import (
    SHARDS,
    ClipStore,
    pack_clip,
    shard_name,
    write_index,
    write_shard,
)
from flextraj_backend.training.clip_dataset import ClipCache, ClipDataset, as_list, clip_bytes
from flextraj_backend.training.clip_stream import ClipStream
from flextraj_backend.training.dataset_split import ClipCast, read_casts, split_clips, split_dataset
from flextraj_backend.training.tasks import ControlTask, IdAblation, TaskMixture
from flextraj_backend.training.training_sample import TrainingSample

MIXTURE = TaskMixture(tasks=tuple((task, 1 / 6) for task in ControlTask))


def small_clip(number: int) -> SyntheticClip:
    return masked_clip(
        key=f"clip{number:06d}",
        frames=3,
        size=(48, 32),
        points=60,
        background_points=20,
        others=1,
        shape=number % 2,
        pair_group=f"group{number // 2}",
        character_seeds=(number,),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips #1 100%")
    (folder / "shards").mkdir()
    entries = []
    for shard in range(3):
        packed = [pack_clip(small_clip(number)) for number in range(4 * shard, 4 * shard + 4)]
        entries += write_shard(folder, shard_name(shard), packed)
    write_index(folder, entries)
    return folder


Fingerprint = tuple[str, object, bytes, bytes, str]


def fingerprint(sample: TrainingSample) -> Fingerprint:
    videos = sample.conditioning
    return sample.key, sample.choices, videos.ids.tobytes(), videos.color.tobytes(), sample.prompt


def fingerprints(samples: Sequence[TrainingSample]) -> list[Fingerprint]:
    return sorted((fingerprint(sample) for sample in samples), key=lambda item: item[0])


def test_a_resumed_run_gets_the_samples_that_it_would_have_had(folder: Path) -> None:
    first, second = ClipDataset(folder, seed=4), ClipDataset(folder, seed=4, cache_bytes=0)
    for index in (11, 0, 5):
        one, other = (dataset.sample(2, index, MIXTURE) for dataset in (first, second))
        assert fingerprint(one) == fingerprint(other)
    assert fingerprint(first.sample(2, 5, MIXTURE)) == fingerprint(first.sample(2, 5, MIXTURE))


def test_epochs_and_seeds_show_a_clip_differently(folder: Path) -> None:
    dataset = ClipDataset(folder, seed=4)
    choices = {dataset.sample(epoch, 3, MIXTURE).choices for epoch in range(8)}
    assert len(choices) == 8
    assert ClipDataset(folder, seed=5).sample(0, 3, MIXTURE).choices not in choices


def test_workers_and_ranks_change_nothing_but_who_reads_what(folder: Path) -> None:
    dataset = ClipDataset(folder, seed=1)
    samples = dataset.samples(0, MIXTURE, IdAblation.NO_TRAJ_ID)
    alone = fingerprints([samples[index] for index in range(len(samples))])
    loader = DataLoader(samples, batch_size=5, num_workers=2, collate_fn=as_list)
    assert fingerprints([sample for batch in loader for sample in batch]) == alone
    ranks = []
    for rank in range(2):
        sampler = DistributedSampler(samples, num_replicas=2, rank=rank, shuffle=True)
        ranks += [samples[index] for index in sampler]
    assert fingerprints(ranks) == alone


def test_a_stream_over_the_shards_gives_the_same_samples_as_the_index(folder: Path) -> None:
    dataset = ClipDataset(folder, seed=7)
    expected = fingerprints([dataset.sample(3, index, MIXTURE) for index in range(len(dataset))])
    stream = ClipStream(folder, MIXTURE, seed=7, epoch=3, shuffle_clips=8)
    assert fingerprints(list(stream)) == expected
    loader = DataLoader(stream, batch_size=None, num_workers=2)
    assert fingerprints(list(loader)) == expected


def test_a_stream_keeps_to_the_clips_it_was_given(folder: Path) -> None:
    keys = ("clip000001", "clip000010")
    assert {sample.key for sample in ClipStream(folder, MIXTURE, keys=keys)} == set(keys)


def test_a_stream_has_another_order_in_another_epoch(folder: Path) -> None:
    orders = {
        tuple(sample.key for sample in ClipStream(folder, MIXTURE, seed=1, epoch=epoch, shuffle_clips=12))
        for epoch in (0, 0, 1, 2)
    }
    assert len(orders) == 3


def test_a_folder_without_clips_is_refused(tmp_path: Path) -> None:
    for make in (lambda: ClipDataset(tmp_path), lambda: ClipStream(tmp_path, MIXTURE)):
        with pytest.raises(FlexTrajError, match="flextraj synthesize"):
            make()


def test_a_key_that_is_not_there_is_refused_at_once(folder: Path) -> None:
    with pytest.raises(FlexTrajError, match="clip999999"):
        ClipDataset(folder, ["clip999999"])


def test_the_cache_keeps_the_clips_used_last_within_its_bytes() -> None:
    clips = [small_clip(number) for number in range(4)]
    cache = ClipCache(2 * clip_bytes(clips[0]) + 10)
    for clip in clips[:2]:
        cache.put(clip)
    assert cache.get("clip000000") is clips[0]
    cache.put(clips[2])
    assert cache.get("clip000001") is None and cache.get("clip000000") is clips[0]
    assert cache.bytes <= cache.max_bytes and len(cache) == 2
    tiny = ClipCache(10)
    tiny.put(clips[0])
    assert len(tiny) == 0 and tiny.bytes == 0


def test_workers_do_not_get_the_cached_clips_sent(folder: Path) -> None:
    dataset = ClipDataset(folder)
    before = len(pickle.dumps(dataset))
    assert [dataset[index] for index in range(4)]
    assert len(pickle.dumps(dataset)) == before


def test_no_motion_and_no_character_is_in_training_and_validation_where_possible(folder: Path) -> None:
    split = split_dataset(folder, 0.3, seed=2)
    assert set(split.train) | set(split.validation) == set(ClipStore(folder).keys)
    groups = {cast.key: cast.pair_group for cast in read_casts(ClipStore(folder))}
    assert split.shared_characters == 0 and split.validation
    assert not {groups[key] for key in split.train} & {groups[key] for key in split.validation}
    assert split == split_dataset(folder, 0.3, seed=2)


casts = st.lists(
    st.tuples(st.integers(0, 12), st.frozensets(st.integers(0, 30), min_size=1, max_size=3)),
    min_size=2,
    max_size=60,
).filter(lambda items: len({group for group, _ in items}) > 1)


@given(items=casts, share=st.floats(0.05, 0.6), seed=st.integers(0, 99))
@settings(max_examples=150, deadline=None)
def test_motions_are_kept_apart_whoever_performs_them(items: list, share: float, seed: int) -> None:
    clips = [
        ClipCast(f"clip{n}", f"group{group}", frozenset(("humanoid", number) for number in characters))
        for n, (group, characters) in enumerate(items)
    ]
    split = split_clips(clips, share, seed)
    groups = {clip.key: clip.pair_group for clip in clips}
    train, validation = ({groups[key] for key in side} for side in (split.train, split.validation))
    assert train and validation and not train & validation
    assert sorted(split.train + split.validation) == sorted(groups)


def test_characters_are_kept_apart_when_families_of_groups_allow_it() -> None:
    clips = [ClipCast(f"clip{n:03d}", f"group{n:03d}", frozenset({("humanoid", n // 4)})) for n in range(400)]
    split = split_clips(clips, 0.1, 0)
    assert split.shared_characters == 0
    assert 20 <= len(split.validation) <= 80


def test_a_few_characters_that_play_everywhere_do_not_empty_a_side() -> None:
    rng = np.random.default_rng(0)
    clips = [
        ClipCast(f"clip{n:03d}", f"group{n // 2:03d}", frozenset({("humanoid", int(rng.integers(4)))}))
        for n in range(400)
    ]
    split = split_clips(clips, 0.1, 0)
    assert 20 <= len(split.validation) <= 80 and split.shared_characters == 4


def test_a_dataset_of_one_motion_cannot_be_split() -> None:
    clips = [ClipCast(f"clip{n}", "group", frozenset()) for n in range(3)]
    with pytest.raises(FlexTrajError, match="two pair groups"):
        split_clips(clips, 0.1, 0)


def test_a_shard_that_is_still_being_written_is_not_read(tmp_path: Path) -> None:
    folder = write_toy_dataset(tmp_path / "clips")
    whole = [sample.key for sample in ClipStream(folder, MIXTURE)]
    (shard,) = (folder / SHARDS).glob("*.tar")
    (folder / SHARDS / f".{shard.name}.3f9c.tar").write_bytes(shard.read_bytes()[:700])
    assert [sample.key for sample in ClipStream(folder, MIXTURE)] == whole
