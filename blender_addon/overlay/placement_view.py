"""What the camera view shows of the rig's place on the photo: its outline, the subject, pins, a tool's marks.

Main thread only. NumPy arrays and the session_uid of a scene are kept, nothing of Blender's that could be
freed meanwhile. A draw callback is installed only while there is something to draw.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, cast

import bpy
import numpy as np
from numpy.typing import NDArray

from ..blender_types import Context
from ..bridge.placement import pins_on_raster, stored_fit
from ..core.contours import mask_contours
from ..core.errors import ErrorCode, FlexTrajError
from ..core.outline_picture import Color, tinted_mask
from ..core.pinned_groups import group_fits
from ..core.placement import Affine, apply, compose, mirror
from ..core.request import FitMode, FitPin
from ..core.trajectories import TrajectorySet
from ..core.view_mapping import as_matrix
from ..properties import runtime_state, scene_settings
from ..session import show_error
from .gpu_drawing import PictureBatch, alpha_blending, clip_from_raster
from .placement_drawing import draw_circle, draw_dots, draw_lines
from .redraw import redraw_viewports
from .viewport import is_camera_view, region_from_raster

SUBJECT_COLOR: Color = (255, 140, 26)
SUBJECT_OPACITY = 0.3
_RIG_COLORS: tuple[Color, ...] = ((38, 190, 255), (170, 255, 90), (255, 110, 220), (255, 235, 90))
_RIG_OPACITY = 0.25
_LINE_WIDTH = 2.0
_PIN_COLOR = (1.0, 0.95, 0.2, 1.0)
_POINT_COLOR = (1.0, 1.0, 1.0, 0.8)
PIN_RADIUS = 7.0
"""On the screen, in pixels of a display of normal density."""
_MOST_DOTS = 1500


class ToolContent(Enum):
    """What is drawn below the marks of a tool."""

    NOTHING = "nothing"
    RIG_AND_SUBJECT = "rig and subject"
    RIG_AND_POINTS = "rig and points"


@dataclass(frozen=True, eq=False)
class ToolDisplay:
    """What a tool over the camera view draws.

    Attributes:
        draw: draws its marks; gets the affine from the raster to the region.
        raster: width and height of the shot.
        content: what else is drawn.
        pins: where the tool moves pins, these.
    """

    draw: Callable[[Affine], None]
    raster: tuple[int, int]
    content: ToolContent
    pins: tuple[FitPin, ...] | None = None


class _Outlined:
    """A tinted mask with a smooth outline."""

    def __init__(self, mask: NDArray[np.bool_], color: Color, opacity: float) -> None:
        self._picture = PictureBatch(tinted_mask(mask, color, opacity, 0))
        self._contours = mask_contours(mask)
        red, green, blue = (value / 255 for value in color)
        self._line_color = (red, green, blue, 1.0)

    def draw(self, to_region: Affine, line_width: float) -> None:
        self._picture.draw(clip_from_raster(as_matrix(to_region)), 1.0)
        draw_lines(apply(to_region, self._contours), self._line_color, line_width)


@dataclass(frozen=True, eq=False)
class PlacedRig:
    """The rig on the first frame.

    Attributes:
        scene_uid: session_uid of the scene.
        trajectories: the points of the first frame and the silhouettes.
    """

    scene_uid: int
    trajectories: TrajectorySet

    @property
    def raster(self) -> tuple[int, int]:
        return self.trajectories.meta.width, self.trajectories.meta.height

    def outlines(self) -> dict[int, NDArray[np.bool_]]:
        """The silhouette (H, W) of each subject group, empty where the set carries none."""
        found: dict[int, NDArray[np.bool_]] = {}
        silhouette = self.trajectories.silhouette
        for index, segment in enumerate(self.trajectories.meta.segments):
            if silhouette is not None and not segment.background:
                part = silhouette[index]
                found[segment.group] = part | found[segment.group] if segment.group in found else part
        return found

    def center(self) -> NDArray[np.float64]:
        """The middle of the rig's bounding box, (2,) rig pixels; of the raster where it is not seen."""
        seen = np.zeros(self.raster[::-1], bool)
        for outline in self.outlines().values():
            seen |= outline
        columns, rows = np.flatnonzero(seen.any(axis=0)), np.flatnonzero(seen.any(axis=1))
        if len(rows) == 0:
            return np.array(self.raster) / 2
        return np.array([columns[0] + columns[-1] + 1, rows[0] + rows[-1] + 1]) / 2

    def seen_center(self, fit: Affine) -> NDArray[np.float64]:
        """Where the mean of the rig's area within the photo is, (2,) photo pixels; else its middle."""
        area = np.zeros(self.raster[::-1], bool)
        for outline in self.outlines().values():
            area |= outline
        places = apply(fit, np.argwhere(area)[:, ::-1] + 0.5)
        seen = ((places >= 0) & (places < self.raster)).all(axis=1)
        return places[seen].mean(axis=0) if seen.any() else apply(fit, self.center())


@dataclass(frozen=True, eq=False)
class FoundSubject:
    """What the last fit found.

    Attributes:
        scene_uid: session_uid of the scene.
        photo: the settings' text of the photo that it is about.
        mask: (H, W) bool at the raster of the fit.
        fit: (2, 3) from rig pixels to photo pixels as it was found, mirrored where asked for.
        warnings: sentences about it for the user.
    """

    scene_uid: int
    photo: str
    mask: NDArray[np.bool_]
    fit: Affine
    warnings: tuple[str, ...]


class PlacementView:
    """Holds and draws the rig's place on the photo."""

    def __init__(self) -> None:
        self.rig: PlacedRig | None = None
        self.subject: FoundSubject | None = None
        self.tool: ToolDisplay | None = None
        self._handle: object | None = None
        self._rig_pictures: dict[int, _Outlined] | None = None
        self._subject_picture: _Outlined | None = None
        self._failure: FlexTrajError | None = None

    def show_rig(self, rig: PlacedRig) -> None:
        """Draw this rig from now on."""
        self.rig, self._rig_pictures = rig, None
        self._install()

    def show_subject(self, subject: FoundSubject | None) -> None:
        """Draw this subject from now on; None = none."""
        self.subject, self._subject_picture = subject, None
        self._install()

    def show_tool(self, tool: ToolDisplay | None) -> None:
        """Let a tool draw its marks on top; None = the tool has ended."""
        self.tool = tool
        self._install()

    def forget(self) -> None:
        """Let go of everything."""
        self.rig = self.subject = self.tool = None
        self.release()
        self._install()

    def release(self) -> None:
        """Let go of what is on the GPU; it is made again when it is drawn."""
        self._rig_pictures = None
        self._subject_picture = None

    def rig_of(self, scene: bpy.types.Scene) -> PlacedRig | None:
        """The rig, where it is one of this scene."""
        return self.rig if self.rig is not None and self.rig.scene_uid == scene.session_uid else None

    def subject_of(self, scene: bpy.types.Scene) -> FoundSubject | None:
        """The subject, where it was found in this scene and in its present photo."""
        found = self.subject
        if (
            found is None
            or found.scene_uid != scene.session_uid
            or found.photo != scene_settings(scene).photo
        ):
            return None
        return found

    def _install(self) -> None:
        is_needed = any(item is not None for item in (self.rig, self.subject, self.tool))
        if is_needed and self._handle is None and not bpy.app.background:
            self._handle = bpy.types.SpaceView3D.draw_handler_add(self.draw, (), "WINDOW", "POST_PIXEL")
        elif not is_needed and self._handle is not None:
            bpy.types.SpaceView3D.draw_handler_remove(cast(Any, self._handle), "WINDOW")
            self._handle = None
        redraw_viewports()

    def draw(self) -> None:
        """Draw callback of every 3D viewport."""
        if self._failure is not None:
            return
        try:
            self._draw(bpy.context)
        except FlexTrajError as error:
            self._fail(error)
        except Exception as error:  # whatever it is, it would come again at every redraw
            traceback.print_exc()
            self._fail(
                FlexTrajError(
                    f"The fit cannot be drawn ({type(error).__name__}: {error}), so its display was turned "
                    "off: press Fit to Photo to retry.",
                    ErrorCode.DEFECT,
                )
            )

    def _draw(self, context: Context) -> None:
        if not is_camera_view(context):
            return
        scene = context.scene
        rig, subject = self.rig_of(scene), self.subject_of(scene)
        shown = runtime_state().placement
        content = ToolContent.RIG_AND_SUBJECT if self.tool is None else self.tool.content
        width = _LINE_WIDTH * context.preferences.system.pixel_size
        with alpha_blending():
            if subject is not None and shown.show_mask and content is ToolContent.RIG_AND_SUBJECT:
                if self._subject_picture is None:
                    self._subject_picture = _Outlined(subject.mask, SUBJECT_COLOR, SUBJECT_OPACITY)
                rows, columns = subject.mask.shape
                self._subject_picture.draw(region_from_raster(context, (columns, rows)), width)
            is_wanted = self.tool is not None or (shown.show_rig and not is_left_to_the_backend(scene))
            if rig is not None and is_wanted and content is not ToolContent.NOTHING:
                self._draw_rig(context, rig, content)
            if self.tool is not None:
                self.tool.draw(region_from_raster(context, self.tool.raster))

    def _draw_rig(self, context: Context, rig: PlacedRig, content: ToolContent) -> None:
        settings = scene_settings(context.scene)
        fit = placed_fit(context, rig)
        pins = None if self.tool is None else self.tool.pins
        if pins is None:
            pins = pins_on_raster(settings, rig.raster)
        fits = fits_of_groups(rig, fit, pins)
        to_region = region_from_raster(context, rig.raster)
        scale = context.preferences.system.pixel_size
        if self._rig_pictures is None:
            self._rig_pictures = {
                group: _Outlined(outline, _RIG_COLORS[group % len(_RIG_COLORS)], _RIG_OPACITY)
                for group, outline in rig.outlines().items()
            }
        for group, picture in self._rig_pictures.items():
            picture.draw(compose(to_region, fits.get(group, fit)), _LINE_WIDTH * scale)
        if content is ToolContent.RIG_AND_POINTS:
            draw_dots(apply(to_region, visible_points(rig, fit, fits)), 1.6 * scale, _POINT_COLOR)
        for pin in pins:
            place = apply(to_region, np.array([pin.x, pin.y]))
            draw_circle(place, PIN_RADIUS * scale, _PIN_COLOR, 2.0 * scale)
            cross = np.array([(-1, 0), (1, 0), (0, -1), (0, 1)]) * PIN_RADIUS * 0.6 * scale
            draw_lines(place + cross, _PIN_COLOR, 1.5 * scale)

    def _fail(self, error: FlexTrajError) -> None:
        """Draw no more; the rest waits for a timer, because a draw callback must not change anything."""
        self._failure = error
        if not bpy.app.timers.is_registered(turn_off_after_failure):
            bpy.app.timers.register(turn_off_after_failure)

    def take_failure(self) -> FlexTrajError | None:
        """Why drawing failed, None where it did not; drawing may be tried again afterwards."""
        failure, self._failure = self._failure, None
        return failure


_view = PlacementView()


def placement_view() -> PlacementView:
    """The view of this Blender."""
    return _view


def turn_off_after_failure() -> None:
    """Turn the display off and show why."""
    error = _view.take_failure()
    _view.forget()
    if error is not None:
        show_error(error)


def placed_fit(context: Context, rig: PlacedRig) -> Affine:
    """From rig pixels to photo pixels as the shot has it now, mirrored where asked for."""
    settings = scene_settings(context.scene)
    fit = stored_fit(context, settings, rig.raster)
    return compose(fit, mirror(rig.raster[0])) if settings.placement.mirror else fit


def fits_of_groups(rig: PlacedRig, fit: Affine, pins: tuple[FitPin, ...]) -> dict[int, Affine]:
    """The fit of every group that has pins; none where they hold points that the rig does not have."""
    try:
        return group_fits(rig.trajectories, fit, pins)
    except FlexTrajError:
        # Generate refuses such pins with a sentence; here they only do not move anything.
        return {}


def placed_points(rig: PlacedRig, fit: Affine, fits: dict[int, Affine]) -> NDArray[np.float64]:
    """Where all points stand on the photo, (N, 2) pixels of the raster."""
    points = apply(fit, rig.trajectories.positions[0, :, :2])
    groups = np.array([segment.group for segment in rig.trajectories.meta.segments])
    group_of_point = groups[rig.trajectories.seg_id]
    for group, own in fits.items():
        members = group_of_point == group
        points[members] = apply(own, rig.trajectories.positions[0, members, :2])
    return points


def visible_points(rig: PlacedRig, fit: Affine, fits: dict[int, Affine]) -> NDArray[np.float64]:
    """Some of the points that the camera sees, where they stand on the photo, (n, 2)."""
    seen = np.flatnonzero(can_be_pinned(rig))
    return placed_points(rig, fit, fits)[seen[:: max(1, len(seen) // _MOST_DOTS)]]


def can_be_pinned(rig: PlacedRig) -> NDArray[np.bool_]:
    """Which points belong to a subject and are seen, (N,)."""
    is_subject = np.array([not segment.background for segment in rig.trajectories.meta.segments])
    return is_subject[rig.trajectories.seg_id] & rig.trajectories.visible[0]


def is_left_to_the_backend(scene: bpy.types.Scene) -> bool:
    """Whether the rig's place is found only when the shot is generated."""
    settings = scene_settings(scene)
    return FitMode(settings.fit) is FitMode.AUTO and not settings.aligned
