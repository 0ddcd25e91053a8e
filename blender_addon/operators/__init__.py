"""Operators, one feature a file."""

from __future__ import annotations

from . import backend, camera, fixes, generate, notify, overlay, photo, results, seg_ids, subjects

_MODULES = (subjects, seg_ids, photo, camera, overlay, generate, backend, results, notify, fixes)


def register() -> None:
    for module in _MODULES:
        module.register()


def unregister() -> None:
    for module in reversed(_MODULES):
        module.unregister()
