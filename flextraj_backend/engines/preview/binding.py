"""Binding of a cut-out to the tracks: which tracks carry which pixel, and where pixels lie in space.

Embedded deformation (Sumner, Schmid, Pauly 2007) on a grid over the mask. Tracks of another limb get no
weight, by affinity; pixels mix the corners of their cell by bilinear weight and affinity, which cuts limbs
apart to the pixel without a triangle mesh. Reference algorithm, steps 5 and 6.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from blender_addon.core.camera_track import CameraTrack, Projection
from flextraj_backend.engines.preview.canvas import CutOut, disc
from flextraj_backend.engines.preview.neighbours import nearest
from flextraj_backend.engines.preview.tracks import AffinityLaw, SubjectTracks, affinity

SEED_WEIGHT = 0.02
"""Weight of the pixel's own nearest track beside the corners of its cell; it rules where no corner moves
alike."""


@dataclass(frozen=True)
class BindingStyle:
    """How tightly pixels follow their nearest tracks.

    Attributes:
        neighbours: tracks per grid vertex.
        softness: widens the weights' Gaussian; 1 follows single tracks, 4 bends smoothly across a joint.
        vertex_law, pixel_law: affinity between tracks of a vertex and between a pixel and its corners; None
            binds without any cut.
        smoothing: anchor weight of the gradient-domain solve, 0 = no solve.
    """

    neighbours: int
    softness: float
    vertex_law: AffinityLaw | None
    pixel_law: AffinityLaw | None
    smoothing: float


ALIGNED = BindingStyle(12, 1.0, AffinityLaw(3.0, 0.15, 2.0), AffinityLaw(4.0, 0.25, 4.0), 0.0)
"""Rig and subject line up: every pixel knows its limb."""
UNALIGNED = BindingStyle(96, 5.0, AffinityLaw(6.0, 0.35, 2.0), AffinityLaw(8.0, 0.5, 4.0), 0.0)
"""Another body: pixels near a limb's outline may belong to either side, so limbs part only where they move
far."""
BLOCKOUT = BindingStyle(48, 4.0, None, None, 0.02)
"""Rigid boxes of one connected subject: bend smoothly where they meet."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Grid vertices that touch the mask: (V, 2) photo pixels; `lookup` holds vertex numbers or -1."""

    positions: NDArray[np.float64]
    lookup: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Shell:
    """The front shell of one subject, bound to its tracks.

    Handles are the V grid vertices followed by all N tracks; a pixel mixes five of them.

    Attributes:
        cut_out: the picture.
        style: how it is bound.
        grid: the vertices.
        pixels: (P, 2) float32, photo pixels, may lie outside the frame.
        handles: (P, 5) int64; weights (P, 5) float32, rows sum to 1.
        seed: (P,) nearest visible track of every pixel.
        rest: (P, 3) float32, camera space, scene units.
        vertex_neighbours: (V, K) tracks; vertex_weights (V, K) rows sum to 1.
        vertex_seed: (V,) nearest visible track.
        vertex_rest: (V, 3) float32, camera space.
    """

    cut_out: CutOut
    style: BindingStyle
    grid: Grid
    pixels: NDArray[np.float32]
    handles: NDArray[np.int64]
    weights: NDArray[np.float32]
    seed: NDArray[np.int64]
    rest: NDArray[np.float32]
    vertex_neighbours: NDArray[np.int64]
    vertex_weights: NDArray[np.float32]
    vertex_seed: NDArray[np.int64]
    vertex_rest: NDArray[np.float32]


def apply_affine(matrix: NDArray[np.float64], points: NDArray[np.floating]) -> NDArray[np.float64]:
    """Apply a (2, 3) affine to (..., 2) points."""
    x, y = points[..., 0], points[..., 1]
    return np.stack(
        [
            matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2],
            matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2],
        ],
        axis=-1,
    )


def project_points(camera: CameraTrack, points: NDArray[np.floating], frame: int) -> NDArray[np.float64]:
    """Project camera-space points (P, 3) of one frame to rig pixels (P, 2); depth is taken as positive."""
    if camera.projection is Projection.PERSPECTIVE:
        nearest_depth = 1e-6 * max(float(np.abs(points[:, 2]).max(initial=0)), 1e-30)
        plane = points[:, :2] / np.maximum(points[:, 2:], nearest_depth)
    else:
        plane = points[:, :2]
    return plane * camera.focal[frame] + camera.principal[frame]


def _make_grid(
    cells: NDArray[np.int64], step: float, first_cell: NDArray[np.int64]
) -> tuple[Grid, NDArray[np.int64]]:
    """Grid over the (P, 2) cells that hold pixels; also the four corners of every pixel's cell, (P, 4)."""
    columns, rows = cells[:, 0].max() + 2, cells[:, 1].max() + 2
    used = np.zeros((rows, columns), bool)
    for dy in (0, 1):
        for dx in (0, 1):
            used[cells[:, 1] + dy, cells[:, 0] + dx] = True
    lookup = np.full(used.shape, -1, np.int64)
    y, x = np.nonzero(used)
    lookup[y, x] = np.arange(len(y))
    positions = (np.stack([x, y], axis=1) + first_cell) * step
    corners = np.stack([lookup[cells[:, 1] + dy, cells[:, 0] + dx] for dy in (0, 1) for dx in (0, 1)], axis=1)
    return Grid(positions, lookup), corners


def _lift(
    tracks: SubjectTracks, rig_pixels: NDArray[np.float64], depth: NDArray[np.floating]
) -> NDArray[np.float32]:
    first = tracks.camera.select_frames(np.array([0]))
    return first.unproject(np.concatenate([rig_pixels, depth[:, None]], axis=1)[None])[0].astype(np.float32)


def _normalised(weights: NDArray[np.floating]) -> NDArray[np.float32]:
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def bind(
    tracks: SubjectTracks,
    picture: CutOut,
    fit: NDArray[np.float64],
    style: BindingStyle,
    step: int,
    margin: int,
) -> Shell | None:
    """Bind a cut-out to the tracks of its group that are visible on the first frame.

    Args:
        fit: (2, 3) rig pixels to photo pixels.
        step: side of a grid cell, pixels.
        margin: pixels around the mask that move along, for its soft edge.

    Returns:
        The shell, or None where the mask is empty or no track of the group is visible on the first frame.
    """
    members = np.flatnonzero(tracks.visible[0] & (tracks.group == picture.group))
    wide = cv2.dilate(picture.mask.astype(np.uint8), disc(margin))
    y, x = np.nonzero(wide)
    if members.size == 0 or y.size == 0:
        return None
    on_photo = apply_affine(fit, tracks.pixels[0, members].astype(np.float64))  # (M, 2)
    pixels = np.stack([x - picture.padding.left + 0.5, y - picture.padding.top + 0.5], axis=1)  # (P, 2)
    absolute_cells = np.floor(pixels / step).astype(np.int64)
    first_cell = absolute_cells.min(axis=0)
    cells = absolute_cells - first_cell
    grid, corners = _make_grid(cells, step, first_cell)

    near, distance = nearest(grid.positions, on_photo, style.neighbours)  # (V, K)
    spacing = style.softness * max(step / 2, float(np.median(distance[:, min(3, distance.shape[1] - 1)])))
    # Vertices away from every track (hair around a bare head) average over a wider neighbourhood.
    width = np.maximum(spacing, 0.5 * distance[:, :1])
    excess = distance - distance[:, :1]
    weights = np.exp(
        -(distance**2 - distance[:, :1] ** 2) / (2 * (1.3 * width) ** 2) - (excess / (2 * width)) ** 2
    )
    vertex_seed, vertex_neighbours = members[near[:, 0]], members[near]
    if style.vertex_law is not None:
        count = near.shape[1]
        weights *= affinity(
            tracks, np.repeat(vertex_seed, count), vertex_neighbours.ravel(), style.vertex_law
        ).reshape(weights.shape)
    weights[:, 0] = np.maximum(weights[:, 0], 1e-6)
    vertex_weights = _normalised(weights)

    seed = _pixel_seeds(pixels, corners, near, on_photo)
    fraction = pixels / step - absolute_cells
    right, lower = fraction[:, 0], fraction[:, 1]
    corner_weights = np.stack(
        [(1 - right) * (1 - lower), right * (1 - lower), (1 - right) * lower, right * lower], axis=1
    )
    if style.pixel_law is not None:
        corner_weights = (corner_weights + 1e-4) * affinity(
            tracks, np.repeat(members[seed], 4), vertex_seed[corners].ravel(), style.pixel_law
        ).reshape(corners.shape)
    own = np.full((len(pixels), 1), SEED_WEIGHT if style.pixel_law is not None else 0.0)
    handles = np.concatenate([corners, (len(grid.positions) + members[seed])[:, None]], axis=1)
    pixel_weights = _normalised(np.concatenate([corner_weights, own], axis=1))

    inverse = cv2.invertAffineTransform(fit).astype(np.float64, copy=False)
    depth = tracks.points[0, :, 2]
    vertex_depth = np.einsum("vk,vk->v", depth[vertex_neighbours], vertex_weights)
    handle_depth = np.concatenate([vertex_depth, depth])
    pixel_depth = np.einsum("pk,pk->p", handle_depth[handles], pixel_weights)
    return Shell(
        cut_out=picture,
        style=style,
        grid=grid,
        pixels=pixels.astype(np.float32),
        handles=handles,
        weights=pixel_weights,
        seed=members[seed],
        rest=_lift(tracks, apply_affine(inverse, pixels), pixel_depth),
        vertex_neighbours=vertex_neighbours,
        vertex_weights=vertex_weights,
        vertex_seed=vertex_seed,
        vertex_rest=_lift(tracks, apply_affine(inverse, grid.positions), vertex_depth),
    )


def _pixel_seeds(
    pixels: NDArray[np.float64],
    corners: NDArray[np.int64],
    near: NDArray[np.int64],
    on_photo: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Nearest track of every pixel among the neighbours of its cell's corners: (P,) into `on_photo`."""
    best = np.full(len(pixels), np.inf, np.float32)
    seed = np.zeros(len(pixels), np.int64)
    positions = on_photo.astype(np.float32)
    where = pixels.astype(np.float32)
    for corner in range(corners.shape[1]):
        for k in range(min(near.shape[1], 12)):
            candidate = near[corners[:, corner], k]
            difference = positions[candidate] - where
            squared = difference[:, 0] ** 2 + difference[:, 1] ** 2
            closer = squared < best
            best = np.where(closer, squared, best)
            seed = np.where(closer, candidate, seed)
    return seed
