"""Which settings the chosen engine reads, so that panels grey or hide the others."""

from __future__ import annotations

from ..session import current_session

_DRAFT_READS = frozenset({"seed"})
_DRAFT = "preview"
_KNOWN_TITLES = {_DRAFT: "Preview"}
"""Titles until the backend has told its own."""


def engine_title(name: str) -> str:
    """What an engine is called, also before the backend has run."""
    engine = current_session().engine(name)
    return _KNOWN_TITLES.get(name, name) if engine is None else engine.title


def reads(engine_name: str, setting: str) -> bool:
    """Whether an engine reads a setting of the request; before the backend has run, by what is known."""
    engine = current_session().engine(engine_name)
    if engine is None or not engine.reads:
        return engine_name != _DRAFT or setting in _DRAFT_READS
    return setting in engine.reads
