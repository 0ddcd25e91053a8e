"""Pins: hold sampled points of the rig on places of the photo."""

from __future__ import annotations

from dataclasses import replace

import bpy
import numpy as np
from numpy.typing import NDArray

from ..blender_types import Context, OperatorResult
from ..bridge.placement import pins_on_raster, sampling_key, store_fit, stored_fit, write_pins
from ..core.placement import Affine, apply
from ..core.request import MAX_PINS, FitPin
from ..overlay.placement_drawing import draw_circle
from ..overlay.placement_view import (
    PIN_RADIUS,
    ToolContent,
    ToolDisplay,
    can_be_pinned,
    fits_of_groups,
    placed_fit,
    placed_points,
)
from ..properties import scene_settings
from ..registration import registration_of
from .rig_tool import RigTool

_PIN_REACH, _POINT_REACH = 14.0, 40.0
"""A click takes a pin, else a point, that is this near, in pixels of the screen."""
_HOVER_COLOR = (1.0, 0.5, 0.1, 1.0)


class FLEXTRAJ_OT_edit_pins(RigTool, bpy.types.Operator):
    bl_idname = "flextraj.edit_pins"
    bl_label = "Pin Points"
    bl_description = (
        "Click a point of the rig and drag it to its place on the photo. One pin shifts its subject, several "
        "turn and scale it too, without the others. X removes a pin, Enter keeps the pins, Esc does not"
    )
    bl_options = {"UNDO"}

    content = ToolContent.RIG_AND_POINTS
    _pins: tuple[FitPin, ...]
    _fit: Affine
    _grip: NDArray[np.float64]
    _held: int | None = None
    _hovered: int | None = None

    def begin(self, context: Context) -> None:
        settings = scene_settings(context.scene)
        is_of_this = settings.placement.pinned_sampling == sampling_key(self.sample)
        # Pins of another sampling hold points that are gone.
        self._pins = pins_on_raster(settings, self.raster) if is_of_this else ()
        self._fit = placed_fit(context, self.rig)
        self._held = self._hovered = None

    def display(self) -> ToolDisplay:
        return replace(super().display(), pins=self._pins)

    def header(self) -> str:
        return (
            f"{len(self._pins)} pins    LMB on a point Add   LMB drag Move   X Remove    "
            "Enter Confirm   Esc Cancel"
        )

    def handle(self, context: Context, event: bpy.types.Event) -> bool:
        place = self.place(event)
        if event.type == "MOUSEMOVE":
            if self._held is None:
                self._hovered = self._nearest_pin(place)
            else:
                self._move(self._held, place - self._grip)
        elif event.type == "LEFTMOUSE" and event.value == "RELEASE":
            self._held = None
        elif event.type == "LEFTMOUSE" and event.value == "PRESS" and self.is_over_view(event):
            self._held = self._nearest_pin(place)
            if self._held is None:
                self._held = self._add(place)
            self._hovered = self._held
            if self._held is not None:
                held = self._pins[self._held]
                self._grip = place - np.array([held.x, held.y])
        elif event.type in ("X", "DEL") and event.value == "PRESS" and self._hovered is not None:
            self._pins = self._pins[: self._hovered] + self._pins[self._hovered + 1 :]
            self._held = self._hovered = None
        else:
            return False
        return True

    def confirm(self, context: Context) -> OperatorResult:
        settings = scene_settings(context.scene)
        if self._pins:
            # The pins were set against what was shown: that is what they are for the video, too.
            store_fit(settings, stored_fit(context, settings, self.raster), self.raster)
        write_pins(settings, self.sample, self.raster, self._pins)
        return {"FINISHED"}

    def take_back(self, context: Context) -> None:
        """Nothing was changed yet."""

    def draw_tool(self, to_region: Affine) -> None:
        if self._hovered is not None and self._hovered < len(self._pins):
            pin = self._pins[self._hovered]
            draw_circle(apply(to_region, np.array([pin.x, pin.y])), PIN_RADIUS + 3, _HOVER_COLOR, 2.0)

    def _nearest_pin(self, place: NDArray[np.float64]) -> int | None:
        if not self._pins:
            return None
        places = np.array([(pin.x, pin.y) for pin in self._pins])
        distance = np.hypot(*(places - place).T)
        nearest = int(distance.argmin())
        return nearest if distance[nearest] <= self.pixels_of_screen(_PIN_REACH) else None

    def _add(self, place: NDArray[np.float64]) -> int | None:
        """Pin the visible point that is nearest to a place, if one is near enough."""
        seen = np.flatnonzero(can_be_pinned(self.rig))
        if len(seen) == 0 or len(self._pins) >= MAX_PINS:
            return None
        points = placed_points(self.rig, self._fit, fits_of_groups(self.rig, self._fit, self._pins))[seen]
        distance = np.hypot(*(points - place).T)
        nearest = int(distance.argmin())
        if distance[nearest] > self.pixels_of_screen(_POINT_REACH):
            return None
        trajectories = self.rig.trajectories
        point = int(seen[nearest])
        segment = trajectories.meta.segments[int(trajectories.seg_id[point])].id
        x, y = (float(value) for value in points[nearest])
        pin = FitPin(segment, int(trajectories.traj_id[point]), x, y)
        if any((other.segment, other.point) == (pin.segment, pin.point) for other in self._pins):
            return None
        self._pins += (pin,)
        return len(self._pins) - 1

    def _move(self, index: int, place: NDArray[np.float64]) -> None:
        moved = replace(self._pins[index], x=float(place[0]), y=float(place[1]))
        self._pins = (*self._pins[:index], moved, *self._pins[index + 1 :])


class FLEXTRAJ_OT_remove_pins(bpy.types.Operator):
    bl_idname = "flextraj.remove_pins"
    bl_label = "Remove Pins"
    bl_description = "Remove all pins: every subject follows the placement of the rig again"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: Context) -> bool:
        return bool(scene_settings(context.scene).placement.pins)

    def execute(self, context: Context) -> OperatorResult:
        placement = scene_settings(context.scene).placement
        placement.pins.clear()
        placement.pinned_sampling = ""
        return {"FINISHED"}


register, unregister = registration_of(FLEXTRAJ_OT_edit_pins, FLEXTRAJ_OT_remove_pins)
