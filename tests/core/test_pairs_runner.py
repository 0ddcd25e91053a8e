"""The child that generates pairs: what would be lost, left running or left waiting."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from fake_backend_python import FakeSynthesize, fake_synthesize

from blender_addon.client.dataset_folder import FolderReport
from blender_addon.client.pairs_runner import PairsOrder, PairsReport, PairsRunner, PairsStage
from blender_addon.client.pairs_texts import end_phrase, progress_phrase, speed_phrase
from blender_addon.core.errors import ErrorCode
from blender_addon.core.training_pairs import PairsRequest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the fake interpreter is a shell script")
PATIENCE = 20.0


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSynthesize:
    return fake_synthesize(tmp_path / "fake", monkeypatch)


@pytest.fixture
def runner() -> Iterator[PairsRunner]:
    made = PairsRunner(patience=0.5)
    yield made
    made.close(5.0)


@pytest.fixture
def order(tmp_path: Path) -> PairsOrder:
    return PairsOrder(PairsRequest(tmp_path / "my pairs", clips=3))


def wait_until(condition: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, what
        time.sleep(0.01)


def reports_to_the_end(runner: PairsRunner) -> tuple[list[PairsReport], FolderReport]:
    """All reports of a generation, and what lies in the folder after it."""
    told: list[PairsReport] = []
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        for report in runner.wait(0.1):
            if isinstance(report, FolderReport):
                return told, report
            told.append(report)
    raise AssertionError("the generation has no end")


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def begin_hanging(runner: PairsRunner, fake: FakeSynthesize, order: PairsOrder, way: str) -> int:
    """Start a child that does not end by itself; return its process id."""
    fake.behave(way)
    runner.start(order)
    wait_until(lambda: (order.request.folder / "clips.jsonl").exists(), "the first clip")
    return fake.told()["pid"]


def test_a_generation_tells_each_clip_and_then_the_dataset(
    runner: PairsRunner, fake: FakeSynthesize, order: PairsOrder
) -> None:
    runner.start(order)
    told, folder = reports_to_the_end(runner)
    assert [report.stage.value for report in told] == ["starting", "running", "running", "running", "done"]
    assert [report.progress.done for report in told] == [0, 1, 2, 3, 3]
    assert (folder.clips, folder.contact_sheet) == (3, order.request.folder / "contact_sheet.png")
    assert fake.told()["arguments"] == ["-m", "flextraj_backend", "synthesize", *order.request.arguments()]
    assert not runner.is_running
    wait_until(lambda: not runner.has_work, "the end of the threads")


def test_the_panel_reads_clips_speed_and_time_left(
    runner: PairsRunner, fake: FakeSynthesize, order: PairsOrder
) -> None:
    runner.start(order)
    told, _ = reports_to_the_end(runner)
    texts = [
        [phrase.pattern.format(**dict(phrase.places)) for phrase in phrases if phrase is not None]
        for phrases in (
            (progress_phrase(report), speed_phrase(report), end_phrase(report)) for report in told
        )
    ]
    assert texts[0] == ["Starting…"]
    assert texts[1] == ["1 of 3 clips", "120 clips a minute, 1 s left"]
    assert texts[-1] == ["3 of 3 clips", "Done; finished clips: 3"]


def test_cancel_ends_the_child_and_keeps_finished_clips(
    runner: PairsRunner, fake: FakeSynthesize, order: PairsOrder
) -> None:
    pid = begin_hanging(runner, fake, order, "hang")
    runner.cancel()
    told, folder = reports_to_the_end(runner)
    assert told[-1].stage is PairsStage.CANCELLED and told[-1].error is None
    assert folder.clips >= 1
    wait_until(lambda: is_gone(pid), "the end of the child")


def test_a_child_that_does_not_listen_is_killed(
    runner: PairsRunner, fake: FakeSynthesize, order: PairsOrder
) -> None:
    pid = begin_hanging(runner, fake, order, "deaf")
    runner.cancel()
    told, _ = reports_to_the_end(runner)
    assert told[-1].stage is PairsStage.CANCELLED
    wait_until(lambda: is_gone(pid), "the end of the child")


def test_disabling_the_addon_leaves_no_child(
    runner: PairsRunner, fake: FakeSynthesize, order: PairsOrder
) -> None:
    pid = begin_hanging(runner, fake, order, "hang")
    runner.close(0.0)
    wait_until(lambda: is_gone(pid), "the end of the child")


def test_a_cancel_before_the_child_runs_is_not_forgotten(
    runner: PairsRunner, fake: FakeSynthesize, order: PairsOrder
) -> None:
    fake.behave("hang")
    runner.start(order)
    runner.cancel()
    assert reports_to_the_end(runner)[0][-1].stage is PairsStage.CANCELLED


@pytest.mark.parametrize(("done", "failed", "stage"), [(3, 0, "done"), (2, 1, "done"), (2, 0, "cancelled")])
def test_a_child_that_ends_early_in_good_order_is_not_taken_for_a_finished_dataset(
    runner: PairsRunner, fake: FakeSynthesize, order: PairsOrder, done: int, failed: int, stage: str
) -> None:
    line = f'{{"state": "done", "done": {done}, "failed": {failed}, "clips": 3}}'
    fake.python.write_text(f"#!/bin/sh\necho '{line}'\nexit {1 if failed else 0}\n", "utf-8")
    runner.start(order)
    last = reports_to_the_end(runner)[0][-1]
    assert last.stage.value == stage
    phrase = end_phrase(last)
    assert phrase is not None
    assert ("failed" in phrase.pattern) == bool(failed)


@pytest.mark.parametrize(
    ("way", "sentence", "code"),
    [
        ("refuse", "The folder is of another seed: choose another folder.", ErrorCode.REQUEST),
        ("error", "The GPU is gone: use the fast renderer.", ErrorCode.REQUEST),
        ("crash", "The generation of pairs stopped (exit code 7): Something broke.", ErrorCode.DEFECT),
    ],
)
def test_a_failure_is_one_sentence(
    runner: PairsRunner, fake: FakeSynthesize, order: PairsOrder, way: str, sentence: str, code: ErrorCode
) -> None:
    fake.behave(way)
    runner.start(order)
    last = reports_to_the_end(runner)[0][-1]
    assert last.stage is PairsStage.FAILED and last.error is not None
    assert (last.error.message, last.error.code) == (sentence, code)


def test_a_folder_with_other_files_starts_no_child(
    runner: PairsRunner, fake: FakeSynthesize, order: PairsOrder
) -> None:
    order.request.folder.mkdir()
    (order.request.folder / "thesis.doc").touch()
    runner.start(order)
    last = reports_to_the_end(runner)[0][-1]
    assert last.error is not None and last.error.code is ErrorCode.PAIRS_FOLDER
    assert not fake.heard.exists()


@pytest.mark.parametrize(
    ("complaint", "code"),
    [
        ("python: No module named flextraj_backend", ErrorCode.BACKEND_MISSING),
        ("Error: No such command 'synthesize'.", ErrorCode.BACKEND_VERSION),
    ],
)
def test_a_python_without_this_command_has_a_button_that_helps(
    runner: PairsRunner, fake: FakeSynthesize, order: PairsOrder, complaint: str, code: ErrorCode
) -> None:
    fake.python.write_text(f'#!/bin/sh\necho "{complaint}" >&2\nexit 2\n', "utf-8")
    runner.start(order)
    error = reports_to_the_end(runner)[0][-1].error
    assert error is not None and error.code is code


def test_an_interpreter_that_cannot_be_run_is_told(
    runner: PairsRunner, fake: FakeSynthesize, order: PairsOrder
) -> None:
    fake.python.chmod(0o600)
    fake.python.write_bytes(b"")
    runner.start(order)
    error = reports_to_the_end(runner)[0][-1].error
    assert error is not None and error.code is ErrorCode.BACKEND_MISSING


def test_pairs_can_be_generated_again_after_every_end(
    runner: PairsRunner, fake: FakeSynthesize, order: PairsOrder
) -> None:
    for way, stage in (
        ("crash", PairsStage.FAILED),
        ("finish", PairsStage.DONE),
        ("finish", PairsStage.DONE),
    ):
        fake.behave(way)
        runner.start(order)
        assert reports_to_the_end(runner)[0][-1].stage is stage
