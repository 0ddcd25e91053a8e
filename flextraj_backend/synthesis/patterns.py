"""Seeded procedural patterns, the same at every resolution: painted textures of grounds, walls and skies."""

from __future__ import annotations

from enum import StrEnum

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]


class Pattern(StrEnum):
    NOISE = "mottled"
    TILES = "tiled"
    CHECKER = "checkered"
    PLANKS = "planked"
    SPOTS = "spotted"
    STRIPES = "striped"
    PLAIN = "plain"


def periodic_noise(rng: np.random.Generator, size: int, cells: int, octaves: int = 4) -> Image:
    """Smooth noise that repeats at its edges: (size, size) float32, about 0 to 1."""
    total = np.zeros((size, size), np.float32)
    weight, sum_of_squares = 1.0, 0.0
    for _ in range(octaves):
        grid = rng.random((cells, cells), dtype=np.float32)
        if cells <= size:
            total += weight * _periodic_resize(grid, size)
        sum_of_squares += weight**2
        weight *= 0.55
        cells *= 2
    mean = total.mean()
    return np.clip(0.5 + (total - mean) / (1.1 * sum_of_squares**0.5), 0.0, 1.0)


def _periodic_resize(grid: Image, size: int) -> Image:
    cells = len(grid)
    margin = min(cells, 2)
    padded = np.pad(grid, margin, mode="wrap")
    scale = size / cells
    # Warp instead of resize: the sample positions stay exact at the seams.
    position = ((np.arange(size, dtype=np.float32) + 0.5) / scale - 0.5 + margin).astype(np.float32)
    columns, rows = np.meshgrid(position, position)
    smooth = cv2.remap(padded, columns, rows, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(smooth, np.float32)


def paint_pattern(
    pattern: Pattern, seed: int, colors: NDArray[np.float32], size: int, density: int = 1
) -> Image:
    """Paint a square texture that repeats at its edges.

    Args:
        pattern: what to paint.
        seed: everything that varies comes from it.
        colors: (3, 3) linear RGB: main, second and accent colour.
        size: side in pixels.
        density: how many times as many blotches or spots there are along a side.

    Returns:
        (size, size, 3) float32 linear RGB.
    """
    rng = np.random.default_rng(seed)
    main, second, accent = colors
    cells = int(rng.integers(3, 7)) * density
    grain = periodic_noise(rng, size, 2 * cells, octaves=1 if pattern is Pattern.PLAIN else 4)
    x, y = _pixel_grid(size)
    if pattern is Pattern.NOISE:
        blotches = _step(periodic_noise(rng, size, cells), 0.45, 0.62)
        specks = _step(periodic_noise(rng, size, 6 * cells, octaves=2), 0.66, 0.74)
        picture = _mix(_mix(main, second, blotches), accent, specks)
    elif pattern is Pattern.PLAIN:
        picture = _mix(main, second, periodic_noise(rng, size, cells, octaves=2))
    elif pattern is Pattern.CHECKER:
        picture = _mix(main, second, _odd_cell(x, y, 2 * (cells // 2 + 1)))
    elif pattern is Pattern.TILES:
        shades = rng.random((cells, cells), dtype=np.float32)
        tile = shades[(y * cells).astype(int) % cells, (x * cells).astype(int) % cells]
        picture = _mix(_mix(main, second, tile), accent, _joints(x * cells, 0.06) + _joints(y * cells, 0.06))
    elif pattern is Pattern.PLANKS:
        rows = cells + 2
        row = (y * rows).astype(int) % rows
        along = x * 2 + rng.random(rows, dtype=np.float32)[row]
        shade = rng.random((rows, 2), dtype=np.float32)[row, along.astype(int) % 2]
        joints = _joints(y * rows, 0.05) + _joints(along, 0.012)
        picture = _mix(_mix(main, second, shade), accent, joints)
    elif pattern is Pattern.SPOTS:
        picture = np.broadcast_to(main, (size, size, 3)).astype(np.float32)
        for color in (second, accent):
            for _ in range(3 * cells * density):
                center, radius = rng.random(2), rng.uniform(0.03, 0.09) / density
                _paint_spot(picture, color, center, radius, 0.006 / density)
    else:
        wave = 0.04 * np.sin(2 * np.pi * (x + rng.random()))
        band = ((y + wave) * 2 * cells).astype(int) % 2
        picture = _mix(main, second, band.astype(np.float32))
        picture = _mix(picture, accent, _joints((y + wave) * 2 * cells, 0.12))
    return np.clip(picture * (0.82 + 0.36 * grain[..., None]), 0.0, 1.0).astype(np.float32)


def paint_sky(seed: int, zenith: NDArray[np.float32], horizon: NDArray[np.float32], size: int) -> Image:
    """Paint a panorama: sky with clouds over distant hills or houses.

    Args:
        seed: of clouds and skyline.
        zenith, horizon: (3,) linear RGB.
        size: height in pixels; the width is four times that.

    Returns:
        (size, 4 * size, 3) float32 linear RGB; the top row is 60 degrees up, the bottom row the horizon.
    """
    rng = np.random.default_rng(seed)
    height = (np.arange(size, dtype=np.float32)[::-1, None, None] + 0.5) / size  # 0 = horizon, 1 = top
    picture = np.broadcast_to(_mix(horizon, zenith, height[..., 0] ** 0.7), (size, 4 * size, 3))
    clouds = np.tile(periodic_noise(rng, 2 * size, 4, octaves=5)[::2], (1, 2))  # flattened: wider than high
    cover = _step(clouds, float(rng.uniform(0.45, 0.6)), 0.85) * np.clip(3 * height[..., 0], 0, 1)
    picture = _mix(picture, np.full(3, 0.92, np.float32), 0.85 * cover)
    for layer, share in ((0, 0.45), (1, 0.15)):
        tint = horizon * share + rng.uniform(0.05, 0.35, 3).astype(np.float32) * (1 - share)
        outline = _skyline(rng, 4 * size, houses=bool(rng.random() < 0.5)) * (0.30 - 0.1 * layer) + 0.04
        shade = 0.85 + 0.3 * np.tile(periodic_noise(rng, 2 * size, 24, octaves=2)[::2], (1, 2))
        below = _step(outline[None] - height[..., 0], 0.0, 1.5 / size)
        picture = _mix(picture, np.clip(tint * shade[..., None], 0, 1), below)
    return picture.astype(np.float32)


def _skyline(rng: np.random.Generator, width: int, houses: bool) -> Image:
    """Height of a skyline per column, (width,) 0 to 1, closing up around the panorama."""
    place = np.arange(width, dtype=np.float32) / width
    if houses:
        count = int(rng.integers(28, 60))
        heights = rng.random(count, dtype=np.float32) ** 1.5
        return heights[(place * count).astype(int) % count]
    outline = np.zeros(width, np.float32)
    for waves in (3, 5, 8, 13, 29):
        outline += np.sin(2 * np.pi * (waves * place + rng.random())).astype(np.float32) / waves**0.7
    return np.clip(0.5 + 0.6 * outline, 0.0, 1.0)


def _paint_spot(
    picture: Image, color: Image, center: NDArray[np.float64], radius: float, softness: float
) -> None:
    """Paint a spot into a picture that repeats at its edges; lengths in its sides."""
    size = len(picture)
    reach = int(np.ceil((radius + softness) * size)) + 1
    offsets = np.arange(-reach, reach + 1)
    columns, rows = (np.unique((int(place * size) + offsets) % size) for place in center)
    x, y = (((index + 0.5) / size).astype(np.float32) for index in (columns, rows))
    distance = np.hypot(_wrapped(x - center[0])[None], _wrapped(y - center[1])[:, None])
    share = 1.0 - _step(distance, radius - softness, radius + softness)
    window = np.ix_(rows, columns)
    picture[window] = _mix(picture[window], color, share)


def _pixel_grid(size: int) -> tuple[Image, Image]:
    """Columns and rows of the pixel centres, (size, size) each, 0 to 1."""
    axis = ((np.arange(size) + 0.5) / size).astype(np.float32)
    columns, rows = np.meshgrid(axis, axis)
    return columns, rows


def _mix(first: Image, second: Image, share: Image) -> Image:
    share = np.clip(share, 0.0, 1.0)[..., None]
    return first * (1.0 - share) + second * share


def _step(values: Image, low: float, high: float) -> Image:
    share = np.clip((values - low) / (high - low), 0.0, 1.0)
    return share * share * (3.0 - 2.0 * share)


def _odd_cell(x: Image, y: Image, cells: int) -> Image:
    return (((x * cells).astype(int) + (y * cells).astype(int)) % 2).astype(np.float32)


def _joints(values: Image, width: float) -> Image:
    """1 near whole numbers, else 0."""
    distance = np.abs(values - np.rint(values))
    return 1.0 - _step(distance, 0.5 * width, width)


def _wrapped(difference: Image) -> Image:
    return difference - np.rint(difference)
