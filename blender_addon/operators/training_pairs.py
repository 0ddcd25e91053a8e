"""Generate Pairs: a dataset for training, made by the backend; cancel it, choose and open its folder."""

# Blender reads the annotations of operators as values, so they cannot be postponed nor type-checked.
# pyright: reportInvalidTypeForm=false

from pathlib import Path

import bpy
from bpy.props import BoolProperty, EnumProperty, StringProperty

from ..blender_types import Context, OperatorResult
from ..bridge.compat import path_options
from ..bridge.pairs_request import chosen_folder, read_pairs_request
from ..client.dataset_folder import CONTACT_SHEET
from ..client.pairs_runner import PairsOrder, PairsStage
from ..core.errors import ErrorCode, FlexTrajError
from ..pairs_desk import PAIRS_KEY
from ..preferences import backend_settings
from ..properties import scene_settings
from ..registration import registration_of
from ..session import current_session, ensure_timer, show_error, show_session
from ..translations import filled, translated


class FLEXTRAJ_OT_generate_pairs(bpy.types.Operator):
    bl_idname = "flextraj.generate_pairs"
    bl_label = "Generate Pairs"
    bl_description = (
        "Make clips of moving characters with their exact trajectories, for training; "
        "a dataset that is already in the folder is gone on with"
    )

    @classmethod
    def poll(cls, context: Context) -> bool:
        if current_session().pairs.is_running:
            cls.poll_message_set("Pairs are being generated")
            return False
        return True

    def execute(self, context: Context) -> OperatorResult:
        session = current_session()
        show_error(None)
        try:
            request = read_pairs_request(scene_settings(context.scene).training)
        except FlexTrajError as error:
            show_error(error, PAIRS_KEY)
            self.report({"ERROR"}, translated(error.message))
            return {"CANCELLED"}
        session.pairs.start(PairsOrder(request, backend_settings().python))
        show_session()
        ensure_timer()
        if not bpy.app.background:
            return {"FINISHED"}
        report = session.pairs.wait_until_ended()
        show_error(report.error, PAIRS_KEY if report.error else "")
        if report.stage is not PairsStage.DONE:
            sentence = report.error.message if report.error else "The generation was cancelled."
            self.report({"ERROR"}, translated(sentence))
            return {"CANCELLED"}
        self.report(
            {"INFO"},
            filled("{count} clips are in {folder}", count=report.progress.done, folder=request.folder),
        )
        return {"FINISHED"}


class FLEXTRAJ_OT_cancel_pairs(bpy.types.Operator):
    bl_idname = "flextraj.cancel_pairs"
    bl_label = "Cancel Pairs"
    bl_description = "Stop generating pairs; finished clips stay, and Generate Pairs goes on with them"

    @classmethod
    def poll(cls, context: Context) -> bool:
        if not current_session().pairs.is_running:
            cls.poll_message_set("No pairs are being generated")
            return False
        return True

    def execute(self, context: Context) -> OperatorResult:
        current_session().pairs.runner.cancel()
        ensure_timer()
        return {"FINISHED"}


class FLEXTRAJ_OT_pick_pairs_folder(bpy.types.Operator):
    bl_idname = "flextraj.pick_pairs_folder"
    bl_label = "Choose Folder"
    bl_description = "Choose a folder in the file browser"
    bl_options = {"REGISTER", "UNDO"}

    target: EnumProperty(
        name="Use As",
        description="What the folder is",
        items=(
            ("OUTPUT", "Output Folder", "Where the training pairs go"),
            ("CHARACTERS", "Own Characters", "Folder with FBX or GLB characters"),
        ),
        options={"HIDDEN"},
    )
    directory: StringProperty(name="Folder", subtype="DIR_PATH", options={"SKIP_SAVE", *path_options()})
    filter_folder: BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})

    def invoke(self, context: Context, event: bpy.types.Event) -> OperatorResult:
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: Context) -> OperatorResult:
        if not self.directory:
            self.report({"ERROR"}, translated("No folder was chosen: choose one."))
            return {"CANCELLED"}
        training = scene_settings(context.scene).training
        if self.target == "OUTPUT":
            training.folder = self.directory
        else:
            training.library = self.directory
        show_error(None)
        return {"FINISHED"}


class FLEXTRAJ_OT_open_pairs_folder(bpy.types.Operator):
    bl_idname = "flextraj.open_pairs_folder"
    bl_label = "Open Folder of Pairs"
    bl_description = "Show the training pairs in the system's file browser, or their overview picture"

    target: EnumProperty(
        name="What",
        description="What is opened",
        items=(
            ("FOLDER", "Folder", "The folder of the training pairs"),
            (
                "SHEET",
                "Contact Sheet",
                "Their overview, with the system's picture viewer",
            ),
        ),
    )

    @classmethod
    def description(cls, context: Context, properties: bpy.types.OperatorProperties) -> str:
        chosen = properties.target  # pyright: ignore[reportAttributeAccessIssue]
        return cls.bl_description if chosen == "FOLDER" else "Open the overview of the training pairs"

    def execute(self, context: Context) -> OperatorResult:
        training = scene_settings(context.scene).training
        try:
            path = _made_folder(training.folder)
            if self.target == "SHEET":
                path = path / CONTACT_SHEET
                if not path.is_file():
                    sentence = "There is no contact sheet yet: press Generate Pairs first."
                    raise FlexTrajError(sentence, ErrorCode.PAIRS_FOLDER)
        except FlexTrajError as error:
            self.report({"ERROR"}, translated(error.message))
            return {"CANCELLED"}
        if not bpy.app.background:
            bpy.ops.wm.path_open(filepath=str(path))
        return {"FINISHED"}


def _made_folder(chosen: str) -> Path:
    """The chosen output folder. Raises FlexTrajError where it is not there yet."""
    if not chosen.strip():
        raise FlexTrajError("There is no output folder: choose one.", ErrorCode.PAIRS_FOLDER)
    folder = chosen_folder(chosen, ErrorCode.PAIRS_FOLDER)
    if not folder.is_dir():
        sentence = f"There is no folder {folder} yet: press Generate Pairs first."
        raise FlexTrajError(sentence, ErrorCode.PAIRS_FOLDER)
    return folder


register, unregister = registration_of(
    FLEXTRAJ_OT_generate_pairs,
    FLEXTRAJ_OT_cancel_pairs,
    FLEXTRAJ_OT_pick_pairs_folder,
    FLEXTRAJ_OT_open_pairs_folder,
)
