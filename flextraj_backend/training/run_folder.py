"""The folder of a run: a new one, or one to go on with."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from blender_addon.core.errors import ErrorCode, FlexTrajError, RequestError
from flextraj_backend.models.backbone import Backbone
from flextraj_backend.training.resume import checkpoint_folders
from flextraj_backend.training.train_logs import LOG_FILE
from flextraj_backend.training.train_settings import (
    CHANGEABLE,
    TrainSettings,
    read_settings,
    write_settings,
)

SETTINGS_FILE = "run.toml"


def open_run(settings: TrainSettings) -> None:
    """Make a run's folder and write its settings, or check that it can be resumed.

    Raises:
        FlexTrajError: there is a run already, it has other settings, or the folder cannot be written.
    """
    run, path = settings.run, settings.run / SETTINGS_FILE
    started = path.exists()
    if not settings.resume and has_steps(run):
        raise RequestError(
            f"{run} holds a run already: add --resume to go on with it, or give another folder with -o."
        )
    if settings.resume and not started:
        raise RequestError(f"{run} holds no run to go on with: leave --resume out to start one there.")
    if started and settings.resume:
        check_same(settings, path)
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FlexTrajError(
            f"The folder {run} cannot be made ({error.strerror}): give another with -o.", ErrorCode.DISK
        ) from error
    write_settings(settings, path)


def has_steps(run: Path) -> bool:
    """Whether a run got further than its settings, so that it can only be resumed."""
    begun = bool(checkpoint_folders(run)) or (run / LOG_FILE).exists()
    return begun and (run / SETTINGS_FILE).exists()


def last_checkpoint(settings: TrainSettings) -> Path | None:
    """The checkpoint to go on from; None to start at step 0."""
    checkpoints = checkpoint_folders(settings.run)
    return checkpoints[-1] if settings.resume and checkpoints else None


def check_same(settings: TrainSettings, path: Path) -> None:
    """Raises RequestError where the run of this settings file computes something else."""
    stored = TrainSettings(**read_settings(path))
    for field in fields(TrainSettings):
        if field.name not in CHANGEABLE:
            before, now = getattr(stored, field.name), getattr(settings, field.name)
            if before != now and not (field.name == "base" and _same_base(before, now)):
                raise RequestError(
                    f"{path.parent} was started with {field.name} = {before}, not {now}: resume it with the "
                    "settings of its run.toml, or give another folder with -o."
                )


def _same_base(before: str, now: str) -> bool:
    """Whether two spellings name one folder; one that was moved since cannot be compared."""
    old, new = Path(before).expanduser(), Path(now).expanduser()
    if not new.is_dir() or before in tuple(Backbone):
        return False
    return not old.is_dir() or old.resolve() == new.resolve()
