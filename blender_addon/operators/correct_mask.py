"""Correct the subject's mask over the photo: a round brush or a rectangle, with undo inside of the tool."""

# Blender reads the annotations of operators as values, so they cannot be postponed nor type-checked.
# pyright: reportInvalidTypeForm=false

from enum import StrEnum

import bpy
import numpy as np
from bpy.props import EnumProperty
from numpy.typing import NDArray

from ..blender_types import Context, OperatorResult
from ..bridge.placement import camera_area, remember_painted_mask
from ..bridge.shot_request import chosen_size
from ..bridge.subject_masks import mask_to_correct
from ..core.errors import FlexTrajError
from ..core.grey_png import write_new_mask
from ..core.mask_canvas import ADD, REMOVE, MaskCanvas, PaintMode
from ..core.outline_picture import tinted_mask
from ..core.placement import Affine, apply, compose, cover, inverse, scale_of
from ..core.view_mapping import as_matrix
from ..overlay.gpu_drawing import PictureBatch, clip_from_raster
from ..overlay.placement_drawing import draw_circle, draw_rectangle
from ..overlay.placement_view import SUBJECT_COLOR, SUBJECT_OPACITY, ToolContent, placement_view
from ..preferences import output_folder
from ..properties import runtime_state, scene_settings
from ..registration import registration_of
from ..session import show_error
from ..translations import filled, translated
from .camera_tool import CameraTool

_ADD_COLOR = (1.0, 0.75, 0.3, 1.0)
_REMOVE_COLOR = (0.4, 0.8, 1.0, 1.0)
_GROWTH = 1.15
_MAX_RADIUS = 500


class MaskShape(StrEnum):
    """With what the mask is corrected."""

    BRUSH = "BRUSH"
    RECTANGLE = "RECTANGLE"


class FLEXTRAJ_OT_correct_mask(CameraTool, bpy.types.Operator):
    bl_idname = "flextraj.correct_mask"
    bl_label = "Correct Mask"
    bl_description = (
        "Paint over the photo in the camera view what belongs to its subject, and with Ctrl what does not. "
        "The result is saved as a new image; your own files are never changed"
    )
    bl_options = {"UNDO"}

    shape: EnumProperty(
        name="With",
        description="What is painted with",
        items=(
            (MaskShape.BRUSH.value, "Brush", "A round brush"),
            (MaskShape.RECTANGLE.value, "Rectangle", "Rectangles from corner to corner"),
        ),
    )

    content = ToolContent.NOTHING
    _canvas: MaskCanvas
    _to_raster: Affine
    _pointer: NDArray[np.float64] | None = None
    _start: NDArray[np.float64] | None = None
    _mode: PaintMode | None = None
    _picture: tuple[int, PictureBatch] | None = None

    @classmethod
    def poll(cls, context: Context) -> bool:
        reason = ""
        if not scene_settings(context.scene).photo:
            reason = "Choose a photo first"
        elif bpy.app.background or camera_area(context) is None:
            reason = "Look through the scene's camera first (Numpad 0)"
        if reason:
            cls.poll_message_set(reason)
        return not reason

    def invoke(self, context: Context, event: bpy.types.Event) -> OperatorResult:
        settings = scene_settings(context.scene)
        found = placement_view().subject_of(context.scene)
        try:
            self._canvas = MaskCanvas(mask_to_correct(settings, None if found is None else found.mask))
            self.raster = chosen_size(context, settings)
            height, width = self._canvas.mask.shape
            self._to_raster = cover((width, height), self.raster)
            self.start_tool(context)
        except FlexTrajError as error:
            show_error(error)
            self.report({"ERROR"}, translated(error.message))
            return {"CANCELLED"}
        context.window_manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, context: Context, event: bpy.types.Event) -> OperatorResult:
        if event.type in ("WHEELUPMOUSE", "WHEELDOWNMOUSE") and not event.ctrl:
            if MaskShape(self.shape) is MaskShape.BRUSH:
                self._resize(1 / _GROWTH if event.type == "WHEELDOWNMOUSE" else _GROWTH)
                self.refresh()
            return {"RUNNING_MODAL"}
        return self.modal_tool(context, event)

    def cancel(self, context: Context) -> None:
        self.stop_tool()

    def header(self) -> str:
        if MaskShape(self.shape) is MaskShape.BRUSH:
            how = f"Brush {runtime_state().placement.brush_radius} px    Wheel or [ ] Radius   B Rectangle"
        else:
            how = "Rectangle    B Brush"
        return f"{how}   LMB Add   Ctrl LMB Remove   Ctrl Z Undo    Enter Save   Esc Cancel"

    def handle(self, context: Context, event: bpy.types.Event) -> bool:
        self._pointer = self.place(event)
        if event.type == "MOUSEMOVE":
            self._drag()
        elif event.type == "LEFTMOUSE":
            if event.value == "PRESS" and self.is_over_view(event):
                self._press(REMOVE if event.ctrl else ADD)
            elif event.value == "RELEASE":
                self._release()
        elif event.value == "PRESS":
            return self._key(event)
        return True

    def confirm(self, context: Context) -> OperatorResult:
        self._release()
        settings = scene_settings(context.scene)
        folder = output_folder() / "masks"
        settings.mask = str(write_new_mask(folder, "mask", self._canvas.mask))
        remember_painted_mask(settings)
        placement_view().show_subject(None)
        self.report({"INFO"}, filled("The mask is {path}", path=settings.mask))
        return {"FINISHED"}

    def take_back(self, context: Context) -> None:
        """Nothing was changed yet."""

    def draw_tool(self, to_region: Affine) -> None:
        if self._picture is None or self._picture[0] != self._canvas.revision:
            tinted = tinted_mask(self._canvas.mask, SUBJECT_COLOR, SUBJECT_OPACITY, 1)
            self._picture = self._canvas.revision, PictureBatch(tinted)
        self._picture[1].draw(clip_from_raster(as_matrix(compose(to_region, self._to_raster))), 1.0)
        if self._pointer is None:
            return
        color = _REMOVE_COLOR if self._mode is REMOVE else _ADD_COLOR
        if MaskShape(self.shape) is MaskShape.BRUSH:
            draw_circle(apply(to_region, self._pointer), runtime_state().placement.brush_radius, color, 1.5)
        elif self._start is not None:
            corners = apply(to_region, np.stack([self._start, self._pointer]))
            draw_rectangle(corners[0].tolist(), corners[1].tolist(), color, 1.5)

    def _press(self, mode: PaintMode) -> None:
        assert self._pointer is not None
        self._mode, self._start = mode, self._pointer
        self._canvas.begin_step()
        if MaskShape(self.shape) is MaskShape.BRUSH:
            self._stroke(self._pointer, self._pointer)

    def _drag(self) -> None:
        if self._mode is None or self._start is None or self._pointer is None:
            return
        if MaskShape(self.shape) is MaskShape.BRUSH:
            self._stroke(self._start, self._pointer)
            self._start = self._pointer

    def _release(self) -> None:
        if self._mode is None or self._start is None or self._pointer is None:
            return
        if MaskShape(self.shape) is MaskShape.RECTANGLE:
            corner, other = self._on_canvas(self._start), self._on_canvas(self._pointer)
            self._canvas.fill_rectangle(corner, other, self._mode)
        self._canvas.end_step()
        self._mode = self._start = None

    def _stroke(self, start: NDArray[np.float64], end: NDArray[np.float64]) -> None:
        assert self._mode is not None
        radius = self.pixels_of_screen(runtime_state().placement.brush_radius) / scale_of(self._to_raster)
        self._canvas.paint(self._on_canvas(start), self._on_canvas(end), radius, self._mode)

    def _on_canvas(self, place: NDArray[np.float64]) -> tuple[float, float]:
        x, y = apply(inverse(self._to_raster), place)
        return float(x), float(y)

    def _key(self, event: bpy.types.Event) -> bool:
        if event.type == "Z" and event.ctrl and self._mode is None:
            if event.shift:
                self._canvas.redo()
            else:
                self._canvas.undo()
        elif event.type == "B":
            is_brush = MaskShape(self.shape) is MaskShape.BRUSH
            self.shape = (MaskShape.RECTANGLE if is_brush else MaskShape.BRUSH).value
        elif event.type in ("LEFT_BRACKET", "RIGHT_BRACKET"):
            self._resize(1 / _GROWTH if event.type == "LEFT_BRACKET" else _GROWTH)
        else:
            return False
        return True

    def _resize(self, factor: float) -> None:
        placement = runtime_state().placement
        radius = placement.brush_radius
        step = max(1, round(abs(factor - 1) * radius))
        placement.brush_radius = min(max(radius + (step if factor > 1 else -step), 1), _MAX_RADIUS)


class FLEXTRAJ_OT_forget_mask(bpy.types.Operator):
    bl_idname = "flextraj.forget_mask"
    bl_label = "Use No Mask"
    bl_description = "Let the subject be found automatically again; the mask's file stays"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: Context) -> bool:
        return bool(scene_settings(context.scene).mask)

    def execute(self, context: Context) -> OperatorResult:
        scene_settings(context.scene).mask = ""
        return {"FINISHED"}


register, unregister = registration_of(FLEXTRAJ_OT_correct_mask, FLEXTRAJ_OT_forget_mask)
