"""Fits of a motion to a photo, as the worker thread gets them from the backend.

The worker connects and uploads; the fit itself, which takes seconds, waits in a thread of its own, so that
jobs are followed meanwhile.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ..core.errors import ErrorCode, FlexTrajError
from ..core.request import RenderRequest
from .backend_link import BackendLink, GiveUp, RenderService
from .messages import FitAnswer

_CANCELLED = "The fit was cancelled: press Fit to Photo to fit again."


@dataclass(frozen=True)
class FitOrder:
    """What is fitted, as the main thread hands it over; nothing in it belongs to Blender.

    Attributes:
        key: name of the fit inside Blender.
        trajectories: bytes of a trajectory set; its first frame counts.
        photo, mask: image files; the mask is None where the user gave none.
        request: how it is fitted, with NOT_UPLOADED in the place of each asset.
    """

    key: str
    trajectories: bytes
    photo: Path
    mask: Path | None
    request: RenderRequest


@dataclass(frozen=True)
class FitReport:
    """How a fit ended: with an answer or with an error."""

    key: str
    answer: FitAnswer | None
    error: FlexTrajError | None = None


class FitRunner:
    """Gets fits; `begin` belongs to the worker thread.

    Args:
        link: the connection to the backend.
        tell: takes the reports, from any thread.
        is_closing: whether Blender closes.

    Attributes:
        unfinished: fits that have no report yet.
        cancelled: those that nobody waits for any more; they still get a report.
    """

    def __init__(
        self, link: BackendLink, tell: Callable[[FitReport], None], is_closing: Callable[[], bool]
    ) -> None:
        self._link, self._tell, self._is_closing = link, tell, is_closing
        self.unfinished: set[str] = set()
        self.cancelled: set[str] = set()

    def begin(self, order: FitOrder) -> None:
        """Connect, send what the fit needs and let a thread wait for the answer."""

        def is_unwanted() -> bool:
            return self._is_closing() or order.key in self.cancelled

        try:
            service = self._link.connect(is_unwanted)
            request = _upload(service, order, is_unwanted)
        except GiveUp:
            self._end(FitReport(order.key, None, FlexTrajError(_CANCELLED, ErrorCode.REQUEST)))
        except FlexTrajError as error:
            self._end(FitReport(order.key, None, error))
        else:
            threading.Thread(
                target=self._wait,
                args=(service, order.key, request, is_unwanted),
                name="FlexTraj fit",
                daemon=True,
            ).start()

    def _wait(
        self, service: RenderService, key: str, request: RenderRequest, is_unwanted: Callable[[], bool]
    ) -> None:
        try:
            report = FitReport(key, service.fit(request, is_unwanted))
        except FlexTrajError as error:
            report = FitReport(key, None, error)
        except Exception as error:
            # A defect of ours must not leave the button waiting for ever.
            traceback.print_exc()
            sentence = f"The add-on made a mistake ({type(error).__name__}): report it."
            report = FitReport(key, None, FlexTrajError(sentence, ErrorCode.DEFECT))
        self._end(report)

    def _end(self, report: FitReport) -> None:
        self._tell(report)
        self.cancelled.discard(report.key)
        # After the report: the main thread stops looking for reports once nothing is unfinished.
        self.unfinished.discard(report.key)


def _upload(service: RenderService, order: FitOrder, is_unwanted: Callable[[], bool]) -> RenderRequest:
    for path, what, code in (
        (order.photo, "photo", ErrorCode.NO_PHOTO),
        (order.mask, "mask", ErrorCode.MASK),
    ):
        if path is not None and not path.is_file():
            raise FlexTrajError(f"The {what} {path} is not there any more: choose it again.", code)

    def upload(source: Path | bytes) -> str:
        try:
            return service.upload(source, is_unwanted)
        except FlexTrajError as error:
            if is_unwanted():
                raise GiveUp from error
            raise

    return replace(
        order.request,
        trajectories=upload(order.trajectories),
        image=upload(order.photo),
        mask=None if order.mask is None else upload(order.mask),
    )
