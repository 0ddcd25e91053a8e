"""What works on this machine: the checks behind `flextraj doctor`."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import psutil

from blender_addon.client.backend_location import INSTALL_COMMAND, backend_pointer
from blender_addon.core.errors import FlexTrajError
from blender_addon.core.version import package_version
from flextraj_backend.engines.catalog import engine_infos
from flextraj_backend.installation import install_command
from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.checkpoint_layout import MODEL_NAMES
from flextraj_backend.models.devices import GIB, LIMIT_VARIABLE, DeviceKind, probe_device
from flextraj_backend.models.estimates import nominal_job
from flextraj_backend.models.memory_plan import plan_memory
from flextraj_backend.models.weights import (
    WeightsLocation,
    lora_names,
    loras_folder,
    read_sizes,
    weights_status,
)
from flextraj_backend.server.serve import default_data_dir

_WANTED_PYTHON = (3, 11)
_MIN_FREE_DISK = 2 << 30
_MIN_MEMORY = 4 << 30
_PROBE_SECONDS = 60.0


class Severity(StrEnum):
    """How a check ended."""

    OK = "ok"
    OPTIONAL = "absent, optional"
    WARNING = "warning"
    BROKEN = "broken"


@dataclass(frozen=True)
class Finding:
    """One check.

    Attributes:
        fix: the exact command or step that mends it, empty where nothing is to do.
    """

    name: str
    severity: Severity
    text: str
    fix: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def diagnose() -> tuple[Finding, ...]:
    """Run every check; takes a few seconds where torch is installed."""
    weights = tuple(_weights())
    return (
        Finding("FlexTraj", Severity.OK, package_version()),
        _python(),
        _ffmpeg(),
        _blender_module(),
        _torch(),
        *_gpu(),
        _device(),
        *weights,
        _loras(),
        _disk(),
        _memory(),
        _pointer(),
        *_engines({finding.fix for finding in weights}),
    )


def _python() -> Finding:
    text = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info[:2] < _WANTED_PYTHON:
        return Finding("Python", Severity.BROKEN, text, INSTALL_COMMAND)
    return Finding("Python", Severity.OK, text)


def _ffmpeg() -> Finding:
    fix = f"{sys.executable} -m pip install --force-reinstall imageio-ffmpeg"
    try:
        path = imageio_ffmpeg.get_ffmpeg_exe()
        run = subprocess.run([path, "-version"], capture_output=True, text=True, timeout=_PROBE_SECONDS)
    except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
        return Finding("ffmpeg", Severity.BROKEN, f"does not run ({error})", fix)
    if run.returncode != 0:
        return Finding("ffmpeg", Severity.BROKEN, f"{path} does not run", fix)
    return Finding("ffmpeg", Severity.OK, f"{imageio_ffmpeg.get_ffmpeg_version()} at {path}")


def _blender_module() -> Finding:
    name = "Blender module (bpy)"
    fix = install_command("blender")
    if (installed := _version_of("bpy")) is None:
        return Finding(name, Severity.OPTIONAL, "'flextraj sample' and 'flextraj demo' need it", fix)
    # In a process of its own: importing bpy takes over signals and a missing library would end us.
    problem = _import_problem("bpy")
    if problem:
        return Finding(name, Severity.BROKEN, f"{installed} does not load ({problem})", fix)
    return Finding(name, Severity.OK, installed)


def _torch() -> Finding:
    if (installed := _version_of("torch")) is None:
        return Finding(
            "torch",
            Severity.OPTIONAL,
            "the diffusion engines need it, 'preview' does not",
            install_command("models"),
        )
    return Finding("torch", Severity.OK, installed)


def _gpu() -> Iterator[Finding]:
    """GPUs as the driver sees them, and whether torch can use them."""
    driver = shutil.which("nvidia-smi")
    gpus: list[str] = []
    if driver is not None:
        command = [driver, "--query-gpu=name,memory.total", "--format=csv,noheader"]
        try:
            run = subprocess.run(command, capture_output=True, text=True, timeout=_PROBE_SECONDS)
            gpus = [line.strip() for line in run.stdout.splitlines() if line.strip() and not run.returncode]
        except (OSError, subprocess.TimeoutExpired):
            gpus = []
    if not gpus:
        yield Finding("CUDA", Severity.OPTIONAL, "no NVIDIA GPU was found; 'preview' runs on the CPU")
    elif importlib.util.find_spec("torch") is None:
        yield Finding("CUDA", Severity.OK, f"{'; '.join(gpus)} (torch is not installed)")
    elif problem := _import_problem("torch", "assert torch.cuda.is_available(), 'torch sees no GPU'"):
        fix = (
            f"uninstall torch and install the same version ({_version_of('torch')}) as a CUDA build: "
            f"pytorch.org gives the command, for {sys.executable} -m pip"
        )
        yield Finding("CUDA", Severity.WARNING, f"{'; '.join(gpus)}, but {problem}", fix)
    else:
        yield Finding("CUDA", Severity.OK, "; ".join(gpus))


def _device() -> Finding:
    """What the diffusion engines would run on, and its free memory."""
    name = "device"
    try:
        device = probe_device()
    except FlexTrajError as error:
        return Finding(name, Severity.WARNING, error.message, f"unset {LIMIT_VARIABLE}, or give it a size")
    if device.kind is DeviceKind.NONE:
        return Finding(name, Severity.OPTIONAL, device.reason)
    free, total = (f"{size / GIB:.1f}" for size in (device.free_bytes, device.total_bytes))
    text = f"{device.name}: {free} of {total} GiB of {device.memory_name} free"
    if device.limit is not None:
        text += f", capped by {LIMIT_VARIABLE} at {device.limit / GIB:.1f} GiB"
    return Finding(name, Severity.OK, text)


def _weights() -> Iterator[Finding]:
    """The base model and the control of each diffusion engine."""
    for backbone in Backbone:
        status = weights_status(backbone)
        name = f"weights {backbone}"
        if status.location is None:
            yield Finding(name, Severity.OPTIONAL, f"{MODEL_NAMES[backbone]} and its control", status.problem)
        else:
            places = f"{status.location.base} and {status.location.adapter}"
            yield Finding(name, Severity.OK, f"{places}{_memory_plan(backbone, status.location)}")


def _memory_plan(backbone: Backbone, location: WeightsLocation) -> str:
    """How a job of the usual size would share the GPU's memory; empty without a GPU."""
    try:
        device = probe_device()
        if device.kind is not DeviceKind.CUDA:
            return ""
        sizes = read_sizes(backbone, location)
        return f". {plan_memory(sizes, nominal_job(sizes), device).explanation}"
    except FlexTrajError as error:
        return f". {error.message}"


def _loras() -> Finding:
    names = lora_names()
    found = f"{len(names)} ({', '.join(names)})" if names else "none"
    return Finding("LoRAs", Severity.OK, f"{found} in {loras_folder()}")


def _disk() -> Finding:
    folder = default_data_dir()
    existing = next((path for path in (folder, *folder.parents) if path.exists()), None)
    if existing is None:
        return Finding(
            "disk", Severity.WARNING, f"there is no disk {folder.anchor}", "use 'flextraj serve --data-dir'"
        )
    free = shutil.disk_usage(existing).free
    text = f"{free / (1 << 30):.1f} GiB free for {folder}"
    if free < _MIN_FREE_DISK:
        return Finding("disk", Severity.WARNING, text, "free some space, or use 'flextraj serve --data-dir'")
    return Finding("disk", Severity.OK, text)


def _memory() -> Finding:
    memory = psutil.virtual_memory()
    text = f"{memory.available / (1 << 30):.1f} of {memory.total / (1 << 30):.1f} GiB free"
    if memory.available < _MIN_MEMORY:
        return Finding("memory", Severity.WARNING, text, "close other programs, or render at a smaller size")
    return Finding("memory", Severity.OK, text)


def _pointer() -> Finding:
    path = backend_pointer()
    if path.is_file():
        return Finding("Blender extension", Severity.OK, f"finds this backend through {path}")
    return Finding(
        "Blender extension",
        Severity.WARNING,
        "does not know yet where this backend is",
        INSTALL_COMMAND,
    )


def _engines(told: set[str]) -> Iterator[Finding]:
    """Every engine; a fix that has been told is not repeated."""
    for info in engine_infos():
        if info.available:
            yield Finding(f"engine {info.name}", Severity.OK, info.title)
        else:
            fix = "" if info.reason in told else info.reason
            yield Finding(f"engine {info.name}", Severity.OPTIONAL, info.title, fix)


def _version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _import_problem(module: str, then: str = "") -> str:
    """Why a module does not load in a fresh process, empty where it does."""
    try:
        run = subprocess.run(
            [sys.executable, "-c", f"import {module}\n{then}"],
            capture_output=True,
            text=True,
            timeout=_PROBE_SECONDS,
            cwd=Path(sys.executable).parent,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if run.returncode == 0:
        return ""
    return (run.stderr.strip().splitlines() or [f"exit code {run.returncode}"])[-1]
