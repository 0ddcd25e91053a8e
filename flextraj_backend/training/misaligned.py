"""Putting tracks out of line with the picture (conventions 1.9 and 1.10), where the subjects are known."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from blender_addon.core.conditioning import REFERENCE_HEIGHT, REFERENCE_WIDTH
from blender_addon.core.trajectories import TrajectoryMeta, TrajectorySet
from flextraj_backend.conditioning.actor_shift import PixelShift, bounding_box, centering_shift, move_picture
from flextraj_backend.engines.base import ConditioningVideos
from flextraj_backend.training.kept_points import subject_points
from flextraj_backend.training.training_sample import OtherCharacter, SubjectScaling


def raster_scale(meta: TrajectoryMeta) -> float:
    """Pixels of a set's raster to one pixel at 720x480, as for stamps."""
    return max(meta.width / REFERENCE_WIDTH, meta.height / REFERENCE_HEIGHT)


def subject_mask(trajectories: TrajectorySet) -> NDArray[np.bool_]:
    """Where subjects are seen on the first frame, (H, W): their silhouettes, else their visible points."""
    meta = trajectories.meta
    if trajectories.silhouette is not None:
        controlled = np.array([not segment.background for segment in meta.segments])
        return trajectories.silhouette[controlled].any(axis=0)
    mask = np.zeros((meta.height, meta.width), bool)
    seen = subject_points(trajectories) & trajectories.visible[0]
    column, row = np.floor(trajectories.positions[0, seen, :2]).astype(np.int64).T
    mask[np.clip(row, 0, meta.height - 1), np.clip(column, 0, meta.width - 1)] = True
    return mask


def subject_area(trajectories: TrajectorySet) -> float:
    """Fraction of the picture that the subjects cover on the first frame."""
    mask = subject_mask(trajectories)
    return float(np.count_nonzero(mask) / mask.size)


def other_character_fit(
    own: TrajectorySet, other: TrajectorySet, change: OtherCharacter
) -> NDArray[np.float64]:
    """Affine (2, 3) that brings another character's pixels to where the choice puts them.

    Without a seen subject on the first frame there is nothing to centre: the character stays where it is.
    """
    mask = subject_mask(other)
    shift = centering_shift(subject_mask(own), mask) or PixelShift(0, 0)
    box = bounding_box(mask)
    fit = np.eye(2, 3) * change.scale
    fit[:, 2] = (shift.dx + change.dx, shift.dy + change.dy)
    if box is not None:
        rows, columns = box
        middle = np.array([columns.start + columns.stop, rows.start + rows.stop]) / 2
        fit[:, 2] += (1 - change.scale) * middle
    return fit


def shift_videos(videos: ConditioningVideos, dx: int) -> ConditioningVideos:
    """Move both videos by whole pixels to the right."""
    shift = PixelShift(dx, 0)
    return ConditioningVideos(
        *(np.stack([move_picture(frame, shift) for frame in video]) for video in (videos.ids, videos.color))
    )


def scale_videos(
    videos: ConditioningVideos, change: SubjectScaling, center: NDArray[np.floating]
) -> ConditioningVideos:
    """Scale both videos about a centre of each frame, (T, 2) pixels. IDs are never blended."""
    factors = np.array([change.factor_x, change.factor_y])
    # OpenCV counts from the middle of the first pixel, a trajectory set from its corner.
    middle = center.astype(np.float64) - 0.5

    def scaled(frame: NDArray[np.uint8], about: NDArray[np.float64]) -> NDArray[np.uint8]:
        matrix = np.column_stack([np.diag(factors), (1 - factors) * about])
        height, width = frame.shape[:2]
        return np.asarray(cv2.warpAffine(frame, matrix, (width, height), flags=cv2.INTER_NEAREST), np.uint8)

    return ConditioningVideos(
        *(
            np.stack([scaled(frame, about) for frame, about in zip(video, middle, strict=True)])
            for video in (videos.ids, videos.color)
        )
    )
