"""The preview engine on a real dancer, sampled and rendered by Blender."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
ASSETS = Path(os.environ.get("FLEXTRAJ_ASSETS_DIR", ROOT.parent / "shared" / "assets"))
DANCER = ASSETS / "samba.fbx"
FRAMES = 9


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("measure_preview", ROOT / "scripts" / "measure_preview.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.blender
@pytest.mark.assets
@pytest.mark.skipif(not DANCER.is_file(), reason="the dancer is not here")
def test_the_draft_of_an_aligned_dancer_covers_what_the_dancer_covers(tmp_path: Path):
    script = load_script()
    shot = script.sample_scene(DANCER, 37, 133, FRAMES, tmp_path)
    y, x = np.mgrid[: script.HEIGHT, : script.WIDTH]
    photo = np.stack([120 + 40 * np.sin(x / 31), 140 + 30 * np.cos(y / 23), 90 + x / 8], axis=-1)
    result = script.measure(shot, photo.astype(np.uint8), "dancer", None)
    assert result.frames == FRAMES
    assert result.mask_iou > 0.95
    assert result.iou_mean >= 0.92
    assert result.iou_worst >= 0.88
