"""The overlap of rig and subject as the rig stands now: dragged, mirrored, pinned or taken back by undo."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..blender_types import Context
from ..bridge.placement import pins_on_raster
from ..core.errors import FlexTrajError
from ..core.placement import Affine
from ..core.request import FitMode
from ..core.rig_overlap import rig_overlap
from ..properties import scene_settings
from .placement_view import FoundSubject, PlacedRig, fits_of_groups, is_left_to_the_backend, placed_fit


@dataclass(frozen=True, eq=False)
class _Known:
    """An overlap and what it is of."""

    rig: PlacedRig
    subject: FoundSubject
    fits: dict[int, Affine]
    overlap: float

    def is_of(self, rig: PlacedRig, subject: FoundSubject, fits: dict[int, Affine]) -> bool:
        return (
            self.rig is rig
            and self.subject is subject
            and self.fits.keys() == fits.keys()
            and all(np.array_equal(self.fits[group], fit) for group, fit in fits.items())
        )


class SubjectOverlap:
    """Remembers the last answer: panels ask at every redraw."""

    def __init__(self) -> None:
        self._known: _Known | None = None

    def of(self, context: Context, rig: PlacedRig, subject: FoundSubject) -> float | None:
        """The overlap, 0 to 1; None where the rig's place is not known, or of a video of another size."""
        if is_left_to_the_backend(context.scene) or rig.raster != subject.mask.shape[::-1]:
            return None
        try:
            fits = _fits(context, rig)
        except FlexTrajError:
            return None  # the photo is gone, which the panel says elsewhere
        if self._known is None or not self._known.is_of(rig, subject, fits):
            parts = [(outline, fits[group]) for group, outline in rig.outlines().items()]
            self._known = _Known(rig, subject, fits, rig_overlap(parts, subject.mask))
        return self._known.overlap


def is_as_fitted(context: Context, rig: PlacedRig, subject: FoundSubject) -> bool:
    """Whether the rig stands where the fit put it; what the fit says of itself holds only then."""
    try:
        return bool(np.allclose(placed_fit(context, rig), subject.fit, rtol=1e-3, atol=0.05))
    except FlexTrajError:
        return False


def _fits(context: Context, rig: PlacedRig) -> dict[int, Affine]:
    """From rig pixels to photo pixels by group. Raises FlexTrajError where the photo cannot be read."""
    fit = placed_fit(context, rig)
    settings = scene_settings(context.scene)
    # What is left to the model is not moved by pins either.
    pins = () if FitMode(settings.fit) is FitMode.NONE else pins_on_raster(settings, rig.raster)
    own = fits_of_groups(rig, fit, pins)
    return {group: own.get(group, fit) for group in rig.outlines()}
