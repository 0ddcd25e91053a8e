"""Which files of the data folder go: what a user would lose too early, or a disk would keep for ever."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from blender_addon.client.messages import JobState
from blender_addon.core.request import RenderRequest
from flextraj_backend.server.asset_store import AssetStore
from flextraj_backend.server.job_folder import JobFolder
from flextraj_backend.server.job_store import JobStore, Owner
from flextraj_backend.server.job_table import UnknownJob
from flextraj_backend.server.pruning import KeepRule, Pruner

DAY = 86_400.0
KIB = 1 << 10


@dataclass
class DataFolder:
    """A data folder whose things can be made older."""

    path: Path
    store: JobStore
    assets: AssetStore
    job_ids: list[str] = field(default_factory=list)

    @property
    def jobs(self) -> Path:
        return self.path / "jobs"

    def upload(self, data: bytes, days_ago: float = 0.0) -> str:
        sha256 = hashlib.sha256(data).hexdigest()
        path = self.path / "assets" / sha256[:2] / sha256
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self.age(path, days_ago)
        return sha256

    def age(self, path: Path, days: float) -> None:
        time = path.stat().st_mtime - days * DAY
        os.utime(path, (time, time))

    def add_job(self, name: str, photo: bytes = b"photo") -> JobFolder:
        request = RenderRequest(self.upload(b"shot of " + name.encode()), self.upload(photo))
        folder = JobFolder(self.jobs / name)
        folder.create(request, self.assets.path)
        self.store.add(name, request, None)
        return folder

    def end_job(self, name: str, size: int, days_ago: float) -> None:
        assert self.store.claim_next() == name
        (self.jobs / name / "video.mp4").write_bytes(bytes(size))
        self.store.finish(name, JobState.SUCCEEDED)
        with self.store._transaction() as database:
            database.execute("UPDATE jobs SET finished = finished - ? WHERE id = ?", (days_ago * DAY, name))

    def prune(self, max_days: float = 0, max_kib: float = 0) -> int:
        rule = KeepRule.from_options(max_days, max_kib / KIB / KIB)
        return Pruner(self.store, self.assets, self.jobs, rule).prune()

    def left(self) -> tuple[set[str], int]:
        """Names of the job folders, and the number of uploads."""
        return {path.name for path in self.jobs.iterdir()}, len(list(self.assets.files()))


@pytest.fixture
def data(tmp_path: Path) -> Iterator[DataFolder]:
    (tmp_path / "jobs").mkdir()
    store = JobStore(tmp_path / "jobs.sqlite", Owner.this_process())
    yield DataFolder(tmp_path, store, AssetStore(tmp_path / "assets"))
    store.close()


def test_old_jobs_and_uploads_go_and_younger_ones_stay(data: DataFolder) -> None:
    for name, days in (("old", 31.0), ("young", 29.0)):
        data.add_job(name)
        data.end_job(name, 10, days)
    data.upload(b"an old photo", days_ago=31)
    assert data.prune(max_days=30) == 2
    assert data.left() == ({"young"}, 3)
    with pytest.raises(UnknownJob):
        data.store.get("old")
    assert data.store.get("young").state is JobState.SUCCEEDED


def test_queued_and_running_jobs_keep_everything_however_old_and_large(data: DataFolder) -> None:
    for name in ("running", "queued"):
        folder = data.add_job(name)
        for path in (folder.path, *folder.inputs.iterdir()):
            data.age(path, 400)
    assert data.store.claim_next() == "running"
    before = data.left()
    assert data.prune(max_days=1, max_kib=0.001) == 0
    assert data.left() == before == ({"running", "queued"}, 3)


def test_a_job_of_another_blenders_backend_is_not_touched(data: DataFolder) -> None:
    parent = psutil.Process(os.getppid())
    other = JobStore(data.path / "jobs.sqlite", Owner.of(parent))
    mine, data.store = data.store, other
    data.age(data.add_job("theirs").path, 400)
    data.store = mine
    assert data.prune(max_days=1, max_kib=0.001) == 0
    assert data.left() == ({"theirs"}, 2)
    other.close()


def test_too_much_data_goes_from_its_oldest_end_until_it_fits(data: DataFolder) -> None:
    for number in range(5):
        data.add_job(f"job{number}")
        data.end_job(f"job{number}", 100 * KIB, 10.0 - number)
    assert data.prune(max_kib=250) == 3
    assert data.left()[0] == {"job3", "job4"}
    assert data.prune(max_kib=250) == 0


def test_a_photo_that_kept_jobs_share_is_counted_once_and_stays(data: DataFolder) -> None:
    photo = bytes(range(256)) * 4 * 100
    for number in range(3):
        data.age(data.add_job(f"job{number}", photo).image, 9)
        data.end_job(f"job{number}", KIB, 5.0 - number)
    assert data.prune(max_kib=110) == 0
    assert data.left() == ({"job0", "job1", "job2"}, 4)


def test_what_was_just_made_or_used_stays_even_where_nothing_may_be_kept(data: DataFolder) -> None:
    data.add_job("fresh")
    data.end_job("fresh", 100 * KIB, 0)
    sha256 = data.upload(b"an old photo that is asked for again", days_ago=100)
    data.assets.path(sha256)
    assert data.prune(max_days=1, max_kib=0.001) == 0


def test_without_limits_nothing_goes(data: DataFolder) -> None:
    data.add_job("ancient")
    data.end_job("ancient", 100 * KIB, 4000)
    assert data.prune() == 0


def test_what_crashes_left_behind_goes(data: DataFolder) -> None:
    orphan = data.jobs / "never-queued"
    orphan.mkdir()
    (orphan / "request.json").write_text("{}")
    broken_off = data.path / "assets" / ".upload-1"
    broken_off.write_bytes(b"half a photo")
    for path in (orphan, broken_off):
        data.age(path, 2)
    data.add_job("without-folder")
    data.end_job("without-folder", 1, 2)
    shutil.rmtree(data.jobs / "without-folder")
    assert data.prune(max_days=1) == 3
    assert data.left()[0] == set()
    assert not broken_off.exists()


def test_a_job_that_is_retried_at_this_moment_is_not_removed(
    data: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    data.add_job("job")
    data.store.claim_next()
    data.store.finish("job", JobState.INTERRUPTED)
    finished = data.store.finished

    def retry_meanwhile() -> dict[str, float]:
        found = finished()
        data.store.retry("job")
        return dict.fromkeys(found, 0.0)

    unfinished = data.store.unfinished()
    monkeypatch.setattr(data.store, "finished", retry_meanwhile)
    monkeypatch.setattr(data.store, "unfinished", lambda: unfinished)
    data.prune(max_days=1)
    assert (data.jobs / "job" / "request.json").is_file()
    assert data.store.get("job").state is JobState.QUEUED
