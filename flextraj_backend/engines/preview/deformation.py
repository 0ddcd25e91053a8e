"""Motion of a shell: where every pixel of the subject goes on each frame, with depth and local scale.

A handle (grid vertex or track) moves points by an affine map p -> G p + u in camera space; a pixel mixes the
maps of its handles. Reference algorithm, steps 5 and 6.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blender_addon.core.camera_track import Projection
from flextraj_backend.engines.preview.binding import Shell, apply_affine, project_points
from flextraj_backend.engines.preview.gradient_solve import smooth_vertex_motion
from flextraj_backend.engines.preview.tracks import SubjectTracks

MIN_DETERMINANT = 0.3
"""Smallest area scale inverted for the sub-pixel correction: below it the surface is seen edge-on."""


@dataclass(frozen=True, eq=False)
class MovingShell:
    """A shell with the motion of its handles.

    Attributes:
        vertex_shift: (T, V, 3) float32, the u of the grid vertices; (T, V, 3, 3) vertex_turn, their G.
    """

    shell: Shell
    vertex_shift: NDArray[np.float32]
    vertex_turn: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class PixelMotion:
    """A shell on one frame.

    Attributes:
        targets: (P, 2) float32, photo pixels.
        jacobian: (P, 2, 2) float32, from photo to frame, locally.
        depth: (P,) float32, scene units; not positive where a pixel came behind the camera.
    """

    targets: NDArray[np.float32]
    jacobian: NDArray[np.float32]
    depth: NDArray[np.float32]


def track_shifts(tracks: SubjectTracks, rotations: NDArray[np.float32], frame: int) -> NDArray[np.float32]:
    """The u of every track's affine map, (N, 3)."""
    turned = np.einsum("nab,nb->na", rotations[frame], tracks.points[0])
    return (tracks.points[frame] - turned).astype(np.float32)


def set_in_motion(shell: Shell, tracks: SubjectTracks, rotations: NDArray[np.float32]) -> MovingShell:
    """Blend the tracks' motion at the grid vertices, and smooth it where the binding asks for it.

    Args:
        rotations: (T, N, 3, 3) local rotations of the tracks.
    """
    near, weights = shell.vertex_neighbours, shell.vertex_weights
    frames, count = tracks.frame_count, len(near)
    shift = np.empty((frames, count, 3), np.float32)
    turn = np.empty((frames, count, 3, 3), np.float32)
    for frame in range(frames):
        shift[frame] = np.einsum("vk,vka->va", weights, track_shifts(tracks, rotations, frame)[near])
        turn[frame] = np.einsum("vk,vkab->vab", weights, rotations[frame][near])
    if shell.style.smoothing > 0:
        turned = np.einsum("tvab,vb->tva", turn, shell.vertex_rest)
        positions = smooth_vertex_motion(shell, shift + turned, turn)
        shift = (positions - turned).astype(np.float32)
    return MovingShell(shell, shift, turn)


def move_pixels(
    moving: MovingShell,
    tracks: SubjectTracks,
    rotations: NDArray[np.float32],
    fit: NDArray[np.float64],
    frame: int,
) -> PixelMotion:
    """Move every pixel of a shell to a frame.

    Args:
        fit: (2, 3) rig pixels to photo pixels.
    """
    shell = moving.shell
    vertex_count = len(shell.vertex_rest)
    table = np.empty((vertex_count + tracks.count, 12), np.float32)  # u | G, row by row
    table[:vertex_count, :3] = moving.vertex_shift[frame]
    table[:vertex_count, 3:] = moving.vertex_turn[frame].reshape(-1, 9)
    table[vertex_count:, :3] = track_shifts(tracks, rotations, frame)
    table[vertex_count:, 3:] = rotations[frame].reshape(-1, 9)
    mixed = np.zeros((len(shell.pixels), 12), np.float32)
    for k in range(shell.handles.shape[1]):
        mixed += shell.weights[:, k, None] * table[shell.handles[:, k]]
    turn = mixed[:, 3:].reshape(-1, 3, 3)
    points = mixed[:, :3] + np.einsum("pab,pb->pa", turn, shell.rest)  # (P, 3)

    camera = tracks.camera
    depth = points[:, 2]
    zoom = (camera.focal[frame] / camera.focal[0]).astype(np.float32)  # (2,)
    if camera.projection is Projection.PERSPECTIVE:
        magnification = shell.rest[:, 2] / np.maximum(depth, 1e-6 * tracks.extent)
    else:
        magnification = np.ones_like(depth)
    jacobian = magnification[:, None, None] * zoom[None, :, None] * turn[:, :2, :2]
    return PixelMotion(
        apply_affine(fit, project_points(camera, points, frame)).astype(np.float32),
        _on_photo(jacobian, fit[:, :2]),
        depth.astype(np.float32),
    )


def _on_photo(jacobian: NDArray[np.float32], linear: NDArray[np.float64]) -> NDArray[np.float32]:
    """Jacobians (P, 2, 2) between rig pixels, seen between photo pixels: L J L^-1."""
    if linear[0, 0] == linear[1, 1] and linear[0, 1] == linear[1, 0] == 0:
        return jacobian
    back = np.linalg.inv(linear).astype(np.float32)
    left = np.einsum("ab,pbc->pac", linear.astype(np.float32), jacobian)
    return np.einsum("pac,cd->pad", left, back)


def inverse_jacobian(jacobian: NDArray[np.float32]) -> NDArray[np.float32]:
    """Invert (P, 2, 2), bounded where the surface is seen edge-on."""
    a, b = jacobian[:, 0, 0], jacobian[:, 0, 1]
    c, d = jacobian[:, 1, 0], jacobian[:, 1, 1]
    determinant = a * d - b * c
    bounded = np.where(determinant < 0, -1, 1) * np.maximum(np.abs(determinant), MIN_DETERMINANT)
    adjugate = np.stack([np.stack([d, -b], axis=1), np.stack([-c, a], axis=1)], axis=1)
    return (adjugate / bounded[:, None, None]).astype(np.float32)
