"""The trajectory set (schema 1): the one file in which Blender, the backend, datasets and evaluation meet.

NumPy only. The file format lives in `trajectory_file.py`; here are the types, their validation, slicing and
concatenation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .camera_track import CameraTrack, same_camera
from .errors import ErrorCode, FlexTrajError

SCHEMA_VERSION = 1
MAX_SIDE = 16_384
MAX_FRAMES = 20_000
MAX_SAMPLES = 400_000_000
"""Largest frames x points; beyond it a file is refused before anything is allocated."""
MAX_IDS = 1 << 16
"""SegIDs and TrajIDs are 16-bit: the ID video has two channels for a TrajID."""


class TrajectoryError(FlexTrajError):
    """A trajectory set that breaks the schema; the message names the array."""

    def __init__(self, message: str, code: ErrorCode = ErrorCode.TRAJECTORIES) -> None:
        super().__init__(message, code)


@dataclass(frozen=True)
class Segment:
    """One controlled object.

    Attributes:
        id: stable SegID as the producer knows it (for example stored on the Blender object).
        name: what the user calls it.
        group: segments of one connected subject share a group number.
        background: props and ground: they move with the camera, no subject of the photo corresponds to them.
    """

    id: int
    name: str
    group: int = 0
    background: bool = False


@dataclass(frozen=True, eq=False)
class TrajectoryMeta:
    """What the arrays mean.

    Attributes:
        width, height: raster in pixels.
        fps: frames per second of the T frames.
        source_frames: (T) scene frame numbers, subframes as fractions.
        segments: `seg_id` indexes this tuple.
        camera: intrinsics and poses of the T frames, None where unknown (real video).
        aligned: True where the first frame lines up with the photo.
        seed: seed of the sampling, None where there was none.
        producer, producer_version: program that wrote the set.
    """

    width: int
    height: int
    fps: float
    source_frames: tuple[float, ...]
    segments: tuple[Segment, ...]
    camera: CameraTrack | None = None
    aligned: bool = False
    seed: int | None = None
    producer: str = "unknown"
    producer_version: str = "0"


@dataclass(frozen=True, eq=False)
class TrajectorySet:
    """Point trajectories of a shot. Validated when made; the arrays are read-only.

    Attributes:
        positions: (T, N, 3) float32; x, y in pixels (top-left origin, pixel centres at +0.5), z = depth
            along the camera axis in scene units, larger = farther.
        visible: (T, N) bool; in front of the camera, inside the raster, not occluded.
        seg_id: (N,) uint16, index into `meta.segments`.
        traj_id: (N,) uint16, unique within its segment.
        meta: see `TrajectoryMeta`.
        color: (N, 3) or (T, N, 3) uint8 appearance cue, or None.
        silhouette: (S, H, W) bool, exact silhouette of each segment on the first frame, or None.

    Raises:
        TrajectoryError: an array has another shape, type or range; the message names it.
    """

    positions: NDArray[np.float32]
    visible: NDArray[np.bool_]
    seg_id: NDArray[np.uint16]
    traj_id: NDArray[np.uint16]
    meta: TrajectoryMeta
    color: NDArray[np.uint8] | None = None
    silhouette: NDArray[np.bool_] | None = field(default=None)

    def __post_init__(self) -> None:
        for name in ("positions", "visible", "seg_id", "traj_id", "color", "silhouette"):
            array = getattr(self, name)
            if array is not None:
                array = np.asarray(array).view()
                array.setflags(write=False)
                object.__setattr__(self, name, array)
        validate(self)

    @property
    def frame_count(self) -> int:
        return self.positions.shape[0]

    @property
    def point_count(self) -> int:
        return self.positions.shape[1]

    def select_points(self, points: NDArray[Any] | Sequence[int]) -> TrajectorySet:
        """Keep some points: `points` is a (N,) bool mask or indices. Segments and silhouettes stay."""
        index = _indices(points, self.point_count, "points")
        color = self.color
        if color is not None:
            color = color[index] if color.ndim == 2 else color[:, index]
        return replace(
            self,
            positions=self.positions[:, index],
            visible=self.visible[:, index],
            seg_id=self.seg_id[index],
            traj_id=self.traj_id[index],
            color=color,
        )

    def select_frames(self, frames: NDArray[Any] | Sequence[int] | slice) -> TrajectorySet:
        """Keep some frames, in the given order. The silhouette stays only where frame 0 stays first."""
        index = _indices(frames, self.frame_count, "frames")
        camera = self.meta.camera
        meta = replace(
            self.meta,
            source_frames=tuple(self.meta.source_frames[i] for i in index),
            camera=None if camera is None else camera.select_frames(index),
        )
        return replace(
            self,
            positions=self.positions[index],
            visible=self.visible[index],
            color=self.color[index] if self.color is not None and self.color.ndim == 3 else self.color,
            silhouette=self.silhouette if index[0] == 0 else None,
            meta=meta,
        )


def _indices(wanted: NDArray[Any] | Sequence[int] | slice, count: int, what: str) -> NDArray[np.intp]:
    """Return a mask, indices or a slice as indices within 0 to count - 1. Raises TrajectoryError."""
    everything = np.arange(count)
    try:
        index = everything[wanted if isinstance(wanted, slice) else np.asarray(wanted) if len(wanted) else []]
    except IndexError as error:
        raise TrajectoryError(f"The selected {what} reach beyond the set's {count} {what}.") from error
    if index.size == 0:
        raise TrajectoryError(f"The selection holds no {what}: choose at least one.")
    return index


def _refuse(name: str, problem: str) -> TrajectoryError:
    return TrajectoryError(f"The trajectory set's array '{name}' {problem}.")


def _expect(name: str, array: Any, dtype: Any, shape: tuple[int, ...]) -> None:
    wanted = np.dtype(dtype)
    if array.dtype != wanted:
        raise _refuse(name, f"has type {array.dtype}, but schema 1 wants {wanted}")
    if array.shape != shape:
        raise _refuse(name, f"has shape {array.shape}, but {shape} is expected")


def validate_meta(meta: TrajectoryMeta, frame_count: int) -> None:
    """Check the metadata of a set of `frame_count` frames. Raises TrajectoryError."""

    def bad(problem: str) -> TrajectoryError:
        return TrajectoryError(f"The trajectory set's meta {problem}.")

    if not (1 <= meta.width <= MAX_SIDE and 1 <= meta.height <= MAX_SIDE):
        raise bad(f"gives a raster of {meta.width}x{meta.height} px; each side must be 1 to {MAX_SIDE}")
    if not (np.isfinite(meta.fps) and meta.fps > 0):
        raise bad(f"gives {meta.fps} frames per second; it must be a positive number")
    if len(meta.source_frames) != frame_count:
        raise bad(f"lists {len(meta.source_frames)} source frames for {frame_count} frames")
    if not np.isfinite(np.asarray(meta.source_frames, dtype=np.float64)).all():
        raise bad("lists a source frame that is not a finite number")
    if not meta.segments or len(meta.segments) > MAX_IDS:
        raise bad(f"lists {len(meta.segments)} segments; 1 to {MAX_IDS} are possible")
    ids = [segment.id for segment in meta.segments]
    if len(set(ids)) != len(ids):
        raise bad("gives two segments the same id")
    if any(not 0 <= segment.id < MAX_IDS for segment in meta.segments):
        raise bad(f"gives a segment an id outside 0 to {MAX_IDS - 1}")
    if any(not 0 <= segment.group < MAX_IDS for segment in meta.segments):
        raise bad(f"gives a segment a group outside 0 to {MAX_IDS - 1}")
    if meta.camera is not None:
        camera = meta.camera
        for name, array, shape in (
            ("focal_px", camera.focal, (frame_count, 2)),
            ("principal_px", camera.principal, (frame_count, 2)),
            ("camera_to_world", camera.camera_to_world, (frame_count, 4, 4)),
        ):
            if array.shape != shape or not np.isfinite(array).all():
                raise bad(f"holds a camera whose {name} is not {shape} finite numbers")
        if not (camera.focal > 0).all():
            raise bad("holds a camera whose focal_px is not positive")
        if not np.abs(np.linalg.det(camera.camera_to_world)).min() > 1e-12:
            raise bad("holds a camera whose camera_to_world cannot be inverted")


def validate(trajectories: TrajectorySet) -> None:
    """Check every array against schema 1. Raises TrajectoryError with one sentence that names the array."""
    positions, meta = trajectories.positions, trajectories.meta
    if positions.ndim != 3 or positions.shape[2] != 3:
        raise _refuse("positions", f"has shape {positions.shape}, but (frames, points, 3) is expected")
    t, n, _ = positions.shape
    if t < 1 or n < 1:
        raise _refuse("positions", f"holds {t} frames and {n} points; at least one of each is needed")
    if t > MAX_FRAMES or t * n > MAX_SAMPLES:
        raise _refuse("positions", f"holds {t} frames of {n} points, more than is supported")
    _expect("positions", positions, np.float32, (t, n, 3))
    _expect("visible", trajectories.visible, np.bool_, (t, n))
    _expect("seg_id", trajectories.seg_id, np.uint16, (n,))
    _expect("traj_id", trajectories.traj_id, np.uint16, (n,))
    validate_meta(meta, t)
    # min and max propagate NaN and infinity and allocate nothing, unlike isfinite over the whole array.
    if not (np.isfinite(positions.min()) and np.isfinite(positions.max())):
        raise _refuse("positions", "contains a number that is not finite")
    if int(trajectories.seg_id.max()) >= len(meta.segments):
        raise _refuse(
            "seg_id", f"refers to segment {int(trajectories.seg_id.max())} of {len(meta.segments)} segments"
        )
    keys = trajectories.seg_id.astype(np.uint32) << 16 | trajectories.traj_id
    if np.unique(keys).size != n:
        raise _refuse("traj_id", "gives two points of one segment the same id")
    if trajectories.color is not None:
        color = trajectories.color
        if color.ndim not in (2, 3):
            raise _refuse(
                "color", f"has shape {color.shape}, but (points, 3) or (frames, points, 3) is expected"
            )
        _expect("color", color, np.uint8, (n, 3) if color.ndim == 2 else (t, n, 3))
    if trajectories.silhouette is not None:
        shape = (len(meta.segments), meta.height, meta.width)
        _expect("silhouette", trajectories.silhouette, np.bool_, shape)


def concatenate_points(sets: Sequence[TrajectorySet]) -> TrajectorySet:
    """Join sets of one shot (same raster, frames, fps) into one; segments follow each other, with new SegIDs.

    Colour and silhouettes are kept where every set has them. Raises TrajectoryError where the shots differ.
    """
    if not sets:
        raise TrajectoryError("There is no trajectory set to join: give at least one.")
    first = sets[0]
    for other in sets[1:]:
        a, b = first.meta, other.meta
        if (a.width, a.height, a.fps, a.source_frames) != (b.width, b.height, b.fps, b.source_frames):
            raise TrajectoryError("Trajectory sets can be joined only where raster, frames and fps agree.")
        if a.camera is not None and b.camera is not None and not same_camera(a.camera, b.camera):
            raise TrajectoryError("Trajectory sets can be joined only where their cameras agree.")
    segments: list[Segment] = []
    seg_ids: list[NDArray[np.uint16]] = []
    group_offset = 0
    taken: set[int] = set()
    for item in sets:
        seg_ids.append((item.seg_id.astype(np.uint32) + len(segments)).astype(np.uint16))
        for segment in item.meta.segments:
            new_id = segment.id if segment.id not in taken else min(set(range(len(taken) + 1)) - taken)
            taken.add(new_id)
            segments.append(replace(segment, id=new_id, group=segment.group + group_offset))
        group_offset = max(segment.group for segment in segments) + 1
    if len(segments) > MAX_IDS:
        raise TrajectoryError(f"The joined set would have {len(segments)} segments; {MAX_IDS} are possible.")
    t = first.frame_count
    colors = [item.color for item in sets if item.color is not None]
    color = None
    if len(colors) == len(sets):
        if any(c.ndim == 3 for c in colors):
            colors = [c if c.ndim == 3 else np.broadcast_to(c, (t, *c.shape)) for c in colors]
        color = np.concatenate(colors, axis=-2)
    silhouettes = [item.silhouette for item in sets if item.silhouette is not None]
    return TrajectorySet(
        positions=np.concatenate([item.positions for item in sets], axis=1),
        visible=np.concatenate([item.visible for item in sets], axis=1),
        seg_id=np.concatenate(seg_ids),
        traj_id=np.concatenate([item.traj_id for item in sets]),
        color=color,
        silhouette=np.concatenate(silhouettes) if len(silhouettes) == len(sets) else None,
        meta=replace(
            first.meta,
            segments=tuple(segments),
            camera=next((item.meta.camera for item in sets if item.meta.camera is not None), None),
            aligned=all(item.meta.aligned for item in sets),
            seed=None,
        ),
    )


def concatenate_frames(sets: Sequence[TrajectorySet]) -> TrajectorySet:
    """Join consecutive parts of one shot in time: same points, segments, raster and fps.

    Raises TrajectoryError where the parts differ.
    """
    if not sets:
        raise TrajectoryError("There is no trajectory set to join: give at least one.")
    first = sets[0]
    for other in sets[1:]:
        a, b = first.meta, other.meta
        same_points = np.array_equal(first.seg_id, other.seg_id) and np.array_equal(
            first.traj_id, other.traj_id
        )
        if not same_points or a.segments != b.segments:
            raise TrajectoryError("Parts of a shot can be joined only where 'seg_id' and 'traj_id' agree.")
        if (a.width, a.height, a.fps) != (b.width, b.height, b.fps):
            raise TrajectoryError("Parts of a shot can be joined only where raster and fps agree.")
    cameras = [item.meta.camera for item in sets]
    camera = None
    known = [c for c in cameras if c is not None]
    if len(known) == len(sets) and len({c.projection for c in known}) == 1:
        camera = CameraTrack(
            known[0].projection,
            np.concatenate([c.focal for c in known]),
            np.concatenate([c.principal for c in known]),
            np.concatenate([c.camera_to_world for c in known]),
        )
    color = first.color
    if all(item.color is not None for item in sets):
        colors = [item.color for item in sets if item.color is not None]
        if any(c.ndim == 3 for c in colors) or any(not np.array_equal(c, colors[0]) for c in colors):
            color = np.concatenate(
                [
                    c if c.ndim == 3 else np.broadcast_to(c, (item.frame_count, *c.shape))
                    for c, item in zip(colors, sets, strict=True)
                ]
            )
    else:
        color = None
    return replace(
        first,
        positions=np.concatenate([item.positions for item in sets]),
        visible=np.concatenate([item.visible for item in sets]),
        color=color,
        meta=replace(
            first.meta,
            source_frames=tuple(frame for item in sets for frame in item.meta.source_frames),
            camera=camera,
        ),
    )
