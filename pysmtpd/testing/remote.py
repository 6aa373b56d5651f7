"""Other people's mail servers: each does what a test wrote, and keeps what it was told.

Written apart from our own SMTP, so that the two can disagree.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from twisted.internet.protocol import Factory, Protocol

from pysmtpd.testing.certificates import serverOptions
from pysmtpd.testing.internet import Condition, Internet
from pysmtpd.testing.network import SimulatedNetwork

EXTENSIONS = ("PIPELINING", "8BITMIME", "SIZE 36700160", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN")


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


@dataclass(slots=True)
class RemoteServer:
    """A scripted SMTP or LMTP server. Change its fields at any time.

    @ivar path: of a UNIX socket, in place of addresses and port.
    @ivar delay: seconds before each reply; C{delays} more for single verbs.
    @ivar messages: what it took.
    @ivar attempts: transactions that reached DATA or BDAT.
    @ivar connections: how many there were; C{open}: there are now; C{mostOpen}: there were at one time.
    @ivar transcript: what was said, C{(connection, ">" or "<", line)}, without contents.
    """

    internet: Internet
    name: str
    addresses: tuple[str, ...]
    port: int = 25
    path: str = ""
    extensions: tuple[str, ...] = EXTENSIONS
    starttls: bool = False
    implicitTls: bool = False
    lmtp: bool = False
    delay: float = 0.0
    delays: dict[str, float] = field(default_factory=dict)
    rules: list[Rule] = field(default_factory=list)
    messages: list[Received] = field(default_factory=list)
    transcript: list[tuple[int, str, str]] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    mostOpen: int = 0
    attempts: int = 0
    network: SimulatedNetwork | None = None

    def __post_init__(self) -> None:
        if self.network is None:
            self.network = self.internet.host(*self.addresses)
        if self.path:
            self.network.listenUNIX(self.path, _RemoteFactory(self))
        else:
            self.network.listenTCP(self.port, _RemoteFactory(self))

    # --- scripts, in words

    def reject(self, verb: str, reply: str = "550 5.7.1 no", when: str = "", close: bool = False) -> RemoteServer:
        """Say C{reply} to this verb, always."""
        self.rules.append(Rule(verb.upper(), reply, when, None, close))
        return self

    def tempfail(self, verb: str, times: int = 1, reply: str = "451 4.3.0 later", when: str = "") -> RemoteServer:
        """Say C{reply} to this verb so often, then what is usual."""
        self.rules.append(Rule(verb.upper(), reply, when, times))
        return self

    def drop(self, verb: str, times: int | None = None, when: str = "") -> RemoteServer:
        """Drop the connection in place of a reply to this verb. BODY: the message was taken in, and nobody says so."""
        self.rules.append(Rule(verb.upper(), "", when, times))
        return self

    def slow(self, seconds: float, verb: str = "") -> RemoteServer:
        """Let each reply, or that to one verb, wait."""
        if verb:
            self.delays[verb.upper()] = seconds
        else:
            self.delay = seconds
        return self

    def without(self, *extensions: str) -> RemoteServer:
        """Do not offer these."""
        self.extensions = tuple(known for known in self.extensions if known.split()[0] not in extensions)
        return self

    def set(self, condition: Condition) -> RemoteServer:
        """Refuse connections, be silent, or be normal again."""
        for address in self.addresses:
            self.internet.set(address, condition)
        return self

    def crash(self) -> None:
        """It is gone, with all its connections."""
        assert self.network is not None
        self.network.crash()

    def forget(self) -> None:
        """End what rules say; be usual."""
        self.rules.clear()
        self.delays.clear()
        self.delay = 0.0

    @property
    def recipients(self) -> list[str]:
        """Of all messages, in order."""
        return [recipient for message in self.messages for recipient in message.recipients]

    # --- for its sessions

    def ruleFor(self, verb: str, command: str) -> Rule | None:
        for rule in self.rules:
            if rule.verb == verb and rule.when in command and rule.times != 0:
                if rule.times is not None:
                    rule.times -= 1
                return rule
        return None


class _Session(Protocol):
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
        transport.startTLS(serverOptions(self._server.name))

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


class _RemoteFactory(Factory):
    noisy = False

    def __init__(self, server: RemoteServer) -> None:
        self._server = server

    def buildProtocol(self, addr: Any) -> Protocol:
        return _Session(self._server, getattr(addr, "host", ""))
