"""`flextraj train`: a control is trained on a synthetic dataset, in this process or many."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from blender_addon.core.errors import RequestError
from flextraj_backend.installation import require_packages
from flextraj_backend.phase_bar import PhaseBar

if TYPE_CHECKING:
    from flextraj_backend.training.train_reports import StepReport

NAME = "train"
_SPEED_WINDOW = 20
"""Steps that the shown speed is a mean of."""

_MODEL, _STEPS, _DATA, _CHECKS = "What is trained", "Steps", "Data", "Validation and checkpoints"


def _option(text: str, panel: str, *names: str) -> Any:
    """An option without a default of its own: it may be in the --config file, and the settings have one."""
    return typer.Option(*names, help=text, rich_help_panel=panel, show_default=False)


def command(
    base: Annotated[str | None, _option("Engine, or folder of a CogVideoX or Wan model.", _MODEL)] = None,
    data: Annotated[Path | None, _option("Dataset folder of 'flextraj synthesize'.", _DATA)] = None,
    run: Annotated[Path | None, _option("Folder of the run.", _MODEL, "-o", "--output")] = None,
    config: Annotated[
        Path | None, _option("TOML file with any of these settings; options win.", _MODEL)
    ] = None,
    curriculum: Annotated[
        str | None, _option("Bundled curriculum or TOML file. Default: annealing.", _STEPS)
    ] = None,
    injection: Annotated[str | None, _option("concat or controlnet. Default: concat.", _MODEL)] = None,
    rank: Annotated[int | None, _option("Of the LoRA. Default: 64.", _MODEL)] = None,
    alpha: Annotated[
        float | None, _option("The LoRA is scaled by alpha / rank. Default: the rank.", _MODEL)
    ] = None,
    fuse_start: Annotated[
        str | None,
        _option("zero or identity: what the colour video adds at first. Default: zero.", _MODEL),
    ] = None,
    control_blocks: Annotated[int | None, _option("Copied blocks of --injection controlnet.", _MODEL)] = None,
    ablation: Annotated[
        str | None, _option("none, no_traj_id, no_seg_id or no_color. Default: none.", _MODEL)
    ] = None,
    precision: Annotated[str | None, _option("bf16, fp32 or fp16. Default: bf16.", _MODEL)] = None,
    gradient_checkpointing: Annotated[
        bool | None, _option("Less memory, a third more time.", _MODEL, "--gradient-checkpointing")
    ] = None,
    steps: Annotated[
        int | None, _option("Of the run; the stages are scaled to it. Default: the curriculum's.", _STEPS)
    ] = None,
    batch: Annotated[
        int | None, _option("Samples of one process in one forward. Default: 4.", _STEPS)
    ] = None,
    accumulate: Annotated[int | None, _option("Forwards of one step. Default: 1.", _STEPS)] = None,
    learning_rate: Annotated[
        float | None, _option("The largest of the stages'. Default: the curriculum's.", _STEPS, "--lr")
    ] = None,
    schedule: Annotated[str | None, _option("constant or cosine. Default: constant.", _STEPS)] = None,
    warmup: Annotated[
        int | None, _option("Steps until the learning rate is reached. Default: 0.", _STEPS)
    ] = None,
    optimizer: Annotated[str | None, _option("adamw or adam. Default: adamw.", _STEPS)] = None,
    weight_decay: Annotated[float | None, _option("Default: 1e-4 CogVideoX, 0.01 Wan.", _STEPS)] = None,
    beta1: Annotated[float | None, _option("Of the optimizer. Default: 0.9.", _STEPS)] = None,
    beta2: Annotated[float | None, _option("Of the optimizer. Default: 0.95.", _STEPS)] = None,
    clip: Annotated[float | None, _option("Largest norm of the gradient. Default: 1.", _STEPS)] = None,
    ema: Annotated[
        float | None, _option("Decay of a moving average of the control; 0: none. Default: 0.", _STEPS)
    ] = None,
    seed: Annotated[int | None, _option("Same settings and seed, same losses. Default: 0.", _STEPS)] = None,
    image_noise: Annotated[
        bool | None,
        _option(
            "Noise on CogVideoX's photo, as the authors'. Default: on.",
            _DATA,
            "--image-noise/--no-image-noise",
        ),
    ] = None,
    image_dropout: Annotated[
        float | None, _option("Probability that a step sees no photo. Default: 0.05.", _DATA)
    ] = None,
    condition_variants: Annotated[
        int | None,
        _option(
            "Choices of each clip whose encoded conditions are kept; 0: always new ones. Default: 0.", _DATA
        ),
    ] = None,
    encode_batch: Annotated[
        int | None, _option("Videos that the VAE encodes together. Default: 4.", _DATA)
    ] = None,
    cache: Annotated[
        Path | None, _option("Folder of encoded videos. Default: in the dataset's.", _DATA)
    ] = None,
    cache_limit_gb: Annotated[
        float | None, _option("The cache stops growing there. Default: 50.", _DATA)
    ] = None,
    loaders: Annotated[int | None, _option("Threads that read ahead. Default: 1.", _DATA)] = None,
    validation_clips: Annotated[
        int | None, _option("Clips held out of the training. Default: 8.", _CHECKS)
    ] = None,
    validate_every: Annotated[
        int | None, _option("Steps between validation losses; 0: at the end. Default: 500.", _CHECKS)
    ] = None,
    sample_every: Annotated[
        int | None, _option("Steps between sampled videos; 0: none. Default: 0.", _CHECKS)
    ] = None,
    sample_clips: Annotated[
        int | None, _option("Held-out clips that are sampled. Default: 2.", _CHECKS)
    ] = None,
    sample_steps: Annotated[
        int | None, _option("Denoising steps of sampled videos. Default: 20.", _CHECKS)
    ] = None,
    checkpoint_every: Annotated[
        int | None, _option("Steps between checkpoints; 0: at the end. Default: 500.", _CHECKS)
    ] = None,
    keep_checkpoints: Annotated[
        int | None, _option("The last ones that stay, beside the best. Default: 2.", _CHECKS)
    ] = None,
    resume: Annotated[
        bool | None, _option("Go on from the run's last checkpoint.", _CHECKS, "--resume")
    ] = None,
) -> None:
    """Train the control on a base model that stays as it is.

    With several GPUs or machines: accelerate launch -m flextraj_backend train ...
    """
    given = {name: value for name, value in locals().items() if name != "config" and value is not None}
    require_packages("train")
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
    with PhaseBar(console) as bar:
        shown = _TrainingBar(bar)
        if first:
            bar.advance("preparing clips", 0)
        result = train(
            settings,
            shown.step if first else None,
            shown.prepared if first else None,
            bar.note if first else None,
        )
    if first:
        Console().print(
            f"{result.control}: {result.steps} steps; log and checkpoints are in {result.run}.",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


class _TrainingBar:
    """Shows step, loss, stage, speed and remaining time."""

    def __init__(self, bar: PhaseBar) -> None:
        self._bar = bar
        self._seconds: list[float] = []

    def prepared(self, done: int, total: int) -> None:
        self._bar.advance("preparing clips", done, total)

    def step(self, report: StepReport) -> None:
        self._seconds = [*self._seconds, report.seconds][-_SPEED_WINDOW:]
        speed = len(self._seconds) / max(sum(self._seconds), 1e-9)
        detail = f"{report.stage}, loss {report.loss:.4f}, {speed:.2f} steps/s"
        self._bar.advance("training", report.step, report.total, detail)
