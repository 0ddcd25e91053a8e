"""Training Pairs: datasets for those who train the control, made by the backend."""

from __future__ import annotations

from typing import Any

import bpy

from ..blender_types import Context, Layout
from ..bridge.pairs_request import chosen_folder
from ..client.dataset_folder import FolderKind, FolderReport
from ..client.pairs_runner import PairsReport, PairsStage
from ..client.pairs_texts import Phrase, end_phrase, progress_phrase, speed_phrase
from ..core.errors import ErrorCode, FlexTrajError
from ..fix_button import draw_fix
from ..pairs_desk import PAIRS_KEY
from ..properties import scene_settings
from ..registration import registration_of
from ..session import current_session, ensure_timer
from ..thumbnails import thumbnail_icon
from ..training_properties import FlexTrajTrainingSettings
from ..translations import filled
from .layout import ChildPanel, SidebarPanel, panel_layout, split_layout, wrapped_text

_SHEET_SCALE = 9.0
_COLUMNS = 2


class FLEXTRAJ_PT_training_pairs(ChildPanel, bpy.types.Panel):
    bl_idname = "FLEXTRAJ_PT_training_pairs"
    bl_label = "Training Pairs"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: Context) -> None:
        training = scene_settings(context.scene).training
        layout = panel_layout(self)
        found = _folder_report(training)
        _draw_path(layout, training, "folder")
        _draw_folder(layout, context, found)
        _draw_counts(layout.column(), training)
        layout.label(text="Camera Moves")
        _draw_choices(layout, training, "cameras")
        _draw_path(layout, training, "library")
        report = current_session().pairs.report
        _draw_extent(layout, context, training)
        row = layout.row()
        row.scale_y = 1.5
        row.operator("flextraj.generate_pairs", icon="PLAY")
        if report is not None and not report.stage.is_finished:
            _draw_progress(layout, report)
        # How another folder's ended is no news here, and what is wrong with this one stands at its top.
        elif report is not None and _is_its_end(report, found):
            _draw_end(layout, context, report)
        if found is not None and found.kind is FolderKind.DATASET:
            _draw_dataset(layout, found)


class FLEXTRAJ_PT_pair_actions(SidebarPanel, bpy.types.Panel):
    bl_idname = "FLEXTRAJ_PT_pair_actions"
    bl_label = "Actions"
    bl_parent_id = FLEXTRAJ_PT_training_pairs.bl_idname
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: Context) -> None:
        _draw_choices(panel_layout(self), scene_settings(context.scene).training, "actions")


class FLEXTRAJ_PT_pair_clips(SidebarPanel, bpy.types.Panel):
    bl_idname = "FLEXTRAJ_PT_pair_clips"
    bl_label = "Frames and Size"
    bl_parent_id = FLEXTRAJ_PT_training_pairs.bl_idname
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: Context) -> None:
        training = scene_settings(context.scene).training
        layout = split_layout(self)
        column = layout.column(align=True)
        column.prop(training, "width")
        column.prop(training, "height")
        layout.prop(training, "frames")
        layout.prop(training, "fps")
        layout.prop(training, "points")
        layout.prop(training, "renderer")
        layout.prop(training, "processes")


def _folder_report(training: FlexTrajTrainingSettings) -> FolderReport | None:
    """What lies in the chosen folder as far as it is known; it is looked at beside the drawing."""
    if not training.folder.strip():
        return None
    try:
        folder = chosen_folder(training.folder, ErrorCode.PAIRS_FOLDER)
    except FlexTrajError:  # said when the button is pressed
        return None
    pairs = current_session().pairs
    found = pairs.folder_report(folder)
    if found is None:
        ensure_timer()
    return found


def _draw_path(layout: Layout, training: FlexTrajTrainingSettings, name: str) -> None:
    """A path under its label: beside it, little of it could be read."""
    column = layout.column(align=True)
    column.label(text=training.bl_rna.properties[name].name)
    column.prop(training, name, text="")


def _draw_folder(layout: Layout, context: Context, found: FolderReport | None) -> None:
    if found is None or found.kind is FolderKind.NEW:
        return
    if found.kind is FolderKind.OTHER:
        wrapped_text(layout, context, found.problem, "ERROR")
        draw_fix(layout, ErrorCode.PAIRS_FOLDER.value, found.problem)
        return
    text = filled(
        "A dataset is in this folder (finished clips: {count}): Generate Pairs goes on with it.",
        count=found.clips,
    )
    wrapped_text(layout, context, text, "INFO")


def _draw_counts(column: Layout, training: FlexTrajTrainingSettings) -> None:
    column.use_property_split = True
    column.use_property_decorate = False
    for name in ("clips", "characters", "others", "seed"):
        column.prop(training, name)


def _draw_extent(layout: Layout, context: Context, training: FlexTrajTrainingSettings) -> None:
    text = filled(
        "Drawn from {characters} characters of each kind × {actions} actions × {cameras} camera moves",
        characters=training.characters,
        actions=len(training.actions),
        cameras=len(training.cameras),
    )
    wrapped_text(layout, context, text, "BLANK1")


def _draw_choices(layout: Layout, training: FlexTrajTrainingSettings, name: str) -> None:
    described: Any = training.bl_rna.properties[name]
    grid = layout.grid_flow(row_major=True, columns=_COLUMNS, even_columns=True, align=True)
    for item in described.enum_items_static:
        grid.prop_enum(training, name, item.identifier)


def _draw_progress(layout: Layout, report: PairsReport) -> None:
    row = layout.row(align=True)
    row.progress(factor=report.progress.fraction, text=_text(progress_phrase(report)))
    row.operator("flextraj.cancel_pairs", text="", icon="X")
    speed = speed_phrase(report)
    if speed is not None:
        layout.label(text=_text(speed), icon="TIME")


def _is_its_end(report: PairsReport, found: FolderReport | None) -> bool:
    """Whether a generation ended in the folder that is chosen now, and the folder was not the reason."""
    if found is None or found.kind is FolderKind.OTHER:
        return False
    return found.folder == report.order.request.folder


def _draw_end(layout: Layout, context: Context, report: PairsReport) -> None:
    end = end_phrase(report)
    if end is not None:
        layout.label(text=_text(end), icon="CHECKMARK" if report.stage is PairsStage.DONE else "CANCEL")
    elif report.error is not None:
        wrapped_text(layout, context, report.error.message, "ERROR")
        draw_fix(layout, report.error.code.value, report.error.message, PAIRS_KEY)


def _draw_dataset(layout: Layout, found: FolderReport) -> None:
    if found.contact_sheet is not None and not current_session().pairs.is_running:
        icon = thumbnail_icon(str(found.contact_sheet), found.sheet_stamp)
        if icon:
            layout.template_icon(icon_value=icon, scale=_SHEET_SCALE)
    row = layout.row(align=True)
    row.operator("flextraj.open_pairs_folder", text="Open Folder", icon="FILE_FOLDER").target = "FOLDER"
    if found.contact_sheet is not None:
        row.operator("flextraj.open_pairs_folder", text="", icon="IMAGE_DATA").target = "SHEET"


def _text(phrase: Phrase) -> str:
    return filled(phrase.pattern, **dict(phrase.places))


register, unregister = registration_of(
    FLEXTRAJ_PT_training_pairs, FLEXTRAJ_PT_pair_actions, FLEXTRAJ_PT_pair_clips
)
