"""The recipe of a scene: everything that is drawn for a clip, before anything is built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from blender_addon.core.errors import RequestError
from blender_addon.core.synthesis_choices import Renderer
from flextraj_backend.synthesis.actions.recipe import ACTIONS_OF_KIND, ActionName, ActionRecipe
from flextraj_backend.synthesis.backgrounds import Backdrop, BackgroundRecipe, draw_background
from flextraj_backend.synthesis.cameras import CameraMove, CameraRecipe, draw_camera
from flextraj_backend.synthesis.characters import CharacterKind, CharacterRecipe, draw_character
from flextraj_backend.synthesis.lights import LightRecipe, draw_light
from flextraj_backend.synthesis.placements import Placement, keep_in_picture
from flextraj_backend.synthesis.user_library import NO_LIBRARY, Library, LibraryAction, LibraryCharacter

Performer = CharacterRecipe | LibraryCharacter
Action = ActionRecipe | LibraryAction

_KINDS = tuple(CharacterKind)
_LIBRARY_SHARE = 0.5


class Framing(StrEnum):
    """How much of the picture the subjects fill."""

    NORMAL = "normal"
    CLOSE = "close"


@dataclass(frozen=True)
class SceneOptions:
    """What scenes to draw.

    Attributes:
        width, height: of the pictures, pixels.
        frames, fps: length and rate of the clip.
        points: trajectories on each subject.
        background_points: trajectories on the background.
        renderer: what draws the pictures.
        characters: how many different characters of each kind there are.
        character_seed: which these are; sets with different seeds share no character.
        actions: names of the actions to draw from; empty = all.
        cameras: camera moves to draw from.
        subject_weights: probabilities of one, two, three subjects.
        kind_weights: probabilities of the kinds of character, in the order of `CharacterKind`.
        framing: how large the subjects are in the picture.
        backdrop: how much there is to see behind and below them.
    """

    width: int = 720
    height: int = 480
    frames: int = 49
    fps: float = 16.0
    points: int = 1000
    background_points: int = 500
    renderer: Renderer = Renderer.RASTER
    characters: int = 64
    character_seed: int = 0
    actions: tuple[ActionName, ...] = ()
    cameras: tuple[CameraMove, ...] = tuple(CameraMove)
    subject_weights: tuple[float, ...] = (0.6, 0.3, 0.1)
    kind_weights: tuple[float, ...] = (0.5, 0.25, 0.25)
    framing: Framing = Framing.NORMAL
    backdrop: Backdrop = Backdrop.PATTERNED


@dataclass(frozen=True)
class SceneRecipe:
    """A drawn scene, enough to build its clip; plain values, so that it can be written as JSON.

    Attributes:
        seed: of what is left to chance when it is built (the points).
        characters, actions, placements: one of each a subject.
        camera, background, light: how it is shown.
        frames, fps, width, height: of the clip.
        points, background_points: trajectories on each subject and on the background.
        renderer: what draws the pictures.
    """

    seed: int
    characters: tuple[Performer, ...]
    actions: tuple[Action, ...]
    placements: tuple[Placement, ...]
    camera: CameraRecipe
    background: BackgroundRecipe
    light: LightRecipe
    frames: int
    fps: float
    width: int
    height: int
    points: int
    background_points: int
    renderer: Renderer

    def with_cast(self, characters: Sequence[Performer]) -> SceneRecipe:
        """The same motions before the same camera by other characters, of the same kinds in order."""
        return replace(self, characters=tuple(characters))


def draw_scene(rng: np.random.Generator, options: SceneOptions, library: Library = NO_LIBRARY) -> SceneRecipe:
    """Draw a scene; half of the people and of their motions are the library's, where it has some.

    Raises:
        RequestError: no kind of character that may be drawn has one of the actions.
    """
    count = 1 + int(rng.choice(len(options.subject_weights), p=_shares(options.subject_weights)))
    kinds = _draw_kinds(rng, options, count)
    actions: list[Action] = []
    for kind in kinds:
        actions.append(_draw_action(rng, kind, options, {action.name for action in actions}, library))
    body = float(rng.uniform(1.5, 1.9))
    share = float(rng.uniform(*_HEIGHT_SHARES[options.framing][count - 1]))
    camera = draw_camera(
        rng, options.cameras, (float(rng.normal(0.0, 0.08)), 0.0, _TARGET_HEIGHT * body), body / share
    )
    aspect = options.width / options.height
    seed = int(rng.integers(1 << 31))
    characters = _draw_characters(rng, kinds, options, (), library)
    placements = _draw_placements(rng, kinds, body, aspect * body / share)
    seconds = (options.frames - 1) / options.fps
    placements, camera = keep_in_picture(characters, actions, placements, camera, seconds, aspect)
    return SceneRecipe(
        seed=seed,
        characters=characters,
        actions=tuple(actions),
        placements=placements,
        camera=camera,
        background=draw_background(rng, options.backdrop),
        light=draw_light(rng),
        frames=options.frames,
        fps=options.fps,
        width=options.width,
        height=options.height,
        points=options.points,
        background_points=options.background_points,
        renderer=options.renderer,
    )


_HEIGHT_SHARES = {
    Framing.NORMAL: ((0.55, 0.80), (0.50, 0.66), (0.45, 0.58)),
    Framing.CLOSE: ((0.75, 1.0), (0.62, 0.85), (0.55, 0.70)),
}
"""Height of the subjects in picture heights, for one, two and three of them."""
_TARGET_HEIGHT = 0.47
"""Where the camera looks, in body heights above the ground."""


def draw_cast(
    rng: np.random.Generator, recipe: SceneRecipe, options: SceneOptions, library: Library = NO_LIBRARY
) -> tuple[Performer, ...]:
    """Draw other characters of the same kinds for a scene's motions."""
    kinds = [character.kind for character in recipe.characters]
    return _draw_characters(rng, kinds, options, recipe.characters, library)


def _draw_characters(
    rng: np.random.Generator,
    kinds: Sequence[CharacterKind],
    options: SceneOptions,
    taken: tuple[Performer, ...],
    library: Library,
) -> tuple[Performer, ...]:
    """Draw an allowed character for each kind: none of `taken` and none twice, if there are enough."""
    drawn: list[Performer] = []
    for kind in kinds:
        excluded = {*taken, *drawn}
        own = [character for character in library.characters if character not in excluded]
        if kind is CharacterKind.HUMANOID and own and rng.random() < _LIBRARY_SHARE:
            drawn.append(own[int(rng.integers(len(own)))])
            continue
        pool = [_numbered(options, kind, number) for number in rng.permutation(options.characters).tolist()]
        drawn.append(next((character for character in pool if character not in excluded), pool[0]))
    return tuple(drawn)


def _numbered(options: SceneOptions, kind: CharacterKind, number: int) -> CharacterRecipe:
    seeds = [options.character_seed, _KINDS.index(kind), number]
    return draw_character(np.random.default_rng(seeds), kind)


def _draw_kinds(rng: np.random.Generator, options: SceneOptions, count: int) -> list[CharacterKind]:
    """Draw kinds of character that have one of the actions. Raises RequestError where none has."""
    weights = [
        weight if _names_of(kind, options) else 0.0
        for kind, weight in zip(_KINDS, options.kind_weights, strict=True)
    ]
    if sum(weights) <= 0:
        raise RequestError(
            f"No kind of character that may be drawn has one of the actions {', '.join(options.actions)}: "
            "add an action or a kind."
        )
    return [_KINDS[int(number)] for number in rng.choice(len(_KINDS), count, p=_shares(weights))]


def _names_of(kind: CharacterKind, options: SceneOptions) -> list[ActionName]:
    return [name for name in ACTIONS_OF_KIND[kind] if not options.actions or name in options.actions]


def _draw_action(
    rng: np.random.Generator, kind: CharacterKind, options: SceneOptions, used: set[str], library: Library
) -> Action:
    """Draw an allowed action, one that is not used yet if there is."""
    own = [action for action in library.actions if action.name not in used]
    # `options.actions` names procedural ones: the user's own are played all the same.
    if kind is CharacterKind.HUMANOID and own and rng.random() < _LIBRARY_SHARE:
        seed = int(rng.integers(1 << 31))
        start = float(np.random.default_rng(seed).random())
        return replace(own[int(rng.integers(len(own)))], start=start, seed=seed)
    names = _names_of(kind, options)
    names = [name for name in names if name not in used] or names
    return ActionRecipe.from_seed(names[int(rng.integers(len(names)))], int(rng.integers(1 << 31)))


def _draw_placements(
    rng: np.random.Generator, kinds: Sequence[CharacterKind], body: float, view_width: float
) -> tuple[Placement, ...]:
    """Place subjects side by side across the part of the view that leaves room to move.

    Args:
        kinds: of the subjects.
        body: height of a person in the scene, metres.
        view_width: what the picture shows from left to right at the stage's middle, metres.
    """
    count = len(kinds)
    slot = 0.86 * view_width / count
    order = rng.permutation(count)
    placements = []
    for kind, place in zip(kinds, order.tolist(), strict=True):
        x = (place - (count - 1) / 2) * slot + float(rng.uniform(-0.12, 0.12)) * slot
        y = float(rng.uniform(-0.35, 0.5)) if count > 1 else float(rng.uniform(-0.15, 0.15))
        height = body * float(rng.uniform(*_KIND_HEIGHTS[kind]))
        placements.append(Placement(x, y, _draw_yaw(rng, x, kind), height))
    return tuple(placements)


_KIND_HEIGHTS = {
    CharacterKind.HUMANOID: (0.92, 1.08),
    CharacterKind.CREATURE: (0.75, 1.0),
    CharacterKind.BLOCKOUT: (0.72, 1.0),
}


def _draw_yaw(rng: np.random.Generator, x: float, kind: CharacterKind) -> float:
    """Mostly half towards the viewer, turned to the middle of the picture, so that who walks stays in it."""
    inwards = -1.0 if x > 0 else 1.0
    if kind is CharacterKind.CREATURE:  # seen from the side it shows its legs
        return inwards * float(rng.uniform(25.0, 80.0))
    return inwards * float(rng.uniform(-15.0, 55.0))


def _shares(weights: Sequence[float]) -> list[float]:
    total = sum(weights)
    return [weight / total for weight in weights]
