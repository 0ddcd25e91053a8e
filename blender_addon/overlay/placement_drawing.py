"""Drawing marks in pixels of a region; works inside draw callbacks only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gpu
import numpy as np
from gpu_extras.batch import batch_for_shader
from numpy.typing import NDArray

_CIRCLE = np.stack([np.cos(np.linspace(0, 2 * np.pi, 33)), np.sin(np.linspace(0, 2 * np.pi, 33))], axis=1)
Rgba = tuple[float, float, float, float]


def draw_lines(points: NDArray[np.floating], color: Rgba, width: float) -> None:
    """Draw lines between pairs of points (2 * n, 2) of the region."""
    if len(points) == 0:
        return
    shader = gpu.shader.from_builtin("POLYLINE_UNIFORM_COLOR")
    batch = batch_for_shader(shader, "LINES", {"pos": np.pad(points, ((0, 0), (0, 1))).tolist()})
    viewport: Any = gpu.state.viewport_get()
    shader.bind()
    shader.uniform_float("viewportSize", viewport[2:])
    shader.uniform_float("lineWidth", width)
    shader.uniform_float("color", color)
    batch.draw(shader)


def draw_circle(
    center: Sequence[float] | NDArray[np.floating], radius: float, color: Rgba, width: float
) -> None:
    """Draw a circle around a point of the region."""
    around = np.asarray(center) + _CIRCLE * radius
    draw_lines(np.repeat(around, 2, axis=0)[1:-1], color, width)


def draw_dots(points: NDArray[np.floating], radius: float, color: Rgba) -> None:
    """Fill small discs around points (n, 2) of the region."""
    if len(points) == 0:
        return
    rim = _CIRCLE[::4] * radius  # (9, 2)
    first, second = rim[:-1], rim[1:]
    fan = np.stack([np.zeros_like(first), first, second], axis=1).reshape(-1, 2)  # (24, 2)
    corners = (np.asarray(points)[:, None] + fan[None]).reshape(-1, 2)
    shader = gpu.shader.from_builtin("UNIFORM_COLOR")
    batch = batch_for_shader(shader, "TRIS", {"pos": np.pad(corners, ((0, 0), (0, 1))).tolist()})
    shader.bind()
    shader.uniform_float("color", color)
    batch.draw(shader)


def draw_rectangle(low: Sequence[float], high: Sequence[float], color: Rgba, width: float) -> None:
    """Draw the outline of a rectangle between two corners in the region."""
    corners = np.array([low, (high[0], low[1]), high, (low[0], high[1])], np.float64)
    draw_lines(np.stack([corners, np.roll(corners, -1, axis=0)], axis=1).reshape(-1, 2), color, width)
