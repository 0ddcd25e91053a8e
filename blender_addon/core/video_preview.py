"""The conditioning videos of a shot, one frame at a time, as the backend will render them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .conditioning import ConditioningSettings, StampedFrames, cue_colors
from .id_coding import trajectory_colors
from .pinned_groups import group_fits, group_moves, moved_positions
from .placement import Affine
from .request import FitPin
from .stamping import FrameCover, pack_colors
from .trajectories import TrajectorySet

_BLACK = pack_colors(np.zeros((1, 3), np.uint8))[0]


class VideoPreview:
    """Renders single frames of both videos.

    Dense coverage needs OpenCV, so only the backend has it: its frames are shown as the stamps around the
    same points.

    Args:
        trajectories: the shot.
        settings: how its conditioning videos are made.
        fit: (2, 3) affine from pixels of the set to pixels of the photo, or None: as projected.
        pins: groups that leave the fit for one of their own.

    Raises:
        FlexTrajError: the set has more segments than ID colours can tell apart, or a pin holds a point that
            it does not have.
    """

    def __init__(
        self,
        trajectories: TrajectorySet,
        settings: ConditioningSettings,
        fit: Affine | None = None,
        pins: Sequence[FitPin] = (),
    ) -> None:
        if fit is not None and pins:
            moves = group_moves(trajectories, fit, group_fits(trajectories, fit, pins))
            positions = moved_positions(trajectories, moves)
            trajectories = replace(trajectories, positions=positions, silhouette=None)
        self._trajectories = trajectories
        self._settings = settings
        self._frames = StampedFrames(trajectories, settings, fit)
        self._id_palette = pack_colors(trajectory_colors(trajectories))

    def ids(self, frame: int) -> NDArray[np.uint8]:
        """A frame of the ID video, (H, W, 4) uint8, opaque."""
        return self._painted(self._frames.frame(frame), self._id_palette)

    def color(self, frame: int) -> NDArray[np.uint8]:
        """A frame of the colour video, (H, W, 4) uint8, opaque; black without a colour cue."""
        colors = cue_colors(self._trajectories, self._settings, frame)
        if colors is None:
            return self._painted(None, self._id_palette)
        return self._painted(self._frames.frame(frame), pack_colors(colors))

    def _painted(self, cover: FrameCover | None, palette: NDArray[np.uint32]) -> NDArray[np.uint8]:
        meta = self._trajectories.meta
        picture = np.full((meta.height, meta.width), _BLACK, np.uint32)
        if cover is not None:
            picture[cover.rows, cover.columns] = cover.colored(palette) | _BLACK
        return picture.view(np.uint8).reshape(meta.height, meta.width, 4)
