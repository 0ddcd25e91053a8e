"""Characters as Blender objects: a textured mesh, its armature, and an empty to place both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flextraj_backend.demo.humanoid import add_armature, assign_weights
from flextraj_backend.synthesis.characters.blockouts import model_figure, model_shape, model_stack
from flextraj_backend.synthesis.characters.creatures import model_bird, model_monster, model_quadruped
from flextraj_backend.synthesis.characters.humanoids import model_person
from flextraj_backend.synthesis.characters.model import CharacterModel
from flextraj_backend.synthesis.characters.recipe import BodyForm, CharacterRecipe, MeshDetail

if TYPE_CHECKING:
    from bpy.types import Mesh, Object, Scene

COLOR_ATTRIBUTE = "flextraj_color"
"""Linear RGB of each corner of the mesh, float colour: the texture as far as the mesh resolves it."""

_MODELS: dict[BodyForm, Callable[[np.random.Generator, MeshDetail], CharacterModel]] = {
    BodyForm.PERSON: model_person,
    BodyForm.QUADRUPED: model_quadruped,
    BodyForm.BIRD: model_bird,
    BodyForm.MONSTER: model_monster,
    BodyForm.FIGURE: model_figure,
    BodyForm.SHAPE: model_shape,
    BodyForm.STACK: model_stack,
}


@dataclass(frozen=True, eq=False)
class Character:
    """The objects of a character: `root` carries `pivot`, which carries the meshes.

    Attributes:
        recipe: what it was made from.
        model: its rest mesh, skeleton and texture; the mesh's vertices, faces and slots have the same order.
        root: an empty without keys: place, turn and scale the character with it.
        pivot: the armature, or an empty where there is none; actions key its bones or itself.
        meshes: deformed and coloured by `COLOR_ATTRIBUTE`.
        armature: None for blockouts without a skeleton.
    """

    recipe: CharacterRecipe
    model: CharacterModel
    root: Object
    pivot: Object
    meshes: tuple[Object, ...]
    armature: Object | None

    @property
    def name(self) -> str:
        """Name of the root object."""
        return self.root.name

    @property
    def description(self) -> str:
        """What it looks like, for prompts: "a stocky person in a red jacket"."""
        return self.model.description

    @property
    def height(self) -> float:
        """In its rest pose and with an unscaled root, metres."""
        return self.model.height


def model_character(recipe: CharacterRecipe, detail: MeshDetail = MeshDetail.LOW) -> CharacterModel:
    """Model a character without Blender."""
    return _MODELS[recipe.form](recipe.generator(), detail)


def add_character(scene: Scene, recipe: CharacterRecipe, detail: MeshDetail = MeshDetail.LOW) -> Character:
    """Build a character and link it to a scene's collection: at the origin, looking along -Y.

    Args:
        scene: the context's scene (bones can be made only in edit mode, which needs it).
        recipe: who it is; the same recipe gives the same character.
        detail: fineness of the mesh.
    """
    import bpy

    model = model_character(recipe, detail)
    name = f"{recipe.form.value.title()} {recipe.seed}"
    root = bpy.data.objects.new(name, None)
    scene.collection.objects.link(root)
    mesh = _build_mesh(model, f"{name} Body")
    body = bpy.data.objects.new(mesh.name, mesh)
    scene.collection.objects.link(body)
    if model.bones:
        armature = pivot = add_armature(scene, model.bones, f"{name} Rig")
        assign_weights(body, model.weights, model.bones)
        modifier = body.modifiers.new("Armature", "ARMATURE")
        assert isinstance(modifier, bpy.types.ArmatureModifier)
        modifier.object = armature
    else:
        armature, pivot = None, bpy.data.objects.new(f"{name} Pivot", None)
        scene.collection.objects.link(pivot)
    pivot.parent = root
    body.parent = pivot
    return Character(recipe, model, root, pivot, (body,), armature)


def remove_character(character: Character) -> None:
    """Delete a character's objects and their data, actions included."""
    import bpy

    for thing in (*character.meshes, character.pivot, character.root):
        data: Any = thing.data
        action = thing.animation_data.action if thing.animation_data is not None else None
        materials = [slot.material for slot in thing.material_slots]
        bpy.data.objects.remove(thing)
        if isinstance(data, bpy.types.Mesh):
            bpy.data.meshes.remove(data)
        elif isinstance(data, bpy.types.Armature):
            bpy.data.armatures.remove(data)
        if action is not None and not action.users:
            bpy.data.actions.remove(action)
        for material in materials:
            if material is not None and not material.users:
                bpy.data.materials.remove(material)


def _build_mesh(model: CharacterModel, name: str) -> Mesh:
    import bpy

    mesh = bpy.data.meshes.new(name)
    faces = len(model.quads)
    mesh.vertices.add(len(model.vertices))
    mesh.loops.add(4 * faces)
    mesh.polygons.add(faces)
    mesh.vertices.foreach_set("co", model.vertices.astype(np.float32).ravel())
    mesh.loops.foreach_set("vertex_index", model.quads.astype(np.int32).ravel())
    mesh.polygons.foreach_set("loop_start", np.arange(0, 4 * faces, 4, dtype=np.int32))
    mesh.polygons.foreach_set("material_index", model.materials.astype(np.int32))
    mesh.polygons.foreach_set("use_smooth", model.smooth)
    mesh.update(calc_edges=True)
    attribute: Any = mesh.color_attributes.new(COLOR_ATTRIBUTE, "FLOAT_COLOR", "CORNER")
    attribute.data.foreach_set("color", corner_colors(model).ravel())
    for number, texture in enumerate(model.texture.materials):
        _add_material(mesh, f"{name} {number}", texture.base)
    return mesh


def corner_colors(model: CharacterModel) -> NDArray[np.float32]:
    """Linear RGBA (4 F, 4) of the corners of a model's faces."""
    colors = model.texture.colors(model.vertices[model.quads.ravel()], np.repeat(model.materials, 4))
    return np.concatenate([colors, np.ones((len(colors), 1), np.float32)], 1)


def _add_material(mesh: Mesh, name: str, base: tuple[float, float, float]) -> None:
    """Add a slot whose material shows the mesh's colours; `base` is for the viewport."""
    import bpy

    material = bpy.data.materials.new(name)
    material.diffuse_color = (*base, 1.0)
    material.use_nodes = True
    tree = material.node_tree
    assert tree is not None
    shader: Any = tree.nodes["Principled BSDF"]
    shader.inputs["Base Color"].default_value = (*base, 1.0)
    shader.inputs["Roughness"].default_value = 0.8
    source: Any = tree.nodes.new("ShaderNodeVertexColor")
    source.layer_name = COLOR_ATTRIBUTE
    tree.links.new(source.outputs["Color"], shader.inputs["Base Color"])
    mesh.materials.append(material)
