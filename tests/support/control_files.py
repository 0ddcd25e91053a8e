"""Control files of any size and kind, written byte by byte where a library would refuse to."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from blender_addon.core.errors import ErrorCode, FlexTrajError
from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.checkpoint_layout import BaseShape
from flextraj_backend.models.checkpoint_names import authors_name, control_shapes
from flextraj_backend.models.checkpoint_summary import adapter_summary, check_adapter

GOLDEN_DIR = Path(os.environ.get("FLEXTRAJ_GOLDEN_DIR") or Path(__file__).resolve().parents[1] / "golden")
WIDTH = {Backbone.COGVIDEOX: 32, Backbone.WAN: 40}
"""Widths of the golden models, which have two layers."""


def golden_control(backbone: Backbone) -> Path:
    return GOLDEN_DIR / f"{backbone}_tiny_control.safetensors"


def golden_config(backbone: Backbone) -> dict[str, Any]:
    return json.loads((GOLDEN_DIR / f"{backbone}_tiny.json").read_text())


def control_arrays(
    backbone: Backbone, *, layers: int = 2, width: int | None = None, rank: int = 4, seed: int = 0
) -> dict[str, np.ndarray]:
    """A control's arrays under the authors' names."""
    rng = np.random.default_rng(seed)
    shapes = control_shapes(backbone, layers, width or WIDTH[backbone], rank)
    return {
        authors_name(backbone, name): rng.standard_normal(shape, np.float32) for name, shape in shapes.items()
    }


def write_arrays(
    path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
) -> Path:
    save_file(dict(arrays), path, dict(metadata) if metadata else None)
    return path


def write_raw(path: Path, header: object, data: bytes = b"", *, length: int | None = None) -> Path:
    """A safetensors file with any header, true or not; `length` is what its first 8 bytes say."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def header_of(path: Path) -> tuple[dict[str, Any], bytes]:
    """A file's header and its tensors' bytes."""
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), content[end:]


def refusal(path: Path, base: BaseShape | None = None) -> str:
    """The sentence with which a file is refused."""
    with pytest.raises(FlexTrajError) as caught:
        adapter_summary(path) if base is None else check_adapter(path, base)
    assert caught.value.code is ErrorCode.WEIGHTS
    assert "\n" not in caught.value.message and str(path) in caught.value.message
    return caught.value.message


def tiny_base(backbone: Backbone) -> BaseShape:
    return BaseShape(backbone, layers=2, width=WIDTH[backbone])
