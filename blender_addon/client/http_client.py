"""HTTP client of the local backend: the standard library's `http.client` alone.

A call may block until its time limit, so call from a worker thread, never from Blender's main thread. A
client holds no connection and may be shared by threads. System proxies are never used.
"""

from __future__ import annotations

import hashlib
import http
import http.client
import io
import json
import os
import re
import select
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit
from uuid import uuid4

from ..core.errors import ErrorCode, FlexTrajError
from ..core.request import RenderRequest
from ..core.version import PROTOCOL_VERSION
from .estimates import EstimateAnswer, EstimateQuestion
from .messages import BackendHealth, DeviceInfo, EngineInfo, FitAnswer, JobStatus, ResultKind

_CHUNK = 1 << 20
_MAX_JSON = 64 << 20
_MAX_LOG = 4 << 20
_FIT_SECONDS = 300.0
_LOOK_SECONDS = 0.1
_JOB_ID = re.compile(r"[0-9a-zA-Z_-]{1,64}")


class BackendError(FlexTrajError):
    """The backend cannot be reached, or it refused a call.

    Attributes:
        status: HTTP status of the refusal, 0 where there was no answer.
    """

    def __init__(self, message: str, code: ErrorCode = ErrorCode.BACKEND, status: int = 0) -> None:
        super().__init__(message, code)
        self.status = status


class BackendClient:
    """Calls one backend.

    Args:
        base_url: such as 'http://127.0.0.1:54321'.
        token: the backend's bearer token.
        timeout: seconds without a byte from the backend after which a call gives up.

    Every method raises BackendError (a FlexTrajError with one sentence) where the backend is gone, does not
    answer in time, refuses the call or answers nonsense.
    """

    def __init__(self, base_url: str, token: str, timeout: float = 10.0) -> None:
        parts = urlsplit(base_url)
        try:
            port = parts.port
        except ValueError:
            port = None
        if parts.scheme != "http" or not parts.hostname or port is None:
            raise BackendError(
                f"The backend's address '{base_url}' is not valid: it must look like http://127.0.0.1:8000."
            )
        if not token.isascii() or not token.isprintable():
            raise BackendError("The backend's token has characters that cannot be sent: copy it again.")
        self.base_url = base_url
        self._host, self._port, self._token, self._timeout = parts.hostname, port, token, timeout

    def health(self) -> BackendHealth:
        """Who answers. Raises BackendError (ErrorCode.BACKEND_VERSION) where it speaks another protocol."""
        health = BackendHealth.from_dict(self._json("GET", "/v1/health"))
        if health.protocol != PROTOCOL_VERSION:
            raise BackendError(
                f"The backend {health.version} speaks protocol {health.protocol}, the add-on speaks "
                f"{PROTOCOL_VERSION}: update both to the same version and restart the backend.",
                ErrorCode.BACKEND_VERSION,
            )
        return health

    def engines(self) -> tuple[EngineInfo, ...]:
        """All engines, also those that cannot run there."""
        return tuple(EngineInfo.from_dict(item) for item in self._list("/v1/engines", "engines"))

    def device(self) -> DeviceInfo:
        """The graphics card of the backend's machine and its free memory."""
        return DeviceInfo.from_dict(self._json("GET", "/v1/device"))

    def upload(self, source: Path | bytes, give_up: Callable[[], bool] = lambda: False) -> str:
        """Send a file or bytes unless the backend has them already; return their SHA-256 (64 hex digits).

        Args:
            give_up: asked before each MiB; True ends the upload with a BackendError.
        """
        with _open_source(source) as (file, size):
            digest = hashlib.sha256()
            for chunk in _chunks(file, give_up):
                digest.update(chunk)
            sha256 = digest.hexdigest()
            if self._has_asset(sha256):
                return sha256
            file.seek(0)
            self._json("PUT", f"/v1/assets/{sha256}", body=_chunks(file, give_up), size=size)
        return sha256

    def fit(self, request: RenderRequest, give_up: Callable[[], bool] = lambda: False) -> FitAnswer:
        """Place a motion on a photo as a render would; the assets are uploaded.

        Args:
            request: as of a job; its engine and prompt are not read.
            give_up: asked a few times a second; True hangs up, which ends the fit, with a BackendError.
        """
        body = request.to_json().encode()
        headers = {"Content-Type": "application/json"}
        with self._call(
            "POST", "/v1/fits", [body], len(body), headers, _Patience(_FIT_SECONDS, give_up)
        ) as answer:
            return FitAnswer.from_dict(_parse(answer.read(_MAX_JSON + 1)))

    def estimate(self, question: EstimateQuestion) -> EstimateAnswer:
        """What a job would take there."""
        body = question.to_json().encode()
        headers = {"Content-Type": "application/json"}
        return EstimateAnswer.from_dict(
            self._json("POST", "/v1/estimates", body=[body], size=len(body), headers=headers)
        )

    def submit(self, request: RenderRequest, idempotency_key: str) -> JobStatus:
        """Queue a job whose assets are uploaded. The same key gives the same job, so a retry is harmless."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": idempotency_key}
        body = request.to_json().encode()
        return JobStatus.from_dict(
            self._json("POST", "/v1/jobs", body=[body], size=len(body), headers=headers)
        )

    def jobs(self) -> tuple[JobStatus, ...]:
        """All jobs, the newest first."""
        return tuple(JobStatus.from_dict(item) for item in self._list("/v1/jobs", "jobs"))

    def job(self, job_id: str) -> JobStatus:
        """One job."""
        return JobStatus.from_dict(self._json("GET", _job_path(job_id)))

    def cancel(self, job_id: str) -> JobStatus:
        """Ask a queued or running job to stop; a finished one stays as it is."""
        return JobStatus.from_dict(self._json("POST", _job_path(job_id, "cancel")))

    def retry(self, job_id: str) -> JobStatus:
        """Queue an interrupted, failed or cancelled job again."""
        return JobStatus.from_dict(self._json("POST", _job_path(job_id, "retry")))

    def download(
        self,
        job_id: str,
        kind: ResultKind,
        destination: Path,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Path:
        """Save a result as `destination`: under a temporary name first, renamed when complete.

        Args:
            on_progress: called with (bytes received, bytes in total).
        """
        return self._save(_job_path(job_id, kind.value), destination, on_progress)

    def download_frames(
        self,
        job_id: str,
        destination: Path,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Path:
        """Save the video's pictures as a zip of PNG files; the bytes in total are told as 0, as unknown."""
        return self._save(_job_path(job_id, "frames"), destination, on_progress)

    def _save(self, path: str, destination: Path, on_progress: Callable[[int, int], None] | None) -> Path:
        temporary = destination.with_name(f".{destination.stem}.{uuid4().hex[:12]}{destination.suffix}")
        with self._call("GET", path) as response:
            try:
                with temporary.open("xb") as file:
                    _copy(response, file, on_progress)
                temporary.replace(destination)
            except (TimeoutError, ConnectionError):
                raise
            except OSError as error:
                raise FlexTrajError(
                    f"{destination} cannot be written ({error.strerror or error}): "
                    "check that the folder exists, is writable and has free space.",
                    ErrorCode.DISK,
                ) from error
            finally:
                temporary.unlink(missing_ok=True)
        return destination

    def log(self, job_id: str) -> str:
        """The job's log, for the user or a bug report; at most its last 4 MiB."""
        with self._call("GET", _job_path(job_id, "log")) as response:
            tail = b""
            while chunk := response.read(_CHUNK):
                tail = (tail + chunk)[-_MAX_LOG:]
            return tail.decode("utf-8", "replace")

    def _has_asset(self, sha256: str) -> bool:
        try:
            with self._call("HEAD", f"/v1/assets/{sha256}"):
                return True
        except BackendError as error:
            if error.status:
                # An answer to HEAD has no words: if this is more than a 404, the upload is refused with them.
                return False
            raise

    def _list(self, path: str, name: str) -> list[Any]:
        answer = self._json("GET", path)
        items = answer.get(name) if isinstance(answer, dict) else None
        if not isinstance(items, list):
            raise BackendError(
                f"The backend's answer has no list of {name}: "
                "update the add-on and the backend to the same version."
            )
        return items

    def _json(
        self,
        method: str,
        path: str,
        body: Iterable[bytes] | None = None,
        size: int = 0,
        headers: dict[str, str] | None = None,
    ) -> Any:
        with self._call(method, path, body, size, headers) as response:
            return _parse(response.read(_MAX_JSON + 1))

    @contextmanager
    def _call(
        self,
        method: str,
        path: str,
        body: Iterable[bytes] | None = None,
        size: int = 0,
        headers: dict[str, str] | None = None,
        patience: _Patience | None = None,
    ) -> Iterator[http.client.HTTPResponse]:
        """Send one request on a connection of its own; yield the answer if it is a 2xx."""
        connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        try:
            response = self._exchange(connection, method, path, body, size, headers or {}, patience)
            if not 200 <= response.status < 300:
                raise _refusal(response)
            yield response
        except TimeoutError as error:
            raise BackendError(
                f"The backend at {self.base_url} did not answer within {self._timeout:g} s: "
                "wait a moment and try again, or restart it."
            ) from error
        except (ConnectionError, http.client.HTTPException) as error:
            raise BackendError(
                f"The backend at {self.base_url} cannot be reached ({_reason(error)}): start it again."
            ) from error
        except OSError as error:
            raise BackendError(
                f"The backend at {self.base_url} cannot be reached ({error.strerror or error}): "
                "check its address and start it."
            ) from error
        finally:
            connection.close()

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: Iterable[bytes] | None,
        size: int,
        headers: dict[str, str],
        patience: _Patience | None,
    ) -> http.client.HTTPResponse:
        connection.putrequest(method, path)
        connection.putheader("Authorization", f"Bearer {self._token}")
        connection.putheader("Connection", "close")
        for name, value in headers.items():
            connection.putheader(name, value)
        if body is not None or method == "POST":
            connection.putheader("Content-Length", str(size))
        connection.endheaders()
        try:
            for chunk in body or ():
                connection.send(chunk)
        except ConnectionError:
            # A backend that refuses an upload answers and hangs up before all of it is sent: read why.
            return connection.getresponse()
        if patience is not None:
            patience.wait_for_answer(connection)
        return connection.getresponse()


@dataclass(frozen=True)
class _Patience:
    """How long to wait for an answer that takes its time, and when to hang up before."""

    seconds: float
    give_up: Callable[[], bool]

    def wait_for_answer(self, connection: http.client.HTTPConnection) -> None:
        """Return when the answer begins or the time is over. Raises BackendError where it gave up."""
        until = time.monotonic() + self.seconds
        while time.monotonic() < until:
            if self.give_up():
                raise BackendError("The call was cancelled: press the button again to repeat it.")
            if connection.sock is None or select.select([connection.sock], [], [], _LOOK_SECONDS)[0]:
                return


def _chunks(file: BinaryIO, give_up: Callable[[], bool]) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        if give_up():
            raise BackendError("The upload was cancelled: press Generate to run the job again.")
        yield chunk


@contextmanager
def _open_source(source: Path | bytes) -> Iterator[tuple[BinaryIO, int]]:
    if isinstance(source, bytes):
        yield io.BytesIO(source), len(source)
        return
    try:
        file = source.open("rb")
    except OSError as error:
        raise FlexTrajError(
            f"{source} cannot be opened ({error.strerror}): check the path.", ErrorCode.REQUEST
        ) from error
    with file:
        yield file, os.fstat(file.fileno()).st_size


def _copy(
    response: http.client.HTTPResponse, file: BinaryIO, on_progress: Callable[[int, int], None] | None
) -> None:
    total = response.length or 0
    received = 0
    while chunk := response.read(_CHUNK):
        file.write(chunk)
        received += len(chunk)
        if on_progress is not None:
            on_progress(received, total)
    if received < total:
        raise http.client.IncompleteRead(b"", total - received)


def _job_path(job_id: str, place: str = "") -> str:
    if not _JOB_ID.fullmatch(job_id):
        raise BackendError(f"'{job_id[:80]}' is not the name of a job: pick a job from the list.")
    return f"/v1/jobs/{job_id}/{place}" if place else f"/v1/jobs/{job_id}"


def _parse(body: bytes) -> Any:
    try:
        if len(body) > _MAX_JSON:
            raise ValueError("too long")
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BackendError(
            "The backend's answer is not FlexTraj's: check its address, another program may use that port."
        ) from error


def _refusal(response: http.client.HTTPResponse) -> BackendError:
    """The error that a non-2xx answer describes."""
    try:
        details = json.loads(response.read(_MAX_LOG))["error"]
        # The sentence of a newer backend is worth more than its kind of error, which may be unknown here.
        code = ErrorCode(details["code"]) if details["code"] in set(ErrorCode) else ErrorCode.BACKEND
        return BackendError(str(details["message"]), code, response.status)
    except (ValueError, KeyError, TypeError, RecursionError, OSError, http.client.HTTPException):
        if response.status == http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            # The backend hangs up while the upload still runs, which may tear its explanation off.
            return BackendError(
                "The upload is larger than the backend's limit: send fewer points, or a smaller photo.",
                status=response.status,
            )
        return BackendError(
            f"The backend refused the call (HTTP {response.status}): "
            "check its address, or update the add-on and the backend to the same version.",
            status=response.status,
        )


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, http.client.IncompleteRead):
        return "it hung up before the answer was complete"
    if isinstance(error, http.client.RemoteDisconnected):
        return "it hung up without an answer"
    return "it does not answer in HTTP"
