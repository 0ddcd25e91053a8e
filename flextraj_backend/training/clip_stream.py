"""Training samples as a stream over a folder's shards, for data too large or too far for random access.

Every machine and every worker reads its own shards from front to back. A clip gives the same sample as in a
`ClipDataset` of the same seed and epoch; only the order differs.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import IterableDataset
from webdataset import filters
from webdataset.pipeline import DataPipeline
from webdataset.shardlists import SimpleShardList, split_by_node, split_by_worker
from webdataset.tariterators import group_by_keys, tar_file_expander

from flextraj_backend.synthesis.clip_files import clip_from_files
from flextraj_backend.synthesis.shards import SHARDS, DatasetError
from flextraj_backend.training.augmentation import apply_choices, draw_choices
from flextraj_backend.training.clip_dataset import sample_generator
from flextraj_backend.training.tasks import IdAblation, TaskMixture
from flextraj_backend.training.training_sample import TrainingSample


class ClipStream(IterableDataset[TrainingSample]):
    """The training samples of one epoch and stage, shard by shard.

    In a process group each rank reads other shards, and so does each worker of a DataLoader: there should be
    at least as many shards as readers. Ranks may get different numbers of samples.

    Args:
        folder: made by `flextraj synthesize`.
        seed, epoch: of all choices and of the order.
        keys: of the clips to use; None = all.
        shuffle_clips: clips are drawn at random from this many read ahead; 0 = in the order of the shards.

    Raises:
        DatasetError: the folder has no shards.
    """

    def __init__(
        self,
        folder: Path,
        mixture: TaskMixture,
        seed: int = 0,
        epoch: int = 0,
        ablation: IdAblation = IdAblation.NONE,
        keys: Collection[str] | None = None,
        shuffle_clips: int = 0,
    ) -> None:
        # One that is being written has a hidden name.
        paths = sorted(path for path in (folder / SHARDS).glob("*.tar") if not path.name.startswith("."))
        if not paths:
            raise DatasetError(
                f"{folder} is no dataset: it has no shards; make one with 'flextraj synthesize -o DIR'."
            )
        order = np.random.default_rng([seed, epoch]).permutation(len(paths))
        # WebDataset's own opener takes paths for URLs and stumbles over '#' and '?' in them.
        pipeline: Any = DataPipeline(
            SimpleShardList([str(paths[index]) for index in order]),
            split_by_node,
            split_by_worker,
            _open_shards,
            filters.pipelinefilter(tar_file_expander)(),
            filters.pipelinefilter(group_by_keys)(),
        )
        if keys is not None:
            pipeline.append(filters.select(partial(_is_among, frozenset(keys))))
        if shuffle_clips:
            pipeline.append(filters.shuffle(shuffle_clips, rng=random.Random(f"{seed}:{epoch}")))
        pipeline.append(filters.map(partial(_to_sample, seed, epoch, mixture, ablation)))
        self._pipeline = pipeline

    def __iter__(self) -> Iterator[TrainingSample]:
        return iter(self._pipeline)


def _open_shards(shards: Iterable[Mapping[str, str]]) -> Iterator[dict[str, Any]]:
    for shard in shards:
        with Path(shard["url"]).open("rb") as stream:
            yield {"url": shard["url"], "stream": stream}


def _is_among(keys: frozenset[str], sample: Mapping[str, Any]) -> bool:
    return sample["__key__"] in keys


def _to_sample(
    seed: int, epoch: int, mixture: TaskMixture, ablation: IdAblation, sample: Mapping[str, Any]
) -> TrainingSample:
    key = str(sample["__key__"])
    files = {name: content for name, content in sample.items() if not name.startswith("__")}
    clip = clip_from_files(key, files)
    return apply_choices(clip, draw_choices(sample_generator(seed, epoch, key), mixture, clip), ablation)
