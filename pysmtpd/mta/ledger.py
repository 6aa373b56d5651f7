"""How many envelopes are here, and the one outcome that each of them gets."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.python.failure import Failure

from pysmtpd.interfaces.delivery import IOutcomes, IRelease
from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.model.config import Config
from pysmtpd.model.envelope import Envelope
from pysmtpd.model.ids import EnvelopeId
from pysmtpd.model.outcome import Outcome, Result
from pysmtpd.model.reply import Reply
from pysmtpd.mta.connection import Connection
from pysmtpd.mta.hoststats import HostStats
from pysmtpd.mta.shaping.entry import countRest
from pysmtpd.mta.shaping.shaper import Shaper
from pysmtpd.mta.task import Part, Refused, Task
from pysmtpd.mta.timings import Timings
from pysmtpd.mta.turnstile import Turnstile

_UNREACHED = "4.4.1"


class Ledger:
    """
    @ivar envelopes: those that were taken and have no outcome yet.
    @ivar hostStats: what became of the latest mail, by domain.
    @ivar settled: told after each outcome, while we stop; None: nobody wants to know.
    """

    def __init__(
        self,
        platform: IPlatform,
        config: Callable[[], Config],
        shaper: Shaper,
        timings: Timings,
        turnstile: Turnstile,
        release: IRelease,
        fault: Callable[[str, Failure], None],
    ) -> None:
        self._platform = platform
        self._clock = platform.clock
        self._config = config
        self._shaper = shaper
        self._timings = timings
        self._releases = release
        self._fault = fault
        self.envelopes = 0
        self.hostStats = HostStats()
        self._turnstile = turnstile
        self.settled: Callable[[], None] | None = None

    def tell(self, outcomes: IOutcomes, results: list[Outcome]) -> None:
        """These have come to an end."""
        self.envelopes -= len(results)
        try:
            outcomes.finished(results)
        except Exception:
            self._fault("taking outcomes", Failure())
        if self.settled is not None:
            self.settled()

    def hold(self, outcomes: IOutcomes, envelopes: Sequence[Envelope], key: str) -> None:
        """These wait in the scheduler; see L{IOutcomes.hold}."""
        self.envelopes -= len(envelopes)
        try:
            outcomes.hold([envelope.id for envelope in envelopes], key)
        except Exception:
            self._fault("holding envelopes", Failure())
        if self.settled is not None:
            self.settled()

    def refuse(
        self, parts: Sequence[Part], result: Result, reply: Reply, retryAt: float = 0.0, remote: Refused | None = None
    ) -> None:
        """These parts are over, all alike."""
        for part in parts:
            self.fail(part, result, reply, retryAt, remote)
            part.end()
        if self._turnstile.isWaited:
            self._turnstile.serve()

    def fail(self, part: Part, result: Result, reply: Reply, retryAt: float, remote: Refused | None = None) -> None:
        """The same for one that had not begun.

        @param retryAt: wall-clock seconds at which the next try is of use; 0: nobody knows.
        @param remote: the last host that was talked to.
        """
        place = part.relay.key.place
        if result is Result.TEMPORARY:
            for envelope in part.envelopes:
                self.unreached(_domainOf(part, envelope), (envelope.id,), reply)
        label, source, tls = (remote.label, remote.source, remote.tls) if remote is not None else ("", "", "")
        self.tell(
            part.outcomes,
            [Outcome(one.id, result, reply, label, label or place, source, retryAt, tls) for one in part.envelopes],
        )

    def unreached(self, domain: str, envelopes: Sequence[EnvelopeId], reply: Reply) -> None:
        """These have failed for now; they are noted if it was for want of a host that can be reached.

        @param domain: in lower case.
        """
        if reply.enhanced == _UNREACHED:
            now, most = self._platform.wallTime(), self._config().maxDeferred
            self.hostStats.unreached(domain, reply, envelopes, now, most)

    def giveBack(self, parts: Sequence[Part]) -> None:
        """We stop, and these were not begun: it costs them no try."""
        for part in parts:
            self.hold(part.outcomes, part.envelopes, part.relay.name)
            part.end()
        if self._turnstile.isWaited:
            self._turnstile.serve()

    def decided(
        self,
        connection: Connection,
        task: Task,
        envelopes: Sequence[tuple[Part, Envelope]],
        replies: Sequence[Reply],
    ) -> None:
        """A host has said what becomes of these, one reply for each."""
        self._timings.ended(connection.source, connection.target.key.address, replies, connection.elapsed)
        countRest(self._shaper, task, self._clock.seconds())
        label, source, tls = connection.label, connection.source, connection.tls
        success = connection.success
        results = []
        again: list[EnvelopeId] = []
        wallTime = self._platform.wallTime()
        for (part, envelope), reply in zip(envelopes, replies, strict=True):
            code = reply.code
            if code < 500:
                part.relay.lastError = str(reply) if code >= 400 else ""
            again += self.hostStats.told(_domainOf(part, envelope), reply, wallTime)
            result = Result.DELIVERED if code < 400 else Result.TEMPORARY if code < 500 else Result.PERMANENT
            results.append(
                Outcome(envelope.id, result, reply, label, label, source, 0.0, tls, connection.session, success)
            )
        parts = task.parts
        self.tell(parts[0].outcomes, results)
        for part in parts:
            part.end()
        if self._turnstile.isWaited:
            self._turnstile.serve()
        if again:
            self._releases.retry(again)


def _domainOf(part: Part, envelope: Envelope) -> str:
    """In lower case; one text for all who remember it."""
    domain = envelope.destination.recipient.domain.lower()
    known = part.relay.key.domain
    return known if domain == known else domain
