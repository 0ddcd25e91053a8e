"""Every refusal is JSON, `{"error": {"code", "message"}}`, with one sentence as the message."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from blender_addon.core.errors import ErrorCode, FlexTrajError
from flextraj_backend.engines.base import EngineError
from flextraj_backend.server.asset_store import AssetMissing, AssetTooLarge
from flextraj_backend.server.job_table import KeyReused, UnknownJob

_STATUS_BY_TYPE: tuple[tuple[type[FlexTrajError], int], ...] = (
    (UnknownJob, 404),
    (AssetMissing, 404),
    (KeyReused, 409),
    (AssetTooLarge, 413),
    (EngineError, 422),
)
_STATUS_BY_CODE = {ErrorCode.DISK: 507, ErrorCode.BACKEND_VERSION: 409, ErrorCode.BACKEND: 500}
_SENTENCE_BY_STATUS = {
    404: "There is no such call: update the add-on and the backend to the same version.",
    405: "This call does not exist with that method: update the add-on and the backend to the same version.",
}


def install_error_answers(app: FastAPI) -> None:
    """Make the app answer every error in this form."""

    @app.exception_handler(FlexTrajError)
    async def expected(_: Request, error: FlexTrajError) -> JSONResponse:
        return _answer(status_of(error), error.code, error.message)

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> JSONResponse:
        sentence = _SENTENCE_BY_STATUS.get(error.status_code, f"The call was refused: {error.detail}.")
        return _answer(error.status_code, ErrorCode.REQUEST, sentence)

    @app.exception_handler(Exception)
    async def unexpected(_: Request, error: Exception) -> JSONResponse:
        sentence = f"The backend made a mistake ({type(error).__name__}): see its log and report it."
        return _answer(500, ErrorCode.DEFECT, sentence)


def status_of(error: FlexTrajError) -> int:
    """The HTTP status of an expected error."""
    for kind, status in _STATUS_BY_TYPE:
        if isinstance(error, kind):
            return status
    return _STATUS_BY_CODE.get(error.code, 400)


def _answer(status: int, code: ErrorCode, sentence: str) -> JSONResponse:
    # The rest of a refused upload is not read, so the connection cannot be used again.
    headers = {"Connection": "close"}
    return JSONResponse({"error": {"code": code, "message": sentence}}, status, headers)
