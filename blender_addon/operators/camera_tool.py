"""What tools share that work with the mouse over the photo in the camera view, until Enter or Esc."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import bpy
import numpy as np
from numpy.typing import NDArray

from ..blender_types import Context, OperatorResult
from ..bridge.cameras import camera_settings
from ..bridge.matrices import matrix_array
from ..bridge.placement import camera_area
from ..core.errors import ErrorCode, FlexTrajError
from ..core.placement import Affine, apply, inverse, scale_of
from ..core.view_mapping import raster_to_region
from ..overlay.placement_view import ToolContent, ToolDisplay, placement_view
from ..translations import translated

# Blender registers only the classes that are operators themselves.
_Operator = bpy.types.Operator if TYPE_CHECKING else object

_CONFIRM = frozenset({"RET", "NUMPAD_ENTER"})
_NAVIGATION = frozenset(
    {"WHEELUPMOUSE", "WHEELDOWNMOUSE", "WHEELINMOUSE", "WHEELOUTMOUSE", "TRACKPADPAN", "TRACKPADZOOM", "HOME"}
)
_PASSED_ON = _NAVIGATION | {"TIMER", "TIMER_REPORT", "WINDOW_DEACTIVATE", "NONE"}


class CameraTool(_Operator):
    """An operator that listens to mouse and keys over the camera's frame.

    Attributes:
        content: what is drawn below the tool's marks.
        raster: width and height of the shot; places are in its pixels.
    """

    content = ToolContent.RIG_AND_SUBJECT
    raster: tuple[int, int]
    _area: Any
    _is_tool = False

    @abstractmethod
    def handle(self, context: Context, event: bpy.types.Event) -> bool:
        """React to an event that neither ends the tool nor navigates; return whether it is used up."""

    @abstractmethod
    def draw_tool(self, to_region: Affine) -> None:
        """Draw the tool's marks; `to_region` maps pixels of the raster to those of the region."""

    def display(self) -> ToolDisplay:
        """What is drawn while the tool runs."""
        return ToolDisplay(self.draw_tool, self.raster, self.content)

    @abstractmethod
    def header(self) -> str:
        """What the header says while the tool runs."""

    @abstractmethod
    def confirm(self, context: Context) -> OperatorResult:
        """Keep the result. Raises FlexTrajError."""

    @abstractmethod
    def take_back(self, context: Context) -> None:
        """Esc: leave everything as it was."""

    def start_tool(self, context: Context) -> None:
        """Begin to listen; the operator is a modal one already or becomes one now. Raises FlexTrajError."""
        area = camera_area(context)
        if area is None:
            raise FlexTrajError(
                "No viewport looks through the scene's camera: press Numpad 0 over the viewport first.",
                ErrorCode.REQUEST,
            )
        self._area, self._is_tool = area, True
        self.refresh()

    def refresh(self) -> None:
        """Show header and marks as they are now."""
        placement_view().show_tool(self.display())
        self._area.header_text_set(self.header())

    def modal_tool(self, context: Context, event: bpy.types.Event) -> OperatorResult:
        """The part of `modal` that belongs to the tool."""
        if not self._is_in_camera_view(context) or (event.type == "ESC" and event.value == "PRESS"):
            self.stop_tool()
            self.take_back(context)
            return {"CANCELLED"}
        if event.type in _CONFIRM and event.value == "PRESS":
            try:
                result = self.confirm(context)
            except FlexTrajError as error:
                # The work of minutes stays, to be kept once the reason is gone.
                self.report({"ERROR"}, translated(error.message))
                return {"RUNNING_MODAL"}
            self.stop_tool()
            return result
        if event.type in _PASSED_ON and not event.ctrl:
            return {"PASS_THROUGH"}
        if self.handle(context, event):
            self.refresh()
            return {"RUNNING_MODAL"}
        # A click on a button or a shortcut would change what the tool works on.
        return {"RUNNING_MODAL"}

    def stop_tool(self) -> None:
        """Listen no more; harmless where the tool does not run."""
        if self._is_tool:
            self._is_tool = False
            placement_view().show_tool(None)
            self._area.header_text_set(None)

    def to_region(self) -> Affine:
        """From pixels of the raster to those of the viewport's region."""
        context: Context = bpy.context
        region, view = self._region(), self._area.spaces.active.region_3d
        return raster_to_region(
            camera_settings(context.scene, context.scene.camera.data),
            self.raster,
            matrix_array(view.window_matrix),
            (region.width, region.height),
        )

    def place(self, event: bpy.types.Event) -> NDArray[np.float64]:
        """Where the pointer is, (2,) pixels of the raster."""
        region = self._region()
        pointer = np.array([event.mouse_x - region.x, event.mouse_y - region.y], np.float64)
        return apply(inverse(self.to_region()), pointer)

    def is_over_view(self, event: bpy.types.Event) -> bool:
        """Whether the pointer is in the viewport, and not on its sidebar or another region."""
        for region in self._area.regions:
            if region.type in ("WINDOW", "HEADER", "TOOL_HEADER") or region.width <= 1:
                continue
            if (
                region.x <= event.mouse_x < region.x + region.width
                and region.y <= event.mouse_y < region.y + region.height
            ):
                return False
        window = self._region()
        return (
            window.x <= event.mouse_x < window.x + window.width
            and window.y <= event.mouse_y < window.y + window.height
        )

    def pixels_of_screen(self, pixels: float) -> float:
        """How many pixels of the raster so many of the screen are."""
        return pixels / scale_of(self.to_region())

    def _region(self) -> Any:
        return next(region for region in self._area.regions if region.type == "WINDOW")

    def _is_in_camera_view(self, context: Context) -> bool:
        screen = context.screen
        is_there = screen is not None and any(area == self._area for area in screen.areas)
        return is_there and camera_area(context) is not None
