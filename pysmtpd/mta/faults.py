"""Faults of ours."""

from __future__ import annotations

from twisted.logger import Logger
from twisted.python.failure import Failure

from pysmtpd.interfaces.reporting import IReport
from pysmtpd.model.events import InternalError


class Faults:
    """They are logged and told; what they cost is up to whoever met them."""

    _log = Logger()

    def __init__(self, report: IReport) -> None:
        self._report = report

    def met(self, doing: str, failure: Failure) -> None:
        """One happened while C{doing}."""
        self._log.failure("while {doing}", failure, doing=doing)
        self._report.happened(InternalError(doing, failure.getErrorMessage()))
