"""A mini model with random weights, laid out as the bundled one."""

from __future__ import annotations

from pathlib import Path

from tiny_pipelines import build_tiny_cogvideox, write_tiny_adapter

from flextraj_backend.engines.mini.weights import CONTROL_NAME
from flextraj_backend.models.backbone import Backbone


def write_toy_mini(folder: Path, *, frames: int = 9, height: int = 64, width: int = 96) -> Path:
    """Fill a folder as FLEXTRAJ_MINI_DIR names it: time is not compressed, 32 channels. Returns it."""
    base = build_tiny_cogvideox(
        folder / "base",
        frames=frames,
        height=height,
        width=width,
        temporal_compression=1,
        latent_channels=32,
        text_tokens=32,
    )
    write_tiny_adapter(Backbone.COGVIDEOX, base, folder / CONTROL_NAME)
    return folder
