"""Drawing what a training sample asks of the model, and making the sample from what was drawn.

The two are separate, so that a recorded choice can be replayed: `draw_choices` alone uses chance, and
`apply_choices` is a pure function of clip and choices.
"""

from __future__ import annotations

import math

import numpy as np

from blender_addon.core.conditioning import ColorCue, Coverage
from blender_addon.core.errors import ErrorCode, FlexTrajError
from flextraj_backend.conditioning.unaligned import ScaleAxis
from flextraj_backend.engines.base import ConditioningVideos
from flextraj_backend.models.prompts import Alignment, control_prompt
from flextraj_backend.synthesis.clip import SyntheticClip
from flextraj_backend.training.clip_conditioning import condition_clip
from flextraj_backend.training.kept_points import subject_points, thin_frames
from flextraj_backend.training.misaligned import raster_scale, subject_area
from flextraj_backend.training.tasks import BackgroundPoints, ControlTask, IdAblation, TaskMixture
from flextraj_backend.training.training_sample import (
    Misalignment,
    OtherCharacter,
    RandomPoints,
    RegionPoints,
    SampleChoices,
    SidewaysShift,
    SubjectScaling,
    Thinning,
    TrainingSample,
)

_SEEDS = 1 << 31


def draw_choices(rng: np.random.Generator, mixture: TaskMixture, clip: SyntheticClip) -> SampleChoices:
    """Draw task, points, frames, colour and misalignment of a sample.

    A clip without other characters shows its own tracks shifted where another character's were asked for.
    """
    task = mixture.draw_task(rng)
    if task is ControlTask.UNALIGNED_CHARACTER and not clip.others:
        task = ControlTask.UNALIGNED_SHIFT
    coverage = mixture.draw_coverage(rng)
    dropped = rng.random() < mixture.drop_probability(task)
    background = mixture.draw_background(rng)
    if task.is_unaligned and background is BackgroundPoints.ALL:
        background = BackgroundPoints.FEW
    fraction = float(rng.choice(mixture.frame_fractions))
    of_photo = mixture.photo_colors > 0 and rng.random() < mixture.photo_colors
    color_cue = ColorCue.PHOTO_COLORS if of_photo else ColorCue.TRAJECTORY_COLORS
    return SampleChoices(
        task=task,
        coverage=Coverage.STAMPS if task.thins_points else coverage,
        color_cue=ColorCue.OFF if dropped else color_cue,
        background=background,
        seed=int(rng.integers(_SEEDS)),
        thinning=_draw_thinning(rng, mixture, clip) if task.thins_points else None,
        frames=thin_frames(clip.trajectories.frame_count, fraction, rng, mixture.random_frames)
        if task.thins_frames
        else None,
        misalignment=_draw_misalignment(rng, mixture, clip, task) if task.is_unaligned else None,
    )


def apply_choices(
    clip: SyntheticClip, choices: SampleChoices, ablation: IdAblation = IdAblation.NONE
) -> TrainingSample:
    """Make the sample that the choices describe: the same arguments give the same arrays.

    The video is always the clip's own.

    Raises:
        FlexTrajError: the choices were made for another clip.
    """
    _check_fits(clip, choices)
    alignment = Alignment.UNALIGNED if choices.task.is_unaligned else Alignment.ALIGNED
    return TrainingSample(
        key=clip.key,
        video=clip.frames,
        conditioning=ablate(condition_clip(clip, choices), ablation),
        prompt=control_prompt(clip.prompt, alignment),
        choices=choices,
    )


def ablate(videos: ConditioningVideos, ablation: IdAblation) -> ConditioningVideos:
    """Leave a part of the representation out. Painted pixels stay painted."""
    ids, color = videos.ids, videos.color
    if ablation is IdAblation.NO_COLOR:
        return ConditioningVideos(ids, np.zeros_like(color))
    if ablation is IdAblation.NO_TRAJ_ID:
        ids = ids.copy()
        ids[..., 1:] = 0
    elif ablation is IdAblation.NO_SEG_ID:
        ids = ids.copy()
        # Red is above 0 on every painted pixel (conventions 1.3).
        ids[..., 0] = np.where(ids[..., 0] > 0, 255, 0)
    return ConditioningVideos(ids, color)


def _draw_thinning(rng: np.random.Generator, mixture: TaskMixture, clip: SyntheticClip) -> Thinning:
    if rng.random() < mixture.region:
        return RegionPoints(float(rng.choice(mixture.region_fractions)))
    floor = min(1.0, mixture.min_points / clip.trajectories.point_count)
    low, high = (max(floor, end) for end in mixture.random_fraction)
    return RandomPoints(min(1.0, 10 ** float(rng.uniform(math.log10(low), math.log10(high)))))


def _draw_misalignment(
    rng: np.random.Generator, mixture: TaskMixture, clip: SyntheticClip, task: ControlTask
) -> Misalignment:
    scale = raster_scale(clip.trajectories.meta)
    if task is ControlTask.UNALIGNED_CHARACTER:
        low, high = np.log(mixture.other_scale)
        reach = mixture.other_shift * scale
        return OtherCharacter(
            index=int(rng.integers(len(clip.others))),
            scale=float(np.exp(rng.uniform(low, high))),
            dx=float(rng.uniform(-reach, reach)),
            dy=float(rng.uniform(-reach, reach)),
        )
    small = subject_area(clip.trajectories) <= mixture.large_subject
    seen = np.flatnonzero(subject_points(clip.trajectories) & clip.trajectories.visible[0])
    if (small and rng.random() >= mixture.scale_small) or seen.size == 0:
        low, high = mixture.shift_pixels
        distance = max(1, round(float(rng.uniform(low, high)) * scale))
        return SidewaysShift(distance * int(rng.choice((-1, 1))))
    axis = list(ScaleAxis)[int(rng.integers(len(ScaleAxis)))]
    factor_x, factor_y = axis.factors(_draw_factor(rng, mixture))
    return SubjectScaling(int(rng.choice(seen)), factor_x, factor_y)


def _draw_factor(rng: np.random.Generator, mixture: TaskMixture) -> float:
    """A uniform factor from the range, without the part of it around 1."""
    low, high = mixture.scale_range
    below = max(0.0, min(high, 1 - mixture.min_scale_change) - low)
    above = max(0.0, high - max(low, 1 + mixture.min_scale_change))
    place = float(rng.uniform(0, below + above))
    return low + place if place < below else high - (below + above - place)


def _check_fits(clip: SyntheticClip, choices: SampleChoices) -> None:
    trajectories, change = clip.trajectories, choices.misalignment
    wrong_other = isinstance(change, OtherCharacter) and not 0 <= change.index < len(clip.others)
    wrong_point = isinstance(change, SubjectScaling) and not 0 <= change.reference < trajectories.point_count
    wrong_frame = choices.frames is not None and not all(
        0 <= frame < trajectories.frame_count for frame in choices.frames
    )
    if wrong_other or wrong_point or wrong_frame or choices.frames == ():
        raise FlexTrajError(
            f"The recorded choices do not fit the clip '{clip.key}': replay them on the clip that they were "
            "drawn for.",
            ErrorCode.REQUEST,
        )
