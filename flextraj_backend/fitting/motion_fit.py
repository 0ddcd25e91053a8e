"""Placing the rig's motion on the photo's subject.

Identity where they line up; otherwise the similarity of their bounding boxes (reference algorithm, step 2:
iterated contour fits gain at most .05 IoU over it and add rotations that nobody asked for). Where the frame
cuts one of them, as in a half-body portrait, its bounding box is no measure any more: then the similarity of
greatest overlap within the frame, with the cut silhouette continued beyond it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from blender_addon.core.errors import ErrorCode, FlexTrajError
from blender_addon.core.pinned_groups import group_fits
from blender_addon.core.placement import as_affine, compose, identity, mirror
from blender_addon.core.request import FitMode, RenderRequest
from blender_addon.core.trajectories import TrajectoryMeta, TrajectorySet
from flextraj_backend.fitting.pinned_motion import with_group_fits
from flextraj_backend.fitting.silhouettes import group_silhouettes, overlap, union, warp_mask
from flextraj_backend.fitting.subject_mask import (
    mask_from_person,
    mask_from_rectangle,
    mask_from_silhouette,
)

LOW_IOU = 0.4
MIN_CUT = 6
"""A side cuts a mask where at least this many of its border pixels belong to it."""
SEARCH_WIDTH = 180
"""Width of the pictures on which overlap is maximised."""
SEARCH_SCALES = (0.7, 0.85, 1.0, 1.2, 1.45)
FIRST_STEP, LAST_STEP = 0.08, 0.002
CUT_SIDE_WEIGHT = 0.02


class FitError(FlexTrajError):
    """Motion and photo cannot be brought together; the sentence says what to change."""

    def __init__(self, message: str, code: ErrorCode = ErrorCode.REQUEST) -> None:
        super().__init__(message, code)


@dataclass(frozen=True, eq=False)
class MotionFit:
    """The motion's place on the photo.

    Attributes:
        matrix: (2, 3) float64, rig pixels to photo pixels; it mirrors only where the request says so.
        trajectories: the set that `matrix` places: as sampled, apart from groups that were pinned, whose
            points were moved beforehand.
        subject_mask: (H, W) bool, the subject in the photo.
        iou: overlap of the fitted silhouette and the mask. A hint only: the same pose of another body reaches
            .5.
        warnings: sentences for the user.
        pinned: (2, 3) fit of each group that has pins, from rig pixels as sampled.
    """

    matrix: NDArray[np.float64]
    trajectories: TrajectorySet
    subject_mask: NDArray[np.bool_]
    iou: float
    warnings: tuple[str, ...] = ()
    pinned: Mapping[int, NDArray[np.float64]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Box:
    """Bounding box in pixels, with the sides at which the frame cuts the mask."""

    left: float
    top: float
    right: float
    bottom: float
    cut: tuple[bool, bool, bool, bool]
    """left, top, right, bottom"""

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.bottom - self.top


def _box(mask: NDArray[np.bool_]) -> _Box:
    x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
    sides = (mask[:, 0], mask[0], mask[:, -1], mask[-1])
    left, top, right, bottom = (bool(side.sum() >= MIN_CUT) for side in sides)
    return _Box(x, y, x + w, y + h, (left, top, right, bottom))


def _similarity(scale: float, shift_x: float, shift_y: float) -> NDArray[np.float64]:
    return np.array([[scale, 0.0, shift_x], [0.0, scale, shift_y]])


def fit_boxes(silhouette: NDArray[np.bool_], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Similarity without rotation that maps one bounding box to another, (2, 3).

    Scale is the mean of width's and height's, or the height's alone where they differ by more than two.
    """
    rig, subject = _box(silhouette), _box(mask)
    by_width, by_height = subject.width / rig.width, subject.height / rig.height
    scale = float(np.sqrt(by_width * by_height)) if 0.5 < by_height / by_width < 2 else by_height
    return _similarity(
        scale,
        (subject.left + subject.right) / 2 - scale * (rig.left + rig.right) / 2,
        (subject.top + subject.bottom) / 2 - scale * (rig.top + rig.bottom) / 2,
    )


def _fit_free_sides(rig: _Box, subject: _Box) -> NDArray[np.float64]:
    """Least squares over the four sides, those that the frame cuts weighing almost nothing."""
    rows, wanted, weights = [], [], []
    for index, (source, target) in enumerate(
        (
            (rig.left, subject.left),
            (rig.top, subject.top),
            (rig.right, subject.right),
            (rig.bottom, subject.bottom),
        )
    ):
        horizontal = index % 2 == 0
        rows.append([source, 1.0 if horizontal else 0.0, 0.0 if horizontal else 1.0])
        wanted.append(target)
        weights.append(CUT_SIDE_WEIGHT if rig.cut[index] or subject.cut[index] else 1.0)
    weight = np.asarray(weights)
    solution, *_ = np.linalg.lstsq(
        np.asarray(rows) * weight[:, None], np.asarray(wanted) * weight, rcond=None
    )
    scale, x, y = (float(value) for value in solution)
    return _similarity(min(max(scale, 0.05), 20.0), x, y)


class _OverlapSearch:
    """Overlap of the moved silhouette and the mask within the frame, on small pictures."""

    def __init__(self, silhouette: NDArray[np.bool_], mask: NDArray[np.bool_], rig: _Box) -> None:
        height, width = mask.shape
        self.reduction = max(1.0, width / SEARCH_WIDTH)
        self.size = (max(8, round(width / self.reduction)), max(8, round(height / self.reduction)))
        self.mask = cv2.resize(mask.astype(np.float32), self.size, interpolation=cv2.INTER_AREA)
        small = cv2.resize(silhouette.astype(np.float32), self.size, interpolation=cv2.INTER_AREA)
        # A rig that the frame cuts goes on beyond it: repeat its border row on that side.
        pad = max(self.size)
        left, top, right, bottom = (pad if cut else 0 for cut in rig.cut)
        self.offset = (left, top)
        self.silhouette = cv2.copyMakeBorder(small, top, bottom, left, right, cv2.BORDER_REPLICATE)

    def score(self, matrix: NDArray[np.float64]) -> float:
        """Soft intersection over union of (2, 3) `matrix`, full-size pixels."""
        scale = matrix[0, 0]
        shift = matrix[:, 2] / self.reduction + 0.5 * scale - 0.5 - scale * np.asarray(self.offset, float)
        moved = cv2.warpAffine(self.silhouette, _similarity(scale, *shift), self.size)
        return float(np.minimum(moved, self.mask).sum() / max(np.maximum(moved, self.mask).sum(), 1e-6))

    def improve(
        self, matrix: NDArray[np.float64], around: tuple[float, float]
    ) -> tuple[float, NDArray[np.float64]]:
        """Pattern search over shift and scale; scaling keeps the rig point `around` in place."""
        best, step = self.score(matrix), FIRST_STEP
        length = max(self.size) * self.reduction
        while step > LAST_STEP:
            moved = False
            for candidate in self._candidates(matrix, step, length, around):
                score = self.score(candidate)
                if score > best + 1e-6:
                    best, matrix, moved = score, candidate, True
            if not moved:
                step /= 2
        return best, matrix

    @staticmethod
    def _candidates(
        matrix: NDArray[np.float64], step: float, length: float, around: tuple[float, float]
    ) -> list[NDArray[np.float64]]:
        shift = step * length / 2
        scale, x, y = matrix[0, 0], matrix[0, 2], matrix[1, 2]
        result = [
            _similarity(scale, x + dx, y + dy)
            for dx, dy in ((shift, 0), (-shift, 0), (0, shift), (0, -shift))
        ]
        result += [rescaled(matrix, factor, around) for factor in (1 + step, 1 / (1 + step))]
        return result


def rescaled(matrix: NDArray[np.float64], factor: float, around: tuple[float, float]) -> NDArray[np.float64]:
    """Scale a similarity while the rig point `around` keeps its place on the photo."""
    scale = matrix[0, 0] * factor
    fixed = matrix[0, 0] * np.asarray(around) + matrix[:, 2]
    return _similarity(scale, *(fixed - scale * np.asarray(around)))


def fit_silhouette(silhouette: NDArray[np.bool_], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Place a silhouette on the subject: similarity without rotation or mirroring, (2, 3).

    Args:
        silhouette: (H, W) bool in rig pixels, not empty.
        mask: (H, W) bool, not empty.
    """
    rig, subject = _box(silhouette), _box(mask)
    if not any(rig.cut) and not any(subject.cut):
        return fit_boxes(silhouette, mask)
    start = _fit_free_sides(rig, subject)
    search = _OverlapSearch(silhouette, mask, rig)
    head = ((rig.left + rig.right) / 2, rig.top)
    attempts = [search.improve(rescaled(start, factor, head), head) for factor in SEARCH_SCALES]
    return max(attempts, key=lambda attempt: attempt[0])[1]


def _mask_of_outlines(
    photo: NDArray[np.uint8], outlines: Mapping[int, NDArray[np.bool_]]
) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    total = np.zeros(photo.shape[:2], bool)
    warnings: list[str] = []
    for outline in outlines.values():
        if not outline.any():
            continue
        part, problems = mask_from_silhouette(photo, outline)
        total |= part
        warnings += [problem for problem in problems if problem not in warnings]
    return total, tuple(warnings)


def _guessed_mask(
    photo: NDArray[np.uint8], silhouette: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    person = mask_from_person(photo)
    if person is not None:
        return person, (
            "The subject was outlined automatically around the person in the photo: give a subject mask if "
            "parts are missing.",
        )
    return mask_from_rectangle(photo, silhouette), (
        "No person was found in the photo, so the subject was guessed where the rig stands: give a subject "
        "mask for a reliable result.",
    )


def fit_motion(
    trajectories: TrajectorySet,
    photo: NDArray[np.uint8],
    mask: NDArray[np.bool_] | None,
    request: RenderRequest,
) -> MotionFit:
    """Find the subject and place the motion on it.

    All subjects share one fit, apart from groups with pins. It mirrors only on request. Sets that hold
    nothing but background get the identity and an empty mask.

    Args:
        trajectories: as sampled.
        photo: (H, W, 3) uint8 RGB at the set's raster.
        mask: (H, W) bool, the user's subject mask, or None.
        request: `fit`, `fit_matrix`, `mirror` and `pins` are read.

    Raises:
        FitError: wrong sizes, an empty mask, a rig that is not in the picture, or a mask away from an aligned
            rig.
        FlexTrajError: a pin holds a point that the set does not have.
    """
    _check_sizes(trajectories, photo, mask)
    meta = trajectories.meta
    orientation = mirror(meta.width) if request.mirror else identity()
    silhouettes = group_silhouettes(trajectories)
    if not silhouettes:
        matrix = compose(as_affine(request.fit_matrix), orientation)
        empty = np.zeros((meta.height, meta.width), bool)
        return MotionFit(matrix, trajectories, empty, 0.0)
    silhouette = union(silhouettes, meta.height, meta.width)
    if not silhouette.any():
        raise FitError(
            "The rig is not in the picture on the first frame: start the range where the camera sees it.",
            ErrorCode.FRAME_RANGE,
        )
    warnings: tuple[str, ...] = ()
    if trajectories.silhouette is None:
        warnings += (
            "The trajectories carry no silhouettes: the subject's outline was estimated from points.",
        )
    is_placed = request.fit is not FitMode.AUTO or meta.aligned
    # The paper's unaligned control: the model carries the motion over, wherever the rig stands.
    is_left_to_model = request.fit is FitMode.NONE and not meta.aligned
    if is_placed:
        matrix = compose(as_affine(request.fit_matrix), orientation)
    else:
        seen = warp_mask(silhouette, orientation)
        if mask is None:
            mask, problems = _guessed_mask(photo, seen)
            warnings += problems
        matrix = compose(fit_silhouette(seen, mask), orientation)
    pinned = group_fits(trajectories, matrix, request.pins)
    trajectories = with_group_fits(trajectories, matrix, pinned)
    outlines = {group: warp_mask(part, pinned.get(group, matrix)) for group, part in silhouettes.items()}
    outline = union(outlines, meta.height, meta.width)
    if is_placed and not (is_left_to_model and mask is not None):
        mask, problems = _mask_under(outline, outlines, photo, mask, meta)
        warnings += problems
    assert mask is not None
    iou = overlap(outline, mask)
    if is_left_to_model:
        return MotionFit(matrix, trajectories, mask, iou, warnings, pinned)
    if is_placed and iou < LOW_IOU:
        warnings += (
            f"The rig covers only {iou:.0%} of the subject where it stands: let the motion be fitted "
            "automatically with 'aligned' switched off.",
        )
    elif iou < LOW_IOU:
        warnings += (
            f"Rig and subject differ in shape or pose (overlap {iou:.0%}): start from a frame in a similar "
            "pose, give a subject mask, or mark ground and props as background.",
        )
    return MotionFit(matrix, trajectories, mask, iou, warnings, pinned)


def _mask_under(
    outline: NDArray[np.bool_],
    outlines: Mapping[int, NDArray[np.bool_]],
    photo: NDArray[np.uint8],
    mask: NDArray[np.bool_] | None,
    meta: TrajectoryMeta,
) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """The subject under a rig that has its place: the user's mask, or what is found there; and warnings."""
    if not outline.any():
        raise FitError(
            "The fit places the rig outside of the photo: correct the matrix or choose the automatic fit."
        )
    warnings: tuple[str, ...] = ()
    if mask is None and not meta.aligned:
        # The rig's outline is another body's: the person behind it is the better guess.
        person = mask_from_person(photo)
        mask = person if person is not None and (outline & person).any() else None
    if mask is None:
        mask, warnings = _mask_of_outlines(photo, outlines)
    if not (outline & mask).any():
        raise FitError(
            "The subject mask and the rig do not overlap: check the mask, or let the motion be fitted "
            "automatically with 'aligned' switched off.",
            ErrorCode.MASK,
        )
    return mask, warnings


def _check_sizes(
    trajectories: TrajectorySet, photo: NDArray[np.uint8], mask: NDArray[np.bool_] | None
) -> None:
    meta = trajectories.meta
    if photo.shape != (meta.height, meta.width, 3):
        raise FitError(
            f"The photo has shape {photo.shape}, but the shot is {meta.width}x{meta.height} px: "
            "crop it to the shot's size first.",
            ErrorCode.IMAGE,
        )
    if mask is None:
        return
    if mask.shape != photo.shape[:2]:
        raise FitError(
            f"The subject mask is {mask.shape[1]}x{mask.shape[0]} px, but the photo is "
            f"{meta.width}x{meta.height}: paint it at the photo's size.",
            ErrorCode.MASK,
        )
    if not mask.any():
        raise FitError("The subject mask is empty: paint the subject white.", ErrorCode.MASK)
