"""One synthetic clip: what synthesis makes, and what the dataset, the trainer and the evaluation read.

NumPy only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blender_addon.core.trajectories import TrajectorySet


@dataclass(frozen=True)
class PerformerRecord:
    """One subject of a clip.

    Attributes:
        character: kind of the character, or the name of the user's file.
        character_seed: from which its body and its clothes were drawn.
        description: what it looks like, in words.
        action: name of its motion.
        action_seed: from which the motion's amplitude, tempo and phase were drawn.
    """

    character: str
    character_seed: int
    description: str
    action: str
    action_seed: int


@dataclass(frozen=True)
class ClipRecord:
    """Everything that was drawn for a clip, enough to make it again.

    Attributes:
        seed: of the scene.
        pair_group: clips of one group show the same motion and camera with different characters.
        performers: in the order of the trajectory set's controlled segments.
        other_performers: performers of each of the clip's `others`.
        camera, background, light, renderer: names of what was chosen.
        producer: program and version.
    """

    seed: int
    pair_group: str
    performers: tuple[PerformerRecord, ...]
    other_performers: tuple[tuple[PerformerRecord, ...], ...]
    camera: str
    background: str
    light: str
    renderer: str
    producer: str


@dataclass(frozen=True, eq=False)
class SyntheticClip:
    """A rendered clip with its exact tracks.

    Attributes:
        key: unique within its dataset: small letters, digits, '-' and '_'.
        frames: (T, H, W, 3) uint8 sRGB; the first frame is the reference photo.
        trajectories: T x N exact tracks at the video's raster: one segment a subject, and background ones.
        segments: (T, H, W) uint8: 0 = background, s + 1 = segment s of the set's `meta.segments`.
        others: the same motion before the same camera by other characters: they do not line up with `frames`.
        prompt: the scene in words.
        record: how it was made.
    """

    key: str
    frames: NDArray[np.uint8]
    trajectories: TrajectorySet
    segments: NDArray[np.uint8]
    others: tuple[TrajectorySet, ...]
    prompt: str
    record: ClipRecord
