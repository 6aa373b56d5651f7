"""What any session has, whatever is read in it: octets in, words and events out, ways to say no, and an end."""

from __future__ import annotations

from pysmtpd.model.config import BareNewline
from pysmtpd.model.reply import Reply
from pysmtpd.smtp.events import Event, Hangup, Refused, ServerSettings
from pysmtpd.smtp.intake import ChunkIntake, DataIntake
from pysmtpd.smtp.lines import LineBuffer, LineRefused
from pysmtpd.smtp.masking import shown
from pysmtpd.smtp.progress import Enough, Progress
from pysmtpd.smtp.replies import encodeReply


class Conversation:
    """The base of L{pysmtpd.smtp.server.ServerCore}; of no use alone."""

    __slots__ = (
        *("_settings", "_progress", "_lines", "_asked", "_pending", "_out", "_intake"),
        *("_isGreeted", "_isDeaf", "_isClosed", "_earlyTalker", "_overran"),
    )

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._progress = Progress(settings)
        self._lines = LineBuffer(settings.bareNewline is BareNewline.NORMALISE)
        # The event that waits for its answer.
        self._asked: Event | None = None
        # Events that were found and not taken yet.
        self._pending: list[Event] = []
        self._out: list[bytes] = []
        self._intake: DataIntake | ChunkIntake | None = None
        self._isGreeted = False
        # What arrives is not for us: TLS is starting, or the session is over.
        self._isDeaf = False
        self._isClosed = False
        self._earlyTalker = False
        self._overran = False

    def receive(self, data: bytes) -> None:
        """Octets from the peer. Bounded by its owner: do not feed on while C{nextEvent} says PAUSED and much is buffered."""
        if self._isDeaf:
            return
        if not self._isGreeted and data:
            self._earlyTalker = True
        self._lines.receive(data)

    def output(self) -> bytes:
        """Take what is to be written now; empty: nothing."""
        out = self._out
        if len(out) == 1:
            return out.pop()
        joined = b"".join(out)
        out.clear()
        return joined

    @property
    def inTransaction(self) -> bool:
        """MAIL was accepted and nothing has ended it yet."""
        return self._progress.inTransaction

    @property
    def buffered(self) -> int:
        """Octets received and not yet parsed."""
        return len(self._lines)

    @property
    def earlyTalker(self) -> bool:
        """Octets came before the greeting was said (RFC 5321 4.3.1)."""
        return self._earlyTalker

    @property
    def overran(self) -> bool:
        """Octets came behind a command that ends a group, before its answer: HELO, EHLO, AUTH, STARTTLS, DATA (RFC 2920 3.1)."""
        return self._overran

    # --- for the core

    def _tell(self, line: bytes, reply: Reply, isKnown: bool = True) -> None:
        if line[:4].upper() == b"AUTH":
            self._progress.authSeen = True
        self._pending.append(Refused(shown(line, isKnown, self._progress.authSeen), str(reply)))

    def _refuse(self, line: bytes, reply: Reply, isKnown: bool = True) -> None:
        self._tell(line, reply, isKnown)
        self._say(reply)
        try:
            self._progress.countError()
        except Enough as enough:
            self._end(enough.reply)

    def _refuseLine(self, refused: LineRefused) -> None:
        if refused.fatal:
            self._tell(refused.line, refused.reply, isKnown=False)
            self._end(refused.reply)
        else:
            self._refuse(refused.line, refused.reply, isKnown=False)

    def _say(self, reply: Reply) -> None:
        self._out.append(encodeReply(reply, utf8=self._progress.smtputf8))

    def _end(self, reply: Reply) -> None:
        self._say(reply)
        self._close(Hangup(reply.text))

    def _close(self, event: Event) -> None:
        self._pending.append(event)
        self._lines.clear()
        self._isDeaf = True
        self._endTransaction()
        self._isClosed = True

    def _endTransaction(self) -> bool:
        self._intake = None
        return self._progress.endTransaction()
