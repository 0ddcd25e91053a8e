"""Bring a finished video into Blender, show its folder, forget it."""

# Blender reads the annotations of operators as values, so they cannot be postponed nor type-checked.
# pyright: reportInvalidTypeForm=false

from pathlib import Path

import bpy
from bpy.props import EnumProperty, StringProperty

from ..blender_types import Context, OperatorResult
from ..bridge.results import load_clip, load_image, load_strip
from ..client.job_reports import JobReport, JobStage
from ..core.errors import FlexTrajError
from ..core.frame_mapping import FrameRange
from ..preferences import output_folder
from ..registration import registration_of
from ..session import current_session, show_error, show_session


def latest_result() -> JobReport | None:
    """The newest job that has a video."""
    done = [report for report in current_session().jobs.values() if report.stage is JobStage.DONE]
    return done[-1] if done else None


class FLEXTRAJ_OT_load_result(bpy.types.Operator):
    bl_idname = "flextraj.load_result"
    bl_label = "Load Result"
    bl_description = "Load the finished video into this file"
    bl_options = {"REGISTER", "UNDO"}

    target: EnumProperty(
        name="Load As",
        description="What becomes of the video",
        items=(
            (
                "STRIP",
                "Timeline",
                "A movie strip in the Video Sequencer, where the shot starts",
                "SEQUENCE",
                0,
            ),
            ("CLIP", "Movie Clip", "A movie clip for tracking and masking", "TRACKER", 1),
            (
                "IMAGE",
                "Image",
                "A movie image for the Image Editor, materials and backgrounds",
                "IMAGE_DATA",
                2,
            ),
        ),
    )
    key: StringProperty(
        name="Job", description="Job whose video is loaded; empty = the newest", options={"SKIP_SAVE"}
    )

    @classmethod
    def poll(cls, context: Context) -> bool:
        if latest_result() is None:
            cls.poll_message_set("No video is finished yet: press Generate first")
            return False
        return True

    def execute(self, context: Context) -> OperatorResult:
        report = current_session().jobs.get(self.key) if self.key else latest_result()
        if report is None or report.video is None:
            self.report({"ERROR"}, "That job has no video: press Generate to make one.")
            return {"CANCELLED"}
        try:
            if self.target == "STRIP":
                name = f"{report.title} ({report.label})" if report.label else report.title
                shot = FrameRange(report.first_frame, report.last_frame)
                load_strip(context.scene, report.video, shot, name)
                place = "the Video Sequencer"
            elif self.target == "CLIP":
                load_clip(report.video)
                place = "the movie clips"
            else:
                load_image(report.video)
                place = "the images"
        except FlexTrajError as error:
            show_error(error)
            self.report({"ERROR"}, error.message)
            return {"CANCELLED"}
        self.report({"INFO"}, f"{report.video.name} of '{report.title}' is among {place} now")
        return {"FINISHED"}


class FLEXTRAJ_OT_open_output_folder(bpy.types.Operator):
    bl_idname = "flextraj.open_output_folder"
    bl_label = "Open Folder"
    bl_description = "Show the job's files in the system's file browser"

    key: StringProperty(
        name="Job", description="Job whose folder is shown; empty = the folder of all", options={"SKIP_SAVE"}
    )

    def execute(self, context: Context) -> OperatorResult:
        report = current_session().jobs.get(self.key)
        folder = output_folder() if report is None or report.folder is None else report.folder
        if not Path(folder).is_dir():
            self.report({"ERROR"}, f"There is no folder {folder} yet: press Generate first.")
            return {"CANCELLED"}
        if not bpy.app.background:
            bpy.ops.wm.path_open(filepath=str(folder))
        return {"FINISHED"}


class FLEXTRAJ_OT_forget_job(bpy.types.Operator):
    bl_idname = "flextraj.forget_job"
    bl_label = "Remove from List"
    bl_description = "Take a job that has ended off the list; its files stay on the disk"

    key: StringProperty(options={"SKIP_SAVE"})

    @classmethod
    def poll(cls, context: Context) -> bool:
        if not any(report.stage.is_finished for report in current_session().jobs.values()):
            cls.poll_message_set("No job has ended")
            return False
        return True

    def execute(self, context: Context) -> OperatorResult:
        jobs = current_session().jobs
        if self.key not in jobs or not jobs[self.key].stage.is_finished:
            self.report({"ERROR"}, "That job still runs: cancel it first.")
            return {"CANCELLED"}
        del jobs[self.key]
        show_session()
        return {"FINISHED"}


register, unregister = registration_of(
    FLEXTRAJ_OT_load_result, FLEXTRAJ_OT_open_output_folder, FLEXTRAJ_OT_forget_job
)
