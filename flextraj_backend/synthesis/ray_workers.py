"""Clip workers on a Ray cluster: one actor each; clips travel as bytes, so no shared disk is needed.

Every node needs this program in the same version, with Blender's module.
"""

from __future__ import annotations

import contextlib
import json
import signal
import threading
from collections.abc import Iterator
from typing import Any

from blender_addon.core.errors import ErrorCode, FlexTrajError
from blender_addon.core.version import package_version
from flextraj_backend.server.ray_launcher import RayError, connect
from flextraj_backend.synthesis.clip_maker import (
    BLENDER_MAKER,
    ClipMaker,
    ClipWorker,
    FailedClip,
    WorkerGoneError,
    load_maker,
    make_packed,
)
from flextraj_backend.synthesis.plan import SynthesisSettings
from flextraj_backend.synthesis.record_json import from_json, to_json
from flextraj_backend.synthesis.shards import PackedClip


class RemoteWorker:
    """The actor: a process of its own on some node, with a Blender of its own."""

    def __init__(self) -> None:
        self._settings: SynthesisSettings | None = None
        self._maker: ClipMaker | None = None

    def begin(self, version: str, settings: str, maker: str) -> str:
        """Get ready; return why this node cannot make clips, or ""."""
        if version != package_version():
            return (
                f"A node of the Ray cluster has FlexTraj {package_version()}, this program is {version}: "
                "install the same version everywhere."
            )
        try:
            self._settings = from_json(SynthesisSettings, json.loads(settings))
            self._maker = load_maker(maker, self._settings)
        except FlexTrajError as error:
            return error.message
        return ""

    def make(self, index: int) -> PackedClip | FailedClip:
        assert self._maker is not None and self._settings is not None
        return make_packed(self._maker, self._settings, index)


class RayLauncher:
    """Connects to a cluster and starts workers there.

    Args:
        address: 'auto', 'host:6379', 'ray://host:10001', or 'local' for this machine alone.
        settings: of the data set.
        workers: for 'local', the processors that the cluster gets.
        maker: 'module:Class' of a ClipMaker.

    Raises:
        RayError: Ray is not installed or the cluster does not answer.
    """

    def __init__(
        self, address: str, settings: SynthesisSettings, workers: int, maker: str = BLENDER_MAKER
    ) -> None:
        with _keeping_signal_handlers():
            self._ray = connect(address, cpus=workers)
        self._settings, self._maker = settings, maker

    def launch(self) -> ClipWorker:
        options = {"num_cpus": 1, "max_restarts": 0}
        actor = self._ray.remote(RemoteWorker).options(**options).remote()
        worker = RayWorker(self._ray, actor)
        refusal = worker.get(
            actor.begin.remote(package_version(), json.dumps(to_json(self._settings)), self._maker)
        )
        if refusal:
            worker.close()
            raise FlexTrajError(refusal, ErrorCode.BACKEND)
        return worker


@contextlib.contextmanager
def _keeping_signal_handlers() -> Iterator[None]:
    """Ray takes SIGTERM for itself when it connects, and would end the run in the middle of a file."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class RayWorker:
    """One actor; `make` blocks on its answer."""

    def __init__(self, ray: Any, actor: Any) -> None:
        self._ray, self._actor = ray, actor

    def make(self, index: int) -> PackedClip:
        result = self.get(self._actor.make.remote(index))
        if isinstance(result, FailedClip):
            raise FlexTrajError(result.sentence, ErrorCode.ENGINE)
        return result

    def close(self) -> None:
        with contextlib.suppress(self._ray.exceptions.RayError, RuntimeError):
            self._ray.kill(self._actor)

    def get(self, answer: Any) -> Any:
        """Wait for an answer of the actor. Raises WorkerGoneError, RayError."""
        try:
            return self._ray.get(answer)
        except self._ray.exceptions.RayError as error:
            if "ModuleNotFoundError" in str(error):
                raise RayError(
                    "A node of the Ray cluster lacks FlexTraj: install the same version on every node."
                ) from error
            reason = str(error).strip().partition("\n")[0][:200].rstrip(".:")
            raise WorkerGoneError(
                f"The worker on the Ray cluster ended without a result ({reason})."
            ) from error
