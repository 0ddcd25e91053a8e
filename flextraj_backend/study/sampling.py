"""Sampling held-out clips: every control gets the same clips, choices and noise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from flextraj_backend.models.checkpoint import load_adapter
from flextraj_backend.models.denoising import seeded_generator
from flextraj_backend.models.pipeline_inputs import ConditionReuse, Texts
from flextraj_backend.models.prompts import Alignment
from flextraj_backend.study.figures import STUDY_TASKS
from flextraj_backend.study.runs import TrainedRun
from flextraj_backend.study.study_settings import StudySettings
from flextraj_backend.study.variants import Variant
from flextraj_backend.synthesis.clip import SyntheticClip
from flextraj_backend.synthesis.shards import ClipStore
from flextraj_backend.training.augmentation import apply_choices, draw_choices
from flextraj_backend.training.base_loading import load_base
from flextraj_backend.training.tasks import ControlTask, IdAblation, only
from flextraj_backend.training.train_settings import Injection, TrainPrecision, TrainSettings
from flextraj_backend.training.training_sample import SampleChoices, TrainingSample

Frames = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class HeldOutSample:
    """A held-out clip and what is asked of it; the same for every variant.

    Attributes:
        noise_seed: of the noise; the same for all tasks of a clip.
    """

    clip: SyntheticClip
    choices: SampleChoices
    noise_seed: int

    @property
    def task(self) -> ControlTask:
        return self.choices.task

    @property
    def name(self) -> str:
        return f"{self.task}-{self.clip.key}"

    def for_variant(self, ablation: IdAblation) -> TrainingSample:
        """Photo, prompt and conditioning videos as a variant sees them."""
        return apply_choices(self.clip, self.choices, ablation)


def held_out_samples(store: ClipStore, keys: tuple[str, ...], seed: int) -> Iterator[HeldOutSample]:
    """Each clip with each task; where the task has a colour cue, it is shown, in the photo's colours.

    A clip without other characters has no sample with one.
    """
    for index, key in enumerate(keys):
        clip = store.read(key)
        for number, task in enumerate(STUDY_TASKS):
            rng = np.random.default_rng([seed, index, number])
            choices = draw_choices(rng, only(task, color_drop=0.0, photo_colors=1.0), clip)
            if choices.task is task:
                yield HeldOutSample(clip, choices, seed + index)


class ControlSampler:
    """Makes videos with one trained control, in float32 so that variants differ by the control alone."""

    def __init__(self, study: StudySettings, run: TrainedRun) -> None:
        settings = study.training(run.variant, run.seed)
        self._steps = study.sample_steps
        self._ablation = settings.ablation
        self._is_controlnet = settings.injection is Injection.CONTROLNET
        self._pipeline = _sampling_pipeline(settings)
        transformer = self._pipeline.transformer
        if self._is_controlnet:
            transformer.load_control(run.control)
        else:
            load_adapter(transformer, run.control)
        transformer.eval()

    @property
    def default_reuse(self) -> ConditionReuse:
        """The copied blocks of a ControlNet see the noise: nothing of them can be cached."""
        return ConditionReuse.EVERY_STEP if self._is_controlnet else ConditionReuse.CACHED

    def sample(self, asked: HeldOutSample, reuse: ConditionReuse) -> Frames:
        """A video, (T, H, W, 3) uint8."""
        return _generate(
            self._pipeline, asked.for_variant(self._ablation), asked.noise_seed, self._steps, 1.0, reuse
        )


class BaseSampler:
    """Makes videos with the base model alone: strength 0."""

    def __init__(self, study: StudySettings) -> None:
        settings = study.training(Variant.FULL, study.seeds[0])
        self._steps = study.sample_steps
        self._pipeline = _sampling_pipeline(settings)
        self._last: tuple[tuple[str, str], Frames] | None = None

    def sample(self, asked: HeldOutSample) -> Frames:
        """A video, (T, H, W, 3) uint8. Tasks whose prompt is the same get the same one."""
        sample = asked.for_variant(IdAblation.NONE)
        name = (sample.key, sample.prompt)
        if self._last is None or self._last[0] != name:
            frames = _generate(
                self._pipeline, sample, asked.noise_seed, self._steps, 0.0, ConditionReuse.CACHED
            )
            self._last = (name, frames)
        return self._last[1]


def _sampling_pipeline(settings: TrainSettings) -> Any:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return load_base(replace(settings, precision=TrainPrecision.FP32), device).pipeline


@torch.no_grad()
def _generate(
    pipeline: Any, sample: TrainingSample, seed: int, steps: int, strength: float, reuse: ConditionReuse
) -> Frames:
    # The prompt has the prefix of unaligned control already.
    prompt = pipeline.encode_prompts(sample.prompt, "", Alignment.ALIGNED, 1.0).prompt
    video = pipeline(
        image=sample.first_frame,
        texts=Texts(prompt, None),
        generator=seeded_generator(seed),
        id_video=sample.conditioning.ids,
        color_video=sample.conditioning.color,
        strength=strength,
        condition_reuse=reuse,
        num_inference_steps=steps,
        guidance_scale=1.0,
    ).frames[0]
    return (np.asarray(video) * 255).round().astype(np.uint8)
