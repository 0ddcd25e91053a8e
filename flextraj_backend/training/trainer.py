"""The training loop: frozen base model, trained control, exact resume."""

from __future__ import annotations

import math
import time
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import DistributedType

from blender_addon.core.errors import ErrorCode, FlexTrajError
from flextraj_backend.synthesis.record_json import to_json
from flextraj_backend.training.base_loading import DTYPES, check_clip_shape, load_base
from flextraj_backend.training.batch_loss import TrainingBatch, batch_loss
from flextraj_backend.training.batches import PhotoRule
from flextraj_backend.training.clip_source import FetchedSample, SamplePlan, sample_generator
from flextraj_backend.training.control_files import control_tensors, write_control
from flextraj_backend.training.curriculum import load_curriculum
from flextraj_backend.training.curriculum_state import CurriculumState, advance
from flextraj_backend.training.ema import MovingAverage
from flextraj_backend.training.memory_estimate import (
    TrainingMemory,
    free_memory,
    parameter_bytes,
    training_memory,
)
from flextraj_backend.training.optimization import (
    learning_rate_factor,
    make_optimizer,
    set_learning_rate,
)
from flextraj_backend.training.prefetch import Prefetcher
from flextraj_backend.training.processes import gradient_norm, start_processes
from flextraj_backend.training.resume import (
    TrainerState,
    optimizer_tensors,
    prune_checkpoints,
    read_checkpoint,
    restore_optimizer,
    write_checkpoint,
)
from flextraj_backend.training.run_checks import check_same_plan, check_same_step, check_validation
from flextraj_backend.training.run_folder import last_checkpoint, open_run
from flextraj_backend.training.run_setup import OnPrepared, clip_source, open_data, prepare_data
from flextraj_backend.training.sampled_videos import VideoSampler, mean_scores, write_samples
from flextraj_backend.training.sharding import assign, placed_as, whole
from flextraj_backend.training.tasks import ControlTask
from flextraj_backend.training.train_logs import TrainLog
from flextraj_backend.training.train_reports import OnNote, OnStep, StepReport, TrainResult
from flextraj_backend.training.train_settings import TrainSettings
from flextraj_backend.training.validation import Validation, ValidationLoss

MOST_SKIPPED = 10
"""Steps in a row whose loss may be not finite."""
CONTROL_NAME = "control.safetensors"
_STEP_STREAM = (1 << 60) + 1
"""Stands for a sample's place in the seeds of what a whole step draws."""


def train(
    settings: TrainSettings,
    on_step: OnStep | None = None,
    on_prepared: OnPrepared | None = None,
    on_note: OnNote | None = None,
) -> TrainResult:
    """Train a control.

    Args:
        on_step: called after each step.
        on_prepared: called after each clip that is made ready before the first step.
        on_note: called with sentences that the user should know before the first step.

    Raises:
        FlexTrajError: something about the settings, the data or the base model; or the training diverged.
    """
    trainer = Trainer(settings, on_prepared)
    if on_note is not None:
        for note in trainer.notes:
            on_note(note)
    try:
        return trainer.run(on_step)
    finally:
        trainer.close()


class Trainer:
    """A run between its start, or its last checkpoint, and its end."""

    def __init__(self, settings: TrainSettings, on_prepared: OnPrepared | None = None) -> None:
        self.settings = settings
        self.accelerator = start_processes(settings)
        self.curriculum = load_curriculum(settings.curriculum)
        if settings.steps is not None:
            self.curriculum = self.curriculum.scaled_to(settings.steps)
        if settings.learning_rate is not None:
            self.curriculum = self.curriculum.with_learning_rate(settings.learning_rate)
        self.total_steps = self.curriculum.max_steps
        self.base = load_base(settings, self.device)
        self.data = open_data(settings, self.base)
        self.notes = check_validation(settings, self.curriculum, self.data.split)
        if self._is_main:
            open_run(settings)
        self.accelerator.wait_for_everyone()
        checkpoint = last_checkpoint(settings)
        share = (self.accelerator.process_index, self.accelerator.num_processes)
        needs = self._memory_needs()
        # Before hours of encoding, and once more when the text encoder has left the memory.
        leaves = parameter_bytes(self.base.pipeline.text_encoder)
        needs.check(free_memory(self.device) + leaves, self._shards)
        prepare_data(self.data, settings, self.base, self.device, share, on_prepared)
        self.base.pipeline.text_encoder = None  # every text is embedded now
        self.accelerator.wait_for_everyone()
        needs.check(free_memory(self.device), self._shards)
        self.notes += (needs.sentence, *((self.data.cache.note,) if self.data.cache.full else ()))

        optimizer = make_optimizer(
            [parameter for _, parameter in self.base.transformer.trainable_parameters()],
            self.base.backbone,
            settings,
        )
        # Wrapped for several processes; `base.transformer` stays the model itself.
        self.model, self.optimizer = self.accelerator.prepare(self.base.transformer, optimizer)
        self.parameters = dict(self.base.transformer.trainable_parameters())
        self.average = MovingAverage(self.parameters, settings.ema) if settings.ema else None
        clips = self.data.split.digest(self.data.store)
        self.state = TrainerState(plan=to_json(self.curriculum), clips=clips)
        self.progress = CurriculumState()
        if checkpoint is not None:
            self._restore(checkpoint)
        check_same_step(self.accelerator, self.state.step)

        self.loss = batch_loss(self.base.pipeline, DTYPES[settings.precision])
        self.source = clip_source(self.data, settings, settings.condition_variants)
        self.plan = SamplePlan(self.data.split.training, self._samples_of_a_step, settings.seed)
        self.prefetcher = Prefetcher(settings.loaders)
        self.validation: Validation | None = None
        if self.data.split.validation:
            fixed = clip_source(self.data, settings, variants=1)
            self.validation = Validation(self.data, fixed, self.loss, settings.batch, settings.seed)
        self.log = TrainLog(settings.run, self.state.step) if self._is_main else None
        self.last_validation: ValidationLoss | None = None

    @property
    def device(self) -> torch.device:
        return self.accelerator.device

    @property
    def _is_main(self) -> bool:
        return self.accelerator.is_main_process

    @property
    def _samples_of_a_step(self) -> int:
        return self.settings.batch * self.settings.accumulate * self.accelerator.num_processes

    def _memory_needs(self) -> TrainingMemory:
        """Of a step, counted on the first clip."""
        clip = clip_source(self.data, self.settings, variants=0).fetch_clip(self.data.split.training[0])
        if clip.frames is not None:
            check_clip_shape(self.base.pipeline, clip.frames.shape[:3])
        video = self.data.builder.encoded_clips([clip])[0]
        return training_memory(self.base.transformer, tuple(video.mean.shape), self.settings)

    @property
    def _shards(self) -> int:
        """Into which the trained parameters' states are divided."""
        is_sharded = self.accelerator.distributed_type is DistributedType.FSDP
        return self.accelerator.num_processes if is_sharded else 1

    def run(self, on_step: OnStep | None) -> TrainResult:
        """Train to the end of the curriculum."""
        losses = []
        if self.state.step == 0:
            self._log_stage()
        while not self.progress.finished(self.curriculum):
            started = time.perf_counter()
            loss = self._step(started)
            losses.append(loss)
            self._after_step()
            if on_step is not None:
                stage = self.curriculum.stages[min(self.progress.stage, len(self.curriculum.stages) - 1)]
                seconds = time.perf_counter() - started
                on_step(StepReport(self.state.step, self.total_steps, loss, stage.name, seconds))
        control = self._write_final_control()
        validation = {} if self.last_validation is None else self.last_validation.tasks
        return TrainResult(
            self.settings.run,
            control,
            self.state.step,
            tuple(losses),
            {task.value: loss for task, loss in validation.items()},
        )

    def close(self) -> None:
        self.prefetcher.close()
        if self.log is not None:
            self.log.close()
        self.accelerator.end_training()

    # One step

    def _step(self, started: float) -> float:
        """Forwards, backwards and update of one step; returns its mean loss over all processes."""
        settings, step = self.settings, self.state.step
        stage = self.progress.current(self.curriculum)
        rate = self.progress.learning_rate(self.curriculum, step) * learning_rate_factor(
            step, self.total_steps, settings.warmup, settings.schedule
        )
        set_learning_rate(self.optimizer, rate)
        losses, tasks, norm = [], [], math.nan
        for micro in range(settings.accumulate):
            samples, batch = self._batch(step, micro)
            with self.accelerator.accumulate(self.model):
                sample_losses = self.loss(self.model, batch)
                self.accelerator.backward(sample_losses.mean())
                if self.accelerator.sync_gradients:
                    norm = gradient_norm(self.accelerator, list(self.parameters.values()), settings.clip)
                    self._update(norm)
                self.optimizer.zero_grad()
            losses.append(sample_losses.detach())
            tasks += [_TASKS.index(sample.task) for sample in samples]
        everywhere: Any = self.accelerator.gather(
            torch.stack([torch.cat(losses).float(), torch.tensor(tasks, device=self.device).float()], dim=1)
        )
        return self._record(stage.name, rate, norm, everywhere.cpu().double(), started)

    def _batch(self, step: int, micro: int) -> tuple[list[FetchedSample], TrainingBatch]:
        """This process's samples of a forward, and their tensors on the device."""
        settings = self.settings
        places = self._places(micro)
        mixture = self.progress.current(self.curriculum).mixture
        planned = tuple(self.plan.sample(step, place) for place in places)
        samples = self.prefetcher.take(self.source, planned, mixture)
        following = (step, micro + 1) if micro + 1 < settings.accumulate else (step + 1, 0)
        upcoming = (self.plan.sample(following[0], place) for place in self._places(following[1]))
        self.prefetcher.expect(self.source, tuple(upcoming), mixture)
        generators = [sample_generator(settings.seed, step, place) for place in places]
        drawn = torch.rand((), generator=sample_generator(settings.seed, step, _STEP_STREAM))
        rule = PhotoRule(settings.image_noise, shown=float(drawn) >= settings.image_dropout)
        return samples, self.data.builder.build(samples, generators, rule).to(self.device)

    def _places(self, micro: int) -> range:
        """Places in the step of this process's samples of a forward."""
        first = micro * self.accelerator.num_processes + self.accelerator.process_index
        return range(first * self.settings.batch, (first + 1) * self.settings.batch)

    def _update(self, norm: float) -> None:
        """Change the parameters, unless the gradient is not finite."""
        if math.isfinite(norm):
            self.optimizer.step()
            self.state.skipped_in_a_row = 0
            if self.average is not None:
                self.average.update()
            return
        if self.accelerator.scaler is not None:
            self.optimizer.step()  # skips the update itself, and lowers its scale
        self.state.skipped += 1
        self.state.skipped_in_a_row += 1
        if self.state.skipped_in_a_row >= MOST_SKIPPED:
            raise FlexTrajError(
                f"The loss has not been finite for {MOST_SKIPPED} steps up to step {self.state.step + 1}, so "
                "the training diverged: start it again in another folder with a lower --lr.",
                ErrorCode.DEFECT,
            )

    def _record(
        self, stage: str, rate: float, norm: float, everywhere: torch.Tensor, started: float
    ) -> float:
        """Count the step and log it. `everywhere`: (samples, 2) losses and tasks of all processes."""
        self.state.step += 1
        by_task: dict[str, list[float]] = {}
        for loss, task in everywhere.tolist():
            by_task.setdefault(_TASKS[int(task)].value, []).append(loss)
        counts = Counter(self.state.task_counts)
        counts.update({task: len(values) for task, values in by_task.items()})
        self.state.task_counts = dict(counts)
        mean = float(everywhere[:, 0].mean())
        if self.log is not None:
            self.log.step(
                {
                    "step": self.state.step,
                    "loss": mean,
                    "stage": stage,
                    "stage_index": self.progress.stage,
                    "learning_rate": rate,
                    "gradient_norm": norm,
                    "task_losses": {task: sum(values) / len(values) for task, values in by_task.items()},
                    "task_counts": self.state.task_counts,
                    "skipped": self.state.skipped,
                    "seconds": round(time.perf_counter() - started, 4),
                }
            )
        return mean

    # Between steps

    def _log_stage(self) -> None:
        """Log what is trained from now on."""
        if self.log is None or self.progress.finished(self.curriculum):
            return
        stage = self.progress.current(self.curriculum)
        about = {"begun": stage.name, "learning_rate": stage.learning_rate, "mixture": to_json(stage.mixture)}
        self.log.event("stage", {"step": self.state.step, **about})

    def _after_step(self) -> None:
        """Validate, go on in the curriculum and write a checkpoint where it is time for that."""
        settings, step = self.settings, self.state.step
        last = step >= self.total_steps
        error = None
        if self.validation is not None and (last or _due(step, settings.validate_every)):
            error = self._validate()
        if self.data.split.validation and _due(step, settings.sample_every):
            self._sample()
        before = self.progress.stage
        self.progress = advance(self.curriculum, self.progress, step, error)
        if self.log is not None and self.progress.stage != before:
            self.log.event("stage", {"step": step, "ended": self.curriculum.stages[before].name})
            self._log_stage()
        is_best = error is not None and self.state.best_step == step
        due = _due(step, settings.checkpoint_every) or (is_best and bool(settings.checkpoint_every))
        if last or self.progress.finished(self.curriculum) or due:
            self._checkpoint()

    def _validate(self) -> float:
        """The stage's validation loss, of the moving average where there is one."""
        assert self.validation is not None
        with self._best_weights():
            stage = self.progress.current(self.curriculum)
            found = self.validation(self.model, self.device, stage.mixture)
        self.last_validation = found
        error = found.of_mixture(stage.mixture)
        if self.state.best_stage != stage.name or error < (self.state.best_loss or math.inf):
            self.state.best_stage, self.state.best_loss = stage.name, error
            self.state.best_step = self.state.step
        if self.log is not None:
            tasks = {task.value: loss for task, loss in found.tasks.items()}
            record = {"step": self.state.step, "stage": stage.name, "loss": error, "tasks": tasks}
            self.log.event("validation", record)
        return error

    def _sample(self) -> None:
        """Sample held-out clips; one process writes them."""
        with self._best_weights():
            videos = VideoSampler(self.base.pipeline, self.data, self.settings)(self.device)
        if self.log is not None:
            step = self.state.step
            write_samples(self.settings.run, step, videos)
            self.log.event("samples", {"step": step, "scores": mean_scores(videos)})
            for video in videos:
                self.log.video(video.name, video.frames, step)

    def _best_weights(self) -> Any:
        """Within, the model has the weights that are to be used."""
        return nullcontext() if self.average is None else self.average.in_use()

    # Checkpoints

    def _checkpoint(self) -> None:
        """Write a checkpoint; all processes gather, one writes."""
        names = {parameter: name for name, parameter in self.parameters.items()}
        tensors = {f"parameters/{name}": whole(value) for name, value in self.parameters.items()}
        for name, value in optimizer_tensors(self._bare_optimizer, names).items():
            tensors[f"optimizer/{name}"] = whole(value)
        if self.average is not None:
            self.state.average_steps = self.average.steps
            for name, value in self.average.averages.items():
                tensors[f"average/{name}"] = whole(value)
        self.state.curriculum = self.progress.to_json()
        if self.accelerator.scaler is not None:
            self.state.scaler = self.accelerator.scaler.state_dict()
        with self._best_weights():
            control = control_tensors(self.base.transformer)
        if self._is_main:
            settings = self.settings
            write_checkpoint(
                settings.run,
                self.state,
                tensors,
                lambda path: write_control(self.base.transformer, control, path, settings.precision),
            )
            prune_checkpoints(settings.run, settings.keep_checkpoints, self.state.best_step)
        self.accelerator.wait_for_everyone()

    @property
    def _bare_optimizer(self) -> torch.optim.Optimizer:
        return getattr(self.optimizer, "optimizer", self.optimizer)

    def _restore(self, checkpoint: Path) -> None:
        started, tensors = read_checkpoint(checkpoint)
        check_same_plan(self.settings, started, self.state)
        self.state = started
        self.progress = CurriculumState.from_json(self.state.curriculum)
        groups: dict[str, dict[str, torch.Tensor]] = {"parameters": {}, "optimizer": {}, "average": {}}
        for path, tensor in tensors.items():
            group, _, name = path.partition("/")
            groups[group][name] = tensor
        for name, tensor in groups["parameters"].items():
            assign(self.parameters[name], tensor)
        restore_optimizer(self._bare_optimizer, self.parameters, groups["optimizer"], placed_as)
        if self.accelerator.scaler is not None and self.state.scaler:
            self.accelerator.scaler.load_state_dict(self.state.scaler)
        if self.average is not None:
            self.average.steps = self.state.average_steps
            for name, tensor in groups["average"].items():
                assign(self.average.averages[name], tensor)

    def _write_final_control(self) -> Path:
        path = self.settings.run / CONTROL_NAME
        with self._best_weights():
            control = control_tensors(self.base.transformer)
        if self._is_main:
            write_control(self.base.transformer, control, path, self.settings.precision)
        self.accelerator.wait_for_everyone()
        return path


_TASKS = tuple(ControlTask)


def _due(step: int, every: int) -> bool:
    return bool(every) and step % every == 0
