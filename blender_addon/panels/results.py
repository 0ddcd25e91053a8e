"""Jobs: what runs, what is finished, and what to do with the videos."""

from __future__ import annotations

from typing import Any

import bpy

from ..blender_types import Context, Layout
from ..client.job_reports import JobStage
from ..client.job_texts import stage_title
from ..core.errors import ErrorCode
from ..fix_button import draw_fix
from ..properties import FlexTrajJobRow, runtime_state
from ..registration import registration_of
from ..thumbnails import thumbnail_icon
from ..translations import filled
from .layout import ChildPanel, RowList, panel_layout, wrapped_text

_ICONS = {
    JobStage.DONE: "CHECKMARK",
    JobStage.FAILED: "ERROR",
    JobStage.CANCELLED: "CANCEL",
    JobStage.INTERRUPTED: "PAUSE",
    JobStage.LOST: "UNLINKED",
}
_THUMBNAIL_SCALE = 6.0
_TITLE_SHARE = 0.55


class FLEXTRAJ_UL_jobs(RowList, bpy.types.UIList):
    bl_idname = "FLEXTRAJ_UL_jobs"

    def draw_row(self, layout: Layout, item: Any) -> None:
        stage = JobStage(item.stage)
        row = layout.row(align=True)
        halves = row.split(factor=_TITLE_SHARE, align=True)
        thumbnail = thumbnail_icon(item.thumbnail)
        if thumbnail:
            halves.label(text=item.title, icon_value=thumbnail)
        else:
            halves.label(text=item.title, icon=_ICONS.get(stage, "SORTTIME"))
        if not stage.is_finished:
            halves.progress(factor=item.factor, text=stage_title(stage).split(" ")[0])
            row.operator("flextraj.cancel_job", text="", icon="X", emboss=False).key = item.key
        else:
            is_draft = stage is JobStage.DONE and item.label
            halves.label(text="Draft" if is_draft else stage_title(stage))
            if stage.can_be_retried:
                row.operator("flextraj.retry_job", text="", icon="FILE_REFRESH", emboss=False).key = item.key


class FLEXTRAJ_MT_load_as(bpy.types.Menu):
    bl_idname = "FLEXTRAJ_MT_load_as"
    bl_label = "Load As"
    bl_description = "Load the video of the selected job into this file"

    def draw(self, context: Context) -> None:
        layout: Layout = self.layout
        job = _active_job()
        for target, text, icon in (
            ("STRIP", "Video Strip", "SEQUENCE"),
            ("BACKGROUND", "Camera Background", "IMAGE_BACKGROUND"),
            ("CLIP", "Movie Clip", "TRACKER"),
            ("IMAGE", "Movie Image", "IMAGE_DATA"),
            ("SEQUENCE", "Image Sequence", "RENDER_RESULT"),
        ):
            button = layout.operator("flextraj.load_result", text=text, icon=icon)
            button.target, button.key = target, "" if job is None else job.key


class FLEXTRAJ_PT_results(ChildPanel, bpy.types.Panel):
    bl_idname = "FLEXTRAJ_PT_results"
    bl_label = "Jobs"

    def draw(self, context: Context) -> None:
        layout = panel_layout(self)
        state = runtime_state()
        if state.unsaved_jobs:
            count = state.unsaved_jobs
            text = (
                filled("Show {count} Jobs of Unsaved Files", count=count)
                if count > 1
                else "Show the Job of an Unsaved File"
            )
            layout.operator("flextraj.find_jobs", text=text, icon="RECOVER_LAST").unsaved = "YES"
        job = _active_job()
        if job is None:
            layout.label(text="Nothing generated yet")
            return
        rows = min(max(len(state.jobs), 2), 5)
        layout.template_list(
            FLEXTRAJ_UL_jobs.bl_idname, "", state, "jobs", state, "job_index", rows=rows, maxrows=5
        )
        stage = JobStage(job.stage)
        wrapped_text(layout, context, job.origin, "FILE_BLEND" if job.file else "NONE")
        if not stage.is_finished:
            _draw_progress(layout, job)
        elif stage is JobStage.DONE:
            _draw_result(layout, context, job)
        elif stage.can_be_retried:
            _draw_trouble(layout, context, job)
        if stage.is_finished:
            _draw_tidying(layout, job)


def _active_job() -> FlexTrajJobRow | None:
    state = runtime_state()
    if not state.jobs:
        return None
    return state.jobs[min(max(state.job_index, 0), len(state.jobs) - 1)]


def _draw_progress(layout: Layout, job: FlexTrajJobRow) -> None:
    row = layout.row(align=True)
    row.progress(factor=job.factor, text=job.text)
    row.operator("flextraj.cancel_job", text="", icon="X").key = job.key


def _draw_result(layout: Layout, context: Context, job: FlexTrajJobRow) -> None:
    thumbnail = thumbnail_icon(job.thumbnail)
    if thumbnail:
        layout.template_icon(icon_value=thumbnail, scale=_THUMBNAIL_SCALE)
    if job.label:
        layout.label(text=job.label.title(), icon="INFO")
    for warning in job.warnings.splitlines():
        wrapped_text(layout, context, warning, "BLANK1")
    row = layout.row(align=True)
    button = row.operator("flextraj.load_result", text="Add to Timeline", icon="SEQUENCE")
    button.target, button.key = "STRIP", job.key
    row.menu(FLEXTRAJ_MT_load_as.bl_idname, text="Load As")


def _draw_trouble(layout: Layout, context: Context, job: FlexTrajJobRow) -> None:
    wrapped_text(layout, context, job.message, _ICONS[JobStage(job.stage)])
    row = layout.row(align=True)
    row.operator("flextraj.retry_job", icon="FILE_REFRESH").key = job.key
    if job.code != ErrorCode.VIDEO:  # whose fix is to retry, too
        draw_fix(row, job.code, job.message, job.key)


def _draw_tidying(layout: Layout, job: FlexTrajJobRow) -> None:
    row = layout.row(align=True)
    if job.folder:
        row.operator("flextraj.open_output_folder", icon="FILE_FOLDER").key = job.key
    row.operator(
        "flextraj.forget_job", text="" if job.folder else "Remove from List", icon="TRASH"
    ).key = job.key


register, unregister = registration_of(FLEXTRAJ_UL_jobs, FLEXTRAJ_MT_load_as, FLEXTRAJ_PT_results)
