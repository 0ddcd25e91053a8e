"""The act of training pairs: four tiny clips by the panel's own buttons, progress, cancel, overview."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import bpy

sys.path.insert(0, str(Path(__file__).resolve().parent))

from gui_check_tools import (
    WORK,
    Steps,
    area_of,
    ask,
    context,
    found,
    in_sidebar,
    must,
    open_copy,
    open_tab,
    operators,
    pause,
    run,
    session,
    shoot,
    state,
    wait,
)

CLIPS = 4
PATIENCE = 300


def steps() -> Steps:
    yield from pause(1.0)
    yield from open_tab()
    yield from refused_folder()
    choose_tiny_clips()
    yield from look("t1_settings", "training_pairs", "pair_actions", "pair_clips")
    yield from generate()
    yield from go_on()
    must(session().pairs.report.log == (), f"The command complained: {session().pairs.report.log}.")


def training() -> Any:
    return context.scene.flextraj.training


def refused_folder() -> Steps:
    other = WORK / "results" / "thesis"
    other.mkdir()
    (other / "chapter1.txt").write_text("mine", encoding="utf-8")
    in_sidebar(lambda: operators.flextraj.pick_pairs_folder(target="OUTPUT", directory=str(other)))
    in_sidebar(operators.flextraj.generate_pairs)
    yield from wait(lambda: "holds other files" in state().error_text, 20, "The refusal of a folder in use")
    must(sorted(path.name for path in other.iterdir()) == ["chapter1.txt"], "The folder was written to.")
    yield from look("t0_refused", "main", "training_pairs")
    yield from ask("key", "Escape")  # the message over the viewport
    in_sidebar(operators.flextraj.dismiss_error)
    yield from pause(0.3)


def choose_tiny_clips() -> None:
    folder = WORK / "results" / "pairs"
    in_sidebar(lambda: operators.flextraj.pick_pairs_folder(target="OUTPUT", directory=str(folder)))
    values = {"clips": CLIPS, "characters": 3, "others": 1, "width": 72, "height": 48, "frames": 9, "fps": 8}
    for name, value in values.items():
        setattr(training(), name, value)
    training().points = 64
    training().actions = {"walk", "wave", "jump"}


def generate() -> Steps:
    """Generate, cancel after the first clip, and generate what is missing."""
    in_sidebar(operators.flextraj.generate_pairs)
    pairs = session().pairs
    types: Any = bpy.types
    copy = open_copy(types.FLEXTRAJ_PT_training_pairs)
    yield from open_tab("Check")
    yield from wait(lambda: pairs.report.progress.done >= 1 or not pairs.is_running, PATIENCE, "A clip")
    found["pairs_pid"] = pairs.runner.pid or 0
    if pairs.is_running:
        yield from shoot("t2_progress")
    if pairs.is_running:
        in_sidebar(operators.flextraj.cancel_pairs)
    yield from wait(lambda: not pairs.has_work, 60, "The end after Cancel")
    found["clips_after_cancel"] = pairs.report.progress.done
    yield from shoot("t3_after_cancel")
    bpy.utils.unregister_class(copy)


def go_on() -> Steps:
    pairs = session().pairs
    in_sidebar(operators.flextraj.generate_pairs)
    yield from wait(lambda: not pairs.has_work, PATIENCE, "The dataset")
    must(pairs.report.stage.value == "done", f"The generation ended as {pairs.report.error}.")
    must(pairs.report.progress.done == CLIPS, f"There are {pairs.report.progress.done} clips.")
    must((WORK / "results" / "pairs" / "contact_sheet.png").is_file(), "There is no contact sheet.")
    found["clips"] = pairs.report.progress.done
    yield from look("t4_done", "training_pairs")


def look(name: str, *panels: str) -> Steps:
    """Photograph open copies of these panels."""
    copies = [open_copy(getattr(bpy.types, f"FLEXTRAJ_PT_{panel}")) for panel in panels]
    yield from open_tab("Check")
    area_of("VIEW_3D").tag_redraw()
    yield from shoot(name)
    for copy in copies:
        bpy.utils.unregister_class(copy)


run(steps())
