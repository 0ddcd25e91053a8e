"""The sampling that runs, at most one at a time, and how far it is; main thread only."""

from __future__ import annotations

import threading
from collections.abc import Generator
from typing import Any

from .core.sample_settings import SampleProgress
from .properties import runtime_state
from .sidebar import redraw_panels
from .translations import filled

_END_SECONDS = 2.0

Sampling = Generator[SampleProgress, None, Any]


class SamplingSlot:
    """Holds what samples now; the operator that started it steps it."""

    def __init__(self) -> None:
        self.sampling: Sampling | None = None
        self._sampling_has_ended = threading.Event()
        self._is_sampling_unwanted = False

    def begin_sampling(self, sampling: Sampling) -> None:
        """Remember what samples now, so that undo, loading a file or disabling can end it first."""
        self._sampling_has_ended.clear()
        self._is_sampling_unwanted = False
        self.sampling = sampling

    @property
    def is_sampling_unwanted(self) -> bool:
        """Whether another thread waits for the end of sampling."""
        return self._is_sampling_unwanted

    def end_sampling(self) -> None:
        """Close the generator, which gives the scene its frame back; harmless where nothing samples."""
        sampling, self.sampling = self.sampling, None
        if sampling is not None:
            sampling.close()
        self._sampling_has_ended.set()
        show_sampling(None)

    def end_sampling_from_any_thread(self) -> None:
        """End sampling before something else reads the scene.

        Blender calls the handlers of a render in the render's own thread, where the scene that the main
        thread samples must not be touched: ask the main thread to end it, and wait a moment for that.
        """
        if self.sampling is None:
            return
        if threading.current_thread() is threading.main_thread():
            self.end_sampling()
            return
        self._is_sampling_unwanted = True
        self._sampling_has_ended.wait(_END_SECONDS)


def show_sampling(progress: SampleProgress | None) -> None:
    """Show how far sampling is; None = it does not run."""
    state = runtime_state()
    state.is_sampling = progress is not None
    if progress is not None:
        state.sampling_factor = progress.done / max(progress.total, 1)
        state.sampling_text = filled(
            "Sampling frame {done} of {total}", done=progress.done, total=progress.total
        )
    redraw_panels()
