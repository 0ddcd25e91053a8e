"""The trajectory set: what would be lost if schema, reader or writer were wrong."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blender_addon.core.camera_track import CameraTrack, Projection
from blender_addon.core.trajectories import (
    Segment,
    TrajectoryError,
    TrajectoryMeta,
    TrajectorySet,
    concatenate_frames,
    concatenate_points,
)
from blender_addon.core.trajectory_file import (
    meta_to_dict,
    read_trajectories,
    trajectories_to_bytes,
    write_trajectories,
)


@st.composite
def trajectory_sets(draw: st.DrawFn) -> TrajectorySet:
    t, n, s = draw(st.integers(1, 5)), draw(st.integers(1, 12)), draw(st.integers(1, 3))
    width, height = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    camera = None
    if draw(st.booleans()):
        camera = CameraTrack(
            draw(st.sampled_from(Projection)),
            rng.uniform(1, 2000, (t, 2)),
            rng.normal(size=(t, 2)) * 300,
            rng.normal(size=(t, 4, 4)),
        )
    color = None
    kind = draw(st.sampled_from(["none", "static", "animated"]))
    if kind != "none":
        color = rng.integers(0, 256, (n, 3) if kind == "static" else (t, n, 3), dtype=np.uint8)
    return TrajectorySet(
        positions=rng.normal(size=(t, n, 3)).astype(np.float32) * 1e3,
        visible=rng.random((t, n)) < 0.5,
        seg_id=rng.integers(0, s, n).astype(np.uint16),
        traj_id=rng.permutation(n).astype(np.uint16),
        color=color,
        silhouette=rng.random((s, height, width)) < 0.5 if draw(st.booleans()) else None,
        meta=TrajectoryMeta(
            width=width,
            height=height,
            fps=draw(st.floats(1, 120)),
            source_frames=tuple(float(f) for f in rng.normal(size=t)),
            segments=tuple(
                Segment(i * 3, draw(st.text(max_size=8)), draw(st.integers(0, 4)), draw(st.booleans()))
                for i in range(s)
            ),
            camera=camera,
            aligned=draw(st.booleans()),
            seed=draw(st.none() | st.integers(0, 2**40)),
        ),
    )


def simple(t: int = 3, n: int = 4) -> TrajectorySet:
    return TrajectorySet(
        positions=np.arange(t * n * 3, dtype=np.float32).reshape(t, n, 3),
        visible=np.ones((t, n), bool),
        seg_id=np.zeros(n, np.uint16),
        traj_id=np.arange(n, dtype=np.uint16),
        meta=TrajectoryMeta(32, 24, 16.0, tuple(map(float, range(t))), (Segment(0, "Body"),)),
    )


def camera_track(focal: float = 500.0, pose: np.ndarray | None = None) -> CameraTrack:
    return CameraTrack(
        Projection.PERSPECTIVE,
        np.full((3, 2), focal),
        np.zeros((3, 2)),
        np.tile(np.eye(4), (3, 1, 1)) if pose is None else pose,
    )


def assert_same(a: TrajectorySet, b: TrajectorySet) -> None:
    for name in ("positions", "visible", "seg_id", "traj_id", "color", "silhouette"):
        x, y = getattr(a, name), getattr(b, name)
        assert (x is None) == (y is None), name
        if x is not None:
            assert x.dtype == y.dtype
            np.testing.assert_array_equal(x, y)
    assert replace(a.meta, camera=None) == replace(b.meta, camera=None) or (
        a.meta.segments == b.meta.segments and a.meta.source_frames == b.meta.source_frames
    )
    assert (a.meta.camera is None) == (b.meta.camera is None)
    if a.meta.camera is not None and b.meta.camera is not None:
        np.testing.assert_array_equal(a.meta.camera.camera_to_world, b.meta.camera.camera_to_world)
        np.testing.assert_array_equal(a.meta.camera.focal, b.meta.camera.focal)
        assert a.meta.camera.projection is b.meta.camera.projection


@settings(deadline=None)
@given(trajectory_sets())
def test_a_written_set_reads_back_to_the_last_bit(trajectories: TrajectorySet) -> None:
    data = trajectories_to_bytes(trajectories)
    assert_same(read_trajectories(data), trajectories)
    assert trajectories_to_bytes(read_trajectories(data)) == data


@settings(deadline=None)
@given(trajectory_sets(), st.data())
def test_slicing_frames_and_joining_the_parts_gives_the_shot_back(
    trajectories: TrajectorySet, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, trajectories.frame_count))
    parts = [p for p in (slice(0, cut), slice(cut, None)) if len(range(trajectories.frame_count)[p])]
    joined = concatenate_frames([trajectories.select_frames(part) for part in parts])
    np.testing.assert_array_equal(joined.positions, trajectories.positions)
    np.testing.assert_array_equal(joined.visible, trajectories.visible)
    assert joined.meta.source_frames == trajectories.meta.source_frames
    if trajectories.color is not None:
        assert joined.color is not None
        full = np.broadcast_to(trajectories.color, (*trajectories.positions.shape,))
        np.testing.assert_array_equal(np.broadcast_to(joined.color, full.shape), full)


@settings(deadline=None)
@given(trajectory_sets(), st.data())
def test_selecting_points_keeps_their_ids_and_positions(
    trajectories: TrajectorySet, data: st.DataObject
) -> None:
    n = trajectories.point_count
    index = data.draw(st.lists(st.integers(0, n - 1), min_size=1, unique=True))
    chosen = trajectories.select_points(index)
    np.testing.assert_array_equal(chosen.positions, trajectories.positions[:, index])
    np.testing.assert_array_equal(chosen.traj_id, trajectories.traj_id[index])
    assert chosen.meta is trajectories.meta


@settings(deadline=None)
@given(trajectory_sets())
def test_joining_two_characters_keeps_every_point_and_separates_their_ids(
    trajectories: TrajectorySet,
) -> None:
    joined = concatenate_points([trajectories, trajectories])
    assert joined.point_count == 2 * trajectories.point_count
    assert len({segment.id for segment in joined.meta.segments}) == 2 * len(trajectories.meta.segments)
    np.testing.assert_array_equal(joined.positions[:, trajectories.point_count :], trajectories.positions)


def test_the_file_opens_with_plain_numpy_and_without_pickle(tmp_path: Path) -> None:
    path = write_trajectories(simple(), tmp_path / "shot.npz")
    with np.load(path, allow_pickle=False) as archive:
        assert archive["positions"].shape == (3, 4, 3)
        assert json.loads(str(archive["meta"]))["schema_version"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["shot.npz"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"positions": np.zeros((3, 4, 2), np.float32)}, "'positions' has shape"),
        (
            {"positions": np.full((3, 4, 3), np.nan, np.float32)},
            "'positions' contains a number that is not finite",
        ),
        ({"positions": np.zeros((3, 4, 3))}, "'positions' has type float64"),
        ({"visible": np.ones((3, 5), bool)}, "'visible' has shape"),
        ({"visible": np.ones((3, 4), np.uint8)}, "'visible' has type uint8"),
        ({"seg_id": np.array([0, 0, 0, 1], np.uint16)}, "'seg_id' refers to segment 1 of 1"),
        ({"traj_id": np.array([0, 1, 1, 2], np.uint16)}, "'traj_id' gives two points"),
        ({"color": np.zeros((4, 4), np.uint8)}, "'color' has shape"),
        ({"silhouette": np.zeros((1, 24, 31), bool)}, "'silhouette' has shape"),
    ],
)
def test_a_wrong_array_is_named_in_one_sentence(change: dict[str, np.ndarray], words: str) -> None:
    with pytest.raises(TrajectoryError, match=words) as caught:
        replace(simple(), **change)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"width": 0}, "raster of 0x24"),
        ({"fps": float("nan")}, "frames per second"),
        ({"source_frames": (1.0,)}, "1 source frames for 3 frames"),
        ({"segments": ()}, "lists 0 segments"),
        ({"segments": (Segment(1, "a"), Segment(1, "b"))}, "two segments the same id"),
        ({"segments": (Segment(70_000, "a"),)}, "outside 0 to 65535"),
        ({"segments": (Segment(0, "a", -1),)}, "group outside 0 to 65535"),
        ({"camera": camera_track(pose=np.zeros((3, 4, 4)))}, "camera_to_world cannot be inverted"),
        ({"camera": camera_track(focal=-1.0)}, "focal_px is not positive"),
    ],
)
def test_wrong_metadata_is_refused_in_one_sentence(change: dict[str, object], words: str) -> None:
    good = simple()
    with pytest.raises(TrajectoryError, match=words):
        replace(good, meta=replace(good.meta, **change))


def rewrite(data: bytes, name: str, content: bytes | None) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for item in old.namelist():
            if item != f"{name}.npy":
                new.writestr(item, old.read(item))
        if content is not None:
            new.writestr(f"{name}.npy", content)
    return out.getvalue()


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def test_files_that_are_not_trajectory_sets_are_refused_with_the_reason(tmp_path: Path) -> None:
    data = trajectories_to_bytes(simple())
    huge = npy(np.zeros((3, 4, 3), np.float32)).replace(b"(3, 4, 3)", b"(3,40000000,3)")
    negative = npy(np.zeros((3, 4, 3), np.float32)).replace(b"(3, 4, 3)", b"(-1,-1,3)")
    other = json.dumps({"schema_version": 2})
    good = meta_to_dict(simple().meta)
    cases = [
        (b"not a zip", "not a complete .npz"),
        (data[:-40], "not a complete .npz"),
        (rewrite(data, "meta", None), "no array 'meta'"),
        (rewrite(data, "visible", None), "no array 'visible'"),
        (rewrite(data, "extra", npy(np.zeros(3))), "array 'extra'"),
        (rewrite(data, "meta", npy(np.array(other))), "schema version 2"),
        (rewrite(data, "meta", npy(np.array("{"))), "not valid JSON"),
        (rewrite(data, "seg_id", npy(np.array([object()] * 4))), "Python objects, which are never loaded"),
        (rewrite(data, "positions", huge), "truncated or longer"),
        (rewrite(data, "positions", npy(np.zeros((2, 4, 3), np.float32))), "'positions' holds 2 frames"),
        (rewrite(data, "positions", negative), "impossible shape"),
        (rewrite(data, "meta", npy(np.array(json.dumps({"schema_version": True})))), "schema version True"),
        (rewrite(data, "meta", npy(np.array(json.dumps(good | {"fps": "30"})))), "'30' is not a number"),
        (
            rewrite(data, "meta", npy(np.array(json.dumps(good | {"source_frames": "123"})))),
            "is not a number",
        ),
    ]
    for content, words in cases:
        with pytest.raises(TrajectoryError, match=words) as caught:
            read_trajectories(content)
        assert "\n" not in caught.value.message
    with pytest.raises(TrajectoryError, match="cannot be opened"):
        read_trajectories(tmp_path / "missing.npz")


@settings(deadline=None, max_examples=300)
@given(st.data(), st.sampled_from([slice(None), slice(-700, None)]), st.booleans())
def test_a_damaged_file_never_escapes_as_another_error(
    data: st.DataObject, part: slice, on_disk: bool
) -> None:
    content = bytearray(trajectories_to_bytes(simple()))
    places = range(len(content))[part]  # the archive's directory, at the end, deserves more of the tries
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.sampled_from(places))] = data.draw(st.integers(0, 255))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shot.npz"
        path.write_bytes(content)
        try:
            assert read_trajectories(path if on_disk else bytes(content)).point_count == 4
        except TrajectoryError as error:
            assert error.message
            assert "cannot be opened" not in error.message


@pytest.mark.parametrize("wanted", [[], [9], [-7], np.zeros(4, bool), slice(9, None)])
def test_an_empty_or_impossible_selection_is_refused_in_one_sentence(wanted: list[int]) -> None:
    with pytest.raises(TrajectoryError, match="select"):
        simple(t=4).select_frames(wanted)
    if not isinstance(wanted, slice):
        with pytest.raises(TrajectoryError, match="select"):
            simple().select_points(wanted)


def test_shots_of_two_cameras_are_never_joined_silently() -> None:
    near, far = (
        replace(simple(), meta=replace(simple().meta, camera=camera_track(f))) for f in (100.0, 900.0)
    )
    with pytest.raises(TrajectoryError, match="cameras agree"):
        concatenate_points([near, far])
    joined = concatenate_points([simple(), near])
    assert joined.meta.camera is near.meta.camera


def test_a_set_that_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    path = write_trajectories(simple(), tmp_path / "shot.npz")
    before = path.read_bytes()
    with pytest.raises(TrajectoryError, match="cannot be written"):
        write_trajectories(simple(), tmp_path / "missing" / "shot.npz")
    assert path.read_bytes() == before


@settings(deadline=None)
@given(st.sampled_from(Projection), st.integers(0, 2**32 - 1))
def test_unprojected_points_project_back_to_their_pixels(projection: Projection, seed: int) -> None:
    rng = np.random.default_rng(seed)
    camera = CameraTrack(
        projection, rng.uniform(50, 2000, (2, 2)), rng.uniform(0, 700, (2, 2)), np.tile(np.eye(4), (2, 1, 1))
    )
    positions = np.concatenate([rng.uniform(-100, 900, (2, 9, 2)), rng.uniform(0.1, 50, (2, 9, 1))], axis=-1)
    np.testing.assert_allclose(camera.project(camera.unproject(positions)), positions, atol=1e-6)
