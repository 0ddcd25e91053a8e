"""Discs that stand in for surface which the photo does not show, such as the back of a subject that turns.

Every track of the rig is a disc in the colour of the photo near it in space. Reference algorithm, step 8: this matters
most for the silhouette (IoU against the true render .80 without, .92 with fillers).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from flextraj_backend.engines.preview.binding import apply_affine
from flextraj_backend.engines.preview.canvas import CutOut, blur, disc
from flextraj_backend.engines.preview.neighbours import nearest
from flextraj_backend.engines.preview.tracks import SubjectTracks

RADIUS = 1.05
"""Radius of a disc in units of the spacing of the visible tracks on the mask."""
COLOR_NEIGHBOURS = 9
MIN_INSIDE = 10


@dataclass(frozen=True, eq=False)
class Filler:
    """Discs of one subject.

    Attributes:
        tracks: (M,) indices.
        hidden_at_first: (M,) bool, the photo does not show this track.
        colors: (M, 3) float32.
        offsets: (O, 2) float32, pixels of a disc around its centre.
    """

    tracks: NDArray[np.int64]
    hidden_at_first: NDArray[np.bool_]
    colors: NDArray[np.float32]
    offsets: NDArray[np.float32]


def make_filler(
    tracks: SubjectTracks,
    picture: CutOut,
    photo: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    fit: NDArray[np.float64],
    smoothing: float,
) -> Filler | None:
    """Make the discs of a subject; None where nothing of it is visible on the first frame.

    Args:
        photo: (H, W, 3) uint8.
        mask: (H, W) bool, the subject within the frame.
        fit: (2, 3) rig pixels to photo pixels.
        smoothing: blur of the colours in pixels.
    """
    height, width = mask.shape
    members = tracks.group == picture.group

    def pixel_of(chosen: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        where = np.floor(apply_affine(fit, tracks.pixels[0, chosen].astype(np.float64))).astype(np.int64)
        return np.clip(where[:, 1], 0, height - 1), np.clip(where[:, 0], 0, width - 1)

    shown = np.flatnonzero(members & tracks.visible[0])
    discs = np.flatnonzero(members & tracks.visible.any(axis=0))
    # The rig's limbs that lie beside another body would be painted beside the subject: only the mask's own discs.
    discs = discs[cv2.dilate(mask.astype(np.uint8), disc(2))[pixel_of(discs)] > 0]
    inside = shown[mask[pixel_of(shown)]]
    if discs.size == 0 or shown.size == 0:
        return None
    colored = inside if inside.size > MIN_INSIDE else shown
    weight = mask.astype(np.float32)
    smooth = blur(photo * weight[..., None], smoothing) / np.maximum(blur(weight, smoothing)[..., None], 1e-3)
    near, _ = nearest(tracks.points[0, discs], tracks.points[0, colored], COLOR_NEIGHBOURS)
    # The median drops highlights, which would turn into white dots on the far side.
    colors = np.median(smooth[pixel_of(colored)][near], axis=1).astype(np.float32)
    area = cv2.countNonZero(mask.astype(np.uint8))
    radius = max(1.5, RADIUS * float(np.sqrt(area / max(MIN_INSIDE, inside.size))))
    side = np.arange(-int(radius), int(radius) + 1)
    dy, dx = np.meshgrid(side, side, indexing="ij")
    within = dx**2 + dy**2 <= radius**2 + 0.3
    return Filler(
        discs,
        ~tracks.visible[0, discs],
        colors,
        np.stack([dx[within], dy[within]], axis=1).astype(np.float32),
    )


def splat_discs(
    filler: Filler, tracks: SubjectTracks, fit: NDArray[np.float64], frame: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Points of the discs that are visible on a frame: targets (P, 2), depth (P,), number of the disc (P,)."""
    drawn = np.flatnonzero(tracks.visible[frame, filler.tracks])
    chosen = filler.tracks[drawn]
    centres = apply_affine(fit, tracks.pixels[frame, chosen].astype(np.float64)).astype(np.float32)
    count = len(filler.offsets)
    # The middle of a disc lies nearest, so that neighbouring discs meet halfway.
    cone = np.hypot(filler.offsets[:, 0], filler.offsets[:, 1]) * (
        0.001 * tracks.extent / max(count**0.5, 1.0)
    )
    targets = (centres[:, None] + filler.offsets).reshape(-1, 2)
    depth = (tracks.points[frame, chosen, 2][:, None] + cone).reshape(-1).astype(np.float32)
    return targets, depth, np.repeat(drawn, count)
