"""Training runs on toy models: what they learn, log, keep and refuse."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_training import CLIPS, build_training_base, toy_settings, write_toy_dataset

from blender_addon.core.errors import FlexTrajError
from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.checkpoint import adapter_of, load_adapter, read_adapter
from flextraj_backend.models.cogvideox_pipeline import FlexTrajCogVideoXPipeline
from flextraj_backend.synthesis.shards import ClipStore
from flextraj_backend.training import curriculum as curriculum_module
from flextraj_backend.training.clip_source import SamplePlan
from flextraj_backend.training.control_files import with_full_alpha
from flextraj_backend.training.resume import checkpoint_folders
from flextraj_backend.training.run_setup import ClipSplit, split_clips
from flextraj_backend.training.tasks import ControlTask, CoverageRule
from flextraj_backend.training.train_logs import read_log
from flextraj_backend.training.train_reports import StepReport
from flextraj_backend.training.train_settings import FuseStart, Injection, TrainPrecision, TrainSettings
from flextraj_backend.training.trainer import Trainer, train
from flextraj_backend.training.validation import ValidationLoss

BOTH = pytest.mark.parametrize("backbone", list(Backbone))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Base models and a dataset, whose cache fills up over the tests."""
    folder = tmp_path_factory.mktemp("training")
    write_toy_dataset(folder / "clips")
    for backbone in Backbone:
        build_training_base(backbone, folder / backbone)
    return folder


@pytest.fixture
def settings(shared: Path, tmp_path: Path) -> Callable[..., TrainSettings]:
    def make(backbone: Backbone = Backbone.COGVIDEOX, **others: Any) -> TrainSettings:
        return toy_settings(shared / backbone, shared / "clips", tmp_path / "run", **others)

    return make


@BOTH
def test_training_lowers_the_loss_of_its_samples(
    settings: Callable[..., TrainSettings], backbone: Backbone, tmp_path: Path
) -> None:
    path = tmp_path / "one.toml"
    path.write_text(
        '[[stages]]\nname = "dense"\nsteps = 60\nlearning_rate = 0.02\n'
        "[stages.mixture]\ntasks = { dense = 1.0 }\n"
    )
    result = train(
        settings(
            backbone, steps=60, rank=16, batch=4, curriculum=str(path), learning_rate=0.02, image_dropout=0.0
        )
    )
    # The toy can only learn a little through its condition, but that it must.
    assert np.mean(result.losses[-20:]) < 0.97 * np.mean(result.losses[:20])


@BOTH
def test_only_the_control_changes_and_it_loads_into_the_engine(
    settings: Callable[..., TrainSettings], shared: Path, backbone: Backbone
) -> None:
    run = Trainer(settings(backbone))
    before = {name: value.clone() for name, value in run.base.transformer.named_parameters()}
    result = run.run(None)
    run.close()
    trained = set(run.parameters)
    for name, value in run.base.transformer.named_parameters():
        assert torch.equal(value, before[name]) == (name not in trained), name
    adapter = read_adapter(result.control)
    assert adapter.backbone is backbone and adapter.rank == 2
    if backbone is Backbone.COGVIDEOX:
        pipeline = FlexTrajCogVideoXPipeline.from_pretrained(shared / backbone, local_files_only=True)
        load_adapter(pipeline.transformer, result.control)
        weights = dict(pipeline.transformer.named_parameters())
        assert all(torch.equal(weights[name], value) for name, value in run.parameters.items())


@BOTH
def test_a_fuse_layer_that_starts_as_the_identity_adds_the_colour_videos_own_tokens(
    settings: Callable[..., TrainSettings], backbone: Backbone
) -> None:
    losses = []
    for start, injection in itertools.product(FuseStart, Injection):
        asked = settings(backbone, fuse_start=start, injection=injection)
        run = Trainer(replace(asked, run=asked.run / f"{injection.value}-{start.value}"))
        transformer = run.base.transformer
        tokens = torch.randn(3, transformer.hidden_size)
        fused = transformer.fuse_linear(tokens)
        assert torch.equal(fused, tokens if start is FuseStart.IDENTITY else torch.zeros_like(tokens))
        if injection is Injection.CONCAT:
            losses.append(run.run(None).losses[0])
        run.close()
    assert losses[0] != losses[1]


def test_the_log_tells_stage_mixture_and_tasks(settings: Callable[..., TrainSettings]) -> None:
    result = train(settings(validate_every=3))
    lines = read_log(result.run)
    steps = [line for line in lines if line["event"] == "step"]
    assert [line["step"] for line in steps] == [1, 2, 3, 4, 5, 6]
    assert steps[0]["stage"] == "dense_color" and steps[-1]["stage"] == "unaligned"
    assert sum(steps[-1]["task_counts"].values()) == 12 and steps[0]["task_counts"] == {"dense": 2}
    checks = [line for line in lines if line["event"] == "validation"]
    assert [line["step"] for line in checks] == [3, 6]
    assert checks[0]["tasks"].keys() == {task.value for task in ControlTask}
    assert list((result.run / "tensorboard").iterdir())
    begun = [line for line in lines if line["event"] == "stage" and "begun" in line]
    assert [(line["step"], line["begun"]) for line in begun] == [
        (steps[place]["step"] - 1, steps[place]["stage"])
        for place in range(6)
        if place == 0 or steps[place]["stage"] != steps[place - 1]["stage"]
    ]
    assert begun[0]["mixture"]["color_drop"] == 0 and begun[-1]["mixture"]["color_drop"] == 0.5


def test_a_stage_is_validated_on_samples_like_its_own(settings: Callable[..., TrainSettings]) -> None:
    run = Trainer(settings())
    first, last = run.curriculum.stages[0].mixture, run.curriculum.stages[-1].mixture
    assert run.validation is not None
    with_color, sometimes = (
        run.validation(run.model, run.device, replace(mixture, coverage=CoverageRule.SURFACE))
        for mixture in (first, replace(last, color_drop=1.0))
    )
    run.close()
    assert with_color.tasks[ControlTask.DENSE] != sometimes.tasks[ControlTask.DENSE]


def test_a_mean_of_the_validation_is_the_same_for_the_same_weights(
    settings: Callable[..., TrainSettings],
) -> None:
    run = Trainer(settings())
    assert run.validation is not None
    mixture = run.curriculum.stages[0].mixture
    first = run.validation(run.model, run.device, mixture)
    assert run.validation(run.model, run.device, mixture) == first
    run.close()


def test_resuming_gives_the_losses_of_a_run_in_one_go(
    settings: Callable[..., TrainSettings],
) -> None:
    options: dict[str, Any] = {
        "steps": 8,
        "ema": 0.9,
        "accumulate": 2,
        "precision": TrainPrecision.BF16,
        "validate_every": 4,
        "schedule": "cosine",
    }
    whole = train(settings(**options))
    broken = replace(settings(**options), run=whole.run.with_name("broken"))

    class Killed(BaseException):
        pass

    def kill(report: StepReport) -> None:
        if report.step == 5:
            raise Killed

    with pytest.raises(Killed):
        train(broken, kill)
    rest = train(replace(broken, resume=True, checkpoint_every=3))
    logs = [[line for line in read_log(run) if line["event"] == "step"] for run in (whole.run, broken.run)]
    for line in (*logs[0], *logs[1]):
        del line["seconds"]
    assert len(rest.losses) == 4 and logs[0] == logs[1]
    controls = [load_file(result.control) for result in (whole, rest)]
    assert all(torch.equal(controls[0][name], value) for name, value in controls[1].items())
    assert whole.validation == rest.validation


def test_accumulated_forwards_are_one_large_batch(settings: Callable[..., TrainSettings]) -> None:
    large = train(settings(batch=4))
    small = train(replace(settings(batch=2, accumulate=2), run=large.run.with_name("small")))
    assert small.losses == pytest.approx(large.losses, rel=1e-4)


def test_gradient_checkpointing_changes_nothing(settings: Callable[..., TrainSettings]) -> None:
    plain = train(settings())
    other = train(replace(settings(gradient_checkpointing=True), run=plain.run.with_name("other")))
    assert other.losses == plain.losses


def test_cached_and_fresh_conditions_train_alike(settings: Callable[..., TrainSettings]) -> None:
    cached = train(settings(condition_variants=3, steps=4))
    again = train(replace(settings(condition_variants=3, steps=4), run=cached.run.with_name("again")))
    full = settings(condition_variants=3, steps=4, cache_limit_gb=0.0, cache=cached.run / "empty")
    fresh = train(replace(full, run=cached.run.with_name("fresh")))
    assert again.losses == cached.losses == fresh.losses


def test_the_controlnet_style_control_trains_and_resumes(settings: Callable[..., TrainSettings]) -> None:
    options: dict[str, Any] = {"injection": Injection.CONTROLNET, "learning_rate": 1e-3}
    result = train(settings(**options, sample_every=6, sample_steps=2, sample_clips=1))
    assert result.losses[-1] != result.losses[0]
    assert list((result.run / "samples" / "step-000006").glob("*.mp4"))
    assert train(settings(**options, sample_steps=2, resume=True)).steps == 6


def test_samples_show_clip_condition_and_result(settings: Callable[..., TrainSettings]) -> None:
    result = train(settings(sample_every=6, sample_steps=2, sample_clips=1))
    folder = result.run / "samples" / "step-000006"
    assert (folder / "sheet.png").is_file() and len(list(folder.glob("*.mp4"))) == 4
    scores = next(line["scores"] for line in read_log(result.run) if line["event"] == "samples")
    assert {"traj_err_dense", "traj_err_temporal"} <= scores.keys()
    assert all(math.isfinite(score) for score in scores.values())


def test_the_last_checkpoints_and_the_best_stay(settings: Callable[..., TrainSettings]) -> None:
    result = train(settings(checkpoint_every=1, keep_checkpoints=2))
    names = [path.name for path in checkpoint_folders(result.run)]
    assert names == ["step-000005", "step-000006"]


def test_a_loss_that_is_not_finite_is_skipped_and_ends_the_run_at_last(
    settings: Callable[..., TrainSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Trainer(settings(steps=20))
    before = {name: value.detach().clone() for name, value in run.parameters.items()}
    true_loss = run.loss
    run.loss = lambda model, batch: true_loss(model, batch) * math.nan  # pyright: ignore
    with pytest.raises(FlexTrajError, match="not been finite for 10 steps"):
        run.run(None)
    run.close()
    assert all(torch.equal(value, before[name]) for name, value in run.parameters.items())
    assert run.state.skipped == 10


def test_every_clip_is_seen_once_an_epoch_whatever_the_batch() -> None:
    keys = tuple(f"clip{number}" for number in range(10))
    for samples in (2, 5, 10):
        plan = SamplePlan(keys, samples, seed=3)
        seen = [plan.sample(step, place) for step in range(20 // samples) for place in range(samples)]
        assert sorted(sample.key for sample in seen[:10]) == sorted(keys)
        assert [sample.draw for sample in seen] == [0] * 10 + [1] * 10
        assert [sample.key for sample in seen[:10]] != [sample.key for sample in seen[10:]]


def test_no_motion_is_in_training_and_validation(shared: Path) -> None:
    store = ClipStore(shared / "clips")
    split = split_clips(store, 2)
    assert len(split.validation) == 2 and len(split.training) == CLIPS - 2
    groups = [{store.entry(key).pair_group for key in keys} for keys in (split.training, split.validation)]
    assert not groups[0] & groups[1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data": Path("nowhere")}, "There is no dataset folder nowhere"),
        ({"base": "nothing"}, "The base model 'nothing'"),
        ({"curriculum": "unknown"}, "There is no curriculum 'unknown'"),
        ({"steps": None}, "choose the number of steps"),
        ({"precision": TrainPrecision.FP16}, "fp16 training needs"),
        ({"resume": True}, "holds no run to go on with"),
    ],
)
def test_a_users_mistake_is_one_sentence(
    settings: Callable[..., TrainSettings], change: dict[str, Any], words: str
) -> None:
    if torch.cuda.is_available() and "precision" in change:
        pytest.skip("there is a GPU")
    with pytest.raises(FlexTrajError, match=words):
        train(replace(settings(), **change))


def test_a_run_is_not_resumed_with_another_curriculum_or_other_clips(
    settings: Callable[..., TrainSettings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "mine.toml"
    bundled = Path(curriculum_module.__file__).parent / "curricula" / "annealing.toml"
    mine.write_text(bundled.read_text(encoding="utf-8"), encoding="utf-8")
    asked = settings(steps=4, curriculum=str(mine))
    train(asked)
    with monkeypatch.context() as patched:
        patched.setattr(ClipSplit, "digest", lambda self, store: "others")
        with pytest.raises(FlexTrajError, match="not those that"):
            train(replace(asked, resume=True))
    mine.write_text(
        mine.read_text(encoding="utf-8").replace("color_drop = 0.5", "color_drop = 0.4"), encoding="utf-8"
    )
    with pytest.raises(FlexTrajError, match="was started with any more"):
        train(replace(asked, resume=True))


def test_a_stage_that_ends_by_its_validation_needs_one(
    settings: Callable[..., TrainSettings], tmp_path: Path
) -> None:
    path = tmp_path / "adaptive.toml"
    rule = "{ min_steps = 2, max_steps = 4, patience = 1, min_improvement = 0.01 }"
    stage = f'[[stages]]\nname = "dense"\nlearning_rate = 1e-4\nadaptive = {rule}\n'
    path.write_text(stage + "[stages.mixture]\ntasks = { dense = 1.0 }\n", encoding="utf-8")
    asked = settings(curriculum=str(path), steps=None)
    for change in ({"validate_every": 0}, {"validate_every": 1, "validation_clips": 0}):
        with pytest.raises(FlexTrajError, match="'dense' ends when its validation error stops falling"):
            train(replace(asked, **change))
    assert train(replace(asked, validate_every=1)).steps <= 4


def test_a_control_trained_with_another_alpha_works_where_only_the_rank_is_known(
    settings: Callable[..., TrainSettings], tmp_path: Path
) -> None:
    run = Trainer(settings(rank=2, alpha=1.0))
    adapter = adapter_of(run.base.transformer)
    written = with_full_alpha(adapter)
    run.close()
    assert (written.alpha, written.rank) == (2.0, 2)
    for name, tensor in written.tensors.items():
        factor = 0.5 if name.endswith("lora_B.weight") else 1.0
        assert torch.equal(tensor, adapter.tensors[name] * factor)


def test_a_run_that_cannot_fit_is_refused_before_its_clips_are_encoded(
    settings: Callable[..., TrainSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared: list[int] = []
    monkeypatch.setattr("flextraj_backend.training.trainer.free_memory", lambda device: -(1 << 50))
    with pytest.raises(FlexTrajError, match="lower --batch"):
        train(settings(), on_prepared=lambda done, _: prepared.append(done))
    assert not prepared


def test_clips_of_a_size_that_the_model_cannot_make_are_refused(
    settings: Callable[..., TrainSettings], tmp_path: Path
) -> None:
    write_toy_dataset(tmp_path / "odd", clips=4, size=(48, 32))
    with pytest.raises(FlexTrajError, match="CogVideoX makes clips of 64x32 px, not 48x32"):
        train(replace(settings(), data=tmp_path / "odd"))


def test_a_run_of_other_settings_is_not_continued(settings: Callable[..., TrainSettings]) -> None:
    train(settings(steps=4))
    with pytest.raises(FlexTrajError, match="holds a run already"):
        train(settings(steps=4))
    with pytest.raises(FlexTrajError, match="was started with batch = 2, not 3"):
        train(settings(steps=4, batch=3, resume=True))


def test_a_full_disk_leaves_no_half_checkpoint(
    settings: Callable[..., TrainSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("flextraj_backend.training.resume.save_file", full)
    with pytest.raises(FlexTrajError, match=r"checkpoint of step 2 cannot be written .*No space left"):
        train(settings())
    assert not list((settings().run / "checkpoints").iterdir())


def test_the_best_checkpoint_stays_although_no_checkpoint_was_due(
    settings: Callable[..., TrainSettings], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "one.toml"
    path.write_text(
        '[[stages]]\nname = "dense"\nsteps = 6\nlearning_rate = 0.02\n'
        "[stages.mixture]\ntasks = { dense = 1.0 }\n"
    )
    run = Trainer(settings(curriculum=str(path), validate_every=2, checkpoint_every=100, keep_checkpoints=1))
    assert run.validation is not None
    # As if the control became worse from the second step on.
    validation, worse = run.validation, iter((1.0, 10.0, 100.0))
    monkeypatch.setattr(run, "validation", lambda *given: _raised(validation(*given), next(worse)))
    result = run.run(None)
    run.close()
    assert [path.name for path in checkpoint_folders(result.run)] == ["step-000002", "step-000006"]


def _raised(found: ValidationLoss, factor: float) -> ValidationLoss:
    return replace(found, tasks={task: factor * loss for task, loss in found.tasks.items()})


def test_a_run_goes_on_when_its_base_is_named_by_another_path(
    settings: Callable[..., TrainSettings], shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = settings(steps=4)
    train(first)
    monkeypatch.chdir(shared)
    train(replace(first, base=str(Backbone.COGVIDEOX), resume=True))
    with pytest.raises(FlexTrajError, match="was started with base"):
        train(replace(first, base=str(shared / Backbone.WAN), resume=True))


def test_a_prompt_whose_file_was_damaged_is_embedded_again(
    settings: Callable[..., TrainSettings], tmp_path: Path
) -> None:
    chosen = settings(steps=4, cache=tmp_path / "cache")
    train(chosen)
    for path in chosen.cache_folder.glob("texts-*/*/*"):
        path.write_bytes(b"")
    assert train(replace(chosen, run=tmp_path / "again")).steps == 4
