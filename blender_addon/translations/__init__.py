"""Translations of what the user reads: one `<language>.json` a language, handed to Blender.

A file holds `{context: {English: translation}}` with Blender's contexts "Operator" (labels of operators and
their buttons) and "*" (everything else). Blender's own dictionary comes first, so common words may read
differently. `scripts/list_messages.py` lists what a language still lacks.

Fixed texts need nothing: Blender looks them up when it draws them. What a panel puts together goes through
`filled`. Errors come as finished English sentences, from other threads and processes, too: where they are
shown, `translated` finds the pattern with places `{0}`, `{1}`, ... that such a sentence was made from.
"""

from __future__ import annotations

import json
import re
from functools import cache, lru_cache
from pathlib import Path

import bpy
from bpy.app.translations import pgettext_iface

from .. import ADDON_ID

_PLACE = re.compile(r"\{(\d+)\}")

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


def translated(sentence: str) -> str:
    """Translate a sentence whose places are filled already; one that is not known stays English."""
    whole = str(pgettext_iface(sentence))
    if whole != sentence:
        return whole
    found = _find_pattern(sentence)
    if found is None:
        return sentence
    pattern, values = found
    translation = str(pgettext_iface(pattern))
    if translation == pattern:  # the user's language is English, or lacks it
        return sentence
    return translation.format(
        *(
            # What stands in quotes is a name, also where it reads like a phrase of ours.
            translated(value) if value in _phrases() and f"'{{{place}}}'" not in pattern else value
            for place, value in enumerate(values)
        )
    )


@lru_cache(maxsize=256)  # panels ask at every redraw
def _find_pattern(sentence: str) -> tuple[str, tuple[str, ...]] | None:
    """The pattern that a sentence was made from, and what fills its places."""
    for pattern, expression in _patterns():
        if match := expression.fullmatch(sentence):
            numbers = map(int, _PLACE.findall(pattern))
            return pattern, tuple(value for _, value in sorted(zip(numbers, match.groups(), strict=True)))
    return None


@cache
def _patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    """All patterns of errors; those that say more come first."""
    texts = {text for text in _phrases() if _PLACE.search(text)}
    ordered = sorted(texts, key=lambda text: (-len(_PLACE.sub("", text)), text))
    return tuple((text, _expression(text)) for text in ordered)


def _expression(pattern: str) -> re.Pattern[str]:
    parts = _PLACE.split(pattern)
    return re.compile("(.+?)".join(re.escape(part) for part in parts[::2]), re.DOTALL)


@cache
def _phrases() -> frozenset[str]:
    """Every text that some language translates."""
    return frozenset(text for messages in read_messages().values() for _, text in messages)


def register() -> None:
    # Blender finds 'de' for 'de_DE' and its like, too.
    bpy.app.translations.register(ADDON_ID, read_messages())  # pyright: ignore[reportArgumentType]


def unregister() -> None:
    bpy.app.translations.unregister(ADDON_ID)
