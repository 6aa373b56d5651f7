"""The server side of SMTP and LMTP, without a socket, a clock or a Deferred.

L{pysmtpd.smtp.table} has the theory of the states. Here is the reader: C{_read} is what the next octets are, and only an answer, or the
end of what is being read, changes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from pysmtpd.model.reply import Reply
from pysmtpd.smtp import replies
from pysmtpd.smtp.commands import parseBdat
from pysmtpd.smtp.conversation import Conversation
from pysmtpd.smtp.events import (
    CLOSED,
    NEED_DATA,
    PAUSED,
    Authenticate,
    Connect,
    ContentRefused,
    Data,
    EndOfData,
    Event,
    Hangup,
    Hello,
    Idle,
    Mail,
    Quit,
    Rcpt,
    Reset,
    ServerSettings,
    StartTls,
    Verify,
    Waiting,
    Xclient,
)
from pysmtpd.smtp.extensions import helloReply
from pysmtpd.smtp.grammar import GrammarError
from pysmtpd.smtp.intake import ChunkIntake, DataIntake, newCheck
from pysmtpd.smtp.lines import AUTH_LINE_MAX, LineRefused
from pysmtpd.smtp.lmtp import repliesAtEnd
from pysmtpd.smtp.progress import Enough
from pysmtpd.smtp.replies import encodePlain
from pysmtpd.smtp.sasl import (
    MECHANISMS,
    Credentials,
    Exchange,
    decodeInitial,
    decodeResponse,
    encodeChallenge,
)
from pysmtpd.smtp.table import FOREIGN, NOT_HERE, TABLE, State
from pysmtpd.smtp.verbs import ENDS_A_GROUP, VERBS, chooseMechanism

_Step: TypeAlias = "Event | Idle | None"


class ServerCore(Conversation):
    """One session. Feed it octets, take events, answer those that ask, write what it wants written.

    For TLS from the first octet call L{tlsStarted} before L{Connect} is answered.
    """

    __slots__ = ("_exchange", "_mechanism", "_read")

    def __init__(self, settings: ServerSettings) -> None:
        super().__init__(settings)
        # A plain function, not a bound method: that would be a cycle in every session.
        self._read: Callable[[ServerCore], _Step] = ServerCore._readNothing
        self._mechanism = ""
        self._exchange: Exchange | None = None

    def nextEvent(self) -> Event | Idle:
        """The next event; NEED_DATA; PAUSED while an answer is owed; CLOSED after Quit or Hangup."""
        while True:
            if self._pending:
                return self._pending.pop(0)
            if self._asked is not None:
                return PAUSED
            if self._isClosed:
                return CLOSED
            step = self._read(self)
            if step is not None:
                return step

    def answer(self, reply: Reply) -> None:
        """Answer the event that asks. A 421 ends the session: a L{Hangup} follows.

        Under LMTP an answer to L{EndOfData} holds for every recipient. After the session has ended answers come too late and are ignored.
        """
        asked = self._asked
        if asked is None:
            if self._isClosed:
                return
            raise RuntimeError("nothing was asked")
        self._asked = None
        try:
            if reply.code == 421:
                raise Enough(reply)
            _ANSWERED[type(asked)](self, asked, reply)
        except Enough as enough:
            self._end(enough.reply)

    def answerEach(self, replies: Sequence[Reply]) -> None:
        """LMTP's answer to EndOfData: one reply for each recipient that was accepted, in order.

        @raise ValueError: their number is another.
        """
        if self._isClosed:
            return
        if not isinstance(self._asked, EndOfData):
            raise RuntimeError("the end of data was not asked about")
        each = repliesAtEnd(replies, self._progress.accepted)
        self._asked = None
        try:
            self._finish(each)
        except Enough as enough:
            self._end(enough.reply)

    def tlsStarted(self) -> None:
        """TLS is on: forget everything that was said before, octets that wait and authentication included (RFC 3207 4.2).

        Before the greeting it says that this is a session with TLS from the first octet.
        """
        self._lines.clear()
        if not self._isGreeted:
            self._progress.tls = True
            return
        self._isDeaf = False
        self._intake = None
        self._read = ServerCore._readCommand
        if self._progress.startTls():
            self._pending.append(Reset())

    def offerXclient(self, attributes: tuple[str, ...]) -> None:
        """This peer may say XCLIENT, with these attributes. Before the greeting is answered."""
        self._progress.xclient = attributes

    def hangup(self, reply: Reply) -> None:
        """Say this (421) out of turn, and end: time-outs and shutdown. It stands in for an answer that is owed; while TLS starts nothing
        can be said. After the session has ended nothing happens."""
        if self._isClosed:
            return
        self._pending.clear()
        self._asked = None
        if self._read is not ServerCore._readHandshake:
            self._say(reply)
        self._close(Hangup(reply.text))

    @property
    def waiting(self) -> Waiting:
        """Which time-out counts now."""
        if self._asked is not None or self._isClosed:
            return Waiting.US
        return _WAITING.get(self._read, Waiting.US)

    # --- readers: the next event, or None: something was read, ask again

    def _readNothing(self) -> _Step:
        self._read = ServerCore._readCommand
        self._asked = event = Connect()
        return event

    def _readHandshake(self) -> _Step:
        return NEED_DATA

    def _readCommand(self) -> _Step:
        line: bytes | None = b""
        try:
            line = self._lines.takeLine(self._settings.maxLineLength)
            return NEED_DATA if line is None else self._command(line)
        except GrammarError as error:
            self._refuse(line or b"", error.reply)
        except LineRefused as refused:
            self._refuseLine(refused)
        except Enough as enough:
            self._end(enough.reply)
        return None

    def _readResponse(self) -> _Step:
        try:
            line = self._lines.takeLine(AUTH_LINE_MAX)
            return NEED_DATA if line is None else self._respond(decodeResponse(line))
        except GrammarError as error:
            self._read = ServerCore._readCommand
            self._refuse(b"AUTH", error.reply)
        except LineRefused as refused:
            self._read = ServerCore._readCommand
            if refused.fatal:
                self._refuseLine(refused)
            else:
                malformed = refused.reply is replies.BAD_CHARACTER
                self._refuse(b"AUTH", replies.AUTH_SYNTAX if malformed else replies.AUTH_TOO_LONG)
        return None

    def _readContent(self) -> _Step:
        intake = self._intake
        assert intake is not None
        step = intake.read(self._lines)
        if step is not None:
            return step
        self._read = ServerCore._readCommand
        try:
            if isinstance(intake, ChunkIntake):
                if intake.refusal is not None:
                    return self._refuseChunk(intake.refusal)
                assert intake.check is not None
                if not intake.isLast and intake.check.refusal is None:
                    self._say(Reply(250, f"{intake.size} octets received", "2.0.0"))
                    return None
            return self._endContent(intake)
        except Enough as enough:
            self._end(enough.reply)
        return None

    # --- commands

    def _command(self, line: bytes) -> _Step:
        verb, _, argument = line.partition(b" ")
        verb = verb.upper()
        row = TABLE.get(verb)
        if row is None:
            self._refuseUnknown(verb, line)
            return None
        argument = argument.strip(b" \t")
        refusal = row[self._progress.state]
        if verb == b"BDAT":
            return self._bdat(line, argument, refusal)
        if refusal is not None:
            raise GrammarError(refusal)
        handler = VERBS.get(verb)
        if handler is None:
            return _OWN[verb](self, argument)
        answer = handler(self._progress, argument)
        if isinstance(answer, Reply):
            self._say(answer)
            if not answer.isPositive:
                self._tell(line, answer)
            return None
        self._asked = answer
        if type(answer) in ENDS_A_GROUP and len(self._lines):
            self._overran = True
        return answer

    def _auth(self, argument: bytes) -> _Step:
        self._progress.authSeen = True
        self._mechanism, initial = chooseMechanism(self._progress, argument)
        self._exchange = MECHANISMS[self._mechanism]()
        return self._respond(decodeInitial(initial) if initial else None)

    def _respond(self, response: bytes | None) -> _Step:
        assert self._exchange is not None
        step = self._exchange.step(response)
        self._overran = self._overran or self.buffered > 0
        if isinstance(step, Credentials):
            self._exchange = None
            self._read = ServerCore._readCommand
            self._asked = event = Authenticate(self._mechanism, step.user, step.password, step.authorization)
            return event
        self._out.append(encodeChallenge(step))
        self._read = ServerCore._readResponse
        return None

    def _bdat(self, line: bytes, argument: bytes, refusal: Reply | None) -> _Step:
        try:
            size, isLast = parseBdat(argument)
        except GrammarError as error:
            self._tell(line, error.reply)
            self._say(error.reply)
            self._close(Hangup("malformed BDAT"))
            return None
        self._read = ServerCore._readContent
        check = self._intake.check if self._intake is not None and refusal is None else None
        self._intake = ChunkIntake(size, isLast, check, refusal)
        if refusal is not None:
            self._tell(line, refusal)
        elif check is None:
            self._asked = event = Data(bdat=True)
            return event
        return None

    def _rset(self, argument: bytes) -> _Step:
        if argument:
            raise GrammarError(replies.NO_ARGUMENT)
        self._progress.countIdle()
        self._endTransaction()
        self._say(replies.RESET)
        return Reset()

    def _quit(self, argument: bytes) -> _Step:
        if argument:
            raise GrammarError(replies.NO_ARGUMENT)
        self._say(replies.BYE)
        self._close(Quit())
        return None

    # --- the end of content

    def _endContent(self, intake: DataIntake | ChunkIntake) -> _Step:
        check = intake.check
        assert check is not None
        refusal = check.refusal
        if refusal is None:
            self._asked = event = EndOfData(check.size, check.eightBit)
            return event
        self._pending.append(ContentRefused(refusal))
        isEnd = not isinstance(intake, ChunkIntake) or intake.isLast
        for _ in range(self._progress.accepted if self._settings.lmtp and isEnd else 1):
            self._say(refusal)
        self._endTransaction()
        self._progress.countError()
        return None

    def _refuseChunk(self, refusal: Reply) -> _Step:
        self._intake = None
        self._say(refusal)
        # Its owner refused the first chunk: the message is over (RFC 3030 2).
        if self._progress.state == State.RCPT:
            self._endTransaction()
            self._pending.append(Reset())
        self._progress.countReply(refusal)
        return None

    def _finish(self, each: Sequence[Reply]) -> None:
        best = each[0]
        for reply in each:
            self._say(reply)
            if reply.code < best.code:
                best = reply
        self._endTransaction()
        if best.isPositive:
            self._progress.countMessage()
        else:
            self._progress.countReply(best)

    # --- answers

    def _answerConnect(self, asked: Connect, reply: Reply) -> None:
        self._isGreeted = True
        if reply.isPositive:
            self._out.append(encodePlain(reply))
        else:
            self._progress.state = State.AWAY
            self._say(reply)

    def _answerHello(self, asked: Hello, reply: Reply) -> None:
        if not reply.isPositive:
            self._answerOther(asked, reply)
            return
        if self._endTransaction():
            self._pending.append(Reset())
        progress = self._progress
        progress.state = State.READY
        if asked.verb != "HELO":
            reply = helloReply(reply, self._settings, progress.tls, progress.authenticated, progress.xclient)
        self._out.append(encodePlain(reply))

    def _answerStartTls(self, asked: StartTls, reply: Reply) -> None:
        self._answerOther(asked, reply)
        if reply.isPositive:
            # What waits was said without TLS, and is never read (RFC 3207 4.2).
            self._lines.clear()
            self._isDeaf = True
            self._read = ServerCore._readHandshake

    def _answerXclient(self, asked: Xclient, reply: Reply) -> None:
        if not reply.isPositive:
            self._answerOther(asked, reply)
            return
        self._progress.restart(bool(asked.login))
        self._out.append(encodePlain(reply))

    def _answerAuthenticate(self, asked: Authenticate, reply: Reply) -> None:
        self._progress.authenticated = reply.isPositive
        self._answerOther(asked, reply)

    def _answerMail(self, asked: Mail, reply: Reply) -> None:
        if reply.isPositive:
            progress = self._progress
            progress.state = State.MAIL
            progress.mails += 1
            progress.smtputf8 = asked.smtputf8
        self._answerOther(asked, reply)

    def _answerRcpt(self, asked: Rcpt, reply: Reply) -> None:
        self._say(reply)
        if reply.isPositive:
            self._progress.accepted += 1
            self._progress.state = State.RCPT
        elif reply.isPermanent:
            # A temporary refusal (greylisting) is no offence, and comes once for each recipient.
            self._progress.countError()

    def _answerData(self, asked: Data, reply: Reply) -> None:
        if not asked.bdat:
            self._answerOther(asked, reply)
            if reply.isPositive:
                self._intake = DataIntake(newCheck(self._settings))
                self._read = ServerCore._readContent
            return
        chunk = self._intake
        assert isinstance(chunk, ChunkIntake)
        if reply.isPositive:
            self._progress.state = State.CHUNKS
            chunk.check = newCheck(self._settings)
        else:
            chunk.refusal = reply

    def _answerEndOfData(self, asked: EndOfData, reply: Reply) -> None:
        self._finish([reply] * self._progress.accepted if self._settings.lmtp else [reply])

    def _answerOther(self, asked: Event, reply: Reply) -> None:
        self._say(reply)
        self._progress.countReply(reply)

    # --- saying no

    def _refuseUnknown(self, verb: bytes, line: bytes) -> None:
        if verb in FOREIGN or verb.startswith(b"SSH-"):
            self._refuseLine(LineRefused(replies.FOREIGN_PROTOCOL, line, fatal=True))
        elif not line:
            self._refuse(line, replies.EMPTY_LINE)
        elif verb in NOT_HERE:
            self._refuse(line, replies.NOT_IMPLEMENTED)
        else:
            self._refuse(line, replies.UNRECOGNIZED, isKnown=False)


_WAITING: Final[dict[Callable[[ServerCore], _Step], Waiting]] = {
    ServerCore._readCommand: Waiting.COMMAND,
    ServerCore._readResponse: Waiting.AUTH,
    ServerCore._readContent: Waiting.DATA,
    ServerCore._readHandshake: Waiting.TLS,
}

# The commands that change what is read, or tell of a transaction's end. BDAT has its octets read even when the table refuses it.
_OWN: Final[dict[bytes, Callable[[ServerCore, bytes], _Step]]] = {
    b"AUTH": ServerCore._auth,
    b"RSET": ServerCore._rset,
    b"QUIT": ServerCore._quit,
}

_ANSWERED: Final[dict[type[Event], Callable[[ServerCore, Any, Reply], None]]] = {
    Connect: ServerCore._answerConnect,
    Hello: ServerCore._answerHello,
    StartTls: ServerCore._answerStartTls,
    Xclient: ServerCore._answerXclient,
    Authenticate: ServerCore._answerAuthenticate,
    Mail: ServerCore._answerMail,
    Rcpt: ServerCore._answerRcpt,
    Data: ServerCore._answerData,
    EndOfData: ServerCore._answerEndOfData,
    Verify: ServerCore._answerOther,
}
