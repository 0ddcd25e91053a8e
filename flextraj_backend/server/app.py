"""The HTTP application: thin handlers over the stores and the scheduler."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from blender_addon.client.estimates import EstimateQuestion
from blender_addon.client.messages import BackendHealth, JobState, JobStatus, ResultKind
from blender_addon.core.errors import ErrorCode, FlexTrajError, RequestError
from blender_addon.core.request import RenderRequest
from blender_addon.core.version import PROTOCOL_VERSION, package_version
from flextraj_backend.engines.base import EngineError
from flextraj_backend.engines.catalog import answer_estimate, engine_infos
from flextraj_backend.engines.registry import engine as engine_by_name
from flextraj_backend.server.asset_store import AssetStore
from flextraj_backend.server.auth import GuardMiddleware, HostRule
from flextraj_backend.server.device import DeviceWatch
from flextraj_backend.server.fits import FitService
from flextraj_backend.server.frame_archive import frame_archive
from flextraj_backend.server.http_errors import install_error_answers
from flextraj_backend.server.job_folder import JobFolder
from flextraj_backend.server.job_store import JobStore, new_job_id
from flextraj_backend.server.job_table import JobStoreError
from flextraj_backend.server.pruning import Pruner
from flextraj_backend.server.scheduler import Scheduler

_MAX_REQUEST_BYTES = 1 << 20
_MAX_KEY_CHARS = 200
_MAX_LOG_BYTES = 4 << 20
_MEDIA_TYPES = {".mp4": "video/mp4", ".png": "image/png", ".json": "application/json"}
_EVENT_SECONDS = 0.1
_HEARTBEAT_SECONDS = 15.0


@dataclass(frozen=True)
class Services:
    """What the handlers work with."""

    store: JobStore
    assets: AssetStore
    scheduler: Scheduler
    jobs_folder: Path
    pruner: Pruner
    device: DeviceWatch

    def folder(self, job_id: str) -> JobFolder:
        """The folder of a job that is in the store, so its name is one of ours."""
        return JobFolder(self.jobs_folder / job_id)


def create_app(
    services: Services, token: str, rule: HostRule, on_ready: Callable[[], None] = lambda: None
) -> FastAPI:
    """Return the application.

    Args:
        on_ready: called when jobs are taken.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        services.store.recover()
        services.scheduler.start()
        services.pruner.start()
        on_ready()
        yield
        services.pruner.stop()
        await run_in_threadpool(services.scheduler.stop)
        services.store.close()

    app = FastAPI(title="FlexTraj", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(GuardMiddleware, token=token, rule=rule)
    install_error_answers(app)
    _add_information(app, services.device)
    _add_assets(app, services)
    _add_fits(app, FitService(services.assets))
    _add_jobs(app, services)
    _add_results(app, services)
    return app


def _add_information(app: FastAPI, device: DeviceWatch) -> None:
    started = time.monotonic()

    @app.get("/v1/health")
    async def health() -> dict[str, Any]:
        return BackendHealth(PROTOCOL_VERSION, package_version(), time.monotonic() - started).to_dict()

    @app.get("/v1/engines")
    def engines() -> dict[str, Any]:
        return {"engines": [info.to_dict() for info in engine_infos()]}

    # Apart from the health, which must stay cheap: the driver takes its time to answer.
    @app.post("/v1/estimates")
    async def estimate(request: Request) -> dict[str, Any]:
        question = EstimateQuestion.from_json(await _read_body(request))
        return (await run_in_threadpool(answer_estimate, question)).to_dict()

    @app.get("/v1/device")
    def graphics_card() -> dict[str, Any]:
        return device.look().to_dict()


def _add_assets(app: FastAPI, services: Services) -> None:
    @app.head("/v1/assets/{sha256}")
    def has_asset(sha256: str) -> Response:
        services.assets.path(sha256)
        return Response()

    @app.put("/v1/assets/{sha256}", status_code=201)
    async def put_asset(sha256: str, request: Request) -> dict[str, Any]:
        announced = request.headers.get("content-length")
        size = await services.assets.receive(
            sha256, None if announced is None else int(announced), request.stream()
        )
        return {"sha256": sha256, "size": size}


def _add_fits(app: FastAPI, fits: FitService) -> None:
    @app.post("/v1/fits")
    async def fit(request: Request) -> dict[str, Any]:
        wanted = RenderRequest.from_json(await _read_body(request))
        return await fits.fit(wanted, request.is_disconnected)


def _add_jobs(app: FastAPI, services: Services) -> None:
    @app.post("/v1/jobs", status_code=201)
    async def submit(request: Request) -> dict[str, Any]:
        key = request.headers.get("idempotency-key")
        if key is not None and not 0 < len(key) <= _MAX_KEY_CHARS:
            raise RequestError(f"The Idempotency-Key must have 1 to {_MAX_KEY_CHARS} characters.")
        body = await _read_body(request)
        status = await run_in_threadpool(_submit, services, RenderRequest.from_json(body), key)
        services.scheduler.wake()
        return status.to_dict()

    @app.get("/v1/jobs")
    def jobs() -> dict[str, Any]:
        return {"jobs": [status.to_dict() for status in services.store.list()]}

    @app.get("/v1/jobs/{job_id}")
    def job(job_id: str) -> dict[str, Any]:
        return services.store.get(job_id).to_dict()

    @app.get("/v1/jobs/{job_id}/events")
    def events(job_id: str) -> StreamingResponse:
        services.store.get(job_id)
        return StreamingResponse(
            _events(services.store, job_id),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store"},
        )

    @app.post("/v1/jobs/{job_id}/cancel")
    def cancel(job_id: str) -> dict[str, Any]:
        return services.store.request_cancel(job_id).to_dict()

    @app.post("/v1/jobs/{job_id}/retry")
    def retry(job_id: str) -> dict[str, Any]:
        status = services.store.retry(job_id)
        services.scheduler.wake()
        return status.to_dict()


def _add_results(app: FastAPI, services: Services) -> None:
    def place(job_id: str, kind: ResultKind) -> Path:
        status = services.store.get(job_id)
        path = services.folder(status.id).result(kind)
        if status.state is not JobState.SUCCEEDED or not path.is_file():
            raise JobStoreError(f"The job is {status.state}: it has no such result.")
        return path

    def result(job_id: str, kind: ResultKind) -> FileResponse:
        path = place(job_id, kind)
        return FileResponse(path, media_type=_MEDIA_TYPES[path.suffix])

    @app.get("/v1/jobs/{job_id}/video")
    def video(job_id: str) -> FileResponse:
        return result(job_id, ResultKind.VIDEO)

    @app.get("/v1/jobs/{job_id}/frames")
    def frames(job_id: str) -> StreamingResponse:
        parts = frame_archive(place(job_id, ResultKind.VIDEO))
        first = next(parts)  # before the answer begins, so that a damaged video is refused with a sentence
        return StreamingResponse(chain([first], parts), media_type="application/zip")

    @app.get("/v1/jobs/{job_id}/conditions/id")
    def id_video(job_id: str) -> FileResponse:
        return result(job_id, ResultKind.ID_VIDEO)

    @app.get("/v1/jobs/{job_id}/conditions/color")
    def color_video(job_id: str) -> FileResponse:
        return result(job_id, ResultKind.COLOR_VIDEO)

    @app.get("/v1/jobs/{job_id}/thumbnail")
    def thumbnail(job_id: str) -> FileResponse:
        return result(job_id, ResultKind.THUMBNAIL)

    @app.get("/v1/jobs/{job_id}/sidecar")
    def sidecar(job_id: str) -> FileResponse:
        return result(job_id, ResultKind.SIDECAR)

    @app.get("/v1/jobs/{job_id}/log")
    def log(job_id: str) -> Response:
        # Not a file response: the log grows while it is sent.
        tail = _tail(services.folder(services.store.get(job_id).id).log)
        return Response(tail, media_type="text/plain; charset=utf-8")


def _submit(services: Services, request: RenderRequest, key: str | None) -> JobStatus:
    if key is not None and (known := services.store.find(request, key)) is not None:
        return known
    availability = engine_by_name(request.engine).availability()
    if not availability.available:
        raise EngineError(availability.reason, availability.code)
    job_id = new_job_id()
    folder = services.folder(job_id)
    try:
        folder.create(request, services.assets.path)
        status = services.store.add(job_id, request, key)
    except FlexTrajError:
        folder.discard()
        raise
    except OSError as error:
        folder.discard()
        raise JobStoreError(
            f"The job's folder cannot be written ({error.strerror or error}): free some disk space.",
            ErrorCode.DISK,
        ) from error
    if status.id != job_id:
        # The same key arrived twice at the same time and the other call was first.
        folder.discard()
    return status


async def _read_body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_REQUEST_BYTES:
            raise RequestError("The request is longer than 1 MiB: shorten the prompt.")
    return bytes(body)


async def _events(store: JobStore, job_id: str) -> AsyncIterator[str]:
    """Server-sent events: the job at each change; the stream ends with the job."""
    last: JobStatus | None = None
    last_sent = time.monotonic()
    while last is None or not last.state.is_finished:
        status = store.get(job_id)
        if status != last:
            last, last_sent = status, time.monotonic()
            yield f"event: job\ndata: {json.dumps(status.to_dict())}\n\n"
        elif time.monotonic() - last_sent > _HEARTBEAT_SECONDS:
            last_sent = time.monotonic()
            yield ": still here\n\n"
        else:
            await asyncio.sleep(_EVENT_SECONDS)


def _tail(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - _MAX_LOG_BYTES, 0))
            return file.read(_MAX_LOG_BYTES)
    except FileNotFoundError:
        return b""
