"""Projection against Blender: calc_matrix_camera, world_to_camera_view and the Cycles Position pass."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest

bpy = pytest.importorskip("bpy")

from bpy_extras.object_utils import world_to_camera_view  # noqa: E402
from mathutils import Euler, Matrix, Vector  # noqa: E402

from blender_addon.bridge.cameras import camera_settings, read_camera  # noqa: E402
from blender_addon.core.camera import CameraFrame, camera_track  # noqa: E402
from blender_addon.core.camera_track import Projection  # noqa: E402
from blender_addon.core.errors import ErrorCode, FlexTrajError  # noqa: E402

LENSES = ("PERSP", "ORTHO")
FITS = ("AUTO", "HORIZONTAL", "VERTICAL")
SIZES = ((96, 64), (64, 96), (80, 80))
PIXEL_ASPECTS = ((1.0, 1.0), (1.5, 1.0), (1.0, 1.25))
SHIFTS = ((0.0, 0.0), (0.17, -0.23))
SCALES = ((1.0, 1.0, 1.0), (2.0, 0.5, 3.0), (-1.0, 1.0, 1.0))


@pytest.fixture(autouse=True)
def _empty_scene():
    bpy.ops.wm.read_factory_settings(use_empty=True)


def _add_camera(lens: str = "PERSP", scale: tuple[float, float, float] = (1.0, 1.0, 1.0)):
    data = bpy.data.cameras.new("Camera")
    data.type = lens
    data.lens = 37.0
    data.sensor_width, data.sensor_height = 31.0, 17.0
    data.ortho_scale = 7.3
    camera = bpy.data.objects.new("Camera", data)
    camera.location = (3.0, -8.0, 4.0)
    camera.rotation_euler = Euler((math.radians(66), math.radians(7), math.radians(21)))
    camera.scale = scale
    bpy.context.scene.collection.objects.link(camera)
    bpy.context.scene.camera = camera
    return camera


def _set_size(
    width: int, height: int, percentage: int = 100, aspect: tuple[float, float] = (1.0, 1.0)
) -> None:
    render = bpy.context.scene.render
    render.resolution_x, render.resolution_y = width, height
    render.resolution_percentage = percentage
    render.pixel_aspect_x, render.pixel_aspect_y = aspect


def _read(width: int | None = None, height: int | None = None) -> CameraFrame:
    scene = bpy.context.scene
    return read_camera(scene, scene.camera, bpy.context.evaluated_depsgraph_get(), width, height)


def _blender_pixels(camera, points: np.ndarray, width: int, height: int) -> np.ndarray:
    """The same projection by Blender's own matrix, (N, 3)."""
    render = bpy.context.scene.render
    projection = np.array(
        camera.calc_matrix_camera(
            bpy.context.evaluated_depsgraph_get(),
            x=width,
            y=height,
            scale_x=render.pixel_aspect_x,
            scale_y=render.pixel_aspect_y,
        )
    )
    view = np.array(camera.matrix_world.normalized().inverted())
    homogeneous = np.c_[points, np.ones(len(points))]
    clip = homogeneous @ (projection @ view).T
    return np.stack(
        [
            (clip[:, 0] / clip[:, 3] * 0.5 + 0.5) * width,
            (0.5 - clip[:, 1] / clip[:, 3] * 0.5) * height,
            -(homogeneous @ view[2]),
        ],
        axis=-1,
    )


def _points(count: int = 60) -> np.ndarray:
    return np.random.default_rng(5).uniform(-2.5, 2.5, (count, 3))


CONFIGURATIONS = list(itertools.product(LENSES, FITS, SIZES, PIXEL_ASPECTS, SHIFTS, SCALES))


def test_tracks_follow_blenders_own_projection_for_every_kind_of_camera() -> None:
    points = _points()
    for lens, fit, (width, height), aspect, (shift_x, shift_y), scale in CONFIGURATIONS:
        for obsolete in list(bpy.data.objects):
            bpy.data.objects.remove(obsolete)
        camera = _add_camera(lens, scale)
        camera.data.sensor_fit, camera.data.shift_x, camera.data.shift_y = fit, shift_x, shift_y
        _set_size(width, height, aspect=aspect)
        ours = _read().world_to_pixels(points)
        configuration = (lens, fit, width, height, aspect, shift_x, scale)
        np.testing.assert_allclose(
            ours, _blender_pixels(camera, points, width, height), atol=2e-3, err_msg=str(configuration)
        )
        seen = [world_to_camera_view(bpy.context.scene, camera, Vector(point)) for point in points[:20]]
        expected = np.array([(view.x * width, (1 - view.y) * height, view.z) for view in seen])
        np.testing.assert_allclose(ours[:20], expected, atol=0.01, err_msg=str(configuration))


def _render_positions(folder: Path) -> np.ndarray:
    """Render the Cycles Position pass: (H, W, 3) world positions at the pixel centres, zero where empty."""
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.device = "CPU"
    scene.cycles.samples = 1
    scene.cycles.use_denoising = False
    scene.cycles.use_adaptive_sampling = False
    scene.cycles.pixel_filter_type = "BOX"
    scene.render.filter_size = 0.01
    scene.cycles.filter_width = 0.01
    scene.cycles.max_bounces = 0
    scene.view_layers[0].use_pass_position = True
    scene.use_nodes = True
    if hasattr(scene, "compositing_node_group"):
        tree = scene.compositing_node_group = bpy.data.node_groups.new("Position", "CompositorNodeTree")
        tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
        composite = tree.nodes.new("NodeGroupOutput")
    else:  # before Blender 5.0 a scene has its own tree
        tree = scene.node_tree
        tree.nodes.clear()
        composite = tree.nodes.new("CompositorNodeComposite")
    layers = tree.nodes.new("CompositorNodeRLayers")
    tree.links.new(layers.outputs["Position"], composite.inputs["Image"])
    settings = scene.render.image_settings
    settings.file_format, settings.color_mode, settings.color_depth = "OPEN_EXR", "RGB", "32"
    scene.render.filepath = str(folder / "position.exr")
    bpy.ops.render.render(write_still=True)
    image = bpy.data.images.load(scene.render.filepath)
    image.colorspace_settings.name = "Non-Color"
    width, height = image.size
    pixels = np.empty(width * height * image.channels, dtype=np.float32)
    image.pixels.foreach_get(pixels)
    bpy.data.images.remove(image)
    return pixels.reshape(height, width, -1)[::-1, :, :3]


@pytest.mark.parametrize(
    ("lens", "fit", "size", "percentage", "aspect", "shift", "scale"),
    [
        ("PERSP", "AUTO", (96, 64), 100, (1.0, 1.0), (0.0, 0.0), (1.0, 1.0, 1.0)),
        ("PERSP", "VERTICAL", (383, 163), 33, (1.5, 1.0), (0.1, -0.08), (2.0, 0.5, 3.0)),
        ("PERSP", "AUTO", (101, 203), 50, (1.0, 1.25), (-0.12, 0.05), (1.0, 1.0, 1.0)),
        ("ORTHO", "HORIZONTAL", (383, 163), 33, (1.0, 1.0), (0.1, -0.08), (1.0, 1.0, 1.0)),
        ("ORTHO", "AUTO", (101, 203), 50, (1.5, 1.0), (0.0, 0.0), (0.01, 0.01, 0.01)),
    ],
)
def test_tracks_land_on_the_pixels_that_the_renderer_draws(
    tmp_path, lens, fit, size, percentage, aspect, shift, scale
) -> None:
    camera = _add_camera(lens, scale)
    camera.data.sensor_fit = fit
    camera.data.shift_x, camera.data.shift_y = shift
    _set_size(size[0], size[1], percentage, aspect)
    bpy.ops.mesh.primitive_monkey_add(size=4.0, rotation=(0.3, 0.2, 0.9))
    bpy.ops.mesh.primitive_plane_add(size=40.0, location=(0.0, 0.0, -2.0))
    rendered = _render_positions(tmp_path)
    frame = _read()
    assert (frame.height, frame.width) == rendered.shape[:2]
    rows, columns = np.nonzero(np.any(rendered != 0, axis=-1))
    assert len(rows) > 1000
    ours = frame.world_to_pixels(rendered[rows, columns])
    np.testing.assert_allclose(ours[:, 0], columns + 0.5, atol=0.01)
    np.testing.assert_allclose(ours[:, 1], rows + 0.5, atol=0.01)


def test_a_camera_sheared_by_an_unevenly_scaled_parent_is_still_the_renderers_camera(tmp_path) -> None:
    camera = _add_camera()
    parent = bpy.data.objects.new("Rig", None)
    bpy.context.scene.collection.objects.link(parent)
    camera.parent = parent
    parent.scale = (3.0, 1.0, 0.5)
    _set_size(96, 64)
    bpy.ops.mesh.primitive_plane_add(size=400.0, location=(0.0, 0.0, -2.0))
    bpy.ops.mesh.primitive_monkey_add(size=14.0, rotation=(0.3, 0.2, 0.9))
    rendered = _render_positions(tmp_path)
    rows, columns = np.nonzero(np.any(rendered != 0, axis=-1))
    assert len(rows) > 1000
    ours = _read().world_to_pixels(rendered[rows, columns])
    np.testing.assert_allclose(ours[:, 0], columns + 0.5, atol=0.01)
    np.testing.assert_allclose(ours[:, 1], rows + 0.5, atol=0.01)


def test_an_animated_zoom_moves_the_tracks_on_every_frame() -> None:
    camera = _add_camera()
    camera.data.lens = 24.0
    camera.data.keyframe_insert("lens", frame=1)
    camera.data.lens = 85.0
    camera.data.keyframe_insert("lens", frame=11)
    _set_size(96, 64)
    points = _points()
    frames = []
    for number in (1, 4, 11):
        bpy.context.scene.frame_set(number)
        frames.append(_read())
        np.testing.assert_allclose(
            frames[-1].world_to_pixels(points), _blender_pixels(camera, points, 96, 64), atol=2e-3
        )
    track = camera_track(frames)
    assert track.focal[0, 0] == pytest.approx(24 / 31 * 96, rel=1e-6)
    assert track.focal[2, 0] == pytest.approx(85 / 31 * 96, rel=1e-6)
    assert track.focal[0, 0] < track.focal[1, 0] < track.focal[2, 0]


def test_a_camera_on_a_scaled_moving_parent_is_read_where_it_is_and_without_scale() -> None:
    camera = _add_camera(scale=(0.5, 0.5, 0.5))
    parent = bpy.data.objects.new("Rig", None)
    bpy.context.scene.collection.objects.link(parent)
    camera.parent = parent
    parent.scale = (3.0, 3.0, 3.0)
    parent.location = (1.0, 2.0, 0.5)
    bpy.context.view_layer.update()
    _set_size(96, 64)
    frame = _read()
    np.testing.assert_allclose(frame.camera_to_world[:3, 3], camera.matrix_world.translation, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(frame.camera_to_world[:3, :3], axis=0), 1.0, atol=1e-6)
    points = _points()
    np.testing.assert_allclose(
        frame.world_to_pixels(points), _blender_pixels(camera, points, 96, 64), atol=2e-3
    )


def test_depth_is_planar_also_for_an_orthographic_camera() -> None:
    for lens in LENSES:
        camera = _add_camera(lens)
        bpy.context.view_layer.update()
        points = np.array([camera.matrix_world @ Vector((1.5, -2.0, -6.25))])
        assert _read().world_to_pixels(points)[0, 2] == pytest.approx(6.25, abs=1e-5)


@pytest.mark.parametrize(
    ("size", "percentage", "raster"),
    [((383, 163), 33, (126, 53)), ((1920, 1080), 50, (960, 540)), ((101, 203), 99, (99, 200))],
)
def test_a_percentage_gives_the_size_that_the_renderer_makes(size, percentage, raster) -> None:
    camera = _add_camera()
    _set_size(size[0], size[1], percentage)
    assert camera_settings(bpy.context.scene, camera.data).raster_size == raster


def test_a_given_size_replaces_the_scenes_size_and_percentage() -> None:
    camera = _add_camera()
    _set_size(1920, 1080, 50)
    frame = _read(72, 48)
    assert (frame.width, frame.height) == (72, 48)
    points = _points()
    np.testing.assert_allclose(
        frame.world_to_pixels(points), _blender_pixels(camera, points, 72, 48), atol=2e-3
    )


def test_a_scene_without_a_camera_says_how_to_add_one() -> None:
    with pytest.raises(FlexTrajError, match=r"The scene has no camera: add one") as caught:
        _read()
    assert caught.value.code is ErrorCode.NO_CAMERA


def test_an_object_that_is_no_camera_is_refused_by_name() -> None:
    light = bpy.data.objects.new("Sun", bpy.data.lights.new("Sun", "SUN"))
    bpy.context.scene.collection.objects.link(light)
    bpy.context.scene.camera = light
    with pytest.raises(FlexTrajError, match=r"^'Sun' is not a camera: choose a camera object\.$"):
        _read()


def test_a_panoramic_camera_is_refused_with_the_lens_type_to_choose() -> None:
    _add_camera("PANO")
    with pytest.raises(
        FlexTrajError, match=r"'Camera' has a panoramic lens.*Perspective or Orthographic"
    ) as error:
        _read()
    assert error.value.code is ErrorCode.NO_CAMERA


def test_a_camera_outside_the_view_layer_is_refused_instead_of_read_where_it_was() -> None:
    _add_camera()
    other = _add_camera()
    other.name = "Excluded"
    collection = bpy.data.collections.new("Off")
    bpy.context.scene.collection.children.link(collection)
    bpy.context.scene.collection.objects.unlink(other)
    collection.objects.link(other)
    bpy.context.scene.camera = bpy.data.objects["Camera"]
    bpy.context.view_layer.layer_collection.children["Off"].exclude = True
    with pytest.raises(FlexTrajError, match="'Excluded' is not in the view layer"):
        read_camera(bpy.context.scene, other, bpy.context.evaluated_depsgraph_get())


def test_a_mirrored_camera_keeps_a_perspective_that_can_be_inverted() -> None:
    camera = _add_camera(scale=(-1.0, 1.0, 1.0))
    bpy.context.view_layer.update()
    frame = _read(96, 64)
    assert frame.projection is Projection.PERSPECTIVE
    product = frame.world_to_camera @ np.array(camera.matrix_world @ Matrix.Scale(1.0, 4))
    np.testing.assert_allclose(product, np.diag([1.0, 1.0, 1.0, 1.0]), atol=1e-5)
