"""Videos that say of every pixel of a subject where in the first frame it comes from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from flextraj_backend.mini.turns import Turn
from flextraj_backend.synthesis.clip import SyntheticClip

_NEIGHBORS = 3
"""Points whose motion a pixel follows on average."""


@dataclass(frozen=True, eq=False)
class SubjectTracks:
    """How the points of a clip's subjects move.

    Attributes:
        positions: (T, N, 2) float32 in shares of the picture's sides.
        visible: (T, N).
        labels: (N,) uint8, what the clip's masks show at the points' segment.
    """

    positions: NDArray[np.float32]
    visible: NDArray[np.bool_]
    labels: NDArray[np.uint8]

    @classmethod
    def of(cls, clip: SyntheticClip) -> SubjectTracks:
        """The tracks of a clip's subjects."""
        tracks = clip.trajectories
        subjects = np.array([not segment.background for segment in tracks.meta.segments])
        chosen = np.flatnonzero((tracks.seg_id >= 0) & subjects[np.maximum(tracks.seg_id, 0)])
        height, width = clip.frames.shape[1:3]
        positions = tracks.positions[:, chosen, :2] / (width, height)
        return cls(
            positions.astype(np.float32),
            tracks.visible[:, chosen],
            (tracks.seg_id[chosen] + 1).astype(np.uint8),
        )

    def turned(self, turn: Turn) -> SubjectTracks:
        """The tracks of the turned clip."""
        positions, visible = self.positions, self.visible
        if turn.mirrored:
            positions = np.stack((1 - positions[..., 0], positions[..., 1]), axis=2)
        if turn.reversed_in_time:
            positions, visible = positions[::-1], visible[::-1]
        return replace(self, positions=positions, visible=visible)


def source_map(tracks: SubjectTracks, segments: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Draw the map; red and green are x and y in the first frame, blue marks the subjects.

    Args:
        segments: (T, H, W) masks, 0 = background.

    Returns:
        (T, H, W, 3) uint8, black where there is no subject.
    """
    height, width = segments.shape[1:]
    drawn = np.zeros((*segments.shape, 3), np.uint8)
    for frame, mask in enumerate(segments):
        for label in np.unique(tracks.labels):
            points = np.flatnonzero(tracks.visible[frame] & (tracks.labels == label))
            rows, columns = np.nonzero(mask == label)
            if not (len(points) and len(rows)):
                continue
            pixels = (np.stack((columns, rows), axis=1) + 0.5) / (width, height)  # (P, 2)
            here = tracks.positions[frame, points]
            count = min(_NEIGHBORS, len(points))
            _, nearest = KDTree(here).query(pixels, count)
            moved = (tracks.positions[0, points] - here)[nearest.reshape(len(pixels), count)].mean(axis=1)
            source = np.clip(pixels + moved, 0, 1)
            drawn[frame, rows, columns] = np.concatenate(
                (np.round(255 * source), np.full((len(pixels), 1), 255)), axis=1
            )
    return drawn
