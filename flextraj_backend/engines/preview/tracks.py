"""The subject's trajectories in camera space and how strongly two of them belong together.

Source: reference algorithm, step 3: the largest change of the distance between two tracks over the clip tells
an arm from the torso behind it, and replaces geodesic distances.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blender_addon.core.camera_track import CameraTrack, Projection
from blender_addon.core.trajectories import TrajectorySet
from flextraj_backend.engines.preview.neighbours import nearest

MAX_TRACKS = 6000
"""More tracks cost time and add nothing: the deformation grid has cells of six pixels."""
MIN_TRACKS_PER_SEGMENT = 64
FAR_OUTSIDE = 50.0
"""Tracks that leave the picture by this many times its side have lost all precision and are dropped."""
STRAIN_FRAMES = 24
"""Frames at which distances are compared."""
RIGID_PAIRS = 400
RIGID_TOLERANCE = 0.004
"""A segment is rigid where its pairs keep their distance within this fraction of the segment's size."""
GUESSED_FOCAL = 1.2
"""Focal length in units of the longer side, where the set has no camera (about a 43 mm lens)."""


@dataclass(frozen=True, eq=False)
class SubjectTracks:
    """Tracks of all subjects (background left out).

    Attributes:
        pixels: (T, N, 2) float32, rig pixels.
        points: (T, N, 3) float32, camera space (x right, y down, z forward), scene units.
        visible: (T, N) bool.
        segment, group: (N,) int64 each; tracks of different groups never share motion.
        camera: intrinsics of every frame.
        pixels_per_unit: scale at the median depth of the first frame.
        extent: size of the subject on the first frame, scene units.
    """

    pixels: NDArray[np.float32]
    points: NDArray[np.float32]
    visible: NDArray[np.bool_]
    segment: NDArray[np.int64]
    group: NDArray[np.int64]
    camera: CameraTrack
    pixels_per_unit: float
    extent: float

    @property
    def frame_count(self) -> int:
        return self.points.shape[0]

    @property
    def count(self) -> int:
        return self.points.shape[1]

    @property
    def groups(self) -> tuple[int, ...]:
        return tuple(int(g) for g in np.unique(self.group))

    @property
    def strain_frames(self) -> NDArray[np.int64]:
        """Frames after the first at which strain is measured, evenly spread."""
        last = self.frame_count - 1
        return np.unique(
            np.linspace(min(1, last), last, min(STRAIN_FRAMES, max(last, 1))).round().astype(int)
        )


def guessed_camera(width: int, height: int, frame_count: int) -> CameraTrack:
    """Return a still perspective camera for a set that has none."""
    focal = GUESSED_FOCAL * max(width, height)
    return CameraTrack(
        Projection.PERSPECTIVE,
        np.full((frame_count, 2), focal),
        np.tile([width / 2.0, height / 2.0], (frame_count, 1)),
        np.tile(np.eye(4), (frame_count, 1, 1)),
    )


def thin_out(segment: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Choose about MAX_TRACKS tracks at most, evenly from the segments: sorted indices."""
    if len(segment) <= MAX_TRACKS:
        return np.arange(len(segment))
    kept = []
    for name in np.unique(segment):
        members = np.flatnonzero(segment == name)
        quota = max(MIN_TRACKS_PER_SEGMENT, round(len(members) * MAX_TRACKS / len(segment)))
        kept.append(members if len(members) <= quota else rng.choice(members, quota, replace=False))
    return np.sort(np.concatenate(kept))


def subject_tracks(trajectories: TrajectorySet, rng: np.random.Generator) -> SubjectTracks | None:
    """Take the subjects' tracks in front of the camera out of a set, lifted to camera space; or None."""
    segments = trajectories.meta.segments
    is_subject = np.array([not segment.background for segment in segments])[trajectories.seg_id]
    # Points behind the camera cannot be lifted; such a track leaves the picture and is dropped.
    is_subject &= (trajectories.positions[..., 2] > 0).all(axis=0)
    side = FAR_OUTSIDE * max(trajectories.meta.width, trajectories.meta.height)
    is_subject &= (np.abs(trajectories.positions[..., :2]) < side).all(axis=(0, 2))
    chosen = np.flatnonzero(is_subject)
    if chosen.size == 0:
        return None
    chosen = chosen[thin_out(trajectories.seg_id[chosen].astype(np.int64), rng)]
    positions = trajectories.positions[:, chosen]  # (T, N, 3)
    camera = trajectories.meta.camera or guessed_camera(
        trajectories.meta.width, trajectories.meta.height, trajectories.frame_count
    )
    points = camera.unproject(positions).astype(np.float32)  # (T, N, 3)
    segment = trajectories.seg_id[chosen].astype(np.int64)
    group = np.array([item.group for item in segments], dtype=np.int64)[segment]
    depth = float(np.median(points[0, :, 2]))
    focal = float(camera.focal[0].mean())
    visible = trajectories.visible[:, chosen]
    reference = points[0][visible[0]] if visible[0].sum() > 8 else points[0]
    low, high = np.percentile(reference[:, :2], [2.5, 97.5], axis=0)
    return SubjectTracks(
        pixels=positions[..., :2],
        points=points,
        visible=visible,
        segment=segment,
        group=group,
        camera=camera,
        pixels_per_unit=focal / depth if camera.projection is Projection.PERSPECTIVE else focal,
        extent=max(float(np.hypot(*(high - low))), 1e-6),
    )


def pair_strain(
    tracks: SubjectTracks, first: NDArray[np.int64], second: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """How much the distance of track pairs changes over the clip.

    Args:
        first, second: (P,) track indices.

    Returns:
        Largest change (P,) and distance on the first frame (P,), scene units.
    """

    def distance(frame: int) -> NDArray[np.float32]:
        difference = tracks.points[frame, first] - tracks.points[frame, second]  # (P, 3)
        return np.sqrt(np.einsum("pa,pa->p", difference, difference))

    rest = distance(0)
    strain = np.zeros_like(rest)
    for frame in tracks.strain_frames:
        np.maximum(strain, np.abs(distance(int(frame)) - rest), out=strain)
    return strain, rest


@dataclass(frozen=True)
class AffinityLaw:
    """Affinity of two tracks: exp(-(strain / (pixels + ratio * rest distance)) ** power)."""

    pixels: float
    ratio: float
    power: float


def affinity(
    tracks: SubjectTracks, first: NDArray[np.int64], second: NDArray[np.int64], law: AffinityLaw
) -> NDArray[np.float32]:
    """Affinity of track pairs, 0 to 1; 0 across groups.

    Args:
        first, second: (P,) track indices; repeated pairs are evaluated once.
    """
    keys, inverse = np.unique(first * tracks.count + second, return_inverse=True)
    left, right = keys // tracks.count, keys % tracks.count
    strain, rest = pair_strain(tracks, left, right)
    tolerance = law.pixels / tracks.pixels_per_unit + law.ratio * rest
    value = np.exp(-((strain / tolerance) ** law.power))
    value[tracks.group[left] != tracks.group[right]] = 0
    return value[inverse].astype(np.float32)


@dataclass(frozen=True, eq=False)
class AffinityGraph:
    """Per track its neighbours that move alike: indices (N, K) and weights (N, K) that sum to 1 or are 0."""

    neighbours: NDArray[np.int64]
    weights: NDArray[np.float32]


def affinity_graph(
    tracks: SubjectTracks, kept: int = 12, candidates: int = 28, beta: float = 2.0
) -> AffinityGraph:
    """Build the graph per segment: of the nearest at rest keep those of least distance + beta * strain."""
    neighbours = np.tile(np.arange(tracks.count)[:, None], (1, kept + 1))
    costs = np.full((tracks.count, kept + 1), np.inf, np.float32)
    for name in np.unique(tracks.segment):
        members = np.flatnonzero(tracks.segment == name)
        near, distance = nearest(tracks.points[0, members], tracks.points[0, members], candidates)
        near = members[near]
        strain, _ = pair_strain(tracks, np.repeat(members, near.shape[1]), near.ravel())
        cost = distance + beta * strain.reshape(distance.shape)
        order = np.argsort(cost, axis=1, kind="stable")[:, : kept + 1]
        neighbours[members, : order.shape[1]] = np.take_along_axis(near, order, axis=1)
        costs[members, : order.shape[1]] = np.take_along_axis(cost, order, axis=1)
    middle = costs[:, min(6, kept)]
    known = middle[np.isfinite(middle)]
    scale = float(np.median(known)) if known.size else 1.0
    weights = np.exp(-((costs / max(2 * scale, 1e-9)) ** 2))
    weights /= weights.sum(axis=1, keepdims=True) + 1e-12
    return AffinityGraph(neighbours, weights.astype(np.float32))


def rigid_groups(tracks: SubjectTracks, rng: np.random.Generator) -> frozenset[int]:
    """Groups all of whose segments move rigidly: blockouts of boxes rather than skinned characters."""
    rigid = set(tracks.groups)
    for name in np.unique(tracks.segment):
        members = np.flatnonzero(tracks.segment == name)
        pairs = rng.choice(members, (2, RIGID_PAIRS))
        strain, rest = pair_strain(tracks, pairs[0], pairs[1])
        size = max(float(rest.max()), 1e-9)
        if float(strain.max()) > RIGID_TOLERANCE * size:
            rigid.discard(int(tracks.group[members[0]]))
    return frozenset(rigid)
