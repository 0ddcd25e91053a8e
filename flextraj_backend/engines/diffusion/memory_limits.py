"""Out of memory: the user's cap on a job (FLEXTRAJ_MEMORY_LIMIT), and what a job that ran out says."""

from __future__ import annotations

import gc
import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from blender_addon.core.errors import ErrorCode
from flextraj_backend.engines.base import EngineError

_WORDS = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "bad_alloc",
    "could not create a memory",
    "could not create a primitive",
    "alloc_failed",
)
"""How torch and its libraries say that memory ran out where they raise a plain RuntimeError."""


PROGRAM_BYTES = 1 << 30
"""Main memory of the program itself, as memory plans for a CPU reckon it: a part of the user's cap."""

_log = logging.getLogger("flextraj.memory")


@contextmanager
def capped_memory(device: torch.device, limit: int | None) -> Iterator[None]:
    """Within, this process may take `limit` bytes for the job, as if the device had no more.

    On CUDA it is the GPU's memory. On a CPU, on Linux, it is main memory: what the program has taken already
    counts as `PROGRAM_BYTES`, whatever it is. Elsewhere nothing is capped.
    """
    if limit is None:
        yield
    elif device.type == "cuda":
        # The fraction wants a number: a device without one is refused.
        index = torch.cuda.current_device() if device.index is None else device.index
        total = torch.cuda.get_device_properties(index).total_memory
        torch.cuda.set_per_process_memory_fraction(min(limit / total, 1.0), index)
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0, index)
    elif sys.platform == "linux":
        import resource

        before = resource.getrlimit(resource.RLIMIT_DATA)
        wanted = _data_bytes() + max(limit - PROGRAM_BYTES, 0)
        ceiling = before[1] if before[1] != resource.RLIM_INFINITY else wanted
        resource.setrlimit(resource.RLIMIT_DATA, (min(wanted, ceiling), before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_DATA, before)
    else:
        yield


def _data_bytes() -> int:
    """What counts against RLIMIT_DATA at present."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0


@contextmanager
def memory_advice(device: torch.device, advice: Callable[[], str]) -> Iterator[None]:
    """Turn running out of memory into an EngineError with the ladder's advice, and free what the job held.

    Args:
        advice: one sentence that says what to change.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        _log.warning("Out of memory: %s", str(error).strip().partition("\n")[0])
        # The frames that failed hold the tensors that filled the memory.
        traceback.clear_frames(error.__traceback__)
        free_memory(device)
        code = ErrorCode.MEMORY if device.type == "cpu" else ErrorCode.GPU_MEMORY
        raise EngineError(advice(), code) from None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch or one of its libraries asked for more memory than there is."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _WORDS)


def free_memory(device: torch.device) -> None:
    """Give memory that nobody uses back to the device."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
