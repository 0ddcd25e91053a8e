"""Result: the jobs of this session, and what to do with their videos."""

from __future__ import annotations

from typing import Any

import bpy

from ..blender_types import Context, Layout
from ..client.job_reports import JobStage
from ..client.job_texts import stage_title
from ..properties import FlexTrajJobRow, runtime_state
from ..registration import registration_of
from .layout import ChildPanel, RowList, wrapped_text

_ICONS = {
    JobStage.DONE: "CHECKMARK",
    JobStage.FAILED: "ERROR",
    JobStage.CANCELLED: "CANCEL",
}


class FLEXTRAJ_UL_jobs(RowList, bpy.types.UIList):
    bl_idname = "FLEXTRAJ_UL_jobs"

    def draw_row(self, layout: Layout, item: Any) -> None:
        stage = JobStage(item.stage)
        row = layout.row(align=True)
        row.label(text=item.title, icon=_ICONS.get(stage, "SORTTIME"))
        state = row.row()
        state.alignment = "RIGHT"
        state.label(text=item.label.title() if stage is JobStage.DONE and item.label else stage_title(stage))


class FLEXTRAJ_PT_results(ChildPanel, bpy.types.Panel):
    bl_idname = "FLEXTRAJ_PT_results"
    bl_label = "Result"

    def draw(self, context: Context) -> None:
        layout: Layout = self.layout
        state = runtime_state()
        if not state.jobs:
            layout.label(text="Nothing generated yet")
            return
        rows = min(max(len(state.jobs), 2), 5)
        layout.template_list(
            FLEXTRAJ_UL_jobs.bl_idname, "", state, "jobs", state, "job_index", rows=rows, maxrows=5
        )
        self._draw_job(context, state.jobs[min(max(state.job_index, 0), len(state.jobs) - 1)])

    def _draw_job(self, context: Context, job: FlexTrajJobRow) -> None:
        layout: Layout = self.layout
        stage = JobStage(job.stage)
        if stage is JobStage.FAILED:
            wrapped_text(layout, context, job.message, "ERROR")
        if stage is JobStage.DONE:
            if job.label:
                layout.label(text=job.label.title(), icon="INFO")
            for warning in job.warnings.splitlines():
                wrapped_text(layout, context, warning, "BLANK1")
            column = layout.column(align=True)
            for target, text, icon in (
                ("STRIP", "Add to Timeline", "SEQUENCE"),
                ("CLIP", "Load as Movie Clip", "TRACKER"),
                ("IMAGE", "Load as Image", "IMAGE_DATA"),
            ):
                button = column.operator("flextraj.load_result", text=text, icon=icon)
                button.target, button.key = target, job.key
        if stage.is_finished:
            row = layout.row(align=True)
            if job.folder:
                row.operator("flextraj.open_output_folder", icon="FILE_FOLDER").key = job.key
            row.operator(
                "flextraj.forget_job", text="" if job.folder else "Remove from List", icon="TRASH"
            ).key = job.key


register, unregister = registration_of(FLEXTRAJ_UL_jobs, FLEXTRAJ_PT_results)
