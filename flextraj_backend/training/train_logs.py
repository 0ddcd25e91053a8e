"""What a run leaves to read: one JSON object a line, and TensorBoard's curves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.tensorboard import SummaryWriter

from blender_addon.core.errors import ErrorCode, FlexTrajError
from flextraj_backend.atomic_file import write_text

LOG_FILE = "log.jsonl"
TENSORBOARD_FOLDER = "tensorboard"


class TrainLog:
    """Writes a run's log; what a killed run wrote after its last checkpoint is taken back.

    Args:
        run: folder of the run.
        step: steps that are done; later lines are removed.
    """

    def __init__(self, run: Path, step: int) -> None:
        self._path = run / LOG_FILE
        if self._path.exists():
            kept = [line for line in _lines(self._path) if line["step"] <= step]
            write_text(self._path, "".join(json.dumps(line) + "\n" for line in kept))
        self._file = self._path.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(run / TENSORBOARD_FOLDER), purge_step=step + 1 if step else None)

    def step(self, record: Mapping[str, Any]) -> None:
        """A training step: numbers become curves, `task_losses` one curve each."""
        self._write({"event": "step", **record})
        step = record["step"]
        for name in ("loss", "learning_rate", "stage_index", "gradient_norm"):
            self._scalar(f"train/{name}", record[name], step)
        for task, loss in record["task_losses"].items():
            self._scalar(f"train/loss_{task}", loss, step)

    def event(self, name: str, record: Mapping[str, Any]) -> None:
        """Anything else; finite numbers in it, also nested, become curves."""
        self._write({"event": name, **record})
        for key, value in record.items():
            for inner, number in value.items() if isinstance(value, Mapping) else (("", value),):
                if isinstance(number, (int, float)) and not isinstance(number, bool) and key != "step":
                    self._scalar("/".join(filter(None, (name, key, inner))), number, record["step"])

    def video(self, name: str, frames: NDArray[np.uint8], step: int) -> None:
        """A sampled video, (T, H, W, 3) uint8, as a strip of its frames."""
        strip = np.concatenate(list(frames), axis=1)
        self._board.add_image(f"samples/{name}", strip, step, dataformats="HWC")

    def close(self) -> None:
        self._file.close()
        self._board.close()

    def _scalar(self, name: str, value: float, step: int) -> None:
        if value == value and abs(value) != float("inf"):
            self._board.add_scalar(name, value, step)

    def _write(self, record: Mapping[str, Any]) -> None:
        try:
            self._file.write(json.dumps(record) + "\n")
            self._file.flush()
        except OSError as error:
            raise FlexTrajError(
                f"{self._path} cannot be written ({error.strerror}): free space on its disk and go on with "
                "--resume.",
                ErrorCode.DISK,
            ) from error


def read_log(run: Path) -> list[dict[str, Any]]:
    """The lines of a run's log."""
    return _lines(run / LOG_FILE)


def _lines(path: Path) -> list[dict[str, Any]]:
    """Whole lines only: a kill may have cut the last one off."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return lines
