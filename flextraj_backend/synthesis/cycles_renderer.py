"""The Cycles renderer: the same scene path-traced on the CPU, without GPU and display."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from flextraj_backend.image_io import read_photo
from flextraj_backend.scene_import import quiet_stdout
from flextraj_backend.synthesis.color_encoding import encode_srgb
from flextraj_backend.synthesis.lights import LightRecipe
from flextraj_backend.synthesis.textures import TexturedSurface

if TYPE_CHECKING:
    import bpy

SAMPLES = 16
"""Rays a pixel; the denoiser does the rest (16 are clean, 4 are noisy on dark textures)."""
_BOUNCES = 3
_SUN_ANGLE = 0.06


def render_frames(
    scene: bpy.types.Scene, frames: int, background: Sequence[TexturedSurface], light: LightRecipe
) -> NDArray[np.uint8]:
    """Render scene frames 1 to T of what is on the stage, with a background and a light that go again.

    Returns:
        (T, H, W, 3) uint8 sRGB, at the scene's render size.
    """
    import bpy

    pictures = []
    with (
        _scenery(scene, background, light),
        tempfile.TemporaryDirectory(prefix="flextraj-cycles-") as folder,
    ):
        _set_up(scene)
        scene.render.filepath = str(Path(folder) / "frame.png")
        for number in range(1, frames + 1):
            scene.frame_set(number)
            with quiet_stdout():
                bpy.ops.render.render(write_still=True, scene=scene.name)
            pictures.append(read_photo(Path(scene.render.filepath)))
    return np.stack(pictures)


def _set_up(scene: bpy.types.Scene) -> None:
    # Cycles adds its settings at run time, so that they have no static type.
    settings: Any = scene
    render = settings.render
    render.engine = "CYCLES"
    settings.cycles.device = "CPU"
    settings.cycles.samples = SAMPLES
    settings.cycles.use_denoising = True
    settings.cycles.denoiser = "OPENIMAGEDENOISE"
    settings.cycles.max_bounces = _BOUNCES
    render.use_persistent_data = True
    render.image_settings.file_format = "PNG"
    render.image_settings.color_mode = "RGB"
    # Plain sRGB: colours come out as they are set.
    settings.view_settings.view_transform = "Standard"
    settings.view_settings.look = "None"


@contextmanager
def _scenery(
    scene: bpy.types.Scene, background: Sequence[TexturedSurface], light: LightRecipe
) -> Iterator[None]:
    """Put background, sun and sky into the scene; they are deleted on exit."""
    import bpy

    made: list[bpy.types.ID] = []
    images: dict[int, bpy.types.Image] = {}
    try:
        for index, surface in enumerate(background):
            image = images.get(id(surface.image))
            if image is None:
                image = images[id(surface.image)] = _add_image(surface.image)
                made.append(image)
            made.extend(_add_surface(scene, surface, image, is_ground=index == 0))
        made.extend(_add_light(scene, light))
        yield
    finally:
        scene.world = None
        bpy.data.batch_remove(made)


def _add_image(pixels: NDArray[np.float32]) -> bpy.types.Image:
    import bpy

    height, width = pixels.shape[:2]
    image = bpy.data.images.new("Background", width, height)
    values = np.ones((height, width, 4), np.float32)
    values[..., :3] = encode_srgb(pixels[::-1]).astype(np.float32) / 255.0  # bottom row first
    cast(Any, image.pixels).foreach_set(values.ravel())
    image.update()
    return image


def _add_surface(
    scene: bpy.types.Scene, surface: TexturedSurface, image: bpy.types.Image, *, is_ground: bool
) -> tuple[bpy.types.ID, ...]:
    import bpy

    mesh = bpy.data.meshes.new("Background")
    mesh.from_pydata(surface.vertices.tolist(), [], surface.triangles.tolist())
    layer: Any = mesh.uv_layers.new()
    corners = surface.uv[surface.triangles.ravel()].astype(np.float32)
    layer.uv.foreach_set("vector", corners.ravel())
    material = bpy.data.materials.new("Background")
    material.use_nodes = True
    tree: Any = material.node_tree
    tree.nodes.clear()
    texture = tree.nodes.new("ShaderNodeTexImage")
    texture.image = image
    shader = tree.nodes.new("ShaderNodeEmission" if surface.shines else "ShaderNodeBsdfDiffuse")
    output = tree.nodes.new("ShaderNodeOutputMaterial")
    tree.links.new(texture.outputs["Color"], shader.inputs["Color"])
    tree.links.new(shader.outputs[0], output.inputs["Surface"])
    mesh.materials.append(material)
    ob = bpy.data.objects.new("Background", mesh)
    if not is_ground:  # walls and sky keep neither sun nor sky's light away
        ob.visible_shadow = ob.visible_diffuse = False
    assert scene.collection is not None
    scene.collection.objects.link(ob)
    return ob, mesh, material


def _add_light(scene: bpy.types.Scene, light: LightRecipe) -> tuple[bpy.types.ID, ...]:
    import bpy
    from mathutils import Vector

    strength = max(light.sun)
    data = cast("bpy.types.SunLight", bpy.data.lights.new("Sun", "SUN"))
    data.energy = np.pi * strength  # irradiance, of which a white surface sends back 1 / pi
    data.color = tuple(value / strength for value in light.sun)
    data.angle = _SUN_ANGLE
    sun = bpy.data.objects.new("Sun", data)
    sun.rotation_mode = "QUATERNION"
    sun.rotation_quaternion = Vector(light.direction.tolist()).to_track_quat("Z", "Y")
    assert scene.collection is not None
    scene.collection.objects.link(sun)
    world = bpy.data.worlds.new("Sky")
    world.use_nodes = True
    sky: Any = cast(Any, world.node_tree).nodes["Background"]
    sky.inputs["Color"].default_value = (*light.ambient, 1.0)
    scene.world = world
    return sun, data, world
