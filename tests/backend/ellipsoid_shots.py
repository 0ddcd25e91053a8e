"""Small shots of turning ellipsoids, with the truth known: convex, so silhouette and visibility are exact."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from blender_addon.core.camera_track import CameraTrack, Projection
from blender_addon.core.trajectories import Segment, TrajectoryMeta, TrajectorySet

WIDTH, HEIGHT = 160, 120
FOCAL = 200.0
Pose = Callable[[float], tuple[NDArray[np.float64], NDArray[np.float64]]]
"""Phase 0 to 1 to rotation (3, 3) and centre (3,), camera space (x right, y down, z forward)."""


@dataclass(frozen=True, eq=False)
class Shot:
    """A set, a photo of its first frame, and every segment's true silhouette (T, S, H, W)."""

    trajectories: TrajectorySet
    photo: NDArray[np.uint8]
    truth: NDArray[np.bool_]

    @property
    def mask(self) -> NDArray[np.bool_]:
        return self.truth[0].any(axis=0)


def turn(degrees: float) -> NDArray[np.float64]:
    """Rotation about the vertical axis."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def moving(start: Sequence[float], end: Sequence[float], degrees: float = 0.0) -> Pose:
    """Straight motion of the centre with a turn about the vertical axis."""
    first, last = np.asarray(start, float), np.asarray(end, float)
    return lambda phase: (turn(degrees * phase), first + (last - first) * phase)


def unit_sphere(count: int) -> NDArray[np.float64]:
    """Fibonacci points on the unit sphere, (count, 3)."""
    index = np.arange(count) + 0.5
    height = 1 - 2 * index / count
    angle = np.pi * (1 + 5**0.5) * index
    radius = np.sqrt(1 - height**2)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), height], axis=1).astype(np.float64)


def backdrop() -> NDArray[np.uint8]:
    """A bright, smooth background (H, W, 3)."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([200 + x * 0.2, 210 + y * 0.2, 230 - x * 0.1], axis=-1).astype(np.uint8)


def _outline(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    canvas = np.zeros((HEIGHT, WIDTH), np.uint8)
    hull = cv2.convexHull((points * 16 - 8).astype(np.int32))
    cv2.fillConvexPoly(canvas, hull, (1.0,), shift=4)
    return canvas > 0


def shot(
    poses: Sequence[Pose],
    frames: int = 5,
    points: int = 500,
    radii: tuple[float, float, float] = (0.55, 0.9, 0.45),
    aligned: bool = True,
    groups: Sequence[int] | None = None,
    bend: float = 0.02,
) -> Shot:
    """One ellipsoid per pose. `bend` makes it breathe a little, so that it is no rigid blockout."""
    sphere = unit_sphere(points)
    count = len(poses)
    positions = np.empty((frames, count * points, 3))
    visible = np.empty((frames, count * points), bool)
    truth = np.zeros((frames, count, HEIGHT, WIDTH), bool)
    for frame in range(frames):
        phase = frame / max(frames - 1, 1)
        swell = 1 + bend * np.sin(2 * np.pi * phase) * np.abs(sphere[:, 1:2])
        for index, pose in enumerate(poses):
            rotation, centre = pose(phase)
            part = slice(index * points, (index + 1) * points)
            space = (sphere * radii * swell) @ rotation.T + centre
            normal = (sphere / radii) @ rotation.T
            pixels = space[:, :2] / space[:, 2:] * FOCAL + [WIDTH / 2, HEIGHT / 2]
            positions[frame, part] = np.concatenate([pixels, space[:, 2:]], axis=1)
            inside = ((pixels >= 0) & (pixels < [WIDTH, HEIGHT])).all(axis=1)
            visible[frame, part] = inside & ((normal * space).sum(axis=1) < 0)
            truth[frame, index] = _outline(pixels)
        for index in range(count):
            _hide_behind(positions[frame], visible[frame], truth[frame, index], index, points)
    numbers = range(count) if groups is None else groups
    trajectories = TrajectorySet(
        positions=positions.astype(np.float32),
        visible=visible,
        seg_id=np.repeat(np.arange(count, dtype=np.uint16), points),
        traj_id=np.tile(np.arange(points, dtype=np.uint16), count),
        silhouette=truth[0],
        meta=TrajectoryMeta(
            WIDTH,
            HEIGHT,
            16.0,
            tuple(map(float, range(frames))),
            tuple(Segment(i, f"Ellipsoid {i}", group) for i, group in enumerate(numbers)),
            camera=still_camera(frames),
            aligned=aligned,
        ),
    )
    return Shot(trajectories, _photo(truth[0]), truth)


def still_camera(frames: int, projection: Projection = Projection.PERSPECTIVE) -> CameraTrack:
    return CameraTrack(
        projection,
        np.full((frames, 2), FOCAL),
        np.tile([WIDTH / 2, HEIGHT / 2], (frames, 1)),
        np.tile(np.eye(4), (frames, 1, 1)),
    )


def _hide_behind(
    positions: NDArray[np.float64],
    visible: NDArray[np.bool_],
    silhouette: NDArray[np.bool_],
    index: int,
    points: int,
) -> None:
    """Hide points of other ellipsoids that lie behind ellipsoid `index` on one frame."""
    own = slice(index * points, (index + 1) * points)
    depth = positions[own, 2].mean()
    others = np.ones(len(positions), bool)
    others[own] = False
    column = np.clip(positions[:, 0].astype(int), 0, WIDTH - 1)
    row = np.clip(positions[:, 1].astype(int), 0, HEIGHT - 1)
    visible &= ~(others & silhouette[row, column] & (positions[:, 2] > depth))


COLORS = ((170, 40, 30), (30, 60, 160), (30, 120, 40))


def _photo(silhouettes: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Textured ellipsoids over the backdrop."""
    picture = backdrop()
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    texture = (30 * np.sin(x / 4) * np.cos(y / 5)).astype(int)
    for silhouette, color in zip(silhouettes, COLORS, strict=False):
        painted = np.clip(np.asarray(color) + texture[..., None], 0, 255).astype(np.uint8)
        picture[silhouette] = painted[silhouette]
    return picture
