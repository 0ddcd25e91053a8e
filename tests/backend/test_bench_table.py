"""The bench command: what a reader of the table and of the JSON file relies on."""

from __future__ import annotations

import io
import json
import sys
from types import ModuleType

import pytest
from rich.console import Console

from flextraj_backend import cli
from flextraj_backend.bench.table import BenchRow, best_of, print_rows, write_rows

WITHIN = BenchRow("quick work", 10_000, 0.25, "slow peer", 1.0, 0.5)
OVER = BenchRow("slow work", None, 3.0, "quick peer", 1.5, 0.5, "over on purpose")


def _printed(*rows: BenchRow) -> str:
    stream = io.StringIO()
    print_rows("bench", rows, Console(file=stream, width=200))
    return stream.getvalue()


def test_a_row_over_its_limit_is_marked_and_counted() -> None:
    text = _printed(WITHIN, OVER)
    within, over = (
        next(line for line in text.splitlines() if name in line) for name in ("quick w", "slow w")
    )
    assert "OVER" not in within and "0.250" in within and "10,000" in within and "250.0 ms" in within
    assert "OVER" in over and "2.000" in over and "3.00 s" in over
    assert "2: over on purpose" in text
    assert "1 of 2 rows are over their limit." in text
    assert "All 1 rows are within their limits." in _printed(WITHIN)


def test_the_json_file_has_machine_ratios_and_limits_for_scripts(tmp_path) -> None:
    path = write_rows(tmp_path / "rows.json", [WITHIN, OVER])
    document = json.loads(path.read_text())
    assert set(document) == {"machine", "rows"}
    assert document["machine"]["cpu_count"] > 0
    assert [row["ratio"] for row in document["rows"]] == [0.25, 2.0]
    assert [row["within_limit"] for row in document["rows"]] == [True, False]
    assert document["rows"][0]["limit"] == 0.5
    assert [path.name for path in tmp_path.iterdir()] == ["rows.json"]


def test_the_shortest_of_several_runs_counts() -> None:
    calls = []
    assert 0 <= best_of(3, lambda: calls.append(1)) < 10
    assert len(calls) == 3


def _install_rows(monkeypatch: pytest.MonkeyPatch, name: str, rows) -> None:
    module = ModuleType(f"flextraj_backend.bench.{name}_rows")
    module.__dict__["rows"] = rows
    monkeypatch.setitem(sys.modules, module.__name__, module)


def test_bench_sampling_measures_every_part_and_ends_well_even_over_a_limit(
    monkeypatch, tmp_path, capsys
) -> None:
    scene = tmp_path / "samba.fbx"
    scene.touch()
    monkeypatch.setenv("FLEXTRAJ_ASSETS_DIR", str(tmp_path))
    measured = []
    _install_rows(monkeypatch, "sampling", lambda path: measured.append(path) or [WITHIN])
    _install_rows(monkeypatch, "visibility", lambda path: measured.append(path) or [OVER])
    _install_rows(monkeypatch, "id_video", lambda: [WITHIN])
    _install_rows(monkeypatch, "demo", lambda: [WITHIN])
    with pytest.raises(SystemExit) as ended:
        cli.main(["bench", "sampling", "--json", str(tmp_path / "rows.json")])
    assert ended.value.code == 0
    assert measured == [scene, scene]
    assert len(json.loads((tmp_path / "rows.json").read_text())["rows"]) == 4
    assert "1 of 4 rows are over their limit." in capsys.readouterr().out


def test_one_part_alone_can_be_measured_and_needs_no_scene_for_the_id_video(
    monkeypatch, tmp_path, capsys
) -> None:
    monkeypatch.setenv("FLEXTRAJ_ASSETS_DIR", str(tmp_path / "nothing"))
    _install_rows(monkeypatch, "id_video", lambda: [WITHIN])
    with pytest.raises(SystemExit) as ended:
        cli.main(["bench", "sampling", "--only", "id-video"])
    assert ended.value.code == 0
    assert "All 1 rows are within their limits." in capsys.readouterr().out


def test_a_missing_scene_file_is_named_before_anything_is_measured(monkeypatch, tmp_path, capsys) -> None:
    _install_rows(monkeypatch, "sampling", lambda path: pytest.fail("measured without a scene"))
    for arguments, folder in (([], "empty"), ([str(tmp_path / "gone.fbx")], "empty")):
        monkeypatch.setenv("FLEXTRAJ_ASSETS_DIR", str(tmp_path / folder))
        with pytest.raises(SystemExit) as ended:
            cli.main(["bench", "sampling", *arguments])
        assert ended.value.code == 2
        error = capsys.readouterr().err
        assert error.startswith("flextraj: There is no scene file ")
        assert error.count("\n") == 1
        assert "FLEXTRAJ_ASSETS_DIR" in error
