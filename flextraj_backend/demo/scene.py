"""The demo's scene: the humanoid in its motion, seen by a camera that does not match the photo."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flextraj_backend.atomic_file import atomic_path
from flextraj_backend.demo.humanoid import Humanoid, add_humanoid
from flextraj_backend.demo.motions import FPS, FRAMES, GROOVE, Motion, apply_motion
from flextraj_backend.demo.proportions import HumanoidProportions

if TYPE_CHECKING:
    from bpy.types import Scene

WIDTH, HEIGHT = 720, 480
STURDY = HumanoidProportions(
    shoulders=0.235, chest=0.215, waist=0.19, girth=1.25, hair=0.013, hair_length=0.70
)
"""A body in thick clothes: another person than the one in the photo, dressed somewhat alike."""


@dataclass(frozen=True)
class Framing:
    """Where the camera shows the character. Pixels of the 720 x 480 raster.

    Attributes:
        scale: pixels per metre at the character's distance.
        center_x: column of the character's middle.
        bottom: height above the ground, in body heights, that the raster's lower edge cuts.
        distance: metres from the camera to the character.
    """

    scale: float = 680.0
    center_x: float = 452.0
    bottom: float = 0.690
    distance: float = 2.8


@dataclass(frozen=True, eq=False)
class DemoScene:
    """A scene ready to sample: `subject` is the character's mesh."""

    scene: Scene
    humanoid: Humanoid

    @property
    def subject(self) -> str:
        """Name of the object to sample."""
        return self.humanoid.mesh.name


def build_scene(
    proportions: HumanoidProportions = STURDY,
    motion: Motion = GROOVE,
    framing: Framing | None = None,
) -> DemoScene:
    """Replace what is open in Blender by the demo's scene.

    Smaller and farther to the right than the person in the demo's photo: the fit has real work to do.
    """
    import bpy

    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.data.scenes[0]
    scene.name = "FlexTraj demo"
    scene.frame_start, scene.frame_end = 1, FRAMES
    scene.render.fps, scene.render.fps_base = FPS, 1.0
    scene.render.resolution_x, scene.render.resolution_y = WIDTH, HEIGHT
    scene.render.resolution_percentage = 100
    humanoid = add_humanoid(scene, proportions)
    apply_motion(humanoid.armature, motion)
    _add_camera(scene, framing or Framing(), proportions)
    _add_light(scene)
    scene.frame_set(1)
    return DemoScene(scene, humanoid)


def _add_camera(scene: Scene, framing: Framing, proportions: HumanoidProportions) -> None:
    import bpy

    data = bpy.data.cameras.new("Camera")
    data.sensor_fit = "HORIZONTAL"
    data.lens = framing.scale * framing.distance / WIDTH * data.sensor_width
    camera = bpy.data.objects.new("Camera", data)
    # Level and straight ahead, so that the character's verticals stay vertical.
    camera.rotation_euler = (np.pi / 2, 0.0, 0.0)
    camera.location = (
        (WIDTH / 2 - framing.center_x) / framing.scale,
        -framing.distance,
        framing.bottom * proportions.height + HEIGHT / 2 / framing.scale,
    )
    scene.collection.objects.link(camera)
    scene.camera = camera


def _add_light(scene: Scene) -> None:
    import bpy

    sun = bpy.data.lights.new("Sun", "SUN")
    assert isinstance(sun, bpy.types.SunLight)
    sun.energy = 3.0
    sun.angle = 0.15
    light = bpy.data.objects.new("Sun", sun)
    light.rotation_euler = (0.85, 0.15, -0.5)
    light.location = (1.0, -1.5, 3.0)
    scene.collection.objects.link(light)
    world = bpy.data.worlds.new("World")
    world.use_nodes = True
    assert world.node_tree is not None
    background = world.node_tree.nodes["Background"].inputs["Color"]
    background.default_value = (0.32, 0.35, 0.40, 1.0)  # pyright: ignore[reportAttributeAccessIssue]
    scene.world = world
    # Plain sRGB: the material colours come out as they are set.
    assert scene.view_settings is not None
    scene.view_settings.view_transform = "Standard"  # pyright: ignore[reportAttributeAccessIssue]


def save_blend(path: Path) -> Path:
    """Save the open scene as a .blend file, atomically."""
    import bpy

    with atomic_path(path) as temporary:
        bpy.ops.wm.save_as_mainfile(filepath=str(temporary), copy=True, compress=True, check_existing=False)
    return path


def render_stills(
    demo: DemoScene, frames: tuple[int, ...], percentage: int = 50, samples: int = 16
) -> NDArray[np.uint8]:
    """Render some scene frames with Cycles on the CPU, which needs neither GPU nor display.

    Args:
        frames: scene frame numbers.
        percentage: size relative to the raster.
        samples: rays per pixel; the plain materials need few.

    Returns:
        (len(frames), H, W, 3) uint8 sRGB.
    """
    import tempfile

    import bpy

    from flextraj_backend.image_io import read_photo

    # Cycles adds its settings at run time, so that they have no static type.
    scene: Any = demo.scene
    render = scene.render
    render.engine = "CYCLES"
    scene.cycles.device = "CPU"
    scene.cycles.samples = samples
    scene.cycles.use_denoising = False
    scene.cycles.max_bounces = 1
    render.use_persistent_data = True
    render.image_settings.file_format = "PNG"
    previous = render.resolution_percentage, scene.frame_current
    stills = []
    try:
        render.resolution_percentage = percentage
        with tempfile.TemporaryDirectory() as folder:
            for frame in frames:
                scene.frame_set(frame)
                render.filepath = str(Path(folder) / "still.png")
                bpy.ops.render.render(write_still=True, scene=scene.name)
                stills.append(read_photo(Path(render.filepath)))
    finally:
        render.resolution_percentage = previous[0]
        render.filepath = "//"
        scene.frame_set(previous[1])
    return np.stack(stills)
