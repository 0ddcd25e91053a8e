"""Which samples of a clip the tracker can follow at all: those that it follows in the exact video.

Points that turn away, that are hidden or that smear in a small picture are lost or mistaken in any video, and
then count for every model alike. Which these are depends on the clip alone, never on what a model made of it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flextraj_backend.evaluation.point_tracking import track_points
from flextraj_backend.synthesis.clip import SyntheticClip
from flextraj_backend.training.kept_points import subject_points

LARGEST_ERROR = 0.02
"""In shares of the picture's sides."""


def trackable_samples(clip: SyntheticClip) -> NDArray[np.bool_]:
    """Samples (T, N) of visible subject points that are found within `LARGEST_ERROR` in the clip itself."""
    trajectories = clip.trajectories
    positions = trajectories.positions[..., :2]  # (T, N, 2)
    height, width = clip.frames.shape[1:3]
    found = np.zeros(trajectories.visible.shape, bool)
    started = np.flatnonzero(subject_points(trajectories) & trajectories.visible[0])
    if started.size:
        tracks = track_points(clip.frames, positions[0, started])
        error = np.linalg.norm((tracks.positions - positions[:, started]) / (width, height), axis=2)
        found[:, started] = tracks.tracked & (error < LARGEST_ERROR) & trajectories.visible[:, started]
    return found
