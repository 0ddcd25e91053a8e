"""Bring a finished video into Blender, and tidy the list of jobs."""

# Blender reads the annotations of operators as values, so they cannot be postponed nor type-checked.
# pyright: reportInvalidTypeForm=false

from pathlib import Path

import bpy
from bpy.props import EnumProperty, StringProperty

from ..blender_types import Context, OperatorResult
from ..bridge.compat import is_rendering
from ..bridge.results import load_background, load_clip, load_image, load_sequence, load_strip
from ..client.job_folder import LOG
from ..client.job_reports import JobReport, JobStage
from ..core.errors import FlexTrajError
from ..core.frame_mapping import FrameRange
from ..pairs_desk import PAIRS_KEY
from ..preferences import output_folder
from ..registration import registration_of
from ..session import current_session, show_error
from ..translations import filled, translated

LOAD_TARGETS = (
    (
        "STRIP",
        "Video Strip",
        "A movie strip in the Video Sequencer that keeps step with the scene",
        "SEQUENCE",
        0,
    ),
    ("CLIP", "Movie Clip", "A movie clip for tracking and masking", "TRACKER", 1),
    (
        "IMAGE",
        "Movie Image",
        "A movie image for the Image Editor, materials and backgrounds",
        "IMAGE_DATA",
        2,
    ),
    (
        "BACKGROUND",
        "Camera Background",
        "Behind the scene in the view of its camera, in step with the scene",
        "IMAGE_BACKGROUND",
        3,
    ),
    (
        "SEQUENCE",
        "Image Sequence",
        "Single pictures in the job's folder, shown in the Image Editor; the backend makes them",
        "RENDER_RESULT",
        4,
    ),
)


def latest_result() -> JobReport | None:
    """The open file's newest video; where it has none, that of a file that it was saved from."""
    session = current_session()
    done = [
        report for report in session.jobs.values() if report.stage is JobStage.DONE and session.is_own(report)
    ]
    return max(done, key=lambda report: (session.is_made_here(report), report.order.created), default=None)


class FLEXTRAJ_OT_load_result(bpy.types.Operator):
    bl_idname = "flextraj.load_result"
    bl_label = "Load Result"
    bl_description = "Load the finished video into this file"
    bl_options = {"REGISTER", "UNDO"}

    target: EnumProperty(name="Load As", description="What becomes of the video", items=LOAD_TARGETS)
    key: StringProperty(
        name="Job", description="Job whose video is loaded; empty = the newest", options={"SKIP_SAVE"}
    )

    @classmethod
    def description(cls, context: Context, properties: bpy.types.OperatorProperties) -> str:
        chosen = properties.target  # pyright: ignore[reportAttributeAccessIssue]
        return next(item[2] for item in LOAD_TARGETS if item[0] == chosen)

    @classmethod
    def poll(cls, context: Context) -> bool:
        if latest_result() is None:
            cls.poll_message_set("No video is finished yet: press Generate first")
            return False
        if is_rendering():
            cls.poll_message_set("Wait until Blender has rendered")
            return False
        return True

    def execute(self, context: Context) -> OperatorResult:
        session = current_session()
        report = session.jobs.get(self.key) if self.key else latest_result()
        if report is None or report.video is None:
            self.report({"ERROR"}, translated("That job has no video: press Generate to make one."))
            return {"CANCELLED"}
        if self.target == "SEQUENCE" and report.frames is None:
            session.fetch_frames(report.key)
            if not bpy.app.background:
                message = filled("The pictures are being fetched, the Image Editor will show them")
                self.report({"INFO"}, message)
                return {"FINISHED"}
            report = session.wait_for_frames(report.key)
        try:
            message = self._load(context, report, report.video or Path())
        except FlexTrajError as error:
            show_error(error, report.key)
            self.report({"ERROR"}, translated(error.message))
            return {"CANCELLED"}
        self.report({"INFO"}, message)
        return {"FINISHED"}

    def _load(self, context: Context, report: JobReport, video: Path) -> str:
        """Load the video; return a sentence on where it is. Raises FlexTrajError."""
        title = report.title
        shot = FrameRange(report.order.first_frame, report.order.last_frame)
        match self.target:
            case "STRIP":
                name = f"{report.title} ({report.label})" if report.label else report.title
                load_strip(context.scene, video, shot, name)
                return filled("The video of '{title}' is in the Video Sequencer now", title=title)
            case "CLIP":
                load_clip(video, shot)
                return filled("The video of '{title}' is among the movie clips now", title=title)
            case "BACKGROUND":
                camera = load_background(context.scene, video, shot)
                return filled(
                    "The video of '{title}' is the background of the camera '{camera}' now",
                    title=title,
                    camera=camera.name,
                )
            case "SEQUENCE":
                load_sequence(report.frames, shot)
                return filled(
                    "The video of '{title}' is among the images now, picture by picture", title=title
                )
            case _:
                load_image(video, shot)
                return filled("The video of '{title}' is among the images now", title=title)


class FLEXTRAJ_OT_retry_job(bpy.types.Operator):
    bl_idname = "flextraj.retry_job"
    bl_label = "Retry"
    bl_description = "Get the video of this job, and render it again where the backend does not have it"

    key: StringProperty(name="Job", description="Job that did not end well", options={"SKIP_SAVE"})

    def execute(self, context: Context) -> OperatorResult:
        session = current_session()
        report = session.jobs.get(self.key)
        if report is None or not report.stage.is_finished or report.stage is JobStage.CANCELLED:
            self.report(
                {"ERROR"}, translated("That job cannot be retried: press Generate to make a new one.")
            )
            return {"CANCELLED"}
        session.retry(self.key)
        if bpy.app.background:
            report = session.wait_for(self.key)
            if report.stage is not JobStage.DONE:
                self.report({"ERROR"}, translated(report.message or "The job was cancelled."))
                return {"CANCELLED"}
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
            self.report({"ERROR"}, translated(f"There is no folder {folder} yet: press Generate first."))
            return {"CANCELLED"}
        if not bpy.app.background:
            bpy.ops.wm.path_open(filepath=str(folder))
        return {"FINISHED"}


class FLEXTRAJ_OT_open_log(bpy.types.Operator):
    bl_idname = "flextraj.open_log"
    bl_label = "Open Log"
    bl_description = "Show what the job wrote, or the backend where there is no job, in a Text Editor"

    key: StringProperty(name="Job", description="Job; empty = the backend", options={"SKIP_SAVE"})

    def execute(self, context: Context) -> OperatorResult:
        session = current_session()
        report = session.jobs.get(self.key)
        lines = session.backend.log
        name = "FlexTraj backend.log"
        if self.key == PAIRS_KEY and session.pairs.report is not None:
            name, lines = "FlexTraj training pairs.log", session.pairs.report.log
        if report is not None and (report.order.folder / LOG).is_file():
            text = (report.order.folder / LOG).read_text(encoding="utf-8", errors="replace")
            name, lines = f"{report.title}.log", tuple(text.splitlines())
        if not lines:
            self.report({"ERROR"}, translated("There is no log: the backend has not been started."))
            return {"CANCELLED"}
        shown = bpy.data.texts.new(name)
        shown.write("\n".join(lines))
        _show_text(context, shown)
        self.report({"INFO"}, filled("The log is the text '{name}'", name=shown.name))
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
        session = current_session()
        if self.key not in session.jobs or not session.jobs[self.key].stage.is_finished:
            self.report({"ERROR"}, translated("That job still runs: cancel it first."))
            return {"CANCELLED"}
        session.forget_job(self.key)
        return {"FINISHED"}


class FLEXTRAJ_OT_find_jobs(bpy.types.Operator):
    bl_idname = "flextraj.find_jobs"
    bl_label = "Find Jobs"
    bl_description = "Look again for the jobs of this file"

    unsaved: EnumProperty(
        name="Whose",
        description="Whose jobs are looked for",
        items=(
            ("NO", "This File", "Jobs of this file"),
            ("YES", "Unsaved Files", "Also jobs of files that were never saved; this file takes them over"),
        ),
        options={"SKIP_SAVE"},
    )

    def execute(self, context: Context) -> OperatorResult:
        session = current_session()
        if self.unsaved == "YES":
            session.adopt_unsaved()
        else:
            session.enter_file()
        if bpy.app.background:
            session.wait_until_idle()
        return {"FINISHED"}


def _show_text(context: Context, text: bpy.types.Text) -> None:
    """Show a text in a Text Editor that is open, else in a new window."""
    for window in context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "TEXT_EDITOR":
                area.spaces.active.text = text  # pyright: ignore[reportAttributeAccessIssue]
                return
    if bpy.app.background:
        return
    bpy.ops.wm.window_new()
    area = context.window_manager.windows[-1].screen.areas[0]
    area.type = "TEXT_EDITOR"
    area.spaces.active.text = text  # pyright: ignore[reportAttributeAccessIssue]


register, unregister = registration_of(
    FLEXTRAJ_OT_load_result,
    FLEXTRAJ_OT_retry_job,
    FLEXTRAJ_OT_open_output_folder,
    FLEXTRAJ_OT_open_log,
    FLEXTRAJ_OT_forget_job,
    FLEXTRAJ_OT_find_jobs,
)
