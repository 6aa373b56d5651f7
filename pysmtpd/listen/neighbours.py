"""What every session of a daemon has in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
    ITable,
)
from pysmtpd.listen.census import Census
from pysmtpd.listen.damping import Damping
from pysmtpd.listen.timeouts import Timeouts
from pysmtpd.model.config import Config


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The rooms that a session speaks with.

    @ivar tables: those of a generation, by name.
    """

    platform: IPlatform
    router: IRouter
    submit: ISubmit
    certificates: ICertificates
    authenticator: IAuthenticator
    resolver: IResolver
    filter: IFilter | None
    report: IReport
    timeouts: Timeouts
    tables: Callable[[Config], Mapping[str, ITable]]
    damping: Damping
    census: Census
