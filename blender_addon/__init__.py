"""FlexTraj for Blender: drive a photo with an animated rig through point trajectories.

Nothing of Blender is imported before `register()`: the backend and the tests import the core from here.
"""

from __future__ import annotations

import atexit
from importlib import import_module

ADDON_ID: str = __package__ or __name__
"""`bl_ext.<repository>.flextraj` as an extension, `blender_addon` in a checkout."""

_PARTS = (
    "translations",
    "properties",
    "preferences",
    "session",
    "thumbnails",
    "color_chips",
    "presets",
    "overlay.lifecycle",
    "overlay.placement_lifecycle",
    "operators",
    "panels",
    "handlers",
    "command_line",
)
_registered_parts: list[str] = []


def register() -> None:
    """Add FlexTraj to Blender; a failure half-way takes everything back."""
    try:
        for name in _PARTS:
            import_module(f".{name}", __package__).register()
            _registered_parts.append(name)
    except BaseException:
        unregister()
        raise
    # For a script that ends without disabling the add-on: its backend must not stay, and Blender as a Python
    # module hangs at exit while anything is registered.
    atexit.register(unregister)


def unregister() -> None:
    """Remove FlexTraj from Blender and stop what it started; harmless where it is not registered."""
    atexit.unregister(unregister)
    while _registered_parts:
        import_module(f".{_registered_parts.pop()}", __package__).unregister()
