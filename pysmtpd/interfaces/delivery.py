"""Agents: those who deliver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from twisted.internet.defer import Deferred
from zope.interface import Interface

from pysmtpd.model.address import Path
from pysmtpd.model.config import Config
from pysmtpd.model.envelope import Destination, Envelope, Message
from pysmtpd.model.ids import EnvelopeId
from pysmtpd.model.outcome import Outcome
from pysmtpd.model.reply import Reply
from pysmtpd.model.schedule import Delivery


class DeliveryRefused(Exception):
    """A delivery did not happen; the reply says why, temporary or permanent, with an enhanced code."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


class IOutcomes(Interface):
    """Takes results as they come. Each envelope of a delivery is named exactly once, in either method."""

    def finished(outcomes: Sequence[Outcome]) -> None: ...

    def hold(envelopes: Sequence[EnvelopeId], key: str) -> None:
        """There is no room for these now; C{release} of the same key brings them back. While the daemon stops: they were not begun."""


class IRelease(Interface):
    """How an agent says that there is room again."""

    def release(key: str, count: int) -> None: ...

    def retry(envelopes: Sequence[EnvelopeId]) -> None:
        """Try these now, if they only wait: what kept them has passed."""


class IAgent(Interface):
    """Delivers. Whatever goes wrong, each envelope gets its outcome: an agent never drops one and never raises."""

    def deliver(delivery: Delivery, outcomes: IOutcomes) -> None:
        """Start delivering; tell C{outcomes} as results come."""

    def foregone(deliveries: Sequence[Delivery]) -> Sequence[tuple[Outcome, Sequence[Delivery]]]:
        """Those of many deliveries, with what each of their envelopes comes to, that would fail for now without an attempt of their own, as
        mail for a host that is known to be down does. They have their outcome with this; the rest is to be delivered.

        @return: temporary outcomes with a C{retryAt} that is to come. The envelope that is named in them stands for all.
        """

    def capacity() -> int:
        """How many more envelopes it would take now; 0: none (paused, or full)."""

    def pause() -> None:
        """Take nothing new. What is under way goes on."""

    def resume() -> None: ...

    def stop() -> Deferred[None]:
        """Take nothing new, hold what has not begun; fires when everything under way has its outcome. After the grace period the rest
        is temporary."""


class IBounce(Interface):
    """Tells senders what became of their mail, by the one door."""

    def bounce(message: Message, failed: Sequence[Envelope]) -> Deferred[None]:
        """Submit one report about envelopes whose state says C{failed}; it supersedes them in the queue in one atomic step.

        Those that also say C{succeeded} were reached, and their sender has asked to hear of it (RFC 3461 NOTIFY=SUCCESS). Where nobody may
        be told (null sender, NOTIFY without FAILURE) they are only deleted, and that is reported.

        @raise QueueError: not now; nothing has changed.
        """

    def warn(message: Message, late: Sequence[Envelope]) -> Deferred[None]:
        """Submit one report about envelopes that are late and are still tried. Where nobody may be told, there is none.

        @raise QueueError: not now; nothing was sent.
        """


class IRoutes(Interface):
    """What the mta shows to people, one mapping of plain values for each; and what it lets them do."""

    def showRoutes() -> Sequence[Mapping[str, object]]: ...

    def showHosts() -> Sequence[Mapping[str, object]]: ...

    def showRelays() -> Sequence[Mapping[str, object]]: ...

    def showLimits() -> Sequence[Mapping[str, object]]:
        """Who is suspended, who has asked for patience, and which rates bind; each with how many envelopes wait for it."""

    def suspendDestination(name: str) -> Deferred[bool]:
        """Start nothing more for a domain, a mail host or a provider, over restarts. Its mail waits, and costs no try.

        @return: fires with whether that changed anything, once it would outlast a restart; fails with L{OSError} if it would not.
        @raise ValueError: it is no name, or there are too many.
        """

    def resumeDestination(name: str) -> Deferred[bool]:
        """The reverse. A host's or provider's wish for patience is forgotten, too."""

    def foresee(
        config: Config, destination: Destination, sender: Path, asksDns: bool
    ) -> Deferred[Mapping[str, object]]:
        """Where an envelope would go, and how, without effect: nothing is remembered, and nobody is connected to.

        @param asksDns: DNS may be asked, within a bound.
        """

    def showTls(domain: str) -> Sequence[Mapping[str, object]]:
        """What is known about the TLS of a domain's hosts, and what they have to show; C{domain} in A-labels."""

    def forgetTls(domain: str) -> int:
        """Remember no longer that its hosts had TLS; tells how many there were."""

    def showConnections() -> Sequence[Mapping[str, object]]: ...

    def underWay() -> Mapping[EnvelopeId, str]:
        """What each envelope that the mta has waits for, in words; one whose table is asked is not there."""

    def showHostStats() -> Sequence[Mapping[str, object]]:
        """What became of the latest mail, by destination domain."""

    def probe(name: str) -> Deferred[Mapping[str, object]]:
        """Connect to the hosts of a destination, say hello, look at TLS, and leave; nothing is sent or remembered.

        @param name: a domain, a host, an address, or a relay URL.
        @raise ValueError: it is none of these.
        """

    def forgive(name: str = "") -> int:
        """Forget that hosts were down, or asked for patience: the next try is a real one.

        @param name: a host's address or name; empty: all.
        @return: how many routes there was something to forgive of.
        """
