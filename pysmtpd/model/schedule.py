"""What the scheduler knows of an envelope, and what it hands out."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from pysmtpd.model.envelope import Agent, Envelope, Message
from pysmtpd.model.ids import EnvelopeId, MessageId
from pysmtpd.model.value import value


class Kind(Enum):
    """What ready work asks for."""

    MTA = "mta"
    MDA = "mda"
    BOUNCE = "bounce"
    EXPIRE = "expire"
    REMOVE = "remove"

    # Members are singletons; Enum's own hash is a Python call, and these are keys wherever work is handed out.
    __hash__ = object.__hash__


class Entry(NamedTuple):
    """One envelope as the scheduler sees it. Times are wall-clock seconds.

    @ivar kind: MTA, MDA or BOUNCE (a failure is owed to the sender).
    @ivar tries: attempts made.
    @ivar nextTry: not before; 0: as soon as possible.
    @ivar priority: among ready work, higher leaves first; 0 is usual.
    @ivar held: waits for an operator.
    """

    id: EnvelopeId
    kind: Kind
    created: float
    expires: float
    tries: int = 0
    nextTry: float = 0.0
    priority: int = 0
    held: bool = False
    suspended: bool = False


_KINDS = {Agent.MTA: Kind.MTA, Agent.MDA: Kind.MDA}


def entryOf(envelope: Envelope) -> Entry:
    """What the scheduler has to know of C{envelope}; it asks for a bounce when it has failed, else for its delivery."""
    state = envelope.state
    return Entry(
        envelope.id,
        Kind.BOUNCE if state.failed else _KINDS[envelope.destination.agent],
        envelope.created,
        envelope.expires,
        state.tries,
        state.nextTry,
        0,
        bool(state.hold),
        state.suspended,
    )


class Condition(Enum):
    """Why an envelope is where it is; the words of C{show queue}."""

    UNCOMMITTED = "uncommitted"
    READY = "ready"
    WAITING = "waiting"
    INFLIGHT = "inflight"
    QUEUED = "queued"
    HELD = "held"
    SUSPENDED = "suspended"


class Status(NamedTuple):
    """One envelope's place in the schedule, for people.

    @ivar condition: QUEUED: waits in its agent's hold queue for room; HELD: for an operator, or in a hold queue
        that waits for the configuration.
    @ivar due: wall-clock seconds of the next event: next try or expiry.
    @ivar holdKey: the hold queue it waits in; empty: none.
    """

    entry: Entry
    condition: Condition
    due: float
    holdKey: str = ""


# Hold queues whose envelopes wait for the configuration, with the action's name behind: it has no such action; it delivers in another way.
VANISHED = "action:"
CHANGED = "changed:"
AWAIT_CONFIGURATION = (VANISHED, CHANGED)
# Those whose envelopes wait for a limit of the mta or a suspension, with its text behind.
SHAPED = "limit: "


class Lease(NamedTuple):
    """Ready envelopes of one message and one kind, handed to a worker. They belong to it until each was given back.

    @ivar deadline: wall-clock seconds after which it may be handed to another; None: never (C{ram}).
    """

    token: int
    kind: Kind
    message: MessageId
    envelopes: tuple[EnvelopeId, ...]
    deadline: float | None = None


@value
class Batch:
    """
    @ivar due: wall-clock seconds when to ask again if nothing happens before; None: only something new makes work.
    """

    leases: tuple[Lease, ...]
    due: float | None


class Delivery(NamedTuple):
    """A lease with what the queue knows of it: what an agent is given."""

    lease: Lease
    message: Message
    envelopes: tuple[Envelope, ...]
