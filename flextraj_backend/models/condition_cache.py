"""The condition's keys and values of every layer: computed once, read in every denoising step."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from blender_addon.core.errors import ErrorCode, FlexTrajError
from blender_addon.core.model_options import CacheStorage
from flextraj_backend.models.backbone import Backbone, TokenGrid
from flextraj_backend.models.condition_prefetch import ConditionPrefetch
from flextraj_backend.models.tensor_file import write_tensors
from flextraj_backend.models.token_pruning import KeptTokens

FORMAT = "flextraj-condition-cache"
VERSION = "2"

_FP8 = torch.float8_e4m3fn
_FP8_MAX = torch.finfo(_FP8).max


@dataclass(frozen=True, eq=False)
class ConditionCache:
    """What the main stream reads of a condition.

    It depends on the conditioning videos, the base model and the control; on Wan also on the prompt. It does
    not depend on seed, photo, noise or timestep, so one cache serves every step and both guidance halves
    (one per prompt on Wan).

    Attributes:
        keys, values: of each layer, (B | 1, K, H, D), keys after norm and rotation.
        grid: all tokens of the stream.
        backbone: whose keys these are.
        kept: the tokens that were kept, in this order; None where all were.
        key_scales, value_scales: of each layer, (B | 1, 1, H, 1), if the storage is 8 bits; else empty.
        control: digest of the control and base model that encoded it; empty if unknown.
    """

    keys: tuple[torch.Tensor, ...]
    values: tuple[torch.Tensor, ...]
    grid: TokenGrid
    backbone: Backbone
    kept: KeptTokens | None = None
    key_scales: tuple[torch.Tensor, ...] = ()
    value_scales: tuple[torch.Tensor, ...] = ()
    control: str = ""

    @property
    def layers(self) -> int:
        return len(self.keys)

    @property
    def batch(self) -> int:
        return self.keys[0].shape[0]

    @property
    def tokens(self) -> int:
        """K, the condition tokens of one layer."""
        return self.keys[0].shape[1]

    @property
    def heads(self) -> int:
        return self.keys[0].shape[2]

    @property
    def head_size(self) -> int:
        return self.keys[0].shape[3]

    @property
    def device(self) -> torch.device:
        return self.keys[0].device

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the storage."""
        return self.keys[0].dtype

    @property
    def nbytes(self) -> int:
        """Size in memory and, but for the header, on disk."""
        return sum(tensor.nbytes for tensor in self._tensors().values())

    @cached_property
    def prefetch(self) -> ConditionPrefetch:
        """Brings the layers to the GPU one after the other, if they wait in host memory."""
        return ConditionPrefetch(self.keys, self.values)

    def stored(self, storage: CacheStorage, device: torch.device | str) -> ConditionCache:
        """The same cache in another number format and place.

        Args:
            storage: MODEL leaves the number format as it is.
            device: where to; 'cpu' is pinned memory where there is a CUDA device, so that copies overlap.
        """
        place = torch.device(device)
        recorder = CacheRecorder(self.backbone, self.grid, self.kept, storage, place, self.control)
        key_scales = self.key_scales or (None,) * self.layers
        value_scales = self.value_scales or (None,) * self.layers
        for key, value, key_scale, value_scale in zip(
            self.keys, self.values, key_scales, value_scales, strict=True
        ):
            recorder.add(key, value, key_scale, value_scale)
        return recorder.cache()

    def save(self, path: Path) -> Path:
        """Write a safetensors file, atomically.

        Raises:
            FlexTrajError: the file cannot be written.
        """
        metadata = {
            "format": FORMAT,
            "version": VERSION,
            "backbone": self.backbone.value,
            "grid": str(self.grid),
            "control": self.control,
        }
        tensors = {name: tensor.cpu() for name, tensor in self._tensors().items()}
        return write_tensors(path, tensors, metadata)

    @classmethod
    def load(cls, path: Path) -> ConditionCache:
        """Read a file that `save` wrote, into host memory.

        Raises:
            FlexTrajError: it is no condition cache, of another version, or damaged.
        """
        try:
            with safe_open(path, "pt", device="cpu") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        except (OSError, SafetensorError) as error:
            raise FlexTrajError(
                f"{path} cannot be read as a condition cache ({error}): encode the condition again.",
                ErrorCode.ENGINE,
            ) from error
        if metadata.get("format") != FORMAT or metadata.get("version") != VERSION:
            raise FlexTrajError(
                f"{path} is no condition cache of this version of FlexTraj: encode the condition again.",
                ErrorCode.ENGINE,
            )
        try:
            return _from_tensors(tensors, metadata)
        except (KeyError, ValueError) as error:
            raise FlexTrajError(
                f"{path} is a damaged condition cache ({error}): encode the condition again.",
                ErrorCode.ENGINE,
            ) from error

    def _tensors(self) -> dict[str, torch.Tensor]:
        """Every tensor by its name in a file."""
        lists = (getattr(self, name) for name in _LISTS)
        named = {
            f"{name}.{layer}": tensor
            for name, tensors in zip(_LISTS, lists, strict=True)
            for layer, tensor in enumerate(tensors)
        }
        if self.kept is None:
            return named
        return named | {"occupied": self.kept.occupied, "representatives": self.kept.representatives}


_LISTS = ("keys", "values", "key_scales", "value_scales")


class CacheRecorder:
    """Collects a condition's keys and values layer by layer, each at once in its final format and place.

    So the GPU never holds more than one layer of a cache that goes to host memory.
    """

    def __init__(
        self,
        backbone: Backbone,
        grid: TokenGrid,
        kept: KeptTokens | None,
        storage: CacheStorage,
        device: torch.device | None,
        control: str,
    ) -> None:
        """Args: see `ConditionCache`; `device` None leaves the tensors where they are."""
        self._backbone, self._grid, self.kept = backbone, grid, kept
        self._storage, self._device, self._control = storage, device, control
        self._layers: list[tuple[_Stored, _Stored]] = []

    def add(
        self,
        key: torch.Tensor,
        value: torch.Tensor,
        key_scale: torch.Tensor | None = None,
        value_scale: torch.Tensor | None = None,
    ) -> None:
        """Store the next layer's keys and values. (B | 1, K, H, D) each"""
        stored = (self._stored(key, key_scale), self._stored(value, value_scale))
        self._layers.append(stored)

    def cache(self) -> ConditionCache:
        """What was collected."""
        return ConditionCache(
            keys=tuple(key.tensor for key, _ in self._layers),
            values=tuple(value.tensor for _, value in self._layers),
            grid=self._grid,
            backbone=self._backbone,
            kept=self.kept,
            key_scales=tuple(key.scale for key, _ in self._layers if key.scale is not None),
            value_scales=tuple(value.scale for _, value in self._layers if value.scale is not None),
            control=self._control,
        )

    def _stored(self, tensor: torch.Tensor, scale: torch.Tensor | None) -> _Stored:
        stored = _Stored(tensor, scale).converted(self._storage)
        return stored if self._device is None else stored.placed(self._device)


@dataclass(frozen=True, eq=False)
class _Stored:
    """A tensor (B | 1, K, H, D) and, if it has 8 bits, the factor (B | 1, 1, H, 1) that belongs to it."""

    tensor: torch.Tensor
    scale: torch.Tensor | None

    def converted(self, storage: CacheStorage) -> _Stored:
        match storage:
            case CacheStorage.MODEL:
                return self
            case CacheStorage.BF16:
                exact = self.tensor if self.scale is None else self.tensor.float() * self.scale
                return _Stored(exact.to(torch.bfloat16), None)
            case CacheStorage.FP8:
                return self if self.scale is not None else _in_8_bits(self.tensor)

    def placed(self, device: torch.device) -> _Stored:
        return _Stored(
            _placed(self.tensor, device), None if self.scale is None else _placed(self.scale, device)
        )


def _in_8_bits(tensor: torch.Tensor) -> _Stored:
    """Store as float8; a scale for each head uses its whole range, and nothing overflows. (B, K, H, D)"""
    largest = tensor.abs().amax(dim=(1, 3), keepdim=True)
    scale = (largest.float() / _FP8_MAX).clamp(min=torch.finfo(torch.float32).tiny)
    return _Stored((tensor.float() / scale).clamp(-_FP8_MAX, _FP8_MAX).to(_FP8), scale)


def _placed(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    if device.type != "cpu" or not torch.cuda.is_available():
        return tensor.to(device).contiguous()
    if tensor.is_pinned():
        return tensor
    pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return pinned.copy_(tensor)


def _from_tensors(tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> ConditionCache:
    """Raises KeyError or ValueError if something is missing or does not fit together."""
    keys, values, key_scales, value_scales = (_listed(tensors, name) for name in _LISTS)
    if not keys or len(values) != len(keys) or {len(key_scales), len(value_scales)} not in ({0}, {len(keys)}):
        raise ValueError("layers are missing")
    shapes = {tensor.shape for tensor in (*keys, *values)}
    if len(shapes) != 1 or len(keys[0].shape) != 4:
        raise ValueError("layers differ in shape")
    frames, height, width = (int(size) for size in metadata["grid"].split("x"))
    grid, kept = TokenGrid(frames, height, width), None
    if "occupied" in tensors:
        kept = KeptTokens(tensors["occupied"], tensors["representatives"])
        kept.check(grid)
    if keys[0].shape[1] != (grid.tokens if kept is None else kept.count):
        raise ValueError(f"{keys[0].shape[1]} tokens do not fit the grid {grid}")
    backbone, control = Backbone(metadata["backbone"]), metadata["control"]
    return ConditionCache(keys, values, grid, backbone, kept, key_scales, value_scales, control)


def _listed(tensors: dict[str, torch.Tensor], name: str) -> tuple[torch.Tensor, ...]:
    count = sum(stored.startswith(f"{name}.") for stored in tensors)
    names = [f"{name}.{layer}" for layer in range(count)]
    if not tensors.keys() >= set(names):
        raise ValueError("layers are missing")
    return tuple(tensors[stored] for stored in names)
