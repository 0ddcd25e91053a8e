"""Reads from Blender what a mesh looks like: material colours, image textures, shading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from blender_addon.core.sampling import sample_surface, triangle_areas
from flextraj_backend.synthesis.color_encoding import decode_srgb
from flextraj_backend.synthesis.raster_renderer import Albedo, MeshSurface

if TYPE_CHECKING:
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
        self, triangle: NDArray[np.integer], barycentric: NDArray[np.floating]
    ) -> NDArray[np.float32]:
        """See `Albedo`."""
        return self.of_triangle[triangle]


def read_surface(live: LiveMesh, topology: MeshTopology) -> MeshSurface:
    """Read a rendered mesh while its depsgraph is alive."""
    from blender_addon.bridge.evaluated_meshes import read_positions

    is_smooth = np.zeros(topology.face_count, bool)
    live.mesh.polygons.foreach_get("use_smooth", is_smooth)
    starts = np.empty(topology.face_count, np.int32)
    live.mesh.polygons.foreach_get("loop_start", starts)
    face = np.searchsorted(starts, topology.triangle_corners[:, 0], side="right") - 1
    areas = triangle_areas(read_positions(live.mesh), topology.triangles, live.matrix_world[:3, :3])
    shadow = sample_surface(areas, _SHADOW_POINTS, np.random.default_rng(0), live.owner.name)
    return MeshSurface(
        read_albedo(live, topology), is_smooth[face], shadow.triangle, shadow.barycentric
    )


def read_albedo(live: LiveMesh, topology: MeshTopology) -> Albedo:
    """Read the base colours of a mesh's materials."""
    from blender_addon.bridge.appearance import base_color

    slots = [slot.material for slot in live.source.material_slots] or [None]
    colors = [(204, 204, 204) if material is None else base_color(material) for material in slots]
    linear = decode_srgb(np.array(colors, np.uint8))
    slot = np.clip(topology.triangle_materials, 0, len(slots) - 1)
    return MaterialAlbedo(linear[slot])
