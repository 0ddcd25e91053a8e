"""From the panel's settings to the frozen messages of sampling and rendering, checked for the user."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from ..blender_types import Context
from ..client.estimates import EstimateQuestion
from ..client.job_reports import NOT_UPLOADED, RenderOrder
from ..client.messages import EngineInfo
from ..core.conditioning import ColorCue, ConditioningSettings, Coverage
from ..core.errors import ErrorCode, FlexTrajError
from ..core.frame_choice import FrameKeeping
from ..core.request import RenderRequest
from ..core.sample_settings import SampleMode, SampleSettings, SegmentBy, SubjectDensity
from ..core.trajectories import TrajectorySet
from .chosen_subjects import chosen_rows, find_subjects
from .kept_frames import RecentFrameKeeping, read_frame_keeping
from .model_settings import read_model_options
from .photo_files import image_path
from .placement import requested_fit

if TYPE_CHECKING:
    from ..properties import FlexTrajSettings

DRAFT_SIZE = (720, 480)


@dataclass(frozen=True)
class ShotPlan:
    """Everything of one Generate, read from the scene before sampling starts."""

    sample: SampleSettings
    title: str
    photo: Path
    mask: Path | None
    request: RenderRequest
    keeping: FrameKeeping

    def order(self, trajectories: TrajectorySet, output_folder: Path) -> RenderOrder:
        """Turn the sampled set into a render job with a folder of its own below `output_folder`."""
        key = uuid4().hex
        slug = re.sub(r"[^\w-]+", "-", self.title).strip("-")[:40] or "shot"
        frames = trajectories.meta.source_frames
        return RenderOrder(
            key=key,
            title=self.title,
            photo=self.photo,
            mask=self.mask,
            folder=output_folder / f"{time.strftime('%Y%m%d-%H%M%S')}_{slug}_{key[:6]}",
            request=replace(self.request, kept_frames=self.keeping.indices(frames)),
            first_frame=frames[0],
            last_frame=frames[-1],
            created=time.time(),
        )


def first_problem(
    context: Context, settings: FlexTrajSettings, engine: EngineInfo | None = None
) -> FlexTrajError | None:
    """What keeps a shot from being generated, cheap enough to be asked at every redraw.

    Args:
        engine: what the backend said about the chosen engine, None as long as it has not.
    """
    problem = sampling_problem(context, settings)
    if problem is not None:
        return problem
    if not settings.photo:
        return FlexTrajError("No photo is chosen: choose one under Photo.", ErrorCode.NO_PHOTO)
    return None if engine is None else engine.refusal(settings.frames, *chosen_size(context, settings))


def sampling_problem(context: Context, settings: FlexTrajSettings) -> FlexTrajError | None:
    """What keeps a shot from being sampled, with or without a photo."""
    if not find_subjects(context, settings):
        sentence = {
            "CHARACTER": "No character is chosen: pick its armature or mesh under Subjects.",
            "SELECTION": "Nothing usable is selected: select the character or the objects to follow.",
            "LIST": "The list has no subject that is included: add the selected objects to it.",
        }[settings.source]
        return FlexTrajError(sentence, ErrorCode.NO_SUBJECT)
    if context.scene.camera is None:
        return FlexTrajError(
            "The scene has no camera: add one and make it the scene's camera.", ErrorCode.NO_CAMERA
        )
    if settings.frame_range == "CUSTOM" and settings.last_frame <= settings.first_frame:
        return FlexTrajError(
            "The last frame must come after the first one: correct the range.", ErrorCode.FRAME_RANGE
        )
    return None


def chosen_size(context: Context, settings: FlexTrajSettings) -> tuple[int, int]:
    """Width and height of the video in pixels."""
    render = context.scene.render
    return {
        "DRAFT": DRAFT_SIZE,
        "SCENE": (
            render.resolution_x * render.resolution_percentage // 100,
            render.resolution_y * render.resolution_percentage // 100,
        ),
        "CUSTOM": (settings.width, settings.height),
    }[settings.size]


def plan_shot(context: Context, settings: FlexTrajSettings, engine: EngineInfo | None = None) -> ShotPlan:
    """Read and check the settings. Raises FlexTrajError with the sentence for the user."""
    problem = first_problem(context, settings, engine)
    if problem is not None:
        raise problem
    photo = image_path(settings.photo, "photo", ErrorCode.NO_PHOTO)
    mask = image_path(settings.mask, "mask", ErrorCode.MASK) if settings.mask else None
    sample = read_sample_settings(context, settings)
    placed = requested_fit(context, settings, sample, chosen_size(context, settings))
    names = sample.objects
    title = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
    keeping = read_frame_keeping(context, settings)
    request = replace(
        _request(settings, keeping),
        mask=None if mask is None else NOT_UPLOADED,
        fit=placed.fit,
        fit_matrix=placed.fit_matrix,
        mirror=placed.mirror,
        pins=placed.pins,
        title=title,
    )
    return ShotPlan(sample, title, photo, mask, request, keeping)


def estimate_question(context: Context, settings: FlexTrajSettings) -> EstimateQuestion:
    """The job as far as its time and memory depend on it. Raises RequestError.

    Keyframes are not looked up: which frames keep points costs nothing.
    """
    width, height = chosen_size(context, settings)
    request = _request(settings, FrameKeeping(share=settings.keep_frames))
    return EstimateQuestion(request, settings.frames, width, height, settings.aligned)


def _request(settings: FlexTrajSettings, keeping: FrameKeeping) -> RenderRequest:
    """What the panel says about rendering, without the photo and the place on it."""
    return RenderRequest(
        trajectories=NOT_UPLOADED,
        image=NOT_UPLOADED,
        engine=settings.engine,
        prompt=settings.prompt,
        negative_prompt=settings.negative_prompt,
        seed=settings.seed,
        steps=settings.steps or None,
        guidance_scale=settings.guidance or None,
        keep_points=settings.keep_points,
        keep_frames=keeping.fraction,
        surface=settings.surface,
        color_cue=settings.color_cue,
        photo_colors=settings.color_cue and settings.photo_colors,
        model=read_model_options(settings),
    )


def read_sample_settings(context: Context, settings: FlexTrajSettings) -> SampleSettings:
    """What is sampled, from the panel's settings."""
    scene = context.scene
    names = tuple(dict.fromkeys(ob.name for ob in find_subjects(context, settings)))
    first, last = {
        "ANIMATION": (None, None),
        "SCENE": (scene.frame_start, scene.frame_end),
        "CUSTOM": (settings.first_frame, settings.last_frame),
    }[settings.frame_range]
    width, height = (None, None) if settings.size == "SCENE" else chosen_size(context, settings)
    rows = chosen_rows(context, settings)
    background = tuple(dict.fromkeys(row.object.name for row in rows if row.background))
    densities = tuple(
        SubjectDensity(row.object.name, row.points or None, row.vertex_group)
        for row in rows
        if row.points or row.vertex_group
    )
    return SampleSettings(
        objects=names,
        background=background,
        segment_by=SegmentBy(settings.segment_by),
        points=settings.points,
        densities=densities,
        mode=SampleMode(settings.mode),
        first_frame=first,
        last_frame=last,
        model_frames=settings.frames,
        model_fps=settings.frame_rate or None,
        width=width,
        height=height,
        seed=settings.seed,
        aligned=settings.aligned,
    )


_recent_keeping = RecentFrameKeeping()


def conditioning_settings(
    context: Context, settings: FlexTrajSettings, source_frames: tuple[float, ...]
) -> ConditioningSettings:
    """How the conditioning videos are made, from the panel's settings; cheap enough for every redraw.

    Args:
        source_frames: scene frames of the sampled shot.
    """
    keeping = _recent_keeping.of(context, settings)
    return ConditioningSettings(
        keep_points=settings.keep_points,
        keep_frames=keeping.fraction,
        frames=keeping.indices(source_frames),
        seed=settings.seed,
        coverage=Coverage.SURFACE if settings.surface else Coverage.STAMPS,
        color_cue=ColorCue.TRAJECTORY_COLORS if settings.color_cue else ColorCue.OFF,
    )
