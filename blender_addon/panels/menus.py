"""Object > FlexTraj: everything that the panel's buttons do, for the keyboard, F3 search and Quick Favorites.

There are no key maps: users give an entry the shortcut that they like.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import bpy

from ..blender_types import Context, Layout
from ..registration import registration_of
from .generate import FLEXTRAJ_MT_engines

# Blender registers only the classes that are menus themselves.
_Menu = bpy.types.Menu if TYPE_CHECKING else object


@dataclass(frozen=True)
class Entry:
    """An operator as a menu shows it.

    Attributes:
        operator: what follows `flextraj.` in its name.
        text: instead of its label, where that needs its panel around it.
        target: value of its property `target`, empty where it has none.
    """

    operator: str
    text: str = ""
    target: str = ""


class EntryMenu(_Menu):
    """A menu of operators."""

    ENTRIES: ClassVar[tuple[Entry, ...]] = ()

    def draw(self, context: Context) -> None:
        layout: Layout = self.layout
        # As a button does it: with Esc, dialogs and file browser.
        layout.operator_context = "INVOKE_DEFAULT"
        for entry in self.ENTRIES:
            name = f"flextraj.{entry.operator}"
            # An empty text would stand in the label's place.
            button = layout.operator(name, text=entry.text) if entry.text else layout.operator(name)
            if entry.target:
                button.target = entry.target


class FLEXTRAJ_MT_subjects(EntryMenu, bpy.types.Menu):
    bl_idname = "FLEXTRAJ_MT_subjects"
    bl_label = "Subjects"
    ENTRIES = (
        Entry("use_selected", "Use Active Object as Character"),
        Entry("list_subjects", "Edit Subjects as List"),
        Entry("add_subjects"),
        Entry("add_rig"),
        Entry("add_collection"),
        Entry("remove_subject"),
        Entry("paint_density"),
        Entry("assign_seg_ids"),
        Entry("add_camera"),
    )


class FLEXTRAJ_MT_photo(EntryMenu, bpy.types.Menu):
    bl_idname = "FLEXTRAJ_MT_photo"
    bl_label = "Photo"
    ENTRIES = (
        Entry("pick_image", "Choose Photo", "PHOTO"),
        Entry("show_photo", "Show Photo Behind Rig"),
        Entry("hide_photo"),
        Entry("size_from_photo"),
        Entry("pick_image", "Choose Mask", "MASK"),
        Entry("correct_mask"),
        Entry("forget_mask"),
    )


class FLEXTRAJ_MT_placement(EntryMenu, bpy.types.Menu):
    bl_idname = "FLEXTRAJ_MT_placement"
    bl_label = "Placement"
    ENTRIES = (
        Entry("fit_to_photo"),
        Entry("place_rig"),
        Entry("find_start_frame"),
        Entry("edit_pins"),
        Entry("remove_pins"),
        Entry("mirror_motion"),
        Entry("reset_fit"),
    )


class FLEXTRAJ_MT_generate(EntryMenu, bpy.types.Menu):
    bl_idname = "FLEXTRAJ_MT_generate"
    bl_label = "Generate"
    ENTRIES = (
        Entry("sample_points"),
        Entry("forget_points"),
        Entry("new_seed"),
        Entry("fix_frames"),
        Entry("fix_size"),
        Entry("use_less_memory"),
        Entry("use_less_gpu_memory"),
    )

    def draw(self, context: Context) -> None:
        layout: Layout = self.layout
        layout.menu(FLEXTRAJ_MT_engines.bl_idname)
        super().draw(context)


class FLEXTRAJ_MT_jobs(EntryMenu, bpy.types.Menu):
    bl_idname = "FLEXTRAJ_MT_jobs"
    bl_label = "Jobs"
    ENTRIES = (Entry("find_jobs"), Entry("open_output_folder", "Open Output Folder"))

    def draw(self, context: Context) -> None:
        layout: Layout = self.layout
        layout.operator_menu_enum("flextraj.load_result", "target")
        super().draw(context)


class FLEXTRAJ_MT_backend(EntryMenu, bpy.types.Menu):
    bl_idname = "FLEXTRAJ_MT_backend"
    bl_label = "Backend"
    ENTRIES = (
        Entry("start_backend"),
        Entry("stop_backend"),
        Entry("restart_backend"),
        Entry("look_at_device", "Ask for Free Memory"),
        Entry("open_log"),
        Entry("copy_log"),
    )


class FLEXTRAJ_MT_training(EntryMenu, bpy.types.Menu):
    bl_idname = "FLEXTRAJ_MT_training"
    bl_label = "Training Pairs"
    ENTRIES = (
        Entry("generate_pairs"),
        Entry("cancel_pairs"),
        Entry("pick_pairs_folder", "Choose Output Folder", "OUTPUT"),
        Entry("pick_pairs_folder", "Choose Own Characters", "CHARACTERS"),
        Entry("open_pairs_folder"),
    )


class FLEXTRAJ_MT_main(EntryMenu, bpy.types.Menu):
    bl_idname = "FLEXTRAJ_MT_main"
    bl_label = "FlexTraj"
    ENTRIES = (
        Entry("generate"),
        Entry("cancel_job", "Cancel All Jobs"),
        Entry("dismiss_error", "Dismiss Message"),
        Entry("open_preferences"),
    )

    def draw(self, context: Context) -> None:
        super().draw(context)
        layout: Layout = self.layout
        layout.separator()
        for menu in SUBMENUS:
            layout.menu(menu.bl_idname)


SUBMENUS = (
    FLEXTRAJ_MT_subjects,
    FLEXTRAJ_MT_photo,
    FLEXTRAJ_MT_placement,
    FLEXTRAJ_MT_generate,
    FLEXTRAJ_MT_jobs,
    FLEXTRAJ_MT_backend,
    FLEXTRAJ_MT_training,
)
_PARENTS = ("VIEW3D_MT_object", "VIEW3D_MT_pose")
"""Where animators are while they work on a shot."""

_register_classes, _unregister_classes = registration_of(*SUBMENUS, FLEXTRAJ_MT_main)


def _draw_in_parent(menu: bpy.types.Menu, context: Context) -> None:
    layout: Layout = menu.layout
    layout.separator()
    layout.menu(FLEXTRAJ_MT_main.bl_idname)


def register() -> None:
    _register_classes()
    for name in _PARENTS:
        getattr(bpy.types, name).append(_draw_in_parent)


def unregister() -> None:
    for name in _PARENTS:
        getattr(bpy.types, name).remove(_draw_in_parent)
    _unregister_classes()
