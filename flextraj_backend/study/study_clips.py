"""The clips of a study: those to train on, and held-out ones of characters that no training sees."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from blender_addon.core.errors import ErrorCode, RequestError
from flextraj_backend.mini.settings import MiniSettings, read_settings
from flextraj_backend.models.backbone import Backbone, has_added_positions
from flextraj_backend.models.base_model import TRANSFORMER, VAE, read_base_model
from flextraj_backend.study.study_settings import StudySettings
from flextraj_backend.synthesis.clip_maker import BLENDER_MAKER
from flextraj_backend.synthesis.dataset_folder import read_description
from flextraj_backend.synthesis.pipeline import synthesize
from flextraj_backend.synthesis.plan import SynthesisSettings
from flextraj_backend.synthesis.run_reports import Reporter
from flextraj_backend.synthesis.shards import ClipStore
from flextraj_backend.synthesis.stop_signals import stopping_on_signals

_UNSEEN = 1_000_003
"""Added to a dataset's seeds: other characters, motions, cameras and backgrounds."""
_MINI_SIZES = ("cpu", "gpu")


def make_clips(
    study: StudySettings, new_reporter: Callable[[], Reporter], workers: int, maker: str = BLENDER_MAKER
) -> None:
    """Make the clips that were not given, or go on with them.

    Args:
        new_reporter: makes what is told how a dataset goes.
        workers: Blender processes.
        maker: 'module:Class' of the ClipMaker.

    Raises:
        FlexTrajError: they cannot be made, or a given dataset does not say how it was made.
    """
    study.folder.mkdir(parents=True, exist_ok=True)
    if not study.data:
        _make(study.training_clips, base_clips(study.base), study.clips, new_reporter(), workers, maker)
    if not study.held_out_data:
        settings = unseen(read_description(study.training_clips).settings)
        _make(study.held_out_clips, settings, study.held_out, new_reporter(), workers, maker)


def held_out_store(study: StudySettings) -> tuple[ClipStore, tuple[str, ...]]:
    """The held-out clips and the keys of those that are measured. Raises FlexTrajError."""
    store = ClipStore(study.held_out_clips)
    keys = store.keys[: study.held_out]
    if len(keys) < study.held_out:
        raise RequestError(
            f"{study.held_out_clips} has {len(keys)} clips, {study.held_out} are to be measured: "
            "lower --held-out, or make more clips."
        )
    return store, keys


def unseen(settings: SynthesisSettings) -> SynthesisSettings:
    """Settings of clips of the same kind that share no character and no scene with a dataset's."""
    scene = replace(settings.scene, character_seed=settings.scene.character_seed + _UNSEEN)
    return replace(
        settings, seed=settings.seed + _UNSEEN, scene=scene, pair_size=1, others=max(1, settings.others)
    )


def base_clips(base: str) -> SynthesisSettings:
    """Settings of the mini's clips, at the one size that a base model makes. Raises RequestError."""
    size = fixed_raster(Path(base)) if Path(base).is_dir() else None
    if size is None:
        raise RequestError(
            f"The base model '{base}' does not say at which size it was trained: give clips with --data.",
            ErrorCode.SIZE,
        )
    frames, height, width = size
    mini = mini_of_raster(height, width)
    return replace(mini.clips, scene=replace(mini.clips.scene, width=width, height=height, frames=frames))


def mini_of_raster(height: int, width: int) -> MiniSettings:
    """The mini's settings of a size, or else of the first one."""
    sizes = [read_settings(name) for name in _MINI_SIZES]
    return next((size for size in sizes if (size.height, size.width) == (height, width)), sizes[0])


def fixed_raster(folder: Path) -> tuple[int, int, int] | None:
    """Frames, height and width that a CogVideoX with added positions was made for; None for others."""
    from flextraj_backend.models.checkpoint_layout import base_shape

    if base_shape(folder).backbone is not Backbone.COGVIDEOX:
        return None
    configs = read_base_model(folder, Backbone.COGVIDEOX).configs
    transformer: Any = configs[TRANSFORMER]
    if not has_added_positions(transformer):
        return None
    scale = 2 ** (len(configs[VAE]["block_out_channels"]) - 1)
    return (
        transformer["sample_frames"],
        scale * transformer["sample_height"],
        scale * transformer["sample_width"],
    )


def _make(
    folder: Path, settings: SynthesisSettings, clips: int, reporter: Reporter, workers: int, maker: str
) -> None:
    with stopping_on_signals() as stop:
        synthesize(folder, settings, clips, workers, None, reporter, stop, maker)


def default_workers() -> int:
    return min(os.cpu_count() or 1, 8)
