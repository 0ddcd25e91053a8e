"""What the steps of the window check share: waiting, photographing, pressing, and the scene.

The side in Blender only: imported by the acts.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import bpy

VALUES = json.loads(Path(os.environ["FLEXTRAJ_CHECK"]).read_text(encoding="utf-8"))
WORK = Path(VALUES["work"])
MODULE = "bl_ext.user_default.flextraj"
TICK = 0.05

Steps = Generator[None, None, None]
context: Any = bpy.context
operators: Any = bpy.ops
found: dict[str, Any] = {"problem": "", "backend_pid": 0, "blender": bpy.app.version_string}


class StepFailed(Exception):
    pass


def must(condition: Any, sentence: str) -> None:
    if not condition:
        raise StepFailed(sentence)


def pause(seconds: float) -> Steps:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        yield


def wait(condition: Callable[[], Any], seconds: float, what: str) -> Steps:
    """Wait for something, on a busy machine longer than `seconds`."""
    limit = seconds * VALUES["patience"]
    until = time.monotonic() + limit
    while not condition():
        must(time.monotonic() < until, f"{what} did not happen within {limit:g} s.")
        yield


def shoot(name: str) -> Steps:
    """Let the other side photograph the screen."""
    yield from pause(0.6)
    # Panels whose contents have changed find their places when they are drawn again, as under a user's mouse.
    for area in window().screen.areas:
        area.tag_redraw()
    yield from pause(0.8)
    yield from ask("shot", name)


def ask(what: str, argument: str) -> Steps:
    """Let the other side photograph the screen or press a key, and wait until it has."""
    request = WORK / "next.request"
    unfinished = request.with_suffix(".part")
    unfinished.write_text(json.dumps([what, argument]), encoding="utf-8")
    unfinished.replace(request)
    yield from wait(lambda: not request.exists(), 30, f"The {what} {argument}")


def window() -> Any:
    return context.window_manager.windows[0]


def area_of(kind: str) -> Any:
    return next((area for area in window().screen.areas if area.type == kind), None)


def in_sidebar(call: Callable[[], Any]) -> Any:
    """Call an operator as a click in the sidebar would."""
    area = area_of("VIEW_3D")
    region = next(region for region in area.regions if region.type == "UI")
    with context.temp_override(window=window(), area=area, region=region):
        return call()


def state() -> Any:
    return context.window_manager.flextraj


def session() -> Any:
    return sys.modules[f"{MODULE}.session"].current_session()


def open_tab(tab: str = "FlexTraj") -> Steps:
    area = area_of("VIEW_3D")
    area.spaces.active.show_region_ui = True
    region = next(region for region in area.regions if region.type == "UI")

    def choose() -> bool:
        try:
            region.active_panel_category = tab
        except (TypeError, AttributeError):
            return False
        area.tag_redraw()
        return region.active_panel_category == tab

    yield from wait(choose, 20, f"Opening the tab {tab}")


def shoot_end_of_sidebar(name: str) -> Steps:
    """Scroll the sidebar to its end, where the jobs are, and let the other side photograph the screen."""
    area = area_of("VIEW_3D")
    region = next(region for region in area.regions if region.type == "UI")
    # The screen counts rows from its top.
    x, y = region.x + region.width // 2, window().height - region.y - region.height // 2
    yield from ask("wheel", f"{x} {y} 60")
    yield from shoot(name)


def add_character() -> Any:
    """The demo's character in its motion."""
    sys.path.insert(0, VALUES["repository"])
    from flextraj_backend.demo.humanoid import add_humanoid
    from flextraj_backend.demo.motions import FPS, FRAMES, GROOVE, apply_motion
    from flextraj_backend.demo.scene import STURDY

    scene = context.scene
    for name in ("Cube", "Camera"):
        if name in bpy.data.objects:
            bpy.data.objects.remove(bpy.data.objects[name])
    scene.frame_start, scene.frame_end = 1, FRAMES
    scene.render.fps = FPS
    scene.render.resolution_x, scene.render.resolution_y = 720, 480
    humanoid = add_humanoid(scene, STURDY)
    apply_motion(humanoid.armature, GROOVE)
    scene.frame_set(10)
    return humanoid


def look_through_camera() -> None:
    area = area_of("VIEW_3D")
    area.spaces.active.region_3d.view_perspective = "CAMERA"
    area.spaces.active.shading.color_type = "MATERIAL"


def measure(owner: Any, name: str, label: str) -> None:
    """Note the longest call of a function of the add-on, which is how long it keeps the window waiting."""
    original = getattr(owner, name)
    found[label] = 0.0

    def measured(*arguments: Any) -> Any:
        started = time.monotonic()
        try:
            return original(*arguments)
        finally:
            found[label] = round(max(found[label], time.monotonic() - started), 4)

    setattr(owner, name, measured)


def open_copy(panel: Any) -> Any:
    """Register a panel that draws the same under another name, on the top level and open."""
    members = {name: value for name, value in vars(panel).items() if name.startswith(("draw", "_draw"))}
    place = {"bl_space_type": "VIEW_3D", "bl_region_type": "UI", "bl_category": "Check"}
    names = {"bl_idname": panel.__name__.replace("FLEXTRAJ", "CHECK"), "bl_label": panel.bl_label}
    copy = type(names["bl_idname"], (bpy.types.Panel,), members | place | names)
    bpy.utils.register_class(copy)
    return copy


def be_killed() -> Steps:
    """Let the other side kill Blender, in the middle of whatever it does."""
    tell_verdict("")
    yield from ask("kill", "")


def tell_verdict(problem: str) -> None:
    found["problem"] = problem
    (WORK / "verdict.json").write_text(json.dumps(found), encoding="utf-8")


def finish(problem: str) -> None:
    tell_verdict(problem)
    with context.temp_override(window=window()):
        operators.wm.quit_blender()


def run(steps: Steps) -> None:
    """Work through the steps of an act; Blender ends with them."""

    def tick() -> float | None:
        try:
            next(steps)
        except StopIteration:
            finish("")
            return None
        except StepFailed as error:
            finish(str(error))
            return None
        except BaseException:
            finish(traceback.format_exc())
            return None
        return TICK

    context.preferences.view.show_splash = False
    bpy.app.timers.register(tick, first_interval=1.0, persistent=True)
