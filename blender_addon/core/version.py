"""The version, read from `blender_manifest.toml`: its only source."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

PROTOCOL_VERSION = 2
"""Version of the HTTP API and of the request between add-on and backend; both sides must have the same.

It rises when one side would refuse or misread the other: a new setting in a request, a setting of an answer
that went away or means something else. It stays where the other side can do without: a new call, and a new
setting of an answer that has a default where it is missing.
"""


@cache
def package_version() -> str:
    """Return the version written in the manifest (beside the add-on in a zip, one level up in a checkout)."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package, package.parent):
        manifest = folder / "blender_manifest.toml"
        if manifest.is_file():
            return str(tomllib.loads(manifest.read_text(encoding="utf-8"))["version"])
    raise FileNotFoundError(f"blender_manifest.toml is missing beside {package}: reinstall FlexTraj.")
