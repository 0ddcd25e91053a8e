"""Sampling goes through the frames of a shot: what an animator has changed and not keyed yet must survive."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

bpy = pytest.importorskip("bpy")

from sampling_scenes import add_camera, sample, scene  # noqa: E402


@pytest.fixture
def cube() -> Any:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    add_camera(location=(0.0, -10.0, 0.0))
    bpy.ops.mesh.primitive_cube_add()
    return bpy.context.object


def keyed(owner: Any, path: str) -> None:
    for frame in (1, 20):
        owner.keyframe_insert(path, frame=frame)


def shape_key(cube: Any) -> tuple[Callable[[], Any], Callable[[Any], None], Any]:
    cube.shape_key_add(name="Basis")
    key = cube.shape_key_add(name="Smile.L")
    keyed(key, "value")
    return (lambda: key.value), (lambda value: setattr(key, "value", value)), 0.75


def custom_property(cube: Any) -> tuple[Callable[[], Any], Callable[[Any], None], Any]:
    cube['IK "left".x'] = 0.0
    keyed(cube, '["IK \\"left\\".x"]')
    return (lambda: cube['IK "left".x']), (lambda value: cube.__setitem__('IK "left".x', value)), 1.0


def lens(_cube: Any) -> tuple[Callable[[], Any], Callable[[Any], None], Any]:
    camera = scene().camera.data
    keyed(camera, "lens")
    return (lambda: camera.lens), (lambda value: setattr(camera, "lens", value)), 85.0


def node_color(cube: Any) -> tuple[Callable[[], Any], Callable[[Any], None], Any]:
    material: Any = bpy.data.materials.new("Skin")
    material.use_nodes = True
    cube.data.materials.append(material)
    color = material.node_tree.nodes["Principled BSDF"].inputs["Base Color"]
    keyed(color, "default_value")
    return (
        (lambda: tuple(color.default_value)),
        (lambda value: color.default_value.__setitem__(slice(0, 4), value)),
        (0.25, 0.5, 1.0, 1.0),
    )


def switch(cube: Any) -> tuple[Callable[[], Any], Callable[[Any], None], Any]:
    modifier = cube.modifiers.new("Bevel", "BEVEL")
    keyed(modifier, "segments")
    return (lambda: modifier.segments), (lambda value: setattr(modifier, "segments", value)), 5


@pytest.mark.parametrize("animated", [shape_key, custom_property, lens, node_color, switch])
def test_a_change_of_a_keyed_property_survives_sampling(animated: Any, cube: Any) -> None:
    read, write, value = animated(cube)
    scene().frame_set(10)
    before = read()
    write(value)
    assert read() == pytest.approx(value) and read() != before
    sample(objects=("Cube",), points=5, model_frames=3)
    assert scene().frame_current == 10
    assert read() == pytest.approx(value)


def test_what_follows_its_keys_is_left_to_them(cube: Any) -> None:
    read, _, _ = shape_key(cube)
    cube.data.shape_keys.key_blocks["Smile.L"].value = 0.5
    cube.data.shape_keys.key_blocks["Smile.L"].keyframe_insert("value", frame=20)
    scene().frame_set(10)
    before = read()
    sample(objects=("Cube",), points=5, model_frames=3)
    assert read() == before
    scene().frame_set(20)
    assert read() == pytest.approx(0.5)
