"""What the manifest promises to those who install the extension, compared with what the add-on does."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
ADDON = ROOT / "blender_addon"
NETWORK_MODULES = {
    "socket",
    "ssl",
    "http",
    "urllib",
    "ftplib",
    "smtplib",
    "socketserver",
    "xmlrpc",
    "requests",
}
URL = re.compile(r"https?://([^/:{'\"\s]+)")


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    return tomllib.loads((ROOT / "blender_manifest.toml").read_text(encoding="utf-8"))


def sources() -> Iterator[tuple[Path, ast.AST]]:
    for path in ADDON.rglob("*.py"):
        yield path.relative_to(ADDON), ast.parse(path.read_text(encoding="utf-8"))


def imported_packages(tree: ast.AST) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    return found


def test_every_permission_that_is_used_is_asked_for_and_no_other(manifest: dict[str, Any]) -> None:
    used = set()
    for _, tree in sources():
        if imported_packages(tree) & NETWORK_MODULES:
            used.add("network")
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr == "clipboard":
                used.add("clipboard")
            if isinstance(node, ast.Attribute) and node.attr in (
                "open",
                "read_bytes",
                "read_text",
                "write_bytes",
            ):
                used.add("files")
    assert set(manifest["permissions"]) == used


def test_only_the_client_talks_to_the_network() -> None:
    talking = {path for path, tree in sources() if imported_packages(tree) & NETWORK_MODULES}
    assert talking
    assert {path.parts[0] for path in talking} == {"client"}


def test_no_address_but_this_computers_is_in_the_addon() -> None:
    """Nothing asks `bpy.app.online_access`, because nothing goes online: the backend is on this computer."""
    for path, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert set(URL.findall(node.value)) <= {"127.0.0.1"}, path


@pytest.mark.parametrize("name", ["network", "files", "clipboard"])
def test_a_permission_says_in_a_short_sentence_what_for(manifest: dict[str, Any], name: str) -> None:
    sentence = manifest["permissions"][name]
    assert 10 < len(sentence) <= 64
    assert sentence[-1].isalnum() or sentence[-1] in ")]}"


def test_the_manifest_follows_the_rules_of_blenders_platform(manifest: dict[str, Any]) -> None:
    assert len(manifest["tagline"]) <= 64
    assert manifest["tagline"][-1].isalnum()
    assert "blender" not in manifest["tagline"].lower()
    assert manifest["blender_version_min"] == "4.2.0"
    # No highest release: compat.py asks Blender for what it can do.
    assert "blender_version_max" not in manifest
    assert manifest["license"] == ["SPDX:GPL-3.0-or-later"]
    assert "wheels" not in manifest


def test_the_release_of_blender_is_asked_in_one_place_only() -> None:
    asking = {
        path.as_posix()
        for path, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr == "version"
        and ast.unparse(node) == "bpy.app.version"
    }
    assert asking == {"bridge/compat.py"}
