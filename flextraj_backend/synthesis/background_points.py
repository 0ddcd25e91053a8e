"""Points on the background, chosen where the camera sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blender_addon.core.camera import CameraFrame
from flextraj_backend.synthesis.color_encoding import encode_srgb
from flextraj_backend.synthesis.raster_renderer import background_albedo
from flextraj_backend.synthesis.textures import TexturedSurface
from flextraj_backend.synthesis.zbuffer import Fragments

_FIRST_FRAME_SHARE = 0.7
"""Of the points; the others start where the camera looks later."""
_CANDIDATES = 8
_BLOCK = 12
"""Samples on the side of the blocks over which points are spread evenly."""


@dataclass(frozen=True, eq=False)
class BackgroundPoints:
    """Fixed points: `places` (B, 3) world space, `color` (B, 3) uint8 sRGB."""

    places: NDArray[np.float64]
    color: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class View:
    """A frame as it was rendered: supersampled camera, and the background among what it sees."""

    camera: CameraFrame
    background: Fragments


def choose_background_points(
    views: Sequence[View],
    first_mesh: int,
    surfaces: Sequence[TexturedSurface],
    count: int,
    rng: np.random.Generator,
) -> BackgroundPoints:
    """Choose points on the background, most of them where the first view sees it.

    Args:
        views: of the first frame, and of later ones.
        first_mesh: index of the first background surface among the views' meshes.
        surfaces: the background.
        count: how many; fewer where almost nothing of the background is seen.
    """
    first = count if len(views) == 1 else round(_FIRST_FRAME_SHARE * count)
    later = np.array_split(np.arange(count - first), max(1, len(views) - 1))
    shares = [first, *(len(part) for part in later)]
    places, colors = [np.empty((0, 3))], [np.empty((0, 3), np.uint8)]
    for view, share in zip(views, shares, strict=False):
        seen = view.background
        chosen = _spread(seen.sample, view.camera.width, share, rng)
        for number, surface in enumerate(surfaces):
            own = chosen[seen.mesh[chosen] == first_mesh + number]
            if len(own) == 0:
                continue
            part = Fragments(
                seen.sample[own],
                seen.mesh[own],
                seen.triangle[own],
                seen.barycentric[:, own],
                seen.depth[own],
            )
            corners = surface.vertices[surface.triangles[part.triangle]]
            places.append(np.einsum("cp,pcd->pd", part.barycentric, corners))
            colors.append(encode_srgb(background_albedo(view.camera, part, surface)))
    return BackgroundPoints(np.concatenate(places), np.concatenate(colors))


def _spread(sample: NDArray[np.intp], width: int, count: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Choose `count` of the samples (row * width + column), evenly over the picture: their indices."""
    if len(sample) == 0 or count == 0:
        return np.empty(0, np.intp)
    candidates = np.unique(rng.integers(len(sample), size=_CANDIDATES * count))
    row, column = np.divmod(sample[candidates], width)
    block = (row // _BLOCK) * (width // _BLOCK + 1) + column // _BLOCK
    order = candidates[np.lexsort((rng.random(len(candidates)), block))]
    count = min(count, len(order))
    place = ((np.arange(count) + rng.random(count)) * (len(order) / count)).astype(np.intp)
    return order[np.unique(np.minimum(place, len(order) - 1))]
