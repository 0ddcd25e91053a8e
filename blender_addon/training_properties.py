"""Properties of the panel that makes training pairs, saved with the scene."""

# Blender reads the annotations of property groups as values, so they cannot be postponed nor type-checked.
# pyright: reportInvalidTypeForm=false

import bpy
from bpy.props import EnumProperty, IntProperty, StringProperty

from .bridge.compat import path_options
from .core.training_pairs import (
    MAX_CHARACTERS,
    MAX_CLIPS,
    MAX_FRAMES,
    MAX_POINTS,
    MAX_SIDE,
    MIN_FRAMES,
    MIN_POINTS,
    MIN_SIDE,
    ActionName,
    CameraMove,
    Renderer,
)

_RENDERERS = (
    (
        Renderer.RASTER.value,
        "Fast",
        "Simple light and procedural textures, several small clips a second",
        0,
    ),
    (Renderer.CYCLES.value, "Cycles", "Path-traced light and shadows; takes much longer", 1),
)
_ACTIONS = (
    (ActionName.WALK.value, "Walk", "Steps on the spot or across the picture", 1 << 0),
    (ActionName.WAVE.value, "Wave", "One arm waves", 1 << 1),
    (ActionName.SQUAT.value, "Squat", "Down and up again", 1 << 2),
    (ActionName.DANCE.value, "Dance", "Hips, arms and legs in rhythm", 1 << 3),
    (ActionName.TURN.value, "Turn", "About the own axis", 1 << 4),
    (ActionName.JUMP.value, "Jump", "Off the ground", 1 << 5),
    (ActionName.REACH.value, "Reach", "An arm stretches out for something", 1 << 6),
    (ActionName.KICK.value, "Kick", "One leg kicks", 1 << 7),
    (ActionName.BOW.value, "Bow", "The upper body bows", 1 << 8),
    (ActionName.LEAN.value, "Lean", "The body leans to the sides", 1 << 9),
    (ActionName.CLAP.value, "Clap", "Both hands clap", 1 << 10),
    (ActionName.JUMPING_JACK.value, "Jumping Jack", "Arms and legs spread in the jump", 1 << 11),
    (ActionName.HOP.value, "Hop", "Creatures: small jumps", 1 << 12),
    (ActionName.LOOK_AROUND.value, "Look Around", "Creatures: the head turns", 1 << 13),
    (ActionName.WAG.value, "Wag", "Creatures: the tail wags", 1 << 14),
    (ActionName.SLIDE.value, "Slide", "Block figures: along the ground", 1 << 15),
    (ActionName.SPIN.value, "Spin", "Block figures: fast about the own axis", 1 << 16),
    (ActionName.ORBIT.value, "Orbit", "Block figures: round a point", 1 << 17),
    (ActionName.BOUNCE.value, "Bounce", "Block figures: up and down", 1 << 18),
    (ActionName.TUMBLE.value, "Tumble", "Block figures: over edges and corners", 1 << 19),
    (ActionName.SCALE.value, "Scale", "Block figures: larger and smaller", 1 << 20),
)
_CAMERAS = (
    (CameraMove.STATIC.value, "Static", "The camera stands still", 1),
    (CameraMove.ORBIT.value, "Orbit", "The camera goes round the characters", 2),
    (CameraMove.DOLLY.value, "Dolly", "The camera comes nearer or backs away", 4),
    (CameraMove.SHAKE.value, "Shake", "The camera is held by hand", 8),
)


class FlexTrajTrainingSettings(bpy.types.PropertyGroup):
    """`Scene.flextraj.training`: a set of training pairs."""

    folder: StringProperty(
        name="Output Folder",
        description="Empty folder for the clips, or a dataset to go on with; // = beside the .blend file",
        subtype="DIR_PATH",
        options=path_options(),
    )
    library: StringProperty(
        name="Own Characters",
        description="Folder with FBX or GLB characters that perform as well; empty = only procedural ones",
        subtype="DIR_PATH",
        options=path_options(),
    )
    clips: IntProperty(
        name="Clips", description="Clips of the finished dataset", default=200, min=1, max=MAX_CLIPS
    )
    characters: IntProperty(
        name="Characters",
        description="How many different characters of each kind perform",
        default=64,
        min=1,
        max=MAX_CHARACTERS,
        soft_max=1000,
    )
    others: IntProperty(
        name="Others per Clip",
        description="Further characters that perform each clip's motion, for control that is not aligned",
        default=2,
        min=0,
        max=16,
    )
    actions: EnumProperty(
        name="Actions",
        description="Motions that are drawn from; hold Shift to choose several",
        items=_ACTIONS,
        options={"ENUM_FLAG"},
        default={one.value for one in ActionName},
    )
    cameras: EnumProperty(
        name="Camera Moves",
        description="Moves of the camera that are drawn from; hold Shift to choose several",
        items=_CAMERAS,
        options={"ENUM_FLAG"},
        default={one.value for one in CameraMove},
    )
    seed: IntProperty(name="Seed", description="Same settings and seed, same clips", min=0)
    width: IntProperty(
        name="Width",
        description="Width of the clips",
        default=720,
        min=MIN_SIDE,
        max=MAX_SIDE,
        subtype="PIXEL",
    )
    height: IntProperty(
        name="Height",
        description="Height of the clips",
        default=480,
        min=MIN_SIDE,
        max=MAX_SIDE,
        subtype="PIXEL",
    )
    frames: IntProperty(
        name="Frames",
        description="Frames of each clip",
        default=49,
        min=MIN_FRAMES,
        max=MAX_FRAMES,
        soft_max=161,
    )
    fps: IntProperty(
        name="Frame Rate", description="Frames per second of the clips", default=16, min=1, max=240
    )
    points: IntProperty(
        name="Points",
        description="Trajectories on each subject of a clip",
        default=1000,
        min=MIN_POINTS,
        max=MAX_POINTS,
        soft_max=20_000,
    )
    renderer: EnumProperty(name="Renderer", description="What draws the clips", items=_RENDERERS)
    processes: IntProperty(
        name="Processes",
        description="Clips that are made at a time; the dataset is the same with any number",
        default=1,
        min=1,
        max=256,
        soft_max=32,
    )
