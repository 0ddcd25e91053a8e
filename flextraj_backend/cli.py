"""`flextraj ...`: assembles the commands and turns errors into one sentence."""

from __future__ import annotations

import os
import sys
import traceback

import typer

from blender_addon.core.errors import FlexTrajError
from blender_addon.core.version import package_version
from flextraj_backend.commands import (
    bench,
    checkpoint,
    conditions,
    demo,
    doctor,
    engines,
    evaluate,
    mini,
    render,
    sample,
    serve,
    study,
    synthesize,
    train,
    weights,
)

USER_ERROR = 2
INTERRUPTED = 130

# Newer releases of Typer bring a Click of their own; this is the base of its usage errors in all of them.
_ClickException: type[Exception] = next(
    kind
    for kind in typer.BadParameter.__mro__
    if kind.__name__ == "ClickException" and issubclass(kind, Exception)
)

app = typer.Typer(
    name="flextraj",
    help="Animated rigs drive photos through point trajectories (FlexTraj).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for module in (
    demo,
    sample,
    conditions,
    render,
    serve,
    synthesize,
    train,
    mini,
    evaluate,
    study,
    engines,
    doctor,
):
    app.command(module.NAME)(module.command)
app.add_typer(bench.app, name="bench")
app.add_typer(checkpoint.app, name="checkpoint")
app.add_typer(weights.app, name="weights")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(package_version())
        raise typer.Exit


@app.callback()
def common(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
    debug: bool = typer.Option(False, "--debug", help="Print a traceback with every error."),
) -> None:
    """Options of every command; `--debug` is read by `main`."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line. Exit code 0, or 2 with one sentence on stderr (130 after Ctrl-C)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    # Before torch is loaded, for jobs as well: by default it rounds pinned memory up to powers of two, and
    # offloaded weights and caches would take up to twice their size.
    os.environ.setdefault("PYTORCH_ALLOC_CONF", "pinned_max_round_threshold_mb:1")
    # Accepted anywhere on the line; the group's own option documents it.
    debug = "--debug" in arguments
    try:
        code = app([argument for argument in arguments if argument != "--debug"], standalone_mode=False) or 0
        if code == INTERRUPTED:  # Newer Typers turn Ctrl-C into this code instead of an exception.
            raise KeyboardInterrupt
    except (Exception, KeyboardInterrupt) as error:
        sentence = _sentence(error)
        if sentence is None:
            raise
        if debug:
            traceback.print_exc()
        if sentence:
            print(f"flextraj: {sentence}", file=sys.stderr)
        code = INTERRUPTED if isinstance(error, (typer.Abort, KeyboardInterrupt)) else USER_ERROR
    sys.exit(code)


def _sentence(error: BaseException) -> str | None:
    """What the user is told about an error, "" for nothing more, None where it is a defect of the program."""
    match error:
        case typer.Abort() | KeyboardInterrupt():
            return "Stopped."
        case FlexTrajError():
            return error.message
        case MemoryError():
            return "There is not enough memory for this: use fewer points, fewer frames or a smaller size."
        case OSError():
            return f"{error.filename or 'A file'} cannot be used: {error.strerror or error}."
    if isinstance(error, _ClickException):
        message = getattr(error, "format_message", error.__str__)()
        # No command at all: the help has been printed.
        stop = "" if message.endswith((".", "?")) else "."
        return f"{message}{stop} See 'flextraj --help'." if message else ""
    return None
