"""Reads from Blender what a mesh looks like: material colours, image textures, shading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from blender_addon.core.sampling import sample_surface, triangle_areas
from flextraj_backend.synthesis.characters.surface_texture import SurfaceTexture
from flextraj_backend.synthesis.color_encoding import decode_srgb
from flextraj_backend.synthesis.image_albedo import LARGEST_SIDE, BaseColorImage, ImageAlbedo, halved
from flextraj_backend.synthesis.raster_renderer import Albedo, MeshSurface

if TYPE_CHECKING:
    import bpy

    from blender_addon.bridge.evaluated_meshes import LiveMesh, MeshTopology

_SHADOW_POINTS = 700


@dataclass(frozen=True, eq=False)
class MaterialAlbedo:
    """Plain material colours.

    Attributes:
        of_triangle: (M, 3) float32 linear RGB.
    """

    of_triangle: NDArray[np.float32]

    def linear(
        self,
        triangle: NDArray[np.integer],
        barycentric: NDArray[np.floating],
        share: NDArray[np.floating],
    ) -> NDArray[np.float32]:
        """See `Albedo`."""
        return self.of_triangle[triangle]


@dataclass(frozen=True, eq=False)
class SolidAlbedo:
    """A solid texture, looked up at rest positions.

    Attributes:
        texture: of the material slots.
        rest: (V, 3) float32 undeformed vertices.
        triangles: (M, 3).
        materials: (M,) slot of each triangle.
    """

    texture: SurfaceTexture
    rest: NDArray[np.float32]
    triangles: NDArray[np.integer]
    materials: NDArray[np.integer]

    def linear(
        self,
        triangle: NDArray[np.integer],
        barycentric: NDArray[np.floating],
        share: NDArray[np.floating],
    ) -> NDArray[np.float32]:
        """See `Albedo`."""
        corners = self.rest[self.triangles[triangle]]  # (P, 3 corners, 3)
        places = np.einsum("cp,pcd->pd", barycentric.astype(np.float32), corners)
        return self.texture.colors(places, self.materials[triangle])


def read_surface(live: LiveMesh, topology: MeshTopology, texture: SurfaceTexture | None) -> MeshSurface:
    """Read a rendered mesh while its depsgraph is alive.

    Args:
        texture: its solid texture; None = the base colours of its materials.
    """
    from blender_addon.bridge.evaluated_meshes import read_positions

    is_smooth = np.zeros(topology.face_count, bool)
    live.mesh.polygons.foreach_get("use_smooth", is_smooth)
    starts = np.empty(topology.face_count, np.int32)
    live.mesh.polygons.foreach_get("loop_start", starts)
    face = np.searchsorted(starts, topology.triangle_corners[:, 0], side="right") - 1
    areas = triangle_areas(read_positions(live.mesh), topology.triangles, live.matrix_world[:3, :3])
    shadow = sample_surface(areas, _SHADOW_POINTS, np.random.default_rng(0), live.owner.name)
    if texture is None:
        albedo = read_albedo(live, topology)
    else:
        original = cast("bpy.types.Mesh", cast("bpy.types.Object", live.source.original).data)
        rest = read_positions(original)
        albedo = SolidAlbedo(texture, rest, topology.triangles, topology.triangle_materials)
    return MeshSurface(albedo, is_smooth[face], shadow.triangle, shadow.barycentric)


def read_albedo(live: LiveMesh, topology: MeshTopology) -> Albedo:
    """Read the base colours of a mesh's materials, and the images that they come from."""
    from blender_addon.bridge.appearance import base_color, base_color_image, corner_uv

    slots = [slot.material for slot in live.source.material_slots] or [None]
    colors = [(204, 204, 204) if material is None else base_color(material) for material in slots]
    linear = decode_srgb(np.array(colors, np.uint8))
    slot = np.clip(topology.triangle_materials, 0, len(slots) - 1)
    plain = linear[slot]  # (M, 3)
    images: list[BaseColorImage] = []
    image_of_triangle = np.full(len(slot), -1, np.intp)
    uv = np.zeros((len(slot), 3, 2), np.float32)
    for number, material in enumerate(slots):
        node = None if material is None else base_color_image(material)
        corners = None if node is None else corner_uv(live.mesh, node, topology)
        image = None if node is None or node.image is None else _read_image(node.image)
        if corners is None or image is None:
            continue
        chosen = slot == number
        uv[chosen] = corners[chosen]
        image_of_triangle[chosen] = len(images)
        images.append(image)
    return ImageAlbedo(plain, tuple(images), image_of_triangle, uv) if images else MaterialAlbedo(plain)


def _read_image(image: bpy.types.Image) -> BaseColorImage | None:
    """Read an image no finer than pictures show; None where its file is missing."""
    from blender_addon.bridge.appearance import read_pixels

    pixels = read_pixels(image)
    if pixels is None:
        return None
    colors = np.ascontiguousarray(pixels[::-1, :, :3])  # top row first
    if not image.is_float:
        colors = decode_srgb(np.rint(255.0 * np.clip(colors, 0.0, 1.0)).astype(np.uint8))
    while max(colors.shape[:2]) > LARGEST_SIDE:
        colors = halved(colors)
    return BaseColorImage(colors)
