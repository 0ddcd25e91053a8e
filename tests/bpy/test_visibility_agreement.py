"""Visibility and silhouettes against `scene.ray_cast`, on real rigs and on scenes made to be difficult."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

bpy = pytest.importorskip("bpy")

from mathutils import Vector  # noqa: E402

from blender_addon.bridge.cameras import read_camera  # noqa: E402
from blender_addon.core.camera import CameraFrame  # noqa: E402
from blender_addon.core.camera_track import Projection  # noqa: E402
from blender_addon.core.rasterizer import OccluderMesh  # noqa: E402
from blender_addon.core.silhouettes import segment_silhouettes  # noqa: E402
from blender_addon.core.visibility import RELATIVE_TOLERANCE, visible_points  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[2]
ASSETS = Path(os.environ.get("FLEXTRAJ_ASSETS_DIR") or REPOSITORY.parent / "shared" / "assets")
REQUIRED_AGREEMENT = 0.999

Arrays = NDArray[np.float64]


@pytest.fixture(autouse=True)
def _empty_scene():
    bpy.ops.wm.read_factory_settings(use_empty=True)


def _vector(values: Arrays) -> Vector:
    return Vector(values.tolist())


def _read_meshes() -> list[OccluderMesh]:
    meshes = []
    for instance in bpy.context.evaluated_depsgraph_get().object_instances:
        if instance.object.type != "MESH" or not len(instance.object.data.polygons):
            continue
        mesh = instance.object.data
        vertices = np.empty(len(mesh.vertices) * 3, dtype=np.float32)
        mesh.vertices.foreach_get("co", vertices)
        mesh.calc_loop_triangles()
        triangles = np.empty(len(mesh.loop_triangles) * 3, dtype=np.int32)
        mesh.loop_triangles.foreach_get("vertices", triangles)
        matrix = np.array(instance.matrix_world)
        world = vertices.reshape(-1, 3) @ matrix[:3, :3].T + matrix[:3, 3]
        meshes.append(OccluderMesh(world, triangles.reshape(-1, 3)))
    return meshes


def _sample(meshes: list[OccluderMesh], count: int) -> Arrays:
    """Points on the surfaces, a third of them exactly on an edge or a vertex."""
    rng = np.random.default_rng(11)
    corners = np.concatenate([mesh.vertices[mesh.triangles] for mesh in meshes])  # (M, 3, 3)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(normals, axis=1)
    weights = rng.dirichlet(np.ones(3), size=count)
    weights[: count // 6, 2] = 0
    weights[: count // 6] /= weights[: count // 6].sum(axis=1, keepdims=True)
    weights[count // 6 : count // 3] = np.eye(3)[rng.integers(3, size=count // 3 - count // 6)]
    chosen = corners[rng.choice(len(corners), count, p=area / area.sum())]
    return np.einsum("nk,nkd->nd", weights, chosen)


def _look_at(target: Arrays, direction: tuple[float, float, float], distance: float, lens: str = "PERSP"):
    data = bpy.data.cameras.new("Camera")
    data.type = lens
    data.ortho_scale = distance
    data.clip_start, data.clip_end = distance * 1e-3, distance * 1e3
    camera = bpy.data.objects.new("Camera", data)
    bpy.context.scene.collection.objects.link(camera)
    bpy.context.scene.camera = camera
    away = Vector(direction).normalized()
    camera.location = _vector(target) + away * distance
    camera.rotation_euler = (-away).to_track_quat("-Z", "Y").to_euler()
    bpy.context.view_layer.update()
    return camera


def _read_camera(width: int = 720, height: int = 480) -> CameraFrame:
    scene = bpy.context.scene
    return read_camera(scene, scene.camera, bpy.context.evaluated_depsgraph_get(), width, height)


def _cast_rays(camera: CameraFrame, points: Arrays) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Blender's own answer: points in view (N,), and of them those that a ray from the near plane reaches."""
    depsgraph, scene = bpy.context.evaluated_depsgraph_get(), bpy.context.scene
    x, y, depth = camera.world_to_pixels(points).T
    in_view = (x >= 0) & (x < camera.width) & (y >= 0) & (y < camera.height)
    in_view &= (depth >= camera.clip_start) & (depth <= camera.clip_end)
    visible = np.zeros(len(points), dtype=bool)
    eye, forward = camera.camera_to_world[:3, 3], -camera.camera_to_world[:3, 2]
    for index in np.flatnonzero(in_view):
        origin = eye
        if camera.projection is Projection.ORTHOGRAPHIC:
            origin = points[index] - forward * depth[index]
        way = points[index] - origin
        length = float(np.linalg.norm(way))
        start = camera.clip_start / depth[index] * length
        visible[index] = not scene.ray_cast(
            depsgraph,
            _vector(origin + way / length * start),
            _vector(way / length),
            distance=length * (1 - RELATIVE_TOLERANCE) - start,
        )[0]
    return in_view, visible


def _assert_agreement(count: int = 4000, least_in_view: float = 0.3) -> None:
    meshes = _read_meshes()
    camera = _read_camera()
    points = _sample(meshes, count)
    in_view, expected = _cast_rays(camera, points)
    assert in_view.mean() > least_in_view
    assert 0.01 < expected[in_view].mean() < 0.99
    seen = visible_points(camera, points, meshes)
    assert not seen[~in_view].any()
    assert (seen == expected)[in_view].mean() >= REQUIRED_AGREEMENT


@pytest.mark.assets
@pytest.mark.parametrize("name", ["samba.fbx", "Xbot.glb", "Soldier.glb", "Robot.glb", "flair.fbx"])
def test_points_on_real_rigs_are_seen_exactly_where_rays_reach_them(name) -> None:
    path = ASSETS / name
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    if path.suffix == ".fbx":
        bpy.ops.import_scene.fbx(filepath=str(path))
    else:
        bpy.ops.import_scene.gltf(filepath=str(path))
    views = (
        (1, (0.4, -1.0, 0.35), 1.3, "PERSP"),
        (17, (-1.0, 0.3, 0.1), 1.5, "ORTHO"),
        (31, (0.1, -1.0, 0.0), 0.8, "PERSP"),
    )
    for frame, direction, distance, lens in views:
        bpy.context.scene.frame_set(frame)
        vertices = np.concatenate([mesh.vertices for mesh in _read_meshes()])
        low, high = vertices.min(axis=0), vertices.max(axis=0)
        _look_at((low + high) / 2, direction, distance * float(np.linalg.norm(high - low)), lens)
        _assert_agreement()


def _shells() -> None:
    """Spheres 0.3 % apart that intersect, cut by a grid."""
    bpy.ops.mesh.primitive_uv_sphere_add(segments=64, ring_count=32)
    bpy.ops.mesh.primitive_uv_sphere_add(segments=60, ring_count=30, radius=1.003, location=(0, 0, 0.01))
    bpy.ops.mesh.primitive_grid_add(x_subdivisions=10, y_subdivisions=10, size=3)


def _crowd() -> None:
    """Instanced, mirrored and unevenly scaled objects of several sizes."""
    rng = np.random.default_rng(2)
    for index in range(25):
        if index % 2:
            bpy.ops.mesh.primitive_torus_add(major_radius=0.4)
        else:
            bpy.ops.mesh.primitive_monkey_add(size=0.8)
        bpy.context.object.location = rng.uniform(-1.2, 1.2, 3)
        bpy.context.object.rotation_euler = rng.uniform(0, 6, 3)
        bpy.context.object.scale = rng.uniform(0.3, 1.6, 3) * (-1 if index % 5 == 0 else 1)


def _soup() -> None:
    """Large and small triangles through each other."""
    rng = np.random.default_rng(7)
    size = rng.choice([0.05, 0.3, 1.0], (400, 1, 1))
    corners = rng.uniform(-1, 1, (400, 1, 3)) + rng.normal(0, 1, (400, 3, 3)) * size
    mesh = bpy.data.meshes.new("Soup")
    mesh.from_pydata(corners.reshape(-1, 3).tolist(), [], np.arange(1200).reshape(-1, 3).tolist())
    bpy.context.scene.collection.objects.link(bpy.data.objects.new("Soup", mesh))


@pytest.mark.parametrize("lens", ["PERSP", "ORTHO"])
@pytest.mark.parametrize("build", [_shells, _crowd, _soup])
def test_points_of_difficult_scenes_are_seen_exactly_where_rays_reach_them(
    build: Callable[[], None], lens: str
) -> None:
    build()
    _look_at(np.zeros(3), (0.6, -1.0, 0.5), 4.0, lens)
    _assert_agreement()


@pytest.mark.parametrize("lens", ["PERSP", "ORTHO"])
def test_a_ground_plane_that_passes_under_and_behind_the_camera_still_hides(lens: str) -> None:
    """The camera stands on a large ground of two triangles, with objects above and below it."""
    bpy.ops.mesh.primitive_plane_add(size=60)
    ground = bpy.context.object
    _crowd()
    camera = _look_at(np.zeros(3), (0.0, -1.0, 0.08), 4.0, lens)
    camera.data.clip_start = 0.05
    bpy.context.view_layer.update()
    frame = _read_camera()
    assert ground.matrix_world.translation.z < frame.camera_to_world[2, 3]
    ground_points = np.random.default_rng(1).uniform((-6, -4, 0), (6, 20, 0), (2000, 3))
    points = np.concatenate([_sample(_read_meshes()[1:], 2000), ground_points])
    in_view, expected = _cast_rays(frame, points)
    assert in_view[:2000].mean() > 0.5
    assert in_view[2000:].mean() > 0.2
    seen = visible_points(frame, points, _read_meshes())
    assert (seen == expected)[in_view].mean() >= REQUIRED_AGREEMENT


@pytest.mark.parametrize("lens", ["PERSP", "ORTHO"])
def test_silhouettes_show_the_object_that_a_ray_through_the_pixel_meets_first(lens: str) -> None:
    bpy.ops.mesh.primitive_plane_add(size=200, location=(0, 0, -1.3))
    _crowd()
    camera = _look_at(np.zeros(3), (0.3, -1.0, 0.2), 4.0, lens)
    camera.data.clip_end = 5.0
    bpy.context.view_layer.update()
    frame = _read_camera(96, 64)
    scene, depsgraph = bpy.context.scene, bpy.context.evaluated_depsgraph_get()
    names = [i.object.name for i in depsgraph.object_instances if i.object.type == "MESH"]
    masks = segment_silhouettes(frame, _read_meshes(), list(range(len(names))), len(names))
    drawn = np.where(masks.any(axis=0), masks.argmax(axis=0), -1)
    expected = np.full((64, 96), -1)
    for row, column in np.ndindex(64, 96):
        across = (column + 0.5 - frame.principal[0]) / frame.focal[0]
        up = (frame.principal[1] - row - 0.5) / frame.focal[1]
        if frame.projection is Projection.PERSPECTIVE:
            start, direction = np.zeros(3), np.array([across, up, -1.0])
        else:
            start, direction = np.array([across, up, 0.0]), np.array([0.0, 0.0, -1.0])
        axes, eye = frame.camera_to_world[:3, :3], frame.camera_to_world[:3, 3]
        origin = axes @ (start + direction * frame.clip_start) + eye
        reach = (frame.clip_end - frame.clip_start) * float(np.linalg.norm(direction))
        hit, _, _, _, ob, _ = scene.ray_cast(
            depsgraph, _vector(origin), _vector(axes @ direction), distance=reach
        )
        if hit:
            expected[row, column] = names.index(ob.name)
    assert (expected == -1).mean() > 0.05
    assert len(np.unique(expected)) > 10
    assert (drawn == expected).mean() >= REQUIRED_AGREEMENT


def test_a_camera_roll_and_a_long_lens_do_not_cost_precision() -> None:
    """A 600 mm lens from 60 m away: the relative depth differences are small."""
    _shells()
    camera = _look_at(np.zeros(3), (0.6, -1.0, 0.5), 60.0)
    camera.data.lens = 600.0
    camera.rotation_euler.rotate_axis("Z", math.radians(40))
    bpy.context.view_layer.update()
    _assert_agreement()
