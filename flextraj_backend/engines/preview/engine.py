"""The `preview` engine: an honest draft of the photo itself moving along the trajectories, in seconds.

What it can do: subjects that line up with the rig, blockouts, portraits, moderate motion. What it
cannot: show surface that the photo does not show, or make another body dance. It says which in its label and
warnings.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
from numpy.typing import NDArray

from blender_addon.core.errors import ErrorCode
from blender_addon.core.request import FitMode, RenderRequest
from blender_addon.core.trajectories import TrajectorySet
from flextraj_backend.engines.base import (
    Availability,
    Cancelled,
    EngineError,
    EngineInputs,
    EngineOutput,
    Estimate,
    IsCancelled,
    Limits,
    Progress,
    ReportProgress,
)
from flextraj_backend.engines.preview.background_fill import fill_background
from flextraj_backend.engines.preview.background_motion import background_homographies, warp_background
from flextraj_backend.engines.preview.binding import ALIGNED, BLOCKOUT, UNALIGNED, apply_affine, bind
from flextraj_backend.engines.preview.canvas import blur, cut_out, disc
from flextraj_backend.engines.preview.compositing import Layer, Stage, composite
from flextraj_backend.engines.preview.deformation import set_in_motion
from flextraj_backend.engines.preview.filler import make_filler
from flextraj_backend.engines.preview.rotations import limit_tilt, local_rotations
from flextraj_backend.engines.preview.tracks import (
    AffinityGraph,
    SubjectTracks,
    affinity_graph,
    rigid_groups,
    subject_tracks,
)
from flextraj_backend.fitting.motion_fit import fit_motion
from flextraj_backend.fitting.subject_mask import split_by_group

LIMITS = Limits(min_frames=1, max_frames=1000, side_multiple=2, max_side=2048)
BLEND_FRAMES = 3
"""Frames over which the photo turns into the draft; frame 0 is the photo itself."""
SAME_COLOR = 16.0
"""Difference of colour (0 to 255) from which on a pixel counts as moved."""
HOLE_MARGIN = 6
"""Pixels around the subject that are refilled, since they hold its shadow and halo."""
FEATHER = 4.0
"""Width of the blend at the outer rim of the refilled part."""
MIN_REACH, MAX_REACH = 0.03, 0.35
"""Bounds of the continuation beyond the border, in units of the longer side."""
MAX_TILT = np.radians(50)
"""Tilt that limbs of an unaligned character approach: beyond it a head would be seen edge-on."""
REFERENCE_AREA = 720 * 480
MIN_SCALE = 0.5
"""Pixel radii shrink no further, since edges stay about two pixels wide."""
MAX_THREADS = 4
SECONDS_PER_FRAME = 0.16
SECONDS_AT_START = 5.0
LABEL_ALIGNED, LABEL_UNALIGNED = "draft", "motion draft"


class PreviewEngine:
    """Draft without weights. The same inputs give the same bytes, for any number of threads."""

    @property
    def name(self) -> str:
        return "preview"

    @property
    def title(self) -> str:
        return "Preview (draft, no weights)"

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({"seed"})

    def availability(self) -> Availability:
        return Availability(True)

    def limits(self) -> Limits:
        return LIMITS

    def prepare(self, request: RenderRequest, trajectories: TrajectorySet) -> Estimate:
        """Check size and length of a job and estimate it. Raises EngineError."""
        meta, frames = trajectories.meta, trajectories.frame_count
        if frames > LIMITS.max_frames:
            raise EngineError(
                f"The preview makes at most {LIMITS.max_frames} frames, this shot has {frames}: "
                "shorten the range."
            )
        if max(meta.width, meta.height) > LIMITS.max_side or min(meta.width, meta.height) < 16:
            raise EngineError(
                f"The preview makes pictures of 16 to {LIMITS.max_side} px a side, this shot has "
                f"{meta.width}x{meta.height}: change the resolution."
            )
        if meta.width % LIMITS.side_multiple or meta.height % LIMITS.side_multiple:
            raise EngineError(
                f"The preview needs an even width and height, this shot has {meta.width}x{meta.height}: "
                "change the resolution by one pixel."
            )
        area = meta.width * meta.height
        note = "" if meta.aligned else "Rig and photo are not aligned: this is a motion draft."
        return Estimate(
            seconds=(SECONDS_AT_START + SECONDS_PER_FRAME * frames) * area / REFERENCE_AREA,
            memory_bytes=300_000_000 + area * (3 * frames + 900),
            note=note,
        )

    def render(
        self, inputs: EngineInputs, report_progress: ReportProgress, cancelled: IsCancelled
    ) -> EngineOutput:
        """Render the draft.

        Raises:
            EngineError: photo, mask and trajectories do not go together; the sentence says how.
            Cancelled: soon after `cancelled()` turned True.
        """

        def check() -> None:
            if cancelled():
                raise Cancelled

        self.prepare(inputs.request, inputs.trajectories)
        _check_inputs(inputs)
        _check_overlap(inputs)
        return _Job(inputs, report_progress, check).run()


def _check_overlap(inputs: EngineInputs) -> None:
    """Refuse a motion that is left to the model, which the draft has not, where it touches no subject."""
    meta, mask, trajectories = inputs.trajectories.meta, inputs.subject_mask, inputs.trajectories
    if meta.aligned or inputs.request.fit is not FitMode.NONE or mask is None:
        return
    is_subject = np.array([not segment.background for segment in meta.segments])[trajectories.seg_id]
    points = trajectories.positions[0, trajectories.visible[0] & is_subject, :2]  # (N, 2)
    x, y = np.floor(points @ inputs.fit[:, :2].T + inputs.fit[:, 2]).astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < meta.width) & (y < meta.height)
    if not mask[y[inside], x[inside]].any():
        raise EngineError(
            "The preview cannot carry the motion over by itself, and the rig is not on the photo's subject: "
            "let the motion be fitted, or use a diffusion engine.",
            ErrorCode.MASK,
        )


def _check_inputs(inputs: EngineInputs) -> None:
    meta = inputs.trajectories.meta
    size = (meta.height, meta.width)
    if inputs.photo.shape != (*size, 3) or inputs.photo.dtype != np.uint8:
        raise EngineError(
            f"The photo has shape {inputs.photo.shape}, but the shot is {meta.width}x{meta.height} px: "
            "crop it to the shot's size first."
        )
    for mask in (inputs.mask, inputs.subject_mask):
        if mask is not None and mask.shape != size:
            raise EngineError(
                f"The subject mask is {mask.shape[1]}x{mask.shape[0]} px, but the photo is "
                f"{meta.width}x{meta.height}: paint it at the photo's size."
            )
    if inputs.fit.shape != (2, 3) or not np.isfinite(inputs.fit).all():
        raise EngineError("The fit of the motion to the photo must be a 2x3 matrix of finite numbers.")
    if abs(np.linalg.det(inputs.fit[:, :2])) < 1e-9:
        raise EngineError(
            "The fit of the motion to the photo cannot be inverted: its scale must not be zero."
        )


def _unchanged(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Where two frames show the same, 0 to 1, (H, W, 1): elsewhere an old edge must not linger."""
    difference = np.abs(first.astype(np.float32) - second).max(axis=-1)
    return np.clip(1 - blur(difference, 1.5) / SAME_COLOR, 0, 1)[..., None]


class _Job:
    """One render: fit, bind, fill, frames."""

    def __init__(self, inputs: EngineInputs, report: ReportProgress, check: Callable[[], None]) -> None:
        self.inputs, self.report, self.check = inputs, report, check
        self.trajectories, self.photo = inputs.trajectories, inputs.photo
        self.height, self.width = inputs.photo.shape[:2]
        self.scale = max(MIN_SCALE, float(np.sqrt(self.width * self.height / REFERENCE_AREA)))
        self.rng = np.random.default_rng(inputs.request.seed)
        self.warnings: list[str] = []
        request = inputs.request
        if min(request.keep_points, request.keep_frames) < 1 or request.kept_frames is not None:
            self.warnings.append(
                "The preview follows every point on every frame: fewer points or frames only thin out the "
                "conditioning videos."
            )

    def run(self) -> EngineOutput:
        aligned = self.trajectories.meta.aligned
        self._phase("fitting", 0, 3)
        has_subject = any(not segment.background for segment in self.trajectories.meta.segments)
        tracks = subject_tracks(self.trajectories, self.rng)
        if tracks is None and has_subject:
            raise EngineError(
                "Every point of the subject passes behind the camera or far out of the picture: move the "
                "camera or shorten the range."
            )
        layers: tuple[Layer, ...] = ()
        mask = np.zeros((self.height, self.width), bool)
        rotations = np.zeros((self.trajectories.frame_count, 0, 3, 3), np.float32)
        if tracks is not None:
            if self.trajectories.meta.camera is None:
                self.warnings.append(
                    "The trajectories have no camera: a focal length was guessed, so turns may look flat "
                    "or bulged."
                )
            mask = self._subject_mask()
            self._phase("fitting", 1, 3)
            graph = affinity_graph(tracks)
            rotations = local_rotations(tracks, graph)
            self._phase("fitting", 2, 3)
            layers = self._layers(tracks, graph, mask, rotations)
        self._phase("background", 0, 1)
        hole = cv2.dilate(mask.astype(np.uint8), disc(max(4, round(HOLE_MARGIN * self.scale)))) > 0
        background = fill_background(self.photo, hole, FEATHER * self.scale, self.rng, self.check)
        homographies, lost = background_homographies(self.trajectories, self.inputs.fit)
        if lost:
            self.warnings.append(
                f"On {lost} frames too few background points were visible: the background stands still there."
            )
        frames = np.empty((self.trajectories.frame_count, *self.photo.shape), np.uint8)
        if tracks is None:
            for frame, homography in enumerate(homographies):
                self._phase("rendering", frame, len(frames))
                frames[frame] = warp_background(background, homography)
        else:
            stage = Stage(
                tracks, rotations, self.inputs.fit, layers, self.width, self.height, self.scale, aligned
            )
            self._draw(stage, background, homographies, frames)
        frames[0] = self.photo
        label = LABEL_ALIGNED if aligned else LABEL_UNALIGNED
        return EngineOutput(frames, label, tuple(self.warnings))

    def _phase(self, name: str, step: int, steps: int) -> None:
        self.check()
        self.report(Progress(name, step, steps))

    def _subject_mask(self) -> NDArray[np.bool_]:
        given = self.inputs.subject_mask if self.inputs.subject_mask is not None else self.inputs.mask
        if given is None:
            fit = fit_motion(self.trajectories, self.photo, None, self.inputs.request)
            self.warnings.extend(fit.warnings)
            given = fit.subject_mask
        if not given.any():
            raise EngineError("The subject mask is empty: paint the subject white.")
        return given

    def _layers(
        self,
        tracks: SubjectTracks,
        graph: AffinityGraph,
        mask: NDArray[np.bool_],
        rotations: NDArray[np.float32],
    ) -> tuple[Layer, ...]:
        aligned = self.trajectories.meta.aligned
        if not tracks.visible[0].any():
            raise EngineError(
                "No trajectory point is visible on the first frame: start the range where the camera sees "
                "the subject."
            )
        on_photo = apply_affine(self.inputs.fit, tracks.pixels[0, tracks.visible[0]].astype(np.float64))
        size = np.array([self.width, self.height])
        margin = 0.25 * size
        if not ((on_photo > -margin) & (on_photo < size + margin)).all(axis=1).any():
            raise EngineError(
                "The fitted motion lies outside the photo: check the fit, or choose the automatic fit."
            )
        rigid = rigid_groups(tracks, self.rng)
        if not aligned:
            bending = ~np.isin(tracks.group, sorted(rigid))
            rotations[:, bending] = limit_tilt(rotations[:, bending], MAX_TILT)
        layers = []
        for group, part in split_by_group(self.trajectories, mask, self.inputs.fit).items():
            self.check()
            if group not in tracks.groups:
                continue
            blockout = group in rigid
            style = BLOCKOUT if blockout else ALIGNED if aligned else UNALIGNED
            picture = cut_out(
                self.photo, part, group, self._reach(tracks, group), max(1, round(2 * self.scale))
            )
            shell = bind(
                tracks, picture, self.inputs.fit, style, max(3, round(6 * self.scale)), round(3 * self.scale)
            )
            if shell is None:
                continue
            filler = None
            if not blockout:
                filler = make_filler(tracks, graph, picture, self.photo, part, self.inputs.fit, self.scale)
            layers.append(Layer(set_in_motion(shell, tracks, rotations), filler))
        if not layers:
            raise EngineError(
                "No trajectory point lies near the subject mask: check the mask, or choose the automatic fit."
            )
        return tuple(layers)

    def _reach(self, tracks: SubjectTracks, group: int) -> int:
        """How far a subject that the frame cuts is continued: as far as its points move, within bounds."""
        members = tracks.group == group
        scale = float(np.sqrt(abs(np.linalg.det(self.inputs.fit[:, :2]))))
        moved = tracks.pixels[:, members] - tracks.pixels[0, members]
        distance = float(np.percentile(np.abs(moved).max(axis=2).max(axis=0), 75)) * scale
        side = max(self.width, self.height)
        return round(np.clip(distance, MIN_REACH * side, MAX_REACH * side))

    def _draw(
        self,
        stage: Stage,
        background: NDArray[np.uint8],
        homographies: NDArray[np.float64],
        frames: NDArray[np.uint8],
    ) -> None:
        """Draw all frames; what the draft of frame 0 lacks against the photo fades out over the next."""
        start = composite(stage, background, 0)
        missing = self.photo.astype(np.float32) - start

        def draw(frame: int) -> None:
            drawn = composite(stage, warp_background(background, homographies[frame]), frame)
            if frame < BLEND_FRAMES:
                share = (1 - frame / BLEND_FRAMES) * _unchanged(start, drawn)
                drawn = np.clip(drawn + share * missing + 0.5, 0, 255).astype(np.uint8)
            frames[frame] = drawn

        # Frames do not depend on each other, so the number of threads changes nothing but the time.
        pool = ThreadPoolExecutor(max_workers=min(MAX_THREADS, os.cpu_count() or 1))
        try:
            waiting = [pool.submit(draw, frame) for frame in range(1, len(frames))]
            for frame, future in enumerate(waiting, start=1):
                self._phase("rendering", frame, len(frames))
                future.result()
        finally:
            pool.shutdown(cancel_futures=True)
        self._phase("rendering", len(frames), len(frames))
