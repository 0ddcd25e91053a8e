"""The device: asked for without importing torch here, fresh enough, capped by the user, never a crash."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_pipelines import build_tiny, write_tiny_adapter

from blender_addon.core.errors import ErrorCode, FlexTrajError
from flextraj_backend import diagnosis
from flextraj_backend.diagnosis import Severity
from flextraj_backend.models import devices
from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.devices import (
    GIB,
    LIMIT_VARIABLE,
    Device,
    DeviceKind,
    memory_limit,
    probe_device,
)

CUDA = {
    "kind": "cuda",
    "name": "NVIDIA RTX",
    "total_bytes": 24 * GIB,
    "free_bytes": 22 * GIB,
    "capability": [8, 9],
    "processors": 128,
    "bf16": True,
    "fp8": True,
    "measured_flops": 0.0,
}


class FakeProbe:
    """The other process: what it prints, and how often it was started."""

    def __init__(self) -> None:
        self.output: dict[str, Any] | str | Exception = CUDA
        self.returncode, self.error, self.starts, self.now = 0, "", 0, 1000.0

    def run(self, command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        assert command[1:] == ["-m", "flextraj_backend.models.devices"]
        self.starts += 1
        if isinstance(self.output, Exception):
            raise self.output
        text = self.output if isinstance(self.output, str) else f"a warning\n{json.dumps(self.output)}\n"
        return subprocess.CompletedProcess(command, self.returncode, text, self.error)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeProbe]:
    probe = FakeProbe()
    monkeypatch.setattr(devices.subprocess, "run", probe.run)
    monkeypatch.setattr(devices.time, "monotonic", lambda: probe.now)
    monkeypatch.delenv(LIMIT_VARIABLE, raising=False)
    devices.forget_probe()
    yield probe
    devices.forget_probe()


def test_the_gpu_and_its_free_memory_are_found(fake: FakeProbe) -> None:
    device = probe_device()
    assert (device.kind, device.name, device.capability) == (DeviceKind.CUDA, "NVIDIA RTX", (8, 9))
    assert (device.free_bytes, device.total_bytes) == (22 * GIB, 24 * GIB)
    assert device.memory_name == "GPU memory" and device.bytes_per_value == 2 and device.fp8
    assert device.host_free_bytes > 0


def test_free_memory_is_fresh_and_looking_twice_costs_nothing(fake: FakeProbe) -> None:
    assert probe_device().free_bytes == 22 * GIB
    fake.output = {**CUDA, "free_bytes": 5 * GIB}
    fake.now += 10
    assert probe_device().free_bytes == 22 * GIB and fake.starts == 1
    fake.now += 6
    assert probe_device().free_bytes == 5 * GIB and fake.starts == 2


def test_a_cpu_is_measured_once_and_its_memory_followed(
    fake: FakeProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.output = {**CUDA, "kind": "cpu", "total_bytes": 0, "free_bytes": 0, "measured_flops": 1e11}
    assert probe_device().measured_flops == 1e11
    fake.now += 10_000
    memory = devices.psutil.virtual_memory()._replace(total=8 * GIB, available=3 * GIB)
    monkeypatch.setattr(devices.psutil, "virtual_memory", lambda: memory)
    device = probe_device()
    assert (device.free_bytes, device.total_bytes) == (3 * GIB, 8 * GIB) and fake.starts == 1
    assert device.bytes_per_value == 4 and device.memory_name == "memory"


@pytest.mark.parametrize(
    ("output", "returncode", "error", "words"),
    [
        (subprocess.TimeoutExpired("python", 1), 0, "", "did not answer"),
        (OSError(12, "Cannot allocate memory"), 0, "", "Cannot allocate memory"),
        ("", 1, "Traceback\nImportError: libcudart.so.12: no such file", "libcudart.so.12"),
        ("", -11, "", "exit code -11"),
        ("", 0, "", "no usable answer"),
        ("[]", 0, "", "no usable answer"),
        ('{"kind": "abacus"}', 0, "", "no usable answer"),
    ],
)
def test_a_broken_torch_is_a_reason_and_never_a_crash(
    fake: FakeProbe, output: Any, returncode: int, error: str, words: str
) -> None:
    fake.output, fake.returncode, fake.error = output, returncode, error
    device = probe_device()
    assert device.kind is DeviceKind.NONE and words in device.reason
    assert device.reason.endswith(".") and "\n" not in device.reason
    fake.output, fake.returncode, fake.now = CUDA, 0, fake.now + 16
    assert probe_device().kind is DeviceKind.CUDA, "a mended driver must be found again"


def test_without_torch_nothing_is_started_and_the_command_is_told(
    fake: FakeProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices.importlib.util, "find_spec", lambda _: None)
    device = probe_device()
    assert device.kind is DeviceKind.NONE and fake.starts == 0
    assert "pip install" in device.reason and "[models]" in device.reason


def test_many_windows_that_look_at_once_ask_once(fake: FakeProbe) -> None:
    threads = [threading.Thread(target=probe_device) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert fake.starts == 1


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("6GiB", 6 * GIB),
        ("6 GB", 6 * GIB),
        ("6g", 6 * GIB),
        (" 0.5 GiB ", GIB // 2),
        ("500MiB", 500 << 20),
        ("1048576", 1 << 20),
        ("2048 KiB", 2 << 20),
        ("100B", 100),
    ],
)
def test_a_limit_is_read_as_users_write_it(monkeypatch: pytest.MonkeyPatch, text: str, size: int) -> None:
    monkeypatch.setenv(LIMIT_VARIABLE, text)
    assert memory_limit() == size


@pytest.mark.parametrize("text", ["six", "-1GiB", "0", "6GiBs", "1e9", "GiB", "6 i", "nan"])
def test_a_limit_that_is_no_size_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(LIMIT_VARIABLE, text)
    with pytest.raises(FlexTrajError, match=LIMIT_VARIABLE) as caught:
        memory_limit()
    assert caught.value.code is ErrorCode.REQUEST


@given(st.integers(1, 1 << 60), st.sampled_from(["", "B", " b"]))
def test_any_number_of_bytes_is_a_limit(size: int, unit: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(LIMIT_VARIABLE, f"{size}{unit}")
        read = memory_limit()
    assert read is not None and abs(read - size) <= size * 1e-15


def test_the_limit_caps_what_a_plan_may_use(fake: FakeProbe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIMIT_VARIABLE, "8GiB")
    device = probe_device()
    assert device.free_bytes == device.limit == 8 * GIB and device.total_bytes == 24 * GIB
    assert device.when_idle.free_bytes == 8 * GIB
    monkeypatch.setenv(LIMIT_VARIABLE, "100GiB")
    assert probe_device().free_bytes == 22 * GIB


def test_an_idle_device_has_nearly_all_of_its_memory() -> None:
    busy = Device(DeviceKind.CUDA, "GPU", total_bytes=24 * GIB, free_bytes=GIB)
    assert 21 * GIB < busy.when_idle.free_bytes < 24 * GIB
    assert replace(busy, limit=4 * GIB).when_idle.free_bytes == 4 * GIB


def test_the_real_probe_answers_and_torch_stays_out_of_this_process() -> None:
    program = """
import sys
from flextraj_backend.models.devices import probe_device
device = probe_device()
assert "torch" not in sys.modules
print(device.kind, device.free_bytes, device.measured_flops, device.reason)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    kind, free, speed, *reason = done.stdout.split(maxsplit=3)
    assert kind in ("cpu", "cuda", "mps") and int(free) > 0 and not reason
    assert kind != "cpu" or 1e8 < float(speed) < 1e14


# `flextraj doctor`


@pytest.fixture
def findings(
    fake: FakeProbe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, diagnosis.Finding]]:
    """Of a user with Wan's weights, one LoRA and a GPU."""
    folder = tmp_path / "weights"
    base = build_tiny(Backbone.WAN, folder / "wan/base")
    control = write_tiny_adapter(Backbone.WAN, base, folder / "wan/flextraj_wan.safetensors")
    (folder / "loras").mkdir()
    (folder / "loras/film.safetensors").write_bytes(control.read_bytes())
    monkeypatch.setenv("FLEXTRAJ_WEIGHTS_DIR", str(folder))
    weights = tuple(diagnosis._weights())
    found = (diagnosis._device(), *weights, diagnosis._loras())
    yield {finding.name: finding for finding in found}


def test_doctor_tells_free_memory_weights_and_loras(findings: dict[str, diagnosis.Finding]) -> None:
    assert findings["device"].text == "NVIDIA RTX: 22.0 of 24.0 GiB of GPU memory free"
    wan = findings["weights wan"]
    assert (
        wan.severity is Severity.OK
        and "flextraj_wan.safetensors. With 22.0 GiB of GPU memory free: " in wan.text
    )
    missing = findings["weights cogvideox"]
    assert missing.severity is Severity.OPTIONAL and "flextraj weights fetch cogvideox --to" in missing.fix
    assert findings["LoRAs"].text.startswith("1 (film) in ")


def test_doctor_survives_a_limit_that_is_no_size(fake: FakeProbe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIMIT_VARIABLE, "plenty")
    finding = diagnosis._device()
    assert finding.severity is Severity.WARNING and LIMIT_VARIABLE in finding.fix
