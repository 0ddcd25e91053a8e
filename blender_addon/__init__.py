"""FlexTraj for Blender: drive a photo with an animated rig through point trajectories.

Nothing of Blender is imported before `register()`: the backend and the tests import the core from here.
"""

from __future__ import annotations

from importlib import import_module

ADDON_ID: str = __package__ or __name__
"""`bl_ext.<repository>.flextraj` as an extension, `blender_addon` in a checkout."""

_PARTS = ("properties", "preferences", "session", "operators", "panels", "handlers")


def register() -> None:
    """Add FlexTraj to Blender; a failure half-way takes everything back."""
    done: list[str] = []
    try:
        for name in _PARTS:
            import_module(f".{name}", __package__).register()
            done.append(name)
    except BaseException:
        for name in reversed(done):
            import_module(f".{name}", __package__).unregister()
        raise


def unregister() -> None:
    """Remove FlexTraj from Blender and stop what it started."""
    for name in reversed(_PARTS):
        import_module(f".{name}", __package__).unregister()
