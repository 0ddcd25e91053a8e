"""Discs that stand in for surface which the photo does not show, such as the back of a subject that turns.

Every track of the rig carries a disc in the plane of its neighbourhood (a surfel, Pfister et al. 2000), in
the colour of the photo near it in space. Reference algorithm, step 8: this matters most for the silhouette
(IoU against the true render .80 without, .92 with fillers).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from flextraj_backend.engines.preview.binding import apply_affine, project_points
from flextraj_backend.engines.preview.canvas import CutOut, blur, disc
from flextraj_backend.engines.preview.neighbours import nearest
from flextraj_backend.engines.preview.tracks import AffinityGraph, SubjectTracks

RADIUS = 0.85
"""Radius of a disc in units of the tracks' spacing on the surface."""
SPACING_NEIGHBOURS = 6
MAX_RADIUS = 16.0
"""Pixels at 720x480."""
COLOR_NEIGHBOURS = 9
COLOR_BLUR = 3.0
MIN_INSIDE = 10


@dataclass(frozen=True, eq=False)
class Filler:
    """Discs of one subject.

    Attributes:
        tracks: (M,) indices.
        hidden_at_first: (M,) bool, the photo does not show this track.
        colors: (M, 3) float32.
        axes: (M, 2, 3) float32, half axes of each disc at rest, camera space.
        offsets: (O, 2) float32, points of the unit disc.
    """

    tracks: NDArray[np.int64]
    hidden_at_first: NDArray[np.bool_]
    colors: NDArray[np.float32]
    axes: NDArray[np.float32]
    offsets: NDArray[np.float32]


def make_filler(
    tracks: SubjectTracks,
    graph: AffinityGraph,
    picture: CutOut,
    photo: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    fit: NDArray[np.float64],
    scale: float,
) -> Filler | None:
    """Make the discs of a subject; None where nothing of it is visible on the first frame.

    Args:
        photo: (H, W, 3) uint8.
        mask: (H, W) bool, the subject within the frame.
        fit: (2, 3) rig pixels to photo pixels.
        scale: size of the raster relative to 720x480.
    """
    height, width = mask.shape
    members = tracks.group == picture.group

    def pixel_of(chosen: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        where = np.floor(apply_affine(fit, tracks.pixels[0, chosen].astype(np.float64))).astype(np.int64)
        return np.clip(where[:, 1], 0, height - 1), np.clip(where[:, 0], 0, width - 1)

    shown = np.flatnonzero(members & tracks.visible[0])
    discs = np.flatnonzero(members & tracks.visible.any(axis=0))
    # Limbs of the rig that lie beside another body would be painted beside the subject.
    discs = discs[cv2.dilate(mask.astype(np.uint8), disc(2))[pixel_of(discs)] > 0]
    inside = shown[mask[pixel_of(shown)]]
    if discs.size == 0 or shown.size == 0:
        return None
    colored = inside if inside.size > MIN_INSIDE else shown
    pixels_per_unit = tracks.pixels_per_unit * float(np.sqrt(abs(np.linalg.det(fit[:, :2]))))
    smoothing = COLOR_BLUR * scale
    weight = mask.astype(np.float32)
    smooth = blur(photo * weight[..., None], smoothing) / np.maximum(blur(weight, smoothing)[..., None], 1e-3)
    near, _ = nearest(tracks.points[0, discs], tracks.points[0, colored], COLOR_NEIGHBOURS)
    # The median drops highlights, which would turn into white dots on the far side.
    colors = np.median(smooth[pixel_of(colored)][near], axis=1).astype(np.float32)
    radii = np.minimum(_surface_spacing(tracks, graph)[discs] * RADIUS, MAX_RADIUS * scale / pixels_per_unit)
    axes = _tangents(tracks, graph, discs) * radii[:, None, None]
    steps = max(2, int(np.ceil(float(np.percentile(radii, 90)) * pixels_per_unit)))
    grid = np.linspace(-1, 1, 2 * steps + 1, dtype=np.float32)
    second, first = np.meshgrid(grid, grid, indexing="ij")
    within = first**2 + second**2 <= 1
    return Filler(
        discs,
        ~tracks.visible[0, discs],
        colors,
        axes.astype(np.float32),
        np.stack([first[within], second[within]], axis=1),
    )


def _surface_spacing(tracks: SubjectTracks, graph: AffinityGraph) -> NDArray[np.float32]:
    """Spacing around each track as of points spread evenly over a surface, scene units, (N,)."""
    near = tracks.points[0][graph.neighbours] - tracks.points[0][:, None]  # (N, K, 3)
    distance = np.sort(np.sqrt(np.einsum("nka,nka->nk", near, near)), axis=1)
    order = min(SPACING_NEIGHBOURS, distance.shape[1] - 1)
    return distance[:, order] * np.float32(np.sqrt(np.pi / max(order, 1)))


def _tangents(tracks: SubjectTracks, graph: AffinityGraph, chosen: NDArray[np.int64]) -> NDArray[np.float64]:
    """Two unit vectors in the plane of each chosen track's neighbourhood at rest, (M, 2, 3)."""
    near = tracks.points[0][graph.neighbours[chosen]] - tracks.points[0][chosen][:, None]  # (M, K, 3)
    centred = near - near.mean(axis=1, keepdims=True)
    spread = np.einsum("mka,mkb->mab", centred, centred).astype(np.float64)
    _, vectors = np.linalg.eigh(spread / tracks.extent**2)  # columns by rising spread
    return vectors[:, :, 1:].transpose(0, 2, 1)


def splat_discs(
    filler: Filler,
    tracks: SubjectTracks,
    rotations: NDArray[np.float32],
    fit: NDArray[np.float64],
    frame: int,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Points of the discs visible on a frame: targets (P, 2), depth (P,), number of the disc (P,)."""
    drawn = np.flatnonzero(tracks.visible[frame, filler.tracks])
    chosen = filler.tracks[drawn]
    axes = np.einsum("mab,mcb->mca", rotations[frame, chosen], filler.axes[drawn])  # (m, 2, 3)
    points = tracks.points[frame, chosen][:, None] + np.einsum("oc,mca->moa", filler.offsets, axes)
    points = points.reshape(-1, 3)
    # The middle of a disc lies nearest, so that neighbouring discs meet halfway.
    cone = np.tile(np.hypot(filler.offsets[:, 0], filler.offsets[:, 1]), len(chosen))
    depth = points[:, 2] + np.float32(0.002 * tracks.extent) * cone
    on_photo = apply_affine(fit, project_points(tracks.camera, points, frame))
    return on_photo.astype(np.float32), depth.astype(np.float32), np.repeat(drawn, len(filler.offsets))
