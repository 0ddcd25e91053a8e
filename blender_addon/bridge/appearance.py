"""The colour of a surface point: its material's base colour, through the image texture where there is one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

import bpy
import numpy as np
from numpy.typing import NDArray

from .compat import shader_tree
from .evaluated_meshes import LiveMesh, MeshTopology

_GREY = (204, 204, 204)
"""Blender's default material (0.8 linear is lighter; this is what the viewport shows)."""
_MAX_LINKS = 32


class MaterialColors:
    """Looks up colours; images are read once for a shot."""

    def __init__(self) -> None:
        # (H, W, 4) float32, bottom row first as Blender stores it; None where there are no pixels.
        self._textures: dict[int, NDArray[np.float32] | None] = {}

    def read(self, image: bpy.types.Image) -> None:
        """Read an image, which takes a moment for a large one, so that `colors` does not."""
        self._texture(image)

    def colors(
        self,
        live: LiveMesh,
        topology: MeshTopology,
        triangle: NDArray[np.integer],
        barycentric: NDArray[np.float32],
    ) -> NDArray[np.uint8]:
        """Return the colour of points on a mesh.

        Args:
            live: the evaluated mesh on the first frame.
            topology: its topology.
            triangle: (N,) triangle of each point.
            barycentric: (3, N) weights of its corners.

        Returns:
            (N, 3) uint8 sRGB.
        """
        colors = np.empty((len(triangle), 3), dtype=np.uint8)
        slots: Sequence[bpy.types.Material | None] = [slot.material for slot in live.source.material_slots]
        slot_of_point = np.clip(topology.triangle_materials[triangle], 0, max(0, len(slots) - 1))
        for slot in np.unique(slot_of_point):
            chosen = np.flatnonzero(slot_of_point == slot)
            material = slots[slot] if slots else None
            colors[chosen] = _GREY if material is None else base_color(material)
            image_node = None if material is None else base_color_image(material)
            if image_node is None:
                continue
            image = cast(bpy.types.Image, image_node.image)
            texture = self._texture(image)
            if texture is None:
                continue
            corners = corner_uv(live.mesh, image_node, topology)
            if corners is not None:
                uv = np.einsum("kn,nkc->nc", barycentric[:, chosen], corners[triangle[chosen]])
                colors[chosen] = _as_srgb(image, _look_up(texture, uv))
        return colors

    def _texture(self, image: bpy.types.Image) -> NDArray[np.float32] | None:
        uid = image.session_uid
        if uid not in self._textures:
            self._textures[uid] = read_pixels(image)
        return self._textures[uid]


def color_images(source: bpy.types.Object) -> Iterator[bpy.types.Image]:
    """Iterate over the images that an object's materials take their base colours from."""
    for slot in source.material_slots:
        node = None if slot.material is None else base_color_image(slot.material)
        if node is not None:
            yield cast(bpy.types.Image, node.image)


def base_color(material: bpy.types.Material) -> tuple[int, int, int]:
    """Return the sRGB base colour of a material, its viewport colour where it has no shader."""
    socket = _base_color_socket(material)
    linear = material.diffuse_color if socket is None else socket.default_value
    red, green, blue = linear_to_srgb(np.array(linear[:3], dtype=np.float64)).tolist()
    return red, green, blue


def base_color_image(material: bpy.types.Material) -> bpy.types.ShaderNodeTexImage | None:
    """Return the image texture node that feeds the base colour, directly or through other nodes."""
    socket = _base_color_socket(material)
    if socket is None or not socket.is_linked:
        return None
    queue = _linked_nodes(socket)
    for _ in range(_MAX_LINKS):
        if not queue:
            return None
        node = queue.pop(0)
        if isinstance(node, bpy.types.ShaderNodeTexImage) and node.image is not None:
            return node
        for item in cast(Iterable[bpy.types.NodeSocket], node.inputs):
            queue.extend(_linked_nodes(item))
    return None


def _linked_nodes(socket: bpy.types.NodeSocket) -> list[bpy.types.Node]:
    links = cast(Iterable[bpy.types.NodeLink], socket.links or ())
    return [link.from_node for link in links if link.from_node is not None]


def _base_color_socket(material: bpy.types.Material) -> bpy.types.NodeSocketColor | None:
    """Return the colour socket of the first shader that has one, starting with Principled."""
    tree = shader_tree(material)
    if tree is None:
        return None
    nodes = sorted(tree.nodes, key=lambda node: node.type != "BSDF_PRINCIPLED")
    for node in nodes:
        if node.type == "BSDF_PRINCIPLED" or node.type.startswith(("BSDF", "EMISSION", "BACKGROUND")):
            socket = node.inputs.get("Base Color") or node.inputs.get("Color")
            if socket is not None:
                return cast(bpy.types.NodeSocketColor, socket)
    return None


def linear_to_srgb(linear: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Encode scene-linear values as 8-bit sRGB (IEC 61966-2-1)."""
    linear = np.clip(linear, 0.0, 1.0)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.power(linear, 1 / 2.4) - 0.055)
    return np.rint(encoded * 255).astype(np.uint8)


def read_pixels(image: bpy.types.Image) -> NDArray[np.float32] | None:
    """Read an image's pixels: (H, W, 4) float32, bottom row first, sRGB unless `image.is_float`.

    None where its file is missing or it is generated by a render.
    """
    width, height = image.size
    if width * height == 0 or image.channels != 4:
        return None
    values = np.empty(width * height * 4, dtype=np.float32)
    cast(Any, image.pixels).foreach_get(values)
    return values.reshape(height, width, 4)


def _as_srgb(image: bpy.types.Image, texels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Encode texels (N, 3): float images hold linear values, others sRGB."""
    if image.is_float:
        return linear_to_srgb(texels)
    return np.rint(np.clip(texels, 0, 1) * 255).astype(np.uint8)


def corner_uv(
    mesh: bpy.types.Mesh, image_node: bpy.types.ShaderNodeTexImage, topology: MeshTopology
) -> NDArray[np.float32] | None:
    """Read the UV map that an image is laid out by, at the triangles' corners.

    Returns:
        (M, 3, 2) float32, v upwards; None where the mesh has no UV map.
    """
    layers = mesh.uv_layers
    layer = next((item for item in layers if item.active_render), None)
    for node in _linked_nodes(cast(bpy.types.NodeInputs, image_node.inputs)["Vector"]):
        if isinstance(node, bpy.types.ShaderNodeUVMap):
            layer = layers.get(node.uv_map, layer)
    if layer is None:
        return None
    values = np.empty(len(mesh.loops) * 2, dtype=np.float32)
    layer.uv.foreach_get("vector", values)
    return values.reshape(-1, 2)[topology.triangle_corners]


def _look_up(texture: NDArray[np.float32], uv: NDArray[np.float32]) -> NDArray[np.float32]:
    """Nearest texel (N, 3) of each UV (N, 2), repeated outside the unit square."""
    height, width = texture.shape[:2]
    column = np.floor(uv[:, 0] * width).astype(np.int64) % width
    row = np.floor(uv[:, 1] * height).astype(np.int64) % height
    return texture[row, column, :3]
