"""A study of toy size: what it trains, measures, writes and goes on with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy_clip_maker
from rich.console import Console
from tiny_study import HELD_OUT, tiny_study, write_tiny_study
from toy_clips import toy_clip
from toy_mini import write_toy_mini

from blender_addon.core.errors import ErrorCode, FlexTrajError
from flextraj_backend.cli import main
from flextraj_backend.engines.mini import weights as mini_weights
from flextraj_backend.engines.mini.weights import MINI_VARIABLE
from flextraj_backend.models import weights as stored_weights
from flextraj_backend.study import conduct as conduct_module
from flextraj_backend.study import runs as runs_module
from flextraj_backend.study.cache_check import CacheComparison
from flextraj_backend.study.conduct import StudyProgress, StudyResult, check_cache, conduct
from flextraj_backend.study.figures import ALIGNED, STUDY_TASKS, TRAJ_ERR, TRAJ_SIM, Measure
from flextraj_backend.study.mini_check import check_mini, held_out_settings, write_check
from flextraj_backend.study.report import write_report
from flextraj_backend.study.runs import running_mean
from flextraj_backend.study.study_clips import base_clips, unseen
from flextraj_backend.study.study_settings import study_settings
from flextraj_backend.study.table import detail_tables, main_table, paper_table, print_tables
from flextraj_backend.study.trackable import LARGEST_ERROR, trackable_samples
from flextraj_backend.study.variants import Baseline, Variant
from flextraj_backend.training.augmentation import draw_choices
from flextraj_backend.training.clip_conditioning import condition_clip, kept_samples
from flextraj_backend.training.tasks import BackgroundPoints, ControlTask, only
from flextraj_backend.training.train_reports import StepReport
from flextraj_backend.training.train_settings import FuseStart, TrainSettings

VARIANTS = ("full", "random_mix", "controlnet", "no_cache")


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return write_tiny_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def result(given: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    """A finished study; tests must leave its folder alone."""
    folder = tmp_path_factory.mktemp("finished")
    return conduct(tiny_study(given, folder, variants=list(VARIANTS)), lambda progress: None)


def test_every_variant_has_the_same_budget_and_one_difference(given: dict[str, Any], tmp_path: Path) -> None:
    study = tiny_study(given, tmp_path, variants=[variant.value for variant in Variant])
    full = study.training(Variant.FULL, 5)
    for variant in study.trained_variants:
        settings = study.training(variant, 5)
        changed = {
            name
            for name in TrainSettings.__dataclass_fields__
            if getattr(settings, name) != getattr(full, name)
        }
        assert changed - {"run"} <= {"ablation", "injection", "curriculum"}
        assert len(changed) == (0 if variant is Variant.FULL else 2), variant


def test_a_study_from_the_identity_has_a_controlnet_too(given: dict[str, Any], tmp_path: Path) -> None:
    study = tiny_study(given, tmp_path, fuse_start="identity", variants=["full", "controlnet"])
    assert study.training(Variant.FULL, 0).fuse_start is FuseStart.IDENTITY
    # Like the full method in all but the injection.
    assert study.training(Variant.CONTROLNET, 0).fuse_start is FuseStart.IDENTITY


def test_all_rows_are_measured_on_the_same_videos(result: StudyResult) -> None:
    assert list(result.scores) == [*map(Variant, ("full", "controlnet", "random_mix", "no_cache")), *Baseline]
    asked = [(sample.task, sample.clip.key) for sample in result.samples]
    assert len(asked) == len(STUDY_TASKS) * HELD_OUT
    for scores in result.scores.values():
        assert [(item.task, item.key) for item in scores[0].samples] == asked
    budgets = {(run.steps, run.samples) for run in result.runs}
    assert budgets == {(4, 8)}


def test_the_exact_video_is_better_than_the_still_one(result: StudyResult) -> None:
    exact, still = (result.scores[row][0] for row in (Baseline.EXACT, Baseline.STILL))
    assert exact.mean(TRAJ_ERR) < still.mean(TRAJ_ERR)
    assert exact.mean(TRAJ_SIM) > 0.5 > still.mean(TRAJ_SIM)
    assert exact.task_mean(Measure.DIFFERENCE, ControlTask.DENSE) == 0
    assert exact.frechet[ControlTask.DENSE].distance == pytest.approx(0, abs=1e-9)


def test_the_cache_changes_nothing_and_a_study_that_finds_otherwise_fails(
    result: StudyResult, tmp_path: Path
) -> None:
    (check,) = result.cache
    assert check.is_equal and check.videos == len(result.samples)
    check_cache(result)
    frames = np.zeros((2, 4, 4, 3), np.uint8)
    comparison = CacheComparison(tmp_path / "cache.json", 0)
    comparison.add(frames, frames)
    comparison.add(frames, frames + np.uint8(3))
    comparison.write()
    found = comparison.read()
    assert (found.max_difference, found.changed_share, found.videos) == (3, 0.5, 2)
    with pytest.raises(FlexTrajError, match="up to 3 grey levels"):
        check_cache(replace(result, cache=(found,)))


def test_the_report_has_all_figures_tables_plots_and_sheets(result: StudyResult) -> None:
    folder = result.settings.folder
    paths = write_report(result)
    assert {path.name for path in paths} == {
        *("results.json", "table.md", "bars.png", "curves.png", "comparison.png"),
        *(f"samples-{name}.png" for name in VARIANTS),
    }
    assert all(path.stat().st_size > 500 for path in paths)
    document = json.loads((folder / "results.json").read_text())
    assert {
        "settings",
        "versions",
        "asked",
        "trainings",
        "rows",
        "cache",
        "paper",
        "orders",
    } <= document.keys()
    assert document["rows"].keys() == {*VARIANTS, "base", "still", "exact"}
    videos = document["rows"]["full"]["seeds"][0]["videos"]
    assert {"traj_err", "traj_err_conditioned", "traj_err_tracked", "pck_1", "pck_2", "pck_5"} <= videos[
        0
    ].keys()
    assert {"traj_sim", "speed", "consistency", "motion"} <= videos[len(ALIGNED)].keys()
    assert document["settings"]["seeds"] == [0] and document["versions"]["torch"]
    # Paths of this machine are nobody's business.
    assert str(folder.parent) not in (folder / "results.json").read_text()
    text = (folder / "table.md").read_text()
    for words in ("TrajErr-LK ↓", "base without control", "exact video", "random-conv3d-v1", "N = 2 and 2"):
        assert words in text
    assert "rank-deficient" in text and "Not distinguishable" in text and "equal but for rounding" in text


def test_our_figures_and_the_papers_stand_in_columns_of_their_own(result: StudyResult) -> None:
    table = main_table(result)
    assert not any("paper" in name for name in table.columns)
    assert [row[0] for row in table.rows][-3:] == ["base without control", "still", "exact video"]
    assert all(len(row) == len(table.columns) for row in table.rows)
    beside = paper_table(result)
    assert [row[0] for row in beside.rows] == ["full", "ControlNet-style injection", "random mix"]
    ranks = sorted(row[1] for row in beside.rows)
    assert ranks == ["1", "2", "3"] and [row[2] for row in beside.rows] == ["1", "3", "2"]
    assert beside.rows[0][3] == "0.024"
    assert len(detail_tables(result)) == len(STUDY_TASKS)
    console = Console(record=True, width=240, file=None, quiet=True)
    print_tables(result, console)


def test_a_finished_study_is_not_made_again(result: StudyResult, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("it was made again")

    monkeypatch.setattr(runs_module, "train", refuse)
    monkeypatch.setattr(conduct_module, "ControlSampler", refuse)
    monkeypatch.setattr(conduct_module, "BaseSampler", refuse)
    seen: list[StudyProgress] = []
    again = conduct(result.settings, seen.append)
    assert again.runs == result.runs and again.cache == result.cache
    for row, scores in result.scores.items():
        assert [item.mean(TRAJ_ERR) for item in again.scores[row]] == pytest.approx(
            [item.mean(TRAJ_ERR) for item in scores]
        )


def test_an_interrupted_training_goes_on_and_other_settings_are_refused(
    given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = tiny_study(given, tmp_path, variants=["full"])

    class Killed(BaseException):
        pass

    def kill(report: StepReport) -> None:
        if report.step == 2:
            raise Killed

    with pytest.raises(Killed):
        runs_module.trained_run(study, Variant.FULL, 0, kill)
    steps: list[int] = []
    run = runs_module.trained_run(study, Variant.FULL, 0, lambda report: steps.append(report.step))
    assert steps == [2, 3, 4][-len(steps) :] and len(steps) < 4 and run.steps == 4
    with pytest.raises(FlexTrajError, match="was started with batch = 2, not 3"):
        runs_module.trained_run(replace(study, batch=3), Variant.FULL, 0)


def test_a_study_whose_first_training_was_refused_can_be_mended(
    given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = tiny_study(given, tmp_path, variants=["full"])
    with monkeypatch.context() as little:
        little.setattr("flextraj_backend.training.trainer.free_memory", lambda device: 0)
        with pytest.raises(FlexTrajError, match="lower --batch"):
            runs_module.trained_run(study, Variant.FULL, 0)
    assert runs_module.trained_run(replace(study, batch=1), Variant.FULL, 0).steps == 4


def test_the_conditioned_samples_are_those_that_the_condition_shows() -> None:
    clip = toy_clip()
    rng = np.random.default_rng(3)
    mixture = only(ControlTask.SPATIAL_TEMPORAL, background=((BackgroundPoints.NONE, 1.0),))
    for _ in range(8):
        choices = draw_choices(rng, mixture, clip)
        kept = kept_samples(clip.trajectories, choices)
        shown = condition_clip(clip, choices).ids[..., 0].any(axis=(1, 2))
        frames = np.zeros(len(clip.frames), bool)
        assert choices.frames is not None
        frames[list(choices.frames)] = True
        assert (kept.any(axis=1) == frames).all() and not shown[~frames].any()
        assert kept[0].sum() < clip.trajectories.point_count and kept[0].any()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"variants": ["no_cache"]}, "add 'full'"),
        ({"variants": ["nothing"]}, "'nothing' is not a valid Variant"),
        ({"seeds": [1, 1]}, "given twice"),
        ({"held_out": 1}, "give 2 or more"),
        ({"colour": 1}, "unknown field 'colour'"),
        ({"steps": "many"}, "not int"),
    ],
)
def test_wrong_settings_are_named(given: dict[str, Any], wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(FlexTrajError, match=sentence):
        study_settings({"output": "out", **given, **wrong}, None)


def test_a_config_file_is_read_and_options_win(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(
        'output = "out"\nbase = "base"\nsteps = 20\nseeds = [3]\nvariants = ["full", "no_color"]\n'
    )
    study = study_settings({"steps": 30, "base": "cogvideox"}, path)
    assert (study.steps, study.seeds, study.base) == (30, (3,), "cogvideox")
    assert study.folder == tmp_path / "out" and study.held_out_clips == tmp_path / "out" / "held_out"
    with pytest.raises(FlexTrajError, match="needs 'output'"):
        study_settings({}, None)


def test_held_out_clips_share_no_character_and_no_scene_with_the_training(given: dict[str, Any]) -> None:
    training = base_clips(given["base"])
    assert (training.scene.width, training.scene.height, training.scene.frames) == (64, 32, 5)
    held_out = unseen(training)
    assert held_out.seed != training.seed and held_out.others >= 1
    assert held_out.scene.character_seed != training.scene.character_seed
    with pytest.raises(FlexTrajError, match="give clips with --data"):
        base_clips("wan")


def test_too_few_held_out_clips_are_reported(given: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(FlexTrajError, match="2 clips, 5 are to be measured"):
        conduct(tiny_study(given, tmp_path, held_out=5), lambda progress: None)


def test_a_running_mean_starts_with_what_there_is() -> None:
    assert running_mean([1.0, 3.0, 5.0, 7.0], 2).tolist() == [1.0, 2.0, 4.0, 6.0]


def test_a_step_without_a_finite_loss_leaves_no_hole_in_the_curve() -> None:
    nan = float("nan")
    found = running_mean([nan, 3.0, nan, 7.0], 2)
    assert np.isnan(found[0]) and found[1:].tolist() == [3.0, 3.0, 7.0]


# The check of the mini


@pytest.fixture
def toy_mini(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MINI_VARIABLE, str(write_toy_mini(tmp_path / "mini")))
    monkeypatch.setattr(stored_weights, "settings_file", lambda: tmp_path / "settings" / "weights.json")


@pytest.mark.usefixtures("toy_mini")
def test_the_check_writes_the_errors_with_and_without_control(tmp_path: Path) -> None:
    check = check_mini(7, 2, 2, lambda done, total: None, maker=toy_clip_maker.NAME)
    write_check(check, tmp_path / "mini.json", tmp_path / "mini.png")
    values = json.loads((tmp_path / "mini.json").read_text())
    assert {
        "base_traj_err",
        "mini_traj_err",
        "mini_traj_sim",
        "exact_traj_err",
        "still_traj_err",
    } <= values.keys()
    assert values["clips"] == len(values["per_clip"]) == 2
    assert values["exact_traj_err"] < values["still_traj_err"]
    assert values["ratio"] == pytest.approx(values["base_traj_err"] / values["mini_traj_err"])
    assert values["mini_traj_err"] == pytest.approx(
        np.mean([clip["mini_traj_err"] for clip in values["per_clip"]])
    )
    assert values["exact_trackable"] < LARGEST_ERROR and 0 < values["trackable_share"] <= 1
    assert values["ratio_trackable"] == pytest.approx(values["base_trackable"] / values["mini_trackable"])
    assert (tmp_path / "mini.png").stat().st_size > 5000
    with_control, without = check.clips[0].aligned, check.clips[0].alone
    assert (with_control != without).any() and with_control.shape == (9, 64, 96, 3)


def test_what_the_tracker_can_follow_depends_on_the_clip_alone() -> None:
    clip = toy_clip(size=(96, 64))
    found = trackable_samples(clip)
    background = np.array([segment.background for segment in clip.trajectories.meta.segments])
    assert found.any() and not (found & ~clip.trajectories.visible).any()
    assert not found[:, background[clip.trajectories.seg_id]].any()
    noise = np.random.default_rng(0).integers(0, 256, clip.frames.shape, dtype=np.uint8)
    assert trackable_samples(replace(clip, frames=noise))[1:].mean() < found[1:].mean() / 2


@pytest.mark.usefixtures("toy_mini")
def test_the_check_uses_scenes_of_its_own_seed_at_the_minis_size() -> None:
    one, other = held_out_settings(1), held_out_settings(2)
    assert (one.scene.width, one.scene.height, one.others) == (96, 64, 1)
    assert one.seed != other.seed and one.scene.character_seed != other.scene.character_seed


def test_missing_weights_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(MINI_VARIABLE, str(tmp_path))
    monkeypatch.setattr(mini_weights, "BUNDLED", tmp_path / "none")
    with pytest.raises(FlexTrajError) as error:
        check_mini(0, 1, 1, lambda done, total: None, maker=toy_clip_maker.NAME)
    assert error.value.code is ErrorCode.WEIGHTS
    with pytest.raises(SystemExit) as exit_:
        main(["study", "--check", "mini", "--json", str(tmp_path / "mini.json")])
    assert exit_.value.code == 2 and not (tmp_path / "mini.json").exists()
    lines = capsys.readouterr().err.strip().splitlines()
    assert "weights are missing" in lines[-1] and "Traceback" not in "".join(lines)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--check", "mini"], "Give a file with --json"),
        (["--check", "mini", "--json", "a.json", "--rank", "3"], "leave --rank out"),
        (["--seed", "3"], "--seed belongs to --check mini"),
        (["-o", "out"], "needs 'base'"),
        (["-o", "out", "--base", "b", "--seeds", "x"], "are no seeds"),
    ],
)
def test_the_command_line_names_what_is_wrong(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["study", *arguments])
    assert exit_.value.code == 2 and sentence in capsys.readouterr().err
