"""The client side of SMTP (RFC 5321) and LMTP (RFC 2033), without a socket, a clock or a Deferred."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence

from pysmtpd.model.reply import Reply
from pysmtpd.smtp.client_commands import LACKING, NEEDS_SMTPUTF8, mailCommand, rcptCommand, refusals
from pysmtpd.smtp.client_events import (
    ClientEvent,
    ClientSettings,
    ContentWanted,
    Ended,
    Established,
    Finished,
    OutgoingMail,
    Stage,
    StartTls,
    TlsWanted,
)
from pysmtpd.smtp.client_extensions import NO_EXTENSIONS, Extensions, parseExtensions
from pysmtpd.smtp.client_replies import ReplyError, ReplyReader
from pysmtpd.smtp.dots import DotStuffer
from pysmtpd.smtp.scram import MECHANISM, Scram

MAX_EAGER_CONTENT = 32_768
"""Content up to this goes out by BDAT in the same segments as its envelope, where the peer offers CHUNKING and PIPELINING: a
whole message in one round trip. Larger content would be wasted too often when the recipients are refused; DATA costs no more there."""


class ClientCore:
    """One session. Feed it octets, act on its events, write what it wants written.

    At most one transaction is under way. The owner calls L{output} after each call that may have made something to write.

    @ivar stage: what is waited for.
    @ivar extensions: of the last answer to EHLO; what was said before TLS is forgotten (RFC 3207 4.2).
    @ivar secured: TLS is on.
    @ivar greeting: the text of the server's greeting.
    @ivar mechanism: of AUTH, that was tried; empty: none was.
    @ivar heard: complete replies so far.
    @ivar trace: told of each reply: step, what was said, reply. Steps are greeting, hello, starttls, auth, reset, mail, rcpt, data,
        commit, quit, and unasked. No password is in what was said.
    """

    __slots__ = (
        "_accepted",
        "_authSteps",
        "_bdat",
        "_commands",
        "_content",
        "_dots",
        "_events",
        "_index",
        "_mail",
        "_needsReset",
        "_output",
        "_reader",
        "_refused",
        "_remaining",
        "_replies",
        "_resetting",
        "_said",
        "_saidHelo",
        "_scram",
        "_settings",
        "extensions",
        "greeting",
        "heard",
        "mechanism",
        "secured",
        "stage",
        "trace",
    )

    def __init__(self, settings: ClientSettings) -> None:
        self.stage = Stage.GREETING
        self.extensions: Extensions = NO_EXTENSIONS
        self.secured = settings.secured
        self.greeting = ""
        self.mechanism = ""
        self.heard = 0
        self._settings = settings
        self._reader = ReplyReader()
        self._output: list[bytes] = []
        self._events: list[ClientEvent] = []
        self._needsReset = False
        self._authSteps: list[bytes] = []
        self._scram: Scram | None = None
        self._mail: OutgoingMail | None = None
        self.trace: Callable[[str, str, Reply], None] | None = None

    # --- what the owner calls

    def receive(self, data: bytes) -> Sequence[ClientEvent]:
        """Octets from the peer."""
        events: list[ClientEvent] = []
        self._events = events
        if self.stage is Stage.CLOSED:
            return events
        reader = self._reader
        reader.feed(data)
        try:
            while (reply := reader.next()) is not None:
                self.heard += 1
                if self.trace is not None:
                    self.trace(*self._step(), reply)
                self._answered(reply)
        except ReplyError as error:
            self._end(Reply(451, f"Protocol error: {error}", "4.5.0"))
        return events

    def output(self) -> bytes:
        """Take what is to be written now; empty: nothing."""
        output = self._output
        if not output:
            return b""
        data = output[0] if len(output) == 1 else b"".join(output)
        output.clear()
        return data

    def tlsStarted(self) -> None:
        """TLS is on: forget everything that was said before and greet anew (RFC 3207 4.2)."""
        self._reader.clear()
        self.secured = True
        self.extensions = NO_EXTENSIONS
        self._hello()

    def start(self, mail: OutgoingMail, content: bytes | None = None) -> Sequence[ClientEvent]:
        """Begin a transaction; only in stage IDLE.

        @param content: all of the content, if it is at hand; else L{ContentWanted} asks for it.
        """
        events: list[ClientEvent] = []
        self._events = events
        offered = self.extensions
        refused = refusals(mail, offered)
        if refused is not None:
            events.append(Finished(refused, False, isLacking=refused[0] in LACKING))
            return events
        commands = [mailCommand(mail, offered)]
        commands += [rcptCommand(recipient, offered) for recipient in mail.recipients]
        text = "".join(commands)
        if not text.isascii() and not mail.smtputf8:
            events.append(Finished((NEEDS_SMTPUTF8,) * len(mail.recipients), False, isLacking=True))
            return events
        self._mail = mail
        self._content = content
        self._index = 0
        self._replies: list[Reply | None] = [None] * len(mail.recipients)
        self._accepted: list[int] = []
        self._refused: Reply | None = None
        self._said: Reply | None = None
        self._resetting = self._needsReset
        self._needsReset = False
        self.stage = Stage.MAIL
        eager = content is not None and len(content) <= MAX_EAGER_CONTENT and not self._settings.lmtp
        self._bdat = mail.body == "BINARYMIME" or (eager and offered.chunking and offered.pipelining)
        reset = "RSET\r\n" if self._resetting else ""
        if not offered.pipelining:
            self._commands = commands
            self._send((reset or commands[0]).encode())
        elif not self._bdat:
            self._send(f"{reset}{text}DATA\r\n".encode())
        elif eager:
            assert content is not None
            self._send(b"%b%bBDAT %d LAST\r\n%b" % (reset.encode(), text.encode(), len(content), content))
        else:
            self._send(f"{reset}{text}".encode())
        return events

    def content(self, chunk: bytes, last: bool = False) -> None:
        """A piece of canonical content, after L{ContentWanted}. Ignored when the session has ended meanwhile.

        @raise ValueError: under BDAT, there are more or fewer octets than C{OutgoingMail.size} said; abort the connection.
        """
        if self.stage is not Stage.CONTENT:
            return
        if self._bdat:
            self._remaining -= len(chunk)
            if self._remaining < 0 or (last and self._remaining):
                raise ValueError("the content has not the size that was said")
            self._output.append(chunk)
        else:
            chunk = self._dots.add(chunk)
            self._output.append(chunk + self._dots.end() if last else chunk)
        if last:
            self.stage = Stage.END_OF_DATA

    @property
    def isRevocable(self) -> bool:
        """Has the peer nothing of the content of the transaction under way?"""
        isEager = self._bdat and self._content is not None and self.extensions.pipelining
        return self.stage in (Stage.MAIL, Stage.RCPT, Stage.DATA) and not isEager

    def quit(self) -> None:
        """Say QUIT; only in stage IDLE."""
        self.stage = Stage.QUIT
        self._output.append(b"QUIT\r\n")

    def abort(self, reply: Reply) -> Sequence[ClientEvent]:
        """The connection is gone, or shall go (time-out, stop): whatever is undecided gets C{reply}, which must be temporary."""
        self._events = []
        if self.stage is not Stage.CLOSED:
            self._end(reply)
        return self._events

    # --- replies

    def _answered(self, reply: Reply) -> None:
        stage = self.stage
        if stage is Stage.QUIT:
            self._end(reply)
        elif reply.code == 421 or stage is Stage.IDLE:
            self._end(reply if reply.code == 421 else Reply(451, f"Unsolicited reply: {reply}", "4.5.0"))
        elif stage is Stage.END_OF_DATA:
            self._endAnswered(reply)
        elif stage is Stage.RCPT:
            self._rcptAnswered(reply)
        elif stage is Stage.MAIL:
            self._mailAnswered(reply)
        elif stage is Stage.DATA:
            self._dataAnswered(reply)
        elif stage is Stage.CONTENT:
            # The peer does not want to hear the rest; there is no way to stop within the session.
            self._end(reply if not reply.isPositive else Reply(451, f"Reply before the end of data: {reply}", "4.5.0"))
        elif stage is Stage.GREETING:
            self.greeting = reply.text
            if reply.code == 220:
                self._hello()
            elif reply.code < 400:
                raise ReplyError(f"{reply.code} in place of a greeting")
            else:
                self._end(reply)
        elif stage is Stage.HELLO:
            self._helloAnswered(reply)
        elif stage is Stage.STARTTLS:
            self._starttlsAnswered(reply)
        elif stage is Stage.AUTH:
            self._authAnswered(reply)
        else:
            raise ReplyError("reply in plain text after STARTTLS")

    def _step(self) -> tuple[str, str]:
        """What the next reply answers."""
        stage, mail = self.stage, self._mail
        if mail is None:
            return self._sessionStep()
        if stage is Stage.MAIL:
            return ("reset", "RSET") if self._resetting else ("mail", f"MAIL FROM:<{mail.sender}>")
        if stage is Stage.RCPT:
            return "rcpt", f"RCPT TO:<{mail.recipients[self._index].path}>"
        if stage is Stage.DATA:
            return "data", "DATA"
        return "commit", "BDAT" if self._bdat else "."

    def _sessionStep(self) -> tuple[str, str]:
        stage = self.stage
        if stage is Stage.HELLO:
            verb = "LHLO" if self._settings.lmtp else "HELO" if self._saidHelo else "EHLO"
            return "hello", f"{verb} {self._settings.hostname}"
        if stage is Stage.STARTTLS:
            return "starttls", "STARTTLS"
        if stage is Stage.AUTH:
            return "auth", f"AUTH {self.mechanism}"
        if stage is Stage.QUIT:
            return "quit", "QUIT"
        return ("greeting", "") if stage is Stage.GREETING else ("unasked", "")

    def _hello(self) -> None:
        self.stage = Stage.HELLO
        self._saidHelo = False
        self._send(f"{'LHLO' if self._settings.lmtp else 'EHLO'} {self._settings.hostname}\r\n".encode())

    def _helloAnswered(self, reply: Reply) -> None:
        settings = self._settings
        if reply.code // 100 == 2:
            self.extensions = NO_EXTENSIONS if self._saidHelo else parseExtensions(self._reader.lines, self.secured)
            self._secure()
        elif reply.isPermanent and not (self._saidHelo or settings.lmtp or self._mustHaveExtensions):
            self._saidHelo = True
            self._send(f"HELO {settings.hostname}\r\n".encode())
        elif reply.code < 400:
            raise ReplyError(
                f"{reply.code} in answer to {'LHLO' if settings.lmtp else 'HELO' if self._saidHelo else 'EHLO'}"
            )
        else:
            self._end(reply)

    @property
    def _mustHaveExtensions(self) -> bool:
        return self._settings.credentials is not None or (
            self._settings.starttls is StartTls.REQUIRED and not self.secured
        )

    def _secure(self) -> None:
        wish = self._settings.starttls
        if self.secured or wish is StartTls.NEVER:
            self._authenticate()
        elif self.extensions.starttls:
            self.stage = Stage.STARTTLS
            self._send(b"STARTTLS\r\n")
        elif wish is StartTls.REQUIRED:
            self._end(Reply(451, "TLS is required and the host does not offer STARTTLS", "4.7.4"))
        else:
            self._authenticate()

    def _starttlsAnswered(self, reply: Reply) -> None:
        if reply.code == 220:
            if not self._reader.isEmpty:
                # RFC 3207 6: a man in the middle may have put it there.
                raise ReplyError("data after the answer to STARTTLS")
            self.stage = Stage.TLS
            self._events.append(TlsWanted())
        elif self._settings.starttls is StartTls.REQUIRED:
            self._end(Reply(451, f"TLS is required and STARTTLS was refused: {reply}", "4.7.4"))
        else:
            self._authenticate()

    def _authenticate(self) -> None:
        credentials = self._settings.credentials
        if credentials is None:
            self._establish()
            return
        if not self.secured:
            self._end(Reply(451, "Passwords are not sent without TLS", "4.7.11"))
            return
        user = credentials.user.encode()
        self.stage = Stage.AUTH
        if MECHANISM in self.extensions.auth and self._settings.nonce:
            self.mechanism = MECHANISM
            self._scram = Scram(credentials.user, credentials.password, self._settings.nonce)
            self._send(b"AUTH %b %b\r\n" % (MECHANISM.encode(), b64encode(self._scram.first())))
        elif "PLAIN" in self.extensions.auth:
            self.mechanism = "PLAIN"
            self._authSteps = []
            self._send(b"AUTH PLAIN %b\r\n" % b64encode(b"\0%b\0%b" % (user, credentials.password)))
        elif "LOGIN" in self.extensions.auth:
            self.mechanism = "LOGIN"
            self._authSteps = [b64encode(credentials.password), b64encode(user)]
            self._send(b"AUTH LOGIN\r\n")
        else:
            self._end(Reply(454, "The host offers no mechanism of AUTH that we have", "4.7.0"))

    def _authAnswered(self, reply: Reply) -> None:
        if reply.code == 235 and self._scram is not None and not self._scram.isProven:
            raise ReplyError("SCRAM: the host does not prove that it knows the password")
        if reply.code == 235:
            self._establish()
        elif reply.code == 334 and self._scram is not None:
            try:
                answer = self._scram.answer(b64decode(reply.text, validate=True))
            except ValueError as error:
                self._end(Reply(454, str(error), "4.7.0"))
                return
            self._send(b64encode(answer) + b"\r\n")
        elif reply.code == 334 and self._authSteps:
            self._send(self._authSteps.pop() + b"\r\n")
        elif reply.code == 334:
            raise ReplyError("one challenge of AUTH too many")
        elif reply.code < 400:
            raise ReplyError(f"{reply.code} in answer to AUTH")
        else:
            self._end(reply)

    def _establish(self) -> None:
        self.stage = Stage.IDLE
        self._authSteps = []
        self._scram = None
        self._events.append(Established(self.extensions))

    def _mailAnswered(self, reply: Reply) -> None:
        if reply.code // 100 == 3:
            raise ReplyError(f"{reply.code} in answer to MAIL")
        pipelining = self.extensions.pipelining
        if self._resetting:
            self._resetting = False
            if not reply.isPositive:
                # The transaction before is still open: whatever comes now would be said of that one.
                self._end(Reply(451, f"RSET was refused: {reply}", "4.5.0"))
            elif not pipelining:
                self._send(self._commands[0].encode())
            return
        if not reply.isPositive:
            self._refused = reply
        self.stage = Stage.RCPT
        if not pipelining:
            if self._refused:
                self._finish(False)
            else:
                self._send(self._commands[1].encode())

    def _rcptAnswered(self, reply: Reply) -> None:
        index = self._index
        if self._refused is None:
            if reply.code // 100 == 3:
                raise ReplyError(f"{reply.code} in answer to RCPT")
            if reply.isPositive:
                self._accepted.append(index)
            else:
                self._replies[index] = reply
        self._index = index = index + 1
        pipelining = self.extensions.pipelining
        if index < len(self._replies):
            if not pipelining:
                self._send(self._commands[index + 1].encode())
        elif self._bdat and self._content is not None and pipelining:
            self.stage = Stage.END_OF_DATA
        elif pipelining and not self._bdat:
            self.stage = Stage.DATA
        elif not self._accepted:
            self._needsReset = True
            self._finish(False)
        elif self._bdat:
            self._beginBdat()
        else:
            self.stage = Stage.DATA
            self._send(b"DATA\r\n")

    def _beginBdat(self) -> None:
        assert self._mail is not None
        content = self._content
        self._remaining = self._mail.size if content is None else len(content)
        self._send(b"BDAT %d LAST\r\n" % self._remaining)
        self.stage = Stage.CONTENT
        if content is None:
            self._events.append(ContentWanted())
        else:
            self.content(content, last=True)

    def _dataAnswered(self, reply: Reply) -> None:
        if reply.code == 354:
            if not self._accepted:
                # Pipelined, and all recipients refused: an empty message that goes to nobody (RFC 2920 3.1).
                self.stage = Stage.END_OF_DATA
                self._send(b".\r\n")
                return
            self._dots = DotStuffer()
            self.stage = Stage.CONTENT
            if self._content is None:
                self._events.append(ContentWanted())
            elif self._reader.isEmpty:
                self.content(self._content, last=True)
            # Else it goes on speaking: what it says now ends the session, in whichever segments it comes.
        elif reply.isPositive:
            raise ReplyError(f"{reply.code} in answer to DATA")
        else:
            self._decide(reply)
            self._needsReset = True
            self._finish(False)

    def _endAnswered(self, reply: Reply) -> None:
        if reply.code // 100 == 3:
            raise ReplyError(f"{reply.code} in answer to the end of data")
        accepted = self._accepted
        if not accepted:
            self._needsReset = not reply.isPositive
            self._finish(False)
        elif self._settings.lmtp:
            self._replies[accepted.pop(0)] = reply
            if not accepted:
                self._finish(True)
        else:
            self._decide(reply)
            self._finish(True)

    # --- the end of things

    def _send(self, data: bytes) -> None:
        self._checkQuiet()
        self._output.append(data)

    def _checkQuiet(self) -> None:
        """Whatever a peer says before it was asked is no answer."""
        if not self._reader.isEmpty:
            raise ReplyError("reply before its command")

    def _decide(self, reply: Reply) -> None:
        if not reply.isPositive:
            self._said = reply
        for index in self._accepted:
            self._replies[index] = reply
        self._accepted = []

    def _finish(self, reached: bool, rest: Reply | None = None, then: Stage = Stage.IDLE) -> None:
        # What was said to MAIL is said to all of its recipients.
        left = () if rest is None or self._refused else _missing(self._replies)
        rest = self._refused or rest
        replies = tuple([reply or rest for reply in self._replies])
        self._events.append(Finished(replies, reached, left, False, rest or self._said))  # type: ignore[arg-type]
        self._mail = self._content = None
        self.stage = then

    def _end(self, reply: Reply) -> None:
        stage = self.stage
        if self._mail is not None:
            # A refusal of the session is not one of the message: nobody's mail is bounced for it.
            decided = reply if reply.enhanced else Reply(reply.code, reply.text, "4.0.0")
            if stage not in (Stage.CONTENT, Stage.END_OF_DATA) and decided.isPermanent:
                decided = Reply(451, str(reply), "4.0.0")
            self._finish(stage is Stage.END_OF_DATA, decided, Stage.CLOSED)
        self._reader.clear()
        self.stage = Stage.CLOSED
        self._events.append(Ended(stage, reply))


def _missing(replies: Sequence[Reply | None]) -> tuple[int, ...]:
    return tuple(index for index, reply in enumerate(replies) if reply is None)
