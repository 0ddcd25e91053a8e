"""Accelerations that, but for rounding, do not change the video: attention kernels and compiling."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from diffusers.models.attention_dispatch import AttentionBackendName, attention_backend

from blender_addon.core.model_options import AttentionBackend
from flextraj_backend.engines.base import EngineError

_KERNELS = {
    AttentionBackend.NATIVE: AttentionBackendName.NATIVE,
    AttentionBackend.CUDNN: AttentionBackendName._NATIVE_CUDNN,
    AttentionBackend.FLASH: AttentionBackendName.FLASH,
    AttentionBackend.FLASH_3: AttentionBackendName._FLASH_3,
    AttentionBackend.SAGE: AttentionBackendName.SAGE,
    AttentionBackend.XFORMERS: AttentionBackendName.XFORMERS,
}


@contextmanager
def attention_kernels(choice: AttentionBackend) -> Iterator[None]:
    """Within, the transformer's attention runs on the chosen kernels; AUTO leaves torch the choice.

    Raises:
        EngineError: the kernels' package is missing or too old.
    """
    if choice is AttentionBackend.AUTO:
        yield
        return
    kernels = attention_backend(_KERNELS[choice])
    try:
        kernels.__enter__()
    except RuntimeError as error:
        raise EngineError(
            f"The attention backend '{choice}' cannot be used here ({_first_line(error)}): choose 'auto'."
        ) from error
    try:
        yield
    finally:
        kernels.__exit__(None, None, None)


def compile_blocks(transformer: Any, backend: str = "inductor") -> None:
    """Compile each repeated block of the transformer when it first runs; the blocks share one compilation.

    Args:
        backend: of torch.compile.
    """
    transformer.compile_repeated_blocks(backend=backend)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")[:200]
