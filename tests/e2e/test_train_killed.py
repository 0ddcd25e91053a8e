"""`flextraj train`, killed in the middle and resumed, loses nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from tiny_training import build_training_base, toy_settings, write_toy_dataset

from flextraj_backend.models.backbone import Backbone
from flextraj_backend.training.resume import checkpoint_folders
from flextraj_backend.training.run_folder import SETTINGS_FILE
from flextraj_backend.training.train_logs import LOG_FILE, read_log
from flextraj_backend.training.train_settings import TrainPrecision, write_settings
from flextraj_backend.training.trainer import train

STEPS, KILLED_AT = 400, 12


def losses(run: Path) -> list[tuple[int, float]]:
    return [(line["step"], line["loss"]) for line in read_log(run) if line["event"] == "step"]


def test_a_killed_training_goes_on_with_the_same_losses(tmp_path: Path) -> None:
    base = build_training_base(Backbone.COGVIDEOX, tmp_path / "base")
    data = write_toy_dataset(tmp_path / "clips")
    settings = toy_settings(
        base,
        data,
        tmp_path / "killed",
        steps=STEPS,
        precision=TrainPrecision.BF16,
        checkpoint_every=5,
        validation_clips=0,
        ema=0.9,
    )
    config = write_settings(settings, tmp_path / "config.toml")
    child = subprocess.Popen(
        [sys.executable, "-m", "flextraj_backend", "train", "--config", str(config)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    log = settings.run / LOG_FILE
    try:
        deadline = time.monotonic() + 300
        while not log.exists() or len(log.read_bytes().splitlines()) < KILLED_AT:
            assert child.poll() is None and time.monotonic() < deadline
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
    finally:
        child.kill()
        child.wait()
    reached = losses(settings.run)[-1][0]
    assert KILLED_AT - 2 <= reached < STEPS - 100
    resumed_from = int(checkpoint_folders(settings.run)[-1].name.removeprefix("step-"))
    assert resumed_from <= reached and (settings.run / SETTINGS_FILE).exists()

    class Enough(BaseException):
        pass

    def stop(report: object) -> None:
        if getattr(report, "step", 0) == reached + 20:
            raise Enough

    for run in (
        replace(settings, resume=True),
        # Another cache, so that nothing of the killed run serves the one in one go.
        replace(settings, run=tmp_path / "whole", cache=tmp_path / "latents"),
    ):
        with suppress(Enough):
            train(run, stop)
    assert losses(settings.run) == losses(tmp_path / "whole")
    assert len(losses(settings.run)) == reached + 20
