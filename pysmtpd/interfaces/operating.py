"""Running: plugins, and what an operator may do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.interfaces.routing import TableUpdate
from pysmtpd.model.config import Config
from pysmtpd.model.envelope import Envelope, Message
from pysmtpd.model.explanation import Explanation, Supposed
from pysmtpd.model.ids import EnvelopeId
from pysmtpd.model.rematched import Rematched

API_VERSION = 1


class ReloadRefused(Exception):
    """A new configuration cannot be taken; nothing has changed.

    @ivar messages: all that is in the way, each with its place.
    """

    def __init__(self, messages: Sequence[str]) -> None:
        super().__init__("\n".join(messages))
        self.messages = tuple(messages)


@dataclass(frozen=True, slots=True)
class ReloadDone:
    """
    @ivar generation: number of the new one.
    @ivar changes: what is different, in a few words each.
    """

    generation: int
    changes: tuple[str, ...]
    warnings: tuple[str, ...]


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

    def reload() -> Deferred[ReloadDone]:
        """Read the configuration again, check it, and go on by it. Sessions under way keep the generation that they began with.

        @raise ReloadRefused: it cannot be taken.
        """

    def rematch(message: Message, envelopes: Sequence[Envelope], dryRun: bool) -> Deferred[Sequence[Rematched]]:
        """Ask the rules of the newest generation again about envelopes of a message; durable when it fires.

        @param envelopes: some or all of them.
        @param dryRun: change nothing.
        @return: those that change.
        @raise QueueError: it would not outlast a restart.
        """

    def explain(
        supposed: Supposed, asksDns: bool = True
    ) -> Deferred[tuple[Explanation, Sequence[Mapping[str, object]]]]:
        """What would be decided about mail of a supposed session, by the newest generation, without effect.

        @param asksDns: DNS may be asked for names and mail hosts, within bounds.
        @return: with the route of each destination, as plain values; empty for local ones.
        @raise ValueError: this cannot be supposed; the text says why.
        """

    def setVerbose(verbose: bool) -> None: ...

    def stop() -> None:
        """Begin an orderly end."""
