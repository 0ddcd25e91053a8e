"""A run's settings: what is refused, and that a run can be started again from its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from blender_addon.core.errors import RequestError
from flextraj_backend.training.tasks import IdAblation
from flextraj_backend.training.train_settings import (
    Injection,
    TrainPrecision,
    TrainSettings,
    read_settings,
    settings_values,
    write_settings,
)

SETTINGS = TrainSettings(
    base="wan",
    data=Path("clips"),
    run=Path("run with 'quotes' and ä"),
    injection=Injection.CONTROLNET,
    ablation=IdAblation.NO_COLOR,
    precision=TrainPrecision.FP32,
    learning_rate=3e-5,
    image_noise=False,
)


def test_a_run_can_be_started_again_from_its_settings_file(tmp_path: Path) -> None:
    path = write_settings(SETTINGS, tmp_path / "run.toml")
    assert TrainSettings(**read_settings(path)) == SETTINGS


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"rnak": 3}, "unknown training setting 'rnak'"),
        ({"rank": "3"}, "'rank' = '3'"),
        ({"rank": True}, "'rank' = True"),
        ({"precision": "int4"}, "'precision'"),
        ({"image_noise": 1}, "'image_noise' = 1"),
    ],
)
def test_a_mistake_in_the_file_is_named(values: dict[str, object], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        settings_values(values, "run.toml")


def test_whole_numbers_serve_as_numbers() -> None:
    assert settings_values({"learning_rate": 1}, "run.toml") == {"learning_rate": 1.0}


@pytest.mark.parametrize(
    "wrong",
    [{"batch": 0}, {"rank": 0}, {"ema": 1.0}, {"learning_rate": float("nan")}, {"steps": 0}, {"clip": 0.0}],
)
def test_impossible_numbers_are_refused_before_anything_is_loaded(wrong: dict[str, float]) -> None:
    with pytest.raises(RequestError, match=next(iter(wrong)).partition("_")[0]):
        TrainSettings(base="wan", data=Path(), run=Path(), **wrong)  # pyright: ignore[reportArgumentType]
