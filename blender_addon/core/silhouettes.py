"""Exact silhouettes: which segment is the nearest surface at each pixel centre."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from .camera import CameraFrame
from .rasterizer import (
    PAIRS_AT_ONCE,
    OccluderMesh,
    ScreenTriangles,
    evaluate,
    expand_ranges,
    nearness_of_depth,
    project_triangles,
    split_work,
)

NO_SEGMENT = -1


def segment_silhouettes(
    camera: CameraFrame,
    meshes: Sequence[OccluderMesh],
    segments: Sequence[NDArray[np.integer] | int],
    segment_count: int,
) -> NDArray[np.bool_]:
    """Draw each segment's silhouette.

    Args:
        camera: camera of the frame.
        meshes: everything that renders.
        segments: for each mesh its segment, or one for each of its triangles (M,); `NO_SEGMENT` (-1) for
            surfaces that only occlude.
        segment_count: S.

    Returns:
        (S, H, W) bool: pixels at whose centre that segment is the nearest surface between the clip planes.
    """
    per_triangle = [
        np.broadcast_to(np.asarray(segment, dtype=np.intp), len(mesh.triangles))
        for mesh, segment in zip(meshes, segments, strict=True)
    ]
    segment_of = np.concatenate([*per_triangle, np.empty(0, dtype=np.intp)])
    triangles = project_triangles(camera, meshes)
    nearest = np.full(camera.width * camera.height, -np.inf)
    segment = np.full(camera.width * camera.height, NO_SEGMENT, dtype=np.intp)
    for triangle, pixel, nearness in covered_pixels(camera, triangles):
        np.maximum.at(nearest, pixel, nearness)
        front = np.flatnonzero(nearness == nearest[pixel])
        segment[pixel[front]] = segment_of[triangles.source[triangle[front]]]
    masks = segment[None, :] == np.arange(segment_count)[:, None]
    return masks.reshape(segment_count, camera.height, camera.width)


def covered_pixels(
    camera: CameraFrame, triangles: ScreenTriangles
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]]:
    """Yield batches of triangle, pixel (row * W + column) and nearness there, all (P,)."""
    clip = np.array([camera.clip_end, camera.clip_start])
    lowest, highest = nearness_of_depth(camera, clip)
    # Pixels whose centres lie within the bounds.
    left = np.ceil(np.clip(triangles.left - 0.5, 0, camera.width)).astype(np.intp)
    right = np.floor(np.clip(triangles.right + 0.5, 0, camera.width)).astype(np.intp)
    top = np.ceil(np.clip(triangles.top - 0.5, 0, camera.height)).astype(np.intp)
    bottom = np.floor(np.clip(triangles.bottom + 0.5, 0, camera.height)).astype(np.intp)
    used = np.flatnonzero((right > left) & (bottom > top))
    for batch in split_work(used, ((right - left + 1) * (bottom - top))[used], PAIRS_AT_ONCE):
        owner, row = expand_ranges(top[batch], bottom[batch])
        span_triangle = batch[owner]
        span, column = expand_ranges(left[span_triangle], right[span_triangle])
        triangle, row = span_triangle[span], row[span]
        for function in triangles.inside:
            inside = np.flatnonzero(evaluate(function, triangle, column + 0.5, row + 0.5) >= 0)
            triangle, column, row = triangle[inside], column[inside], row[inside]
        nearness = evaluate(triangles.nearness, triangle, column + 0.5, row + 0.5)
        between = np.flatnonzero((nearness >= lowest) & (nearness <= highest))
        yield triangle[between], (row * camera.width + column)[between], nearness[between]
