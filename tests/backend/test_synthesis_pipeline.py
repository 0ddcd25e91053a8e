"""Making data sets: what a night of rendering is worth if runs cannot be stopped, resumed and trusted."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import toy_clip_maker

from blender_addon.core.errors import ErrorCode, FlexTrajError
from flextraj_backend.synthesis import dataset_folder
from flextraj_backend.synthesis.dataset_folder import DatasetFolder, locked, read_description
from flextraj_backend.synthesis.pipeline import synthesize
from flextraj_backend.synthesis.plan import SynthesisSettings, other_casts, plan_clip
from flextraj_backend.synthesis.run import StoppedError, SynthesisProgress
from flextraj_backend.synthesis.run_reports import JsonReporter
from flextraj_backend.synthesis.scene import SceneOptions
from flextraj_backend.synthesis.shards import ClipStore, dataset_keys

SUPPORT = Path(toy_clip_maker.__file__).parent
CHECKOUT = Path(__file__).resolve().parents[2]
SETTINGS = SynthesisSettings(
    seed=3, scene=SceneOptions(width=72, height=48, frames=9), others=1, pair_size=2, clips_per_shard=4
)


@pytest.fixture(autouse=True)
def toy_maker_in_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{SUPPORT}:{CHECKOUT}")
    monkeypatch.delenv(toy_clip_maker.VARIABLE, raising=False)


class Run:
    """Makes a data set of toy clips and keeps what was reported."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[dict[str, object]] = []
        self.stop = threading.Event()
        self.stop_after: int | None = None

    def __call__(
        self, clips: int = 6, workers: int = 1, settings: SynthesisSettings = SETTINGS
    ) -> SynthesisProgress:
        return synthesize(
            self.path,
            settings,
            clips,
            workers,
            None,
            JsonReporter(self._on_line),
            self.stop,
            maker=toy_clip_maker.NAME,
        )

    def _on_line(self, line: str) -> None:
        self.lines.append(json.loads(line))
        if self.stop_after is not None and self.lines[-1]["done"] == self.stop_after:
            self.stop.set()

    def shards(self) -> dict[str, str]:
        return {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in [*(self.path / "shards").iterdir(), self.path / "clips.jsonl"]
        }


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "data")


@pytest.fixture
def behave(monkeypatch: pytest.MonkeyPatch):
    def behave(**behaviour: object) -> None:
        monkeypatch.setenv(toy_clip_maker.VARIABLE, json.dumps(behaviour))

    return behave


def test_a_finished_data_set_has_everything_and_nothing_else(run: Run) -> None:
    progress = run(6, workers=2)
    assert (progress.done, progress.failed, progress.clips) == (6, 0, 6)
    names = {path.name for path in run.path.iterdir()}
    assert names == {"shards", "clips.jsonl", "dataset.json", "contact_sheet.png"}
    assert sorted(path.name for path in (run.path / "shards").iterdir()) == [
        "train-000000.tar",
        "train-000001.tar",
    ]
    assert [clip.key for clip in ClipStore(run.path).iterate()] == [f"clip{i:06d}" for i in range(6)]
    description = read_description(run.path)
    assert (description.clips, description.finished, description.settings) == (6, 6, SETTINGS)


def test_programs_read_the_progress_as_json_lines(run: Run) -> None:
    run(3)
    assert [line["state"] for line in run.lines] == ["running"] * 4 + ["done"]
    assert [line["done"] for line in run.lines] == [0, 1, 2, 3, 3]
    last = run.lines[-2]
    assert last["clips"] == 3 and last["clips_per_minute"] > 0 and last["eta_seconds"] == 0  # pyright: ignore[reportOperatorIssue]
    assert run.lines[0]["eta_seconds"] is None and "3 of 3 clips" in str(run.lines[-1]["message"])


def test_the_number_of_workers_does_not_change_a_byte(run: Run, tmp_path: Path) -> None:
    run(7, workers=1)
    other = Run(tmp_path / "other")
    other(7, workers=3)
    assert run.shards() == other.shards()


def test_a_stopped_run_goes_on_where_it_was_and_ends_with_the_same_bytes(run: Run, tmp_path: Path) -> None:
    run.stop_after = 3
    with pytest.raises(StoppedError, match="3 of 7 clips are done and kept; run the same command again"):
        run(7)
    assert run.lines[-1]["state"] == "error" and "Stopped" in str(run.lines[-1]["message"])
    resumed = Run(run.path)
    resumed(7)
    assert resumed.lines[0]["done"] == 3
    whole = Run(tmp_path / "whole")
    whole(7)
    assert resumed.shards() == whole.shards()
    assert not (run.path / "unfinished").exists()


def test_clips_can_be_added_and_the_old_ones_stay(run: Run, tmp_path: Path) -> None:
    run(5)
    first = ClipStore(run.path).read_packed("clip000004").sha256
    run(7)
    assert run.lines[-2]["done"] == 7 and len(dataset_keys(run.path)) == 7
    assert ClipStore(run.path).read_packed("clip000004").sha256 == first
    whole = Run(tmp_path / "whole")
    whole(7)
    assert run.shards() == whole.shards()


def test_a_finished_run_has_nothing_to_do(run: Run) -> None:
    run(4)
    before = run.shards()
    assert run(4).done == 4
    assert run.shards() == before


def test_a_crash_between_shard_and_index_loses_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run(5)
    calls = iter(range(100))

    def crash(*arguments: object) -> None:
        if next(calls) == 1:
            raise KeyboardInterrupt
        write_index(*arguments)  # pyright: ignore[reportArgumentType]

    write_index = dataset_folder.write_index
    monkeypatch.setattr(dataset_folder, "write_index", crash)
    with pytest.raises(KeyboardInterrupt):
        run(8)
    monkeypatch.undo()
    monkeypatch.setenv("PYTHONPATH", f"{SUPPORT}:{CHECKOUT}")
    assert run(8).done == 8
    assert [clip.key for clip in ClipStore(run.path).iterate()] == [f"clip{i:06d}" for i in range(8)]


@pytest.mark.parametrize(
    ("settings", "option"),
    [
        (replace(SETTINGS, seed=4), "--seed"),
        (replace(SETTINGS, scene=replace(SETTINGS.scene, width=80)), "--size"),
        (replace(SETTINGS, scene=replace(SETTINGS.scene, frames=17)), "--frames"),
        (replace(SETTINGS, others=2), "--others"),
        (replace(SETTINGS, pair_size=1), "--pair-size"),
        (replace(SETTINGS, clips_per_shard=5), "--clips-per-shard"),
    ],
)
def test_other_settings_never_mix_into_a_data_set(run: Run, settings: SynthesisSettings, option: str) -> None:
    run(1)
    with pytest.raises(FlexTrajError, match=f"begun with another {option}: give the same one to go on"):
        run(2, settings=settings)
    assert len(dataset_keys(run.path)) == 1


def test_a_folder_with_other_files_is_left_alone(run: Run) -> None:
    run.path.mkdir()
    (run.path / "thesis.txt").write_text("important")
    with pytest.raises(FlexTrajError, match="holds other files"):
        run(1)
    assert [path.name for path in run.path.iterdir()] == ["thesis.txt"]


def test_two_runs_do_not_write_into_one_folder(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.path.mkdir()
    with locked(run.path):
        monkeypatch.setattr("os.getpid", lambda: 1)
        with pytest.raises(FlexTrajError, match="Another run"), locked(run.path):
            pass


def test_the_lock_of_a_run_that_is_gone_does_not_lock_the_user_out(run: Run) -> None:
    run.path.mkdir()
    (run.path / ".running").write_text("999999999 1")
    assert run(1).done == 1


def test_a_clip_that_fails_once_or_whose_worker_dies_once_is_made_again(
    run: Run, behave, tmp_path: Path
) -> None:
    behave(fail=[1], die=[2], **{"raise": [3], "once": str(tmp_path)})
    assert run(5, workers=2).failed == 0
    assert len(dataset_keys(run.path)) == 5


def test_a_clip_that_cannot_be_made_is_recorded_and_the_run_goes_on(run: Run, behave) -> None:
    behave(fail=[1], die=[4], **{"raise": [5]})
    progress = run(7)
    assert (progress.done, progress.failed) == (4, 3)
    failures = [json.loads(line) for line in (run.path / "failures.jsonl").read_text().splitlines()]
    assert [failure["key"] for failure in failures] == ["clip000001", "clip000004", "clip000005"]
    assert failures[0]["sentence"] == "This character has lost its head: draw another one."
    assert "killed" in failures[1]["sentence"] and "KeyError" in failures[2]["sentence"]
    assert "noise on standard output" in (run.path / "workers.log").read_text()
    behave()
    assert run(7).done == 7
    assert len(dataset_keys(run.path)) == 7
    assert not (run.path / "failures.jsonl").exists() and not (run.path / "workers.log").exists()


def test_a_run_whose_clips_all_fail_ends_with_the_reason(run: Run, behave) -> None:
    behave(fail=list(range(50)))
    with pytest.raises(FlexTrajError, match=r"first 10 clips all failed.*lost its head"):
        run(50)


def test_a_machine_that_cannot_make_clips_says_so_at_once(run: Run, behave) -> None:
    behave(refuse="There is no Blender here: install it.")
    with pytest.raises(FlexTrajError, match="There is no Blender here"):
        run(2)
    assert run.lines[-1]["message"] == "There is no Blender here: install it."


def test_a_full_disk_stops_the_run_and_keeps_what_is_done(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 0
    write_bytes = dataset_folder.write_bytes

    def write_or_fail(path: Path, data: bytes) -> Path:
        nonlocal count
        count += 1
        if count == 3:
            raise FlexTrajError(f"{path} cannot be written (No space left on device).", ErrorCode.DISK)
        return write_bytes(path, data)

    monkeypatch.setattr(dataset_folder, "write_bytes", write_or_fail)
    with pytest.raises(FlexTrajError, match="No space left"):
        run(5)
    assert run.lines[-1]["state"] == "error" and run.lines[-1]["done"] == 2
    assert run(5).done == 5


def test_every_clip_has_the_tracks_of_others_of_its_group() -> None:
    settings = replace(SETTINGS, others=2, pair_size=3)
    tasks = [plan_clip(settings, index) for index in range(6)]
    assert [task.pair_group for task in tasks] == ["group000000"] * 3 + ["group000001"] * 3
    assert [other_casts(settings, task) for task in tasks[:3]] == [(1, 2), (2, 0), (0, 1)]
    alone = replace(SETTINGS, others=2, pair_size=1)
    assert other_casts(alone, plan_clip(alone, 5)) == (1, 2)
    crowd = replace(SETTINGS, others=1, pair_size=4)
    assert other_casts(crowd, plan_clip(crowd, 3)) == (0,)


@pytest.mark.parametrize("change", [{"seed": -1}, {"others": -1}, {"others": 17}, {"pair_size": 0}])
def test_impossible_settings_are_refused_by_their_option(change: dict[str, int]) -> None:
    with pytest.raises(FlexTrajError, match="--" + next(iter(change)).replace("_", "-")):
        replace(SETTINGS, **change)  # pyright: ignore[reportArgumentType]


def test_missing_clips_are_known_without_reading_a_shard(run: Run) -> None:
    run(3)
    assert DatasetFolder(run.path, SETTINGS, 6).missing() == [3, 4, 5]
