"""Operators, one feature a file."""

from __future__ import annotations

from . import (
    backend,
    camera,
    correct_mask,
    edit_pins,
    fit_to_photo,
    fixes,
    generate,
    generate_settings,
    modal_window,
    notify,
    overlay,
    photo,
    photo_background,
    place_rig,
    results,
    sampling_guard,
    seg_ids,
    start_frame,
    subjects,
    training_pairs,
)

_MODULES = (
    modal_window,
    sampling_guard,
    subjects,
    seg_ids,
    photo,
    photo_background,
    fit_to_photo,
    place_rig,
    start_frame,
    correct_mask,
    edit_pins,
    camera,
    overlay,
    generate,
    generate_settings,
    backend,
    results,
    training_pairs,
    notify,
    fixes,
)


def register() -> None:
    for module in _MODULES:
        module.register()


def unregister() -> None:
    for module in reversed(_MODULES):
        module.unregister()
