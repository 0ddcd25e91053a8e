"""The README: a reader who copies from it must get what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from blender_addon.core.trajectory_file import meta_from_json, read_trajectories

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_example_program_writes_a_valid_trajectory_set(tmp_path: Path) -> None:
    example = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert example is not None
    subprocess.run([sys.executable, "-c", example[1]], cwd=tmp_path, check=True, timeout=60)
    trajectories = read_trajectories(tmp_path / "shot.npz")
    assert trajectories.positions.shape == (49, 100, 3)


def test_the_example_metadata_has_the_keys_that_the_reader_wants() -> None:
    example = re.search(r"```json\n(.*?)```", README, re.DOTALL)
    assert example is not None
    frame_count, meta = meta_from_json(example[1])
    assert frame_count == 3
    assert meta.segments[0].name == "Body"
    assert meta.camera is not None


@pytest.mark.parametrize("command", sorted(set(re.findall(r"^\| `flextraj ([a-z]+)", README, re.MULTILINE))))
def test_every_command_of_the_readme_exists(command: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "flextraj_backend", command, "--help"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    assert "--help" in run.stdout


def test_every_file_that_the_readme_names_exists() -> None:
    named = re.findall(r"(?:\]\(|`)((?:scripts|blender_addon|flextraj_backend|tests)/[\w./-]+)", README)
    assert named
    missing = [name for name in named if not (ROOT / name).exists()]
    assert missing == []
