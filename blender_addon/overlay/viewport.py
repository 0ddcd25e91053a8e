"""The overlay itself: holds the last sampled shot and draws it in 3D viewports in camera view.

Main thread only. It keeps NumPy arrays and the session_uid of a scene, nothing of Blender's that could be
freed meanwhile. A draw callback is installed only while there is a shot. When drawing fails, the display is
turned off and says so once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import bpy
import numpy as np
from numpy.typing import NDArray

from ..blender_types import Context
from ..bridge.cameras import camera_settings
from ..bridge.matrices import matrix_array
from ..bridge.placement import KnownPlacement, known_placement
from ..bridge.shot_request import conditioning_settings, read_sample_settings
from ..core.conditioning import ConditioningSettings
from ..core.errors import ErrorCode, FlexTrajError
from ..core.frame_cache import FrameCache
from ..core.placement import as_affine
from ..core.sample_settings import SampleSettings
from ..core.shot_drawing import ShotDrawing, nearest_frame, trail_parts
from ..core.trajectories import TrajectorySet
from ..core.video_preview import VideoPreview
from ..core.view_mapping import as_matrix, raster_to_region
from ..properties import runtime_state, scene_settings
from ..session import show_error
from .gpu_drawing import PathBatch, PictureBatch, PointBatch, alpha_blending, clip_from_raster
from .redraw import redraw_viewports
from .settings import FlexTrajOverlaySettings, PreviewVideo

_BYTES_OF_POINT = 12
_BYTES_OF_PIXEL = 4
_MOST_BYTES = 128 * 1024 * 1024
"""Of graphics memory, for points and for pictures each."""


@dataclass(frozen=True, eq=False)
class SampledShot:
    """What was sampled last.

    Attributes:
        scene_uid: session_uid of the scene.
        settings: how it was sampled.
        trajectories: the set.
    """

    scene_uid: int
    settings: SampleSettings
    trajectories: TrajectorySet


class _PointBuffers:
    """A shot's points and paths on the GPU; the points of a frame when that is shown first."""

    def __init__(self, trajectories: TrajectorySet, path_count: int) -> None:
        drawing = ShotDrawing(trajectories)
        self.path_count = path_count
        self.paths = PathBatch(drawing.paths(path_count), trajectories.frame_count)
        self.points = FrameCache(
            lambda frame: PointBatch(drawing.points(frame)),
            _MOST_BYTES // (_BYTES_OF_POINT * trajectories.point_count),
        )


class _PictureBuffers:
    """One of a shot's conditioning videos on the GPU, frame by frame."""

    def __init__(
        self,
        trajectories: TrajectorySet,
        video: PreviewVideo,
        settings: ConditioningSettings,
        placement: KnownPlacement | None,
    ) -> None:
        self.made_for = (video, settings, placement)
        if placement is None:
            preview = VideoPreview(trajectories, settings)
        else:
            preview = VideoPreview(trajectories, settings, as_affine(placement.matrix), placement.pins)
        render = preview.ids if video is PreviewVideo.ID else preview.color
        self.frames = FrameCache(
            lambda frame: PictureBatch(render(frame)),
            _MOST_BYTES // (_BYTES_OF_PIXEL * trajectories.meta.width * trajectories.meta.height),
        )


class ViewportOverlay:
    """Draws the last sampled shot."""

    def __init__(self) -> None:
        self.shot: SampledShot | None = None
        self.failure: FlexTrajError | None = None
        self._handle: object | None = None
        self._points: _PointBuffers | None = None
        self._pictures: _PictureBuffers | None = None

    def show(self, shot: SampledShot) -> None:
        """Draw this shot from now on instead of the one before."""
        self.forget()
        self.shot = shot
        if not bpy.app.background:
            self._handle = bpy.types.SpaceView3D.draw_handler_add(self.draw, (), "WINDOW", "POST_PIXEL")

    def forget(self) -> None:
        """Let go of the shot and of everything that was made for it."""
        if self._handle is not None:
            bpy.types.SpaceView3D.draw_handler_remove(cast(Any, self._handle), "WINDOW")
            self._handle = None
        self.shot = None
        self.failure = None
        self.release()
        redraw_viewports()

    def release(self) -> None:
        """Let go of what is on the GPU; it is made again when it is drawn."""
        self._points = None
        self._pictures = None

    def draw(self) -> None:
        """Draw callback of every 3D viewport."""
        if self.failure is not None:
            return
        try:
            self._draw(bpy.context)
        except FlexTrajError as error:
            self._fail(error)
        except Exception as error:  # whatever it is, it would come again at every redraw
            self._fail(
                FlexTrajError(
                    f"The points cannot be drawn ({type(error).__name__}: {error}), so their display was "
                    "turned off: sample again to retry.",
                    ErrorCode.DEFECT,
                )
            )

    def _draw(self, context: Context) -> None:
        shot, settings = self.shot, overlay_settings()
        video = PreviewVideo(settings.preview)
        if not settings.show_points:
            self._points = None
        if video is PreviewVideo.OFF:
            self._pictures = None
        if shot is None or shot.scene_uid != context.scene.session_uid or not is_camera_view(context):
            return
        if not settings.show_points and video is PreviewVideo.OFF:
            return
        meta = shot.trajectories.meta
        frame = nearest_frame(meta.source_frames, context.scene.frame_current_final)
        transform = clip_from_raster(as_matrix(region_from_raster(context, (meta.width, meta.height))))
        with alpha_blending():
            if video is not PreviewVideo.OFF:
                shot_settings = scene_settings(context.scene)
                placement = known_placement(context, shot_settings, (meta.width, meta.height))
                wanted = video, conditioning_settings(context, shot_settings, meta.source_frames), placement
                if self._pictures is None or self._pictures.made_for != wanted:
                    self._pictures = _PictureBuffers(shot.trajectories, *wanted)
                self._pictures.frames.of(frame).draw(transform, settings.preview_opacity)
            if settings.show_points:
                if self._points is None or self._points.path_count != settings.trail_count:
                    self._points = _PointBuffers(shot.trajectories, settings.trail_count)
                parts = trail_parts(frame, settings.trail_length, shot.trajectories.frame_count)
                self._points.paths.draw(transform, parts)
                size = settings.point_size * context.preferences.system.pixel_size
                self._points.points.of(frame).draw(transform, size)

    def _fail(self, error: FlexTrajError) -> None:
        """Draw no more; the rest waits for a timer, because a draw callback must not change anything."""
        self.failure = error
        if not bpy.app.timers.is_registered(turn_off_after_failure):
            bpy.app.timers.register(turn_off_after_failure)


_overlay = ViewportOverlay()


def viewport_overlay() -> ViewportOverlay:
    """The overlay of this Blender."""
    return _overlay


def turn_off_after_failure() -> None:
    """Turn the display off and show why; it can be turned on again."""
    error, _overlay.failure = _overlay.failure, None
    _overlay.release()
    settings = overlay_settings()
    settings.show_points = False
    settings.preview = PreviewVideo.OFF.value
    if error is not None:
        show_error(error)


def shot_of(scene: bpy.types.Scene) -> TrajectorySet | None:
    """The shot that was sampled last, where it is one of this scene."""
    shot = _overlay.shot
    return shot.trajectories if shot is not None and shot.scene_uid == scene.session_uid else None


def is_sampled_anew(context: Context) -> bool:
    """Whether Generate would sample other points than those of the shot, because settings were changed."""
    shot = _overlay.shot
    return shot is not None and shot.settings != read_sample_settings(context, scene_settings(context.scene))


def overlay_settings() -> FlexTrajOverlaySettings:
    """The settings of the display, typed."""
    return runtime_state().overlay


def is_camera_view(context: Context) -> bool:
    """Whether a viewport looks through the scene's camera: pixels of a shot belong nowhere else."""
    space, view, camera = context.space_data, context.region_data, context.scene.camera
    if view is None or view.view_perspective != "CAMERA" or not space.overlay.show_overlays:
        return False
    if camera is None or camera.type != "CAMERA":
        return False
    return not space.use_local_camera or space.camera == camera


def region_from_raster(context: Context, raster: tuple[int, int]) -> NDArray[np.float64]:
    """Map pixels of a raster (width, height) to those of a viewport in camera view, (2, 3) affine."""
    return raster_to_region(
        camera_settings(context.scene, context.scene.camera.data),
        raster,
        matrix_array(context.region_data.window_matrix),
        (context.region.width, context.region.height),
    )
