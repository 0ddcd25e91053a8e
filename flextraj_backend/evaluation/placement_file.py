"""Where a render placed the motion on the photo: read from its sidecar, applied to the trajectories."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blender_addon.core.errors import RequestError
from blender_addon.core.trajectories import TrajectorySet

MAX_BYTES = 1 << 20


@dataclass(frozen=True, eq=False)
class Placement:
    """Affine maps from pixels as sampled to pixels of the photo.

    Attributes:
        matrix: (2, 3) of every group that is not in `groups`.
        groups: (2, 3) by group number.
    """

    matrix: NDArray[np.float64]
    groups: dict[int, NDArray[np.float64]] = field(default_factory=dict)


def read_placement(path: Path) -> Placement:
    """Read a bare 2x3 matrix, `{"matrix": ...}` or a render's sidecar. Raises RequestError."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError("it is too large")
        values = json.loads(path.read_bytes())
        if isinstance(values, dict) and "fit" in values:
            values = values["fit"]
        if not isinstance(values, dict):
            return Placement(_matrix(values))
        pinned = values.get("pinned", [])
        return Placement(
            _matrix(values["matrix"]), {int(item["group"]): _matrix(item["matrix"]) for item in pinned}
        )
    except OSError as error:
        raise RequestError(f"{path} cannot be opened ({error.strerror}): check the path.") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RequestError(
            f"The file {path} holds no fit ({error}): give a 2x3 matrix, or the sidecar of a render."
        ) from error


def place(trajectories: TrajectorySet, placement: Placement) -> TrajectorySet:
    """Move a set's points; those that leave the raster are not visible there. Silhouettes are dropped.

    Pins move subjects alone: background segments follow the whole shot, whatever their group's number.
    """
    positions = trajectories.positions.copy()
    for index, segment in enumerate(trajectories.meta.segments):
        is_pinned = not segment.background and segment.group in placement.groups
        matrix = placement.groups[segment.group] if is_pinned else placement.matrix
        chosen = trajectories.seg_id == index
        positions[:, chosen, :2] = positions[:, chosen, :2] @ matrix[:, :2].T + matrix[:, 2]
    size = (trajectories.meta.width, trajectories.meta.height)
    inside = ((positions[..., :2] >= 0) & (positions[..., :2] < size)).all(axis=2)
    return replace(trajectories, positions=positions, visible=trajectories.visible & inside, silhouette=None)


def _matrix(values: Any) -> NDArray[np.float64]:
    matrix = np.asarray(values, dtype=np.float64).reshape(-1)
    if matrix.size != 6 or not np.isfinite(matrix).all():
        raise ValueError("six finite numbers are expected")
    return matrix.reshape(2, 3)
