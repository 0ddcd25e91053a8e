"""How this copy of the program is extended: what is missing, and the commands for the user's machine."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from blender_addon.core.errors import ErrorCode, FlexTrajError

_MODELS = ("torch", "diffusers", "transformers", "peft", "accelerate", "safetensors", "sentencepiece", "ftfy")
_PACKAGES = {
    "models": _MODELS,
    "train": (*_MODELS, "tensorboard", "webdataset", "datasets"),
    "eval": (*_MODELS, "scipy", "matplotlib"),
}
"""Modules of the extras that a command can lack; all of an extra are installed together."""


def install_command(extra: str) -> str:
    """The command that adds an extra such as 'models' or 'train,eval' to this environment."""
    checkout = Path(__file__).resolve().parent.parent
    if (checkout / "pyproject.toml").is_file():
        return f'"{sys.executable}" -m pip install -e "{checkout}[{extra}]"'
    return f'"{sys.executable}" -m pip install "flextraj[{extra}]"'


def missing_packages(*extras: str) -> str | None:
    """A sentence with the command that installs what these extras lack, None where nothing is missing."""
    names = [name for extra in extras for name in _PACKAGES[extra] if importlib.util.find_spec(name) is None]
    if not names:
        return None
    return f"The package {names[0]} is not installed: run '{install_command(','.join(extras))}'."


def require_packages(*extras: str) -> None:
    """Raises FlexTrajError with that sentence."""
    if (sentence := missing_packages(*extras)) is not None:
        raise FlexTrajError(sentence, ErrorCode.ENGINE)
