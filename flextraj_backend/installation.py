"""How this copy of the program is extended: the exact commands for the user's machine."""

from __future__ import annotations

import sys
from pathlib import Path


def install_command(extra: str) -> str:
    """The command that adds an extra such as 'models' or 'ray' to this environment."""
    checkout = Path(__file__).resolve().parent.parent
    if (checkout / "pyproject.toml").is_file():
        return f'"{sys.executable}" -m pip install -e "{checkout}[{extra}]"'
    return f'"{sys.executable}" -m pip install "flextraj[{extra}]"'
