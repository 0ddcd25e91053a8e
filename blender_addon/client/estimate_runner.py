"""Estimates as the worker thread gets them from a backend that runs."""

from __future__ import annotations

from collections.abc import Callable

from ..core.errors import ErrorCode, FlexTrajError
from .backend_link import BackendLink
from .estimates import EstimateQuestion, EstimateReport


class EstimateRunner:
    """Asks; belongs to the worker thread.

    Args:
        link: the connection to the backend, which is not started for a question.
        tell: takes the reports; every question gets one.
    """

    def __init__(self, link: BackendLink, tell: Callable[[EstimateReport], None]) -> None:
        self._link, self._tell = link, tell

    def ask(self, question: EstimateQuestion) -> None:
        """Ask the backend."""
        service = self._link.service
        try:
            if service is None:
                raise FlexTrajError("The backend does not run.", ErrorCode.BACKEND)
            self._tell(EstimateReport(question, service.estimate(question)))
        except FlexTrajError as error:
            self._tell(EstimateReport(question, None, error))
