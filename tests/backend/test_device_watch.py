"""The device in the panel: a slow driver must not hold up the server, nor be asked all the time."""

from __future__ import annotations

import sys
import threading
import time
from types import SimpleNamespace

import pytest

from blender_addon.client.messages import DeviceInfo
from flextraj_backend.server.device import DeviceWatch, probe

MODULE = "flextraj_backend.models.devices"


def wait_for_answer(watch: DeviceWatch) -> DeviceInfo:
    deadline = time.monotonic() + 10
    while (device := watch.look()).is_being_asked:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return device


def test_a_slow_driver_is_asked_once_for_many_windows_and_nobody_waits_for_it() -> None:
    now, asked, may_answer = 0.0, 0, threading.Event()

    def ask() -> DeviceInfo:
        nonlocal asked
        asked += 1
        may_answer.wait(10)
        return DeviceInfo("GPU", "GPU memory", 100, 100 - asked)

    watch = DeviceWatch(ask, lambda: now)
    assert [watch.look() for _ in range(3)] == [DeviceInfo(is_being_asked=True)] * 3
    may_answer.set()
    assert wait_for_answer(watch) == DeviceInfo("GPU", "GPU memory", 100, 99)
    now = 14.0
    assert watch.look().free_bytes == 99 and asked == 1
    now = 16.0
    assert watch.look() == DeviceInfo("GPU", "GPU memory", 100, 99, is_being_asked=True)
    assert wait_for_answer(watch).free_bytes == 98


def test_a_driver_that_fails_is_asked_again_later() -> None:
    now = 0.0
    answers = [DeviceInfo("GPU")]

    def ask() -> DeviceInfo:
        if now == 0.0:
            raise OSError
        return answers[0]

    watch = DeviceWatch(ask, lambda: now)
    assert wait_for_answer(watch) == DeviceInfo()
    now = 16.0
    watch.look()
    assert wait_for_answer(watch) == DeviceInfo("GPU")


@pytest.mark.parametrize(
    ("found", "shown"),
    [
        (
            SimpleNamespace(name="RTX", memory_name="GPU memory", total_bytes=9, free_bytes=5, reason=""),
            DeviceInfo("RTX", "GPU memory", 9, 5),
        ),
        (
            SimpleNamespace(
                name="none", memory_name="memory", total_bytes=0, free_bytes=0, reason="No torch."
            ),
            DeviceInfo(reason="No torch."),
        ),
    ],
)
def test_what_the_probe_finds_is_shown(
    monkeypatch: pytest.MonkeyPatch, found: SimpleNamespace, shown: DeviceInfo
) -> None:
    monkeypatch.setitem(sys.modules, MODULE, SimpleNamespace(probe_device=lambda: found))  # type: ignore[arg-type]
    assert probe() == shown


def test_a_backend_without_the_probe_still_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, MODULE, None)
    assert probe() == DeviceInfo()
