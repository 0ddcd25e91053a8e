"""The light of a scene: one sun and an even sky."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import cos, radians, sin

import numpy as np
from numpy.typing import NDArray

Color = tuple[float, float, float]


class LightMood(StrEnum):
    """What the light is like; names go into records and prompts."""

    NOON = "noon sun"
    AFTERNOON = "afternoon sun"
    EVENING = "warm evening light"
    OVERCAST = "overcast light"


@dataclass(frozen=True)
class LightRecipe:
    """Sun and sky.

    Attributes:
        mood: what was drawn.
        azimuth: degrees around the vertical from where a viewer stands (-Y), to the viewer's left.
        elevation: degrees above the horizon.
        sun: linear RGB that the sun adds to a white surface facing it.
        ambient: linear RGB that the sky adds to a white surface facing up; one facing down gets half of it.
    """

    mood: LightMood
    azimuth: float
    elevation: float
    sun: Color
    ambient: Color

    @property
    def direction(self) -> NDArray[np.float64]:
        """Unit vector (3,) towards the sun."""
        azimuth, elevation = radians(self.azimuth), radians(self.elevation)
        return np.array(
            [-sin(azimuth) * cos(elevation), -cos(azimuth) * cos(elevation), sin(elevation)], dtype=np.float64
        )


@dataclass(frozen=True)
class _Mood:
    elevation: tuple[float, float]
    sun: tuple[float, float]
    ambient: tuple[float, float]
    sun_tint: Color
    ambient_tint: Color


_MOODS = {
    LightMood.NOON: _Mood((50, 68), (0.75, 0.9), (0.34, 0.44), (1.0, 0.98, 0.94), (0.92, 0.97, 1.08)),
    LightMood.AFTERNOON: _Mood((30, 48), (0.75, 0.95), (0.32, 0.42), (1.0, 0.95, 0.86), (0.94, 0.97, 1.06)),
    LightMood.EVENING: _Mood((18, 28), (0.8, 1.0), (0.28, 0.36), (1.0, 0.84, 0.62), (0.95, 0.95, 1.1)),
    LightMood.OVERCAST: _Mood((45, 70), (0.2, 0.35), (0.62, 0.75), (1.0, 0.99, 0.97), (0.98, 0.99, 1.02)),
}


def draw_light(rng: np.random.Generator) -> LightRecipe:
    """Draw a light; the sun stands behind or beside the camera, so that subjects are never mere outlines."""
    mood = list(LightMood)[int(rng.integers(len(LightMood)))]
    drawn = _MOODS[mood]
    return LightRecipe(
        mood=mood,
        azimuth=float(rng.uniform(25, 75) * rng.choice((-1.0, 1.0))),
        elevation=float(rng.uniform(*drawn.elevation)),
        sun=_tinted(drawn.sun_tint, float(rng.uniform(*drawn.sun))),
        ambient=_tinted(drawn.ambient_tint, float(rng.uniform(*drawn.ambient))),
    )


def _tinted(tint: Color, strength: float) -> Color:
    red, green, blue = tint
    return red * strength, green * strength, blue * strength
