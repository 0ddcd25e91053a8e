"""The way from nothing to a small model that the engine loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import toy_clip_maker
from rich.console import Console

from blender_addon.core.errors import RequestError
from flextraj_backend.engines.mini.weights import MINI_VARIABLE
from flextraj_backend.engines.registry import engine
from flextraj_backend.mini.build import MiniProgress, build_mini
from flextraj_backend.mini.settings import read_settings
from flextraj_backend.synthesis.run_reports import BarReporter

CONFIGURATION = """
[toy]
width = 48
height = 32
frames = 3
fps = 8.0
precision = "bf16"
threads = 1
needs_gpu = false
[toy.clips]
count = 24
seed = 1
others = 1
pair_size = 1
[toy.autoencoder]
channels = [8, 16]
latent_channels = 4
[toy.autoencoder_training]
steps = 4
batch = 2
frames = 1
learning_rate = 1e-3
[toy.transformer]
heads = 2
head_dim = 16
layers = 2
time_width = 16
patch = 4
text_tokens = 8
[toy.base_training]
steps = 3
batch = 2
learning_rate = 1e-3
variants = 1
[toy.control]
curriculum = "annealing"
rank = 4
steps = 8
batch = 2
learning_rate = 1e-3
condition_variants = 1
validation_clips = 2
"""


def logged(path: Path) -> list[dict[str, Any]]:
    """The log's lines without their times."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def test_one_command_makes_a_model_that_the_engine_loads_and_is_not_made_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(toy_clip_maker.__file__).parent))
    config = tmp_path / "toy.toml"
    config.write_text(CONFIGURATION)
    settings = read_settings("toy", config)
    seen: list[MiniProgress] = []

    def build() -> Path:
        reporter = BarReporter(Console(quiet=True))
        return build_mini(settings, tmp_path / "run", 1, reporter, seen.append, toy_clip_maker.NAME)

    folder = build()
    assert {progress.phase for progress in seen} == {"autoencoder", "encoding", "base", "control"}
    monkeypatch.setenv(MINI_VARIABLE, str(folder))
    mini = engine("mini")
    assert mini.availability().available, mini.availability().reason
    assert all(file.stat().st_size < 1_000_000 for file in folder.rglob("*.safetensors"))
    assert sorted(path.name for path in folder.glob("*.jsonl")) == ["control_log.jsonl", "run_mini.jsonl"]

    log = logged(tmp_path / "run" / "mini.jsonl")
    assert [line["phase"] for line in log] == ["autoencoder", "base"]

    seen.clear()
    build()
    assert not [progress for progress in seen if progress.phase in ("autoencoder", "encoding", "base")]

    # As if the machine had gone down within the base's training: it says again what it does again.
    (tmp_path / "run" / "base" / "model_index.json").unlink()
    build()
    assert logged(tmp_path / "run" / "mini.jsonl") == log

    config.write_text(CONFIGURATION.replace("rank = 4", "rank = 2"))
    settings = read_settings("toy", config)
    with pytest.raises(RequestError, match="other settings"):
        build()
