"""From the panel's settings to the frozen messages of sampling and rendering, checked for the user."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import bpy

from ..blender_types import Context
from ..client.job_reports import NOT_UPLOADED, RenderOrder
from ..client.messages import EngineInfo
from ..core.conditioning import ColorCue, ConditioningSettings
from ..core.errors import ErrorCode, FlexTrajError
from ..core.model_options import MemoryMode, ModelOptions
from ..core.request import RenderRequest
from ..core.sample_settings import SampleMode, SampleSettings, SegmentBy
from ..core.trajectories import TrajectorySet
from .photo_files import image_path
from .placement import requested_fit
from .seg_ids import SURFACE_TYPES

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
            request=self.request,
            first_frame=frames[0],
            last_frame=frames[-1],
            created=time.time(),
        )


def can_be_subject(candidate: bpy.types.Object) -> bool:
    """Whether an object has a surface of its own or stands for others that have."""
    if candidate.type == "EMPTY":
        return candidate.instance_type != "NONE"
    return candidate.type == "ARMATURE" or candidate.type in SURFACE_TYPES


def find_subjects(context: Context, settings: FlexTrajSettings) -> list[bpy.types.Object]:
    """The chosen objects that exist in the scene; empty where nothing usable is chosen."""
    chosen: list[bpy.types.Object | None]
    if settings.source == "CHARACTER":
        chosen = [settings.character]
    elif settings.source == "SELECTION":
        chosen = list(context.selected_objects)
    else:
        chosen = [item.object for item in settings.subjects]
    names = context.scene.objects
    # A deleted object stays in the file as long as the panel refers to it, so ask the scene.
    return [ob for ob in chosen if ob is not None and can_be_subject(ob) and names.get(ob.name) == ob]


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
            "LIST": "The list of subjects is empty: add the selected objects to it.",
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
    request = RenderRequest(
        trajectories=NOT_UPLOADED,
        image=NOT_UPLOADED,
        mask=None if mask is None else NOT_UPLOADED,
        engine=settings.engine,
        prompt=settings.prompt,
        seed=settings.seed,
        fit=placed.fit,
        fit_matrix=placed.fit_matrix,
        mirror=placed.mirror,
        pins=placed.pins,
        keep_points=settings.keep_points,
        keep_frames=settings.keep_frames,
        color_cue=settings.color_cue,
        model=ModelOptions(memory=MemoryMode(settings.memory)),
        title=title,
    )
    return ShotPlan(sample, title, photo, mask, request)


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
    background = tuple(
        item.object.name
        for item in settings.subjects
        # The list may still hold an object that was deleted from the scene.
        if settings.source == "LIST"
        and item.background
        and item.object is not None
        and item.object.name in names
    )
    return SampleSettings(
        objects=names,
        background=background,
        segment_by=SegmentBy(settings.segment_by),
        points=settings.points,
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


def conditioning_settings(settings: FlexTrajSettings) -> ConditioningSettings:
    """How the conditioning videos are made, from the panel's settings."""
    return ConditioningSettings(
        keep_points=settings.keep_points,
        keep_frames=settings.keep_frames,
        seed=settings.seed,
        color_cue=ColorCue.TRAJECTORY_COLORS if settings.color_cue else ColorCue.OFF,
    )
