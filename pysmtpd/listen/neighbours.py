"""What every session of a daemon has in common."""

from __future__ import annotations

from dataclasses import dataclass

from pysmtpd.interfaces import (
    IAuthenticator,
    ICertificates,
    IFilter,
    IPlatform,
    IReport,
    IResolver,
    IRouter,
    ISubmit,
)
from pysmtpd.listen.timeouts import Timeouts


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The rooms that a session speaks with."""

    platform: IPlatform
    router: IRouter
    submit: ISubmit
    certificates: ICertificates
    authenticator: IAuthenticator
    resolver: IResolver
    filter: IFilter | None
    report: IReport
    timeouts: Timeouts
