"""What the viewport shows of the sampled shot."""

# Blender reads the annotations of property groups as values, so they cannot be postponed nor type-checked.
# pyright: reportInvalidTypeForm=false

from enum import StrEnum

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, IntProperty

from ..blender_types import Context
from .redraw import redraw_viewports


class PreviewVideo(StrEnum):
    """Which conditioning video is shown."""

    OFF = "OFF"
    ID = "ID"
    COLOR = "COLOR"


def _redraw(_settings: bpy.types.PropertyGroup, _context: Context) -> None:
    redraw_viewports()


class FlexTrajOverlaySettings(bpy.types.PropertyGroup):
    """`WindowManager.flextraj.overlay`: how the last sampled shot is shown; not part of the file."""

    show_points: BoolProperty(
        name="Show Points",
        description="Draw the sampled points over the camera view, hidden ones dimmed",
        options={"SKIP_SAVE"},
        update=_redraw,
    )
    point_size: IntProperty(
        name="Point Size",
        description="Diameter of a point",
        default=3,
        min=1,
        max=20,
        subtype="PIXEL",
        options={"SKIP_SAVE"},
        update=_redraw,
    )
    trail_length: IntProperty(
        name="Trail",
        description="Frames of the video before and after the current one over which paths are drawn",
        default=8,
        min=0,
        max=2000,
        soft_max=49,
        options={"SKIP_SAVE"},
        update=_redraw,
    )
    trail_count: IntProperty(
        name="Paths",
        description="Points whose paths are drawn, spread evenly over all",
        default=400,
        min=1,
        max=100_000,
        soft_max=5000,
        options={"SKIP_SAVE"},
        update=_redraw,
    )
    preview: EnumProperty(
        name="Conditioning Video",
        description="Conditioning video that is drawn in the camera's frame, as the engine will get it",
        items=(
            (PreviewVideo.OFF.value, "Off", "No conditioning video", 0),
            (PreviewVideo.ID.value, "ID", "The ID video: which point is where, in ID colours", 1),
            (
                PreviewVideo.COLOR.value,
                "Colour",
                "The colour video: what the points look like; black without a colour cue",
                2,
            ),
        ),
        options={"SKIP_SAVE"},
        update=_redraw,
    )
    preview_opacity: FloatProperty(
        name="Opacity",
        description="How much the conditioning video covers the scene",
        default=1.0,
        min=0.0,
        max=1.0,
        subtype="FACTOR",
        options={"SKIP_SAVE"},
        update=_redraw,
    )
