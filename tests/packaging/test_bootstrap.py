"""The two commands of the README: what a newcomer would lose if the bootstrap went wrong."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def bootstrap() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bootstrap", ROOT / "scripts" / "bootstrap.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fake_python(folder: Path, name: str, version: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\necho {version}\n")
    path.chmod(0o755)
    return path


@pytest.mark.skipif(os.name == "nt", reason="the stand-ins are shell scripts")
def test_python_3_11_is_found_when_only_pyenv_has_it(
    bootstrap: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "pyenv" / "versions" / "3.11.9" / "bin"
    folder.mkdir(parents=True)
    wanted = fake_python(folder, "python", "3 11")
    old = fake_python(tmp_path, "python3", "3 9")
    monkeypatch.setattr(bootstrap.sys, "executable", str(old))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert bootstrap.find_python() == [str(wanted)]


@pytest.mark.skipif(os.name == "nt", reason="the stand-ins are shell scripts")
def test_without_python_3_11_the_user_is_told_how_to_get_it(
    bootstrap: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = fake_python(tmp_path, "python3", "3 13")
    monkeypatch.setattr(bootstrap.sys, "executable", str(old))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("PYENV_ROOT", raising=False)
    monkeypatch.setattr(bootstrap.Path, "home", lambda: tmp_path)
    with pytest.raises(bootstrap.BootstrapError, match=r"(?s)Python 3\.11 was not found.*uv python install"):
        bootstrap.find_python()


def test_a_second_run_installs_nothing(
    bootstrap: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(bootstrap.subprocess, "run", run)
    bootstrap.install(tmp_path, Path(sys.executable), "blender")
    installs = len(calls)
    bootstrap.install(tmp_path, Path(sys.executable), "blender")
    assert installs > 0 and len(calls) == installs
    bootstrap.install(tmp_path, Path(sys.executable), "dev")
    assert len(calls) > installs


def test_a_failed_install_is_tried_again_and_says_what_to_do(
    bootstrap: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = subprocess.CompletedProcess([], 1, "", "ImportError: libXi.so.6: cannot open shared object file")
    monkeypatch.setattr(bootstrap.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(bootstrap.BootstrapError, match="could not be installed"):
        bootstrap.install(tmp_path, Path(sys.executable), "blender")
    assert not (tmp_path / bootstrap.STAMP).exists()


def test_ci_and_readme_use_the_same_two_commands() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "python3 scripts/bootstrap.py demo" in readme
    assert "python3 scripts/bootstrap.py test" in readme
    assert "python3 scripts/bootstrap.py test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_the_version_has_one_source() -> None:
    from importlib.metadata import version

    from blender_addon.core.version import package_version

    assert version("flextraj") == package_version()
    assert f'version = "{package_version()}"' in (ROOT / "blender_manifest.toml").read_text(encoding="utf-8")


def test_the_demo_tells_the_extension_which_python_runs_the_backend(
    bootstrap: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from blender_addon.client.backend_location import find_backend_python

    for name in ("HOME", "XDG_CONFIG_HOME", "APPDATA", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.delenv("FLEXTRAJ_BACKEND_PYTHON", raising=False)
    bootstrap.run_demo(Path(sys.executable), ["--help"])
    assert Path(find_backend_python()) == Path(sys.executable)


@pytest.mark.parametrize("files", [["thesis.txt"], ["pyvenv.cfg", "bin"]])
def test_a_folder_of_the_users_is_never_cleared(
    files: list[str], bootstrap: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "find_python", lambda: [sys.executable])
    for name in files:
        (tmp_path / name).write_text("mine")
    with pytest.raises(bootstrap.BootstrapError, match="was not made by this script"):
        bootstrap.make_environment(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(files)


def test_a_cut_off_note_of_what_is_installed_only_means_installing_again(
    bootstrap: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        bootstrap.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, "", "")
    )
    (tmp_path / bootstrap.STAMP).write_text('{"dem')
    bootstrap.install(tmp_path, Path(sys.executable), "blender")
    assert bootstrap.read_stamp(tmp_path) == {"blender": bootstrap.fingerprint("blender")}
