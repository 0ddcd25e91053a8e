"""The appearance cue of a shot: the colour of every point on its first frame."""

from __future__ import annotations

from collections.abc import Generator
from typing import cast

import bpy
import numpy as np
from numpy.typing import NDArray

from .appearance import MaterialColors, color_images
from .evaluated_meshes import MeshKey, MeshReader
from .point_tracker import PlacedPoints, PointRun


def look_up_colors(
    view_layer: bpy.types.ViewLayer, reader: MeshReader, points: PlacedPoints
) -> Generator[None, None, NDArray[np.uint8]]:
    """Look up the colour of every point while the scene shows the frame that they were placed on.

    Yields after each image that is read, returns (N, 3) uint8 sRGB.
    """
    materials = MaterialColors()
    runs_of: dict[MeshKey, list[PointRun]] = {}
    for run in points.runs:
        runs_of.setdefault(run.key, []).append(run)
    images: dict[int, bpy.types.Image] = {}
    for live in reader.live_meshes(_depsgraph(view_layer)):
        if live.key in runs_of:
            images.update((image.session_uid, image) for image in color_images(live.source))
    for image in images.values():
        materials.read(image)
        yield
    topology_of = {mesh.key: mesh.topology for mesh in points.meshes}
    colors = np.zeros((points.count, 3), dtype=np.uint8)
    for live in reader.live_meshes(_depsgraph(view_layer)):
        for run in runs_of.get(live.key, ()):
            topology = topology_of[live.key]
            # Edited since the last step? Then the first frame is refused for it.
            if len(live.mesh.loops) == len(topology.corner_vertices):
                colors[run.points] = materials.colors(live, topology, run.triangle, run.barycentric)
    return colors


def _depsgraph(view_layer: bpy.types.ViewLayer) -> bpy.types.Depsgraph:
    return cast(bpy.types.Depsgraph, view_layer.depsgraph)
