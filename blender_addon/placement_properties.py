"""Properties of the photo's display and of the rig's place on it."""

# Blender reads the annotations of property groups as values, so they cannot be postponed nor type-checked.
# pyright: reportInvalidTypeForm=false

import bpy
from bpy.props import (
    BoolProperty,
    CollectionProperty,
    FloatProperty,
    FloatVectorProperty,
    IntProperty,
    IntVectorProperty,
    StringProperty,
)

from .blender_types import Context
from .bridge.compat import path_options
from .bridge.photo_background import set_photo_opacity
from .overlay.redraw import redraw_viewports

_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def _redraw(_owner: bpy.types.PropertyGroup, _context: Context) -> None:
    redraw_viewports()


def _show_opacity(placement: bpy.types.PropertyGroup, _context: Context) -> None:
    set_photo_opacity(placement.id_data, placement.photo_opacity)  # pyright: ignore


class FlexTrajPin(bpy.types.PropertyGroup):
    """A sampled point and its place on the photo."""

    segment: IntProperty(name="Segment")
    point: IntProperty(name="Point")
    place: FloatVectorProperty(
        name="Place", description="In units of the photo's width and height, from its top left corner", size=2
    )


class FlexTrajPlacement(bpy.types.PropertyGroup):
    """`Scene.flextraj.placement`: where the rig stands on the photo, saved with the file."""

    photo_opacity: FloatProperty(
        name="Opacity",
        description="How much the photo shows behind the rig",
        default=0.7,
        min=0.0,
        max=1.0,
        subtype="FACTOR",
        update=_show_opacity,
    )
    matrix: FloatVectorProperty(name="Fit", size=6, default=_IDENTITY, precision=4, update=_redraw)
    raster: IntVectorProperty(name="Raster of the Fit", size=2)
    mirror: BoolProperty(
        name="Mirror Motion",
        description="Swap left and right of the motion; it is never done without being asked for",
        update=_redraw,
    )
    pins: CollectionProperty(type=FlexTrajPin)
    photo: StringProperty(name="Photo of the Placement", subtype="FILE_PATH", options=path_options())
    painted_mask: StringProperty(name="Painted Mask", subtype="FILE_PATH", options=path_options())
    painted_photo: StringProperty(
        name="Photo of the Painted Mask", subtype="FILE_PATH", options=path_options()
    )
    pinned_sampling: StringProperty(
        name="Sampling of the Pins", description="By which settings the pinned points were sampled"
    )


class FlexTrajStartFrame(bpy.types.PropertyGroup):
    """A frame that may be a good first one."""

    frame: FloatProperty()
    overlap: FloatProperty()


class FlexTrajPlacementState(bpy.types.PropertyGroup):
    """`WindowManager.flextraj.placement`: what the panel shows of the last fit; not part of the file."""

    show_rig: BoolProperty(
        name="Rig",
        description="Draw the outline of the rig on the first frame where it stands on the photo",
        default=True,
        options={"SKIP_SAVE"},
        update=_redraw,
    )
    show_mask: BoolProperty(
        name="Subject",
        description="Tint the part of the photo that is taken for the subject",
        default=True,
        options={"SKIP_SAVE"},
        update=_redraw,
    )
    brush_radius: IntProperty(
        name="Brush Radius",
        description="Radius of the brush that corrects the mask",
        default=24,
        min=1,
        max=500,
        subtype="PIXEL",
        options={"SKIP_SAVE"},
    )
    is_fitting: BoolProperty(options={"SKIP_SAVE"})
    start_frames: CollectionProperty(type=FlexTrajStartFrame, options={"SKIP_SAVE"})


CLASSES = (FlexTrajPin, FlexTrajPlacement, FlexTrajStartFrame, FlexTrajPlacementState)
