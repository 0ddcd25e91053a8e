"""From sampled videos to figures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from flextraj_backend.atomic_file import write_text
from flextraj_backend.evaluation.frechet import FrechetDistance, frechet_distance
from flextraj_backend.evaluation.report import evaluate_clip
from flextraj_backend.evaluation.video_features import video_features
from flextraj_backend.json_values import plain
from flextraj_backend.study.figures import Measure, SampleScore, SeedScores
from flextraj_backend.study.sampling import Frames, HeldOutSample
from flextraj_backend.synthesis.record_json import to_json
from flextraj_backend.training.clip_conditioning import kept_samples
from flextraj_backend.training.kept_points import subject_points
from flextraj_backend.training.tasks import ControlTask
from flextraj_backend.training.training_sample import OtherCharacter

_NAN = float("nan")


def score_sample(frames: Frames, asked: HeldOutSample) -> SampleScore:
    """Measure one video against what was asked for."""
    clip, change = asked.clip, asked.choices.misalignment
    if asked.task.is_unaligned:
        driving = clip.others[change.index] if isinstance(change, OtherCharacter) else clip.trajectories
        scores = evaluate_clip(frames, clip, driving=driving).scores
        similar = scores.traj_sim
        values = {
            Measure.TRAJ_SIM: _NAN if similar is None else similar.similarity,
            Measure.TRAJ_SIM_MEAN_MOTION: _NAN if similar is None else similar.mean_motion,
            Measure.TRAJ_SIM_LOCAL: _NAN if similar is None else similar.local,
            Measure.SPEED: _NAN if similar is None else similar.speed,
            Measure.LOST: _NAN if similar is None else similar.lost,
        }
    else:
        kept = kept_samples(clip.trajectories, asked.choices) & subject_points(clip.trajectories)
        scores = evaluate_clip(frames, clip, conditioned=kept).scores
        error, conditioned = scores.traj_err_subjects or scores.traj_err, scores.traj_err_conditioned
        values = {
            Measure.TRAJ_ERR: error.mean,
            Measure.TRAJ_ERR_CONDITIONED: _NAN if conditioned is None else conditioned.mean,
            Measure.TRAJ_ERR_TRACKED: error.mean_tracked,
            Measure.PCK_1: error.pck_1,
            Measure.PCK_2: error.pck_2,
            Measure.PCK_5: error.pck_5,
            Measure.LOST: error.lost,
            Measure.MASK_IOU: _NAN if scores.mask_iou is None else scores.mask_iou,
            Measure.DIFFERENCE: _NAN if scores.reference_difference is None else scores.reference_difference,
        }
    values[Measure.CONSISTENCY] = scores.consistency.cosine
    values[Measure.MOTION] = scores.consistency.motion_magnitude
    return SampleScore(asked.task, clip.key, values)


def score_videos(
    seed: int | None,
    samples: Iterable[HeldOutSample],
    make: Callable[[HeldOutSample], Frames],
    on_video: Callable[[HeldOutSample, Frames], None],
) -> SeedScores:
    """Make and measure a video of each sample.

    Args:
        seed: of the training; None for a baseline.
        make: makes a video, (T, H, W, 3) uint8.
        on_video: called with each.
    """
    scores: list[SampleScore] = []
    features: dict[ControlTask, list[tuple[Any, Any]]] = {}
    known: tuple[str, Any] = ("", None)
    for asked in samples:
        frames = make(asked)
        scores.append(score_sample(frames, asked))
        if known[0] != asked.clip.key:
            known = asked.clip.key, video_features(asked.clip.frames)
        features.setdefault(asked.task, []).append((video_features(frames), known[1]))
        on_video(asked, frames)
    distances = {
        task: frechet_distance(*(np.stack(side) for side in zip(*pairs, strict=True)))
        for task, pairs in features.items()
        if len(pairs) > 1
    }
    return SeedScores(seed, tuple(scores), distances)


def scores_to_json(scores: SeedScores) -> dict[str, Any]:
    """All figures as JSON values; null where nothing could be measured."""
    return {
        "seed": scores.seed,
        "videos": [
            {
                "task": sample.task.value,
                "clip": sample.key,
                **{name.value: plain(value) for name, value in sample.values.items()},
            }
            for sample in scores.samples
        ],
        "frechet": {task.value: asdict(distance) for task, distance in scores.frechet.items()},
    }


def scores_from_json(values: Mapping[str, Any]) -> SeedScores:
    """Read them back. Raises KeyError, TypeError or ValueError where they are of another form."""
    samples = []
    for video in values["videos"]:
        figures = {
            Measure(name): _NAN if value is None else float(value)
            for name, value in video.items()
            if name not in ("task", "clip")
        }
        samples.append(SampleScore(ControlTask(video["task"]), video["clip"], figures))
    frechet = {ControlTask(task): FrechetDistance(**item) for task, item in values["frechet"].items()}
    return SeedScores(values["seed"], tuple(samples), frechet)


class ScoreFile:
    """Scores that were measured before, as long as nothing that they depend on has changed.

    Args:
        path: of the JSON file.
        depends_on: JSON values of everything that decides the videos.
    """

    def __init__(self, path: Path, depends_on: Any) -> None:
        self._path = path
        self._fingerprint = hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()

    def read(self) -> SeedScores | None:
        """The scores; None where there are none, or none of this."""
        try:
            values = json.loads(self._path.read_bytes())
            return scores_from_json(values) if values["fingerprint"] == self._fingerprint else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, scores: SeedScores) -> None:
        values = {"fingerprint": self._fingerprint, **scores_to_json(scores)}
        write_text(self._path, json.dumps(values, indent=1, allow_nan=False) + "\n")


def choices_to_json(samples: Iterable[HeldOutSample]) -> list[dict[str, Any]]:
    """What was asked of each clip."""
    return [
        {"clip": asked.clip.key, "noise_seed": asked.noise_seed, "choices": to_json(asked.choices)}
        for asked in samples
    ]
