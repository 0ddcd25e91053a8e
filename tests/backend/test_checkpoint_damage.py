"""Damaged and dangerous control files: refused by their headers, and nothing in them is ever run."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
from control_files import golden_control, header_of, refusal, tiny_base, write_raw
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blender_addon.core.errors import FlexTrajError
from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.checkpoint_summary import adapter_summary, check_adapter
from flextraj_backend.models.safetensors_header import MAX_HEADER_BYTES, read_header

BACKBONES = list(Backbone)


class _Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".ckpt", ".PKL", ".safetensors"])
@pytest.mark.parametrize("zipped", ["bare", "zip"])
def test_a_pickle_is_refused_and_never_run(tmp_path: Path, suffix: str, zipped: str) -> None:
    trap, path = tmp_path / "trap", tmp_path / f"control{suffix}"
    if zipped == "bare":
        path.write_bytes(pickle.dumps(_Trap(trap)))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps(_Trap(trap)))
    assert "is a pickle" in refusal(path)
    assert not trap.exists()


def test_a_renamed_pickle_suffix_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "control.bin"
    path.write_bytes(golden_control(Backbone.WAN).read_bytes())
    assert "is a pickle" in refusal(path)


def test_a_missing_file_a_folder_and_a_download_page_are_told_apart(tmp_path: Path) -> None:
    assert "is missing" in refusal(tmp_path / "no.safetensors")
    assert "is a folder" in refusal(tmp_path)
    for content in (b"", b"{}", b"version https://git-lfs.github.com/spec/v1\n", b"<!DOCTYPE html><html>"):
        path = tmp_path / "page.safetensors"
        path.write_bytes(content)
        assert "not a safetensors file" in refusal(path)


def test_a_file_cut_short_anywhere_is_told_to_be_downloaded_again(tmp_path: Path) -> None:
    whole = golden_control(Backbone.COGVIDEOX).read_bytes()
    path = tmp_path / "short.safetensors"
    for size in (9, 100, 2500, len(whole) - 1):
        path.write_bytes(whole[:size])
        sentence = refusal(path)
        assert "cut short" in sentence and "download it again" in sentence
    path.write_bytes(whole + b"\0")
    assert "1 bytes longer" in refusal(path)


def _entry(**changes: Any) -> dict[str, Any]:
    return {"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes}


@pytest.mark.parametrize(
    "header",
    [
        _entry(shape=[1 << 40]),
        _entry(shape=[1 << 40], data_offsets=[0, 1 << 42]),
        _entry(shape=[10**4000] * 2),
        _entry(shape=[-2], data_offsets=[8, 0]),
        _entry(shape=[2.0]),
        _entry(shape=[True, 2]),
        _entry(shape=[1] * 100 + [2]),
        _entry(shape=2),
        _entry(data_offsets=[4, 12]),
        _entry(data_offsets=[0, 8, 8]),
        _entry(dtype="F31"),
        _entry(dtype=["F32"]),
        {"x": None},
        {"x": 3},
        {"x": []},
        _entry() | {"y": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}},
        _entry() | {"__metadata__": {"rank": 4}},
        _entry() | {"__metadata__": [1]},
        b'{"x": 1, "x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}',
        b'{"x": NaN}',
        b'{"\xff": 1}',
        b"{" + b'"a":{' * 100_000,
        b'{"x": ' + b"9" * 5000 + b"}",
    ],
)
def test_a_header_that_lies_is_refused_before_anything_is_allocated(tmp_path: Path, header: object) -> None:
    with pytest.raises(FlexTrajError, match=r"damaged|contradicts itself|overlap|cut short"):
        read_header(write_raw(tmp_path / "lie.safetensors", header, b"\0" * 8))


@pytest.mark.parametrize("length", [0, 1, 1 << 20, MAX_HEADER_BYTES + 1, 1 << 40, (1 << 64) - 1])
def test_a_wrong_header_length_is_refused(tmp_path: Path, length: int) -> None:
    with pytest.raises(FlexTrajError, match="header"):
        read_header(write_raw(tmp_path / "length.safetensors", _entry(), b"\0" * 8, length=length))


def test_a_header_larger_than_any_control_needs_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.safetensors"
    with path.open("wb") as file:
        file.write((1 << 30).to_bytes(8, "little") + b"{")
        file.truncate(1 << 31)  # a sparse file
    assert "header of 1073741824 bytes" in refusal(path)


@given(
    backbone=st.sampled_from(BACKBONES),
    edits=st.lists(st.tuples(st.integers(0, 6000), st.integers(0, 255)), min_size=1, max_size=8),
    end=st.none() | st.integers(0, 20_000),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
def test_a_damaged_file_is_refused_or_read_but_never_breaks_the_program(
    tmp_path: Path, backbone: Backbone, edits: list[tuple[int, int]], end: int | None
) -> None:
    content = bytearray(golden_control(backbone).read_bytes())
    for place, value in edits:
        content[place] = value
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(content[:end])
    try:
        summary = check_adapter(path, tiny_base(backbone))
    except FlexTrajError as error:
        assert error.message.isprintable() and len(error.message) < 1500
    else:
        assert summary.rank == 4


@given(name=st.text(max_size=300) | st.just("x" * 5000))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
def test_a_hostile_tensor_name_is_shown_printable_and_short(tmp_path: Path, name: str) -> None:
    golden, data = header_of(golden_control(Backbone.WAN))
    if name in golden or name == "__metadata__":
        return
    golden[name] = {"dtype": "F32", "shape": [0], "data_offsets": [len(data), len(data)]}
    path = write_raw(tmp_path / "named.safetensors", golden, data)
    with pytest.raises(FlexTrajError) as caught:
        adapter_summary(path)
    assert caught.value.message.isprintable() and len(caught.value.message) < 800
