"""What to sample from a scene: one frozen message for panel, command line, synthesis and tests."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class SampleMode(StrEnum):
    SURFACE = "surface"
    """Points spread evenly over the surface (area-weighted, world space)."""
    VERTICES = "vertices"
    """The meshes' own vertices."""


class SegmentBy(StrEnum):
    """What gets a SegID of its own."""

    OBJECT = "object"
    COLLECTION = "collection"
    MATERIAL = "material"


class ColorSource(StrEnum):
    NONE = "none"
    MATERIAL = "material"
    """Base colour of the material, through its image texture where it has one."""


@dataclass(frozen=True)
class SubjectDensity:
    """How many points a subject gets, and where on it.

    Attributes:
        name: an object as in `SampleSettings.objects`.
        points: points on each of its segments; None = as on the others.
        vertex_group: vertex group whose weights the density of its points follows, none where the weight is
            zero; empty = even.
    """

    name: str
    points: int | None = None
    vertex_group: str = ""


@dataclass(frozen=True)
class SampleSettings:
    """One sampling job.

    Attributes:
        objects: names of the objects to sample (an armature stands for the meshes it deforms); empty = every
            mesh that renders.
        background: names of the objects among them that are props or ground.
        segment_by: one SegID per object, collection or material.
        points: points per segment; None = use `density` (surface) or every vertex (vertices).
        densities: what differs for single subjects; of several on one segment the largest number counts.
        density: points per square scene unit (world space); used when `points` is None.
        mode: surface points or vertices.
        first_frame, last_frame: scene range, inclusive; None = the range of the subjects' animation (within
            the scene's where that is not Blender's default), or the scene's where nothing is animated.
        model_frames: frames of the trajectory set, spread evenly over the range (subframes); None = every
            frame.
        model_fps: frames per second of the trajectory set, from the range's first frame on; None, or where
            the range is too short for it, the model frames are spread over the whole range.
        width, height: raster in pixels; None = the scene's render size (truncated, as the renderer does).
        camera: name of the camera object; None = the scene's camera.
        seed: same scene and seed, same points.
        aligned: the rig is posed over the photo on the first frame.
        color: appearance cue stored with the points.
    """

    objects: tuple[str, ...] = ()
    background: tuple[str, ...] = ()
    segment_by: SegmentBy = SegmentBy.OBJECT
    points: int | None = 2500
    densities: tuple[SubjectDensity, ...] = ()
    density: float | None = None
    mode: SampleMode = SampleMode.SURFACE
    first_frame: int | None = None
    last_frame: int | None = None
    model_frames: int | None = 49
    model_fps: float | None = None
    width: int | None = None
    height: int | None = None
    camera: str | None = None
    seed: int = 0
    aligned: bool = False
    color: ColorSource = ColorSource.MATERIAL


@dataclass(frozen=True)
class SampleProgress:
    """Yielded after each frame: `done` of `total` frames."""

    done: int
    total: int
