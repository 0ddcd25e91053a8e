"""Which pixels of the photo are the subject.

The user's mask, else GrabCut (Rother, Kolmogorov, Blake 2004) seeded by the rig's silhouette where it is
placed on the photo, else by a person found in the photo, else from a rectangle, which often fails on a busy
background and therefore warns. The band around an aligned silhouette is tight: measured IoU .93, against .77
with a wide one.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from blender_addon.core.trajectories import TrajectorySet
from flextraj_backend.fitting.person_detection import body_seed, find_face, find_pedestrian
from flextraj_backend.fitting.silhouettes import (
    dilated,
    ellipse,
    eroded,
    group_silhouettes,
    large_components,
    raster_scale,
    warp_mask,
    without_holes,
)

SURE_ERODE, LIKELY_DILATE, BAND_DILATE = 1, 2, 4
FALLBACK_ERODE = 4
MIN_AREA, MAX_AREA = 0.10, 1.20
"""A mask whose area is outside this range of the silhouette's has gone wrong."""
COARSE_ROUNDS, FINE_ROUNDS = 5, 1
FINE_BAND = 4
SMALL_HOLE = 60


def _labels(height: int, width: int) -> NDArray[np.uint8]:
    return np.full((height, width), cv2.GC_BGD, np.uint8)


def _is_foreground(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)


def _has_both(labels: NDArray[np.uint8]) -> bool:
    foreground = _is_foreground(labels)
    return bool(foreground.any() and not foreground.all())


def _grab_cut(photo: NDArray[np.uint8], labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """GrabCut at half size, then one round at full size in a narrow band around the found edge."""
    height, width = labels.shape
    scale = raster_scale(labels.astype(bool))
    half = (max(2, width // 2), max(2, height // 2))
    small = cv2.resize(labels, half, interpolation=cv2.INTER_NEAREST).astype(np.uint8)
    background_model, foreground_model = np.zeros((1, 65)), np.zeros((1, 65))
    if not _has_both(small):
        return _is_foreground(labels)
    cv2.setRNGSeed(0)
    cv2.grabCut(
        cv2.resize(photo, half, interpolation=cv2.INTER_AREA),
        small,
        None,  # pyright: ignore[reportArgumentType, reportCallIssue]
        background_model,
        foreground_model,
        COARSE_ROUNDS,
        cv2.GC_INIT_WITH_MASK,
    )
    found = _is_foreground(
        cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST).astype(np.uint8)
    )
    band = FINE_BAND * scale
    fine = _labels(height, width)
    fine[dilated(found, band)] = cv2.GC_PR_BGD
    fine[found] = cv2.GC_PR_FGD
    fine[eroded(found, band)] = cv2.GC_FGD
    if _has_both(fine):
        window = cv2.boundingRect(dilated(found, 20 * scale).astype(np.uint8))
        crop = (slice(window[1], window[1] + window[3]), slice(window[0], window[0] + window[2]))
        part = np.ascontiguousarray(fine[crop])
        if (part == cv2.GC_FGD).any() or (part == cv2.GC_PR_FGD).any():
            cv2.grabCut(
                np.ascontiguousarray(photo[crop]),
                part,
                None,  # pyright: ignore[reportArgumentType, reportCallIssue]
                background_model,
                foreground_model,
                FINE_ROUNDS,
                cv2.GC_EVAL,
            )
            fine[crop] = part
    return without_holes(large_components(_is_foreground(fine)), SMALL_HOLE * scale**2)


def _plausible(mask: NDArray[np.bool_], silhouette: NDArray[np.bool_]) -> bool:
    return MIN_AREA * silhouette.sum() <= mask.sum() <= MAX_AREA * silhouette.sum()


def mask_from_silhouette(
    photo: NDArray[np.uint8], silhouette: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """Refine a silhouette that lies on the subject to the photo's edges.

    Args:
        photo: (H, W, 3) uint8 RGB.
        silhouette: (H, W) bool, on the photo.

    Returns:
        The mask (H, W) and warnings: the eroded silhouette with a warning where GrabCut fails.
    """
    scale = raster_scale(silhouette)
    labels = _labels(*silhouette.shape)
    labels[dilated(silhouette, BAND_DILATE * scale)] = cv2.GC_PR_BGD
    labels[dilated(silhouette, LIKELY_DILATE * scale)] = cv2.GC_PR_FGD
    labels[eroded(silhouette, SURE_ERODE * scale)] = cv2.GC_FGD
    mask = _grab_cut(photo, labels)
    if _plausible(mask, silhouette):
        return mask, ()
    fallback = cv2.erode(silhouette.astype(np.uint8), ellipse(FALLBACK_ERODE * scale)) > 0
    return (
        fallback if fallback.any() else silhouette,
        (
            "The subject could not be told from its background, the rig's outline was used: "
            "paint a subject mask.",
        ),
    )


def mask_from_rectangle(photo: NDArray[np.uint8], silhouette: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Guess the subject near a silhouette that does not line up with it.

    GrabCut from the silhouette's bounding box, enlarged by a tenth, its middle part likely subject.
    """
    height, width = silhouette.shape
    x, y, w, h = cv2.boundingRect(silhouette.astype(np.uint8))
    dx, dy = round(0.1 * w), round(0.1 * h)
    labels = _labels(height, width)
    labels[max(0, y - dy) : y + h + dy, max(0, x - dx) : x + w + dx] = cv2.GC_PR_BGD
    labels[dilated(silhouette, 0.02 * max(w, h))] = cv2.GC_PR_FGD
    mask = _grab_cut(photo, labels)
    return mask if _plausible(mask, silhouette) else silhouette


def mask_from_person(photo: NDArray[np.uint8]) -> NDArray[np.bool_] | None:
    """Find the photo's most prominent person: (H, W) bool, or None where none is found."""
    face = find_face(photo) or find_pedestrian(photo)
    if face is None:
        return None
    mask = _grab_cut(photo, body_seed(face, *photo.shape[:2]))
    return mask if mask.sum() >= face.size**2 else None


def split_by_group(
    trajectories: TrajectorySet, mask: NDArray[np.bool_], matrix: NDArray[np.float64]
) -> dict[int, NDArray[np.bool_]]:
    """Share the subject mask out among the groups.

    A pixel that one fitted silhouette alone covers is that group's; any other goes to the group of the
    nearest visible track, so that hair beside a bare head moves with the head.

    Args:
        mask: (H, W) bool.
        matrix: (2, 3) rig pixels to photo pixels.
    """
    silhouettes = group_silhouettes(trajectories)
    groups = sorted(silhouettes)
    if len(groups) < 2:
        return {group: mask for group in groups}
    height, width = mask.shape
    fitted = np.stack([warp_mask(silhouettes[group], matrix) for group in groups])  # (G, H, W)
    owner = _nearest_group(trajectories, matrix, groups, width, height)
    alone = fitted.sum(axis=0) == 1
    owner[alone] = fitted.argmax(axis=0)[alone]
    return {group: mask & (owner == index) for index, group in enumerate(groups)}


def _nearest_group(
    trajectories: TrajectorySet, matrix: NDArray[np.float64], groups: list[int], width: int, height: int
) -> NDArray[np.int64]:
    """Index into `groups` of the nearest visible track of every pixel, (H, W)."""
    group_of_segment = np.array(
        [groups.index(s.group) if not s.background else -1 for s in trajectories.meta.segments]
    )
    group = group_of_segment[trajectories.seg_id]
    shown = trajectories.visible[0] & (group >= 0)
    if not shown.any():
        return np.zeros((height, width), np.int64)
    pixels = trajectories.positions[0, shown, :2].astype(np.float64) @ matrix[:, :2].T + matrix[:, 2]
    inside = (pixels >= 0).all(axis=1) & (pixels < [width, height]).all(axis=1)
    free = np.ones((height, width), np.uint8)
    column, row = np.floor(pixels[inside]).astype(int).T
    free[row, column] = 0
    if free.all():
        return np.zeros((height, width), np.int64)
    group_at = np.zeros((height, width), np.int64)
    group_at[row, column] = group[shown][inside]
    _, nearest = cv2.distanceTransformWithLabels(free, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    label = nearest.astype(np.int64)
    group_of_label = np.zeros(int(label.max()) + 1, np.int64)
    group_of_label[label[row, column]] = group_at[row, column]
    return group_of_label[label]
