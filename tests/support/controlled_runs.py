"""Toy pipelines with a control, and runs of them that differ from a plain one in what a test says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tiny_pipelines as tiny
import torch
from numpy.typing import NDArray

from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.checkpoint import load_adapter
from flextraj_backend.models.cogvideox_pipeline import FlexTrajCogVideoXPipeline
from flextraj_backend.models.denoising import seeded_generator
from flextraj_backend.models.wan_pipeline import FlexTrajWanPipeline

Video = NDArray[np.uint8]
PIPELINES = {Backbone.COGVIDEOX: FlexTrajCogVideoXPipeline, Backbone.WAN: FlexTrajWanPipeline}


def write_models(backbone: Backbone, folder: Path, **options: Any) -> tuple[Path, Path]:
    """A toy base model with these options of `build_tiny`, and a control file for it."""
    base = tiny.build_tiny(backbone, folder / "base", **options)
    return base, tiny.write_tiny_adapter(backbone, base, folder / "control.safetensors")


def load_pipeline(backbone: Backbone, base: Path, control: Path | None, **options: Any) -> Any:
    """Load as a user's models are loaded."""
    pipeline: Any = PIPELINES[backbone].from_pretrained(base, local_files_only=True, **options)
    pipeline.set_progress_bar_config(disable=True)
    if control is not None:
        load_adapter(pipeline.transformer, control)
    return pipeline


def photo(height: int = tiny.TINY_HEIGHT, width: int = tiny.TINY_WIDTH, seed: int = 0) -> Video:
    """Smooth colours."""
    corners = np.random.default_rng(seed).integers(0, 255, (2, 2, 3)).astype(np.float64)
    down, across = np.linspace(0, 1, height)[:, None, None], np.linspace(0, 1, width)[None, :, None]
    top = corners[0, 0] * (1 - across) + corners[0, 1] * across
    bottom = corners[1, 0] * (1 - across) + corners[1, 1] * across
    return (top * (1 - down) + bottom * down).astype(np.uint8)


def id_video(
    frames: int = tiny.TINY_FRAMES, height: int = tiny.TINY_HEIGHT, width: int = tiny.TINY_WIDTH
) -> Video:
    """Two blocks of points; one moves to the right."""
    video = np.zeros((frames, height, width, 3), np.uint8)
    for frame in range(frames):
        left = 8 + 2 * frame
        video[frame, 8:20, left : left + 12] = (255, 0, 1)
        video[frame, 40:48, 4:12] = (127, 0, 2)
    return video


def black_like(video: Video) -> Video:
    """A colour video that is off."""
    return np.zeros_like(video)


def run(pipeline: Any, **changes: Any) -> Any:
    """Latents, or whatever `output_type` asks for, of a short run."""
    inputs: dict[str, Any] = {
        "image": photo(),
        "prompt": "a dog moving right",
        "generator": seeded_generator(7),
        "num_inference_steps": 3,
        "output_type": "latent",
    }
    if "condition" not in changes:
        ids = changes.get("id_video", id_video())
        inputs |= {"id_video": ids, "color_video": black_like(ids) if isinstance(ids, np.ndarray) else None}
    return pipeline(**(inputs | changes)).frames


def distance(one: torch.Tensor, other: torch.Tensor) -> float:
    """Relative to the second."""
    return float((one - other).norm() / other.norm())
