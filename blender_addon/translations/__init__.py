"""Translations of what the user reads: one `<language>.json` a language, handed to Blender.

A file holds `{context: {English: translation}}` with Blender's contexts "Operator" (labels of operators and
their buttons) and "*" (everything else). Blender's own dictionary comes first, so common words may read
differently. `scripts/list_messages.py` lists what a language still lacks.

Fixed texts need nothing: Blender looks them up when it draws them. What is put together at run time goes
through `filled`.
"""

from __future__ import annotations

import json
from pathlib import Path

import bpy
from bpy.app.translations import pgettext_iface

from .. import ADDON_ID

Messages = dict[tuple[str, str], str]
"""By context and English text."""


def read_messages() -> dict[str, Messages]:
    """The messages of every language, by Blender's name of it such as 'de'."""
    return {path.stem: _read(path) for path in sorted(Path(__file__).parent.glob("*.json"))}


def _read(path: Path) -> Messages:
    contexts: dict[str, dict[str, str]] = json.loads(path.read_text(encoding="utf-8"))
    return {
        (context, english): translation
        for context, messages in contexts.items()
        for english, translation in messages.items()
    }


def filled(pattern: str, **places: object) -> str:
    """Translate a pattern and fill its places, such as `{count} segments`."""
    return str(pgettext_iface(pattern)).format(**places)


def register() -> None:
    # Blender finds 'de' for 'de_DE' and its like, too.
    bpy.app.translations.register(ADDON_ID, read_messages())  # pyright: ignore[reportArgumentType]


def unregister() -> None:
    bpy.app.translations.unregister(ADDON_ID)
