"""The whole way of `flextraj synthesize`: folder, workers, shards, contact sheet."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from blender_addon.core.errors import ErrorCode, FlexTrajError
from flextraj_backend.synthesis.clip_maker import BLENDER_MAKER, WorkerLauncher
from flextraj_backend.synthesis.contact_sheet import write_contact_sheet
from flextraj_backend.synthesis.dataset_folder import LOG, DatasetFolder, locked
from flextraj_backend.synthesis.library_index import LIBRARY_RECORD, record_library
from flextraj_backend.synthesis.plan import SynthesisSettings
from flextraj_backend.synthesis.process_workers import ProcessLauncher
from flextraj_backend.synthesis.run import SynthesisProgress, make_dataset
from flextraj_backend.synthesis.run_reports import Reporter
from flextraj_backend.synthesis.user_library import NO_LIBRARY, Library

_SHOWN_SKIPPED = 5


def synthesize(
    path: Path,
    settings: SynthesisSettings,
    clips: int,
    workers: int,
    ray: str | None,
    reporter: Reporter,
    stop: threading.Event,
    maker: str = BLENDER_MAKER,
) -> SynthesisProgress:
    """Make a data set, or go on with one.

    Args:
        path: of the data set's folder.
        settings: of every clip.
        clips: how many there shall be.
        workers: that make clips at the same time.
        ray: address of a Ray cluster, or None: processes of this machine.
        reporter: is told how it goes; its `fail` is called with the sentence of every error.
        stop: set from outside to end the run; what is done is kept.
        maker: 'module:Class' of the ClipMaker.

    Raises:
        FlexTrajError: see `DatasetFolder` and `make_dataset`.
    """
    try:
        _make_folder(path)
        with locked(path):
            folder = DatasetFolder(path, settings, clips)
            library = record_library(path, Path(settings.library)) if settings.library else NO_LIBRARY
            log = path / LOG
            launcher: WorkerLauncher
            if ray is None:
                launcher = ProcessLauncher(settings, log, maker, _threads_each(workers))
            else:
                # Imported only when asked for: most installations have no Ray.
                from flextraj_backend.synthesis.ray_workers import RayLauncher

                launcher = RayLauncher(ray, settings, workers, maker)
            progress = make_dataset(folder, launcher, workers, reporter.advance, stop)
            folder.finish()
            if progress.done:
                write_contact_sheet(path)
            if not progress.failed:
                log.unlink(missing_ok=True)
        reporter.end(progress, _summary(path, progress, library))
    except FlexTrajError as error:
        reporter.fail(error)
        raise
    return progress


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FlexTrajError(
            f"{path} cannot be made ({error.strerror or error}): choose another folder with -o.",
            ErrorCode.DISK,
        ) from error


def _threads_each(workers: int) -> int:
    return max(1, (os.cpu_count() or 1) // workers)


def _summary(path: Path, progress: SynthesisProgress, library: Library) -> str:
    text = f"{path}: {progress.done} of {progress.clips} clips"
    if progress.clips_per_minute:
        text += f", {progress.clips_per_minute:.1f} a minute in this run"
    if progress.failed:
        text += (
            f"; {progress.failed} failed (failures.jsonl says why, and on one machine workers.log more): "
            "run the same command again to try them again"
        )
    text += "."
    if library.skipped:
        text += f" Left out of the library ({len(library.skipped)}, see {LIBRARY_RECORD}): "
        text += " ".join(item.sentence for item in library.skipped[:_SHOWN_SKIPPED])
    return text
