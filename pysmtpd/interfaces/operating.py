"""Running: plugins, and what an operator may do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.interfaces.routing import TableUpdate
from pysmtpd.model.config import Config
from pysmtpd.model.ids import EnvelopeId

API_VERSION = 1


class IBackendMaker(Interface):
    """A Twisted plugin that makes one backend: data only, so that listing plugins imports nothing."""

    kind: str = Attribute('"queue", "scheduler", "stat" or "table".')
    name: str = Attribute("What stands before the colon.")
    form: str = Attribute('How it is written, for people: "sqlite:PATH".')
    apiVersion: int = Attribute("L{API_VERSION} that it was written for.")

    def make(argument: str, platform: IPlatform, settings: Mapping[str, Any]) -> Any:
        """
        @param argument: what stands after the colon.
        @param settings: of the kind: queue C{{"spool": path, "limits": QueueLimits}}; scheduler C{{"limits": SchedulerLimits}};
            stat C{{}}; table C{{"spec": TableSpec, "services": services that the configuration asks it for}}.
        @raise ValueError: the argument is wrong; the text says what would be right.
        """


class IOperator(Interface):
    """What an operator may do to the daemon as a whole."""

    config: Config = Attribute("The newest generation.")

    def status() -> Mapping[str, object]:
        """Version, start, durability, what is paused, sessions, loading, generations."""

    def pause(part: str) -> None:
        """
        @param part: mta, mda or smtp.
        @raise ValueError: another.
        """

    def resume(part: str) -> None: ...

    def suspendEnvelopes(envelopes: Sequence[EnvelopeId]) -> Deferred[int]:
        """They are not tried until they are resumed, over restarts; fires with how many that changed.

        @raise QueueError: it would not outlast a restart.
        """

    def resumeEnvelopes(envelopes: Sequence[EnvelopeId]) -> Deferred[int]: ...

    def tableRows() -> Sequence[Mapping[str, object]]:
        """Each table that has a name: backend, entries, age, the last error."""

    def updateTable(name: str) -> Deferred[TableUpdate]:
        """Read a table's source again.

        @raise KeyError: there is no such table.
        @raise TableError: it could not be read; what it held before is still there.
        """

    def setVerbose(verbose: bool) -> None: ...

    def stop() -> None:
        """Begin an orderly end."""
