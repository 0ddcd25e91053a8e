"""List the texts of the panel that a language still lacks, as JSON to be filled in.

    .venv/bin/python scripts/list_messages.py        what blender_addon/translations/de.json lacks
    .venv/bin/python scripts/list_messages.py nl     the same for another language, everything for a new one

What is registered (labels, tooltips, choices) is asked of Blender; what panels draw is read from the source.
Needs the `bpy` package.
"""

from __future__ import annotations

import argparse
import ast
import json
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
ADDON = REPOSITORY / "blender_addon"
DEFAULT = "*"
OPERATOR = "Operator"
_BLENDERS_OWN = {"name", "rna_type", "bl_idname"}
_TEXT_ARGUMENTS = ("text", "heading")
_TRANSLATING = ("wrapped_text", "poll_message_set", "filled", "pgettext_iface", "Phrase")

Message = tuple[str, str]
"""Context and text, the key of Blender's translations."""


def registered_messages() -> set[Message]:
    """What Blender knows of the enabled add-on."""
    import bpy

    found: set[Message] = set()
    for cls in _classes(bpy.types.Panel) + _classes(bpy.types.Menu):
        found.add((DEFAULT, cls.bl_label))
    for cls in _classes(bpy.types.PropertyGroup) + _classes(bpy.types.AddonPreferences):
        found |= {message for one in cls.bl_rna.properties for message in _property_messages(one)}
    for name in dir(bpy.ops.flextraj):  # pyright: ignore[reportAttributeAccessIssue]
        rna: Any = getattr(bpy.ops.flextraj, name).get_rna_type()  # pyright: ignore[reportAttributeAccessIssue]
        found |= {(OPERATOR, rna.name), (DEFAULT, rna.description)}
        found |= {message for one in rna.properties for message in _property_messages(one)}
    return {message for message in found if message[1]}


def _classes(kind: type) -> list[Any]:
    """The add-on's registered classes of a kind."""
    ours = [cls for cls in kind.__subclasses__() if cls.__module__.startswith(ADDON.name)]
    return [cls for cls in ours if getattr(cls, "is_registered", False)]


def _property_messages(one: Any) -> Iterator[Message]:
    # A property without a name is not meant for the user; Blender shows its identifier.
    if one.name != one.identifier and one.identifier not in _BLENDERS_OWN:
        yield DEFAULT, one.name
        yield DEFAULT, one.description
    if one.type == "ENUM":
        for item in one.enum_items_static:
            yield DEFAULT, item.name
            yield DEFAULT, item.description


def drawn_messages() -> set[Message]:
    """The fixed texts that panels and operators show, found in the source."""
    return {message for path in _sources() for message in _drawn_in(ast.parse(path.read_text("utf-8")))}


def error_messages() -> set[Message]:
    """Errors, which say what is wrong and what to do: the fixed ones, and patterns with {0}, {1}, ..."""
    return {(DEFAULT, text) for path in _sources() for text in _literals_in(path) if _is_error(text)}


def _is_error(text: str) -> bool:
    return text.endswith(".") and ": " in text and "\n" not in text and (text[0].isupper() or text[0] in "'{")


def literals() -> set[str]:
    """Every text of the source and every pattern, also those that reach the screen by a detour."""
    return {text for path in _sources() for text in _literals_in(path)}


def _literals_in(path: Path) -> Iterator[str]:
    """The texts of a file but its docstrings; what an f-string puts in is {0}, {1}, ..."""
    tree = ast.parse(path.read_text("utf-8"))
    left_out: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            left_out |= {id(part) for part in node.values}
        elif isinstance(node, ast.Expr):
            left_out.add(id(node.value))
    for node in ast.walk(tree):
        if id(node) in left_out:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield _pattern_of(node)


def _pattern_of(text: ast.JoinedStr) -> str:
    pattern, places = "", 0
    for part in text.values:
        if isinstance(part, ast.Constant):
            pattern += str(part.value)
        else:
            pattern += f"{{{places}}}"
            places += 1
    return pattern


def _sources() -> list[Path]:
    return [path for path in ADDON.rglob("*.py") if path.parent.name != "translations"]


def _drawn_in(tree: ast.AST) -> Iterator[Message]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        context = OPERATOR if name.startswith("operator") or name == "Entry" else DEFAULT
        shown = [word.value for word in node.keywords if word.arg in _TEXT_ARGUMENTS]
        if name in _TRANSLATING:
            shown += node.args
        elif name == "Entry":  # of a menu: operator, text
            shown += node.args[1:2]
        for value in shown:
            for text in _texts_of(value):
                yield context, text


def _texts_of(value: ast.expr) -> Iterator[str]:
    """The texts that an expression may be: a literal, or one of several."""
    if (
        isinstance(value, ast.Constant)
        and isinstance(value.value, str)
        and any(map(str.isalpha, value.value))
    ):
        if not value.value.isupper():  # an icon's name
            yield value.value
    elif isinstance(value, ast.IfExp):
        yield from _texts_of(value.body)
        yield from _texts_of(value.orelse)


def all_messages() -> set[Message]:
    """What can be translated. Registers the add-on and takes it back."""
    sys.path.insert(0, str(REPOSITORY))
    import blender_addon

    blender_addon.register()
    try:
        return registered_messages() | drawn_messages() | error_messages()
    finally:
        blender_addon.unregister()


def lacking(messages: set[Message], translated: Collection[Message]) -> dict[str, dict[str, str]]:
    """Messages without a translation, in the form of a language's file."""
    left = sorted(messages.difference(translated))
    return {
        context: {text: "" for other, text in left if other == context}
        for context in (DEFAULT, OPERATOR)
        if any(other == context for other, _ in left)
    }


def stale(translated: Collection[Message], messages: set[Message]) -> list[Message]:
    """Translations of what is not in the add-on any more, or not in that context."""
    known = {text for _, text in messages}
    other = literals() - known
    return sorted(key for key in translated if key not in messages and key[1] not in other)


def main() -> None:
    parser = argparse.ArgumentParser(description="List the texts that a language still lacks.")
    parser.add_argument("language", nargs="?", default="de", help="such as de (default)")
    options = parser.parse_args()
    messages = all_messages()
    from blender_addon.translations import read_messages

    translated = read_messages().get(options.language, {})
    left = lacking(messages, translated)
    print(json.dumps(left, ensure_ascii=False, indent=1))
    count = len(messages) - sum(map(len, left.values()))
    print(f"{options.language}: {count} of {len(messages)} texts are translated", file=sys.stderr)
    for context, text in stale(translated, messages):
        print(f"Not in the add-on any more ({context}): {text}", file=sys.stderr)


if __name__ == "__main__":
    main()
