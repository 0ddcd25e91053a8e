"""Small clips of textured discs and boxes that move, turn, grow and hide each other, with exact tracks.

NumPy and OpenCV only: material for measuring trackers and metrics.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from blender_addon.core.trajectories import Segment, TrajectoryMeta, TrajectorySet

SUPERSAMPLING = 3
TEXTURE = 96
"""Side of a texture in texels."""


@dataclass(frozen=True)
class ClipShape:
    """Size and speed of the clips: `step` is the objects' largest speed in pixels a frame."""

    width: int = 72
    height: int = 48
    frames: int = 9
    step: float = 5.0
    points: int = 60
    """Tracks per object."""


@dataclass(frozen=True, eq=False)
class TexturedClip:
    """A clip and its exact tracks.

    Attributes:
        frames: (T, H, W, 3) uint8.
        trajectories: one segment per object, the background's last.
        segments: (T, H, W) uint8; 0 = background, s + 1 = object s.
    """

    frames: NDArray[np.uint8]
    trajectories: TrajectorySet
    segments: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class _Motion:
    """Centre (T, 2) in pixels, angle (T,) in radians and half sides (T, 2) in pixels of an object."""

    center: NDArray[np.float64]
    angle: NDArray[np.float64]
    half: NDArray[np.float64]
    round: bool

    def to_object(self, pixels: NDArray[np.float64], frame: int) -> NDArray[np.float64]:
        """Pixels (..., 2) to object coordinates; the object fills -1 to 1."""
        offset = pixels - self.center[frame]
        c, s = np.cos(self.angle[frame]), np.sin(self.angle[frame])
        turned = np.stack([offset @ np.array([c, s]), offset @ np.array([-s, c])], axis=-1)
        return turned / self.half[frame]

    def to_pixels(self, places: NDArray[np.float64], frame: int) -> NDArray[np.float64]:
        """Object coordinates (N, 2) to pixels."""
        scaled = places * self.half[frame]
        c, s = np.cos(self.angle[frame]), np.sin(self.angle[frame])
        return scaled @ np.array([[c, s], [-s, c]]) + self.center[frame]

    def covers(self, places: NDArray[np.float64]) -> NDArray[np.bool_]:
        if self.round:
            return (places**2).sum(axis=-1) < 1
        return (np.abs(places) < 1).all(axis=-1)


def textured_clip(rng: np.random.Generator, shape: ClipShape | None = None) -> TexturedClip:
    """Draw a clip of two objects over a background that pans slowly."""
    shape = shape or ClipShape()
    motions = [_draw_motion(rng, shape, round_object=bool(rng.random() < 0.5)) for _ in range(2)]
    textures = [
        _texture(rng, cells=int(rng.integers(4, 8)), contrast=float(rng.uniform(0.06, 0.25))) for _ in motions
    ]
    background = _texture(rng, cells=7, contrast=float(rng.uniform(0.05, 0.2)))
    pan = rng.uniform(-0.6, 0.6, 2)  # pixels a frame
    size = np.array([shape.width, shape.height], dtype=np.float64)

    def background_places(pixels: NDArray[np.float64], frame: int) -> NDArray[np.float64]:
        return ((pixels - pan * frame) / size * 2 - 1) * 0.8

    fine = (shape.height * SUPERSAMPLING, shape.width * SUPERSAMPLING)
    rows, columns = np.mgrid[: fine[0], : fine[1]]
    pixels = np.stack([columns + 0.5, rows + 0.5], axis=-1) / SUPERSAMPLING  # (H', W', 2)
    frames, segments = [], []
    for frame in range(shape.frames):
        picture = _look_up(background, background_places(pixels, frame))
        segment = np.zeros(fine, dtype=np.uint8)
        for number, (motion, texture) in enumerate(zip(motions, textures, strict=True), start=1):
            places = motion.to_object(pixels, frame)
            covered = motion.covers(places)
            picture = np.where(covered[..., None], _look_up(texture, places), picture)
            segment[covered] = number
        small = cv2.resize(picture, (shape.width, shape.height), interpolation=cv2.INTER_AREA)
        frames.append(np.round(np.clip(small, 0, 1) * 255).astype(np.uint8))
        segments.append(segment[SUPERSAMPLING // 2 :: SUPERSAMPLING, SUPERSAMPLING // 2 :: SUPERSAMPLING])
    trajectories = _tracks(rng, shape, motions, pan)
    return TexturedClip(np.stack(frames), trajectories, np.stack(segments))


def blurred(frames: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    """Gaussian blur of each frame."""
    return np.stack([cv2.GaussianBlur(frame, (0, 0), sigma) for frame in frames]).astype(np.uint8)


def noisy(frames: NDArray[np.uint8], sigma: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Independent Gaussian noise of `sigma` grey levels."""
    noise = rng.normal(0, sigma, frames.shape)
    return np.clip(np.round(frames + noise), 0, 255).astype(np.uint8)


def _draw_motion(rng: np.random.Generator, shape: ClipShape, round_object: bool) -> _Motion:
    time = np.arange(shape.frames, dtype=np.float64)
    half = rng.uniform(0.18, 0.32, 2) * shape.height
    size = np.array([shape.width, shape.height])
    speed = rng.uniform(0.4, 1.0) * shape.step
    direction = rng.uniform(0, 2 * np.pi)
    velocity = speed * np.array([np.cos(direction), np.sin(direction) * 0.6])
    # The path's middle lies in the picture's middle half, so that most of it is seen.
    middle = size * rng.uniform(0.3, 0.7, 2)
    sway = rng.normal(0, 0.03, 2) * size * np.sin(2 * np.pi * time / shape.frames)[:, None]
    center = middle + velocity * (time - time.mean())[:, None] + sway
    angle = rng.uniform(0, 2 * np.pi) + rng.uniform(-0.12, 0.12) * time
    growth = np.exp(rng.uniform(-0.02, 0.02) * time)
    return _Motion(center, angle, half * growth[:, None], round_object)


def _texture(rng: np.random.Generator, cells: int, contrast: float) -> NDArray[np.float32]:
    """Smooth coloured noise (TEXTURE, TEXTURE, 3) around a drawn colour."""
    grid = rng.normal(0, contrast, (cells, cells, 3)).astype(np.float32)
    color = rng.uniform(0.25, 0.75, 3).astype(np.float32)
    return cv2.resize(grid, (TEXTURE, TEXTURE), interpolation=cv2.INTER_CUBIC) + color


def _look_up(texture: NDArray[np.float32], places: NDArray[np.float64]) -> NDArray[np.float32]:
    texels = ((places + 1) / 2 * TEXTURE - 0.5).astype(np.float32)
    return cv2.remap(  # pyright: ignore[reportReturnType]
        texture, texels[..., 0], texels[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )


def _tracks(
    rng: np.random.Generator, shape: ClipShape, motions: list[_Motion], pan: NDArray[np.float64]
) -> TrajectorySet:
    size = np.array([shape.width, shape.height], dtype=np.float64)
    frames = range(shape.frames)
    paths: list[NDArray[np.float64]] = []
    for motion in motions:
        places = rng.uniform(-0.85, 0.85, (shape.points * 3, 2))
        places = places[motion.covers(places / 0.85)][: shape.points]
        paths.append(np.stack([motion.to_pixels(places, frame) for frame in frames]))
    ground = rng.uniform(0, 1, (shape.points, 2)) * size
    paths.append(np.stack([ground + pan * frame for frame in frames]))
    positions = np.concatenate(paths, axis=1)  # (T, N, 2)
    seg_id = np.repeat(np.arange(len(paths)), [path.shape[1] for path in paths])
    visible = ((positions >= 0) & (positions < size)).all(axis=2)
    for number, motion in enumerate(motions):
        # Later objects lie over earlier ones, all of them over the background.
        behind = (seg_id < number) | (seg_id == len(motions))
        for frame in frames:
            visible[frame, behind] &= ~motion.covers(motion.to_object(positions[frame, behind], frame))
    depth = np.where(seg_id == len(motions), 3.0, 2.0 - 0.5 * seg_id)
    stacked = np.concatenate(
        [positions, np.broadcast_to(depth[None, :, None], (*positions.shape[:2], 1))], axis=2
    )
    segments = tuple(
        Segment(number + 1, f"object {number + 1}", group=number) for number in range(len(motions))
    )
    meta = TrajectoryMeta(
        width=shape.width,
        height=shape.height,
        fps=8.0,
        source_frames=tuple(float(frame) for frame in frames),
        segments=(*segments, Segment(len(motions) + 1, "background", group=len(motions), background=True)),
        aligned=True,
        producer="moving textures",
    )
    counts = [path.shape[1] for path in paths]
    return TrajectorySet(
        positions=stacked.astype(np.float32),
        visible=visible,
        seg_id=seg_id.astype(np.uint16),
        traj_id=np.concatenate([np.arange(count) for count in counts]).astype(np.uint16),
        meta=meta,
    )
