"""Engines by name."""

from __future__ import annotations

import subprocess
import sys

import pytest

from flextraj_backend.engines.base import EngineError
from flextraj_backend.engines.registry import engine, engines


def test_the_preview_engine_is_always_there():
    preview = engine("preview")
    assert preview.name == "preview"
    assert preview.availability().available
    assert preview.limits().min_frames <= 49 <= preview.limits().max_frames


def test_an_unknown_engine_gets_a_sentence_that_lists_the_known_ones():
    with pytest.raises(EngineError) as caught:
        engine("magic")
    assert "There is no engine 'magic': choose one of 'preview'" in caught.value.message


def test_names_are_unique_and_resolve_to_themselves():
    names = [item.name for item in engines()]
    assert len(set(names)) == len(names)
    assert all(engine(name).name == name for name in names)


def test_the_list_of_engines_loads_no_engine():
    code = (
        "import sys, flextraj_backend.engines.registry; "
        "sys.exit('flextraj_backend.engines.preview.engine' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
