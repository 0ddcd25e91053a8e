"""The raster renderer: z-buffer, Lambert light, soft shadows on the ground, box-filtered supersampling.

NumPy and OpenCV only: no GPU, no Blender.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from blender_addon.core.camera import CameraFrame
from blender_addon.core.rasterizer import OccluderMesh
from flextraj_backend.synthesis.color_encoding import encode_srgb
from flextraj_backend.synthesis.lights import LightRecipe
from flextraj_backend.synthesis.textures import TexturedSurface, look_up_filtered
from flextraj_backend.synthesis.zbuffer import Fragments

SAMPLES = 3
"""Samples a pixel in each direction; odd, so that one of them is the pixel's centre."""
_SHADOW_CELL = 0.05
_SHADOW_REACH = 6.0
_SHADOW_CELLS = int(2 * _SHADOW_REACH / _SHADOW_CELL)
_SHADOW_BLUR = 1.7
_CONTACT_HEIGHT = 0.16


class Albedo(Protocol):
    """The colour of a mesh's surface."""

    def linear(
        self,
        triangle: NDArray[np.integer],
        barycentric: NDArray[np.floating],
        share: NDArray[np.floating],
    ) -> NDArray[np.float32]:
        """Colours at points of the surface.

        Args:
            triangle: (P,) triangle of each point.
            barycentric: (3, P) weights of its corners.
            share: (P,) how many triangles of that size a sample covers, 0 = a mere point.

        Returns:
            (P, 3) linear RGB.
        """
        ...


@dataclass(frozen=True, eq=False)
class MeshSurface:
    """What stays the same about a subject's mesh over the frames.

    Attributes:
        albedo: its colours.
        is_smooth: (M,) bool, triangles whose normals are interpolated.
        shadow_triangle: (K,) triangles of points spread over the mesh, which throw its shadow.
        shadow_weights: (3, K) their barycentric weights.
    """

    albedo: Albedo
    is_smooth: NDArray[np.bool_]
    shadow_triangle: NDArray[np.integer]
    shadow_weights: NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class LitMesh:
    """A subject's mesh on one frame, in world space."""

    mesh: OccluderMesh
    surface: MeshSurface


@dataclass(frozen=True, eq=False)
class GroundShadows:
    """How much light reaches the ground around the stage, on square grids, (n, n) float32 each.

    Attributes:
        sun: share of the sun.
        sky: share of the ambient light.
    """

    sun: NDArray[np.float32]
    sky: NDArray[np.float32]

    def at(self, x: NDArray[np.floating], y: NDArray[np.floating]) -> tuple[NDArray[np.float32], ...]:
        """Shares of sun and sky at places on the ground, (P,) each; 1 beyond the grid."""
        column = ((x + _SHADOW_REACH) / _SHADOW_CELL - 0.5).astype(np.float32)[None]
        row = ((y + _SHADOW_REACH) / _SHADOW_CELL - 0.5).astype(np.float32)[None]
        shares = []
        for grid in (self.sun, self.sky):
            share = np.ones(column.shape[1], np.float32)
            for start in range(0, column.shape[1], 1 << 14):  # OpenCV's maps have short sides
                part = slice(start, start + (1 << 14))
                share[part] = cv2.remap(
                    grid,
                    column[:, part],
                    row[:, part],
                    cv2.INTER_LINEAR,
                    borderMode=cv2.BORDER_CONSTANT,
                    borderValue=(1.0,),
                )[0]
            shares.append(share)
        return tuple(shares)


def cast_shadows(subjects: Sequence[LitMesh], light: LightRecipe) -> GroundShadows:
    """Throw the subjects' shadows on the plane z = 0."""
    direction = light.direction
    hits = np.zeros((2, _SHADOW_CELLS, _SHADOW_CELLS), np.float32)
    for subject in subjects:
        corners = subject.mesh.triangles[subject.surface.shadow_triangle]  # (K, 3)
        points = np.einsum("ck,kcd->kd", subject.surface.shadow_weights, subject.mesh.vertices[corners])
        height = np.maximum(points[:, 2], 0.0)
        thrown = points[:, :2] - height[:, None] * direction[:2] / direction[2]
        _splat(hits[0], thrown, np.ones(len(points), np.float32))
        _splat(hits[1], points[:, :2], np.exp(-height / _CONTACT_HEIGHT).astype(np.float32))
    blurred = [
        cv2.GaussianBlur(grid, (0, 0), _SHADOW_BLUR * width)
        for grid, width in zip(hits, (1.0, 2.0), strict=True)
    ]
    return GroundShadows(np.exp(-1.6 * blurred[0]), 0.35 + 0.65 * np.exp(-1.0 * blurred[1]))


def _splat(grid: NDArray[np.float32], points: NDArray[np.floating], weights: NDArray[np.float32]) -> None:
    cell = np.floor((points + _SHADOW_REACH) / _SHADOW_CELL).astype(np.intp)
    inside = ((cell >= 0) & (cell < _SHADOW_CELLS)).all(axis=1)
    flat = cell[inside, 1] * _SHADOW_CELLS + cell[inside, 0]
    grid += np.bincount(flat, weights[inside], minlength=grid.size).reshape(grid.shape).astype(np.float32)


def shade(
    camera: CameraFrame,
    fragments: Fragments,
    subjects: Sequence[LitMesh],
    background: Sequence[TexturedSurface],
    light: LightRecipe,
) -> NDArray[np.uint8]:
    """Colour what a camera sees.

    Args:
        camera: with `SAMPLES` x `SAMPLES` samples for each pixel of the picture.
        fragments: its nearest surfaces: first the subjects' meshes, then the background's surfaces, whose
            first is the ground.
        subjects, background: these meshes.
        light: sun and sky.

    Returns:
        (H, W, 3) uint8 sRGB, H and W the camera's divided by `SAMPLES`.
    """
    picture = np.zeros((camera.height * camera.width, 3), np.float32)
    shadows = cast_shadows(subjects, light)
    order = np.argsort(fragments.mesh, kind="stable")
    ends = np.searchsorted(fragments.mesh[order], np.arange(len(subjects) + len(background) + 1))
    for number in range(len(subjects) + len(background)):
        chosen = order[ends[number] : ends[number + 1]]
        if len(chosen) == 0:
            continue
        seen = Fragments(
            fragments.sample[chosen],
            fragments.mesh[chosen],
            fragments.triangle[chosen],
            fragments.barycentric[:, chosen],
            fragments.depth[chosen],
        )
        if number < len(subjects):
            picture[seen.sample] = _shade_subject(camera, seen, subjects[number], light)
        else:
            surface = background[number - len(subjects)]
            ground = shadows if number == len(subjects) else None
            picture[seen.sample] = _shade_background(camera, seen, surface, light, ground)
    height, width = camera.height // SAMPLES, camera.width // SAMPLES
    blocks = picture.reshape(height, SAMPLES, width, SAMPLES, 3)
    return encode_srgb(np.minimum(blocks, 1.0).mean(axis=(1, 3)))


def background_albedo(camera: CameraFrame, seen: Fragments, surface: TexturedSurface) -> NDArray[np.float32]:
    """Unlit linear RGB (P, 3) of a background surface where a camera sees it."""
    uv = np.einsum("cp,pcd->pd", seen.barycentric, surface.uv[surface.triangles[seen.triangle]])
    normal = _face_normals(surface.vertices, surface.triangles)[seen.triangle]
    toward = -_view_rays(camera, seen.sample)
    cosine = np.abs(np.einsum("pd,pd->p", toward, normal)) / np.linalg.norm(toward, axis=1)
    # A sample covers a long strip of a surface seen at a low angle: filter for the middle of both sides.
    footprint = seen.depth / camera.focal[0] / np.sqrt(np.maximum(cosine, 0.02))
    return look_up_filtered(surface, uv, footprint)


def _shade_background(
    camera: CameraFrame,
    seen: Fragments,
    surface: TexturedSurface,
    light: LightRecipe,
    shadows: GroundShadows | None,
) -> NDArray[np.float32]:
    albedo = background_albedo(camera, seen, surface)
    if surface.shines:
        return albedo
    normals = _face_normals(surface.vertices, surface.triangles)[seen.triangle]
    sun, sky = 1.0, 1.0
    if shadows is not None:
        corners = surface.vertices[surface.triangles[seen.triangle]]
        points = np.einsum("cp,pcd->pd", seen.barycentric, corners)
        sun, sky = (share[:, None] for share in shadows.at(points[:, 0], points[:, 1]))
    return albedo * _light(camera, seen.sample, normals, light, sun, sky)


def _shade_subject(
    camera: CameraFrame, seen: Fragments, subject: LitMesh, light: LightRecipe
) -> NDArray[np.float32]:
    vertices, triangles = subject.mesh.vertices, subject.mesh.triangles
    faces = _face_normals(vertices, triangles, normalised=False)
    normals = faces[seen.triangle]
    share = _covered_share(camera, seen, normals)
    smooth = np.flatnonzero(subject.surface.is_smooth[seen.triangle])
    if len(smooth):
        of_vertex = np.stack(
            [
                sum(np.bincount(triangles[:, corner], faces[:, axis], len(vertices)) for corner in range(3))
                for axis in range(3)
            ],
            axis=1,
        )  # (V, 3), weighted by area
        of_vertex /= np.maximum(np.linalg.norm(of_vertex, axis=1, keepdims=True), 1e-20)
        corners = of_vertex[triangles[seen.triangle[smooth]]]
        normals[smooth] = np.einsum("cp,pcd->pd", seen.barycentric[:, smooth], corners)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-20)
    albedo = subject.surface.albedo.linear(seen.triangle, seen.barycentric, share)
    return albedo * _light(camera, seen.sample, normals, light, 1.0, 1.0)


def _covered_share(
    camera: CameraFrame, seen: Fragments, normals: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Areas of samples on their surfaces, (P,), in areas of their triangles.

    Args:
        normals: (P, 3) of the triangles, as long as twice their area.
    """
    ray = _view_rays(camera, seen.sample)
    doubled = np.linalg.norm(normals, axis=1)
    facing = np.abs(np.einsum("pd,pd->p", ray, normals)) / np.linalg.norm(ray, axis=1)
    # Seen at a low angle a sample covers a strip: the middle of its sides counts, and no more than tenfold.
    facing = np.maximum(facing, 0.1 * doubled)
    return 2.0 * (seen.depth / camera.focal[0]) ** 2 / np.maximum(facing, 1e-20)


def _light(
    camera: CameraFrame,
    sample: NDArray[np.intp],
    normals: NDArray[np.floating],
    light: LightRecipe,
    sun_share: NDArray[np.float32] | float,
    sky_share: NDArray[np.float32] | float,
) -> NDArray[np.float32]:
    """Light on surfaces (P, 3) with unit normals (P, 3), both of whose sides count."""
    facing = np.einsum("pd,pd->p", _view_rays(camera, sample), normals) < 0
    normals = np.where(facing[:, None], normals, -normals)
    lambert = np.maximum(normals @ light.direction, 0.0)[:, None] * sun_share
    dome = (0.75 + 0.25 * normals[:, 2:]) * sky_share
    return (lambert * np.array(light.sun) + dome * np.array(light.ambient)).astype(np.float32)


def _view_rays(camera: CameraFrame, sample: NDArray[np.intp]) -> NDArray[np.float64]:
    """World directions (P, 3) from the camera through samples, with planar depth 1."""
    row, column = np.divmod(sample, camera.width)
    x = (column + 0.5 - camera.principal[0]) / camera.focal[0]
    y = (row + 0.5 - camera.principal[1]) / camera.focal[1]
    return np.stack([x, -y, -np.ones(len(sample))], axis=1) @ camera.camera_to_world[:3, :3].T


def _face_normals(
    vertices: NDArray[np.floating], triangles: NDArray[np.integer], normalised: bool = True
) -> NDArray[np.float64]:
    """Normals (M, 3) of triangles; as long as twice their area where not normalised."""
    a, b, c = (vertices[triangles[:, corner]] for corner in range(3))
    normals = np.cross(b - a, c - a)
    if normalised:
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-20)
    return normals
