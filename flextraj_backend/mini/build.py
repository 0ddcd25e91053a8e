"""Makes a mini model from nothing: clips, autoencoder, base, control, and the folder that is shipped.

Each part is written once it is complete and not made again. Clips, base and control that were interrupted
go on; the autoencoder, a matter of minutes, is begun again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from blender_addon.core.errors import RequestError
from flextraj_backend.atomic_file import atomic_folder, write_text
from flextraj_backend.json_values import plain
from flextraj_backend.mini.autoencoder import build_autoencoder
from flextraj_backend.mini.autoencoder_training import train_autoencoder
from flextraj_backend.mini.base_folder import (
    build_transformer,
    write_model_index,
    write_scheduler,
    write_text_encoder,
)
from flextraj_backend.mini.base_training import train_base
from flextraj_backend.mini.latent_pool import encode_pool
from flextraj_backend.mini.pack import check_packed_size, pack_mini
from flextraj_backend.mini.pictures import VideoPool, load_pool
from flextraj_backend.mini.settings import HELD_OUT, MiniSettings
from flextraj_backend.synthesis.clip_maker import BLENDER_MAKER
from flextraj_backend.synthesis.pipeline import synthesize
from flextraj_backend.synthesis.run_reports import Reporter
from flextraj_backend.synthesis.shards import dataset_keys
from flextraj_backend.synthesis.stop_signals import stopping_on_signals
from flextraj_backend.training.run_folder import has_steps
from flextraj_backend.training.train_reports import StepReport
from flextraj_backend.training.train_settings import (
    FuseStart,
    LearningRateSchedule,
    TrainSettings,
)
from flextraj_backend.training.trainer import train

LOG = "mini.jsonl"


@dataclass(frozen=True)
class MiniProgress:
    """Where the work stands: `step` of `steps` within a phase, and the phase's latest figures."""

    phase: str
    step: int
    steps: int
    figures: Mapping[str, float]


OnProgress = Callable[[MiniProgress], None]


def build_mini(
    settings: MiniSettings,
    folder: Path,
    workers: int,
    reporter: Reporter,
    on_progress: OnProgress,
    maker: str = BLENDER_MAKER,
) -> Path:
    """Make everything that is not there yet.

    Args:
        folder: of the run: clips, base, control's run and the shipped folder.
        workers: Blender processes that make clips.
        reporter: is told how the clips go.
        on_progress: is told how the trainings go.
        maker: 'module:Class' of what makes the clips.

    Returns:
        the folder for `FLEXTRAJ_MINI_DIR` or the package.

    Raises:
        FlexTrajError: one of the parts cannot be made, the result would be too large, there is no GPU where
            one is needed, or the folder belongs to other settings.
    """
    check_packed_size(settings)
    if settings.needs_gpu and not torch.cuda.is_available():
        raise RequestError("This size needs a GPU with CUDA, on a processor it takes days: choose 'cpu'.")
    folder.mkdir(parents=True, exist_ok=True)
    _check_same(settings, folder / "settings.json")
    torch.set_num_threads(settings.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    clips, base = folder / "clips", folder / "base"
    with stopping_on_signals() as stop:
        synthesize(clips, settings.clips, settings.clip_count, workers, None, reporter, stop, maker)
    log = _Log(folder / LOG, on_progress)
    if not (base / "model_index.json").exists():
        keys = dataset_keys(clips)
        pool, held_out = (load_pool(clips, part, 0) for part in (keys[HELD_OUT:], keys[:HELD_OUT]))
        _make_autoencoder(settings, base, pool, held_out, device, log)
        _make_base(settings, base, pool, device, log)
    control = _make_control(settings, clips, base, folder / "control", log)
    return pack_mini(base, control, folder / "mini", (folder / LOG, folder / "control" / "log.jsonl"))


def _make_autoencoder(
    settings: MiniSettings,
    base: Path,
    pool: VideoPool,
    held_out: VideoPool,
    device: torch.device,
    log: _Log,
) -> None:
    if (base / "vae" / "config.json").exists():
        return
    torch.manual_seed(settings.autoencoder_training.seed)
    model: Any = build_autoencoder(settings.autoencoder, settings.width, settings.height)
    model.to(device)
    steps = settings.autoencoder_training.steps
    train_autoencoder(
        model,
        pool,
        held_out,
        settings.autoencoder_training,
        lambda report: log.write("autoencoder", report.step, steps, asdict(report)),
    )
    base.mkdir(exist_ok=True)
    with atomic_folder(base / "vae") as temporary:
        model.cpu().save_pretrained(temporary)


def _make_base(settings: MiniSettings, base: Path, pool: VideoPool, device: torch.device, log: _Log) -> None:
    from diffusers.models.autoencoders.autoencoder_kl_cogvideox import AutoencoderKLCogVideoX

    from flextraj_backend.models.prompts import Alignment

    training = settings.base_training
    autoencoder = AutoencoderKLCogVideoX.from_pretrained(base / "vae")
    assert isinstance(autoencoder, AutoencoderKLCogVideoX)
    write_text_encoder(base, pool.prompts, settings.transformer, training.seed)
    write_scheduler(base)
    torch.manual_seed(training.seed)
    shape = (settings.frames, settings.width, settings.height)
    transformer: Any = build_transformer(settings.transformer, autoencoder, *shape)
    pipeline = _untrained_pipeline(base, autoencoder, transformer)
    pipeline.to(device)
    texts: dict[str, torch.Tensor] = {}

    def embed(prompt: str) -> torch.Tensor:
        if prompt not in texts:
            embedded = pipeline.encode_prompts(prompt, "", Alignment.ALIGNED, 1.0).prompt
            texts[prompt] = embedded[0].float().cpu()
        return texts[prompt]

    latents = encode_pool(
        pipeline.vae,
        pool,
        training.variants,
        embed,
        training.seed,
        lambda done, total: log.show("encoding", done, total),
    )
    transformer.to(device)
    train_base(
        transformer,
        latents,
        pipeline.scheduler.alphas_cumprod.float(),
        training,
        base.with_name("base_training.safetensors"),
        lambda report: log.write("base", report.step, training.steps, asdict(report)),
    )
    transformer.cpu().save_pretrained(base / "transformer")
    write_model_index(base)


def _untrained_pipeline(base: Path, autoencoder: Any, transformer: Any) -> Any:
    """What embeds prompts as the engine will. The folder is no base before its transformer is trained."""
    from diffusers.schedulers.scheduling_ddim_cogvideox import CogVideoXDDIMScheduler
    from transformers import T5EncoderModel, T5Tokenizer

    from flextraj_backend.models.cogvideox_pipeline import FlexTrajCogVideoXPipeline

    scheduler: Any = CogVideoXDDIMScheduler.from_pretrained(base / "scheduler")
    return FlexTrajCogVideoXPipeline(
        tokenizer=T5Tokenizer.from_pretrained(base / "tokenizer"),
        text_encoder=T5EncoderModel.from_pretrained(base / "text_encoder"),
        vae=autoencoder,
        transformer=transformer,
        scheduler=scheduler,
    )


def _make_control(settings: MiniSettings, clips: Path, base: Path, run: Path, log: _Log) -> Path:
    control, trained = settings.control, run / "control.safetensors"
    if trained.exists():
        return trained

    def on_step(report: StepReport) -> None:
        log.show("control", report.step, report.total, {"loss": report.loss})

    return train(
        TrainSettings(
            base=str(base),
            data=clips,
            run=run,
            curriculum=control.curriculum,
            rank=control.rank,
            fuse_start=FuseStart.IDENTITY,
            steps=control.steps,
            batch=control.batch,
            learning_rate=control.learning_rate,
            ema=control.ema,
            precision=settings.precision,
            schedule=LearningRateSchedule.COSINE,
            image_noise=False,
            image_dropout=0.0,
            condition_variants=control.condition_variants,
            encode_batch=8,
            validation_clips=control.validation_clips,
            seed=control.seed,
            resume=has_steps(run),
        ),
        on_step,
    ).control


class _Log:
    """Writes figures as JSON lines and passes all progress on.

    A phase that was interrupted says again what it does again: its later lines of before are taken back.
    """

    def __init__(self, path: Path, on_progress: OnProgress) -> None:
        self._path, self._on_progress = path, on_progress
        self._phases: set[str] = set()

    def write(self, phase: str, step: int, steps: int, figures: Mapping[str, float]) -> None:
        if phase not in self._phases:
            self._phases.add(phase)
            self._take_back(phase, step)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(plain({"phase": phase, **figures, "step": step})) + "\n")
        self.show(phase, step, steps, figures)

    def show(self, phase: str, step: int, steps: int, figures: Mapping[str, float] | None = None) -> None:
        self._on_progress(MiniProgress(phase, step, steps, figures or {}))

    def _take_back(self, phase: str, step: int) -> None:
        if not self._path.exists():
            return
        lines = self._path.read_text(encoding="utf-8").splitlines(keepends=True)
        records = [(line, json.loads(line)) for line in lines if line.endswith("\n")]
        kept = [line for line, record in records if record["phase"] != phase or record["step"] < step]
        write_text(self._path, "".join(kept))


def _check_same(settings: MiniSettings, path: Path) -> None:
    """Raises RequestError where the folder was begun with other settings."""
    text = json.dumps(asdict(settings), indent=2, default=str)
    if not path.exists():
        write_text(path, text)
    elif path.read_text() != text:
        raise RequestError(
            f"{path.parent} was begun with other settings: give another folder with -o, or the same settings."
        )
