"""Checkpoints: the control for the engines, and the trainer's state to go on from exactly.

    checkpoints/step-000500/
        control.safetensors      in the authors' format (the moving average where there is one)
        trainer.safetensors      float32 parameters, optimizer state, moving averages
        trainer.json             step, stage, counts

A checkpoint is written into a folder of a temporary name, which is renamed when it is complete. Nothing is
pickled. The random numbers need no state: each sample draws from its seed, step and place.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from blender_addon.core.errors import ErrorCode, FlexTrajError

CHECKPOINTS = "checkpoints"
CONTROL_FILE, TENSOR_FILE, STATE_FILE = "control.safetensors", "trainer.safetensors", "trainer.json"
FORMAT_VERSION = 1

_NAME = re.compile(r"step-(\d{6,})")


@dataclass
class TrainerState:
    """Where a run stands, besides its tensors.

    Attributes:
        step: steps done.
        curriculum: its state as JSON.
        task_counts: samples trained on, by task.
        skipped: steps without an update because of a loss that was not finite; skipped_in_a_row of them last.
        average_steps: updates of the moving average.
        best_loss, best_step: the lowest validation loss of the last stage reached, and when.
        best_stage: the stage of it.
        scaler: of the losses, with fp16 alone.
        plan: the whole curriculum, with the mixture of each stage, as JSON.
        clips: digest of the clips to train on and of those held out.
    """

    step: int = 0
    curriculum: dict[str, Any] = field(default_factory=dict)
    task_counts: dict[str, int] = field(default_factory=dict)
    skipped: int = 0
    skipped_in_a_row: int = 0
    average_steps: int = 0
    best_loss: float | None = None
    best_step: int | None = None
    best_stage: str = ""
    scaler: dict[str, Any] = field(default_factory=dict)
    plan: dict[str, Any] = field(default_factory=dict)
    clips: str = ""


def write_checkpoint(
    run: Path,
    state: TrainerState,
    tensors: Mapping[str, torch.Tensor],
    write_control: Callable[[Path], object],
) -> Path:
    """Write a checkpoint atomically; one of the same step is replaced.

    Args:
        write_control: writes the control to a path.

    Raises:
        FlexTrajError: the folder cannot be written or the disk is full; nothing is left behind.
    """
    folder = run / CHECKPOINTS / f"step-{state.step:06d}"
    temporary = folder.with_name(f".{folder.name}.{uuid4().hex[:12]}")
    try:
        temporary.mkdir(parents=True)
        write_control(temporary / CONTROL_FILE)
        save_file(dict(tensors), temporary / TENSOR_FILE)
        values = {"format": FORMAT_VERSION, **asdict(state)}
        (temporary / STATE_FILE).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
        for path in temporary.iterdir():
            _to_disk(path)
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
    except (OSError, SafetensorError) as error:
        raise FlexTrajError(
            f"The checkpoint of step {state.step} cannot be written ({error}): free space on the disk of "
            f"{run} and go on with --resume.",
            ErrorCode.DISK,
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def read_checkpoint(folder: Path) -> tuple[TrainerState, dict[str, torch.Tensor]]:
    """Read the trainer's state. Raises FlexTrajError."""
    try:
        values = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
        if values.pop("format") != FORMAT_VERSION:
            raise ValueError("it is of another version")
        return TrainerState(**values), load_file(folder / TENSOR_FILE)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise FlexTrajError(
            f"The checkpoint {folder} cannot be read ({error}): delete its folder, so that the one before is "
            "used.",
            ErrorCode.WEIGHTS,
        ) from error


def checkpoint_folders(run: Path) -> list[Path]:
    """The complete checkpoints of a run, oldest first."""
    folder = run / CHECKPOINTS
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if path.is_dir() and _NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))


def prune_checkpoints(run: Path, keep: int, best_step: int | None) -> None:
    """Delete all but the last ones and the best; and what broken writing left behind."""
    for folder in checkpoint_folders(run)[:-keep]:
        if best_step is None or folder.name != f"step-{best_step:06d}":
            shutil.rmtree(folder, ignore_errors=True)
    for leftover in (run / CHECKPOINTS).glob(".step-*"):
        shutil.rmtree(leftover, ignore_errors=True)


def optimizer_tensors(
    optimizer: torch.optim.Optimizer, names: Mapping[torch.Tensor, str]
) -> dict[str, torch.Tensor]:
    """The optimizer's state by parameter name: `name/exp_avg` and the like."""
    return {
        f"{names[parameter]}/{key}": torch.as_tensor(value)
        for parameter, values in optimizer.state.items()
        for key, value in values.items()
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer,
    parameters: Mapping[str, torch.Tensor],
    tensors: Mapping[str, torch.Tensor],
    place: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> None:
    """Put a state back.

    Args:
        place: moves, and where need be shards, a whole tensor as a parameter is.
    """
    for path, tensor in tensors.items():
        name, _, key = path.rpartition("/")
        parameter = parameters[name]
        value = tensor.clone() if tensor.ndim == 0 else place(tensor, parameter)
        optimizer.state[parameter][key] = value


def _to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
