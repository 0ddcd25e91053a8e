"""Seeded creatures: animals and monsters of lofts over their skeletons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import IntEnum

import numpy as np

from flextraj_backend.demo.body_shape import mesh_parts
from flextraj_backend.demo.loft import Loft
from flextraj_backend.demo.proportions import Bone
from flextraj_backend.synthesis.characters.creature_bones import (
    BipedProportions,
    QuadrupedProportions,
    biped_skeleton,
    quadruped_skeleton,
)
from flextraj_backend.synthesis.characters.model import CharacterModel
from flextraj_backend.synthesis.characters.palette import CLOTH_COLORS, FUR_COLORS, draw_unlike
from flextraj_backend.synthesis.characters.recipe import MeshDetail
from flextraj_backend.synthesis.characters.surface_texture import SolidPattern, SurfaceTexture, draw_texture

_SIDES = (".L", ".R")
_X = (1.0, 0.0, 0.0)
_FINER = 0.75
"""Creatures are smaller than people."""


class _Coat(IntEnum):
    """Material slots."""

    BODY = 0
    LIMBS = 1
    HORN = 2
    EYES = 3


def model_quadruped(rng: np.random.Generator, detail: MeshDetail) -> CharacterModel:
    """Model a four-legged animal."""
    body = QuadrupedProportions.sample(rng)
    bones = quadruped_skeleton(body)
    texture, coat = _draw_coat(rng)
    return _skinned(
        f"a {coat} four-legged animal", _quadruped_parts(body, bones), bones, texture, body.leg, detail
    )


def model_bird(rng: np.random.Generator, detail: MeshDetail) -> CharacterModel:
    """Model a bird with spread wings."""
    body = BipedProportions.sample_bird(rng)
    bones = biped_skeleton(body)
    texture, coat = _draw_coat(rng)
    return _skinned(f"a large {coat} bird", _biped_parts(body, bones, 0.35), bones, texture, body.leg, detail)


def model_monster(rng: np.random.Generator, detail: MeshDetail) -> CharacterModel:
    """Model a plump monster on two legs."""
    body = BipedProportions.sample_monster(rng)
    bones = biped_skeleton(body)
    texture, coat = _draw_coat(rng)
    parts = [*_biped_parts(body, bones, 0.9), *_horns(body, bones, float(rng.uniform(0.2, 0.6)))]
    return _skinned(f"a plump {coat} monster", parts, bones, texture, body.leg, detail)


def _draw_coat(rng: np.random.Generator) -> tuple[SurfaceTexture, str]:
    """Draw the textures in the order of `_Coat` and the words for them."""
    name, fur = draw_unlike(rng, FUR_COLORS)
    _, accent = draw_unlike(rng, FUR_COLORS, [fur])
    _, limbs = draw_unlike(rng, FUR_COLORS, [fur])
    _, horn = draw_unlike(rng, CLOTH_COLORS, [fur, limbs])
    patterns = (SolidPattern.STRIPES, SolidPattern.DOTS, SolidPattern.NOISE, SolidPattern.CHECKS)
    pattern = patterns[int(rng.integers(len(patterns)))]
    second = (SolidPattern.PLAIN, SolidPattern.NOISE, SolidPattern.STRIPES)[int(rng.integers(3))]
    eyes = (0.9, 0.9, 0.88) if sum(fur) < 0.3 else (0.01, 0.01, 0.012)
    materials = {
        _Coat.BODY: draw_texture(rng, pattern, fur, accent),
        _Coat.LIMBS: draw_texture(rng, second, limbs, fur),
        _Coat.HORN: draw_texture(rng, SolidPattern.PLAIN, horn, horn),
        _Coat.EYES: draw_texture(rng, SolidPattern.PLAIN, eyes, eyes, grain=0.0),
    }
    words = f"{pattern.value} {name}"
    return SurfaceTexture(tuple(materials[slot] for slot in _Coat)), words


def _skinned(
    description: str,
    parts: Sequence[Loft],
    bones: tuple[Bone, ...],
    texture: SurfaceTexture,
    leg: float,
    detail: MeshDetail,
) -> CharacterModel:
    mesh = mesh_parts(parts, bones, _FINER * detail.value)
    vertices = mesh.vertices
    return CharacterModel(
        description,
        vertices,
        mesh.quads,
        mesh.materials,
        np.ones(len(mesh.quads), bool),
        mesh.weights,
        bones,
        texture,
        leg,
    )


def _tube(
    start: np.ndarray,
    end: np.ndarray,
    radii: Sequence[float],
    material: _Coat,
    flatness: float = 1.0,
    side: Sequence[float] = _X,
    blend: float = 0.03,
    bone: str | None = None,
) -> Loft:
    """A limb whose half width is given at even steps; its half depth is `flatness` times that."""
    ticks = np.linspace(0.0, 1.0, len(radii))
    stations = tuple(
        (float(t), float(r), float(r) * flatness, 0.0) for t, r in zip(ticks, radii, strict=True)
    )
    rounding = 0.6 * min(min(radii), flatness * min(radii))
    return Loft(start, end, side, stations, material, blend=blend, rounding=rounding, bone=bone)


def _beyond(bone: Bone, before: float, behind: float) -> tuple[np.ndarray, np.ndarray]:
    """Ends of a bone, moved out by shares of its length."""
    along = bone.tail - bone.head
    return bone.head - before * along, bone.tail + behind * along


def _legs(names: Sequence[str], by_name: dict[str, Bone], thick: float) -> list[Loft]:
    """Legs of stems such as "thigh.L"; `thick` is the radius of a thigh, metres."""
    parts = []
    for name in names:
        stem, side = name.split(".")
        prefix = stem.removesuffix("thigh")
        thigh, shin, foot = (by_name[f"{prefix}{part}.{side}"] for part in ("thigh", "shin", "foot"))
        upper = (1.15 * thick, 1.05 * thick, 0.70 * thick)
        parts.append(_tube(*_beyond(thigh, 0.05, 0.0), upper, _Coat.BODY, 1.15))
        parts.append(
            _tube(*_beyond(shin, 0.05, 0.05), (0.70 * thick, 0.55 * thick, 0.5 * thick), _Coat.LIMBS)
        )
        heel = np.array([foot.head[0], foot.head[1] + 0.5 * thick, 0.45 * thick])
        toes = np.array([foot.tail[0], foot.tail[1] - 0.1 * thick, 0.38 * thick])
        parts.append(
            _tube(heel, toes, (0.5 * thick, 0.72 * thick, 0.5 * thick), _Coat.HORN, 0.62, blend=0.015)
        )
    return parts


def _eyes(center: np.ndarray, spread: float, size: float) -> list[Loft]:
    """Two balls on the front of a head."""
    eyes = []
    for sign in (1.0, -1.0):
        middle = center + np.array([sign * spread, 0.0, 0.0])
        step = np.array([0.0, 0.7 * size, 0.0])
        eyes.append(
            _tube(
                middle - step,
                middle + step,
                (0.6 * size, size, 0.6 * size),
                _Coat.EYES,
                blend=0.004,
                bone="head",
            )
        )
    return eyes


def _quadruped_parts(body: QuadrupedProportions, bones: tuple[Bone, ...]) -> list[Loft]:
    by_name = {bone.name: bone for bone in bones}
    unit = body.leg
    thick = 0.24 * body.girth * unit
    rump, chest = by_name["hips"].head, by_name["chest"].tail
    parts = [
        _tube(
            rump + np.array([0, 0.18 * unit, -0.03 * unit]),
            chest + np.array([0, -0.12 * unit, -0.12 * unit]),
            (0.75 * thick, 1.02 * thick, 0.92 * thick, 1.0 * thick, 1.12 * thick, 0.7 * thick),
            _Coat.BODY,
            1.15,
        )
    ]
    neck, head = by_name["neck"], by_name["head"]
    parts.append(
        _tube(
            *_beyond(neck, 0.15, 0.1), (0.75 * thick, 0.55 * thick, 0.48 * thick), _Coat.BODY, 1.2, blend=0.06
        )
    )
    length = body.head * unit
    forward = (head.tail - head.head) / np.linalg.norm(head.tail - head.head)
    skull = 0.27 * length + 0.25 * thick
    center = head.head + 0.12 * length * forward
    on_head: list[Loft] = [
        _tube(
            center - 0.30 * length * forward,
            center + 0.42 * length * forward,
            (0.65 * skull, skull, 0.75 * skull),
            _Coat.BODY,
            bone="head",
        )
    ]
    nose = center + (0.35 + 0.9 * body.snout) * length * forward
    on_head.append(
        _tube(
            center + 0.2 * length * forward,
            nose,
            (0.7 * skull, 0.55 * skull, 0.42 * skull),
            _Coat.LIMBS,
            0.9,
            bone="head",
        )
    )
    on_head.append(
        _tube(
            nose - 0.06 * length * forward,
            nose + 0.08 * length * forward,
            (0.2 * skull, 0.26 * skull, 0.2 * skull),
            _Coat.HORN,
            bone="head",
            blend=0.01,
        )
    )
    for sign in (1.0, -1.0):
        foot = center + np.array([sign * 0.55 * skull, 0.2 * skull, 0.6 * skull])
        tip = foot + body.ears * unit * np.array([sign * 0.45, 0.15, 0.85])
        on_head.append(
            _tube(
                foot,
                tip,
                (0.34 * skull, 0.30 * skull, 0.16 * skull),
                _Coat.LIMBS,
                0.5,
                bone="head",
                blend=0.015,
            )
        )
    on_head += _eyes(center + np.array([0, -0.62 * skull, 0.42 * skull]), 0.52 * skull, 0.20 * skull)
    parts += on_head
    tail, end = by_name["tail"], by_name["tail_end"]
    parts.append(_tube(tail.head, tail.tail, (0.36 * thick, 0.30 * thick), _Coat.BODY))
    parts.append(_tube(*_beyond(end, 0.1, 0.0), (0.30 * thick, 0.36 * thick, 0.24 * thick), _Coat.LIMBS))
    stems = [f"{prefix}thigh{side}" for prefix in ("", "front_") for side in _SIDES]
    return [*parts, *_legs(stems, by_name, 0.55 * thick)]


def _biped_parts(body: BipedProportions, bones: tuple[Bone, ...], wing_depth: float) -> list[Loft]:
    """A trunk on two legs, with a head and wings; arms are wings as deep as wide (`wing_depth` near 1)."""
    by_name = {bone.name: bone for bone in bones}
    unit = body.leg
    hips, chest = by_name["hips"], by_name["chest"]
    half = 0.5 * body.width * body.trunk * unit
    trunk = _tube(
        hips.head - 0.18 * (hips.tail - hips.head),
        chest.tail + 0.10 * (chest.tail - chest.head),
        (0.55 * half, 1.0 * half, 1.05 * half, 0.85 * half, 0.45 * half),
        _Coat.BODY,
        0.95,
    )
    neck, head = by_name["neck"], by_name["head"]
    skull = 0.5 * body.head * unit
    center = head.head + 0.4 * (head.tail - head.head)
    throat = min(0.45 * half, 0.75 * skull)
    parts = [
        trunk,
        _tube(*_beyond(neck, 0.3, 0.3), (1.2 * throat, throat, 0.9 * throat), _Coat.BODY, blend=0.06),
    ]
    up = np.array([0.0, 0.0, 0.92 * skull])
    parts.append(
        _tube(
            center - up,
            center + up,
            (0.6 * skull, 0.95 * skull, 0.95 * skull, 0.6 * skull),
            _Coat.LIMBS,
            bone="head",
        )
    )
    front = center + np.array([0.0, -0.6 * skull, -0.12 * skull])
    tip = front + np.array([0.0, -0.4 * skull - body.beak * unit, -0.1 * skull])
    parts.append(
        _tube(
            front, tip, (0.45 * skull, 0.34 * skull, 0.14 * skull), _Coat.HORN, 0.8, bone="head", blend=0.012
        )
    )
    parts += _eyes(center + np.array([0, -0.80 * skull, 0.35 * skull]), 0.42 * skull, 0.23 * skull)
    tail, end = by_name["tail"], by_name["tail_end"]
    thick = 0.30 * half
    parts.append(_tube(*_beyond(tail, 0.3, 0.0), (1.2 * thick, thick), _Coat.BODY, 0.7))
    parts.append(_tube(*_beyond(end, 0.1, 0.0), (1.0 * thick, 1.1 * thick, 0.7 * thick), _Coat.HORN, 0.6))
    arm = 0.10 * body.girth**0.5 * unit
    for side in _SIDES:
        wing, tip_bone = by_name[f"wing{side}"], by_name[f"wing_tip{side}"]
        across = (0.0, 1.0, 0.0)
        broad = arm / wing_depth**0.8
        parts.append(
            _tube(
                *_beyond(wing, 0.25, 0.0),
                (0.9 * broad, 1.1 * broad, 1.1 * broad),
                _Coat.LIMBS,
                wing_depth,
                across,
            )
        )
        parts.append(
            _tube(
                *_beyond(tip_bone, 0.05, 0.0),
                (1.1 * broad, 1.1 * broad, 0.7 * broad),
                _Coat.HORN,
                wing_depth,
                across,
            )
        )
    thigh = 0.11 * body.girth**0.8 * unit
    return [*parts, *_legs([f"thigh{side}" for side in _SIDES], by_name, thigh)]


def _horns(body: BipedProportions, bones: tuple[Bone, ...], length: float) -> list[Loft]:
    """Two horns; `length` in leg lengths."""
    head = next(bone for bone in bones if bone.name == "head")
    skull = 0.5 * body.head * body.leg
    horns = []
    for sign in (1.0, -1.0):
        foot = head.head + 0.4 * (head.tail - head.head) + skull * np.array([sign * 0.5, 0.0, 0.65])
        tip = foot + length * body.leg * np.array([sign * 0.6, 0.0, 0.8])
        horns.append(
            replace(_tube(foot, tip, (0.26 * skull, 0.2 * skull, 0.12 * skull), _Coat.HORN), bone="head")
        )
    return horns
