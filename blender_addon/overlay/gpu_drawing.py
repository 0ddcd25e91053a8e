"""Drawing with Blender's `gpu` module; works inside draw callbacks only, never in background mode.

Points and lines carry pixels of the raster and a matrix takes them to the viewport, so that moving about in
the camera view changes no buffer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import gpu
import numpy as np
from mathutils import Matrix
from numpy.typing import NDArray

from ..core.shot_drawing import DrawnPaths, DrawnPoints, TrailPart

# The stubs of its classes lack the buffer protocol and the constructors' arguments.
_types: Any = gpu.types

# Blender sets `srgbTarget` by its name where what a shader writes is encoded as sRGB afterwards.
_AS_SHOWN = """
vec3 as_shown(vec3 srgb)
{
  vec3 linear = mix(srgb / 12.92, pow((srgb + 0.055) / 1.055, vec3(2.4)), step(0.04045, srgb));
  return srgbTarget ? linear : srgb;
}
"""
_TINTED_VERTEX = (
    _AS_SHOWN
    + """
void main()
{
  gl_Position = transform * vec4(pos, 0.0, 1.0);
  gl_PointSize = size;
  tint = vec4(as_shown(color.rgb), color.a * opacity);
}
"""
)
# Points are discs. One shader for points and lines: compiling one takes software renderers 40 ms.
_TINTED_FRAGMENT = """
void main()
{
  vec2 from_center = gl_PointCoord - vec2(0.5);
  if (size > 0.0 && dot(from_center, from_center) > 0.25) {
    discard;
  }
  frag_color = tint;
}
"""
_PICTURE_VERTEX = """
void main()
{
  gl_Position = transform * vec4(pos, 0.0, 1.0);
  texel = pos;
}
"""
# Read without interpolation: the pixels are codes.
_PICTURE_FRAGMENT = (
    _AS_SHOWN
    + """
void main()
{
  ivec2 last = textureSize(picture, 0) - 1;
  vec4 found = texelFetch(picture, clamp(ivec2(floor(texel)), ivec2(0), last), 0);
  frag_color = vec4(as_shown(found.rgb), found.a * opacity);
}
"""
)


class PointBatch:
    """The points of one frame on the GPU."""

    def __init__(self, points: DrawnPoints) -> None:
        self._batch = None
        if len(points.pixels) > 0:
            self._batch = _types.GPUBatch(type="POINTS", buf=_tinted_vertices(points))

    def draw(self, transform: Matrix, size: float) -> None:
        """Draw the points.

        Args:
            transform: from pixels of the raster to clip space.
            size: diameter in pixels of the screen.
        """
        if self._batch is None:
            return
        shader = _tinted_shader()
        _set_tint(shader, transform, size, 1.0)
        gpu.state.program_point_size_set(True)
        try:
            self._batch.draw(shader)
        finally:
            gpu.state.program_point_size_set(False)


class PathBatch:
    """The paths of a whole shot on the GPU."""

    def __init__(self, paths: DrawnPaths, frame_count: int) -> None:
        self._steps = len(paths.lines) // max(frame_count - 1, 1)
        indices = _types.GPUIndexBuf(type="LINES", seq=paths.lines)
        self._batch = _types.GPUBatch(type="LINES", buf=_tinted_vertices(paths), elem=indices)

    def draw(self, transform: Matrix, parts: Iterable[TrailPart]) -> None:
        """Draw some parts, see `PointBatch.draw`."""
        shader = _tinted_shader()
        for part in parts:
            _set_tint(shader, transform, 0.0, part.opacity)
            self._batch.draw_range(
                shader,
                elem_start=2 * part.first * self._steps,
                elem_count=2 * (part.last - part.first) * self._steps,
            )


class PictureBatch:
    """A picture of the size of the raster on the GPU.

    Args:
        rgba: (H, W, 4) uint8, top row first.
    """

    def __init__(self, rgba: NDArray[np.uint8]) -> None:
        height, width = rgba.shape[:2]
        values = np.ascontiguousarray(rgba, np.float32).reshape(-1)  # the only type that textures take
        values /= 255.0
        buffer = _types.Buffer("FLOAT", len(values), values)
        self._texture = _types.GPUTexture((width, height), format="RGBA8", data=buffer)
        corners = np.array([(0, 0), (width, 0), (0, height), (width, height)], np.float32)
        layout = _types.GPUVertFormat()
        layout.attr_add(id="pos", comp_type="F32", len=2, fetch_mode="FLOAT")
        vertices = _types.GPUVertBuf(layout, len(corners))
        vertices.attr_fill("pos", corners)
        self._batch = _types.GPUBatch(type="TRI_STRIP", buf=vertices)

    def draw(self, transform: Matrix, opacity: float) -> None:
        """Draw the picture over the raster, see `PointBatch.draw`."""
        shader = _picture_shader()
        shader.bind()
        shader.uniform_float("transform", transform)
        shader.uniform_float("opacity", opacity)
        shader.uniform_sampler("picture", self._texture)
        self._batch.draw(shader)


@contextmanager
def alpha_blending() -> Iterator[None]:
    """Blend what is drawn inside with what is there; Blender's state comes back afterwards."""
    before: Any = gpu.state.blend_get()
    gpu.state.blend_set("ALPHA")
    try:
        yield
    finally:
        gpu.state.blend_set(before)


def clip_from_raster(region_from_raster: NDArray[np.float64]) -> Matrix:
    """Compose a matrix to pixels of the region (4, 4) with that of the region's drawing."""
    projection = gpu.matrix.get_projection_matrix() @ gpu.matrix.get_model_view_matrix()
    return projection @ Matrix(region_from_raster.tolist())


def _tinted_vertices(drawn: DrawnPoints | DrawnPaths) -> Any:
    layout = _types.GPUVertFormat()
    layout.attr_add(id="pos", comp_type="F32", len=2, fetch_mode="FLOAT")
    layout.attr_add(id="color", comp_type="U8", len=4, fetch_mode="INT_TO_FLOAT_UNIT")
    vertices = _types.GPUVertBuf(layout, len(drawn.pixels))
    vertices.attr_fill("pos", drawn.pixels)
    vertices.attr_fill("color", drawn.colors)
    return vertices


def _set_tint(shader: Any, transform: Matrix, size: float, opacity: float) -> None:
    shader.bind()
    shader.uniform_float("transform", transform)
    shader.uniform_float("size", size)
    shader.uniform_float("opacity", opacity)


@cache
def _tinted_shader() -> Any:
    info = _types.GPUShaderCreateInfo()
    info.push_constant("MAT4", "transform")
    info.push_constant("FLOAT", "size")
    info.push_constant("FLOAT", "opacity")
    info.push_constant("BOOL", "srgbTarget")
    info.vertex_in(0, "VEC2", "pos")
    info.vertex_in(1, "VEC4", "color")
    between = _types.GPUStageInterfaceInfo("flextraj_tinted_interface")
    between.flat("VEC4", "tint")
    info.vertex_out(between)
    info.fragment_out(0, "VEC4", "frag_color")
    info.vertex_source(_TINTED_VERTEX)
    info.fragment_source(_TINTED_FRAGMENT)
    return gpu.shader.create_from_info(info)


@cache
def _picture_shader() -> Any:
    info = _types.GPUShaderCreateInfo()
    info.push_constant("MAT4", "transform")
    info.push_constant("FLOAT", "opacity")
    info.push_constant("BOOL", "srgbTarget")
    info.sampler(0, "FLOAT_2D", "picture")
    info.vertex_in(0, "VEC2", "pos")
    between = _types.GPUStageInterfaceInfo("flextraj_picture_interface")
    between.smooth("VEC2", "texel")
    info.vertex_out(between)
    info.fragment_out(0, "VEC4", "frag_color")
    info.vertex_source(_PICTURE_VERTEX)
    info.fragment_source(_PICTURE_FRAGMENT)
    return gpu.shader.create_from_info(info)


def release_shaders() -> None:
    """Let go of the compiled shaders; they are made again when something is drawn."""
    for shader in (_tinted_shader, _picture_shader):
        shader.cache_clear()
