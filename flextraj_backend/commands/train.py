"""`flextraj train`: a control is trained on a synthetic dataset, in this process or many."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from blender_addon.core.errors import RequestError

if TYPE_CHECKING:
    from flextraj_backend.training.trainer import StepReport

NAME = "train"
_SPEED_WINDOW = 20
"""Steps that the shown speed is a mean of."""

_MODEL, _STEPS, _DATA, _CHECKS = "What is trained", "Steps", "Data", "Validation and checkpoints"


def _option(text: str, panel: str, *names: str, **more: Any) -> Any:
    """An option whose default is the settings': None here, so that a --config file can give it."""
    return typer.Option(None, *names, help=text, rich_help_panel=panel, show_default=False, **more)


def command(
    base: str = _option("Engine, or folder of a CogVideoX or Wan model.", _MODEL),
    data: Path = _option("Dataset folder of 'flextraj synthesize'.", _DATA),
    run: Path = _option("Folder of the run.", _MODEL, "-o", "--output"),
    config: Path = _option("TOML file with any of these settings; options win.", _MODEL),
    curriculum: str = _option("Bundled curriculum or TOML file. [annealing]", _STEPS),
    injection: str = _option("concat or controlnet. [concat]", _MODEL),
    rank: int = _option("Of the LoRA. [64]", _MODEL),
    alpha: float = _option("The LoRA is scaled by alpha / rank. [the rank]", _MODEL),
    control_blocks: int = _option("Copied blocks of --injection controlnet.", _MODEL),
    ablation: str = _option("none, no_traj_id, no_seg_id or no_color. [none]", _MODEL),
    precision: str = _option("bf16, fp32 or fp16. [bf16]", _MODEL),
    gradient_checkpointing: bool = _option("Less memory, a third more time.", _MODEL, is_flag=True),
    steps: int = _option("Of the run; the stages are scaled to it. [the curriculum's]", _STEPS),
    batch: int = _option("Samples of one process in one forward. [4]", _STEPS),
    accumulate: int = _option("Forwards of one step. [1]", _STEPS),
    learning_rate: float = _option("The largest of the stages'. [the curriculum's]", _STEPS, "--lr"),
    schedule: str = _option("constant or cosine. [constant]", _STEPS),
    warmup: int = _option("Steps until the learning rate is reached. [0]", _STEPS),
    optimizer: str = _option("adamw or adam. [adamw]", _STEPS),
    weight_decay: float = _option("[1e-4 CogVideoX, 0.01 Wan]", _STEPS),
    beta1: float = _option("Of the optimizer. [0.9]", _STEPS),
    beta2: float = _option("Of the optimizer. [0.95]", _STEPS),
    clip: float = _option("Largest norm of the gradient. [1]", _STEPS),
    ema: float = _option("Decay of a moving average of the control; 0: none. [0]", _STEPS),
    seed: int = _option("Same settings and seed, same losses. [0]", _STEPS),
    image_noise: bool = _option(
        "Noise on CogVideoX's photo, as the authors'. [on]", _DATA, "--image-noise/--no-image-noise"
    ),
    image_dropout: float = _option("Probability that a step sees no photo. [0.05]", _DATA),
    condition_variants: int = _option(
        "Choices of each clip whose encoded conditions are kept; 0: always new ones. [0]", _DATA
    ),
    encode_batch: int = _option("Videos that the VAE encodes together. [4]", _DATA),
    cache: Path = _option("Folder of encoded videos. [in the dataset's]", _DATA),
    cache_limit_gb: float = _option("The cache stops growing there. [50]", _DATA),
    loaders: int = _option("Threads that read ahead. [1]", _DATA),
    validation_clips: int = _option("Clips held out of the training. [8]", _CHECKS),
    validate_every: int = _option("Steps between validation losses; 0: at the end. [500]", _CHECKS),
    sample_every: int = _option("Steps between sampled videos; 0: none. [0]", _CHECKS),
    sample_steps: int = _option("Denoising steps of sampled videos. [20]", _CHECKS),
    checkpoint_every: int = _option("Steps between checkpoints; 0: at the end. [500]", _CHECKS),
    keep_checkpoints: int = _option("The last ones that stay, beside the best. [2]", _CHECKS),
    resume: bool = _option("Go on from the run's last checkpoint.", _CHECKS, is_flag=True),
) -> None:
    """Train the control on a base model that stays as it is.

    With several GPUs or machines: accelerate launch -m flextraj_backend train ...
    """
    given = {name: value for name, value in locals().items() if name != "config" and value is not None}
    # Imported here: the command line's --help does not wait for torch.
    from flextraj_backend.training.train_settings import TrainSettings, read_settings, settings_values

    values = {} if config is None else read_settings(config)
    values |= settings_values(given, "The command line")
    for name, option in (("base", "--base"), ("data", "--data"), ("run", "-o")):
        if name not in values:
            raise RequestError(f"The training needs '{name}': give {option}, or a --config file that has it.")
    settings = TrainSettings(**values)

    from flextraj_backend.training.trainer import train

    console = Console(stderr=True)
    first = os.environ.get("RANK", "0") == "0"
    with _progress_bar(console) as progress:
        bar = _StepBar(progress)
        result = train(settings, bar.step if first else None, bar.prepared if first else None)
    if first:
        Console().print(
            f"{result.control}: {result.steps} steps; log and checkpoints are in {result.run}.",
            highlight=False,
            soft_wrap=True,
        )


class _StepBar:
    """Shows step, loss, stage, speed and remaining time."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("preparing clips", total=None, detail="")
        self._seconds: list[float] = []

    def prepared(self, done: int, total: int) -> None:
        self._progress.update(self._task, completed=done, total=total)

    def step(self, report: StepReport) -> None:
        self._seconds = [*self._seconds, report.seconds][-_SPEED_WINDOW:]
        speed = len(self._seconds) / max(sum(self._seconds), 1e-9)
        detail = f"loss {report.loss:.4f}, {speed:.2f} steps/s"
        self._progress.update(
            self._task, description=report.stage, completed=report.step, total=report.total, detail=detail
        )


def _progress_bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:>16}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[detail]}"),
        TimeRemainingColumn(),
        console=console,
    )
