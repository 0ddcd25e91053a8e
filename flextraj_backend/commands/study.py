"""`flextraj study`: what each part of the method is good for; and a check of the shipped mini model."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from blender_addon.core.errors import RequestError
from flextraj_backend.installation import require_packages
from flextraj_backend.phase_bar import PhaseBar

if TYPE_CHECKING:
    from flextraj_backend.study.conduct import StudyProgress

NAME = "study"
_STUDY, _BUDGET, _CHECK = "The study", "Budget, the same for all variants", "Check of the mini model"


class Check(StrEnum):
    MINI = "mini"


def _option(text: str, panel: str, *names: str, **settings: Any) -> Any:
    """An option without a default of its own: it may be in the --config file, and the settings have one."""
    return typer.Option(*names, help=text, rich_help_panel=panel, show_default=False, **settings)


def command(
    output: Annotated[
        Path | None,
        _option("Folder of the study; one that was interrupted goes on.", _STUDY, "-o", "--output"),
    ] = None,
    base: Annotated[
        str | None, _option("Folder of the base model, such as the mini's, or an engine.", _STUDY)
    ] = None,
    config: Annotated[
        Path | None, _option("TOML file with any of these settings; options win.", _STUDY)
    ] = None,
    variants: Annotated[
        str | None,
        _option(
            "full, no_traj_id, no_seg_id, no_color, controlnet, random_mix, sparse_to_dense, no_cache. "
            "Default: all.",
            _STUDY,
            metavar="A,B",
        ),
    ] = None,
    data: Annotated[
        Path | None, _option("Dataset to train on. Default: made for the base model's size.", _STUDY)
    ] = None,
    clips: Annotated[
        int | None, _option("Clips of a dataset that is made. Default: 600; with --check: 12.", _STUDY, min=1)
    ] = None,
    held_out_data: Annotated[
        Path | None,
        _option("Dataset to measure on. Default: made like the other one, of unseen characters.", _STUDY),
    ] = None,
    held_out: Annotated[
        int | None, _option("Held-out clips that are measured with five tasks each. Default: 16.", _STUDY)
    ] = None,
    workers: Annotated[
        int | None, _option("Blender processes that make clips. Default: one a processor.", _STUDY, min=1)
    ] = None,
    sample_steps: Annotated[
        int | None, _option("Denoising steps of measured videos. Default: 20.", _STUDY)
    ] = None,
    seeds: Annotated[str | None, _option("Of the trainings. Default: 0,1.", _BUDGET, metavar="A,B")] = None,
    steps: Annotated[
        int | None,
        _option("Of each training. Default: 1000. With --check: denoising steps.", _BUDGET, min=1),
    ] = None,
    batch: Annotated[int | None, _option("Samples of a step. Default: 8.", _BUDGET)] = None,
    learning_rate: Annotated[
        float | None, _option("The largest of the stages'. Default: 0.001, for the mini.", _BUDGET, "--lr")
    ] = None,
    rank: Annotated[int | None, _option("Of the LoRA. Default: 64.", _BUDGET)] = None,
    ema: Annotated[
        float | None, _option("Decay of the control's moving average. Default: 0.99.", _BUDGET)
    ] = None,
    precision: Annotated[str | None, _option("bf16, fp32 or fp16. Default: bf16.", _BUDGET)] = None,
    condition_variants: Annotated[
        int | None,
        _option("Choices a clip whose encoded conditions are kept. Default: 0, none.", _BUDGET),
    ] = None,
    cache: Annotated[
        Path | None, _option("Folder of encoded videos. Default: in the dataset's.", _BUDGET)
    ] = None,
    check: Annotated[
        Check | None, _option("Measure the shipped mini on unseen scenes instead; trains nothing.", _CHECK)
    ] = None,
    seed: Annotated[int | None, _option("Of the scenes. Default: 0.", _CHECK, min=0)] = None,
    json: Annotated[Path | None, _option("File that gets the figures.", _CHECK, "--json")] = None,
    sheet: Annotated[
        Path | None, _option("Contact sheet (.png). Default: beside the JSON file.", _CHECK)
    ] = None,
) -> None:
    """Train the variants of the method on one budget and measure them on held-out clips.

    Writes results.json, table.md, plots and contact sheets. Run the same command again to go on.

    flextraj study --check mini --seed 1 --json mini.json: TrajErr of the mini model with and without control.
    """
    values = locals()
    require_packages("train", "eval")
    given = {name: value for name, value in values.items() if name not in _NO_SETTING and value is not None}
    if check is not None:
        foreign = sorted(set(given) - {"clips", "steps"})
        if foreign or config is not None:
            raise RequestError(
                f"--check trains nothing: leave --{(foreign or ['config'])[0].replace('_', '-')} out."
            )
        if json is None:
            raise RequestError("Where shall the figures go? Give a file with --json.")
        _check_mini(seed or 0, clips, steps, json, sheet or json.with_suffix(".png"))
        return
    for name in ("seed", "json", "sheet"):
        if values[name] is not None:
            raise RequestError(f"--{name} belongs to --check mini: leave it out, or add --check mini.")
    for name in ("output", "data", "held_out_data", "cache"):
        if name in given:
            given[name] = str(given[name])
    if "seeds" in given:
        given["seeds"] = _numbers(given["seeds"])
    if "variants" in given:
        given["variants"] = [name.strip() for name in given["variants"].split(",") if name.strip()]
    _study(given, config, workers)


_NO_SETTING = {"config", "check", "seed", "json", "sheet", "workers"}


def _study(given: dict[str, Any], config: Path | None, workers: int | None) -> None:
    # Imported here: the command line's --help does not wait for torch.
    from flextraj_backend.study.study_settings import study_settings

    study = study_settings(given, config)

    from flextraj_backend.study.conduct import check_cache, conduct
    from flextraj_backend.study.report import write_report
    from flextraj_backend.study.statements import order_text
    from flextraj_backend.study.study_clips import default_workers, make_clips
    from flextraj_backend.study.table import frechet_note, print_tables
    from flextraj_backend.synthesis.run_reports import BarReporter
    from flextraj_backend.training.denormals import flushed_denormals

    log = Console(stderr=True)
    make_clips(study, lambda: BarReporter(log), workers or default_workers())
    with PhaseBar(log) as bar, flushed_denormals():

        def advance(progress: StudyProgress) -> None:
            bar.advance(progress.phase, progress.step, progress.steps)

        result = conduct(study, advance)
    paths = write_report(result)
    console = Console()
    print_tables(result, console)
    for text in (frechet_note(result), order_text(result.variants)):
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    console.print("Written: " + ", ".join(map(str, paths)), markup=False, highlight=False, soft_wrap=True)
    check_cache(result)


_SHOWN_FIGURES = (
    *("base_traj_err", "mini_traj_err", "ratio", "exact_traj_err", "still_traj_err"),
    *("base_trackable", "mini_trackable", "ratio_trackable", "exact_trackable", "still_trackable"),
    *("trackable_share", "mini_traj_sim", "base_traj_sim"),
)


def _check_mini(seed: int, clips: int | None, steps: int | None, json: Path, sheet: Path) -> None:
    from flextraj_backend.study.mini_check import CLIPS, check_mini, write_check

    for path in (json, sheet):
        if not path.absolute().parent.is_dir():
            raise RequestError(f"There is no folder {path.absolute().parent}: make it first.")
    console = Console(stderr=True)
    with console.status("Checking the mini model") as status:
        found = check_mini(
            seed,
            clips or CLIPS,
            steps,
            lambda done, total: status.update(f"Checking the mini model: {done} of {total} scenes"),
        )
    write_check(found, json, sheet)
    figures = found.to_json()
    for name in _SHOWN_FIGURES:
        value = figures[name]
        typer.echo(f"{name}: {'-' if value is None else f'{value:.4f}'}")
    typer.echo(f"{figures['clips']} unseen scenes; written: {json}, {sheet}")


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise RequestError(f"'{text}' are no seeds: give whole numbers, such as --seeds 0,1.") from error
