"""`flextraj synthesize` as a process: what a user would lose if ending it were not clean."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import toy_clip_maker

from flextraj_backend.synthesis.shards import ClipStore, dataset_keys

SUPPORT = Path(toy_clip_maker.__file__).parent
CHECKOUT = Path(__file__).resolve().parents[2]
PROGRAM = f"""
import functools, sys
from flextraj_backend.synthesis import pipeline
pipeline.synthesize = functools.partial(pipeline.synthesize, maker={toy_clip_maker.NAME!r})
from flextraj_backend.cli import main
main(sys.argv[1:])
"""
OPTIONS = ("--size", "72x48", "--frames", "9", "--others", "1", "--clips-per-shard", "4")
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start the command on the folder `tmp_path / "data"` with the toy maker."""
    processes: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **behaviour: object) -> subprocess.Popen[str]:
        environment = {
            **os.environ,
            "PYTHONPATH": f"{SUPPORT}{os.pathsep}{CHECKOUT}",
            toy_clip_maker.VARIABLE: json.dumps(behaviour),
        }
        command = [sys.executable, "-c", PROGRAM, "synthesize", "-o", str(tmp_path / "data"), *OPTIONS]
        process = subprocess.Popen(
            [*command, "--progress", "json", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            assert stream is not None
            with contextlib.suppress(OSError):  # what was to be flushed to it
                stream.close()


def read_until(process: subprocess.Popen[str], done: int) -> dict[str, Any]:
    """Read progress until so many clips are done."""
    assert process.stdout is not None
    for line in process.stdout:
        values = json.loads(line)
        if values["done"] >= done:
            return values
    raise AssertionError("the run ended before")


def end(process: subprocess.Popen[str]) -> tuple[list[dict[str, Any]], str]:
    """Wait for the end: the lines that were left, and standard error."""
    assert process.stdout is not None and process.stderr is not None
    lines = [json.loads(line) for line in process.stdout]
    process.wait(60)
    return lines, process.stderr.read()


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def test_a_whole_run_writes_json_lines_only(start: Start, tmp_path: Path) -> None:
    process = start("--clips", "3", "--workers", "2")
    lines, errors = end(process)
    assert process.returncode == 0 and errors == ""
    assert lines[-1]["state"] == "done" and lines[-1]["done"] == 3
    assert {"state", "done", "clips", "clips_per_minute", "eta_seconds", "message"} <= lines[0].keys()
    assert len(dataset_keys(tmp_path / "data")) == 3


@needs_signals
@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM", "stdin"])
def test_a_stopped_run_ends_its_workers_and_tells_how_to_go_on(
    how: str, start: Start, tmp_path: Path
) -> None:
    process = start("--clips", "6", "--workers", "2", seconds=0.2)
    read_until(process, 2)
    workers = workers_of(process)
    assert len(workers) == 2
    if how == "stdin":
        assert process.stdin is not None
        process.stdin.close()
    else:
        process.send_signal(getattr(signal, how))
    lines, errors = end(process)
    assert process.returncode == 130
    assert lines[-1]["state"] == "error"
    assert "run the same command again to go on" in lines[-1]["message"] and lines[-1]["message"] in errors
    assert not psutil.wait_procs(workers, timeout=10)[1]
    again, _ = end(start("--clips", "6"))
    assert again[0]["done"] >= 2 and again[-1]["state"] == "done"
    assert len(list(ClipStore(tmp_path / "data").iterate())) == 6


@needs_signals
def test_workers_of_a_killed_run_do_not_live_on_and_its_clips_are_kept(start: Start, tmp_path: Path) -> None:
    process = start("--clips", "6", seconds=0.2)
    read_until(process, 2)
    workers = workers_of(process)
    process.kill()
    process.wait(10)
    assert workers and not psutil.wait_procs(workers, timeout=10)[1]
    again, _ = end(start("--clips", "6"))
    assert again[0]["done"] >= 2 and again[-1]["state"] == "done"
    assert len(list(ClipStore(tmp_path / "data").iterate())) == 6


def test_failed_clips_are_an_error_for_programs_and_an_exit_code_for_scripts(start: Start) -> None:
    process = start("--clips", "3", fail=[1])
    lines, _ = end(process)
    assert process.returncode == 1
    assert lines[-1]["state"] == "error" and "1 failed" in lines[-1]["message"]


def test_a_refusal_is_one_sentence(start: Start) -> None:
    process = start("--clips", "3", refuse="There is no Blender here: install it.")
    lines, errors = end(process)
    assert process.returncode == 2
    assert errors == "flextraj: There is no Blender here: install it.\n"
    assert (lines[-1]["state"], lines[-1]["code"]) == ("error", "backend")


@needs_signals
def test_a_second_run_in_the_same_folder_is_refused(start: Start) -> None:
    first = start("--clips", "50", seconds=0.2)
    read_until(first, 0)
    second = start("--clips", "50")
    _, errors = end(second)
    assert second.returncode == 2 and "Another run" in errors
    first.send_signal(signal.SIGINT)
    end(first)


@needs_ray
@pytest.mark.slow
def test_a_ray_cluster_makes_the_same_shards_as_this_machine(start: Start, tmp_path: Path) -> None:
    end(start("--clips", "6", "--workers", "2"))
    here = {path.name: path.read_bytes() for path in (tmp_path / "data" / "shards").iterdir()}
    (tmp_path / "data").rename(tmp_path / "here")
    process = start("--clips", "6", "--workers", "2", "--ray", "local", fail=[1], die=[3], once=str(tmp_path))
    lines, _ = end(process)
    assert (process.returncode, lines[-1]["state"]) == (0, "done")
    assert {path.name: path.read_bytes() for path in (tmp_path / "data" / "shards").iterdir()} == here


@needs_ray
@needs_signals
@pytest.mark.slow
def test_a_run_on_ray_ends_as_cleanly_as_one_on_this_machine(start: Start) -> None:
    process = start("--clips", "20", "--ray", "local", "--workers", "1", seconds=0.3)
    read_until(process, 1)
    process.send_signal(signal.SIGTERM)
    lines, errors = end(process)
    assert process.returncode == 130
    assert lines[-1]["state"] == "error" and lines[-1]["message"] in errors


@needs_ray
def test_a_cluster_that_is_not_there_is_a_sentence(start: Start) -> None:
    process = start("--clips", "1", "--ray", "127.0.0.1:1")
    _, errors = end(process)
    assert process.returncode == 2 and "does not answer" in errors
