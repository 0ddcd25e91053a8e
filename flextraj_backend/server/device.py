"""The graphics card that the panel shows: asked for without loading torch, and not at every call."""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Callable

from blender_addon.client.messages import DeviceInfo

_FRESH_SECONDS = 2.0


def probe() -> DeviceInfo:
    """Ask the driver; no name where there is no card or this copy cannot ask."""
    try:
        devices = importlib.import_module("flextraj_backend.models.devices")
    except ImportError:
        return DeviceInfo()
    found = devices.probe_device()
    return DeviceInfo(found.name, found.total_bytes, found.free_bytes)


class DeviceWatch:
    """Remembers the last answer for a moment: several windows ask, and asking starts a process.

    Args:
        ask: see `probe`.
        clock: seconds that only grow.
    """

    def __init__(
        self, ask: Callable[[], DeviceInfo] = probe, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask, self._clock = ask, clock
        self._lock = threading.Lock()
        self._last: tuple[float, DeviceInfo] | None = None

    def look(self) -> DeviceInfo:
        """The card and its free memory, at most two seconds old."""
        with self._lock:
            now = self._clock()
            if self._last is None or now - self._last[0] > _FRESH_SECONDS:
                self._last = now, self._ask()
            return self._last[1]
