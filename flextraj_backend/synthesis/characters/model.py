"""A character before it becomes Blender objects. NumPy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flextraj_backend.demo.proportions import Bone
from flextraj_backend.synthesis.characters.surface_texture import SurfaceTexture


@dataclass(frozen=True, eq=False)
class CharacterModel:
    """A mesh with its skeleton, standing on z = 0 at the origin, looking along -Y, its left along +X.

    Attributes:
        description: what it looks like, for prompts: "a stocky person in a red jacket".
        vertices: (V, 3) metres.
        quads: (F, 4) vertex indices, counter-clockwise from outside.
        materials: (F,) material slot of each face.
        smooth: (F,) faces that are shaded as parts of a curved surface.
        weights: (V, B) skin weights; B = 0 without a skeleton.
        bones: parents before children, empty without a skeleton.
        texture: of the material slots.
        stride: length that the motion of the root scales with, metres: height of the hip joints,
            or of the whole where there is no skeleton.
    """

    description: str
    vertices: NDArray[np.float64]
    quads: NDArray[np.int64]
    materials: NDArray[np.int64]
    smooth: NDArray[np.bool_]
    weights: NDArray[np.float64]
    bones: tuple[Bone, ...]
    texture: SurfaceTexture
    stride: float

    @property
    def height(self) -> float:
        """From the ground to the top, metres."""
        return float(self.vertices[:, 2].max())
