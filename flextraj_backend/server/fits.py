"""Fits of a motion to a photo, each in a child process that ends with the caller's connection."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from blender_addon.client.backend_process import TOKEN_VARIABLE
from blender_addon.core.errors import ErrorCode, FlexTrajError
from blender_addon.core.request import RenderRequest
from flextraj_backend.server.asset_store import AssetStore
from flextraj_backend.server.fit_worker import FitOrder

SECONDS = 120.0
"""A fit takes one to five seconds; one that takes longer than this has gone wrong."""
MAX_WAITING = 4
_LOOK_SECONDS = 0.2

IsAbandoned = Callable[[], Awaitable[bool]]


class FitService:
    """Runs one fit after the other.

    Args:
        assets: where the uploads lie.
    """

    def __init__(self, assets: AssetStore) -> None:
        self._assets = assets
        self._turn = asyncio.Semaphore(1)
        self._waiting = 0

    async def fit(self, request: RenderRequest, is_abandoned: IsAbandoned) -> dict[str, Any]:
        """Fit a motion; return the answer as JSON values.

        Args:
            request: as of a render job; its engine and prompt are not read.
            is_abandoned: whether nobody waits for the answer any more: then the fit is stopped.

        Raises:
            FlexTrajError: assets are missing, motion and photo do not go together, or it takes too long.
        """
        order = FitOrder(
            request,
            self._assets.path(request.trajectories),
            self._assets.path(request.image),
            None if request.mask is None else self._assets.path(request.mask),
        )
        if self._waiting >= MAX_WAITING:
            raise FlexTrajError(
                "Too many fits wait for their turn: wait a moment and press Fit to Photo again.",
                ErrorCode.BACKEND,
            )
        self._waiting += 1
        try:
            async with self._turn:
                if await is_abandoned():
                    raise _abandoned()
                return await _run(order, is_abandoned)
        finally:
            self._waiting -= 1


async def _run(order: FitOrder, is_abandoned: IsAbandoned) -> dict[str, Any]:
    # A worker has no use for the server's token.
    environment = {name: value for name, value in os.environ.items() if name != TOKEN_VARIABLE}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "flextraj_backend.server.fit_worker",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=environment,
    )
    talk = asyncio.ensure_future(process.communicate(order.to_json().encode()))
    try:
        loop = asyncio.get_running_loop()
        until = loop.time() + SECONDS
        while not talk.done():
            await asyncio.wait((talk,), timeout=_LOOK_SECONDS)
            if talk.done():
                break
            if await is_abandoned():
                raise _abandoned()
            if loop.time() > until:
                raise FlexTrajError(
                    f"The fit took longer than {SECONDS:g} s and was stopped: give a subject mask or use a "
                    "smaller size.",
                    ErrorCode.BACKEND,
                )
        output, _ = talk.result()
        return _read(output)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        talk.cancel()


def _read(output: bytes) -> dict[str, Any]:
    try:
        values = json.loads(output)
    except ValueError as error:
        raise FlexTrajError(
            "The fit ended without an answer, most likely because memory ran out: use a smaller size.",
            ErrorCode.MEMORY,
        ) from error
    if "error" in values:
        raise FlexTrajError(values["error"]["message"], ErrorCode(values["error"]["code"]))
    return values["fit"]


def _abandoned() -> FlexTrajError:
    return FlexTrajError("The fit was cancelled: press Fit to Photo to fit again.", ErrorCode.REQUEST)
