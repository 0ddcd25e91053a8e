"""One frame: all subjects under one z-buffer over the background. Reference algorithm, steps 7 and 8."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from flextraj_backend.engines.preview.canvas import CutOut, blur, disc
from flextraj_backend.engines.preview.deformation import MovingShell, inverse_jacobian, move_pixels
from flextraj_backend.engines.preview.filler import Filler, splat_discs
from flextraj_backend.engines.preview.splatting import EMPTY, fill_cracks, splat
from flextraj_backend.engines.preview.tracks import SubjectTracks
from flextraj_backend.fitting.silhouettes import without_holes

SUB_SAMPLES = ((-0.25, -0.25), (0.25, -0.25), (-0.25, 0.25), (0.25, 0.25))
MIN_ALPHA = 0.02
HIDDEN_SEED_BIAS = 0.065
"""Pixels whose track is occluded on a frame are pushed back, in units of the subject's extent (3 % of the
depth)."""
FAINT_BIAS = 0.2
"""The soft rim of a limb must not cut a slit into what lies behind it."""
HIDDEN_DISC_LEAD = 0.018
SHOWN_DISC_LEAD = 0.065
"""How much nearer than the shell a disc must be to cover it, in units of the extent."""
GAP_RADIUS = 20
"""Half the width of the gaps that fillers of an unaligned rig may close, pixels at 720x480."""
OUTLINE_SIGMA, OUTLINE_GAIN = 1.2, 1.45
PINHOLE = 150
"""Holes of fewer pixels at 720x480 are closed."""
DISC_EROSION = 1.0


@dataclass(frozen=True, eq=False)
class Layer:
    """One subject ready to be drawn."""

    moving: MovingShell
    filler: Filler | None


@dataclass(frozen=True, eq=False)
class Stage:
    """All that stays the same over the frames.

    Attributes:
        fit: (2, 3) rig pixels to photo pixels.
        width, height: the frame.
        scale: size of the raster relative to 720x480; pixel radii grow with it.
        aligned: rig and subject have the same outline on the first frame.
    """

    tracks: SubjectTracks
    rotations: NDArray[np.float32]
    fit: NDArray[np.float64]
    layers: tuple[Layer, ...]
    width: int
    height: int
    scale: float
    aligned: bool


@dataclass(frozen=True, eq=False)
class _Shells:
    """Pixels of all layers on one frame, in one numbering."""

    layer: NDArray[np.int64]
    pixels: NDArray[np.float32]
    targets: NDArray[np.float32]
    jacobian: NDArray[np.float32]
    depth: NDArray[np.float32]
    image: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class _Discs:
    """Fillers on one frame, cropped: number or EMPTY (h, w), and per disc its colour, depth and kind."""

    image: NDArray[np.int32]
    colors: NDArray[np.float32]
    depth: NDArray[np.float32]
    hidden_at_first: NDArray[np.bool_]


def alpha_at_pixels(picture: CutOut, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Alpha under (P, 2) photo pixels that lie on the canvas."""
    column = np.floor(pixels[:, 0]).astype(np.int64) + picture.padding.left
    row = np.floor(pixels[:, 1]).astype(np.int64) + picture.padding.top
    return picture.alpha[row, column]


def _splat_shells(stage: Stage, frame: int) -> _Shells:
    tracks = stage.tracks
    parts: list[tuple[NDArray, ...]] = []
    targets, depths, sources = [], [], []
    first = 0
    for number, layer in enumerate(stage.layers):
        shell = layer.moving.shell
        motion = move_pixels(layer.moving, tracks, stage.rotations, stage.fit, frame)
        alpha = alpha_at_pixels(shell.cut_out, shell.pixels)
        biased = motion.depth + tracks.extent * (
            HIDDEN_SEED_BIAS * ~tracks.visible[frame, shell.seed] + FAINT_BIAS * (alpha < 0.5)
        ).astype(np.float32)
        biased[motion.depth <= 0] = 0
        solid = alpha > MIN_ALPHA
        numbers = np.flatnonzero(solid) + first
        for dx, dy in SUB_SAMPLES:
            shift = motion.jacobian[solid, :, 0] * np.float32(dx) + motion.jacobian[solid, :, 1] * np.float32(
                dy
            )
            targets.append(motion.targets[solid] + shift)
            depths.append(biased[solid])
            sources.append(numbers)
        count = len(shell.pixels)
        parts.append((np.full(count, number), shell.pixels, motion.targets, motion.jacobian, biased))
        first += count
    layer_of, pixels, where, jacobian, depth = (np.concatenate(column) for column in zip(*parts, strict=True))
    image = splat(
        np.concatenate(targets), np.concatenate(depths), np.concatenate(sources), stage.width, stage.height
    )
    return _Shells(layer_of, pixels, where, jacobian, depth, fill_cracks(image, depth))


def _splat_fillers(stage: Stage, frame: int) -> _Discs | None:
    fillers = [layer.filler for layer in stage.layers if layer.filler is not None]
    if not fillers:
        return None
    targets, depths, sources = [], [], []
    first = 0
    for filler in fillers:
        where, depth, number = splat_discs(filler, stage.tracks, stage.rotations, stage.fit, frame)
        targets.append(where)
        depths.append(depth)
        sources.append(number + first)
        first += len(filler.tracks)
    image = splat(
        np.concatenate(targets), np.concatenate(depths), np.concatenate(sources), stage.width, stage.height
    )
    members = np.concatenate([filler.tracks for filler in fillers])
    return _Discs(
        image,
        np.concatenate([filler.colors for filler in fillers]),
        stage.tracks.points[frame, members, 2],
        np.concatenate([filler.hidden_at_first for filler in fillers]),
    )


def _crop(occupied: NDArray[np.bool_], margin: int) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(occupied.any(axis=1)), np.flatnonzero(occupied.any(axis=0))
    height, width = occupied.shape
    return (
        slice(max(0, int(rows[0]) - margin), min(height, int(rows[-1]) + margin + 1)),
        slice(max(0, int(columns[0]) - margin), min(width, int(columns[-1]) + margin + 1)),
    )


def _disc_surface(
    discs: _Discs, image: NDArray[np.int32], scale: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Discs smoothed into one surface: colour (h, w, 3) and alpha (h, w)."""
    covered = image != EMPTY
    closed = cv2.morphologyEx(covered.astype(np.uint8), cv2.MORPH_CLOSE, disc(round(3 * scale)))
    shape = cv2.erode(closed, disc(round(DISC_EROSION * scale))).astype(np.float32)
    color = np.where(covered[..., None], discs.colors[np.maximum(image, 0)], 0).astype(np.float32)
    weight = blur(covered.astype(np.float32), 2.2 * scale)
    color = blur(color, 2.2 * scale) / np.maximum(weight[..., None], 1e-4)
    return color, np.clip((blur(shape, scale) - 0.45) / 0.5, 0, 1)


def _with_discs(
    stage: Stage,
    discs: _Discs,
    image: NDArray[np.int32],
    shell_depth: NDArray[np.float32],
    color: NDArray[np.float32],
    alpha: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Put the fillers under the shell, and over it where a hidden limb came to the front."""
    disc_color, disc_alpha = _disc_surface(discs, image, stage.scale)
    if not stage.aligned:
        # Another body's outline: its discs may close gaps of the subject, not add to it.
        shell = (np.isfinite(shell_depth)).astype(np.uint8)
        gaps = cv2.morphologyEx(shell, cv2.MORPH_CLOSE, disc(round(GAP_RADIUS * stage.scale)))
        disc_alpha = disc_alpha * blur(gaps.astype(np.float32), 1.0)
        front = np.zeros_like(disc_alpha)
    else:
        front = blur(_discs_in_front(stage, discs, image, shell_depth), 0.8) * disc_alpha
    shell_alpha = alpha * (1 - front)
    total = shell_alpha + disc_alpha * (1 - shell_alpha)
    mixed = color * shell_alpha[..., None] + disc_color * (disc_alpha * (1 - shell_alpha))[..., None]
    return mixed / np.maximum(total, 1e-4)[..., None], total


def composite(stage: Stage, background: NDArray[np.uint8], frame: int) -> NDArray[np.uint8]:
    """Draw one frame.

    Args:
        background: (H, W, 3) uint8, already moved.

    Returns:
        (H, W, 3) uint8.
    """
    if not stage.layers:
        return background.copy()
    shells = _splat_shells(stage, frame)
    discs = _splat_fillers(stage, frame)
    occupied = shells.image != EMPTY
    if discs is not None:
        occupied |= discs.image != EMPTY
    if not occupied.any():
        return background.copy()
    window = _crop(occupied, 8)
    under = background[window].astype(np.float32)
    image = shells.image[window]
    rows, columns = np.nonzero(image != EMPTY)
    number = image[rows, columns]
    color, alpha = _shell_colors(stage, shells, window, rows, columns, number)
    alpha = np.minimum(alpha, blur((image != EMPTY).astype(np.float32), 0.6) * 1.6)
    if discs is not None:
        shell_depth = np.full(image.shape, np.inf, np.float32)
        shell_depth[rows, columns] = shells.depth[number]
        color, alpha = _with_discs(stage, discs, discs.image[window], shell_depth, color, alpha)
    color, alpha = _smooth_outline(color, alpha, OUTLINE_SIGMA * stage.scale)
    result = background.copy()
    result[window] = np.clip(under * (1 - alpha) + color * alpha + 0.5, 0, 255).astype(np.uint8)
    return result


def _smooth_outline(
    color: NDArray[np.float32], alpha: NDArray[np.float32], sigma: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Round off frayed outlines of stretched parts, close pinholes: colour (h, w, 3), alpha (h, w, 1)."""
    closed = without_holes(alpha > 0.5, PINHOLE * (sigma / OUTLINE_SIGMA) ** 2)
    pinholes = blur((closed & (alpha <= 0.5)).astype(np.float32), sigma)
    spread = blur(alpha, 3 * sigma)[..., None]
    around = blur(color * alpha[..., None], 3 * sigma) / np.maximum(spread, 1e-4)
    filled = np.maximum(alpha, np.minimum(1, 2 * pinholes))
    smooth = np.clip((blur(filled, sigma) - 0.5) * OUTLINE_GAIN + 0.5, 0, 1)
    solid = np.clip(alpha, 0, 1)[..., None]
    return color * solid + around * (1 - solid), smooth[..., None]


def _shell_colors(
    stage: Stage,
    shells: _Shells,
    window: tuple[slice, slice],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    number: NDArray[np.int32],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Sample the cut-outs at sub-pixel positions: colour (h, w, 3) and alpha (h, w) in the window."""
    shape = (window[0].stop - window[0].start, window[1].stop - window[1].start)
    color = np.zeros((*shape, 3), np.float32)
    alpha = np.zeros(shape, np.float32)
    centre = np.stack([columns + window[1].start, rows + window[0].start], axis=1).astype(np.float32) + 0.5
    offset = np.einsum(
        "pab,pb->pa", inverse_jacobian(shells.jacobian[number]), centre - shells.targets[number]
    )
    source = shells.pixels[number] + np.clip(offset, -4, 4)
    layer_of = shells.layer[number]
    for index, layer in enumerate(stage.layers):
        own = layer_of == index
        if not own.any():
            continue
        picture = layer.moving.shell.cut_out
        where = np.full((*shape, 2), -1, np.float32)
        corner = np.array([picture.padding.left - 0.5, picture.padding.top - 0.5], np.float32)
        y, x = rows[own], columns[own]
        where[y, x] = source[own] + corner
        sampled = cv2.remap(
            picture.colors, where[..., 0], where[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
        )
        soft = cv2.remap(
            picture.alpha, where[..., 0], where[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        color[y, x] = sampled[y, x]
        alpha[y, x] = soft[y, x]
    return color, alpha


def _discs_in_front(
    stage: Stage, discs: _Discs, image: NDArray[np.int32], shell_depth: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Where a filler covers the shell, 0 or 1, (h, w): hidden limbs that came to the front."""
    extent = stage.tracks.extent
    covered = image != EMPTY
    safe = np.maximum(image, 0)
    depth = np.where(covered, discs.depth[safe], np.inf)
    lead = np.where(discs.hidden_at_first[safe], HIDDEN_DISC_LEAD, SHOWN_DISC_LEAD) * extent
    in_front = covered & np.isfinite(shell_depth) & (depth < shell_depth - lead)
    opened = cv2.morphologyEx(in_front.astype(np.uint8), cv2.MORPH_OPEN, disc(round(3 * stage.scale)))
    return opened.astype(np.float32)
