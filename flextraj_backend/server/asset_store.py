"""Uploaded files, named by the SHA-256 of their bytes: a photo or a trajectory set travels once."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import AsyncIterable, Iterator
from pathlib import Path
from uuid import uuid4

from blender_addon.core.errors import ErrorCode, FlexTrajError

DEFAULT_LIMIT = 8 << 30
"""Bytes; the largest trajectory set that the schema allows has about 7 GB."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_RESERVE = 64 << 20


class AssetError(FlexTrajError):
    """An upload that is refused."""

    def __init__(self, message: str, code: ErrorCode = ErrorCode.REQUEST) -> None:
        super().__init__(message, code)


class AssetTooLarge(AssetError):
    """More bytes than the limit."""


class AssetMissing(AssetError):
    """No upload has this name."""


class AssetStore:
    """Files below one folder.

    Args:
        folder: made where missing.
        limit: most bytes of one asset.
    """

    def __init__(self, folder: Path, limit: int = DEFAULT_LIMIT) -> None:
        self._folder, self._limit = folder, limit
        self._folder.mkdir(parents=True, exist_ok=True)

    def path(self, sha256: str) -> Path:
        """The file of an asset, which counts as used now. Raises AssetError on a bad name, AssetMissing."""
        path = self._place(sha256)
        try:
            os.utime(path)
        except OSError as error:
            raise AssetMissing(
                f"The asset {sha256[:12]}… was not uploaded: send it before the job."
            ) from error
        return path

    def files(self) -> Iterator[Path]:
        """Every asset, whose modification time is its last use, and every upload that broke off."""
        yield from self._folder.glob(".upload-*")
        yield from (path for path in self._folder.glob("??/*") if _SHA256.fullmatch(path.name))

    async def receive(self, sha256: str, announced: int | None, chunks: AsyncIterable[bytes]) -> int:
        """Write an upload while it arrives; it gets its name only when its hash is right.

        Args:
            announced: bytes as the sender says, None where it does not say.

        Returns:
            The number of bytes.

        Raises:
            AssetError: another hash or another length. AssetTooLarge. FlexTrajError: the disk is full.
        """
        path = self._place(sha256)
        self._check_size(announced or 0)
        if announced is not None and announced + _RESERVE > shutil.disk_usage(self._folder).free:
            raise AssetError(
                f"The backend's disk has no room for {announced >> 20} MiB: free some space.", ErrorCode.DISK
            )
        # In the store's own folder: the hash is checked before a file can be found by its name.
        temporary = self._folder / f".upload-{uuid4().hex}"
        try:
            size = await self._write(temporary, sha256, announced, chunks)
            path.parent.mkdir(exist_ok=True)
            temporary.replace(path)
        except OSError as error:
            raise AssetError(
                f"The backend cannot keep the upload ({error.strerror or error}): free some disk space.",
                ErrorCode.DISK,
            ) from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        return size

    async def _write(
        self, temporary: Path, sha256: str, announced: int | None, chunks: AsyncIterable[bytes]
    ) -> int:
        digest, size = hashlib.sha256(), 0
        with temporary.open("xb") as file:
            async for chunk in chunks:
                size += len(chunk)
                self._check_size(size)
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        if announced is not None and size != announced:
            raise AssetError(f"The upload broke off after {size} of {announced} bytes: send it again.")
        if digest.hexdigest() != sha256:
            raise AssetError("The uploaded bytes have another SHA-256 than their name says: send them again.")
        return size

    def _check_size(self, size: int) -> None:
        if size > self._limit:
            raise AssetTooLarge(
                f"The upload is larger than the backend's limit of {self._limit / (1 << 20):g} MiB: "
                "use fewer points or a smaller photo."
            )

    def _place(self, sha256: str) -> Path:
        if not _SHA256.fullmatch(sha256):
            raise AssetError("An asset's name must be its SHA-256: 64 hexadecimal digits in lower case.")
        return self._folder / sha256[:2] / sha256
