"""What a job's options need of this machine: checked before anything is loaded, without importing torch."""

from __future__ import annotations

import importlib.util
import shutil
import sys

from blender_addon.core.errors import ErrorCode
from blender_addon.core.model_options import AttentionBackend, CompileMode, ModelOptions
from flextraj_backend.engines.base import EngineError

_ATTENTION_PACKAGES = {
    AttentionBackend.FLASH: ("flash_attn", "flash-attn"),
    AttentionBackend.FLASH_3: ("flash_attn_interface", "flash-attn-3"),
    AttentionBackend.SAGE: ("sageattention", "sageattention"),
    AttentionBackend.XFORMERS: ("xformers", "xformers"),
}
"""Module and package of each backend that is not part of torch."""
_ANYWHERE = (AttentionBackend.AUTO, AttentionBackend.NATIVE)
_COMPILERS = ("cl",) if sys.platform == "win32" else ("g++", "clang++", "c++")


def check_accelerations(options: ModelOptions, has_gpu: bool) -> None:
    """Raises EngineError: a chosen acceleration cannot run on this machine."""
    _check_attention(options.attention, has_gpu)
    if options.compile is CompileMode.REGIONAL:
        _check_compiler(has_gpu)


def _check_attention(choice: AttentionBackend, has_gpu: bool) -> None:
    if choice in _ANYWHERE:
        return
    if not has_gpu:
        raise EngineError(
            f"The attention backend '{choice}' needs an NVIDIA GPU, and none was found: choose 'auto'."
        )
    module, package = _ATTENTION_PACKAGES.get(choice, ("torch", "torch"))
    if importlib.util.find_spec(module) is None:
        raise EngineError(
            f"The attention backend '{choice}' is not installed: choose 'auto', "
            f"or run '\"{sys.executable}\" -m pip install {package}'."
        )


def _check_compiler(has_gpu: bool) -> None:
    if has_gpu:
        if importlib.util.find_spec("triton") is None:
            raise EngineError(
                "Compiling needs the package triton, which is not installed: choose no compiling.",
                ErrorCode.ENGINE,
            )
    elif not any(map(shutil.which, _COMPILERS)):
        raise EngineError(
            "Compiling for the CPU needs a C++ compiler, and none was found: choose no compiling."
        )
