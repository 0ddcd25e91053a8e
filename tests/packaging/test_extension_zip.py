"""The extension's zip: what is in it, that Blender takes it, and that the build script fails well."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "scripts" / "build_extension.py"

needs_builder = pytest.mark.skipif(importlib.util.find_spec("bpy") is None, reason="needs the bpy package")

INSTALL = """
import bpy, sys
zip_file, module = sys.argv[1:]
print("install", bpy.ops.extensions.package_install_files(
    repo="user_default", filepath=zip_file, enable_on_install=True))
assert module in bpy.context.preferences.addons
assert bpy.context.scene.flextraj.points == 2500
assert bpy.ops.flextraj.generate.poll() is False
extension = sys.modules[module]
assert extension.ADDON_ID == module
preferences = sys.modules[module + ".preferences"]
assert "flextraj" in str(preferences.user_folder("results"))
assert bpy.context.preferences.addons[module].preferences.bl_rna.identifier
from importlib import import_module
assert import_module(module + ".core.version").package_version() == extension_version
bpy.ops.preferences.addon_disable(module=module)
assert not hasattr(bpy.context.scene, "flextraj")
bpy.ops.preferences.addon_enable(module=module)
assert bpy.context.scene.flextraj.points == 2500
print("all done")
"""


def load_script():
    spec = importlib.util.spec_from_file_location("build_extension", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["build_extension"] = module
    spec.loader.exec_module(module)
    return module


def manifest() -> dict[str, object]:
    return tomllib.loads((REPOSITORY / "blender_manifest.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    script = load_script()
    folder = tmp_path_factory.mktemp("extension")
    return script.build(script.builder_of_bpy(), folder / "stage", folder / "dist")


@needs_builder
def test_the_zip_holds_the_addon_the_manifest_and_the_licence_and_nothing_else(archive: Path) -> None:
    addon = REPOSITORY / "blender_addon"
    expected = {path.relative_to(addon).as_posix() for path in addon.rglob("*.py")}
    expected |= {path.relative_to(addon).as_posix() for path in addon.glob("translations/*.json")}
    expected |= {"blender_manifest.toml", "LICENSE"}
    with zipfile.ZipFile(archive) as file:
        found = {name for name in file.namelist() if not name.endswith("/")}
    assert found == expected
    assert archive.name == f"flextraj-{manifest()['version']}.zip"


@needs_builder
def test_the_zip_carries_no_compiled_or_bundled_package(archive: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        names = file.namelist()
    assert not [name for name in names if name.endswith((".whl", ".so", ".pyd", ".dll", ".pyc"))]
    assert archive.stat().st_size < 1_000_000


@needs_builder
def test_blender_installs_enables_disables_and_enables_the_extension_again(
    archive: Path, tmp_path: Path
) -> None:
    environment = dict(os.environ, BLENDER_USER_RESOURCES=str(tmp_path / "user"), HOME=str(tmp_path))
    environment.pop("PYTHONPATH", None)
    code = f"extension_version = {manifest()['version']!r}\n{INSTALL}"
    done = subprocess.run(
        [sys.executable, "-c", code, str(archive), "bl_ext.user_default.flextraj"],
        env=environment,
        cwd=tmp_path,  # not the repository: the installed copy must stand on its own
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "all done" in done.stdout, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == 0


@needs_builder
def test_a_manifest_that_blender_refuses_stops_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = load_script()
    stage = script.stage

    def stage_with_wrong_tag(folder: Path) -> Path:
        stage(folder)
        path = folder / "blender_manifest.toml"
        text = path.read_text(encoding="utf-8").replace('"Animation"', '"No Such Tag"')
        path.write_text(text, encoding="utf-8")
        return folder

    monkeypatch.setattr(script, "stage", stage_with_wrong_tag)
    with pytest.raises(script.BuildError, match="No Such Tag"):
        script.build(script.builder_of_bpy(), tmp_path / "stage", tmp_path / "dist")
    assert list((tmp_path / "dist").iterdir()) == []


def test_without_a_builder_one_sentence_says_how_to_get_one(tmp_path: Path) -> None:
    # -I and -S: a Python that has no packages at all.
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(SCRIPT), "--output-dir", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("build_extension: No extension builder was found")
    assert "Traceback" not in done.stderr


def test_a_blender_that_does_not_exist_is_named(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--blender", "/no/such/blender", "--output-dir", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "There is no program '/no/such/blender'" in done.stderr


def test_the_manifest_has_no_misspelt_key() -> None:
    known = {
        *("schema_version", "id", "version", "name", "tagline", "maintainer", "type", "tags", "website"),
        *("blender_version_min", "blender_version_max", "license", "copyright", "platforms", "wheels"),
        *("permissions", "build"),
    }
    assert set(manifest()) <= known
