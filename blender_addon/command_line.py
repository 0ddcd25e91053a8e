"""`blender -b shot.blend -c flextraj ...`: what the panel does, on the command line of Blender itself.

The shot is the one that the file was saved with; options change single settings of it, and the file is not
written. Exit codes are those of the backend's `flextraj`: 0, or 2 with one sentence on stderr (130 after
Ctrl-C).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import bpy

from .blender_types import Context
from .bridge.pairs_request import read_pairs_request
from .bridge.shot_request import plan_shot, read_sample_settings, sampling_problem
from .bridge.shot_sampling import run_to_end, sample_shot
from .client.job_reports import JobReport, JobStage, RenderOrder
from .client.job_texts import progress_text
from .client.pairs_runner import PairsOrder, PairsReport, PairsStage
from .client.pairs_texts import progress_phrase
from .core.errors import ErrorCode, FlexTrajError, RequestError
from .core.sample_settings import SampleProgress, SampleSettings
from .core.trajectories import TrajectorySet
from .core.trajectory_file import write_trajectories
from .preferences import backend_settings, output_folder
from .properties import FlexTrajSettings, scene_settings
from .session import current_session
from .training_properties import FlexTrajTrainingSettings

COMMAND = "flextraj"
USER_ERROR = 2
INTERRUPTED = 130
_POLL_SECONDS = 0.5
_PROPERTIES = {
    "photo": "photo",
    "mask": "mask",
    "engine": "engine",
    "prompt": "prompt",
    "seed": "seed",
    "points": "points",
    "model_frames": "frames",
}
"""Options, named as in the backend's command line, and the settings that they change."""
_TRAINING_OPTIONS = {
    "output": "folder",
    "library": "library",
    "clips": "clips",
    "characters": "characters",
    "others": "others",
    "seed": "seed",
    "frames": "frames",
    "fps": "fps",
    "points": "points",
    "workers": "processes",
}
"""The same for training pairs."""


def run(arguments: list[str]) -> int:
    """Run a command. Returns the exit code."""
    try:
        options = _parser().parse_args(arguments)
        with _interrupted_by_ctrl_c():
            options.run(bpy.context, options)
    except SystemExit as end:  # argparse has printed the help
        return int(end.code or 0)
    except FlexTrajError as error:
        return _refuse(error.message)
    except OSError as error:
        return _refuse(f"{error.filename or 'A file'} cannot be used: {error.strerror or error}.")
    except KeyboardInterrupt:
        _refuse("Stopped.")
        return INTERRUPTED
    return 0


def render(context: Context, options: argparse.Namespace) -> None:
    """Sample the shot, render it and bring the video to its place.

    Raises:
        FlexTrajError: the shot is not complete, the backend cannot be had, or the job ended without a video.
    """
    output: Path | None = options.output
    if output is not None:
        _check_output(output, ".mp4")
    settings = _changed_settings(context, options)
    plan = plan_shot(context, settings)
    trajectories = _sample(context, plan.sample)
    report = _follow(plan.order(trajectories, output_folder()), trajectories)
    if report.stage is not JobStage.DONE or report.video is None:
        raise FlexTrajError(report.message or "The job was cancelled.", report.code or ErrorCode.BACKEND)
    for warning in report.warnings:
        print(f"Note: {warning}", file=sys.stderr)
    video = report.video if output is None else _copy(report.video, output)
    label = f" ({report.label})" if report.label else ""
    print(f"{video}{label}: {trajectories.frame_count} frames; everything else is in {report.order.folder}")


def sample(context: Context, options: argparse.Namespace) -> None:
    """Sample the shot into a trajectory set. Raises FlexTrajError."""
    output: Path = options.output
    _check_output(output, ".npz")
    settings = _changed_settings(context, options)
    problem = sampling_problem(context, settings)
    if problem is not None:
        raise problem
    trajectories = _sample(context, read_sample_settings(context, settings))
    write_trajectories(trajectories, output)
    print(f"{output}: {trajectories.point_count} points over {trajectories.frame_count} frames")


def synthesize(context: Context, options: argparse.Namespace) -> None:
    """Generate training pairs with the backend; finished clips stay also where it ends early.

    Raises:
        FlexTrajError: the settings or the folder cannot be used, or the backend cannot make the clips.
    """
    training = scene_settings(context.scene).training
    for option in _TRAINING_OPTIONS:
        value = getattr(options, option)
        if value is not None:
            _change(training, option, _TRAINING_OPTIONS[option], value)
    session = current_session()
    session.pairs.start(PairsOrder(read_pairs_request(training), backend_settings().python))
    tell = _Progress()

    def on_report(report: PairsReport) -> None:
        phrase = progress_phrase(report)
        tell(phrase.pattern.format(**dict(phrase.places)))

    report = session.pairs.wait_until_ended(on_report)
    if report.stage is not PairsStage.DONE:
        raise report.error or FlexTrajError("The generation was cancelled.", ErrorCode.BACKEND)
    print(f"{report.order.request.folder}: {report.progress.done} clips")


class _Parser(argparse.ArgumentParser):
    """Tells a mistake in one sentence."""

    def error(self, message: str) -> NoReturn:
        raise RequestError(f"{message[:1].upper()}{message[1:]}: see '{self.prog} --help'.")


def _parser() -> argparse.ArgumentParser:
    program = f"blender -b FILE.blend -c {COMMAND}"
    parser = _Parser(
        prog=program, description="FlexTraj without a window: the shot that the file was saved with."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    shared = _Parser(add_help=False)
    shared.add_argument(
        "--objects", type=_names, metavar="NAMES", help="subjects instead of the file's, by commas"
    )
    shared.add_argument("--frames", type=_range, metavar="A:B", help="first and last scene frame of the shot")
    shared.add_argument("--model-frames", type=int, help="frames of the video")
    shared.add_argument("--points", type=int, help="trajectories on each subject")
    shared.add_argument("--seed", type=int, help="same shot and seed, same video")
    one = commands.add_parser("render", parents=[shared], help="render the shot's video with the backend")
    one.add_argument("--photo", type=_path, help="image that will move")
    one.add_argument("--mask", type=_path, help="image that is white where the photo's subject is")
    one.add_argument("--engine", help="program that renders, such as preview")
    one.add_argument("--prompt", help="what the video shows, for engines that read it")
    one.add_argument("-o", "--output", type=Path, help="video to write (.mp4); default: the output folder")
    one.set_defaults(run=render)
    other = commands.add_parser("sample", parents=[shared], help="write the shot's trajectory set")
    other.add_argument("-o", "--output", type=Path, required=True, help="trajectory set to write (.npz)")
    other.set_defaults(run=sample)
    pairs = commands.add_parser("synthesize", help="make training pairs with the backend")
    pairs.add_argument("-o", "--output", type=_path, help="folder of the dataset")
    pairs.add_argument("--library", type=_path, help="folder with FBX or GLB characters")
    for option in ("clips", "characters", "others", "seed", "frames", "fps", "points", "workers"):
        described: Any = FlexTrajTrainingSettings.bl_rna.properties[_TRAINING_OPTIONS[option]]
        pairs.add_argument(f"--{option}", type=int, help=described.description)
    pairs.set_defaults(run=synthesize)
    return parser


def _names(text: str) -> list[str]:
    names = [name for name in (part.strip() for part in text.split(",")) if name]
    if not names:
        raise argparse.ArgumentTypeError("no object is named")
    return names


def _range(text: str) -> tuple[int, int]:
    try:
        first, last = (int(part) for part in text.split(":"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a first and last frame such as 1:49") from None
    return first, last


def _path(text: str) -> str:
    # Blender reads a relative path as one beside the .blend file.
    return text if text.startswith("//") else str(Path(text).absolute())


def _changed_settings(context: Context, options: argparse.Namespace) -> FlexTrajSettings:
    """The scene's settings, changed by the options. Raises FlexTrajError."""
    settings = scene_settings(context.scene)
    for option, name in _PROPERTIES.items():
        value = getattr(options, option, None)
        if value is not None:
            _change(settings, option, name, value)
    if options.frames is not None:
        settings.frame_range = "CUSTOM"
        settings.first_frame, settings.last_frame = options.frames
    if options.objects is not None:
        _choose(context, settings, options.objects)
    return settings


def _change(
    settings: FlexTrajSettings | FlexTrajTrainingSettings, option: str, name: str, value: str | int
) -> None:
    """Set a property; Blender itself would cut off what does not fit. Raises RequestError."""
    flag = "--" + option.replace("_", "-")
    limits: Any = settings.bl_rna.properties[name]
    if isinstance(value, int) and not limits.hard_min <= value <= limits.hard_max:
        raise RequestError(f"{flag} {value} is not possible: give {limits.hard_min} to {limits.hard_max}.")
    setattr(settings, name, value)
    if getattr(settings, name) != value:
        raise RequestError(f"The text of {flag} is too long: {limits.length_max} bytes are the most.")


def _choose(context: Context, settings: FlexTrajSettings, names: list[str]) -> None:
    """Make these objects the subjects; what was a prop stays one. Raises FlexTrajError (NO_SUBJECT)."""
    objects = {ob.name: ob for ob in context.scene.objects}
    missing = [name for name in names if name not in objects]
    if missing:
        raise FlexTrajError(
            f"There is no object '{missing[0]}' in the scene '{context.scene.name}': correct --objects.",
            ErrorCode.NO_SUBJECT,
        )
    listed = {row.object.name for row in settings.subjects if row.object is not None}
    for name in names:
        if name not in listed:
            settings.subjects.add().object = objects[name]
    for index in reversed(range(len(settings.subjects))):
        ob = settings.subjects[index].object
        if ob is None or ob.name not in names:
            settings.subjects.remove(index)
    settings.source = "LIST"


def _sample(context: Context, settings: SampleSettings) -> TrajectorySet:
    tell = _Progress()

    def on_progress(step: SampleProgress) -> None:
        tell(f"Sampling frame {step.done} of {step.total}")

    return run_to_end(sample_shot(context.scene, context.view_layer, settings), on_progress)


def _follow(order: RenderOrder, trajectories: TrajectorySet) -> JobReport:
    """Hand a job to the backend and wait for its end; Ctrl-C cancels it."""
    session = current_session()
    session.submit(order, trajectories)
    tell = _Progress()
    try:
        while not session.jobs[order.key].stage.is_finished:
            tell(progress_text(session.jobs[order.key]))
            session.take_reports(session.runner.wait(_POLL_SECONDS))
    except KeyboardInterrupt:
        session.runner.cancel(order.key)
        session.wait_for(order.key)
        raise
    return session.jobs[order.key]


class _Progress:
    """Tells what is done on stderr: each kind of work once, or on one line of a terminal."""

    def __init__(self) -> None:
        self._last = ""
        self._is_terminal = sys.stderr.isatty()

    def __call__(self, text: str) -> None:
        # Without a terminal, numbers that run would fill a log.
        told = text if self._is_terminal else re.split(r"\d", text, maxsplit=1)[0].rstrip(" ,")
        if told == self._last:
            return
        self._last = told
        end = "\033[K\r" if self._is_terminal else "…\n"
        print(f"{COMMAND}: {told}", end=end, file=sys.stderr, flush=True)


def _check_output(output: Path, suffix: str) -> None:
    """Refuse before the work what could not be written after it. Raises FlexTrajError."""
    if output.suffix.lower() != suffix:
        raise RequestError(f"{output.name} does not end in {suffix}: give such a name to --output.")
    if not output.parent.is_dir():
        raise FlexTrajError(f"There is no folder {output.parent}: make it first.", ErrorCode.DISK)
    if not os.access(output.parent, os.W_OK):
        raise FlexTrajError(f"The folder {output.parent} is not writable: choose another.", ErrorCode.DISK)


def _copy(video: Path, output: Path) -> Path:
    """Copy a video to the place that the user named, never half."""
    temporary = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        shutil.copyfile(video, temporary)
        temporary.replace(output)
    finally:
        temporary.unlink(missing_ok=True)
    return output


@contextlib.contextmanager
def _interrupted_by_ctrl_c() -> Iterator[None]:
    """Blender itself takes Ctrl-C for Esc, which nobody looks at here."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)


def _refuse(sentence: str) -> int:
    print(f"{COMMAND}: {sentence}", file=sys.stderr)
    return USER_ERROR


_handles: list[Any] = []


def register() -> None:
    _handles.append(bpy.utils.register_cli_command(COMMAND, run))  # pyright: ignore[reportAttributeAccessIssue]


def unregister() -> None:
    while _handles:
        bpy.utils.unregister_cli_command(_handles.pop())  # pyright: ignore[reportAttributeAccessIssue]
