"""`flextraj study --check mini`: does the mini move what it is told to move, on scenes it never saw?"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blender_addon.core.errors import ErrorCode, FlexTrajError
from blender_addon.core.model_options import ModelOptions
from blender_addon.core.request import FitMode, RenderRequest
from blender_addon.core.trajectories import TrajectorySet
from flextraj_backend.atomic_file import write_text
from flextraj_backend.conditioning.render import render_conditioning
from flextraj_backend.conditioning.requested import colored_as_requested, conditioning_settings
from flextraj_backend.demo.contact_sheet import Picture, SheetRow, build_sheet
from flextraj_backend.engines.base import Engine, EngineInputs
from flextraj_backend.engines.mini.weights import installed_mini
from flextraj_backend.engines.registry import engine
from flextraj_backend.evaluation.report import evaluate_clip
from flextraj_backend.image_io import write_image
from flextraj_backend.json_values import plain
from flextraj_backend.study.sheets import strip
from flextraj_backend.study.study_clips import mini_of_raster
from flextraj_backend.study.trackable import trackable_samples
from flextraj_backend.synthesis.clip import SyntheticClip
from flextraj_backend.synthesis.clip_maker import BLENDER_MAKER, load_maker
from flextraj_backend.synthesis.plan import SynthesisSettings, plan_clip
from flextraj_backend.training.kept_points import subject_points
from flextraj_backend.training.misaligned import other_character_fit
from flextraj_backend.training.training_sample import OtherCharacter

CLIPS = 12
_UNSEEN = 2_000_003
"""Added to the seed: never a data set's own."""
_ANY_ASSET = "0" * 64
_SHEET_CLIPS = 6

Frames = NDArray[np.uint8]
OnClip = Callable[[int, int], None]
"""Called with the number of clips measured and their total."""


@dataclass(frozen=True)
class ClipCheck:
    """One held-out clip: TrajErr-LK of the subjects, and TrajSIM-LK to another character's motion.

    Attributes:
        mini_traj_err: with the clip's trajectories.
        base_traj_err: of the same model without control.
        exact_traj_err: of the clip itself: the tracker's own error.
        still_traj_err: of the repeated photo: how much was to be moved.
        mini_trackable, base_trackable, exact_trackable, still_trackable: the same over the samples that the
            tracker can follow in the exact video.
        trackable_share: of the samples of visible subject points.
        mini_traj_sim: with another character's trajectories, to these; None without another character.
        base_traj_sim: of the same model without control, to the same.
    """

    clip: str
    performers: str
    mini_traj_err: float
    base_traj_err: float
    exact_traj_err: float
    still_traj_err: float
    mini_trackable: float
    base_trackable: float
    exact_trackable: float
    still_trackable: float
    trackable_share: float
    mini_traj_sim: float | None
    base_traj_sim: float | None


@dataclass(frozen=True, eq=False)
class CheckedClip:
    """The figures and the videos that they are of."""

    clip: SyntheticClip
    figures: ClipCheck
    aligned: Frames
    alone: Frames
    unaligned: Frames | None
    ids: Frames
    unaligned_ids: Frames | None


@dataclass(frozen=True, eq=False)
class MiniCheck:
    """The result of the check."""

    seed: int
    steps: int | None
    clips: tuple[CheckedClip, ...]

    def to_json(self) -> dict[str, Any]:
        """Means over the clips, their ratio, and every clip."""
        means = {
            item.name: _mean([getattr(checked.figures, item.name) for checked in self.clips])
            for item in fields(ClipCheck)
            if item.name not in ("clip", "performers")
        }
        return {
            "base_traj_err": means.pop("base_traj_err"),
            "mini_traj_err": means.pop("mini_traj_err"),
            "mini_traj_sim": means.pop("mini_traj_sim"),
            "clips": len(self.clips),
            "ratio": self.ratio("base_traj_err", "mini_traj_err"),
            "ratio_trackable": self.ratio("base_trackable", "mini_trackable"),
            **means,
            "seed": self.seed,
            "steps": self.steps,
            "per_clip": [plain(asdict(checked.figures)) for checked in self.clips],
        }

    def ratio(self, upper: str, lower: str) -> float | None:
        """The ratio of two means over the clips."""
        above, below = (
            _mean([getattr(checked.figures, name) for checked in self.clips]) for name in (upper, lower)
        )
        return above / below if above is not None and below else None


def check_mini(
    seed: int, clips: int, steps: int | None, on_clip: OnClip, maker: str = BLENDER_MAKER
) -> MiniCheck:
    """Make held-out clips and measure the mini engine on them.

    Args:
        seed: of characters, scenes and noise; same seed, same figures.
        steps: denoising steps; None for the engine's own.
        maker: 'module:Class' of the ClipMaker.

    Raises:
        FlexTrajError: the mini's weights are missing, or no clip can be made here.
    """
    mini = engine("mini")
    available = mini.availability()
    if not available.available:
        raise FlexTrajError(available.reason, available.code)
    settings = held_out_settings(seed)
    clip_maker = load_maker(maker, settings)
    checked = []
    for index in range(clips):
        on_clip(index, clips)
        clip = clip_maker.make(plan_clip(settings, index))
        checked.append(_checked(mini, clip, seed + index, steps))
    on_clip(clips, clips)
    return MiniCheck(seed, steps, tuple(checked))


def held_out_settings(seed: int) -> SynthesisSettings:
    """Clips like those the installed mini learned from, of other characters, scenes and motions."""
    size = installed_mini().sizes.fixed_size
    if size is None:
        raise FlexTrajError("The mini model does not say its size: make it again.", ErrorCode.WEIGHTS)
    height, width = size
    settings = mini_of_raster(height, width).clips
    scene = replace(settings.scene, width=width, height=height, character_seed=_UNSEEN + seed)
    return replace(settings, seed=_UNSEEN + seed, scene=scene, pair_size=1, others=1)


def write_check(check: MiniCheck, json_path: Path, sheet_path: Path) -> None:
    """Write the figures and the contact sheet. Raises FlexTrajError where they cannot be written."""
    write_text(json_path, json.dumps(check.to_json(), indent=2, allow_nan=False) + "\n")
    write_image(sheet_path, draw_sheet(check))


def draw_sheet(check: MiniCheck) -> Picture:
    """Frames of the first clips: as asked for, the control, with it, without it."""
    rows = []
    for checked in check.clips[:_SHEET_CLIPS]:
        one = checked.figures
        errors = f"TrajErr {one.mini_traj_err:.3f}, without control {one.base_traj_err:.3f}"
        label = f"{one.clip} · {one.performers} · {errors}"
        streams = (checked.clip.frames, checked.ids, checked.aligned, checked.alone)
        rows.append(SheetRow(label, *strip(streams)))
        if checked.unaligned is not None and checked.unaligned_ids is not None:
            similar = "not measurable" if one.mini_traj_sim is None else f"{one.mini_traj_sim:.2f}"
            text = f"{one.clip} · by another character's trajectories · TrajSIM {similar}"
            rows.append(SheetRow(text, *strip((checked.unaligned_ids, checked.unaligned))))
    values = check.to_json()
    title = f"Mini on {values['clips']} unseen scenes, seed {check.seed}"
    subtitle = (
        "From top to bottom: the clip, its ID video, the mini, the mini without control; then another "
        "character's ID video and the mini."
    )
    return build_sheet(title, subtitle, rows)


def _checked(mini: Engine, clip: SyntheticClip, seed: int, steps: int | None) -> CheckedClip:
    own = clip.trajectories
    identity = np.eye(2, 3)
    aligned = _inputs(clip, own, identity, seed, steps, strength=1.0)
    video = _render(mini, aligned)
    alone = _render(mini, _inputs(clip, own, identity, seed, steps, strength=0.0))
    unaligned = None
    if clip.others:
        fit = other_character_fit(own, clip.others[0], OtherCharacter(0, 1.0, 0.0, 0.0))
        unaligned = _inputs(clip, clip.others[0], fit, seed, steps, strength=1.0)
    by_other = None if unaligned is None else _render(mini, unaligned)
    still = np.repeat(clip.frames[:1], len(clip.frames), axis=0)
    trackable = trackable_samples(clip)
    errors = {
        name: _errors(frames, clip, trackable)
        for name, frames in (("mini", video), ("base", alone), ("exact", clip.frames), ("still", still))
    }
    visible = clip.trajectories.visible & subject_points(clip.trajectories)
    figures = ClipCheck(
        clip=clip.key,
        performers=", ".join(f"{one.description}: {one.action}" for one in clip.record.performers),
        **{f"{name}_traj_err": error for name, (error, _) in errors.items()},
        **{f"{name}_trackable": error for name, (_, error) in errors.items()},
        trackable_share=float(trackable[1:].sum() / max(visible[1:].sum(), 1)),
        mini_traj_sim=None if by_other is None else _traj_sim(by_other, clip),
        base_traj_sim=None if by_other is None else _traj_sim(alone, clip),
    )
    other_ids = None if unaligned is None else unaligned.conditioning.ids
    return CheckedClip(clip, figures, video, alone, by_other, aligned.conditioning.ids, other_ids)


def _inputs(
    clip: SyntheticClip,
    trajectories: TrajectorySet,
    fit: NDArray[np.float64],
    seed: int,
    steps: int | None,
    *,
    strength: float,
) -> EngineInputs:
    """A job as the server hands it over: dense, in the photo's colours where the trajectories are aligned.

    As in most shots made in Blender, only the subjects carry points.
    """
    is_own = trajectories is clip.trajectories
    request = RenderRequest(
        trajectories=_ANY_ASSET,
        image=_ANY_ASSET,
        engine="mini",
        prompt=clip.prompt,
        seed=seed,
        steps=steps,
        fit=FitMode.NONE if is_own else FitMode.GIVEN,
        fit_matrix=None if is_own else tuple(fit.ravel().tolist()),
        surface=True,
        color_cue=is_own,
        photo_colors=is_own,
        model=ModelOptions(strength=strength),
    )
    subjects = trajectories.select_points(np.flatnonzero(subject_points(trajectories)))
    shown = replace(subjects, meta=replace(trajectories.meta, aligned=is_own))
    shown = colored_as_requested(request, shown, clip.frames[0], fit)
    conditioning = render_conditioning(shown, conditioning_settings(request), fit)
    return EngineInputs(request, shown, clip.frames[0], fit, conditioning)


def _render(mini: Engine, inputs: EngineInputs) -> Frames:
    return mini.render(inputs, lambda progress: None, lambda: False).frames


def _errors(frames: Frames, clip: SyntheticClip, trackable: NDArray[np.bool_]) -> tuple[float, float]:
    """TrajErr of the subjects, over all samples and over the trackable ones; NaN where there is none."""
    scores = evaluate_clip(frames, clip, conditioned=trackable).scores
    among = scores.traj_err_conditioned
    return (scores.traj_err_subjects or scores.traj_err).mean, float("nan") if among is None else among.mean


def _traj_sim(frames: Frames, clip: SyntheticClip) -> float | None:
    similar = evaluate_clip(frames, clip, driving=clip.others[0]).scores.traj_sim
    return None if similar is None else similar.similarity


def _mean(values: Sequence[float | None]) -> float | None:
    """Mean of the values that there are."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    return float(np.mean(known)) if known else None
