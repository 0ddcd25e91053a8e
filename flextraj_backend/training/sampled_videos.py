"""Videos that the control makes of held-out clips while it is trained, and how well they follow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from flextraj_backend.evaluation.report import evaluate_clip
from flextraj_backend.image_io import write_image
from flextraj_backend.models.denoising import seeded_generator
from flextraj_backend.models.pipeline_inputs import ConditionReuse, Texts
from flextraj_backend.models.prompts import Alignment
from flextraj_backend.synthesis.clip import SyntheticClip
from flextraj_backend.training.augmentation import apply_choices, draw_choices
from flextraj_backend.training.run_setup import TrainingData
from flextraj_backend.training.tasks import ControlTask, only
from flextraj_backend.training.train_settings import Injection, TrainSettings
from flextraj_backend.training.training_sample import OtherCharacter, TrainingSample
from flextraj_backend.video_io import write_video

SAMPLES_FOLDER = "samples"
_TASKS = (ControlTask.DENSE, ControlTask.SPATIAL, ControlTask.TEMPORAL, ControlTask.UNALIGNED_CHARACTER)
_SHEET_FRAMES = 9
_SMALLEST_PICTURE = 144
"""Width in pixels that a sheet's pictures are enlarged to."""


@dataclass(frozen=True, eq=False)
class SampledVideo:
    """A held-out clip as the control makes it.

    Attributes:
        frames: (T, H, W, 3) uint8.
        score: TrajErr of the subjects' points; of unaligned tasks TrajSIM.
    """

    clip: SyntheticClip
    sample: TrainingSample
    frames: NDArray[np.uint8]
    score: float

    @property
    def name(self) -> str:
        return f"{self.sample.task}-{self.clip.key}"


class VideoSampler:
    """Samples the same clips with the same choices and noise each time.

    Args:
        pipeline: with the control that is trained; its text encoder may be gone.
    """

    def __init__(self, pipeline: Any, data: TrainingData, settings: TrainSettings) -> None:
        self._pipeline = pipeline
        self._data = data
        self._settings = settings

    @torch.no_grad()
    def __call__(self, device: torch.device) -> list[SampledVideo]:
        """Sample `sample_clips` held-out clips for each of four tasks; all processes take part."""
        transformer = self._pipeline.transformer
        was_training = transformer.training
        transformer.eval()
        try:
            return [self._sampled(clip, sample, device) for clip, sample in self._samples()]
        finally:
            transformer.train(was_training)

    def _samples(self) -> Iterator[tuple[SyntheticClip, TrainingSample]]:
        for place, key in enumerate(self._data.split.validation[: self._settings.sample_clips]):
            clip = self._data.store.read(key)
            for task in _TASKS:
                rng = np.random.default_rng([self._settings.seed, list(ControlTask).index(task), place])
                choices = draw_choices(rng, only(task, color_drop=0.0, photo_colors=1.0), clip)
                yield clip, apply_choices(clip, choices, self._settings.ablation)

    def _sampled(self, clip: SyntheticClip, sample: TrainingSample, device: torch.device) -> SampledVideo:
        settings, pipeline = self._settings, self._pipeline
        # The prompt has the prefix of unaligned control already.
        text = self._data.texts.of(sample.prompt, Alignment.ALIGNED)
        reuse = ConditionReuse.CACHED
        if settings.injection is Injection.CONTROLNET:
            reuse = ConditionReuse.EVERY_STEP
        video = pipeline(
            image=sample.first_frame,
            texts=Texts(text[None].to(device, pipeline.transformer.dtype), None),
            generator=seeded_generator(settings.seed),
            id_video=sample.conditioning.ids,
            color_video=sample.conditioning.color,
            condition_reuse=reuse,
            num_inference_steps=settings.sample_steps,
            guidance_scale=1.0,
        ).frames[0]
        frames = (np.asarray(video) * 255).round().astype(np.uint8)
        return SampledVideo(clip, sample, frames, _score(frames, clip, sample))


def write_samples(run: Path, step: int, videos: list[SampledVideo]) -> Path:
    """Write each video beside its conditioning, and a sheet of all: clip, ID video, sampled video."""
    folder = run / SAMPLES_FOLDER / f"step-{step:06d}"
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for video in videos:
        streams = (video.clip.frames, video.sample.conditioning.ids, video.frames)
        write_video(folder / f"{video.name}.mp4", np.concatenate(streams, axis=2), _fps(video))
        rows += [_strip(stream) for stream in streams]
        rows.append(np.full((6, rows[-1].shape[1], 3), 255, np.uint8))
    write_image(folder / "sheet.png", np.concatenate(rows))
    return folder


def mean_scores(videos: list[SampledVideo]) -> dict[str, float]:
    """Mean score of each task, without those where nothing could be measured."""
    scores: dict[str, list[float]] = {}
    for video in videos:
        if np.isfinite(video.score):
            kind = "traj_sim" if video.sample.task.is_unaligned else "traj_err"
            scores.setdefault(f"{kind}_{video.sample.task}", []).append(video.score)
    return {name: float(np.mean(values)) for name, values in scores.items()}


def _score(frames: NDArray[np.uint8], clip: SyntheticClip, sample: TrainingSample) -> float:
    change = sample.choices.misalignment
    driving = clip.others[change.index] if isinstance(change, OtherCharacter) else None
    scores = evaluate_clip(frames, clip, driving=driving).scores
    if sample.task.is_unaligned:
        return float("nan") if scores.traj_sim is None else scores.traj_sim.similarity
    subjects = scores.traj_err_subjects
    return (scores.traj_err if subjects is None else subjects).mean


def _strip(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Evenly spread frames side by side, small ones enlarged without smoothing."""
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(_SHEET_FRAMES, len(frames))).astype(int))
    factor = max(1, round(_SMALLEST_PICTURE / frames.shape[2]))
    pictures = [
        cv2.resize(frames[index], None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)
        for index in chosen
    ]
    return np.concatenate(pictures, axis=1).astype(np.uint8)


def _fps(video: SampledVideo) -> float:
    return video.clip.trajectories.meta.fps
