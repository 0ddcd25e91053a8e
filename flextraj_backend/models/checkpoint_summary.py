"""What a control file is, in a few lines, without torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from blender_addon.core.errors import ErrorCode, FlexTrajError
from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.checkpoint_layout import (
    MODEL_NAMES,
    PUBLISHED_SHAPES,
    BaseShape,
    ControlLayout,
    control_layout,
    names_in_short,
)
from flextraj_backend.models.checkpoint_names import FUSE_BIAS, FUSE_WEIGHT
from flextraj_backend.models.safetensors_header import SafetensorsHeader, is_finite, is_zero, read_header

VERSION_KEY = "flextraj_version"


class FuseState(StrEnum):
    """Whether the layer that mixes the colour video in has been trained (it starts at zero)."""

    ZERO = "zero"
    TRAINED = "trained"


@dataclass(frozen=True)
class AdapterSummary:
    """A control file in short."""

    path: Path
    backbone: Backbone
    rank: int
    alpha: float
    """LoRA is applied with alpha / rank."""
    layers: int
    width: int
    """Channels of a token."""
    tensors: int
    dtypes: tuple[str, ...]
    parameters: int
    file_bytes: int
    fuse: FuseState
    version: str | None
    """Version of this package that wrote the file; None for other programs' files."""
    notes: tuple[str, ...]
    """Sentences about what is unusual or unused in the file."""

    @property
    def scaling(self) -> float:
        return self.alpha / self.rank

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"path": str(self.path), "scaling": self.scaling}


def adapter_summary(path: Path) -> AdapterSummary:
    """Describe a control file: header, and as much of the fuse layer as shows that it is not zero.

    Raises:
        FlexTrajError: it is no control file, or one that contradicts itself.
    """
    header = read_header(path)
    return summarize(header, control_layout(header))


def check_adapter(path: Path, base: BaseShape) -> AdapterSummary:
    """Check all of a control file, its values too, against a base model, and describe it.

    Raises:
        FlexTrajError: it does not fit, or holds infinite values or values that are not numbers.
    """
    header = read_header(path)
    layout = control_layout(header, base)
    check_finite(header, layout)
    return summarize(header, layout)


def check_finite(header: SafetensorsHeader, layout: ControlLayout) -> None:
    """Refuse a control with a value that is not a finite number.

    Raises:
        FlexTrajError: names the tensors.
    """
    broken = [stored for stored in layout.stored_names.values() if not is_finite(header, stored)]
    if broken:
        raise FlexTrajError(
            f"{header.path} has infinite values or values that are not numbers in {len(broken)} tensors "
            f"({names_in_short(broken)}): its training diverged or it is damaged, use another control file.",
            ErrorCode.WEIGHTS,
        )


def summarize(header: SafetensorsHeader, layout: ControlLayout) -> AdapterSummary:
    """Describe a control whose header has been checked."""
    fuse_names = [layout.stored_names[name] for name in (FUSE_WEIGHT, FUSE_BIAS)]
    untrained = all(is_zero(header, name) for name in fuse_names)
    notes = layout_notes(layout)
    if untrained:
        notes += ("The fuse layer is zero (untrained): the colour video has no effect.",)
    return AdapterSummary(
        path=header.path,
        backbone=layout.base.backbone,
        rank=layout.rank,
        alpha=layout.alpha,
        layers=layout.base.layers,
        width=layout.base.width,
        tensors=len(header.tensors),
        dtypes=tuple(sorted({tensor.dtype for tensor in header.tensors.values()})),
        parameters=header.parameters,
        file_bytes=header.file_bytes,
        fuse=FuseState.ZERO if untrained else FuseState.TRAINED,
        version=header.metadata.get(VERSION_KEY),
        notes=notes,
    )


def layout_notes(layout: ControlLayout) -> tuple[str, ...]:
    """Sentences about what is unusual or unused in a control that has been checked."""
    notes = []
    base, published = layout.base, PUBLISHED_SHAPES[layout.base.backbone]
    if base != published:
        notes.append(
            f"Made for a model of {base.layers} layers and width {base.width}; "
            f"{MODEL_NAMES[base.backbone]} has {published.layers} layers and width {published.width}."
        )
    if layout.without_effect:
        notes.append(
            f"{len(layout.without_effect)} tensors ({names_in_short(layout.without_effect)}) have no effect: "
            "the text keys and values never use it."
        )
    if layout.dropped:
        notes.append(
            f"{len(layout.dropped)} tensors ({names_in_short(layout.dropped)}) are not loaded: "
            "the authors' loader ignores LoRA on feed-forward layers, and so does this one."
        )
    if layout.alpha != layout.rank:
        notes.append(
            f"Alpha {layout.alpha:g} at rank {layout.rank}: LoRA is applied with "
            f"{layout.alpha / layout.rank:g}; the authors' own code would apply it with 1."
        )
    return tuple(notes)
