"""Messages and envelopes: an envelope is one recipient of one message."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import Enum, IntFlag
from typing import NamedTuple

from pysmtpd.model.address import Path
from pysmtpd.model.facts import Transaction
from pysmtpd.model.ids import EnvelopeId, MessageId
from pysmtpd.model.value import value


class Notify(IntFlag):
    """RFC 3461 4.1. Nothing set means that the sender did not say: failures, and delays if we report them."""

    UNSET = 0
    SUCCESS = 1
    FAILURE = 2
    DELAY = 4
    NEVER = 8

    @property
    def ofCopies(self) -> Notify:
        """What is asked for each of several copies that one recipient expands to (RFC 3461 5.2.7).

        Nobody is told of the success of each: who they are is not the sender's business. Without C{SUCCESS} nothing may be left, and
        nothing is not the same as not asked for.
        """
        if not self & Notify.SUCCESS:
            return self
        return self & ~Notify.SUCCESS or Notify.NEVER

    def asWell(self, other: Notify) -> Notify:
        """What is asked for one copy that stands for two recipients: whatever either of them asks for."""
        if self is other or other is Notify.NEVER:
            return self
        if self is Notify.NEVER:
            return other
        # Who did not say hears of failures (RFC 3461 4.1).
        return (self or Notify.FAILURE) | (other or Notify.FAILURE)


class Agent(Enum):
    """Who delivers an envelope."""

    MTA = "mta"
    MDA = "mda"


class Hop(NamedTuple):
    """One step of an expansion on the way to a destination.

    @ivar node: what was given: an address, a user, C{|command}, C{/file}, C{:include:/file}.
    @ivar source: what gave it: a table with its key and where that stands, or a file and its line.
    """

    node: str
    source: str


def formatVia(via: Sequence[Hop]) -> str:
    """For logs: C{ann by aliases["staff"] (smtpd.conf:1) > eve@far.example by /home/ann/.forward:1}."""
    return " > ".join(f"{hop.node} by {hop.source}" for hop in via)


@value
class Destination:
    """What expanding one RCPT gave, before it has an id: where a copy shall go.

    @ivar recipient: the current address, after expansion.
    @ivar original: the address of the RCPT command.
    @ivar action: the action's name in the configuration; looked up again at each attempt.
    @ivar user: for local delivery, the user whose delivery it is; empty: the daemon's own, for a command or a file that a table names.
        For all else empty.
    @ivar rule: C{file:line} of the rule that accepted it.
    @ivar ttl: seconds until it expires, or None for the queue's own.
    @ivar orcpt: RFC 3461 ORCPT as C{type;address}, decoded from xtext; empty: none given.
    @ivar command: an expansion gave C{|command}: run this in place of the action's method, as C{user}; empty: none.
    @ivar file: an expansion gave C{/path}: append to this mbox in place of the action's method, as C{user}; empty: none.
    @ivar isForwarded: an alias, a virtual address or a .forward led here; for C{srs}.
    @ivar via: how its expansion came here: the branch of the tree from C{original}, which is no part of it. Empty: it was not expanded.
    """

    recipient: Path
    original: Path
    agent: Agent
    action: str
    user: str = ""
    rule: str = ""
    ttl: float | None = None
    notify: Notify = Notify.UNSET
    orcpt: str = ""
    command: str = ""
    file: str = ""
    isForwarded: bool = False
    via: tuple[Hop, ...] = ()

    def withParameters(self, notify: Notify, orcpt: str) -> Destination:
        """The same with the DSN parameters of its RCPT command."""
        return replace(self, notify=notify, orcpt=orcpt)


@value
class BodyRef:
    """Where a message's content lies. Only the queue that made it looks inside.

    @ivar size: octets of the canonical content: CRLF, dot-unstuffed, trace fields included.
    @ivar codec: name and key id of the codec that it is stored with; empty: plain.
    @ivar place: backend's own text; empty: beside the message's record.
    """

    message: MessageId
    size: int
    codec: str = ""
    place: str = ""


class Attempt(NamedTuple):
    """One delivery attempt, or a run of them that ended alike; for people and for bounces.

    @ivar at: wall-clock time in seconds, of the last one.
    @ivar reply: the last reply or error, one line.
    @ivar host: where it was tried: C{"mx.example.org [192.0.2.1]"}; empty for local delivery.
    @ivar times: how many there were.
    @ivar since: wall-clock time of the first one; 0: it is the only one, or the message had just come. See C{began}.
    @ivar source: our address, of the last one; empty: there was no connection.
    @ivar tls: of the last one: C{"TLSv1.3:TLS_AES_256_GCM_SHA384:256 verified"}; empty: plain text, or no connection.
    """

    at: float
    reply: str
    host: str = ""
    times: int = 1
    since: float = 0.0
    source: str = ""
    tls: str = ""

    def began(self, created: float) -> float:
        """Wall-clock time of the first one.

        @param created: of the envelope.
        """
        return self.since or (created if self.times > 1 else self.at)

    @property
    def address(self) -> str:
        """Of the host; empty where there is none."""
        return self.host[self.host.rindex("[") + 1 : -1] if self.host.endswith("]") and "[" in self.host else ""


class Route(NamedTuple):
    """How an envelope goes since its rules were asked again (C{rematch}): each field is in place of its destination's."""

    recipient: Path
    agent: Agent
    action: str
    user: str = ""
    rule: str = ""
    command: str = ""
    file: str = ""
    isForwarded: bool = False


def routeOf(destination: Destination) -> Route:
    """The way that a destination names."""
    return Route(*(getattr(destination, name) for name in Route._fields))


class EnvelopeState(NamedTuple):
    """The part of an envelope that changes. The queue stores it and never interprets it. Times are wall-clock seconds.

    A tuple, for a queue full of mail for hosts that are down makes one for each envelope at each try: a dataclass takes twice as long.

    @ivar hold: why it waits for an operator; empty: it does not.
    @ivar failed: set once delivery is over and the sender is to be told: the reply to cite.
    @ivar failedStatus: RFC 3463 status of that.
    @ivar succeeded: RFC 3464 action (delivered or relayed) of a success that is to be told; empty: it has failed.
    @ivar warned: how many delay warnings were sent.
    @ivar attempts: the latest, oldest first, at most L{MAX_ATTEMPTS}. Neighbours that ended alike are one.
    @ivar route: None: it goes as its expansion said.
    """

    tries: int = 0
    nextTry: float = 0.0
    lastTry: float = 0.0
    lastReply: str = ""
    hold: str = ""
    suspended: bool = False
    failed: str = ""
    failedStatus: str = ""
    warned: int = 0
    attempts: tuple[Attempt, ...] = ()
    route: Route | None = None
    succeeded: str = ""


MAX_ATTEMPTS = 8


@value
class Envelope:
    """
    @ivar destination: where it goes now: with the route of its state, if that has one.
    @ivar created: wall-clock seconds.
    @ivar expires: wall-clock seconds.
    """

    id: EnvelopeId
    destination: Destination
    created: float
    expires: float
    state: EnvelopeState = EnvelopeState()

    def withState(self, state: EnvelopeState) -> Envelope:
        """The same with another state."""
        # Spelled out: replace() costs five times as much.
        return Envelope(self.id, self.destination, self.created, self.expires, state)


def routed(destination: Destination, state: EnvelopeState) -> Destination:
    """Where an envelope with this state goes."""
    route = state.route
    return destination if route is None else replace(destination, **route._asdict())


@value
class Message:
    """
    @ivar created: wall-clock seconds of its acceptance.
    @ivar isBounce: we made it ourselves, as a report of failure.
    @ivar eightBit: the content holds octets above 127.
    @ivar isTlsOptional: its header says C{TLS-Required: No} (RFC 8689 5).
    """

    id: MessageId
    transaction: Transaction
    body: BodyRef
    created: float
    isBounce: bool = False
    eightBit: bool = False
    isTlsOptional: bool = False
