"""`flextraj study` as a process: a whole small study, and the mini's check on Blender's clips."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_study import write_tiny_study
from toy_mini import write_toy_mini

from flextraj_backend.engines.mini.weights import MINI_VARIABLE


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flextraj_backend", "study", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2]), **environment},
    )


def test_a_small_study_leaves_table_and_results(tmp_path: Path) -> None:
    given = write_tiny_study(tmp_path)
    config = tmp_path / "study.toml"
    lines = [f"{name} = {json.dumps(value)}" for name, value in given.items()]
    lines += [
        'precision = "fp32"',
        "rank = 2",
        "batch = 2",
        "steps = 4",
        "held_out = 2",
        "validation_clips = 2",
    ]
    config.write_text("\n".join(lines) + "\n")
    options = (
        "--config",
        str(config),
        "--variants",
        "full,random_mix",
        "--seeds",
        "0",
        "--sample-steps",
        "2",
    )
    done = run("-o", str(tmp_path / "out"), *options)
    assert done.returncode == 0, done.stderr
    assert "base without control" in done.stdout and "TrajErr-LK" in done.stdout
    assert (tmp_path / "out" / "table.md").is_file()
    rows = json.loads((tmp_path / "out" / "results.json").read_text())["rows"]
    assert {"full", "random_mix", "base", "still", "exact"} == rows.keys()


@pytest.mark.blender
def test_the_minis_check_makes_its_own_scenes(tmp_path: Path) -> None:
    mini = write_toy_mini(tmp_path / "mini")
    path = tmp_path / "mini.json"
    options = ("--check", "mini", "--seed", "3", "--clips", "2", "--steps", "2", "--json", str(path))
    done = run(*options, **{MINI_VARIABLE: str(mini)})
    assert done.returncode == 0, done.stderr
    values = json.loads(path.read_text())
    assert values["clips"] == 2 and values["mini_traj_sim"] is not None
    # The base with random weights moves nothing as asked; the clip itself does.
    assert values["exact_traj_err"] < values["base_traj_err"]
    assert path.with_suffix(".png").is_file()
