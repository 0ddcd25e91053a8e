"""Cameras of synthetic clips: where they stand and how they move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import radians, tan

import numpy as np
from numpy.typing import NDArray

from blender_addon.core.synthesis_choices import CameraMove

SENSOR_HEIGHT = 24.0
"""Millimetres; the field of view is the vertical one."""
_SHAKE_WAVES = 3


@dataclass(frozen=True)
class CameraRecipe:
    """A camera and its move. The world's up is +Z; azimuth 0 looks along +Y.

    Attributes:
        move: kind of move.
        field_of_view: vertical, degrees.
        target: point that it looks at, metres.
        distance: metres to the target on the first frame.
        azimuth, elevation: of the camera seen from the target on the first frame, degrees.
        roll: degrees.
        swing: degrees by which the azimuth changes until the last frame.
        approach: factor of the distance on the last frame.
        shake: largest angle of the shake, degrees.
        seed: of the shake's waves.
    """

    move: CameraMove
    field_of_view: float
    target: tuple[float, float, float]
    distance: float
    azimuth: float
    elevation: float
    roll: float = 0.0
    swing: float = 0.0
    approach: float = 1.0
    shake: float = 0.0
    seed: int = 0

    @property
    def lens(self) -> float:
        """Focal length in millimetres on a sensor that is `SENSOR_HEIGHT` high."""
        return SENSOR_HEIGHT / (2.0 * tan(radians(self.field_of_view) / 2.0))

    @property
    def view_height(self) -> float:
        """Metres that the picture covers from top to bottom at the target, on the first frame."""
        return 2.0 * self.distance * tan(radians(self.field_of_view) / 2.0)


def draw_camera(
    rng: np.random.Generator,
    moves: Sequence[CameraMove],
    target: tuple[float, float, float],
    view_height: float,
) -> CameraRecipe:
    """Draw a camera that shows `view_height` metres from top to bottom at the target.

    A dolly shows that much at its nearer end.
    """
    move = moves[int(rng.integers(len(moves)))]
    field_of_view = float(rng.uniform(24.0, 46.0))
    swing, approach, shake = 0.0, 1.0, 0.0
    if move is CameraMove.ORBIT:
        swing = float(rng.uniform(14.0, 32.0) * rng.choice((-1.0, 1.0)))
    elif move is CameraMove.DOLLY:
        approach = float(rng.uniform(0.68, 0.82))
        view_height /= approach
        if rng.random() < 0.5:
            view_height, approach = view_height * approach, 1.0 / approach
    elif move is CameraMove.SHAKE:
        shake = float(rng.uniform(0.05, 0.10) * field_of_view)
    return CameraRecipe(
        move=move,
        field_of_view=field_of_view,
        target=target,
        distance=view_height / (2.0 * tan(radians(field_of_view) / 2.0)),
        azimuth=float(rng.uniform(-28.0, 28.0)) - swing / 2.0,
        elevation=float(rng.uniform(3.0, 16.0)),
        roll=float(rng.normal(0.0, 0.8)),
        swing=swing,
        approach=approach,
        shake=shake,
        seed=int(rng.integers(1 << 31)),
    )


def camera_poses(recipe: CameraRecipe, frames: int) -> NDArray[np.float64]:
    """Return the camera's pose on every frame.

    Returns:
        (T, 4, 4) float64 camera to world, Blender's camera axes (looks along -Z, +Y up).
    """
    share = np.linspace(0.0, 1.0, frames) if frames > 1 else np.zeros(1)
    eased = 0.5 * share + 0.5 * share**2 * (3.0 - 2.0 * share)  # sets off and stops softly, never at rest
    azimuth = np.radians(recipe.azimuth + recipe.swing * eased)
    elevation = np.full(frames, np.radians(recipe.elevation))
    distance = recipe.distance * recipe.approach**eased
    pan, tilt, roll = _shake_angles(recipe, frames)
    offset = np.stack(
        [
            np.sin(azimuth) * np.cos(elevation),
            -np.cos(azimuth) * np.cos(elevation),
            np.sin(elevation),
        ],
        axis=1,
    )
    poses = np.tile(np.eye(4), (frames, 1, 1))
    poses[:, :3, 3] = np.asarray(recipe.target) + distance[:, None] * offset
    # Pitch from looking down, then the shake's tilt and pan around the camera's own and the world's axis.
    poses[:, :3, :3] = (
        _rotations(azimuth + pan, "z")
        @ _rotations(np.pi / 2.0 - elevation + tilt, "x")
        @ _rotations(np.radians(recipe.roll) + roll, "z")
    )
    return poses


def _shake_angles(recipe: CameraRecipe, frames: int) -> NDArray[np.float64]:
    """Pan, tilt and roll of a hand-held camera, (3, T) radians: 0 on the first frame, smooth."""
    rng = np.random.default_rng(recipe.seed)
    frequency = rng.uniform(0.5, 2.6, (3, _SHAKE_WAVES, 1))  # waves over the clip
    phase = rng.uniform(0.0, 2.0 * np.pi, (3, _SHAKE_WAVES, 1))
    time = np.linspace(0.0, 1.0, frames) if frames > 1 else np.zeros(1)
    waves = np.sin(2.0 * np.pi * frequency * time + phase) - np.sin(phase)
    angles = waves.sum(axis=1) / _SHAKE_WAVES  # (3, T)
    angles[2] *= 0.4
    return np.radians(recipe.shake) * angles


def _rotations(angles: NDArray[np.float64], axis: str) -> NDArray[np.float64]:
    """Rotation matrices (T, 3, 3) about one axis by angles (T,) in radians."""
    matrices = np.tile(np.eye(3), (len(angles), 1, 1))
    first, second = {"x": (1, 2), "z": (0, 1)}[axis]
    matrices[:, first, first] = matrices[:, second, second] = np.cos(angles)
    matrices[:, second, first] = np.sin(angles)
    matrices[:, first, second] = -np.sin(angles)
    return matrices
