"""Encoded videos and texts on disk: one small safetensors file each, written atomically."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from blender_addon.core.errors import ErrorCode, FlexTrajError
from flextraj_backend.atomic_file import atomic_path

_SUFFIX = ".safetensors"


@dataclass(frozen=True, eq=False)
class CachedTensors:
    """Tensors by name, and the record that was kept with them."""

    tensors: dict[str, torch.Tensor]
    record: Any


class LatentCache:
    """A folder of tensors by key.

    Files lie under the fingerprint of the model that made them, so that a stale one is never found. A file
    that cannot be read counts as missing and is made again.

    Args:
        folder: made when it is missing.
        fingerprint: of the model that encodes.
        limit_bytes: the cache does not grow beyond; what does not fit is encoded again each time.
    """

    def __init__(self, folder: Path, fingerprint: str, limit_bytes: int) -> None:
        self._folder = folder / fingerprint
        self._limit = limit_bytes
        self._lock = threading.Lock()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._size = sum(path.stat().st_size for path in self._folder.rglob(f"*{_SUFFIX}"))
        except OSError as error:
            raise FlexTrajError(
                f"{self._folder} cannot hold the encoded videos ({error.strerror}): give another --cache.",
                ErrorCode.DISK,
            ) from error

    @property
    def full(self) -> bool:
        """Whether something did not fit."""
        return self._size >= self._limit

    @property
    def note(self) -> str:
        """What the user is told when the cache is full."""
        return (
            f"The encoded videos have reached {self._limit / 1e9:g} GB, further ones are encoded in every "
            "epoch: raise --cache-limit-gb to make that faster."
        )

    def get(self, key: str) -> CachedTensors | None:
        """What was kept under a key, None where there is nothing."""
        try:
            data = self._path(key).read_bytes()
            header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
            return CachedTensors(load(data), json.loads(header["__metadata__"]["record"]))
        except (OSError, SafetensorError, ValueError, KeyError, TypeError):
            return None

    def __contains__(self, key: str) -> bool:
        return self._path(key).is_file()

    def put(self, key: str, tensors: Mapping[str, torch.Tensor], record: object = None) -> None:
        """Keep tensors, with a JSON-able record of what they are; no effect when the cache is full.

        Raises:
            FlexTrajError: the file cannot be written.
        """
        data = save(
            {name: tensor.contiguous() for name, tensor in tensors.items()}, {"record": json.dumps(record)}
        )
        with self._lock:
            if self._size + len(data) > self._limit:
                self._size = max(self._size, self._limit)
                return
            self._size += len(data)
        path = self._path(key)
        path.parent.mkdir(exist_ok=True)
        with atomic_path(path) as temporary:
            temporary.write_bytes(data)

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}{_SUFFIX}"


def cache_key(*parts: object) -> str:
    """A key of JSON-able parts."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
