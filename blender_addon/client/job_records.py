"""The job list on the disk: one small file a job, so that closing or killing Blender loses none.

Several Blenders share the folder; each file is replaced as a whole.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import uuid4

from ..core.errors import ErrorCode, FlexTrajError
from ..core.request import RenderRequest
from .job_reports import BlendFile, JobReport, JobStage, RenderOrder

_SCHEMA = 1
_MAX_BYTES = 1 << 20


class JobRecords:
    """The records below one folder.

    Args:
        folder: made when the first record is written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._written: dict[str, str] = {}

    def write(self, report: JobReport) -> None:
        """Remember where a job stands, unless nothing but its progress is new. Raises OSError."""
        text = json.dumps(_to_dict(report), indent=1, sort_keys=True)
        if text == self._written.get(report.key):
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = self._folder / f".{report.key}.{uuid4().hex[:12]}"
        try:
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(self._place(report.key))
            self._written[report.key] = text
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    def read(self) -> list[JobReport]:
        """All jobs, the oldest first; what cannot be read (damaged, of a newer add-on) is left out."""
        found: list[JobReport] = []
        with contextlib.suppress(OSError):
            for path in self._folder.glob("*.json"):
                with contextlib.suppress(OSError, ValueError, TypeError, KeyError, FlexTrajError):
                    found.append(_from_dict(json.loads(_text(path))))
        return sorted(found, key=lambda report: report.order.created)

    def remove(self, key: str) -> None:
        """Forget a job; its own files stay."""
        self._written.pop(key, None)
        with contextlib.suppress(OSError):
            self._place(key).unlink(missing_ok=True)

    def _place(self, key: str) -> Path:
        return self._folder / f"{key}.json"


def _text(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        text = file.read(_MAX_BYTES + 1)
    if len(text) > _MAX_BYTES:
        raise ValueError("too long for a record")
    return text


def _to_dict(report: JobReport) -> dict[str, Any]:
    order = report.order
    return {
        "schema_version": _SCHEMA,
        "key": order.key,
        "title": order.title,
        "photo": str(order.photo),
        "mask": None if order.mask is None else str(order.mask),
        "folder": str(order.folder),
        "request": asdict(order.request),
        "first_frame": order.first_frame,
        "last_frame": order.last_frame,
        "created": order.created,
        "file": order.file.path,
        "file_ids": sorted(order.file.ids),
        "stage": report.stage,
        "job_id": report.job_id,
        "message": report.message,
        "code": report.code,
        "label": report.label,
        "warnings": list(report.warnings),
    }


def _from_dict(values: dict[str, Any]) -> JobReport:
    """Raises ValueError, TypeError, KeyError or FlexTrajError on what is no record."""
    if values["schema_version"] != _SCHEMA:
        raise ValueError("another schema")
    request = dict(values["request"])
    # An earlier add-on's settings are a part of today's; whether backend and add-on match is asked elsewhere.
    del request["protocol"]
    order = RenderOrder(
        key=_word(values["key"]),
        title=str(values["title"]),
        photo=Path(values["photo"]),
        mask=None if values["mask"] is None else Path(values["mask"]),
        folder=Path(values["folder"]),
        request=RenderRequest.from_dict(request),
        first_frame=float(values["first_frame"]),
        last_frame=float(values["last_frame"]),
        created=float(values["created"]),
        file=BlendFile(str(values["file"]), frozenset(map(str, values["file_ids"]))),
    )
    code = values["code"]
    return JobReport(
        order=order,
        stage=JobStage(values["stage"]),
        job_id=str(values["job_id"]),
        message=str(values["message"]),
        code=ErrorCode(code) if code in set(ErrorCode) else None,
        label=str(values["label"]),
        warnings=tuple(map(str, values["warnings"])),
    )


def _word(text: Any) -> str:
    """A key is also a file name."""
    if not isinstance(text, str) or not text.isalnum() or not text.isascii():
        raise ValueError("not a key")
    return text
