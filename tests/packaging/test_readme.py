"""The README: a reader who copies from it must get what it says."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from blender_addon.core.trajectories import validate_meta
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
    validate_meta(meta, frame_count)
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


def test_every_sentence_of_the_troubleshooting_is_one_that_the_program_says() -> None:
    said = list(_sentences(ROOT / "blender_addon", ROOT / "flextraj_backend", ROOT / "scripts"))
    quoted = [cells[0] for cells in _troubleshooting()]
    assert len(quoted) > 30
    pieces = {part.strip() for sentence in quoted for part in sentence.split("…") if len(part.strip()) > 2}
    assert sorted(piece for piece in pieces if not any(piece in text for text in said)) == []


def test_every_button_of_the_troubleshooting_is_one_that_the_panel_has() -> None:
    labels = {text for text in _sentences(ROOT / "blender_addon") if len(text) < 40}
    named = {label for cells in _troubleshooting() for label in re.findall(r"\*\*(.+?)\*\*", cells[2])}
    assert {"Add Camera", "Use Less GPU Memory", "Get Weights"} <= named
    assert named - labels == set()


def _troubleshooting() -> list[list[str]]:
    """The cells of its tables' rows."""
    section = re.search(r"^## Troubleshooting\n(.*?)^## ", README, re.DOTALL | re.MULTILINE)
    assert section is not None
    lines = [line for line in section[1].splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    return [row for row in rows if row[2] != "What helps"]


def _sentences(*folders: Path) -> Iterator[str]:
    """All texts in the programs; what is put into them is '…'."""
    for path in (path for folder in folders for path in sorted(folder.rglob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
            elif isinstance(node, ast.JoinedStr):
                yield "".join(
                    str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values
                )
