"""The two conditioning videos of a clip for what was drawn.

Subjects and background are painted apart where the subjects' whole surface is shown: the background's points
are stamps below them, as in the authors' rendered clips (conventions 1.10).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from blender_addon.core.conditioning import (
    FEW_POINTS,
    SPARSE_FRACTION,
    ColorCue,
    ConditioningSettings,
    Coverage,
    StampRule,
)
from blender_addon.core.sparsity import random_points
from blender_addon.core.stamping import FrameCover
from blender_addon.core.trajectories import TrajectorySet
from flextraj_backend.conditioning.color_cue import REAL_RED_THRESHOLD, copy_painted_pixels
from flextraj_backend.conditioning.masks import inside_dilated
from flextraj_backend.conditioning.photo_colors import with_photo_colors
from flextraj_backend.conditioning.render import paint_frames, render_conditioning
from flextraj_backend.conditioning.synthetic import FOREGROUND_BOX
from flextraj_backend.conditioning.unaligned import ForegroundScaling, HorizontalShift, draw_background
from flextraj_backend.engines.base import ConditioningVideos
from flextraj_backend.synthesis.clip import SyntheticClip
from flextraj_backend.training.kept_points import keep_background, subject_points, thin_points
from flextraj_backend.training.masked_surface import MaskedSurface
from flextraj_backend.training.misaligned import (
    other_character_fit,
    raster_scale,
    scale_videos,
    shift_videos,
    subject_mask,
)
from flextraj_backend.training.tasks import BackgroundPoints
from flextraj_backend.training.training_sample import (
    OtherCharacter,
    SampleChoices,
    SidewaysShift,
    SubjectScaling,
)

_OTHER_BACKGROUND = 0.01
"""Share of the background's points beside another character (conventions 1.10)."""


def condition_clip(clip: SyntheticClip, choices: SampleChoices) -> ConditioningVideos:
    """Paint ID video and colour video; equal arguments give equal videos."""
    rng = np.random.default_rng(choices.seed)
    if isinstance(choices.misalignment, OtherCharacter):
        return _other_character(clip, choices, choices.misalignment, rng)
    if choices.color_cue is ColorCue.PHOTO_COLORS:
        clip = replace(clip, trajectories=with_photo_colors(clip.trajectories, clip.frames[0]))
    videos = _own_tracks(clip, choices, rng)
    if choices.color_cue is not ColorCue.OFF and clip.trajectories.color is None:
        # A set without colours, such as tracks of real video, takes those of the picture.
        return replace(videos, color=copy_painted_pixels(clip.frames, videos.ids, REAL_RED_THRESHOLD))
    return videos


def _own_tracks(clip: SyntheticClip, choices: SampleChoices, rng: np.random.Generator) -> ConditioningVideos:
    trajectories, change = clip.trajectories, choices.misalignment
    subjects = subject_points(trajectories)
    background, keep = _kept(trajectories, choices, rng)
    if isinstance(change, SidewaysShift):
        rule = HorizontalShift(float(change.dx))
    elif isinstance(change, SubjectScaling):
        factors = (change.factor_x, change.factor_y)
        rule = ForegroundScaling(subjects, change.reference, factors, np.flatnonzero(background))
    else:
        rule = None
    if choices.coverage is Coverage.STAMPS:
        return _stamped(trajectories, keep, choices, rule)
    surface = _painted(trajectories, choices, MaskedSurface(trajectories, clip.segments).frame)
    if isinstance(change, SidewaysShift):
        surface = shift_videos(surface, change.dx)
    elif isinstance(change, SubjectScaling):
        surface = scale_videos(surface, change, trajectories.positions[:, change.reference, :2])
    return _over(surface, _stamped(trajectories, background, choices, rule))


def kept_samples(trajectories: TrajectorySet, choices: SampleChoices) -> NDArray[np.bool_]:
    """Which samples (T, N) of its own tracks a clip's aligned conditioning videos show, visible or not."""
    _, keep = _kept(trajectories, choices, np.random.default_rng(choices.seed))
    kept = np.zeros(trajectories.visible.shape, bool)
    kept[slice(None) if choices.frames is None else list(choices.frames)] = keep
    return kept


def _kept(
    trajectories: TrajectorySet, choices: SampleChoices, rng: np.random.Generator
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Background points, and points of all segments, that stay; (N,) each."""
    background = _own_background(trajectories, choices, rng)
    keep = subject_points(trajectories) | background
    if choices.thinning is not None:
        keep = thin_points(trajectories, keep, choices.thinning, rng)
    return background, keep


def _own_background(
    trajectories: TrajectorySet, choices: SampleChoices, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Background points (N,) that stay: beside scaled subjects 5 % of them (conventions 1.9)."""
    if not isinstance(choices.misalignment, SubjectScaling):
        return keep_background(trajectories, choices.background, rng)
    keep = np.zeros(trajectories.point_count, bool)
    if choices.background is not BackgroundPoints.NONE:
        keep[draw_background(subject_points(trajectories), rng)] = True
    return keep


def _other_character(
    clip: SyntheticClip, choices: SampleChoices, change: OtherCharacter, rng: np.random.Generator
) -> ConditioningVideos:
    own, other = clip.trajectories, clip.others[change.index]
    fit = other_character_fit(own, other, change)
    subjects = subject_points(other)
    shown = replace(other, visible=other.visible & subjects)
    actor = render_conditioning(shown, _settings(shown, subjects, choices), fit)
    if choices.background is BackgroundPoints.NONE:
        return actor
    outside = np.flatnonzero(~subject_points(own) & ~_under_either(own, actor))
    background = np.zeros(own.point_count, bool)
    if outside.size:
        background[outside] = random_points(outside.size, _OTHER_BACKGROUND, rng)
    return _over(actor, _stamped(own, background, choices, None))


def _under_either(own: TrajectorySet, actor: ConditioningVideos) -> NDArray[np.bool_]:
    """Points of the clip that start on or near its own subjects or the other character, (N,) bool."""
    both = subject_mask(own) | (actor.ids[0, ..., 0] > 0)
    return inside_dilated(own.positions[0], both, max(1, round(FOREGROUND_BOX * raster_scale(own.meta))))


def _stamped(
    trajectories: TrajectorySet,
    keep: NDArray[np.bool_],
    choices: SampleChoices,
    rule: HorizontalShift | ForegroundScaling | None,
) -> ConditioningVideos:
    """Stamps of the points `keep` (N,), put out of line by the rule."""
    positions, visible = trajectories.positions, trajectories.visible & keep
    if rule is not None:
        positions, visible = rule.apply(positions, visible)
    thinned = replace(trajectories, positions=positions, visible=visible)
    settings = _settings(trajectories, keep, replace(choices, coverage=Coverage.STAMPS))
    return render_conditioning(thinned, settings)


def _painted(
    trajectories: TrajectorySet, choices: SampleChoices, cover: Callable[[int], FrameCover]
) -> ConditioningVideos:
    everything = np.ones(trajectories.point_count, bool)
    return paint_frames(trajectories, _settings(trajectories, everything, choices), cover)


def _settings(
    trajectories: TrajectorySet, keep: NDArray[np.bool_], choices: SampleChoices
) -> ConditioningSettings:
    """How the points `keep` (N,) are painted; which they are is already in the set's visibility."""
    few = keep.mean() < SPARSE_FRACTION or trajectories.point_count < FEW_POINTS
    return ConditioningSettings(
        frames=choices.frames,
        coverage=choices.coverage,
        color_cue=choices.color_cue,
        stamp_rule=StampRule.SYNTHETIC if few else StampRule.REAL_VIDEO,
    )


def _over(top: ConditioningVideos, bottom: ConditioningVideos) -> ConditioningVideos:
    """The upper videos where they are painted, the lower ones elsewhere."""
    painted = top.ids[..., :1] > 0  # (T, H, W, 1)
    return ConditioningVideos(
        ids=np.where(painted, top.ids, bottom.ids), color=np.where(painted, top.color, bottom.color)
    )
