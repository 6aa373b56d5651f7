"""Work under way: parts of messages, and the transactions that they are put into."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from pysmtpd.interfaces.delivery import IOutcomes
from pysmtpd.model.address import Path
from pysmtpd.model.config import Action, Method
from pysmtpd.model.envelope import Envelope, Message
from pysmtpd.model.reply import Reply
from pysmtpd.mta.bounds import Charge
from pysmtpd.mta.keys import BadDomain, ConnectionKey, Target, TransactionKey, domainOf
from pysmtpd.mta.mx import Resolution
from pysmtpd.mta.relay import Relay
from pysmtpd.mta.security import Policy
from pysmtpd.smtp.client_events import OutgoingMail, OutgoingRcpt


class Refused(NamedTuple):
    """One host's word to one message, after which another host is asked.

    @ivar isLacking: the host lacks what the message needs; else it ended the session.
    """

    label: str
    source: str
    tls: str
    reply: Reply
    isLacking: bool


def isUsual(message: Message) -> bool:
    """Has it no wishes of its own about TLS?"""
    return not (message.transaction.requireTls or message.isTlsOptional)


class Part:
    """The envelopes of one message that go to one relay by one action.

    @ivar sender: the MAIL FROM of all of them.
    @ivar counted: the limits that it was counted against in this attempt; None: it has not begun.
    @ivar moves: hosts that turned out to be of no use in this attempt.
    @ivar isUsual: the message has no wishes of its own about TLS: what is known of the relay holds for it.
    @ivar refused: what hosts said to this part in this attempt that another may not say, by address and port.
    """

    __slots__ = (
        "action",
        "counted",
        "envelopes",
        "isUsual",
        "message",
        "moves",
        "outcomes",
        "refused",
        "relay",
        "sender",
    )

    def __init__(
        self,
        message: Message,
        relay: Relay,
        action: Action,
        envelopes: list[Envelope],
        outcomes: IOutcomes,
        sender: str,
    ) -> None:
        self.message = message
        self.relay = relay
        self.action = action
        self.envelopes = envelopes
        self.outcomes = outcomes
        self.sender = sender
        self.moves = 0
        self.counted: dict[str, None] | None = None
        self.refused: dict[tuple[str, int], Refused] = {}
        self.isUsual = isUsual(message)

    def forOthers(self, envelopes: list[Envelope]) -> Part:
        """Another one for some of its envelopes; counts as a message of its own."""
        self.relay.begin()
        other = Part(self.message, self.relay, self.action, envelopes, self.outcomes, self.sender)
        other.moves = self.moves
        other.refused = dict(self.refused)
        return other

    def levels(self, resolution: Resolution) -> Sequence[Sequence[Target]]:
        """The hosts, as this message sees them (RFC 8689)."""
        if self.isUsual:
            return resolution.levels
        transaction = self.message.transaction
        # A report of failure is not dropped for want of REQUIRETLS; it is said to hosts that offer it (5).
        requireTls = transaction.requireTls and not transaction.sender.isNull
        isTlsOptional = self.message.isTlsOptional and not transaction.requireTls
        return [[target.under(requireTls, isTlsOptional) for target in level] for level in resolution.levels]

    def seen(self, key: ConnectionKey) -> Target | None:
        """The host of a connection as the domain sees it; None: it is none of its hosts any more."""
        resolution = self.relay.resolution
        for level in resolution.levels if resolution is not None else ():
            for target in level:
                if target.key.address == key.address and target.key.port == key.port:
                    return target
        return None

    def end(self) -> None:
        """Each of its envelopes has its outcome."""
        self.relay.count(-len(self.envelopes))
        self.relay.end()


class Task:
    """One transaction to come. Its parts have key and message in common.

    @ivar target: the host that was chosen for it.
    @ivar since: monotonic seconds when it began to wait.
    @ivar retried: it was on a connection that turned out to be dead; that costs nobody a try, once.
    @ivar others: addresses of the other family that the same host has (RFC 8305).
    @ivar home: where it waited before one of these was tried as well.
    """

    __slots__ = ("home", "key", "message", "others", "parts", "policy", "retried", "since", "target")

    def __init__(self, key: TransactionKey, parts: list[Part], target: Target, since: float) -> None:
        self.key = key
        self.parts = parts
        self.message = parts[0].message
        self.target = target
        self.policy: Policy = target.policy
        self.since = since
        self.retried = False
        self.others: Sequence[Target] = ()
        self.home: Target | None = None

    @property
    def charges(self) -> Sequence[Charge]:
        """What it counts against: every domain and relay that it touches."""
        source = self.target.key.source
        if len(self.parts) == 1:
            return self.parts[0].relay.charges(source)
        return list(dict.fromkeys(charge for part in self.parts for charge in part.relay.charges(source)))

    @property
    def domains(self) -> Sequence[str]:
        """Whose limits hold for it."""
        return [part.relay.key.limitName for part in self.parts]

    def divide(self, left: list[Part]) -> Task:
        """Another task for these parts, which must be some but not all; this one keeps the others."""
        self.parts = [part for part in self.parts if part not in left]
        return self._like(left)

    def _like(self, parts: list[Part]) -> Task:
        other = Task(self.key, parts, self.target, self.since)
        other.policy = self.policy
        other.others = self.others
        other.home = self.home
        return other

    @property
    def envelopes(self) -> list[tuple[Part, Envelope]]:
        return [(part, envelope) for part in self.parts for envelope in part.envelopes]

    def split(self, over: Collection[int]) -> Task:
        """Another task with the recipients of these indices, which must be some but not all; this one keeps the others."""
        kept: list[Part] = []
        left: list[Part] = []
        index = 0
        for part in self.parts:
            mine: list[Envelope] = []
            others: list[Envelope] = []
            for envelope in part.envelopes:
                (others if index in over else mine).append(envelope)
                index += 1
            if not others:
                kept.append(part)
            elif not mine:
                left.append(part)
            else:
                part.envelopes = mine
                kept.append(part)
                left.append(part.forOthers(others))
        self.parts = kept
        return self._like(left)

    def take(self, most: int, mostDomains: int) -> Task | None:
        """Keep only so many recipients, and domains (0: no bound on them); what is left over is another task, or None."""
        domains: dict[str, None] = {}
        over: dict[int, None] = {}
        for index, (_, envelope) in enumerate(self.envelopes):
            domain = envelope.destination.recipient.domain.lower()
            if index - len(over) >= most or (mostDomains and domain not in domains and len(domains) >= mostDomains):
                over[index] = None
            else:
                domains[domain] = None
        return self.split(over) if over else None


def international(task: Task, envelopes: Sequence[tuple[Part, Envelope]]) -> dict[int, None]:
    """Which of these recipients need SMTPUTF8, where others do not; empty: they are all alike."""
    if len(envelopes) < 2 or not _aLabels(task.key.sender).isascii():
        return {}
    found = {index: None for index, each in enumerate(envelopes) if not _pathOf(*each).isascii()}
    return found if len(found) < len(envelopes) else {}


def outgoing(task: Task, envelopes: Sequence[tuple[Part, Envelope]], headerNeedsUtf8: bool) -> OutgoingMail:
    """
    @param headerNeedsUtf8: some header field holds octets above 127, and the sender declared SMTPUTF8.
    """
    message = task.message
    transaction = message.transaction
    sender = _aLabels(task.key.sender)
    utf8 = headerNeedsUtf8 or not sender.isascii()
    recipients = []
    for part, envelope in envelopes:
        destination = envelope.destination
        path = _pathOf(part, envelope)
        utf8 = utf8 or not path.isascii()
        recipients.append(OutgoingRcpt(path, destination.notify, destination.orcpt))
    body = transaction.body
    if body != "BINARYMIME":
        body = "8BITMIME" if message.eightBit or body == "8BITMIME" else ""
    return OutgoingMail(
        sender,
        recipients,
        message.body.size,
        body,
        utf8,
        transaction.ret,
        transaction.envid,
        transaction.requireTls,
    )


def _pathOf(part: Part, envelope: Envelope) -> str:
    destination = envelope.destination
    if part.action.method is Method.LMTP and not part.action.lmtpRcptTo and destination.user:
        return destination.user
    return _aLabels(str(destination.recipient))


def _aLabels(path: str) -> str:
    """With its domain in ASCII, so that it does not need SMTPUTF8 by that (RFC 6531 3.7.1); as it is, if it has no such name."""
    if path.isascii():
        return path
    local, at, domain = path.rpartition("@")
    try:
        return f"{local}{at}{domainOf(Path(local, domain))}" if at else path
    except BadDomain:
        return path
