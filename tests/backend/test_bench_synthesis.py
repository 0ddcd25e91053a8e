"""The benchmark of synthesis: what its table would hide if rows were not made and compared in one run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import toy_clip_maker

from flextraj_backend.bench.synthesis_rows import SynthesisBench, rows


def test_each_arrangement_of_workers_is_compared_with_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    support = Path(toy_clip_maker.__file__).parent
    monkeypatch.setenv("PYTHONPATH", f"{support}{os.pathsep}{Path(__file__).resolve().parents[2]}")
    told: list[str] = []
    measured = rows(SynthesisBench(clips=6, with_ray=False, maker=toy_clip_maker.NAME), told.append)
    assert [row.work for row in measured] == ["a clip, 1 process", "a clip, 2 processes"]
    assert measured[0].ratio == 1.0 and measured[1].reference_seconds == measured[0].seconds
    assert all(row.seconds > 0 for row in measured) and len(told) == 2
