"""One connection to a scripted mail server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from twisted.internet.protocol import Protocol

from pysmtpd.testing.certificates import serverOptions

if TYPE_CHECKING:
    from pysmtpd.testing.remote import RemoteServer


@dataclass(frozen=True, slots=True)
class Received:
    """One message that a remote server took.

    @ivar at: virtual seconds.
    @ivar sender: what stood between MAIL's brackets; C{parameters} what stood behind them.
    @ivar recipients: of those RCPT that were accepted.
    @ivar content: CRLF, dot-unstuffed.
    @ivar connection: which one of the server's connections, from 1.
    """

    at: float
    sender: str
    parameters: str
    recipients: tuple[str, ...]
    content: bytes
    helo: str
    isTls: bool
    connection: int
    client: str


@dataclass(slots=True)
class Rule:
    """What is said in place of the usual reply.

    @ivar verb: CONNECT, EHLO, HELO, LHLO, STARTTLS, MAIL, RCPT, DATA, BODY (the end of data), RSET, QUIT.
    @ivar reply: C{"550 5.1.1 no such user"}, several lines joined by C{"\\n"}; empty: drop the connection without a word.
    @ivar when: only if the command holds this text.
    @ivar times: so often; None: always.
    @ivar close: drop the connection after it.
    """

    verb: str
    reply: str
    when: str = ""
    times: int | None = None
    close: bool = False


class RemoteSession(Protocol):
    def __init__(self, server: RemoteServer, client: str) -> None:
        self._server = server
        self._client = client
        self._clock = server.internet.clock
        self._buffer = b""
        self._isBusy = False
        self._isTls = server.implicitTls
        self._helo = ""
        self._number = 0
        self._content: list[bytes] = []
        self._inData = False
        self._chunk = 0
        self._isLast = False
        self._isGone = False
        self._forget()

    def _forget(self) -> None:
        self._sender: str | None = None
        self._parameters = ""
        self._recipients: list[str] = []
        self._content = []

    def connectionMade(self) -> None:
        server = self._server
        server.connections += 1
        server.open += 1
        server.mostOpen = max(server.mostOpen, server.open)
        self._number = server.connections
        if server.implicitTls:
            self._secure()
        self._reply("CONNECT", f"220 {server.name} {'LMTP' if server.lmtp else 'ESMTP'} ready")

    def connectionLost(self, reason: Any = None) -> None:
        self._server.open -= 1
        self._isBusy = self._isGone = True

    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        self._go()

    def _go(self) -> None:
        while not self._isBusy and self._buffer:
            if self._inData:
                if not self._readData():
                    return
            elif self._chunk:
                self._readChunk()
            else:
                line, found, rest = self._buffer.partition(b"\r\n")
                if not found:
                    return
                self._buffer = rest
                self._command(line.decode("utf-8", "replace"))

    def _command(self, line: str) -> None:
        self._server.transcript.append((self._number, "<", line))
        verb, _, argument = line.partition(" ")
        verb = verb.upper()
        method = getattr(self, f"_on{verb.title()}", None)
        if method is None:
            self._reply(verb, "500 5.5.1 what?", line)
        else:
            method(argument.strip(), line)

    def _reply(self, verb: str, usual: str, command: str = "", go: Any = None) -> None:
        """Answer, after the delays and as the rules have it; C{go} is called when the usual reply was said."""
        rule = self._server.ruleFor(verb, command)
        reply = usual if rule is None else rule.reply
        seconds = self._server.delay + self._server.delays.get(verb, 0.0)
        if seconds:
            self._isBusy = True
            self._clock.callLater(seconds, self._say, reply, rule, go, True)
        else:
            self._say(reply, rule, go, False)

    def _say(self, reply: str, rule: Rule | None, go: Any, wasBusy: bool) -> None:
        if self._isGone:
            return
        self._isBusy = False
        transport: Any = self.transport
        if rule is not None and not reply:
            self._isBusy = True
            transport.abortConnection()
            return
        code, lines = reply[:3], reply.split("\n")
        out = []
        for number, line in enumerate(lines):
            text = line[4:] if line[:3].isdigit() else line
            out.append(f"{code}{'-' if number < len(lines) - 1 else ' '}{text}")
        self._server.transcript.extend((self._number, ">", line) for line in out)
        transport.write("".join(line + "\r\n" for line in out).encode())
        if rule is None and go is not None:
            go()
        if (rule is not None and rule.close) or code in ("221", "421"):
            self._isBusy = True
            transport.loseConnection()
        elif wasBusy:
            self._go()

    # --- verbs

    def _onEhlo(self, argument: str, line: str) -> None:
        server = self._server
        offers = [*server.extensions, *(("STARTTLS",) if server.starttls and not self._isTls else ())]
        self._helo = argument
        self._forget()
        self._reply(line[:4].upper(), "\n".join([f"250 {server.name}", *offers]), line)

    def _onLhlo(self, argument: str, line: str) -> None:
        self._onEhlo(argument, line)

    def _onHelo(self, argument: str, line: str) -> None:
        self._helo = argument
        self._forget()
        self._reply("HELO", f"250 {self._server.name}", line)

    def _onStarttls(self, argument: str, line: str) -> None:
        if not self._server.starttls or self._isTls:
            self._reply("STARTTLS", "502 5.5.1 no TLS", line)
        else:
            self._reply("STARTTLS", "220 2.0.0 go ahead", line, self._secure)

    def _secure(self) -> None:
        self._buffer = b""
        self._isTls = True
        self._helo = ""
        self._forget()
        transport: Any = self.transport
        transport.startTLS(serverOptions(self._server.certificateFor or self._server.name))

    def _onMail(self, argument: str, line: str) -> None:
        if self._sender is not None:
            self._reply("MAIL", "503 5.5.1 nested MAIL", line)
            return
        inside, _, parameters = argument.partition("<")[2].rpartition(">")

        def go() -> None:
            self._sender, self._parameters = inside, parameters.strip()

        self._reply("MAIL", "250 2.1.0 ok", line, go)

    def _onRcpt(self, argument: str, line: str) -> None:
        if self._sender is None:
            self._reply("RCPT", "503 5.5.1 need MAIL", line)
            return
        inside = argument.partition("<")[2].rpartition(">")[0]
        self._reply("RCPT", "250 2.1.5 ok", line, lambda: self._recipients.append(inside))

    def _onData(self, argument: str, line: str) -> None:
        if not self._recipients:
            self._reply("DATA", "503 5.5.1 need RCPT", line)
            return

        def go() -> None:
            self._server.attempts += 1
            self._inData = True

        self._reply("DATA", "354 go ahead", line, go)

    def _onBdat(self, argument: str, line: str) -> None:
        words = argument.split()
        self._chunk = int(words[0])
        self._isLast = words[1:] == ["LAST"]
        if not self._content:
            self._server.attempts += 1
        if not self._chunk:
            self._readChunk()

    def _onRset(self, argument: str, line: str) -> None:
        self._forget()
        self._reply("RSET", "250 2.0.0 ok", line)

    def _onNoop(self, argument: str, line: str) -> None:
        self._reply("NOOP", "250 2.0.0 ok", line)

    def _onQuit(self, argument: str, line: str) -> None:
        self._reply("QUIT", "221 2.0.0 bye", line)

    # --- contents

    def _readData(self) -> bool:
        """Take the message if all of it is here."""
        if self._buffer.startswith(b".\r\n"):
            content, rest = b"", self._buffer[3:]
        else:
            content, found, rest = self._buffer.partition(b"\r\n.\r\n")
            if not found:
                return False
            content += b"\r\n"
        self._buffer = rest
        self._inData = False
        if content.startswith(b"."):
            content = content[1:]
        self._taken(content.replace(b"\r\n.", b"\r\n"))
        return True

    def _readChunk(self) -> None:
        piece, self._buffer = self._buffer[: self._chunk], self._buffer[self._chunk :]
        self._chunk -= len(piece)
        self._content.append(piece)
        if self._chunk:
            return
        if self._isLast:
            self._taken(b"".join(self._content))
        else:
            self._reply("BDAT", "250 2.0.0 ok", "BDAT")

    def _taken(self, content: bytes) -> None:
        """The end of data: one reply, or under LMTP one for each recipient."""
        recipients = self._recipients if self._server.lmtp else [", ".join(self._recipients)]
        accepted: list[str] = []
        for number, recipient in enumerate(recipients):
            isLast = number == len(recipients) - 1
            rule = self._server.ruleFor("BODY", recipient)
            if rule is None or not rule.reply:
                accepted += [recipient] if self._server.lmtp else self._recipients
            if isLast and accepted:
                self._keep(content, tuple(accepted))
            seconds = self._server.delay + self._server.delays.get("BODY", 0.0) if isLast else 0.0
            reply = f"250 2.0.0 taken as {len(self._server.messages)}" if rule is None else rule.reply
            if seconds:
                self._isBusy = True
                self._clock.callLater(seconds, self._say, reply, rule, None, True)
            else:
                self._say(reply, rule, None, False)
        self._forget()

    def _keep(self, content: bytes, recipients: tuple[str, ...]) -> None:
        self._server.messages.append(
            Received(
                self._clock.seconds(),
                self._sender or "",
                self._parameters,
                recipients,
                content,
                self._helo,
                self._isTls,
                self._number,
                self._client,
            )
        )
