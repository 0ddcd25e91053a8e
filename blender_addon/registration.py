"""Register classes in order, unregister them in reverse."""

from __future__ import annotations

from collections.abc import Callable

import bpy


def registration_of(*classes: type) -> tuple[Callable[[], None], Callable[[], None]]:
    """Return the `register` and `unregister` functions of a module."""

    def register() -> None:
        for cls in classes:
            bpy.utils.register_class(cls)

    def unregister() -> None:
        for cls in reversed(classes):
            bpy.utils.unregister_class(cls)

    return register, unregister
