"""Seeded blockouts, as a previz artist sets them up: a shape, a stack of shapes, a box figure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flextraj_backend.demo.proportions import Bone, HumanoidProportions, build_skeleton
from flextraj_backend.synthesis.characters.block_shapes import BlockShape, block_grid
from flextraj_backend.synthesis.characters.model import CharacterModel
from flextraj_backend.synthesis.characters.palette import CLOTH_COLORS, LinearColor, draw_unlike
from flextraj_backend.synthesis.characters.recipe import MeshDetail
from flextraj_backend.synthesis.characters.surface_texture import (
    MaterialTexture,
    SolidPattern,
    SurfaceTexture,
    draw_texture,
)

_SHAPES = tuple(BlockShape)
_LARGEST_CELLS = 40


@dataclass(frozen=True, eq=False)
class Block:
    """One shape of a blockout.

    Attributes:
        shape: which.
        center: (3,) metres.
        axes: (3, 3) half edges of its bounding box as columns, metres.
        material: material slot.
        bone: index of the bone that carries it, -1 without a skeleton.
    """

    shape: BlockShape
    center: NDArray[np.float64]
    axes: NDArray[np.float64]
    material: int
    bone: int = -1


def model_shape(rng: np.random.Generator, detail: MeshDetail) -> CharacterModel:
    """Model a single cube, sphere, cylinder or cone."""
    shape = _SHAPES[int(rng.integers(len(_SHAPES)))]
    half = rng.uniform(0.35, 0.6, 3)
    half[1] = half[0] if shape is not BlockShape.CUBE else half[1]
    half[2] *= float(rng.uniform(0.9, 1.5)) if shape is not BlockShape.SPHERE else half[0] / half[2]
    name, texture, _ = _draw_paint(rng, ())
    block = Block(shape, np.array([0, 0, half[2]]), np.diag(half), 0)
    return _assemble(f"a {name} {shape.value}", [block], (), SurfaceTexture((texture,)), detail)


def model_stack(rng: np.random.Generator, detail: MeshDetail) -> CharacterModel:
    """Model two to four shapes upon and beside each other."""
    blocks: list[Block] = []
    textures: list[MaterialTexture] = []
    words: list[str] = []
    taken: list[LinearColor] = []
    bottom, width = 0.0, float(rng.uniform(0.40, 0.55))
    for number in range(int(rng.integers(2, 4))):
        shape = _SHAPES[int(rng.integers(3 if number == 0 else 4))]  # a cone carries nothing
        half = width * np.array([1.0, 1.0, float(rng.uniform(0.45, 0.9))])
        if shape is BlockShape.SPHERE:
            half[:] = 0.8 * width
        name, texture, color = _draw_paint(rng, taken)
        taken.append(color)
        textures.append(texture)
        words.append(f"a {name} {shape.value}")
        offset = 0.25 * width * rng.uniform(-1.0, 1.0, 2)
        # A tenth inside of what it stands on, so that round shapes touch, too.
        center = np.array([*offset, bottom + half[2] * (0.9 if number else 1.0)])
        blocks.append(Block(shape, center, np.diag(half), number))
        if shape is BlockShape.CONE:
            break
        bottom = center[2] + half[2]
        width *= float(rng.uniform(0.6, 0.85))
    description = " under ".join(words)
    return _assemble(description, blocks, (), SurfaceTexture(tuple(textures)), detail)


def model_figure(rng: np.random.Generator, detail: MeshDetail) -> CharacterModel:
    """Model a person of boxes (or rounder shapes), each carried by a bone of the humanoid's skeleton."""
    body = HumanoidProportions.sample(rng, spread=0.08)
    bones = build_skeleton(body)
    limb_shape = (BlockShape.CUBE, BlockShape.CYLINDER)[int(rng.integers(2))]
    head_shape = (BlockShape.CUBE, BlockShape.SPHERE)[int(rng.integers(2))]
    bulk = float(rng.uniform(0.85, 1.35))
    textures: list[MaterialTexture] = []
    names: list[str] = []
    taken: list[LinearColor] = []
    for _ in _FIGURE_MATERIALS:
        name, texture, color = _draw_paint(rng, taken[-2:])
        names.append(name)
        textures.append(texture)
        taken.append(color)
    blocks = []
    for number, bone in enumerate(bones):
        stem = bone.name.split(".")[0]
        if stem not in _FIGURE_SIZES:
            continue
        breadth, depth, overlap = _FIGURE_SIZES[stem]
        if stem in ("hips", "spine", "chest"):
            breadth *= {"hips": body.hips, "spine": body.waist, "chest": body.chest}[stem] / 0.18
        shape = head_shape if stem == "head" else limb_shape if overlap < 0.5 else BlockShape.CUBE
        along = bone.tail - bone.head
        length = float(np.linalg.norm(along))
        frame = _frame_of(along / length)
        scale = body.height * bulk
        start, end = bone.head - overlap * 0.02 * scale * frame[:, 2], bone.tail.copy()
        if stem == "foot":
            end[2] = start[2] = 0.5 * depth * scale
            frame = _frame_of(np.array([0.0, -1.0, 0.0]))
            start[0] = end[0] = bone.head[0]
            start[1], end[1] = bone.head[1] + 0.025 * scale, bone.tail[1] - 0.02 * scale
        half = np.array(
            [0.5 * breadth * scale, 0.5 * depth * scale, 0.5 * float(np.linalg.norm(end - start))]
        )
        material = next(i for i, stems in enumerate(_FIGURE_MATERIALS) if stem in stems)
        blocks.append(Block(shape, 0.5 * (start + end), frame * half, material, number))
    description = f"a box figure with a {names[1]} torso and {names[3]} legs"
    return _assemble(description, blocks, bones, SurfaceTexture(tuple(textures)), detail)


_FIGURE_MATERIALS = (
    ("head", "neck"),
    ("spine", "chest", "hips"),
    ("upper_arm", "forearm", "hand"),
    ("thigh", "shin", "foot"),
)
_FIGURE_SIZES = {
    "hips": (0.19, 0.12, 0.6),
    "spine": (0.16, 0.10, 0.6),
    "chest": (0.20, 0.12, 0.6),
    "neck": (0.05, 0.05, 0.0),
    "head": (0.10, 0.11, 0.0),
    "upper_arm": (0.055, 0.055, 0.0),
    "forearm": (0.045, 0.045, 0.0),
    "hand": (0.045, 0.03, 0.0),
    "thigh": (0.075, 0.075, 0.0),
    "shin": (0.06, 0.06, 0.0),
    "foot": (0.06, 0.045, 0.6),
}
"""Breadth and depth in body heights; from 0.5 on the third makes a box of it and lengthens it."""


def _draw_paint(
    rng: np.random.Generator, taken: tuple[LinearColor, ...] | list[LinearColor]
) -> tuple[str, MaterialTexture, LinearColor]:
    """Draw a painted surface: words, texture, main colour."""
    name, color = draw_unlike(rng, CLOTH_COLORS, taken)
    _, accent = draw_unlike(rng, CLOTH_COLORS, [color])
    patterns = (
        SolidPattern.CHECKS,
        SolidPattern.STRIPES,
        SolidPattern.DOTS,
        SolidPattern.NOISE,
        SolidPattern.GRADIENT,
    )
    pattern = patterns[int(rng.integers(len(patterns)))]
    texture = draw_texture(rng, pattern, color, accent, period=float(rng.uniform(0.18, 0.4)))
    return f"{name} {pattern.value}", texture, color


def _frame_of(along: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3, 3) right-handed frame whose third column is `along`, the first as near to +X as it goes."""
    first = np.array([1.0, 0.0, 0.0])
    first = first - along * (first @ along)
    first /= np.linalg.norm(first)
    return np.stack([first, np.cross(along, first), along], 1)


def _assemble(
    description: str,
    blocks: list[Block],
    bones: tuple[Bone, ...],
    texture: SurfaceTexture,
    detail: MeshDetail,
) -> CharacterModel:
    vertices, quads, materials, smooth, weights = [], [], [], [], []
    count = 0
    for block in blocks:
        size = 2.0 * float(np.abs(block.axes).max())
        unit, faces = block_grid(
            block.shape, int(np.clip(np.ceil(size / detail.value / 1.5), 4, _LARGEST_CELLS))
        )
        vertices.append(unit @ block.axes.T + block.center)
        quads.append(faces + count)
        count += len(unit)
        materials.append(np.full(len(faces), block.material))
        smooth.append(np.full(len(faces), block.shape is BlockShape.SPHERE))
        held = np.zeros((len(unit), len(bones)))
        if block.bone >= 0:
            held[:, block.bone] = 1.0
        weights.append(held)
    places = np.concatenate(vertices)
    places[:, 2] -= places[:, 2].min()
    hip = next((float(bone.head[2]) for bone in bones if bone.name.startswith("thigh")), None)
    return CharacterModel(
        description,
        places,
        np.concatenate(quads),
        np.concatenate(materials),
        np.concatenate(smooth),
        np.concatenate(weights),
        bones,
        texture,
        float(places[:, 2].max()) if hip is None else hip,
    )
