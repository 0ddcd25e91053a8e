"""Scene files into Blender's Python module: .blend, .fbx, .glb, .gltf, .usd, .abc."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blender_addon.core.errors import ErrorCode, FlexTrajError

if TYPE_CHECKING:
    import bpy

SCENE_ENDINGS = (".blend", ".fbx", ".glb", ".gltf", ".usd", ".usda", ".usdc", ".usdz", ".abc")


class SceneError(FlexTrajError):
    """A scene file that cannot be read."""

    def __init__(self, message: str, code: ErrorCode = ErrorCode.REQUEST) -> None:
        super().__init__(message, code)


def require_bpy() -> None:
    """Raise SceneError where Blender's Python module is not installed."""
    try:
        with quiet_stdout():
            import bpy  # noqa: F401
    except ImportError as error:
        raise SceneError(
            "Reading scenes needs Blender's Python module: "
            'install it with  pip install "flextraj[blender]".',
            ErrorCode.BACKEND,
        ) from error


def open_scene(path: Path) -> tuple[bpy.types.Scene, bpy.types.ViewLayer]:
    """Load a scene file into a fresh Blender; scripts inside .blend files do not run.

    Raises:
        SceneError: no such file, an unknown or damaged format, or Blender's module is missing.
    """
    ending = path.suffix.lower()
    if ending not in SCENE_ENDINGS:
        raise SceneError(
            f"{path.name} is not a scene that can be read: give a file ending in {', '.join(SCENE_ENDINGS)}."
        )
    if not path.is_file():
        raise SceneError(f"There is no file {path}: check the path of the scene.")
    require_bpy()
    import bpy

    try:
        # Importers print tracebacks of their own, beside the sentence that the user gets.
        with quiet_stdout(), _silenced(2):
            _load(path.resolve(), ending)
    except Exception as error:  # importers are Python add-ons and fail in any way on damaged files
        lines = str(error).strip().splitlines()
        reason = lines[-1].removeprefix("Error: ").rstrip(". ") if lines else type(error).__name__
        raise SceneError(
            f"{path.name} cannot be read, it is damaged or not a {ending} file ({reason}): export it again."
        ) from error
    context: Any = bpy.context
    return context.scene, context.view_layer


def _load(path: Path, ending: str) -> None:
    import bpy

    name = str(path)
    if ending == ".blend":
        bpy.ops.wm.open_mainfile(filepath=name, load_ui=False, use_scripts=False)
        return
    bpy.ops.wm.read_factory_settings(use_empty=True)
    if ending == ".fbx":
        bpy.ops.import_scene.fbx(filepath=name)
        _link_by_name(bpy.data.scenes[0])
    elif ending in (".glb", ".gltf"):
        bpy.ops.import_scene.gltf(filepath=name, loglevel=50)
    elif ending == ".abc":
        bpy.ops.wm.alembic_import(filepath=name, as_background_job=False)
    else:
        bpy.ops.wm.usd_import(filepath=name)
    if not bpy.data.objects:
        raise ValueError("it holds no objects")


def _link_by_name(scene: bpy.types.Scene) -> None:
    """Order imported objects: the FBX importer links them as a hash set does, other each run."""
    for collection in (scene.collection, *scene.collection.children_recursive):
        objects = sorted(collection.objects, key=lambda ob: ob.name)
        for ob in objects:
            collection.objects.unlink(ob)
        for ob in objects:
            collection.objects.link(ob)


@contextlib.contextmanager
def quiet_stdout() -> Iterator[None]:
    """Keep Blender's chatter off standard output, also what its C code prints; Ctrl-C waits for the end."""
    with _interrupt_afterwards(), _silenced(1):
        yield


@contextlib.contextmanager
def _interrupt_afterwards() -> Iterator[None]:
    """Raise KeyboardInterrupt at the end where Ctrl-C came meanwhile: inside of Blender it would be lost."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    interrupts: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: interrupts.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if interrupts:
        raise KeyboardInterrupt


@contextlib.contextmanager
def _silenced(stream: int) -> Iterator[None]:
    """Send a standard stream's descriptor (1 or 2) to nowhere, Python's own object for it too."""
    redirect = contextlib.redirect_stdout if stream == 1 else contextlib.redirect_stderr
    (sys.stdout if stream == 1 else sys.stderr).flush()
    try:
        descriptor = os.dup(stream)
    except OSError:  # the program has no such stream
        yield
        return
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), stream)
            with redirect(io.StringIO()):
                yield
    finally:
        os.dup2(descriptor, stream)
        os.close(descriptor)
