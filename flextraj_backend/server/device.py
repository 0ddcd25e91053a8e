"""The device that the panel shows: told at once, asked for in the background when somebody looks."""

from __future__ import annotations

import importlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from blender_addon.client.messages import DeviceInfo
from blender_addon.core.errors import FlexTrajError

_FRESH_SECONDS = 15.0

_log = logging.getLogger("flextraj.device")


def probe() -> DeviceInfo:
    """Ask the driver, which may take many seconds; no name where this copy cannot ask."""
    try:
        devices = importlib.import_module("flextraj_backend.models.devices")
    except ImportError:
        return DeviceInfo()
    try:
        found = devices.probe_device()
    except FlexTrajError as error:
        return DeviceInfo(reason=error.message)
    if found.reason:
        return DeviceInfo(reason=found.reason)
    return DeviceInfo(found.name, found.memory_name, found.total_bytes, found.free_bytes)


class DeviceWatch:
    """Remembers the last answer; a look at an old one lets a thread ask anew.

    Args:
        ask: see `probe`.
        clock: seconds that only grow.
    """

    def __init__(
        self, ask: Callable[[], DeviceInfo] = probe, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask, self._clock = ask, clock
        self._lock = threading.Lock()
        self._last = DeviceInfo()
        self._answered: float | None = None
        self._is_asking = False

    def look(self) -> DeviceInfo:
        """What is known now; never waits for the driver."""
        with self._lock:
            is_old = self._answered is None or self._clock() - self._answered > _FRESH_SECONDS
            if is_old and not self._is_asking:
                self._is_asking = True
                threading.Thread(target=self._work, name="device", daemon=True).start()
            return replace(self._last, is_being_asked=self._is_asking)

    def _work(self) -> None:
        try:
            found = self._ask()
        except Exception:
            # A panel without this line is better than a thread that is believed to ask for ever.
            _log.exception("The device cannot be asked")
            found = DeviceInfo()
        with self._lock:
            self._last, self._answered, self._is_asking = found, self._clock(), False
