"""The FlexTraj tab of the 3D viewport's sidebar, one panel a file."""

from __future__ import annotations

from . import (
    backend,
    control,
    generate,
    main,
    menus,
    model_options,
    overlay,
    photo,
    placement,
    presets,
    results,
    subjects,
    training_pairs,
)

# The parent comes first; the order of its children is the order on the screen.
_MODULES = (
    main,
    subjects,
    photo,
    placement,
    control,
    overlay,
    presets,
    generate,
    model_options,
    results,
    backend,
    training_pairs,
    menus,
)


def register() -> None:
    for module in _MODULES:
        module.register()


def unregister() -> None:
    for module in reversed(_MODULES):
        module.unregister()
