"""Durable acceptance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from pysmtpd.interfaces.platform import Space
from pysmtpd.interfaces.ready import Ready
from pysmtpd.model.envelope import BodyRef, Destination, Envelope, EnvelopeState, Message
from pysmtpd.model.facts import Transaction
from pysmtpd.model.ids import EnvelopeId, MessageId
from pysmtpd.model.reply import Reply
from pysmtpd.model.value import value


class Durability(Enum):
    """What an acknowledged message survives: a power cut, nothing, or not even acceptance."""

    DURABLE = "durable"
    VOLATILE = "volatile"
    DISCARDING = "discarding"


class QueueError(Exception):
    """The queue cannot do it now. Carries what a peer is told: 452 (no room) or 451 (error)."""

    def __init__(self, reply: Reply, reason: str) -> None:
        super().__init__(reason)
        self.reply = reply
        self.reason = reason


class ContentLost(QueueError):
    """The message is in the queue, but its content is nowhere."""


class NoSuchItem(Exception):
    """No message or envelope of that id is in the queue."""


class SpoolError(Exception):
    """The spool cannot be opened: locked by another daemon, of a newer format, or damaged. The text says what to do."""


class SpoolBusy(SpoolError):
    """Another daemon has it."""


@value
class SetAside:
    """An item that could not be read.

    @ivar item: a message or envelope id, or a file's name.
    """

    item: str
    reason: str


# --- the front: what rooms see


class ISubmission(Interface):
    """One message on its way in. Exactly one of C{commit} and C{rollback} ends it."""

    id: MessageId = Attribute("The message's id, known from the start.")

    def recipient(destination: Destination) -> EnvelopeId:
        """Add one envelope. Does no I/O."""

    def write(chunk: bytes) -> Ready[None]:
        """Add canonical content: CRLF, dot-unstuffed. Wait for the answer before the next chunk (back-pressure).

        @raise QueueError: no room; the submission must be rolled back.
        """

    def commit(prefix: bytes, supersedes: Sequence[EnvelopeId] = (), isTlsOptional: bool = False) -> Deferred[Message]:
        """Make the message and all its envelopes durable, then schedulable.

        Fires only when they survive a power cut (where the backend is durable): before that no positive reply may be given.
        Concurrent commits share one sync.

        @param prefix: trace fields that go before the content.
        @param supersedes: envelopes that vanish in the same atomic step (a bounce and what it reports).
        @param isTlsOptional: the header says C{TLS-Required: No}.
        @raise QueueError: nothing was kept; nothing is half done.
        """

    def rollback() -> Deferred[None]:
        """Forget it. Leaves no debris, also if it never fires because of a crash."""


class ISubmit(Interface):
    """The one door. SMTP sessions, the local socket, bounces and imports enter here."""

    def admit(size: int) -> Reply | None:
        """May a message of C{size} octets (0: unknown) come in now? None, or the 452 that says why not. Does no I/O."""

    def begin(transaction: Transaction, isBounce: bool = False) -> ISubmission:
        """Does no I/O."""


class IBody(Interface):
    """The content of a queued message, open for reading from its start."""

    size: int = Attribute("Octets in all.")

    def read() -> Ready[bytes]:
        """The next chunk, at most 64 KiB; empty at the end.

        @raise QueueError: it cannot be read, or a checksum is wrong.
        """

    def rewind() -> None:
        """Start again."""

    def close() -> None:
        """May be called twice."""


@value
class Walked:
    """A page of the queue.

    @ivar cursor: hand it to the next call; None: this was the last page.
    """

    messages: tuple[tuple[Message, tuple[Envelope, ...]], ...]
    cursor: str | None


class IQueue(Interface):
    """The only truth about what is queued."""

    durability: Durability = Attribute("Of the backend.")

    def open(ref: BodyRef) -> Deferred[IBody]:
        """
        @raise NoSuchItem: the message is gone.
        @raise QueueError: it cannot be read; the message was set aside.
        """

    def load(message: MessageId) -> Ready[tuple[Message, tuple[Envelope, ...]]]:
        """The message with the envelopes that are left; at once if it is in memory.

        @raise NoSuchItem:
        @raise QueueError:
        """

    def update(states: Mapping[EnvelopeId, EnvelopeState]) -> Deferred[None]:
        """Keep new states. A crash before it fires loses at most these changes. Unknown ids are ignored."""

    def delete(envelopes: Sequence[EnvelopeId]) -> Deferred[None]:
        """Forget envelopes; a message goes with its last one. Unknown ids are ignored. Not necessarily durable when it fires."""

    def walk(cursor: str | None) -> Deferred[Walked]:
        """A page of everything that was queued when the backend was opened, in no promised order. What is damaged is set aside,
        reported, and skipped."""

    def setAside() -> Deferred[tuple[SetAside, ...]]:
        """What could not be read, with reasons."""

    def page(after: MessageId, limit: int) -> Deferred[tuple[tuple[Message, tuple[Envelope, ...]], ...]]:
        """For people: at most C{limit} messages with ids above C{after}, in the order of their ids."""


# --- the backends: what stores it


@value
class NewMessage:
    """What a backend commits in one atomic step. Records are opaque, checksummed by the front.

    @ivar body: the content, or None if it was staged (then C{staged} names it).
    @ivar envelopes: id and record of each.
    @ivar supersedes: envelopes to forget in the same step; a message goes with its last one.
    """

    id: MessageId
    record: bytes
    envelopes: tuple[tuple[EnvelopeId, bytes], ...]
    body: bytes | None
    staged: str = ""
    supersedes: tuple[EnvelopeId, ...] = ()


@value
class StoredMessage:
    """
    @ivar envelopes: id, record, and latest state (empty: none was kept yet).
    """

    id: MessageId
    record: bytes
    envelopes: tuple[tuple[EnvelopeId, bytes, bytes], ...]


@value
class StoredPage:
    """
    @ivar damaged: items of this page that cannot be read at all; the backend keeps them out of later pages. Or of which a part is
        missing: what is left of those is among C{messages}. Or what the storage as a whole has lost.
    """

    messages: tuple[StoredMessage, ...]
    cursor: str | None
    damaged: tuple[SetAside, ...] = ()


class IStage(Interface):
    """A body too large for memory, being written. Everything here is lost, without debris, unless a commit names it."""

    name: str = Attribute("What C{NewMessage.staged} says.")

    def write(chunk: bytes) -> Deferred[None]: ...

    def finish() -> Deferred[None]:
        """The content is complete and durable."""

    def discard() -> Deferred[None]: ...


class IQueueBackend(Interface):
    """Stores opaque records. It need not cache, check, parse, merge calls or make ids: the front does. All methods are called in
    the reactor's thread, may be called while others are under way, and keep their order per message.

    Obligations (the contract suite L{pysmtpd.testing.contracts} tests each):

      - C{commit} fires when all of the batch is durable, as C{durability} promises, or fails and keeps none of it.
      - After a crash at any moment: everything committed is there, whole; nothing else is; a state is the old one or a new one.
      - Disk full and write errors fail the call with L{QueueError}; later calls work once there is room.
      - A damaged item costs that item.
    """

    durability: Durability = Attribute("What it promises.")

    def open() -> Deferred[int]:
        """Make ready; make what is missing. Fires with the highest message id that may ever have been used (0: none).

        @raise SpoolError: locked, of a newer format, or not ours; then nothing was touched.
        """

    def reserve(ceiling: MessageId) -> Deferred[None]:
        """Durably promise: ids up to C{ceiling} may have been used. C{open} answers with at least that."""

    def stage(message: MessageId) -> Deferred[IStage]: ...

    def commit(messages: Sequence[NewMessage]) -> Deferred[None]:
        """All of them with one sync."""

    def update(states: Mapping[EnvelopeId, bytes]) -> Deferred[None]:
        """Neighbours may have one object in common, hundreds of them: a backend that can keeps it once."""

    def delete(envelopes: Sequence[EnvelopeId]) -> Deferred[None]: ...

    def load(message: MessageId) -> Deferred[StoredMessage | None]: ...

    def body(message: MessageId) -> Deferred[IBody | None]:
        """None: the message is gone.

        @raise ContentLost: it is there, without its content.
        """

    def walk(cursor: str | None, limit: int) -> Deferred[StoredPage]:
        """Everything that was there at C{open}, at most C{limit} messages a page."""

    def page(after: MessageId, limit: int) -> Deferred[tuple[StoredMessage, ...]]:
        """Messages with ids above C{after}, in order."""

    def putAside(message: MessageId, reason: str) -> Deferred[None]:
        """Keep the message, but out of C{walk}, C{load} and C{page}, also after a restart."""

    def setAside() -> Deferred[tuple[SetAside, ...]]: ...

    def space() -> Deferred[Space]:
        """What is free where it stores. L{Space}C{(1.0, 1.0)} where that is no question."""

    def close() -> Deferred[None]:
        """Fires when everything given is stored and the lock is free."""


class IBatchingBackend(IQueueBackend):
    """A backend that takes commits, new states and deletions together, in one step and with one sync. The front prefers it."""

    def apply(
        messages: Sequence[NewMessage], states: Mapping[EnvelopeId, bytes], deleted: Sequence[EnvelopeId]
    ) -> Deferred[None]:
        """C{commit}, then C{update}, then C{delete}. It fires when all is durable; if it fails, no message of it was kept."""


# --- codecs: how content is stored


class IContentStream(Interface):
    """One body on its way through a codec, in either direction. It frames by itself: chunks may be cut anywhere."""

    def feed(chunk: bytes) -> bytes:
        """What is ready now; may be empty.

        @raise ValueError: (decoding) it was not made by this codec, or is damaged.
        """

    def finish() -> bytes:
        """The rest.

        @raise ValueError: (decoding) it is cut off.
        """


class IContentCodec(Interface):
    """Compresses or encrypts bodies at rest. Records and trace fields of large messages are not its business."""

    name: str = Attribute(
        "Of what it writes, with its key id: C{'aesgcm/2'}. Stored with each message. Empty: new content is stored plain."
    )

    def encoder(message: MessageId) -> IContentStream:
        """For new content."""

    def decoder(name: str, message: MessageId) -> IContentStream:
        """For content stored under C{name}, which may be an older one.

        @raise LookupError: a codec or key that is not known here.
        """
