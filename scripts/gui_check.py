"""Press the extension's panel through in a real Blender window, from an empty profile to a loaded video.

    python scripts/gui_check.py --blender blender
    python scripts/gui_check.py --inside "chroot /srv/debian" --work /srv/shared/check

Needs Xvfb, ImageMagick and xdotool beside Blender. Each act is a Blender of its own; its script works through
the panel and asks for a screenshot after every step. Fails with a reason when a step fails, when Blender's
log has a traceback or when a backend is left over.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import psutil
from build_extension import REPOSITORY, BuildError, build, builder_of_bpy

ACTS = {
    "panel": "gui_check_steps.py",
    "settings": "gui_check_settings.py",
    "placement": "gui_check_placement.py",
    "training": "gui_check_training.py",
    "mini": "gui_check_mini.py",
    "jobs": "gui_check_jobs.py",
    "restart": "gui_check_restart.py",
}
"""Scripts by name, in their order: 'jobs' ends with Blender killed, 'restart' opens its file again."""
SCREEN = "1600x1000"
BACKEND_SECONDS = 6.0
"""Within this time a backend notices that its Blender is gone, and stops its job."""
MINI_SCENES = 4
LEAST_RATIO = 3.0
"""Of the mini's mean TrajErr without control to the one with control, over these scenes."""
_TROUBLE = ("Traceback (most recent call last)", "Error: Python", "EXCEPTION_ACCESS", "Segmentation fault")
_BLENDERS_OWN = ("bl_pkg", "/addons_core/")
"""Parts of paths in tracebacks that come from the distribution's Blender, not from the extension."""


class CheckError(Exception):
    """The check failed; the message says where."""


@dataclass(frozen=True)
class Setup:
    """How and where to run.

    Attributes:
        inside: words before every command, such as those of a chroot; may be empty.
        blender: Blender's command.
        work: folder with the same path inside and outside.
        python: the backend's interpreter.
        photo, mask: the picture to drive.
        seconds: time limit of an act.
        patience: by which steps may take longer than on a machine without other work; `seconds` too.
        acts: what is checked, names of ACTS.
    """

    inside: tuple[str, ...]
    blender: tuple[str, ...]
    work: Path
    python: Path
    photo: Path
    mask: Path | None
    seconds: float
    patience: float
    acts: tuple[str, ...]

    @property
    def shots(self) -> Path:
        return self.work / "shots"

    @property
    def log(self) -> Path:
        return self.work / "blender.log"

    def environment(self) -> dict[str, str]:
        """A profile of its own, software rendering, no display yet."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TERM") if name in os.environ}
        return kept | {
            "HOME": str(self.work / "home"),
            "XDG_RUNTIME_DIR": str(self.work / "home" / "run"),
            "BLENDER_USER_RESOURCES": str(self.work / "profile"),
            "LIBGL_ALWAYS_SOFTWARE": "1",
            "LC_ALL": "C.UTF-8",
            "FLEXTRAJ_BACKEND_PYTHON": str(self.python),
            "FLEXTRAJ_CHECK": str(self.work / "check.json"),
        }


def run_check(setup: Setup, archive: Path) -> list[Path]:
    """Install, open, press through; return the screenshots. Raises CheckError."""
    _prepare(setup)
    environment = setup.environment()
    zip_inside = setup.work / archive.name
    shutil.copy2(archive, zip_inside)
    install = [*setup.blender, "--command", "extension", "install-file", "-r", "user_default", "-e"]
    installed = subprocess.run(
        [*setup.inside, *install, str(zip_inside)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if installed.returncode != 0:
        raise CheckError(f"The zip was not installed:\n{installed.stdout}{installed.stderr}")
    with _display(setup, environment) as display:
        environment["DISPLAY"] = display
        for act in setup.acts:
            _drive(setup, environment, ACTS[act])
            _refuse_trouble(setup.log)
    return sorted(setup.shots.glob("*.png"))


def _prepare(setup: Setup) -> None:
    for name in ("profile", "home", "shots", "results"):
        folder = setup.work / name
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
    (setup.work / "home" / "run").mkdir(mode=0o700)
    for stale in (*setup.work.glob("*.request"), *setup.work.glob("*.blend"), setup.log):
        stale.unlink(missing_ok=True)
    photo = setup.work / f"photo{setup.photo.suffix}"
    shutil.copy2(setup.photo, photo)
    mask = None
    if setup.mask is not None:
        mask = setup.work / f"mask{setup.mask.suffix}"
        shutil.copy2(setup.mask, mask)
    values = {
        "repository": str(REPOSITORY),
        "work": str(setup.work),
        "photo": str(photo),
        "mask": "" if mask is None else str(mask),
        "patience": setup.patience,
        "mini_folder": str(setup.work / "mini_scenes"),
        "mini_scenes": MINI_SCENES,
    }
    (setup.work / "check.json").write_text(json.dumps(values), encoding="utf-8")
    if "mini" in setup.acts:
        script = Path(__file__).with_name("mini_scene.py")
        make = [str(setup.python), str(script), values["mini_folder"], "--count", str(MINI_SCENES)]
        subprocess.run(make, check=True)


@contextmanager
def _display(setup: Setup, environment: dict[str, str]) -> Iterator[str]:
    """Run an X server without a screen on a number of its own choice."""
    command = [*setup.inside, "Xvfb", "-displayfd", "1", "-screen", "0", f"{SCREEN}x24", "+extension", "GLX"]
    with (setup.work / "xvfb.log").open("wb") as log:
        server = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log)
        try:
            assert server.stdout is not None
            number = server.stdout.readline().decode().strip()
            if not number:
                raise CheckError(f"Xvfb did not start; see {setup.work / 'xvfb.log'}.")
            yield f":{number}"
        finally:
            server.terminate()
            server.wait(10)
            if server.stdout is not None:
                server.stdout.close()


def _drive(setup: Setup, environment: dict[str, str], script: str) -> None:
    steps = Path(__file__).with_name(script)
    width, height = SCREEN.split("x")
    command = [*setup.inside, *setup.blender, "--window-geometry", "0", "0", width, height]
    with setup.log.open("ab") as log:
        blender = subprocess.Popen(
            [*command, "--python-exit-code", "3", "--python", str(steps)],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            _serve_screenshots(setup, environment, blender)
        finally:
            leftovers = psutil.Process(blender.pid).children(recursive=True) if blender.poll() is None else []
            if blender.poll() is None:
                blender.kill()
                blender.wait()
            for process in leftovers:
                process.kill()
    verdict = setup.work / "verdict.json"
    if not verdict.is_file():
        raise CheckError(
            f"Blender ended (exit code {blender.returncode}) before the check did; see {setup.log}."
        )
    found = json.loads(verdict.read_text(encoding="utf-8"))
    verdict.unlink()
    if len(found.get("mini", ())) == MINI_SCENES and not found["problem"]:
        _measure_mini(setup, found)
    print(json.dumps(found, indent=2))
    if found["problem"]:
        raise CheckError(found["problem"])
    was_to_be_killed = (setup.work / "killed").exists()
    (setup.work / "killed").unlink(missing_ok=True)
    if blender.returncode != (-signal.SIGKILL if was_to_be_killed else 0):
        raise CheckError(f"Blender ended with exit code {blender.returncode}; see {setup.log}.")
    _wait_for_end(found["backend_pid"])


def _measure_mini(setup: Setup, found: dict[str, Any]) -> None:
    """Add every video's TrajErr to what was found, and the problem where control helps too little."""
    for jobs in found["mini"]:
        for name, job in jobs.items():
            report = setup.work / f"{name}.json"
            tracks = Path(job["folder"]) / "trajectories.npz"
            evaluate = ["evaluate", job["video"], "--trajectories", str(tracks), "--json", str(report)]
            subprocess.run([str(setup.python), "-m", "flextraj_backend", *evaluate], check=True)
            scores = json.loads(report.read_text(encoding="utf-8"))["videos"][0]["scores"]
            job["traj_err"] = round(scores["traj_err"]["mean"], 4)
    controlled, alone = (
        fmean(jobs[name]["traj_err"] for jobs in found["mini"]) for name in ("controlled", "without_control")
    )
    found["mini_traj_err"] = {
        "controlled": round(controlled, 4),
        "without_control": round(alone, 4),
        "ratio": round(alone / controlled, 2),
    }
    if alone < LEAST_RATIO * controlled:
        found["problem"] = f"Control hardly helps the mini: TrajErr {controlled:.3f} of {alone:.3f}."


def _wait_for_end(backend_pid: int) -> None:
    """Raises CheckError where the backend outlives Blender, which may have been killed."""
    deadline = time.monotonic() + BACKEND_SECONDS
    while backend_pid and psutil.pid_exists(backend_pid):
        if time.monotonic() > deadline:
            raise CheckError(f"The backend (process {backend_pid}) outlived Blender.")
        time.sleep(0.1)


def _serve_screenshots(setup: Setup, environment: dict[str, str], blender: subprocess.Popen[bytes]) -> None:
    """Photograph the screen or press a key when the Blender side asks for it, until Blender has ended."""
    limit = setup.seconds * setup.patience
    deadline = time.monotonic() + limit
    while blender.poll() is None:
        if time.monotonic() > deadline:
            raise CheckError(f"Blender did not finish within {limit:g} s; see {setup.log}.")
        request = setup.work / "next.request"
        if request.is_file():
            what, argument = json.loads(request.read_text(encoding="utf-8"))
            _do(setup, environment, blender, what, argument)
            request.unlink()
        time.sleep(0.05)


def _do(
    setup: Setup, environment: dict[str, str], blender: subprocess.Popen[bytes], what: str, argument: str
) -> None:
    """Photograph the screen, press a key, drag with the mouse as a user's hand would, or kill Blender."""
    if what == "kill":
        (setup.work / "killed").touch()
        blender.kill()
        return
    if what == "shot":
        commands = [["import", "-window", "root", str(setup.shots / f"{argument}.png")]]
    elif what == "key":
        # Blender takes keys for the area under the pointer.
        commands = [["xdotool", "mousemove", "300", "400", "key", argument]]
    elif what == "wheel":
        x, y, clicks = argument.split()
        commands = [["xdotool", "mousemove", x, y, "click", "--repeat", clicks, "--delay", "30", "5"]]
        # A pointer that stays would soon have a tooltip under it.
        commands.append(["xdotool", "sleep", "0.5", "mousemove", "300", "400"])
    else:
        x0, y0, x1, y1 = argument.split()
        # In single steps: Blender must see the pointer arrive at the border before the button goes down.
        steps = (f"mousemove {x0} {y0}", "mousedown 1", f"mousemove {x1} {y1}", "mouseup 1")
        commands = [["xdotool", *step.split(), "sleep", "0.5"] for step in steps]
    for command in commands:
        subprocess.run([*setup.inside, *command], env=environment, check=True)


def _refuse_trouble(log: Path) -> None:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines):
        if any(word in line for word in _TROUBLE):
            following = lines[number : number + 25]
            if not any(part in after for after in following for part in _BLENDERS_OWN):
                raise CheckError("Blender's log shows trouble:\n" + "\n".join(following))


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. Returns the exit code: 0, or 2 with the reason on stderr."""
    demo = REPOSITORY / "flextraj_backend" / "demo"
    parser = argparse.ArgumentParser(description="Press the FlexTraj panel through in a real Blender window.")
    parser.add_argument("--blender", default="blender", metavar="COMMAND")
    parser.add_argument(
        "--inside", default="", metavar="WORDS", help="put before every command, such as a chroot"
    )
    parser.add_argument("--work", type=Path, default=REPOSITORY / "build" / "gui_check")
    parser.add_argument("--backend-python", type=Path, default=Path(sys.executable))
    parser.add_argument("--extension", type=Path, help="zip to install; default: built now")
    parser.add_argument("--photo", type=Path, default=demo / "photo.jpg")
    parser.add_argument("--mask", type=Path, default=demo / "photo_mask.png")
    parser.add_argument("--seconds", type=float, default=420.0, help="time limit of an act")
    parser.add_argument(
        "--patience", type=float, default=1.0, help="factor on all limits, for a machine with other work"
    )
    parser.add_argument("--acts", nargs="+", choices=ACTS, default=list(ACTS), help="what is checked")
    options = parser.parse_args(arguments)
    setup = Setup(
        inside=tuple(shlex.split(options.inside)),
        blender=tuple(shlex.split(options.blender)),
        work=options.work.absolute(),
        python=options.backend_python.absolute(),
        photo=options.photo,
        mask=options.mask,
        seconds=options.seconds,
        patience=options.patience,
        acts=tuple(act for act in ACTS if act in options.acts),
    )
    try:
        archive = options.extension
        if archive is None:
            setup.work.mkdir(parents=True, exist_ok=True)
            archive = build(builder_of_bpy(), setup.work / "stage", setup.work / "dist")
        for picture in run_check(setup, archive):
            print(picture)
    except (CheckError, BuildError) as error:
        print(f"gui_check: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
