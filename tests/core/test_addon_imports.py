"""What the add-on may import: bpy, NumPy, the standard library and itself, and only inside Blender bpy."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
ADDON = REPOSITORY / "blender_addon"
BLENDER_MODULES = {"bpy", "bpy_extras", "bl_operators", "bl_ui", "mathutils", "gpu", "gpu_extras", "blf"}
SOURCES = sorted(ADDON.rglob("*.py"))


def imported_modules(source: Path) -> list[tuple[int, str]]:
    """Level (0 = absolute) and name of every import in a file, wherever it stands."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(0, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.level, node.module or ""))
    return found


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ADDON)))
def test_the_addon_needs_no_package_that_blender_does_not_ship(source: Path) -> None:
    for level, name in imported_modules(source):
        package = name.partition(".")[0]
        if level == 0:
            allowed = BLENDER_MODULES | {"numpy"} | set(sys.stdlib_module_names)
            assert package in allowed, f"{source.relative_to(ADDON)} imports {name}"


@pytest.mark.parametrize("folder", ["core", "client"])
def test_core_and_client_never_name_blenders_modules(folder: str) -> None:
    for source in (ADDON / folder).rglob("*.py"):
        for level, name in imported_modules(source):
            assert level > 0 or name.partition(".")[0] not in BLENDER_MODULES, source


def test_core_and_client_work_without_blender() -> None:
    names = [
        ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
        for folder in ("core", "client")
        for path in sorted((ADDON / folder).glob("*.py"))
    ]
    assert len(names) > 15
    blocked = "".join(f"sys.modules[{name!r}] = None\n" for name in sorted(BLENDER_MODULES))
    done = run(f"import sys\n{blocked}import importlib\nfor name in {names!r}: importlib.import_module(name)")
    assert done.returncode == 0, done.stderr


def test_importing_the_addon_does_not_need_blender_before_it_is_enabled() -> None:
    done = run("import sys\nsys.modules['bpy'] = None\nimport blender_addon\nprint(blender_addon.ADDON_ID)")
    assert (done.returncode, done.stdout.strip()) == (0, "blender_addon"), done.stderr


def test_the_addon_is_enabled_where_no_backend_package_is_installed(tmp_path: Path) -> None:
    pytest.importorskip("bpy")
    absent = ("torch", "cv2", "PIL", "fastapi", "uvicorn", "imageio", "flextraj_backend", "psutil", "typer")
    done = run(
        "import os, sys\n"
        f"os.environ['BLENDER_USER_RESOURCES'] = {str(tmp_path)!r}\n"
        f"for name in {absent!r}: sys.modules[name] = None\n"
        "import bpy, blender_addon\n"
        "blender_addon.register()\n"
        "assert bpy.context.scene.flextraj.points > 0\n"
        "blender_addon.unregister()\n"
        "print('enabled')"
    )
    assert done.returncode == 0, done.stderr
    assert "enabled" in done.stdout
