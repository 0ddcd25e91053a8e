"""Solid textures: colours as a function of a point's rest position, the same for every renderer.

NumPy only.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from flextraj_backend.synthesis.characters.palette import LinearColor


class SolidPattern(StrEnum):
    """How base and accent colour share a surface; the value is the word for it in a prompt."""

    PLAIN = "plain"
    STRIPES = "striped"
    CHECKS = "checkered"
    DOTS = "dotted"
    NOISE = "mottled"
    GRADIENT = "shaded"


@dataclass(frozen=True)
class MaterialTexture:
    """The texture of one material.

    Attributes:
        pattern: how the two colours share it.
        base, accent: linear RGB.
        period: size of one repeat, metres.
        axis: unit vector along which stripes and gradients change and which turns the other patterns.
        offset: where the pattern starts, in repeats.
        grain: strength of the fine noise over it, 0 to 1, which gives trackers something to hold.
        seed: of the noises.
    """

    pattern: SolidPattern
    base: LinearColor
    accent: LinearColor
    period: float
    axis: tuple[float, float, float]
    offset: float
    grain: float
    seed: int

    def colors(self, rest_positions: NDArray[np.floating]) -> NDArray[np.float32]:
        """Linear RGB (P, 3) at rest positions (P, 3) in metres."""
        places = np.asarray(rest_positions, np.float32)
        share = self._accent_share(places @ _frame_along(self.axis) / np.float32(self.period))
        base, accent = np.array(self.base, np.float32), np.array(self.accent, np.float32)
        grain = 0.6 * solid_noise(places / np.float32(_GRAIN), self.seed + 1)
        grain += 0.4 * solid_noise(places / np.float32(3 * _GRAIN), self.seed + 2)
        shade = 1.0 + self.grain * 2.0 * (grain - 0.5)
        return np.clip((base + share[:, None] * (accent - base)) * shade[:, None], 0.0, 1.0)

    def _accent_share(self, scaled: NDArray[np.float32]) -> NDArray[np.float32]:
        """Share of the accent colour (P,) at places (P, 3) in repeats, the first column along the axis."""
        scaled = scaled + np.float32(self.offset)
        if self.pattern is SolidPattern.STRIPES:
            return _soft_step(np.abs(scaled[:, 0] % 1.0 - 0.5) - 0.25)
        if self.pattern is SolidPattern.CHECKS:
            to_border = np.abs(scaled % 1.0 - 0.5) - 0.25  # positive in every other cell
            return _soft_step(np.sign(to_border).prod(axis=1) * np.abs(to_border).min(axis=1))
        if self.pattern is SolidPattern.DOTS:
            # Rows of cells, every other one shifted by a half.
            cell = scaled.copy()
            cell[:, 1] += 0.5 * (np.floor(cell[:, 0]) % 2)
            inside = np.linalg.norm(cell % 1.0 - 0.5, axis=1)
            return _soft_step(0.42 - inside)
        if self.pattern is SolidPattern.NOISE:
            return _soft_step(solid_noise(scaled * 2.0, self.seed) - 0.5)
        if self.pattern is SolidPattern.GRADIENT:
            return 0.5 + 0.5 * np.sin(np.pi * scaled[:, 0])
        return np.zeros(len(scaled), np.float32)


_GRAIN = 0.018
"""Cells of the fine noise, metres: a few pixels of a 720 x 480 picture of a person."""
_EDGE = 0.06
"""Width of a pattern's soft edges in repeats."""


@dataclass(frozen=True)
class SurfaceTexture:
    """The textures of a mesh, in the order of its material slots."""

    materials: tuple[MaterialTexture, ...]

    def colors(
        self, rest_positions: NDArray[np.floating], materials: NDArray[np.integer]
    ) -> NDArray[np.float32]:
        """Colours of points on the surface.

        Args:
            rest_positions: (P, 3) in the mesh's own undeformed space, metres.
            materials: (P,) index of the material slot of each point's face.

        Returns:
            (P, 3) linear RGB, 0 to 1.
        """
        result = np.empty((len(rest_positions), 3), np.float32)
        for number, texture in enumerate(self.materials):
            chosen = np.flatnonzero(materials == number)
            if len(chosen):
                result[chosen] = texture.colors(rest_positions[chosen])
        return result


def draw_texture(
    rng: np.random.Generator,
    pattern: SolidPattern,
    base: LinearColor,
    accent: LinearColor,
    grain: float = 0.22,
    period: float | None = None,
) -> MaterialTexture:
    """Draw size, direction and place of a pattern; without `period` it is one that a small picture shows."""
    axis = rng.standard_normal(3)
    if pattern is SolidPattern.STRIPES and rng.random() < 0.5:
        axis = np.array([0.0, 0.0, 1.0])
    axis /= np.linalg.norm(axis)
    return MaterialTexture(
        pattern,
        base,
        accent,
        float(rng.uniform(0.14, 0.30)) if period is None else period,
        (float(axis[0]), float(axis[1]), float(axis[2])),
        float(rng.random()),
        grain,
        int(rng.integers(1 << 16)),
    )


def solid_noise(places: NDArray[np.floating], seed: int) -> NDArray[np.float32]:
    """Smooth value noise (P,), 0 to 1 with mean 0.5, with cells of size 1 at places (P, 3)."""
    places = np.asarray(places, np.float32)
    cell = np.floor(places)
    fraction = places - cell
    fraction = fraction * fraction * (3.0 - 2.0 * fraction)
    corner = cell.astype(np.int32).view(np.uint32)
    axes = []
    for axis, factor in enumerate(_HASH_FACTORS):
        low = corner[:, axis] * factor
        axes.append((low, low + factor))
    total = np.zeros(len(places), np.float32)
    start = np.uint32((seed * 2654435761) & 0xFFFFFFFF)
    for i in (0, 1):
        for j in (0, 1):
            for k in (0, 1):
                value = _scramble(axes[0][i] ^ axes[1][j] ^ axes[2][k] ^ start)
                weight = np.ones(len(places), np.float32)
                for axis, side in enumerate((i, j, k)):
                    weight *= fraction[:, axis] if side else 1.0 - fraction[:, axis]
                total += weight * value
    return total


_HASH_FACTORS = (np.uint32(0x8DA6B343), np.uint32(0xD8163841), np.uint32(0xCB1AB31F))


def _scramble(bits: NDArray[np.uint32]) -> NDArray[np.float32]:
    """Integer hash to 0..1 (finaliser of MurmurHash3)."""
    bits = (bits ^ (bits >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    bits = (bits ^ (bits >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    bits = bits ^ (bits >> np.uint32(16))
    return bits.astype(np.float32) * np.float32(2.0**-32)


def _soft_step(signed: NDArray[np.floating]) -> NDArray[np.float32]:
    return np.clip(0.5 + np.asarray(signed, np.float32) / np.float32(_EDGE), 0.0, 1.0)


def _frame_along(axis: tuple[float, float, float]) -> NDArray[np.float32]:
    """(3, 3) with the axis and two directions across it as columns."""
    first = np.array(axis, np.float64)
    first /= np.linalg.norm(first)
    helper = np.eye(3)[int(np.abs(first).argmin())]
    second = np.cross(first, helper)
    second /= np.linalg.norm(second)
    return np.stack([first, second, np.cross(first, second)], 1).astype(np.float32)
