"""The act of subjects, control and generation: list, kept frames, painting, estimate, presets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import bpy

sys.path.insert(0, str(Path(__file__).resolve().parent))

from gui_check_tools import (
    MODULE,
    VALUES,
    WORK,
    Steps,
    add_character,
    area_of,
    ask,
    context,
    found,
    in_sidebar,
    look_through_camera,
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

PANELS = ("subjects", "control", "generate")


def steps() -> Steps:
    yield from pause(1.0)
    yield from open_tab()
    humanoid = add_character()
    settings().character = humanoid.armature
    operators.wm.save_as_mainfile(filepath=str(WORK / "settings.blend"))
    photo = "//" + Path(VALUES["photo"]).name
    in_sidebar(lambda: operators.flextraj.pick_image(target="PHOTO", filepath=photo))
    in_sidebar(operators.flextraj.add_camera)
    look_through_camera()
    add_props()
    yield from open_tab()
    yield from look("s1_character", *PANELS)
    yield from fill_list(humanoid.armature)
    yield from keep_frames()
    yield from estimate()
    yield from presets()
    yield from paint()
    in_sidebar(operators.flextraj.stop_backend)
    yield from wait(lambda: state().backend_phase == "stopped", 20, "The end of the backend")


def look(name: str, *panels: str) -> Steps:
    """Photograph open copies of these panels."""
    copies = [open_copy(getattr(bpy.types, f"FLEXTRAJ_PT_{panel}")) for panel in panels]
    yield from open_tab("Check")
    area_of("VIEW_3D").tag_redraw()
    yield from shoot(name)
    for copy in copies:
        bpy.utils.unregister_class(copy)


def settings() -> Any:
    return context.scene.flextraj


def add_props() -> None:
    collection = bpy.data.collections.new("Set")
    context.scene.collection.children.link(collection)
    for name, size, place in (("Ground", 6.0, (0, 0, 0)), ("Crate", 0.4, (0.9, 0.2, 0.2))):
        make = operators.mesh.primitive_plane_add if name == "Ground" else operators.mesh.primitive_cube_add
        in_sidebar(lambda make=make, size=size, place=place: make(size=size, location=place))
        prop = context.view_layer.objects.active
        prop.name = name
        for owner in list(prop.users_collection):
            owner.objects.unlink(prop)
        collection.objects.link(prop)


def fill_list(rig: Any) -> Steps:
    in_sidebar(operators.flextraj.list_subjects)
    must(settings().source == "LIST", "Edit as List shows no list.")
    meshes = {row.object.name for row in settings().subjects}
    must(meshes and rig.name not in meshes, f"The rig is listed as {meshes}.")
    settings().picked_collection = bpy.data.collections["Set"]
    must(settings().picked_collection is None, "The field of collections stays filled.")
    settings().picked_object = bpy.data.objects["Crate"]
    names = [row.object.name for row in settings().subjects]
    must(len(names) == len(set(names)), f"An object is listed twice: {names}.")
    must({"Ground", "Crate"} <= set(names), f"The collection is not listed: {names}.")
    row_of("Ground").background = True
    row_of("Crate").points = 400
    settings().subject_index = names.index("Crate")
    yield from look("s2_list", "subjects", "sampling")
    row_of("Crate").include = False
    found["segments"] = names


def row_of(name: str) -> Any:
    return next(row for row in settings().subjects if row.object.name == name)


def keep_frames() -> Steps:
    settings().frame_choice = "markers"
    for frame in (5, 14, 22):
        context.scene.timeline_markers.new(f"Pose {frame}", frame=frame)
    yield from pause(0.6)
    yield from look("s3_markers", "control", "shot")
    settings().frame_choice = "keyframes"
    yield from pause(0.6)
    yield from look("s4_keyframes", "control")
    settings().frame_choice = "share"


def estimate() -> Steps:
    in_sidebar(operators.flextraj.start_backend)
    yield from wait(lambda: state().backend_phase == "running", 240, "The start of the backend")
    found["backend_pid"] = session()._backend._process.pid or 0
    yield from open_tab()
    area_of("VIEW_3D").tag_redraw()
    yield from wait(last_estimate, 30, "The estimate of a preview")
    found["estimate"] = last_estimate()
    yield from look("s5_estimate", "generate")
    settings().engine = "wan"
    yield from pause(1.0)
    yield from look("s6_model", "generate", "model")
    in_sidebar(lambda: operators.wm.call_menu(name="FLEXTRAJ_MT_engines"))
    yield from shoot("s7_engines")
    yield from ask("key", "Escape")


def last_estimate() -> str:
    report = session().estimates._report
    return "" if report is None or report.answer is None else str(report.answer)


def presets() -> Steps:
    folder = sys.modules[f"{MODULE}.presets"].BUILT_IN / "presets" / "flextraj" / "generate"
    for name, engine, steps_ in (("Standard", "wan", 25), ("Final", "wan", 0), ("Draft", "preview", 0)):
        menu = "FLEXTRAJ_PT_presets"
        operators.script.execute_preset(filepath=str(folder / f"{name}.py"), menu_idname=menu)
        must((settings().engine, settings().steps) == (engine, steps_), f"The preset {name} sets others.")
    in_sidebar(lambda: operators.wm.call_panel(name="FLEXTRAJ_PT_presets", keep_open=True))
    yield from shoot("s8_presets")
    yield from ask("key", "Escape")


def paint() -> Steps:
    settings().subject_index = 0
    in_sidebar(operators.flextraj.paint_density)
    must(context.object.mode == "WEIGHT_PAINT", "Paint Density does not paint.")
    must(settings().subjects[0].vertex_group, "Paint Density chose no vertex group.")
    yield from look("s9_paint", "subjects")
    in_sidebar(lambda: operators.object.mode_set(mode="OBJECT"))


run(steps())
