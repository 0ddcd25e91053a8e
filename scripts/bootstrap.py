"""One command from a fresh machine to the demo or the tests.

    python3 scripts/bootstrap.py demo     make the environment, install, let a rig drive a photo
    python3 scripts/bootstrap.py test     make the environment, install, check and test everything

Standard library only, and syntax that an old `python3` still reads: it looks for Python 3.11 by itself.
Running it again reuses what is there.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WANTED = (3, 11)
EXTRAS = {"demo": "blender", "test": "dev"}
STAMP = "flextraj-install.json"
HOW_TO_GET_PYTHON = """Python 3.11 was not found (Blender's Python module needs just this version).
Get it with one of:
  any system  : pip install uv, then uv python install 3.11
  Windows     : winget install Python.Python.3.11
  macOS       : brew install python@3.11
  Debian 12   : sudo apt-get install python3.11 python3.11-venv
  pyenv       : pyenv install 3.11
Then run this command again."""
HOW_TO_GET_LIBRARIES = """Blender's Python module lacks a system library ({problem}).
On Debian or Ubuntu install them with:
  sudo apt-get install libx11-6 libxi6 libxxf86vm1 libxfixes3 libxrender1 libxkbcommon0 libsm6 libice6
  sudo apt-get install libgl1 libegl1
Then run this command again."""


class BootstrapError(Exception):
    """What is wrong and what to do, for the user."""


def say(step):
    print("\n==> " + step, flush=True)


def version_of(python):
    """Version tuple of an interpreter given as a command list, or None where it does not run."""
    code = "import sys; print(*sys.version_info[:2])"
    try:
        run = subprocess.run([*python, "-c", code], capture_output=True, text=True, timeout=30, check=True)
        return tuple(int(part) for part in run.stdout.split())
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def output_of(command):
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        return run.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def python_candidates():
    """Commands that may be Python 3.11, the cheapest to try first."""
    yield [sys.executable]
    for name in ("python3.11", "python3", "python"):
        found = shutil.which(name)
        if found:
            yield [found]
    if shutil.which("py"):
        yield ["py", "-3.11"]
    roots = [os.environ.get("PYENV_ROOT"), output_of(["pyenv", "root"]), str(Path.home() / ".pyenv")]
    for root in dict.fromkeys(root for root in roots if root):
        for folder in sorted(Path(root).glob("versions/3.11*"), reverse=True):
            yield [str(folder / "bin" / "python")]
        for folder in sorted(Path(root).glob("pyenv-win/versions/3.11*"), reverse=True):
            yield [str(folder / "python.exe")]
    if shutil.which("uv"):
        found = output_of(["uv", "python", "find", "3.11"])
        if found:
            yield [found]


def find_python():
    for candidate in python_candidates():
        if version_of(candidate) == WANTED:
            return candidate
    raise BootstrapError(HOW_TO_GET_PYTHON)


def venv_python(venv):
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def is_replaceable(venv):
    """Whether nothing of the user's is lost when a folder becomes our environment."""
    if not venv.is_dir():
        return False
    return (venv / STAMP).is_file() or not any(venv.iterdir())


def make_environment(venv):
    python = venv_python(venv)
    if version_of([str(python)]) == WANTED:
        print(f"Environment: {venv} (already there)")
        return python
    if venv.exists() and not is_replaceable(venv):
        raise BootstrapError(
            f"{venv} was not made by this script: name another folder with --venv, or move it away."
        )
    base = find_python()
    say("Making the environment {} with {}".format(venv, " ".join(base)))
    if venv.exists():
        # What is left of an interrupted try, or an environment whose interpreter has gone, is of no use.
        shutil.rmtree(venv)
    venv.mkdir(parents=True)
    save_stamp(venv, {})  # from now on the folder is known as ours
    run = subprocess.run([*base, "-m", "venv", str(venv)], check=False)
    if run.returncode != 0 or version_of([str(python)]) != WANTED:
        raise BootstrapError(
            f"The virtual environment {venv} could not be made: see the message above "
            "(on Debian and Ubuntu: sudo apt-get install python3.11-venv)."
        )
    return python


def fingerprint(extra):
    """Changes where the project's requirements change, so that an install is repeated only when needed."""
    content = (ROOT / "pyproject.toml").read_bytes() + (ROOT / "blender_manifest.toml").read_bytes()
    return hashlib.sha256(content + str(ROOT).encode() + extra.encode()).hexdigest()


def read_stamp(venv):
    try:
        installed = json.loads((venv / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return installed if isinstance(installed, dict) else {}


def save_stamp(venv, installed):
    temporary = venv / (STAMP + ".new")
    temporary.write_text(json.dumps(installed), encoding="utf-8")
    temporary.replace(venv / STAMP)


def install(venv, python, extra):
    installed = read_stamp(venv)
    if installed.get(extra) == fingerprint(extra):
        print(f"Packages: flextraj[{extra}] (already installed)")
        return
    say(f"Installing flextraj[{extra}] (a few minutes the first time, mostly Blender's Python module)")
    command = [str(python), "-m", "pip", "install", "--disable-pip-version-check"]
    run = subprocess.run([*command, "-e", f"{ROOT}[{extra}]"], check=False)
    if run.returncode != 0:
        raise BootstrapError(
            "The packages could not be installed: see the message above, check the network, run this again."
        )
    probe = subprocess.run([str(python), "-c", "import bpy"], capture_output=True, text=True, check=False)
    if probe.returncode != 0:
        problem = (probe.stderr.strip().splitlines() or ["no message"])[-1]
        raise BootstrapError(HOW_TO_GET_LIBRARIES.format(problem=problem))
    installed[extra] = fingerprint(extra)
    save_stamp(venv, installed)


def checked(command, environment=None):
    """Run a command in the project's root with its output shown; returns True on success."""
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0


def run_demo(python, arguments):
    say("Telling the Blender extension where this backend lives")
    code = (
        "import pathlib, sys; from blender_addon.client.backend_location import write_backend_pointer; "
        "print(write_backend_pointer(pathlib.Path(sys.executable)))"
    )
    if not checked([str(python), "-c", code]):
        raise BootstrapError("The backend's place could not be noted: see the message above.")
    say("Running the demo: a procedural rig drives a photo")
    started = time.monotonic()
    if not checked([str(python), "-m", "flextraj_backend", "demo", *arguments]):
        raise BootstrapError("The demo did not finish: see the sentence above.")
    print(f"Demo time: {time.monotonic() - started:.0f} s")


def run_tests(python, arguments):
    environment = dict(os.environ, PYTHONDONTWRITEBYTECODE="1")
    steps = [
        ("Lint (ruff)", ["-m", "ruff", "check", "."]),
        ("Format (ruff)", ["-m", "ruff", "format", "--check", "--quiet", "."]),
        ("Types (pyright)", ["-m", "pyright"]),
        ("Tests (pytest)", ["-m", "pytest", *arguments]),
    ]
    results = []
    for name, command in steps:
        say(name)
        started = time.monotonic()
        passed = checked([str(python), *command], environment)
        results.append((name, passed, time.monotonic() - started))
    say("Results")
    for name, passed, seconds in results:
        print("{:<18} {:<7} {:6.0f} s".format(name, "passed" if passed else "FAILED", seconds))
    print(f"Environment: {python.parent.parent}")
    failed = [name for name, passed, _ in results if not passed]
    if failed:
        raise BootstrapError("Failed: {}.".format(", ".join(failed)))
    print("All checks passed.")


def main():
    parser = argparse.ArgumentParser(description="From a fresh machine to the demo or the tests.")
    parser.add_argument("what", choices=sorted(EXTRAS), help="what to run")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="environment (default: .venv)")
    options, arguments = parser.parse_known_args()
    try:
        python = make_environment(options.venv.absolute())
        install(options.venv.absolute(), python, EXTRAS[options.what])
        {"demo": run_demo, "test": run_tests}[options.what](python, arguments)
    except BootstrapError as error:
        sys.exit(f"bootstrap: {error}")
    except KeyboardInterrupt:
        sys.exit("bootstrap: stopped; run the same command again to go on.")


if __name__ == "__main__":
    main()
