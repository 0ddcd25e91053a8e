"""Named colours, drawn so that neighbouring parts differ strongly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LinearColor = tuple[float, float, float]

CLOTH_COLORS: dict[str, LinearColor] = {
    "red": (0.66, 0.03, 0.03),
    "orange": (0.85, 0.24, 0.02),
    "yellow": (0.85, 0.60, 0.04),
    "lime green": (0.30, 0.62, 0.04),
    "green": (0.03, 0.28, 0.07),
    "turquoise": (0.03, 0.48, 0.45),
    "light blue": (0.22, 0.50, 0.85),
    "blue": (0.03, 0.09, 0.55),
    "purple": (0.25, 0.04, 0.42),
    "pink": (0.85, 0.22, 0.42),
    "white": (0.82, 0.82, 0.80),
    "grey": (0.22, 0.22, 0.23),
    "black": (0.018, 0.018, 0.02),
    "brown": (0.19, 0.075, 0.025),
    "beige": (0.60, 0.44, 0.26),
}
"""Linear RGB of clothes and painted things."""

SKIN_COLORS: tuple[LinearColor, ...] = (
    (0.70, 0.43, 0.31),
    (0.58, 0.33, 0.21),
    (0.40, 0.20, 0.11),
    (0.22, 0.10, 0.05),
    (0.10, 0.045, 0.025),
)

HAIR_COLORS: dict[str, LinearColor] = {
    "black": (0.012, 0.010, 0.010),
    "brown": (0.10, 0.045, 0.018),
    "red": (0.36, 0.09, 0.02),
    "blond": (0.62, 0.42, 0.14),
    "grey": (0.35, 0.35, 0.36),
    "green": (0.05, 0.40, 0.10),
    "pink": (0.80, 0.15, 0.40),
}

FUR_COLORS: dict[str, LinearColor] = {
    "brown": (0.20, 0.085, 0.03),
    "sandy": (0.55, 0.36, 0.15),
    "black": (0.02, 0.018, 0.018),
    "white": (0.78, 0.76, 0.72),
    "grey": (0.20, 0.20, 0.22),
    "ginger": (0.58, 0.20, 0.03),
    "blue": (0.05, 0.16, 0.55),
    "green": (0.08, 0.36, 0.08),
    "purple": (0.28, 0.08, 0.42),
    "yellow": (0.80, 0.55, 0.05),
}


def draw_unlike(
    rng: np.random.Generator, colors: dict[str, LinearColor], others: Sequence[LinearColor] = ()
) -> tuple[str, LinearColor]:
    """Draw a colour, of four candidates the one that is the least like any of `others`."""
    names = [str(name) for name in rng.choice(list(colors), min(4, len(colors)), replace=False)]
    if not others:
        return names[0], colors[names[0]]
    # Square roots: about how far apart the colours look.
    taken = np.sqrt(np.array(others))  # (O, 3)
    apart = [float(np.linalg.norm(np.sqrt(colors[name]) - taken, axis=1).min()) for name in names]
    best = names[int(np.argmax(apart))]
    return best, colors[best]
