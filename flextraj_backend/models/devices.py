"""The device that the models would run on, found out without importing torch here.

Torch is asked in a process of its own: importing it takes seconds and memory, and a broken driver must not
take the server down. `python -m flextraj_backend.models.devices` prints what it finds as JSON.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import psutil

from blender_addon.core.errors import ErrorCode, FlexTrajError
from flextraj_backend.installation import install_command

LIMIT_VARIABLE = "FLEXTRAJ_MEMORY_LIMIT"
GIB = 1 << 30

_PROBE_SECONDS = 120.0
_FRESH_SECONDS = 15.0
"""How long the free memory of a GPU, or a failed probe, is believed."""
_IDLE_SHARE = 0.93
"""Of a device's memory that the system and a desktop leave free."""
_CPU_MATRIX = 768
_CPU_REPEATS = 4

_LIMIT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(?:([kmgt])i?)?b?\s*", re.IGNORECASE)
_POWERS = {None: 0, "k": 1, "m": 2, "g": 3, "t": 4}


class DeviceKind(StrEnum):
    """Where the models compute."""

    CUDA = "cuda"
    MPS = "mps"
    CPU = "cpu"
    NONE = "none"
    """Nowhere: torch is missing or does not load."""


@dataclass(frozen=True)
class Device:
    """What the models would run on.

    Attributes:
        name: as its driver calls it.
        total_bytes, free_bytes: of the memory that the models compute in: the GPU's, or main memory. Free
            bytes are at most FLEXTRAJ_MEMORY_LIMIT. The probe holds a CUDA context of its own while it asks,
            so that a job's context is already taken off.
        host_free_bytes: free main memory, where offloaded weights wait.
        capability: CUDA compute capability, (0, 0) elsewhere.
        processors: multiprocessors of a GPU, 0 elsewhere.
        bf16: whether bfloat16 runs at full speed.
        fp8: whether weights can be kept in 8 bits.
        measured_flops: operations a second of a small float32 matrix product, on a CPU; else 0.
        limit: FLEXTRAJ_MEMORY_LIMIT in bytes, None without.
        reason: with NONE, one sentence: why, and what to do.
    """

    kind: DeviceKind
    name: str
    total_bytes: int = 0
    free_bytes: int = 0
    host_free_bytes: int = 0
    capability: tuple[int, int] = (0, 0)
    processors: int = 0
    bf16: bool = False
    fp8: bool = False
    measured_flops: float = 0.0
    limit: int | None = None
    reason: str = ""

    @property
    def when_idle(self) -> Device:
        """The same device with nothing but the system on it."""
        return replace(self, free_bytes=_capped(int(_IDLE_SHARE * self.total_bytes), self.limit))

    @property
    def bytes_per_value(self) -> int:
        """Of the number format that the models compute in: bf16, on a CPU float32."""
        return 4 if self.kind is DeviceKind.CPU else 2

    @property
    def memory_name(self) -> str:
        """What its memory is called in a sentence."""
        return "GPU memory" if self.kind is DeviceKind.CUDA else "memory"


def probe_device() -> Device:
    """The best device here; its memory is never older than 15 seconds.

    The first call may take some seconds (torch is imported, in another process), later ones hardly any.

    Raises:
        FlexTrajError: FLEXTRAJ_MEMORY_LIMIT cannot be read.
    """
    limit = memory_limit()
    device = _cache.device()
    return replace(device, free_bytes=_capped(device.free_bytes, limit), limit=limit)


def memory_limit() -> int | None:
    """The user's cap on the memory of a job, in bytes; None without FLEXTRAJ_MEMORY_LIMIT.

    It caps the GPU's memory with CUDA, and main memory elsewhere. Accepted are a number of bytes, and sizes
    such as '6GiB', '6 GB', '6G' or '500MiB' ('GB' and 'G' are read as GiB, the unit of GPU memory).

    Raises:
        FlexTrajError: it is not such a size.
    """
    text = os.environ.get(LIMIT_VARIABLE, "")
    if not text.strip():
        return None
    match = _LIMIT.fullmatch(text)
    size = int(float(match[1]) * 1024 ** _POWERS[match[2] and match[2].lower()]) if match else 0
    if size <= 0:
        raise FlexTrajError(
            f"{LIMIT_VARIABLE} is '{text}', which is no size: give bytes or a size such as 6GiB.",
            ErrorCode.REQUEST,
        )
    return size


def _capped(size: int, limit: int | None) -> int:
    return size if limit is None else min(size, limit)


def forget_probe() -> None:
    """Ask anew at the next `probe_device`."""
    _cache.forget()


class _ProbeCache:
    """The last answer and its age; one caller at a time asks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._device: Device | None = None
        self._asked = 0.0

    def device(self) -> Device:
        with self._lock:
            if self._device is None or self._is_stale(self._device):
                self._device = _ask()
                self._asked = time.monotonic()
            return _with_main_memory(self._device)

    def forget(self) -> None:
        with self._lock:
            self._device = None

    def _is_stale(self, device: Device) -> bool:
        """A CPU stays what it is, and psutil knows its memory."""
        changes = device.kind in (DeviceKind.CUDA, DeviceKind.NONE)
        return changes and time.monotonic() - self._asked > _FRESH_SECONDS


_cache = _ProbeCache()


def _with_main_memory(device: Device) -> Device:
    memory = psutil.virtual_memory()
    if device.kind is DeviceKind.CPU:
        device = replace(device, total_bytes=memory.total, free_bytes=memory.available)
    elif device.kind is DeviceKind.MPS:
        # One memory for both; the driver says how much of it a program should use at most.
        device = replace(device, free_bytes=min(device.total_bytes, memory.available))
    return replace(device, host_free_bytes=memory.available)


def _ask() -> Device:
    """Run this module in another process and read its answer."""
    if importlib.util.find_spec("torch") is None:
        return _no_device(f"torch is not installed: run '{install_command('models')}'.")
    command = [sys.executable, "-m", "flextraj_backend.models.devices"]
    try:
        run = subprocess.run(
            command,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=_PROBE_SECONDS,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return _no_device(f"torch did not answer within {_PROBE_SECONDS:.0f} s: run 'flextraj doctor'.")
    except OSError as error:
        return _no_device(f"torch could not be asked ({error.strerror or error}): run 'flextraj doctor'.")
    if run.returncode != 0:
        last = (run.stderr.strip().splitlines() or [f"exit code {run.returncode}"])[-1]
        return _no_device(f"torch does not work ({last[:200]}): run '{install_command('models')}'.")
    try:
        return _read(run.stdout)
    except (ValueError, KeyError, TypeError):
        return _no_device("torch gave no usable answer: run 'flextraj doctor'.")


def _no_device(reason: str) -> Device:
    return Device(DeviceKind.NONE, "none", reason=reason)


def _read(output: str) -> Device:
    """The last line of the probe's output; raises ValueError, KeyError or TypeError."""
    values = json.loads(output.strip().splitlines()[-1] if output.strip() else "")
    major, minor = values["capability"]
    return Device(
        kind=DeviceKind(values["kind"]),
        name=str(values["name"]),
        total_bytes=int(values["total_bytes"]),
        free_bytes=int(values["free_bytes"]),
        capability=(int(major), int(minor)),
        processors=int(values["processors"]),
        bf16=bool(values["bf16"]),
        fp8=bool(values["fp8"]),
        measured_flops=float(values["measured_flops"]),
    )


# From here on: what runs in the other process.


def _measure() -> dict[str, Any]:
    import torch

    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        try:
            torch.zeros(1, device="cuda").add_(1).item()
        except RuntimeError as error:  # an old GPU that this torch has no kernels for
            sys.exit(f"its CUDA build cannot use the {properties.name}: {str(error).splitlines()[0]}")
        free, total = torch.cuda.mem_get_info(0)
        return {
            "kind": DeviceKind.CUDA,
            "name": properties.name,
            "total_bytes": total,
            "free_bytes": free,
            "capability": (properties.major, properties.minor),
            "processors": properties.multi_processor_count,
            "bf16": properties.major >= 8,
            "fp8": _keeps_8_bits(torch, "cuda"),
            "measured_flops": 0.0,
        }
    if torch.backends.mps.is_available():
        recommended = torch.mps.recommended_max_memory()
        return {
            "kind": DeviceKind.MPS,
            "name": "Apple GPU",
            "total_bytes": recommended,
            "free_bytes": recommended,
            "capability": (0, 0),
            "processors": 0,
            "bf16": True,
            "fp8": False,
            "measured_flops": 0.0,
        }
    return {
        "kind": DeviceKind.CPU,
        "name": f"CPU, {torch.get_num_threads()} threads",
        "total_bytes": 0,
        "free_bytes": 0,
        "capability": (0, 0),
        "processors": 0,
        "bf16": False,
        "fp8": _keeps_8_bits(torch, "cpu"),
        "measured_flops": _cpu_speed(torch),
    }


def _keeps_8_bits(torch: Any, device: str) -> bool:
    """Whether float8 can be stored and turned back."""
    try:
        stored = torch.ones(8, device=device).to(torch.float8_e4m3fn)
        return bool((stored.float() == 1).all())
    except (RuntimeError, TypeError, AttributeError):
        return False


def _cpu_speed(torch: Any) -> float:
    """Operations a second of a matrix product, the best of a few."""
    matrix = torch.ones(_CPU_MATRIX, _CPU_MATRIX)
    best = float("inf")
    for _ in range(_CPU_REPEATS):
        start = time.perf_counter()
        torch.mm(matrix, matrix)
        best = min(best, time.perf_counter() - start)
    return 2 * _CPU_MATRIX**3 / best


if __name__ == "__main__":
    print(json.dumps(_measure()))
