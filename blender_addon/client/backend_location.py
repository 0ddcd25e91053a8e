"""Where the backend's own Python interpreter is: it is never Blender's.

The installer writes a pointer file into the user's configuration folder; the add-on reads it.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from uuid import uuid4

from ..core.errors import ErrorCode, FlexTrajError

PYTHON_VARIABLE = "FLEXTRAJ_BACKEND_PYTHON"
CONFIG_VARIABLE = "FLEXTRAJ_CONFIG_DIR"
# On Windows `python3` is often a stub that opens the Store.
INSTALL_COMMAND = ("py" if sys.platform == "win32" else "python3") + " scripts/bootstrap.py demo"


def config_folder() -> Path:
    """FlexTraj's folder for settings of the user, by the operating system's custom (it may not exist yet)."""
    if chosen := os.environ.get(CONFIG_VARIABLE):
        return Path(chosen)
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming") / "flextraj"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "flextraj"
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "flextraj"


def backend_pointer() -> Path:
    """Path of the pointer file, `{"python": "<path of the interpreter>"}`."""
    return config_folder() / "backend.json"


def write_backend_pointer(python: Path) -> Path:
    """Remember the backend's interpreter for the add-on; return the pointer file."""
    pointer = backend_pointer()
    pointer.parent.mkdir(parents=True, exist_ok=True)
    temporary = pointer.with_name(f".{pointer.name}.{uuid4().hex[:12]}")
    try:
        # Not resolved: a virtual environment is known by the path of its link, not by the link's target.
        temporary.write_text(json.dumps({"python": str(python.absolute())}) + "\n", encoding="utf-8")
        temporary.replace(pointer)
    finally:
        temporary.unlink(missing_ok=True)
    return pointer


def find_backend_python(explicit: str = "") -> Path:
    """Find the backend's interpreter: `explicit` (preferences), the environment, then the pointer file.

    Raises:
        FlexTrajError: ErrorCode.BACKEND_MISSING; the sentence names the command that installs the backend.
    """
    if explicit.strip():
        return _existing(Path(explicit.strip()).expanduser(), "the path in the preferences")
    if chosen := os.environ.get(PYTHON_VARIABLE):
        return _existing(Path(chosen).expanduser(), f"the variable {PYTHON_VARIABLE}")
    pointer = backend_pointer()
    try:
        python = json.loads(pointer.read_text(encoding="utf-8"))["python"]
        if not isinstance(python, str):
            raise TypeError
    except FileNotFoundError:
        raise _missing("The FlexTraj backend is not installed") from None
    except (OSError, ValueError, KeyError, TypeError):
        raise _missing(f"The file {pointer} does not say where the FlexTraj backend is") from None
    return _existing(Path(python), f"the file {pointer}")


def _existing(python: Path, origin: str) -> Path:
    if not python.is_file():
        raise _missing(f"There is no Python at {python}, where {origin} expects the FlexTraj backend")
    return python


def _missing(problem: str) -> FlexTrajError:
    return FlexTrajError(
        f"{problem}: run '{INSTALL_COMMAND}' in the FlexTraj folder, or choose the backend's Python in the "
        "add-on's preferences.",
        ErrorCode.BACKEND_MISSING,
    )
