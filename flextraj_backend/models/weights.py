"""Where a backbone's weights are: a base model's folder, the authors' control file, and the user's LoRAs.

The user names them once ('flextraj weights use'), which a small file in the user's configuration folder
remembers; or FLEXTRAJ_WEIGHTS_DIR names a folder that holds them all:

    <engine>/base/              the base model in diffusers' layout
    <engine>/*.safetensors      the control
    loras/*.safetensors         further LoRAs, shared by the engines

Nothing here imports torch or touches the network.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import platformdirs

from blender_addon.core.errors import ErrorCode, FlexTrajError
from flextraj_backend.atomic_file import write_text
from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.base_model import read_base_model
from flextraj_backend.models.checkpoint_layout import MODEL_NAMES, base_shape, control_layout
from flextraj_backend.models.checkpoint_summary import adapter_summary, check_adapter
from flextraj_backend.models.model_sizes import ModelSizes, model_sizes
from flextraj_backend.models.safetensors_header import read_header

WEIGHTS_VARIABLE = "FLEXTRAJ_WEIGHTS_DIR"
SUFFIX = ".safetensors"
BASE_FOLDER, LORA_FOLDER = "base", "loras"

_SETTINGS_VERSION = 1
_MAX_SETTINGS_BYTES = 1 << 20
_LORA_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_NAMES_SHOWN = 5


@dataclass(frozen=True)
class WeightsLocation:
    """What an engine loads.

    Attributes:
        base: folder of the base model.
        adapter: the control file.
        loras: folder of the user's other LoRAs; it may not exist.
    """

    base: Path
    adapter: Path
    loras: Path


@dataclass(frozen=True)
class WeightsStatus:
    """What 'flextraj weights list' tells about an engine.

    Attributes:
        location: None where something is missing; `problem` then says what to do, in one sentence.
    """

    engine: str
    location: WeightsLocation | None
    problem: str = ""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        location = None
        if self.location is not None:
            location = {name: str(path) for name, path in asdict(self.location).items()}
        return {"engine": self.engine, "location": location, "problem": self.problem}


def control_file_name(backbone: Backbone) -> str:
    """As the authors publish it."""
    return f"flextraj_{backbone}{SUFFIX}"


def locate_weights(backbone: Backbone) -> WeightsLocation:
    """Find an engine's weights and check that they are complete and belong together; headers only are read.

    Raises:
        FlexTrajError: (ErrorCode.WEIGHTS) something is missing; the sentence has the command that helps.
    """
    if (folder := _weights_dir()) is not None:
        base, adapter = _in_weights_dir(folder, backbone)
    else:
        base, adapter = _in_settings(backbone)
    _check(backbone, base, adapter)
    return WeightsLocation(base, adapter, loras_folder())


def weights_status(backbone: Backbone) -> WeightsStatus:
    """The same without raising."""
    try:
        return WeightsStatus(backbone.value, locate_weights(backbone))
    except FlexTrajError as error:
        return WeightsStatus(backbone.value, None, error.message)


def use_weights(backbone: Backbone, base: Path, adapter: Path) -> WeightsLocation:
    """Check weights thoroughly, the control's values too, and remember where they are.

    Args:
        base: folder of the base model.
        adapter: the control file, or a folder with one control for this backbone.

    Raises:
        FlexTrajError: they are incomplete, damaged or do not fit, or cannot be remembered.
    """
    base, adapter = base.expanduser().absolute(), adapter.expanduser().absolute()
    read_base_model(base, backbone)
    if adapter.is_dir():
        adapter = _control_in(adapter, backbone)
    check_adapter(adapter, base_shape(base))
    remember_weights(backbone.value, base, adapter)
    return WeightsLocation(base, adapter, loras_folder())


def remember_weights(engine: str, base: Path, adapter: Path) -> None:
    """Write down where an engine's weights are, absolute paths. Raises FlexTrajError (DISK)."""
    settings = _read_settings()
    settings[engine] = {"base": str(base), "adapter": str(adapter)}
    path = settings_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FlexTrajError(
            f"{path.parent} cannot be made ({error.strerror or error}): check its permissions.",
            ErrorCode.DISK,
        ) from error
    write_text(path, json.dumps({"version": _SETTINGS_VERSION, "engines": settings}, indent=2) + "\n")


def remembered_weights(engine: str) -> tuple[Path, Path] | None:
    """Base and control that the user named for an engine, None where none were named.

    Raises:
        FlexTrajError: (ErrorCode.WEIGHTS) they are gone.
    """
    stored = _read_settings().get(engine)
    if stored is None:
        return None
    base, adapter = Path(stored["base"]), Path(stored["adapter"])
    for path, exists in ((base, base.is_dir()), (adapter, adapter.is_file())):
        if not exists:
            raise _error(
                f"{path} is gone, where the weights of '{engine}' were: "
                f"run 'flextraj weights use {engine} --base DIR --adapter FILE' with their new place."
            )
    return base, adapter


def read_sizes(backbone: Backbone, location: WeightsLocation) -> ModelSizes:
    """Sizes and shapes of an engine's models. Raises FlexTrajError as `locate_weights` does."""
    base = read_base_model(location.base, backbone)
    header = read_header(location.adapter)
    return model_sizes(base, header, control_layout(header, base_shape(location.base)).rank)


def settings_file() -> Path:
    """What 'flextraj weights use' writes."""
    return Path(platformdirs.user_config_dir("flextraj", appauthor=False)) / "weights.json"


def default_weights_dir() -> Path:
    """Where 'flextraj weights fetch' downloads to; laid out as FLEXTRAJ_WEIGHTS_DIR is."""
    return Path(platformdirs.user_data_dir("flextraj", appauthor=False)) / "weights"


def loras_folder() -> Path:
    """The user's other LoRAs."""
    return (_weights_dir() or default_weights_dir()) / LORA_FOLDER


def lora_names() -> tuple[str, ...]:
    """Names of the LoRAs that `locate_lora` finds, sorted."""
    folder = loras_folder()
    if not folder.is_dir():
        return ()
    names = sorted(path.stem for path in folder.glob(f"*{SUFFIX}"))
    return tuple(name for name in names if _LORA_NAME.fullmatch(name) and _lies_in(folder, name))


def locate_lora(name: str) -> Path:
    """The file of a LoRA in the loras folder; links that lead out of it are refused.

    Raises:
        FlexTrajError: (ErrorCode.WEIGHTS) there is none of this name.
    """
    folder = loras_folder()
    if _LORA_NAME.fullmatch(name) and _lies_in(folder, name):
        return folder / f"{name}{SUFFIX}"
    known = lora_names()
    listed = ", ".join(known[:_NAMES_SHOWN]) + (", ..." if len(known) > _NAMES_SHOWN else "")
    choice = f"choose one of {listed}, or put" if known else "put"
    raise _error(f"There is no LoRA '{name[:100]}': {choice} its {SUFFIX} file into {folder}.")


def _lies_in(folder: Path, name: str) -> bool:
    """Whether a LoRA is a file in the folder itself, links followed."""
    try:
        path = (folder / f"{name}{SUFFIX}").resolve(strict=True)
        return path.is_file() and path.parent == folder.resolve(strict=True)
    except OSError:
        return False


def _weights_dir() -> Path | None:
    text = os.environ.get(WEIGHTS_VARIABLE, "").strip()
    return Path(text).expanduser().absolute() if text else None


def _in_weights_dir(folder: Path, backbone: Backbone) -> tuple[Path, Path]:
    place = folder / backbone.value
    if not (place / BASE_FOLDER).is_dir():
        raise _error(
            f"{WEIGHTS_VARIABLE} ({folder}) has no {backbone}/{BASE_FOLDER}: put {MODEL_NAMES[backbone]} "
            f"there, or run 'flextraj weights fetch {backbone} --to \"{folder}\"'."
        )
    return place / BASE_FOLDER, _control_in(place, backbone)


def _in_settings(backbone: Backbone) -> tuple[Path, Path]:
    stored = remembered_weights(backbone.value)
    if stored is None:
        raise _error(
            f"The weights of '{backbone}' are not there yet: run 'flextraj weights fetch {backbone}' to "
            f"download them, or 'flextraj weights use {backbone} --base DIR --adapter FILE' if you have them."
        )
    return stored


def _control_in(folder: Path, backbone: Backbone) -> Path:
    """The one control for a backbone in a folder; the authors' name is preferred."""
    published = folder / control_file_name(backbone)
    if published.is_file():
        return published
    controls = [path for path in sorted(folder.glob(f"*{SUFFIX}")) if _controls(path, backbone)]
    if not controls:
        raise _error(
            f"{folder} has no control file for '{backbone}': put {control_file_name(backbone)} of the "
            f"repository bestzzhang/FlexTraj there, or run 'flextraj weights fetch {backbone}'."
        )
    if len(controls) > 1:
        names = ", ".join(path.name for path in controls[:_NAMES_SHOWN])
        raise _error(
            f"{folder} has several control files for '{backbone}' ({names}): leave one there, or choose one "
            f"with 'flextraj weights use {backbone} --base DIR --adapter FILE'."
        )
    return controls[0]


def _controls(path: Path, backbone: Backbone) -> bool:
    try:
        return adapter_summary(path).backbone is backbone
    except FlexTrajError:
        return False


def _check(backbone: Backbone, base: Path, adapter: Path) -> None:
    """Everything is there and fits, as far as headers tell."""
    read_base_model(base, backbone)
    control_layout(read_header(adapter), base_shape(base))


def _read_settings() -> dict[str, dict[str, str]]:
    """Paths by engine; empty where nothing was stored."""
    path = settings_file()
    if not path.is_file():
        return {}
    try:
        if path.stat().st_size > _MAX_SETTINGS_BYTES:
            raise ValueError("too large")
        values = json.loads(path.read_text(encoding="utf-8"))
        engines = values["engines"]
        if values["version"] != _SETTINGS_VERSION or not all(
            isinstance(entry[name], str) for entry in engines.values() for name in ("base", "adapter")
        ):
            raise ValueError("another version")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _error(
            f"{path} cannot be read: delete it, and run 'flextraj weights use' again for each engine."
        ) from error
    return engines


def _error(text: str) -> FlexTrajError:
    return FlexTrajError(text, ErrorCode.WEIGHTS)
