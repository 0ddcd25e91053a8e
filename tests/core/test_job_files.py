"""A job's files: its record, and the pictures of its video."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from job_fakes import (
    SUCCEEDED,
    UNKNOWN,
    FakeBackend,
    FakeService,
    die,
    found_by,
    order_in,
    tiny_set,
    until_finished,
    wait_until,
)

from blender_addon.client.job_folder import unpack_frames, with_files
from blender_addon.client.job_records import JobRecords
from blender_addon.client.job_reports import (
    BlendFile,
    JobReport,
    JobStage,
    RenderOrder,
    TroubleReport,
)
from blender_addon.client.job_runner import JobRunner
from blender_addon.core.errors import ErrorCode, FlexTrajError

Start = Callable[[FakeBackend], JobRunner]


# Pictures


def pictures(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"png")
    return buffer.getvalue()


def test_the_pictures_of_a_video_come_on_request_and_are_found_again(
    start: Start, order: RenderOrder
) -> None:
    service = FakeService(SUCCEEDED)
    service.frames = lambda archive: archive.write_bytes(pictures("0001.png", "0002.png"))  # type: ignore[assignment]
    runner = start(FakeBackend(service))
    runner.submit(order, tiny_set())
    until_finished(runner)
    runner.fetch_frames(order.key)
    last = until_finished(runner)[-1]
    assert (last.stage, last.frames) == (JobStage.DONE, order.folder / "frames")
    assert sorted(path.name for path in (order.folder / "frames").iterdir()) == ["0001.png", "0002.png"]
    assert not list(order.folder.glob(".*"))
    die(runner)
    assert found_by(start(FakeBackend(FakeService())))[order.key].frames == order.folder / "frames"


def test_pictures_that_the_backend_does_not_keep_leave_the_job_as_it_is(
    start: Start, order: RenderOrder
) -> None:
    service = FakeService(SUCCEEDED)
    service.frames_error = UNKNOWN
    runner = start(FakeBackend(service))
    runner.submit(order, tiny_set())
    done = until_finished(runner)[-1]
    runner.fetch_frames(order.key)
    reports: list[object] = []
    wait_until(lambda: reports.extend(runner.drain()) or not runner.has_work)
    assert reports[-1] == done
    trouble = next(report for report in reports if isinstance(report, TroubleReport))
    assert "load it as a movie instead" in trouble.message


@pytest.mark.parametrize("names", [("../0001.png",), ("/0001.png",), ("0001.png", "evil.sh"), ()])
def test_an_archive_that_would_write_elsewhere_is_refused_as_a_whole(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    archive = tmp_path / "frames.zip"
    archive.write_bytes(pictures(*names))
    folder = tmp_path / "job"
    folder.mkdir()
    with pytest.raises(FlexTrajError, match="cannot be read"):
        unpack_frames(archive, folder)
    assert list(folder.iterdir()) == []


def test_a_folder_called_frames_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "mine.txt").write_text("mine")
    (tmp_path / "frames.zip").write_bytes(pictures("0001.png"))
    unpacked = unpack_frames(tmp_path / "frames.zip", tmp_path)
    assert unpacked != tmp_path / "frames"
    assert (tmp_path / "frames" / "mine.txt").read_text() == "mine"


# Records


texts = st.text(max_size=20)
stages = st.sampled_from(JobStage)


@given(title=texts, message=texts, stage=stages, path=texts, ids=st.frozensets(texts, max_size=3))
def test_a_record_says_all_that_was_known(
    tmp_path_factory: pytest.TempPathFactory,
    title: str,
    message: str,
    stage: JobStage,
    path: str,
    ids: frozenset[str],
) -> None:
    folder = tmp_path_factory.mktemp("records")
    order = replace(order_in(folder), title=title, file=BlendFile(path, ids))
    report = JobReport(
        order, stage, job_id="job1", message=message, code=ErrorCode.MEMORY, warnings=("One.", "Two.")
    )
    JobRecords(folder / "records").write(report)
    assert JobRecords(folder / "records").read() == [report]


def test_a_damaged_record_hides_no_other(records: JobRecords, order: RenderOrder, tmp_path: Path) -> None:
    records.write(JobReport(order, JobStage.DONE))
    good = (tmp_path / "records" / f"{order.key}.json").read_text()
    spoilt = {
        "half": good[: len(good) // 2],
        "list": "[]",
        "newer": good.replace('"schema_version": 1', '"schema_version": 2'),
        "setting": good.replace('"seed"', '"seed of tomorrow"'),
        "escape": good.replace(order.key, "../../escape"),
        "stage": good.replace('"done"', '"unheard of"'),
    }
    for name, text in spoilt.items():
        assert text != good
        (tmp_path / "records" / f"{name}.json").write_text(text)
    assert [report.key for report in records.read()] == [order.key]


def test_a_record_of_an_earlier_protocol_is_still_read(
    records: JobRecords, order: RenderOrder, tmp_path: Path
) -> None:
    records.write(JobReport(order, JobStage.DONE))
    path = tmp_path / "records" / f"{order.key}.json"
    values = json.loads(path.read_text())
    values["request"]["protocol"] = 1
    path.write_text(json.dumps(values))
    assert [report.order for report in records.read()] == [order]


def test_a_record_folder_that_cannot_be_written_does_not_end_a_job(
    start: Start, order: RenderOrder, tmp_path: Path
) -> None:
    (tmp_path / "records").write_text("a file is in the way")
    runner = start(FakeBackend(FakeService(SUCCEEDED)))
    runner.submit(order, tiny_set())
    assert until_finished(runner)[-1].stage is JobStage.DONE


def test_a_job_on_a_network_drive_that_is_gone_hides_no_other(
    order: RenderOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(self: Path) -> bool:
        raise PermissionError(13, "gone")

    monkeypatch.setattr(Path, "exists", gone)
    monkeypatch.setattr(Path, "is_dir", gone)
    monkeypatch.setattr(Path, "is_file", gone)
    found = with_files(JobReport(order, JobStage.DONE))
    assert (found.stage, found.folder, found.video) == (JobStage.LOST, None, None)
