"""The server side of SMTP and LMTP, without a socket, a clock or a Deferred."""

from __future__ import annotations

from collections.abc import Sequence

from pysmtpd.model.reply import Reply
from pysmtpd.smtp.events import Event, Idle, ServerSettings, Waiting


class ServerCore:
    """One session. Feed it octets, take events, answer those that ask, write what it wants written."""

    def __init__(self, settings: ServerSettings) -> None:
        raise NotImplementedError

    def receive(self, data: bytes) -> None:
        """Octets from the peer. Bounded by its owner: do not feed on while C{nextEvent} says PAUSED and much is buffered."""
        raise NotImplementedError

    def nextEvent(self) -> Event | Idle:
        """The next event; NEED_DATA; PAUSED while an answer is owed; CLOSED after Quit or Hangup."""
        raise NotImplementedError

    def answer(self, reply: Reply) -> None:
        """Answer the event that asks. A 421 ends the session: a L{Hangup} follows."""
        raise NotImplementedError

    def answerEach(self, replies: Sequence[Reply]) -> None:
        """LMTP's answer to EndOfData: one reply for each recipient that was accepted, in order."""
        raise NotImplementedError

    def output(self) -> bytes:
        """Take what is to be written now; empty: nothing."""
        raise NotImplementedError

    def tlsStarted(self) -> None:
        """TLS is on: forget everything that was said before, octets that wait included (RFC 3207 4.2)."""
        raise NotImplementedError

    def hangup(self, reply: Reply) -> None:
        """Say this (421) out of turn, if nothing else is being said, and end: time-outs and shutdown."""
        raise NotImplementedError

    @property
    def waiting(self) -> Waiting:
        """Which time-out counts now."""
        raise NotImplementedError

    @property
    def inTransaction(self) -> bool:
        """MAIL was accepted and nothing has ended it yet."""
        raise NotImplementedError

    @property
    def buffered(self) -> int:
        """Octets received and not yet parsed."""
        raise NotImplementedError
