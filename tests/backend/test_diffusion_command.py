"""The command line's options for the diffusion engines, on toy weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from toy_engines import HEIGHT, WIDTH, install_toy_weights, shot

from blender_addon.core.model_options import (
    AttentionBackend,
    CachePlace,
    CacheStorage,
    ConditionTokens,
    GuidanceSchedule,
    LoraChoice,
    MemoryMode,
    ModelOptions,
    SchedulerChoice,
    StepCache,
)
from blender_addon.core.trajectory_file import trajectories_to_bytes
from flextraj_backend import cli
from flextraj_backend.commands.model_options import parse_loras
from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.weights import WEIGHTS_VARIABLE


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install_toy_weights(tmp_path_factory.mktemp("weights"), Backbone.WAN)


@pytest.fixture
def run_render(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str]]:
    """`flextraj render` of a small shot to out.mp4 in the test's folder: (exit code, standard error)."""
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(weights))
    (tmp_path / "shot.npz").write_bytes(trajectories_to_bytes(shot()))
    Image.fromarray(np.full((HEIGHT, WIDTH, 3), 128, np.uint8)).save(tmp_path / "photo.png")
    fixed = ["render", tmp_path / "shot.npz", "--image", tmp_path / "photo.png", "-o", tmp_path / "out.mp4"]

    def run(*options: str) -> tuple[int, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            cli.main([*map(str, fixed), *options])
        return int(caught.value.code or 0), capsys.readouterr().err

    return run


def test_every_option_of_the_command_line_reaches_the_engine(
    run_render: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    options = (
        "--engine wan --steps 2 --guidance 3 --strength 0.7 --guidance-schedule ramp --scheduler model "
        "--window-overlap 5 --condition-tokens occupied --cache-storage bf16 --cache-place host "
        "--memory group_offload --step-cache pyramid --attention native"
    )
    code, error = run_render(*options.split())
    assert code == 0, error
    assert "Estimate: " in error and "With " in error
    sidecar = json.loads((tmp_path / "out.json").read_text())
    assert ModelOptions.from_dict(sidecar["request"]["model"]) == ModelOptions(
        strength=0.7,
        guidance_schedule=GuidanceSchedule.RAMP,
        scheduler=SchedulerChoice.MODEL,
        condition_tokens=ConditionTokens.OCCUPIED,
        cache_storage=CacheStorage.BF16,
        cache_place=CachePlace.HOST,
        memory=MemoryMode.GROUP_OFFLOAD,
        step_cache=StepCache.PYRAMID,
        attention=AttentionBackend.NATIVE,
        window_overlap=5,
    )
    assert sidecar["generation"]["memory"]["cache_place"] == "host"
    assert (sidecar["generation"]["steps"], sidecar["generation"]["guidance_scale"]) == (2, 3.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--lora oil:strong", "NAME:0.8"),
        ("--lora ../oil", "letters, digits"),
        ("--lora absent:0.5", "There is no LoRA 'absent'"),
        ("--strength 3", "from 0 to 2"),
        ("--memory huge", "--memory"),
        ("--window-overlap 0", "from 1 to 48"),
    ],
)
def test_a_wrong_option_is_one_sentence_and_nothing_is_written(
    run_render: Callable[..., tuple[int, str]], tmp_path: Path, options: str, words: str
) -> None:
    code, error = run_render("--engine", "wan", *options.split())
    assert code == 2
    assert words in error and error.strip().count("\n") == 0
    assert not (tmp_path / "out.mp4").exists()


def test_lora_options_keep_their_order_and_scales() -> None:
    assert parse_loras(["oil.paint-1:0.7", "few-steps", "cold:-1"]) == (
        LoraChoice("oil.paint-1", 0.7),
        LoraChoice("few-steps"),
        LoraChoice("cold", -1.0),
    )
