"""The whole study: clips, trainings, samples, figures, table, plots and text."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from blender_addon.core.errors import ErrorCode, FlexTrajError
from blender_addon.core.version import package_version
from flextraj_backend.models.pipeline_inputs import ConditionReuse
from flextraj_backend.study.cache_check import CacheCheck, CacheComparison
from flextraj_backend.study.figures import SeedScores
from flextraj_backend.study.runs import TrainedRun, trained_run
from flextraj_backend.study.sampling import (
    BaseSampler,
    ControlSampler,
    Frames,
    HeldOutSample,
    held_out_samples,
)
from flextraj_backend.study.scoring import ScoreFile, choices_to_json, score_videos
from flextraj_backend.study.shown_videos import ShownVideos
from flextraj_backend.study.study_clips import held_out_store
from flextraj_backend.study.study_settings import RUNS, StudySettings
from flextraj_backend.study.variants import Baseline, Variant
from flextraj_backend.synthesis.record_json import to_json
from flextraj_backend.training.base_loading import find_base
from flextraj_backend.training.train_reports import StepReport
from flextraj_backend.training.video_codec import folder_fingerprint

SCORES = "scores.json"
_PACKAGES = ("torch", "diffusers", "transformers", "peft", "numpy", "opencv-python-headless")

Row = Variant | Baseline


@dataclass(frozen=True)
class StudyProgress:
    """Where the study stands: `step` of `steps` within a phase."""

    phase: str
    step: int
    steps: int


OnProgress = Callable[[StudyProgress], None]


@dataclass(frozen=True, eq=False)
class StudyResult:
    """Everything that was measured.

    Attributes:
        runs: trainings, in the order of the variants, then of the seeds.
        scores: of each row, one a seed; baselines have a single one.
        samples: what was asked of every video.
        cache: the cached videos beside those without cache, a comparison a seed; empty without that variant.
    """

    settings: StudySettings
    runs: tuple[TrainedRun, ...]
    scores: dict[Row, tuple[SeedScores, ...]]
    samples: tuple[HeldOutSample, ...]
    cache: tuple[CacheCheck, ...]

    @property
    def variants(self) -> dict[Variant, tuple[SeedScores, ...]]:
        return {row: scores for row, scores in self.scores.items() if isinstance(row, Variant)}


def versions() -> dict[str, str]:
    """Programs and machine that figures are made with."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    packages = {name: version(name) for name in _PACKAGES}
    return {"flextraj": package_version(), "python": platform.python_version(), "device": device, **packages}


def conduct(study: StudySettings, on_progress: OnProgress) -> StudyResult:
    """Train and measure what was not trained or measured before; the clips are there already.

    Raises:
        FlexTrajError: a training or a video cannot be made.
    """
    store, keys = held_out_store(study)
    samples = tuple(held_out_samples(store, keys, study.sample_seed))
    clips = [store.entry(key).sha256 for key in keys]
    measuring = _Measuring(study, samples, clips, on_progress)
    runs: list[TrainedRun] = []
    scores: dict[Row, tuple[SeedScores, ...]] = {}
    cache: list[CacheCheck] = []
    for variant in study.trained_variants:
        trained = [_trained(study, variant, seed, on_progress) for seed in study.seeds]
        scores[variant] = tuple(measuring.control(run) for run in trained)
        runs += trained
        if variant is Variant.FULL and Variant.NO_CACHE in study.variants:
            measured = [measuring.without_cache(run) for run in trained]
            scores[Variant.NO_CACHE] = tuple(item for item, _ in measured)
            cache = [item for _, item in measured]
    for baseline in Baseline:
        scores[baseline] = (measuring.baseline(baseline),)
    # As they were asked for, whatever was measured first.
    order = [*(row for row in Variant if row in scores), *Baseline]
    return StudyResult(study, tuple(runs), {row: scores[row] for row in order}, samples, tuple(cache))


def check_cache(result: StudyResult) -> None:
    """Raises FlexTrajError where the condition cache changed a video by more than rounding."""
    for check in result.cache:
        if not check.is_equal:
            raise FlexTrajError(
                f"Sampling with the condition cache differs from sampling without it by up to "
                f"{check.max_difference} grey levels (seed {check.seed}), which it must not: report it with "
                "results.json.",
                ErrorCode.DEFECT,
            )


def _trained(study: StudySettings, variant: Variant, seed: int, on_progress: OnProgress) -> TrainedRun:
    phase = f"train {variant} seed {seed}"
    on_progress(StudyProgress(phase, 0, study.steps))

    def step(report: StepReport) -> None:
        on_progress(StudyProgress(phase, report.step, report.total))

    return trained_run(study, variant, seed, step)


class _Measuring:
    """Measures each row once."""

    def __init__(
        self,
        study: StudySettings,
        samples: tuple[HeldOutSample, ...],
        clips: Sequence[str],
        on_progress: OnProgress,
    ) -> None:
        self._study = study
        self._samples = samples
        # The figures are kept as long as nothing has changed that they are made with.
        self._asked = [clips, choices_to_json(samples), versions()]
        self._base = folder_fingerprint(find_base(study.base)[0] / "transformer")
        self._on_progress = on_progress
        keys = list(dict.fromkeys(asked.clip.key for asked in samples))
        self._shown = frozenset(keys[: study.shown])

    def _content(self, run: TrainedRun) -> str:
        """Tells a control and its base."""
        return self._base + hashlib.sha256(run.control.read_bytes()).hexdigest()

    def control(self, run: TrainedRun) -> SeedScores:
        """A trained control as it is used: with the cache where there is one."""

        def sampler() -> Callable[[HeldOutSample], Frames]:
            control = ControlSampler(self._study, run)
            return lambda asked: control.sample(asked, control.default_reuse)

        return self._measured(run.folder, run.seed, self._content(run), sampler)

    def without_cache(self, run: TrainedRun) -> tuple[SeedScores, CacheCheck]:
        """The same control without the cache, and how far its videos are from the cached ones."""
        folder = self._study.folder / RUNS / f"{Variant.NO_CACHE}-seed{run.seed}"
        comparison = CacheComparison(folder / "cache.json", run.seed)

        def sampler() -> Callable[[HeldOutSample], Frames]:
            control = ControlSampler(self._study, run)
            comparison.restart()

            def make(asked: HeldOutSample) -> Frames:
                frames = control.sample(asked, ConditionReuse.EVERY_STEP)
                comparison.add(control.sample(asked, ConditionReuse.CACHED), frames)
                return frames

            return make

        scores = self._measured(folder, run.seed, self._content(run), sampler, comparison.write)
        return scores, comparison.read()

    def baseline(self, baseline: Baseline) -> SeedScores:
        def sampler() -> Callable[[HeldOutSample], Frames]:
            if baseline is Baseline.BASE:
                return BaseSampler(self._study).sample
            if baseline is Baseline.EXACT:
                return lambda asked: asked.clip.frames
            return lambda asked: np.repeat(asked.clip.frames[:1], len(asked.clip.frames), axis=0)

        depends_on = self._base if baseline is Baseline.BASE else ""
        return self._measured(self._study.folder / RUNS / baseline, None, depends_on, sampler)

    def _measured(
        self,
        folder: Path,
        seed: int | None,
        depends_on: str,
        sampler: Callable[[], Callable[[HeldOutSample], Frames]],
        before_the_end: Callable[[], object] = lambda: None,
    ) -> SeedScores:
        """Scores of before, or new ones.

        Args:
            sampler: makes what makes the videos; not called where all was measured before.
            before_the_end: called before the scores are written, which mark the row as measured.
        """
        folder.mkdir(parents=True, exist_ok=True)
        file = ScoreFile(
            folder / SCORES, [self._asked, self._study.sample_steps, self._study.shown, depends_on]
        )
        known = file.read()
        if known is not None:
            return known
        shown = ShownVideos(folder)
        phase, done = f"measure {folder.name}", 0
        self._on_progress(StudyProgress(phase, 0, len(self._samples)))

        def on_video(asked: HeldOutSample, frames: Frames) -> None:
            nonlocal done
            done += 1
            if asked.clip.key in self._shown:
                shown.add(asked.name, frames)
            self._on_progress(StudyProgress(phase, done, len(self._samples)))

        scores = score_videos(seed, self._samples, sampler(), on_video)
        shown.write()
        before_the_end()
        file.write(scores)
        return scores


def settings_to_json(study: StudySettings) -> dict[str, Any]:
    """The settings, with the names of folders instead of their paths."""
    values = to_json(study)
    for name in ("output", "base", "data", "held_out_data", "cache"):
        values[name] = Path(values[name]).name
    return values
