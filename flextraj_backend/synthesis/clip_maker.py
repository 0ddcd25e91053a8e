"""Who makes clips, as the pipeline knows them: a maker within a process, a worker from outside."""

from __future__ import annotations

import importlib
import traceback
from dataclasses import dataclass
from typing import Protocol

from blender_addon.core.errors import ErrorCode, FlexTrajError
from flextraj_backend.synthesis.clip import SyntheticClip
from flextraj_backend.synthesis.plan import ClipTask, SynthesisSettings, plan_clip
from flextraj_backend.synthesis.shards import PackedClip, pack_clip

BLENDER_MAKER = "flextraj_backend.synthesis.blender_maker:BlenderClipMaker"


class ClipMaker(Protocol):
    """Makes clips, one after the other; the same task gives the same clip whatever was made before."""

    def __init__(self, settings: SynthesisSettings) -> None:
        """Raises FlexTrajError where no clip can be made here at all."""
        ...

    def make(self, task: ClipTask) -> SyntheticClip:
        """Raises FlexTrajError where this clip cannot be made."""
        ...


class ClipWorker(Protocol):
    """A process that makes clips, here or elsewhere."""

    def make(self, index: int) -> PackedClip:
        """Make the clip of this number; blocks.

        Raises:
            FlexTrajError: the clip failed; the worker goes on.
            WorkerGoneError: the worker has died, or was closed.
        """
        ...

    def close(self) -> None:
        """End the worker, whatever it does; may be called from another thread, and twice."""
        ...


class WorkerLauncher(Protocol):
    """Starts workers."""

    def launch(self) -> ClipWorker:
        """Start a worker that is ready to make clips. Raises FlexTrajError where none can be started."""
        ...


class WorkerGoneError(FlexTrajError):
    """A worker ended without a result; the sentence says why, as far as it is known."""

    def __init__(self, message: str) -> None:
        super().__init__(message, ErrorCode.DEFECT)

    def __reduce__(self) -> tuple[type[WorkerGoneError], tuple[str]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return type(self), (self.message,)


@dataclass(frozen=True)
class FailedClip:
    """A clip that could not be made, and the sentence that says why."""

    key: str
    sentence: str


def load_maker(name: str, settings: SynthesisSettings) -> ClipMaker:
    """Make the maker of a 'module:Class' name. Raises FlexTrajError where no clip can be made here."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)(settings)


def make_packed(maker: ClipMaker, settings: SynthesisSettings, index: int) -> PackedClip | FailedClip:
    """Make and pack one clip; a failure of any kind becomes a sentence, and a traceback on standard error."""
    task = plan_clip(settings, index)
    try:
        return pack_clip(maker.make(task), settings.video)
    except FlexTrajError as error:
        traceback.print_exc()
        return FailedClip(task.key, error.message)
    except MemoryError:
        return FailedClip(
            task.key, "There is not enough memory for this clip: use a smaller size or fewer workers."
        )
    except Exception as error:
        traceback.print_exc()
        first_line = str(error).strip().partition("\n")[0][:300]
        return FailedClip(
            task.key, f"The clip stopped on an unexpected error ({type(error).__name__}: {first_line})."
        )
