"""Backgrounds: a textured ground in a room or under a panorama, as plain textured surfaces."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from flextraj_backend.synthesis.patterns import Pattern, paint_pattern, paint_sky
from flextraj_backend.synthesis.textures import TexturedSurface

Color = tuple[float, float, float]
Palette = tuple[Color, Color, Color]

_GROUND_HALF = 34.0
_DOME_RADIUS = 30.0
_DOME_TOP = np.radians(60.0)
_DOME_COLUMNS, _DOME_ROWS = 24, 4
_GROUND_TILES = 3
_WALL_HEIGHT = 9.0
_FAMILIES: dict[str, Color] = {
    "sandy": (0.55, 0.42, 0.26),
    "green": (0.20, 0.38, 0.13),
    "brick red": (0.48, 0.18, 0.12),
    "grey": (0.36, 0.37, 0.38),
    "blue": (0.16, 0.28, 0.48),
    "white": (0.72, 0.71, 0.68),
    "brown": (0.30, 0.18, 0.10),
    "teal": (0.12, 0.38, 0.37),
    "yellow": (0.66, 0.50, 0.13),
    "purple": (0.32, 0.20, 0.42),
}


class Surroundings(StrEnum):
    ROOM = "room"
    OPEN_AIR = "open air"


class Backdrop(StrEnum):
    """How much there is to see on grounds and walls."""

    PATTERNED = "patterned"
    PLAIN = "plain"


@dataclass(frozen=True)
class TextureRecipe:
    """A painted surface.

    Attributes:
        name: its colour in words.
        pattern: what is painted.
        seed: of the pattern.
        palette: linear RGB: main, second and accent colour.
        repeat: side of the painted square, metres.
        density: see `paint_pattern`.
    """

    name: str
    pattern: Pattern
    seed: int
    palette: Palette
    repeat: float
    density: int = 1


@dataclass(frozen=True)
class BackgroundRecipe:
    """What stands behind and below the subjects.

    Attributes:
        surroundings: room or open air.
        ground: the floor.
        wall: the walls of a room; in the open air its palette's main and second colours are those of the
            sky's zenith and horizon.
        wall_distance: from the middle of the stage to the wall behind it, metres.
    """

    surroundings: Surroundings
    ground: TextureRecipe
    wall: TextureRecipe
    wall_distance: float

    @property
    def description(self) -> str:
        """In words, for prompts."""
        floor = f"a {self.ground.name} {self.ground.pattern} floor"
        if self.surroundings is Surroundings.ROOM:
            return f"in a room with {floor} and {self.wall.name} {self.wall.pattern} walls"
        return f"outdoors on {floor.replace('floor', 'ground')} under a {self.wall.name} sky"


def draw_background(rng: np.random.Generator, backdrop: Backdrop = Backdrop.PATTERNED) -> BackgroundRecipe:
    """Draw a background whose ground differs from its walls; plain ones have soft, large blotches only."""
    names = [str(name) for name in rng.choice(list(_FAMILIES), 2, replace=False)]
    surroundings = Surroundings.ROOM if rng.random() < 0.55 else Surroundings.OPEN_AIR
    ground = _draw_texture(rng, names[0], float(rng.uniform(2.4, 4.8)))
    wall = _draw_texture(rng, names[1], float(rng.uniform(1.8, 3.6)))
    if backdrop is Backdrop.PLAIN:
        ground, wall = (
            replace(texture, pattern=Pattern.PLAIN, repeat=_PLAIN_REPEAT * texture.repeat)
            for texture in (ground, wall)
        )
    if surroundings is Surroundings.OPEN_AIR:
        if ground.pattern in (Pattern.NOISE, Pattern.SPOTS):
            # Seen as far as the horizon, blotches that come again every few metres look like wallpaper.
            ground = replace(ground, repeat=_OPEN_DENSITY * ground.repeat, density=_OPEN_DENSITY)
        name, zenith, horizon = _SKIES[int(rng.integers(len(_SKIES)))]
        wall = TextureRecipe(
            name, Pattern.NOISE, int(rng.integers(1 << 31)), (zenith, horizon, horizon), 2 * _DOME_RADIUS
        )
    return BackgroundRecipe(surroundings, ground, wall, float(rng.uniform(2.2, 4.5)))


_PLAIN_REPEAT = 2.5
_OPEN_DENSITY = 4
_LARGEST_TEXTURE = 1024
_PATTERNS = (
    Pattern.NOISE,
    Pattern.TILES,
    Pattern.CHECKER,
    Pattern.PLANKS,
    Pattern.SPOTS,
    Pattern.STRIPES,
)
_SKIES: tuple[tuple[str, Color, Color], ...] = (
    ("blue", (0.12, 0.30, 0.72), (0.58, 0.72, 0.86)),
    ("pale", (0.42, 0.52, 0.62), (0.78, 0.80, 0.80)),
    ("rosy", (0.25, 0.28, 0.55), (0.85, 0.52, 0.38)),
    ("golden", (0.34, 0.42, 0.58), (0.90, 0.70, 0.42)),
)


def _draw_texture(rng: np.random.Generator, name: str, repeat: float) -> TextureRecipe:
    base = np.array(_FAMILIES[name])
    main = np.clip(base * rng.uniform(0.8, 1.15) + rng.normal(0, 0.015, 3), 0.02, 0.85)
    # The second colour is lighter or darker, enough to be seen and tracked.
    factor = float(rng.choice((rng.uniform(0.45, 0.65), rng.uniform(1.4, 1.8))))
    second = np.clip(main * factor + rng.normal(0, 0.03, 3), 0.02, 0.85)
    accent = np.clip(main * 0.35 + rng.uniform(0.0, 0.25, 3), 0.02, 0.85)
    return TextureRecipe(
        name,
        _PATTERNS[int(rng.integers(len(_PATTERNS)))],
        int(rng.integers(1 << 31)),
        (_as_color(main), _as_color(second), _as_color(accent)),
        repeat,
    )


def _as_color(values: NDArray[np.float64]) -> Color:
    red, green, blue = values.tolist()
    return red, green, blue


def background_surfaces(recipe: BackgroundRecipe, texture_size: int) -> tuple[TexturedSurface, ...]:
    """Build the surfaces of a background in world space, metres.

    Args:
        recipe: what was drawn.
        texture_size: side of the painted squares in pixels; the patterns do not depend on it.
    """
    ground_image = _painted(recipe.ground, texture_size)
    if recipe.surroundings is Surroundings.OPEN_AIR:
        ground = _sheet(
            np.array([-_GROUND_HALF, -_GROUND_HALF, 0.0]),
            np.array([2 * _GROUND_HALF, 0.0, 0.0]),
            np.array([0.0, 2 * _GROUND_HALF, 0.0]),
            ground_image,
            recipe.ground.repeat,
        )
        return ground, _dome(recipe.wall, texture_size)
    depth, side = recipe.wall_distance, recipe.wall_distance + 3.0
    front = 14.0
    wall_image = _painted(recipe.wall, texture_size)
    floor = _sheet(
        np.array([-side, -front, 0.0]),
        np.array([2 * side, 0.0, 0.0]),
        np.array([0.0, front + depth, 0.0]),
        ground_image,
        recipe.ground.repeat,
    )
    up = np.array([0.0, 0.0, _WALL_HEIGHT])
    walls = (
        (np.array([-side, depth, 0.0]), np.array([2 * side, 0.0, 0.0])),
        (np.array([-side, -front, 0.0]), np.array([0.0, front + depth, 0.0])),
        (np.array([side, depth, 0.0]), np.array([0.0, -front - depth, 0.0])),
    )
    return floor, *(_sheet(corner, along, up, wall_image, recipe.wall.repeat) for corner, along in walls)


@lru_cache(maxsize=4)  # up to 13 MB each, and only the clips of a pair group share one
def _painted(recipe: TextureRecipe, size: int) -> NDArray[np.float32]:
    size = max(size, min(recipe.density * size, _LARGEST_TEXTURE))
    colors = np.array(recipe.palette, np.float32)
    return paint_pattern(recipe.pattern, recipe.seed, colors, size, recipe.density)


@lru_cache(maxsize=1)
def _painted_sky(recipe: TextureRecipe, size: int) -> NDArray[np.float32]:
    zenith, horizon = np.array(recipe.palette[:2], np.float32)
    return paint_sky(recipe.seed, zenith, horizon, size)


def _sheet(
    corner: NDArray[np.float64],
    along: NDArray[np.float64],
    up: NDArray[np.float64],
    image: NDArray[np.float32],
    repeat: float,
) -> TexturedSurface:
    """A flat rectangle with a repeated texture, cut into quads; it faces along x up."""
    steps = np.linspace(0.0, 1.0, _GROUND_TILES + 1)
    u, v = (grid.ravel() for grid in np.meshgrid(steps, steps))
    vertices = corner + u[:, None] * along + v[:, None] * up
    uv = np.stack([u * np.linalg.norm(along), v * np.linalg.norm(up)], axis=1) / repeat
    return TexturedSurface(vertices, _grid_triangles(_GROUND_TILES, _GROUND_TILES), uv, image, repeat)


def _dome(recipe: TextureRecipe, texture_size: int) -> TexturedSurface:
    """The panorama: a cylinder that closes to a dome, seen from inside, shining by itself."""
    u, v = (
        grid.ravel()
        for grid in np.meshgrid(np.linspace(0, 1, _DOME_COLUMNS + 1), np.linspace(0, 1, _DOME_ROWS + 1))
    )
    azimuth, elevation = 2 * np.pi * u, v * _DOME_TOP
    vertices = _DOME_RADIUS * np.stack(
        [-np.sin(azimuth), -np.cos(azimuth), np.tan(elevation)], axis=1
    )  # the seam is behind the camera
    return TexturedSurface(
        vertices,
        _grid_triangles(_DOME_COLUMNS, _DOME_ROWS),
        np.stack([u, v], axis=1),
        _painted_sky(recipe, texture_size),
        2 * np.pi * _DOME_RADIUS,
        shines=True,
    )


def _grid_triangles(columns: int, rows: int) -> NDArray[np.int32]:
    """Triangles (2 * columns * rows, 3) of a grid of (rows + 1) x (columns + 1) vertices."""
    column, row = (grid.ravel() for grid in np.meshgrid(np.arange(columns), np.arange(rows)))
    corner = row * (columns + 1) + column
    right, above = corner + 1, corner + columns + 1
    quads = np.stack([corner, right, above + 1, corner, above + 1, above], axis=1)
    return quads.reshape(-1, 3).astype(np.int32)
