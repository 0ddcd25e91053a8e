"""Conditioning of rendered (CG) clips: a rendered ID video of the characters plus tracks of the background.

Conventions 1.10. The background's points count as unassigned beside one foreground segment, and are stamped
large.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blender_addon.core.id_coding import UNASSIGNED, TrajIdSpacing, id_colors
from blender_addon.core.sparsity import random_points
from flextraj_backend.conditioning.masks import inside_dilated
from flextraj_backend.conditioning.painting import draw_tracks
from flextraj_backend.conditioning.track_merging import merge_tracks

HALF_WIDTH = 6
"""Pixels; stamps of synthetic clips always have the large size."""
FOREGROUND_BOX = 10
PERSON_BOX = 7
PART_PROBABILITY = 0.7
_SPARSE_FRACTION = 0.01
_MANY_POINTS = 500
_FOREGROUND_SEGMENTS = 1


@dataclass(frozen=True, eq=False)
class StampedTracks:
    """Tracks ready to be stamped.

    Attributes:
        tracks: (T, N, 3) x, y in pixels and priority.
        visible: (T, N).
        colors: (N, 3) uint8.
    """

    tracks: NDArray[np.float32]
    visible: NDArray[np.bool_]
    colors: NDArray[np.uint8]

    def draw(self, height: int, width: int) -> NDArray[np.uint8]:
        """Draw on black: (T, H, W, 3) uint8."""
        return draw_tracks(self.tracks, self.visible, self.colors, HALF_WIDTH, height, width)


def background_fraction(point_count: int) -> float:
    """Share of the background tracks that an aligned clip shows: 1 % of more than 500, otherwise all."""
    return _SPARSE_FRACTION if point_count > _MANY_POINTS else 1.0


def background_tracks(
    tracks: NDArray[np.float32],
    visible: NDArray[np.bool_],
    foreground: NDArray[np.bool_],
    fraction: float,
    generator: np.random.Generator,
) -> StampedTracks:
    """Background tracks that do not start on the foreground (dilated by 10 px), a `fraction` of them visible.

    Args:
        tracks: (T, N, 3), visible: (T, N).
        foreground: (H, W) on the first frame; of an unaligned clip the union of both actors.
        fraction: see `background_fraction`; 0.01 for unaligned clips.
    """
    outside = ~inside_dilated(tracks[0], foreground, FOREGROUND_BOX)
    count = int(np.count_nonzero(outside))
    keep = random_points(count, fraction, generator)
    colors = id_colors(np.full(count, UNASSIGNED), _FOREGROUND_SEGMENTS)
    return StampedTracks(tracks[:, outside], visible[:, outside] & keep, colors)


def stamp_over(canvas: NDArray[np.uint8], background: StampedTracks) -> NDArray[np.uint8]:
    """Stamp background tracks over a rendered ID video (T, H, W, 3)."""
    stamps = background.draw(*canvas.shape[1:3])
    return np.where(stamps[..., :1] > 0, stamps, canvas)


def stamp_under(
    canvas: NDArray[np.uint8], masks: NDArray[np.bool_], background: StampedTracks
) -> NDArray[np.uint8]:
    """Stamp background tracks, the actor in front: inside `masks` (T, H, W) the canvas (T, H, W, 3) wins."""
    return np.where(masks[..., None], canvas, stamp_over(canvas, background))


def draw_parts(part_count: int, generator: np.random.Generator) -> NDArray[np.bool_]:
    """Choose which parts of a character stay, each with probability 0.7: (n,) bool."""
    return generator.random(part_count) < PART_PROBABILITY


def keep_parts(
    canvas: NDArray[np.uint8], parts: NDArray[np.bool_], keep: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """Blacken a canvas (T, H, W, 3) outside the kept parts (n,) of the part masks (T, n, H, W)."""
    return canvas * parts[:, keep].any(axis=1)[..., None]


def blank_other_frames(video: NDArray[np.uint8], frames: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Keep the given frames (indices) of a video (T, H, W, 3); the others become black altogether."""
    kept = np.zeros_like(video)
    kept[frames] = video[frames]
    return kept


def pose_tracks(
    keypoints: NDArray[np.float32],
    tracks: NDArray[np.float32],
    visible: NDArray[np.bool_],
    person: NDArray[np.bool_],
    generator: np.random.Generator,
) -> StampedTracks:
    """Key-points of a person, all visible, with 1 % of the background tracks that do not start on the person.

    Args:
        keypoints: (T, K, 2) x, y in pixels. Their priority is the smallest of the background on the first
            frame.
        tracks: (T, N, 3) background tracks.
        visible: (T, N).
        person: (H, W) mask on the first frame; dilated by 7 px.
    """
    outside = ~inside_dilated(tracks[0], person, PERSON_BOX)
    background, shown = tracks[:, outside], visible[:, outside]
    shown = shown & random_points(shown.shape[1], _SPARSE_FRACTION, generator)
    lowest = background[0, :, 2].min() if background.shape[1] else np.float32(0)
    pose = np.concatenate([keypoints, np.full((*keypoints.shape[:2], 1), lowest, np.float32)], axis=-1)
    merged, merged_visible = merge_tracks(pose, background, np.ones(pose.shape[:2], bool), shown)
    colors = np.concatenate(
        [
            id_colors(np.zeros(pose.shape[1], np.int64), _FOREGROUND_SEGMENTS, spacing=TrajIdSpacing.SPREAD),
            id_colors(np.full(background.shape[1], UNASSIGNED), _FOREGROUND_SEGMENTS),
        ]
    )
    return StampedTracks(merged.astype(np.float32), merged_visible, colors)
