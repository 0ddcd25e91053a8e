"""Seeded procedural subjects: people, creatures and blockouts, as Blender objects with their own textures."""

from flextraj_backend.synthesis.characters.blender_objects import (
    COLOR_ATTRIBUTE,
    Character,
    add_character,
    model_character,
    remove_character,
)
from flextraj_backend.synthesis.characters.model import CharacterModel
from flextraj_backend.synthesis.characters.recipe import (
    BodyForm,
    CharacterKind,
    CharacterRecipe,
    MeshDetail,
    draw_character,
)
from flextraj_backend.synthesis.characters.surface_texture import SurfaceTexture

__all__ = [
    "COLOR_ATTRIBUTE",
    "BodyForm",
    "Character",
    "CharacterKind",
    "CharacterModel",
    "CharacterRecipe",
    "MeshDetail",
    "SurfaceTexture",
    "add_character",
    "draw_character",
    "model_character",
    "remove_character",
]
