"""Add-on preferences, and their defaults where the add-on runs without them (tests, scripts)."""

# Blender reads the annotations of property groups as values, so they cannot be postponed nor type-checked.
# pyright: reportInvalidTypeForm=false

from dataclasses import dataclass
from pathlib import Path

import bpy
from bpy.props import IntProperty, StringProperty

from . import ADDON_ID
from .blender_types import Context, Layout
from .bridge.compat import path_options
from .client.backend_location import INSTALL_COMMAND, find_backend_python
from .client.managed_backend import BackendSettings
from .core.errors import FlexTrajError
from .core.version import package_version
from .properties import runtime_state


class FlexTrajPreferences(bpy.types.AddonPreferences):
    """Shown under Preferences > Add-ons > FlexTraj."""

    bl_idname = ADDON_ID

    backend_python: StringProperty(
        name="Backend Python",
        description="Python of the FlexTraj backend; empty = the one that the installer noted",
        subtype="FILE_PATH",
    )
    output_folder: StringProperty(
        name="Output Folder",
        description="Where videos and trajectory sets go, // = beside the .blend file; "
        "empty = a folder of your Blender files",
        subtype="DIR_PATH",
        options=path_options(),
    )
    data_folder: StringProperty(
        name="Backend Data Folder",
        description="Where the backend keeps uploads and jobs; empty = the backend's own choice",
        subtype="DIR_PATH",
    )

    keep_days: IntProperty(
        name="Keep Days",
        description="Days after which the backend removes its copies of jobs and uploads, 0 = never; "
        "the output folder is never touched",
        default=30,
        min=0,
        soft_max=365,
    )
    keep_gib: IntProperty(
        name="Keep GiB",
        description="Space that the backend's copies of jobs and uploads may take, 0 = any; "
        "the oldest go first, and the output folder is never touched",
        default=20,
        min=0,
        soft_max=500,
    )

    def draw(self, context: Context) -> None:
        layout: Layout = self.layout
        layout.use_property_split = True
        state = runtime_state()
        if state.help_command:
            box = layout.box()
            box.label(text="Run this in a terminal; it is on the clipboard:", icon="CONSOLE")
            box.label(text=state.help_command)
        layout.prop(self, "backend_python")
        try:
            found = find_backend_python(self.backend_python)
        except FlexTrajError:
            layout.label(text=f"Not installed: run {INSTALL_COMMAND} in the FlexTraj folder", icon="ERROR")
        else:
            layout.label(text=f"Found: {found}", icon="CHECKMARK")
        backend = state.backend_version or "not started"
        layout.label(text=f"Versions: add-on {package_version()}, backend {backend}", icon="BLANK1")
        layout.prop(self, "output_folder")
        layout.prop(self, "data_folder")
        column = layout.column(align=True)
        column.prop(self, "keep_days")
        column.prop(self, "keep_gib")


@dataclass(frozen=True)
class AddonSettings:
    """The preferences, or their defaults where the add-on was registered without Blender's preferences."""

    backend_python: str = ""
    output_folder: str = ""
    data_folder: str = ""
    keep_days: int = 30
    keep_gib: int = 20


def read_preferences() -> AddonSettings:
    """Read the preferences; main thread only."""
    context: Context = bpy.context
    addon = context.preferences.addons.get(ADDON_ID)
    values = None if addon is None else addon.preferences
    if not isinstance(values, FlexTrajPreferences):
        return AddonSettings()
    return AddonSettings(
        backend_python=values.backend_python,
        output_folder=values.output_folder,
        data_folder=values.data_folder,
        keep_days=values.keep_days,
        keep_gib=values.keep_gib,
    )


def user_folder(name: str) -> Path:
    """A folder of the add-on's own in the user's Blender files; it may not exist yet."""
    try:
        return Path(bpy.utils.extension_path_user(ADDON_ID, path=name))
    except ValueError:  # not an extension: registered from a checkout
        return Path(bpy.utils.user_resource("DATAFILES", path=f"flextraj/{name}"))


def output_folder() -> Path:
    """Where results go. A path relative to an unsaved file falls back to the default.

    That is not the extension's own folder: Blender deletes it when the extension is removed.
    """
    chosen = read_preferences().output_folder.strip()
    if not chosen or (chosen.startswith("//") and not bpy.data.filepath):
        return Path(bpy.utils.user_resource("DATAFILES", path="flextraj/results"))
    return Path(bpy.path.abspath(chosen))


def backend_settings() -> BackendSettings:
    """What the backend is started with."""
    settings = read_preferences()
    python = bpy.path.abspath(settings.backend_python) if settings.backend_python else ""
    data = Path(bpy.path.abspath(settings.data_folder)) if settings.data_folder else None
    return BackendSettings(
        python=python,
        folder=user_folder("backend"),
        data_folder=data,
        keep_days=settings.keep_days,
        keep_gib=settings.keep_gib,
    )


def register() -> None:
    bpy.utils.register_class(FlexTrajPreferences)


def unregister() -> None:
    bpy.utils.unregister_class(FlexTrajPreferences)
