"""Where subjects stand, so that whoever walks stays in the picture. NumPy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from flextraj_backend.synthesis.actions.path import body_path
from flextraj_backend.synthesis.actions.recipe import ActionRecipe
from flextraj_backend.synthesis.cameras import CameraRecipe, camera_poses
from flextraj_backend.synthesis.characters import BodyForm, CharacterKind, CharacterRecipe
from flextraj_backend.synthesis.user_library import LibraryAction, LibraryCharacter

_MOMENTS = 13
_ENOUGH = 0.62
"""Share of a subject's body that has to be in the picture at every moment; clips promise half of it."""
_NEAREST = 0.6
"""Metres before the camera."""
_YAWS = (0.0, 25.0, -25.0, 50.0, -50.0, 75.0, -75.0, 100.0, -100.0, 130.0, -130.0, 180.0)
_INWARDS = (1.0, 0.6, 0.25)
_STEPS_BACK = 36
_STEP_BACK = 1.05
_STRIDE = {CharacterKind.HUMANOID: 0.49, CharacterKind.CREATURE: 0.5, CharacterKind.BLOCKOUT: 1.0}
"""What a path is measured in, in heights of the subject."""
_HALF_EXTENT = {
    CharacterKind.HUMANOID: (0.16, 0.12),
    CharacterKind.CREATURE: (0.20, 0.45),
    CharacterKind.BLOCKOUT: (0.28, 0.28),
}
"""Of a body sideways and along where it looks, in heights of the subject."""


@dataclass(frozen=True)
class Placement:
    """Where a subject stands on the first frame.

    Attributes:
        x, y: place of its origin on the ground, metres.
        yaw: degrees to its own left from facing the viewer (-Y).
        height: metres; a subject that is longer than high is measured along.
    """

    x: float
    y: float
    yaw: float
    height: float


@dataclass(frozen=True, eq=False)
class _Journey:
    """A subject's body over M moments.

    Attributes:
        path: (M, 3) of its middle, metres, as if it looked along -Y from the origin.
        body: (K, 3) points spread over it, the same.
    """

    path: NDArray[np.float64]
    body: NDArray[np.float64]

    def points(self, placement: Placement) -> NDArray[np.float64]:
        """The body's points (M, K, 3) in the world."""
        place = np.array([placement.x, placement.y, 0.0])
        return (self.path[:, None] + self.body) @ _turn(placement.yaw).T + place

    def middle(self, yaw: float) -> NDArray[np.float64]:
        """Middle (2,) of the ground that it covers, seen from its origin."""
        ground = (self.path @ _turn(yaw).T)[:, :2]
        return (ground.min(axis=0) + ground.max(axis=0)) / 2.0


def keep_in_picture(
    characters: Sequence[CharacterRecipe | LibraryCharacter],
    actions: Sequence[ActionRecipe | LibraryAction],
    placements: Sequence[Placement],
    camera: CameraRecipe,
    seconds: float,
    aspect: float,
) -> tuple[tuple[Placement, ...], CameraRecipe]:
    """Change as little as is needed for all subjects to stay in the picture.

    One that leaves it stands so that the middle of its way is where it was placed, then turns to where it has
    room; as a last resort the camera stands back. Scenes that need none of this stay as they are.

    Args:
        characters, actions, placements: one of each a subject; the user's motions count as staying in place.
        camera: that was drawn.
        seconds: length of the clip.
        aspect: width of the picture by its height.
    """
    times = np.linspace(0.0, seconds, _MOMENTS)
    journeys = [_journey(*subject, times) for subject in zip(characters, actions, placements, strict=True)]
    kept = list(placements)
    for _ in range(_STEPS_BACK):
        view = _View(camera, aspect)
        kept = [_kept(*subject, view) for subject in zip(placements, journeys, strict=True)]
        if all(
            view.share(journey.points(place)) >= _ENOUGH
            for place, journey in zip(kept, journeys, strict=True)
        ):
            break
        camera = replace(camera, distance=camera.distance * _STEP_BACK)
    return tuple(kept), camera


class _View:
    """What a moving camera sees."""

    def __init__(self, camera: CameraRecipe, aspect: float) -> None:
        self._poses = camera_poses(camera, _MOMENTS)
        top = np.tan(np.radians(camera.field_of_view) / 2.0)
        self._slopes = np.array([aspect * top, top])

    def share(self, points: NDArray[np.float64]) -> float:
        """Smallest share of points (M, K, 3) that is in the picture at any moment."""
        local = np.einsum("mij,mki->mkj", self._poses[:, :3, :3], points - self._poses[:, None, :3, 3])
        depth = -local[..., 2]
        inside = (np.abs(local[..., :2]) <= self._slopes * depth[..., None]).all(axis=2)
        return float((inside & (depth > _NEAREST)).mean(axis=1).min())


def _kept(placement: Placement, journey: _Journey, view: _View) -> Placement:
    """The placement next to the drawn one that keeps a subject in the picture, or else the best one."""
    if view.share(journey.points(placement)) >= _ENOUGH:
        return placement
    best, most = placement, -1.0
    for inwards in _INWARDS:
        for turned in _YAWS:
            yaw = placement.yaw + turned
            away = journey.middle(yaw)
            moved = replace(
                placement,
                x=inwards * placement.x - float(away[0]),
                y=inwards * placement.y - float(away[1]),
                yaw=yaw,
            )
            share = view.share(journey.points(moved))
            if share >= _ENOUGH:
                return moved
            if share > most:
                best, most = moved, share
    return best


def _journey(
    character: CharacterRecipe | LibraryCharacter,
    action: ActionRecipe | LibraryAction,
    placement: Placement,
    times: NDArray[np.float64],
) -> _Journey:
    kind, height = character.kind, placement.height
    path = np.zeros((len(times), 3))
    if isinstance(action, ActionRecipe):
        form = character.form if isinstance(character, CharacterRecipe) else BodyForm.PERSON
        path = body_path(action, form, times) * _STRIDE[kind] * height
    sideways, along = _HALF_EXTENT[kind]
    spread = np.linspace(-1.0, 1.0, 3)
    body = np.stack(
        np.meshgrid(sideways * spread, along * spread, np.linspace(0.08, 0.92, 7), indexing="ij"), axis=-1
    ).reshape(-1, 3)
    return _Journey(path, height * body)


def _turn(yaw: float) -> NDArray[np.float64]:
    """Rotation (3, 3) about the vertical, degrees."""
    cosine, sine = np.cos(np.radians(yaw)), np.sin(np.radians(yaw))
    return np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
