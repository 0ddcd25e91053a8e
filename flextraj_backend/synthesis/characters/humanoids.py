"""Seeded people: proportions with a wide spread, hair, clothes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from flextraj_backend.demo.body_shape import build_body
from flextraj_backend.demo.loft import Material
from flextraj_backend.demo.proportions import HumanoidProportions
from flextraj_backend.synthesis.characters.model import CharacterModel
from flextraj_backend.synthesis.characters.palette import (
    CLOTH_COLORS,
    HAIR_COLORS,
    SKIN_COLORS,
    LinearColor,
    draw_unlike,
)
from flextraj_backend.synthesis.characters.recipe import MeshDetail
from flextraj_backend.synthesis.characters.surface_texture import (
    SolidPattern,
    SurfaceTexture,
    draw_texture,
)

_DETAIL_HEIGHT = 1.85
"""Height for which `MeshDetail` holds, metres: the arms of smaller people need smaller cells."""
_TOPS = ("jacket", "shirt", "sweater", "pullover")
_CLOTH_PATTERNS = (
    SolidPattern.STRIPES,
    SolidPattern.CHECKS,
    SolidPattern.DOTS,
    SolidPattern.NOISE,
    SolidPattern.PLAIN,
)


def model_person(rng: np.random.Generator, detail: MeshDetail) -> CharacterModel:
    """Model a person in its rest pose, arms half raised."""
    body, build = _draw_proportions(rng)
    texture, clothes = _draw_clothes(rng)
    mesh = build_body(body, detail.value * body.height / _DETAIL_HEIGHT)
    return CharacterModel(
        f"a {build} person {clothes}",
        mesh.vertices,
        mesh.quads,
        mesh.materials,
        np.ones(len(mesh.quads), bool),
        mesh.weights,
        mesh.bones,
        texture,
        body.leg * body.height,
    )


def _draw_proportions(rng: np.random.Generator) -> tuple[HumanoidProportions, str]:
    """Draw a body and the word for its build."""
    body = HumanoidProportions.sample(rng, spread=0.07)
    bulk = float(rng.uniform(-1.0, 1.0))
    tall = float(rng.uniform(1.35, 2.0))
    # Smaller bodies have larger heads, as children have.
    head = body.head * float(np.clip(1.72 / tall, 0.9, 1.3)) * float(rng.uniform(0.95, 1.15))
    # Thicker legs would grow together.
    girth = min(body.girth * (1.0 + 0.22 * bulk), 1.16)
    wide = 1.0 + 0.26 * bulk
    body = replace(
        body,
        height=tall,
        head=head,
        girth=girth,
        chest=body.chest * wide,
        waist=body.waist * (wide + 0.12 * max(0.0, bulk)),
        hips=max(body.hips * (1.0 + 0.20 * bulk), 0.196 * girth),
        shoulders=body.shoulders * (1.0 + 0.10 * bulk),
        hair=float(rng.uniform(0.010, 0.030)),
        hair_length=float(rng.uniform(0.45, 1.15)),
    )
    words = [word for word, said in (("tall", tall > 1.8), ("small", tall < 1.5)) if said]
    words += [word for word, said in (("stocky", bulk > 0.35), ("slim", bulk < -0.35)) if said]
    return body, " ".join(words) or "medium-sized"


def _draw_clothes(rng: np.random.Generator) -> tuple[SurfaceTexture, str]:
    """Draw textures in the order of `Material` and the words for them."""
    skin = SKIN_COLORS[int(rng.integers(len(SKIN_COLORS)))]
    hair_name, hair = draw_unlike(rng, HAIR_COLORS, [skin])
    top_name, top = draw_unlike(rng, CLOTH_COLORS, [skin])
    trousers_name, trousers = draw_unlike(rng, CLOTH_COLORS, [top])
    _, shoes = draw_unlike(rng, CLOTH_COLORS, [trousers])
    cloth = {}
    for material, color in ((Material.TOP, top), (Material.TROUSERS, trousers)):
        pattern = _CLOTH_PATTERNS[int(rng.integers(len(_CLOTH_PATTERNS)))]
        _, accent = draw_unlike(rng, CLOTH_COLORS, [color])
        cloth[material] = draw_texture(rng, pattern, color, accent)
    dark = (0.01, 0.01, 0.012)
    textures = {
        Material.SKIN: draw_texture(rng, SolidPattern.PLAIN, skin, skin, grain=0.12),
        Material.HAIR: draw_texture(rng, SolidPattern.NOISE, hair, _darker(hair), period=0.08),
        Material.SHOES: draw_texture(rng, SolidPattern.PLAIN, shoes, shoes),
        Material.EYES: draw_texture(rng, SolidPattern.PLAIN, dark, dark),
        **cloth,
    }
    top_word = cloth[Material.TOP].pattern
    garment = _TOPS[int(rng.integers(len(_TOPS)))]
    adjective = "" if top_word is SolidPattern.PLAIN else f"{top_word.value} "
    words = f"with {hair_name} hair in a {top_name} {adjective}{garment} and {trousers_name} trousers"
    return SurfaceTexture(tuple(textures[material] for material in Material)), words


def _darker(color: LinearColor) -> LinearColor:
    return (0.4 * color[0], 0.4 * color[1], 0.4 * color[2])
