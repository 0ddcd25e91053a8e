"""The procedural humanoid as Blender objects: one skinned mesh with materials and its armature."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flextraj_backend.demo.body_shape import BodyMesh, build_body
from flextraj_backend.demo.loft import Material
from flextraj_backend.demo.proportions import Bone, HumanoidProportions

if TYPE_CHECKING:
    from bpy.types import Mesh, Object, Scene

__all__ = [
    "DEFAULT_COLORS",
    "Humanoid",
    "HumanoidProportions",
    "add_armature",
    "add_humanoid",
    "assign_weights",
]

Color = tuple[float, float, float]

DEFAULT_COLORS: Mapping[Material, Color] = {
    Material.SKIN: (0.62, 0.36, 0.24),
    Material.HAIR: (0.20, 0.10, 0.045),
    Material.TOP: (0.80, 0.20, 0.045),
    Material.TROUSERS: (0.06, 0.09, 0.20),
    Material.SHOES: (0.09, 0.09, 0.10),
    Material.EYES: (0.02, 0.015, 0.015),
}
"""Linear RGB of each material."""


@dataclass(frozen=True, eq=False)
class Humanoid:
    """The objects of one character: `mesh` is a child of `armature` and deformed by it."""

    mesh: Object
    armature: Object


def add_humanoid(
    scene: Scene,
    proportions: HumanoidProportions,
    name: str = "Mannequin",
    colors: Mapping[Material, Color] = DEFAULT_COLORS,
    voxel: float = 0.009,
) -> Humanoid:
    """Build a rigged body and link it to a scene's collection, standing at the origin, looking along -Y.

    Args:
        scene: the context's scene (bones can be made only in edit mode, which needs it).
        proportions: measures of the body.
        name: name of the mesh object; the armature gets "Rig" behind it.
        colors: linear base colours.
        voxel: detail of the mesh in metres.
    """
    import bpy

    body = build_body(proportions, voxel)
    armature = add_armature(scene, body.bones, f"{name} Rig")
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(body.vertices.tolist(), [], body.quads.tolist())
    mesh.polygons.foreach_set("use_smooth", np.ones(len(body.quads), bool))
    _assign_materials(mesh, body, colors)
    mesh.update()
    subject = bpy.data.objects.new(name, mesh)
    scene.collection.objects.link(subject)
    assign_weights(subject, body.weights, body.bones)
    subject.parent = armature
    modifier = subject.modifiers.new("Armature", "ARMATURE")
    assert isinstance(modifier, bpy.types.ArmatureModifier)
    modifier.object = armature
    return Humanoid(subject, armature)


def add_armature(scene: Scene, bones: tuple[Bone, ...], name: str) -> Object:
    """Make an armature with these bones in their rest pose and link it to a scene's collection."""
    import bpy

    data = bpy.data.armatures.new(name)
    armature = bpy.data.objects.new(name, data)
    scene.collection.objects.link(armature)
    view_layer = scene.view_layers[0]
    previous = view_layer.objects.active
    view_layer.objects.active = armature
    with bpy.context.temp_override(
        scene=scene, view_layer=view_layer, active_object=armature, object=armature
    ):
        bpy.ops.object.mode_set(mode="EDIT")
        try:
            for bone in bones:
                made = data.edit_bones.new(bone.name)
                made.head, made.tail = bone.head.tolist(), bone.tail.tolist()
                if bone.parent is not None:
                    made.parent = data.edit_bones[bone.parent]
                    parent_tail = np.array(made.parent.tail[:])
                    made.use_connect = bool(np.abs(parent_tail - bone.head).max() < 1e-6)
        finally:
            bpy.ops.object.mode_set(mode="OBJECT")
    view_layer.objects.active = previous
    armature.show_in_front = True
    return armature


def _assign_materials(mesh: Mesh, body: BodyMesh, colors: Mapping[Material, Color]) -> None:
    import bpy

    for kind in Material:
        material = bpy.data.materials.new(f"{mesh.name} {kind.name.title()}")
        material.diffuse_color = (*colors[kind], 1.0)
        material.use_nodes = True
        assert material.node_tree is not None
        shader = material.node_tree.nodes["Principled BSDF"]
        for socket, value in (("Base Color", (*colors[kind], 1.0)), ("Roughness", 0.65)):
            setattr(shader.inputs[socket], "default_value", value)  # noqa: B010  (typed without the value)
        mesh.materials.append(material)
    mesh.polygons.foreach_set("material_index", body.materials.astype(np.int32))


def assign_weights(subject: Object, weights: NDArray[np.float64], bones: tuple[Bone, ...]) -> None:
    """Give a mesh object a vertex group for each bone, with (V, B) weights."""
    for column, bone in enumerate(bones):
        group = subject.vertex_groups.new(name=bone.name)
        held = weights[:, column]
        for vertex in np.flatnonzero(held).tolist():
            group.add((vertex,), float(held[vertex]), "REPLACE")
