"""Move, scale and turn the rig over the photo with the mouse, as Blender's own G, S and R do."""

# Blender reads the annotations of operators as values, so they cannot be postponed nor type-checked.
# pyright: reportInvalidTypeForm=false

import math
from enum import Enum

import bpy
import numpy as np
from bpy.props import FloatProperty, FloatVectorProperty
from numpy.typing import NDArray

from ..blender_types import Context, OperatorResult
from ..bridge.placement import store_fit, stored_fit
from ..core.placement import Affine, apply, compose, mirror, shifted, turned_about
from ..core.request import FitMode
from ..overlay.placement_drawing import draw_circle, draw_lines
from ..overlay.placement_view import placed_fit, placement_view
from ..properties import scene_settings
from ..registration import registration_of
from .rig_tool import RigTool

_MARK_COLOR = (1.0, 1.0, 1.0, 0.9)
_FINE = 0.1
"""With Shift the rig follows the pointer at this pace."""
_SMALLEST_SCALE, _LARGEST_SCALE = 0.01, 100.0


class _Drag(Enum):
    MOVE = "Move"
    SCALE = "Scale"
    TURN = "Rotate"


_KEYS = {"G": _Drag.MOVE, "S": _Drag.SCALE, "R": _Drag.TURN}


class FLEXTRAJ_OT_place_rig(RigTool, bpy.types.Operator):
    bl_idname = "flextraj.place_rig"
    bl_label = "Drag Rig over Photo"
    bl_description = (
        "Move the rig, as it is on the first frame, over the photo: the mouse moves it, S scales, R rotates, "
        "G moves again, Shift is slower. Enter or click keeps it, Esc does not. The scene stays as it is"
    )
    bl_options = {"REGISTER", "UNDO"}

    shift: FloatVectorProperty(
        name="Shift", description="In pixels of the video", size=2, options={"SKIP_SAVE"}
    )
    scale: FloatProperty(
        name="Scale",
        description="About the middle of the rig",
        default=1.0,
        min=_SMALLEST_SCALE,
        max=_LARGEST_SCALE,
        options={"SKIP_SAVE"},
    )
    angle: FloatProperty(
        name="Rotation", description="Clockwise", subtype="ANGLE", unit="ROTATION", options={"SKIP_SAVE"}
    )

    _before: Affine
    _base: Affine
    _fit: Affine
    _was: tuple[str, bool, tuple[float, ...], tuple[int, ...]]
    _center: NDArray[np.float64]
    _drag = _Drag.MOVE
    _grip: NDArray[np.float64] | None = None
    _pointer: NDArray[np.float64] | None = None

    def begin(self, context: Context) -> None:
        settings = scene_settings(context.scene)
        placement = settings.placement
        self._was = settings.fit, settings.aligned, tuple(placement.matrix), tuple(placement.raster)
        self._before = self._base = self._fit = stored_fit(context, settings, self.raster)
        center = self.rig.center()
        self._center = apply(mirror(self.raster[0]), center) if placement.mirror else center
        self._grip = None

    def confirm(self, context: Context) -> OperatorResult:
        settings = scene_settings(context.scene)
        if not self._has_moved():
            # Called with numbers: by a script, or once more from the panel of the last operation.
            middle = apply(self._before, self._center)
            fit = turned_about(self._before, middle, self.scale, self.angle)
            self._fit = shifted(fit, np.array(self.shift[:], np.float64))
        store_fit(settings, self._fit, self.raster)
        self._note_numbers()
        return {"FINISHED"}

    def take_back(self, context: Context) -> None:
        settings = scene_settings(context.scene)
        placement = settings.placement
        settings.fit, settings.aligned, placement.matrix, placement.raster = self._was

    def header(self) -> str:
        return (
            f"{self._drag.value} Rig    G Move   S Scale   R Rotate   Shift Slower    "
            "Enter/LMB Confirm   Esc/RMB Cancel"
        )

    def handle(self, context: Context, event: bpy.types.Event) -> bool:
        place = self.place(event)
        if self._grip is None:
            self._grip = place
        if event.type == "MOUSEMOVE":
            self._follow(place, _FINE if event.shift else 1.0)
            store_fit(scene_settings(context.scene), self._fit, self.raster)
            return True
        if event.value != "PRESS":
            return False
        if event.type in _KEYS:
            self._drag, self._base, self._grip, self._pointer = _KEYS[event.type], self._fit, place, None
            return True
        return False

    def modal_tool(self, context: Context, event: bpy.types.Event) -> OperatorResult:
        if event.type == "LEFTMOUSE" and event.value == "PRESS":
            self.stop_tool()
            return self.confirm(context)
        if event.type == "RIGHTMOUSE" and event.value == "PRESS":
            self.stop_tool()
            self.take_back(context)
            return {"CANCELLED"}
        return super().modal_tool(context, event)

    def draw_tool(self, to_region: Affine) -> None:
        middle = apply(to_region, apply(self._fit, self._center))
        draw_circle(middle, 5.0, _MARK_COLOR, 1.5)
        if self._drag is not _Drag.MOVE and self._pointer is not None:
            draw_lines(np.stack([middle, apply(to_region, self._pointer)]), _MARK_COLOR, 1.0)

    def _follow(self, place: NDArray[np.float64], pace: float) -> None:
        assert self._grip is not None
        self._pointer = place
        goal = self._grip + pace * (place - self._grip)
        if self._drag is _Drag.MOVE:
            self._fit = shifted(self._base, goal - self._grip)
            return
        middle = apply(self._base, self._center)
        start, end = self._grip - middle, goal - middle
        if self._drag is _Drag.SCALE:
            factor = float(np.hypot(*end)) / max(float(np.hypot(*start)), 1e-6)
            factor = min(max(factor, _SMALLEST_SCALE), _LARGEST_SCALE)
            self._fit = turned_about(self._base, middle, factor, 0.0)
        else:
            angle = math.atan2(end[1], end[0]) - math.atan2(start[1], start[0])
            self._fit = turned_about(self._base, middle, 1.0, angle)

    def _has_moved(self) -> bool:
        return self._grip is not None and not np.array_equal(self._fit, self._before)

    def _note_numbers(self) -> None:
        """Let the panel of the last operation show what was done."""
        linear = self._fit[:, :2] @ np.linalg.inv(self._before[:, :2])
        self.scale = float(np.hypot(linear[0, 0], linear[1, 0]))
        self.angle = math.atan2(linear[1, 0], linear[0, 0])
        self.shift = apply(self._fit, self._center) - apply(self._before, self._center)


class FLEXTRAJ_OT_mirror_motion(bpy.types.Operator):
    bl_idname = "flextraj.mirror_motion"
    bl_label = "Mirror Motion"
    bl_description = (
        "Swap left and right of the motion where the rig stands on the photo. "
        "It is never done without being asked for; press again to take it back"
    )
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: Context) -> OperatorResult:
        settings = scene_settings(context.scene)
        placement = settings.placement
        rig = placement_view().rig_of(context.scene)
        if FitMode(settings.fit) is FitMode.GIVEN and rig is not None:
            # About the middle of what is seen of the rig, so that it stays on the subject.
            placed = placed_fit(context, rig)
            swapped = compose(mirror(2 * float(rig.seen_center(placed)[0])), placed)
            fit = swapped if placement.mirror else compose(swapped, mirror(rig.raster[0]))
            store_fit(settings, fit, rig.raster)
        placement.mirror = not placement.mirror
        return {"FINISHED"}


register, unregister = registration_of(FLEXTRAJ_OT_place_rig, FLEXTRAJ_OT_mirror_motion)
