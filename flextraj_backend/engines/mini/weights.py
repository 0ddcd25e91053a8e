"""Where the mini model is: in the folder that the user names, or in this package.

    base/                       a small CogVideoX in diffusers' layout
    flextraj_mini.safetensors   its control

Nothing here imports torch.
"""

from __future__ import annotations

import os
from pathlib import Path

from blender_addon.core.errors import ErrorCode, FlexTrajError
from flextraj_backend.engines.diffusion.installed import InstalledModel, read_model
from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.base_model import MODEL_INDEX
from flextraj_backend.models.weights import (
    BASE_FOLDER,
    WeightsLocation,
    WeightsStatus,
    loras_folder,
    remember_weights,
    remembered_weights,
)

MINI_VARIABLE = "FLEXTRAJ_MINI_DIR"
CONTROL_NAME = "flextraj_mini.safetensors"
BUNDLED = Path(__file__).parent / "weights"
NAME = "mini"


def installed_mini() -> InstalledModel:
    """Find the mini model and read its headers.

    Raises:
        FlexTrajError: (ErrorCode.WEIGHTS) it is missing or damaged; the sentence says how to make it.
    """
    location = locate_mini()
    try:
        model = read_model(Backbone.COGVIDEOX, location)
    except FlexTrajError as error:
        raise damaged(location, error) from error
    if model.sizes.fixed_size is None:
        raise FlexTrajError(
            f"The mini model does not say its size (it has rotary positions): {_make_it('to make one')}.",
            ErrorCode.WEIGHTS,
        )
    return model


def locate_mini() -> WeightsLocation:
    """Base and control: of FLEXTRAJ_MINI_DIR, else of 'flextraj weights use mini', else the package's own.

    Raises:
        FlexTrajError: (ErrorCode.WEIGHTS) they are not there.
    """
    named = os.environ.get(MINI_VARIABLE, "").strip()
    if not named and (stored := remembered_weights(NAME)) is not None:
        return WeightsLocation(*stored, loras_folder())
    folder = Path(named).expanduser().absolute() if named else BUNDLED
    base, control = folder / BASE_FOLDER, folder / CONTROL_NAME
    if not (base / MODEL_INDEX).is_file() or not control.is_file():
        # Without paths: this stands in Blender's sidebar.
        where = f" in the folder of {MINI_VARIABLE}" if named else ""
        raise FlexTrajError(
            f"The mini model's weights are missing{where}: {_make_it('to make them')}.", ErrorCode.WEIGHTS
        )
    return WeightsLocation(base, control, loras_folder())


def mini_status() -> WeightsStatus:
    """The same without raising, for lists."""
    try:
        return WeightsStatus(NAME, locate_mini())
    except FlexTrajError as error:
        return WeightsStatus(NAME, None, error.message)


def use_mini(base: Path, control: Path) -> WeightsLocation:
    """Check a mini model and use it from now on.

    Args:
        base: folder in diffusers' layout.
        control: its control file, or the folder it is in.

    Raises:
        FlexTrajError: they are damaged or do not fit, or cannot be remembered.
    """
    control = control / CONTROL_NAME if control.is_dir() else control
    location = WeightsLocation(base.expanduser().absolute(), control.expanduser().absolute(), loras_folder())
    read_model(Backbone.COGVIDEOX, location)
    remember_weights(NAME, location.base, location.adapter)
    return location


def damaged(location: WeightsLocation, error: FlexTrajError) -> FlexTrajError:
    """The error of weights that cannot be read, with the way to make them anew."""
    problem = error.message.partition(": ")[0].rstrip(".").replace(f"{location.base.parent}{os.sep}", "")
    return FlexTrajError(
        f"The mini model cannot be used ({problem}): {_make_it('to make it again')}.", ErrorCode.WEIGHTS
    )


def _make_it(purpose: str) -> str:
    return f"run 'flextraj mini cpu -o DIR' {purpose}, and set {MINI_VARIABLE} to DIR/mini"
