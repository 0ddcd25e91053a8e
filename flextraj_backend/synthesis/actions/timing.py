"""Curves over cycles: repeated key values and steps. NumPy only."""

from __future__ import annotations

import numpy as np

from flextraj_backend.synthesis.actions.rotations import Series


def wave(cycles: Series, offset: float = 0.0) -> Series:
    """A sine of -1 to 1 that repeats with each cycle and rises through 0 at `-offset`."""
    return np.sin(2.0 * np.pi * (cycles + offset))


def swell(cycles: Series, offset: float = 0.0) -> Series:
    """0 at whole cycles, 1 half-way, smooth."""
    return 0.5 - 0.5 * np.cos(2.0 * np.pi * (cycles + offset))


def eased(values: Series) -> Series:
    """0 to 1 with a soft start and end."""
    values = np.clip(values, 0.0, 1.0)
    return values * values * (3.0 - 2.0 * values)


def keyed(cycles: Series, *keys: tuple[float, float]) -> Series:
    """Values that pass through (time in the cycle, value) keys, softly, and repeat.

    Args:
        cycles: (T,).
        keys: ascending times within 0 to 1; the last value leads to the first one again.
    """
    times = np.array([*(time for time, _ in keys), keys[0][0] + 1.0])
    values = np.array([*(value for _, value in keys), keys[0][1]])
    moment = (cycles - times[0]) % 1.0 + times[0]
    index = np.clip(np.searchsorted(times, moment, side="right") - 1, 0, len(keys) - 1)
    share = eased((moment - times[index]) / (times[index + 1] - times[index]))
    return values[index] + share * (values[index + 1] - values[index])


def steps(cycles: Series, swing: float) -> tuple[Series, Series]:
    """A foot that stands for a part of each cycle and swings ahead in the rest.

    Args:
        cycles: (T,); the swing ends at whole cycles.
        swing: share of the cycle in the air.

    Returns:
        where the foot is in cycles' lengths, on average `cycles`; how far through its swing it is, 0 to 1.
    """
    whole = np.floor(cycles)
    swinging = np.clip((cycles - whole - (1.0 - swing)) / swing, 0.0, 1.0)
    return whole + eased(swinging) + 0.5 * (1.0 - swing), swinging
