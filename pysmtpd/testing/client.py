"""People who send mail: a scripted SMTP client, written apart from our own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.protocol import ClientFactory, Protocol
from twisted.internet.ssl import CertificateOptions

from pysmtpd.testing.network import SimulatedNetwork


@dataclass(slots=True)
class Sent:
    """What became of one message that was sent. It fills while time passes.

    @ivar replies: verb and whole reply, in order; BODY is the reply to the end of data, one for each recipient under LMTP.
    @ivar isOver: the connection has ended.
    @ivar error: why it ended without QUIT; empty: it did not.
    @ivar acceptedAt: virtual seconds when the end of data was answered 250; None: it was not.
    """

    sender: str
    recipients: tuple[str, ...]
    content: bytes
    replies: list[tuple[str, str]] = field(default_factory=list)
    isOver: bool = False
    error: str = ""
    acceptedAt: float | None = None

    @property
    def isAccepted(self) -> bool:
        return self.acceptedAt is not None

    def reply(self, verb: str) -> str:
        """The last reply to this verb; empty: it was never answered."""
        return next((text for said, text in reversed(self.replies) if said == verb), "")


def dotStuffed(content: bytes) -> bytes:
    """Content as it follows DATA, with its end."""
    lines = content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    if not lines.endswith(b"\r\n") and lines:
        lines += b"\r\n"
    return (b"." if lines.startswith(b".") else b"") + lines.replace(b"\r\n.", b"\r\n..") + b".\r\n"


class SmtpClient(Protocol):
    """Sends one message, one command at a time, and goes on as long as the replies let it.

    It carries on with the recipients that were accepted; without one it quits.
    """

    def __init__(
        self, sent: Sent, clock: Any, helo: str, isLmtp: bool, starttls: bool, parameters: tuple[str, Sequence[str]]
    ) -> None:
        self._sent = sent
        self._clock = clock
        self._hello = f"{'LHLO' if isLmtp else 'EHLO'} {helo}"
        self._isLmtp = isLmtp
        self._buffer = b""
        self._lines: list[str] = []
        self._accepted = 0
        self._waiting = ["CONNECT"]
        mailParameters, rcptParameters = parameters
        self._rcpt = [
            f"RCPT TO:<{recipient}>{' ' + extra if extra else ''}"
            for recipient, extra in zip(sent.recipients, [*rcptParameters, *[""] * len(sent.recipients)], strict=False)
        ]
        self._mail = f"MAIL FROM:<{sent.sender}>{' ' + mailParameters if mailParameters else ''}"
        self._plan = [self._hello, *(["STARTTLS", self._hello] if starttls else []), self._mail, *self._rcpt, "DATA"]

    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        while True:
            line, found, rest = self._buffer.partition(b"\r\n")
            if not found:
                return
            self._buffer = rest
            self._lines.append(line.decode("utf-8", "replace"))
            if line[3:4] != b"-":
                reply, self._lines = "\n".join(self._lines), []
                self._replied(reply)

    def _replied(self, reply: str) -> None:
        verb = self._waiting.pop(0) if self._waiting else "?"
        self._sent.replies.append((verb, reply))
        isPositive = reply[:1] in "23"
        if verb == "RCPT":
            self._accepted += isPositive
        elif verb == "BODY":
            if isPositive:
                self._sent.acceptedAt = self._clock.seconds()
        elif verb == "STARTTLS" and isPositive:
            transport: Any = self.transport
            transport.startTLS(CertificateOptions(verify=False))
        elif verb == "QUIT":
            assert self.transport is not None
            self.transport.loseConnection()
            return
        elif not isPositive:
            self._plan = []
        if not self._waiting:
            self._next(verb, isPositive)

    def _next(self, verb: str, isPositive: bool) -> None:
        assert self.transport is not None
        if verb == "DATA" and isPositive:
            self._waiting = ["BODY"] * (self._accepted if self._isLmtp else 1)
            self.transport.write(dotStuffed(self._sent.content))
            return
        command = self._plan.pop(0) if self._plan else "QUIT"
        if command == "DATA" and not self._accepted:
            command, self._plan = "QUIT", []
        self._waiting = [command.split()[0]]
        self.transport.write(command.encode() + b"\r\n")

    def connectionLost(self, reason: Any = None) -> None:
        self._sent.isOver = True
        if not self._sent.reply("QUIT"):
            self._sent.error = reason.getErrorMessage()


class _Sending(ClientFactory):
    noisy = False

    def __init__(self, sent: Sent, protocol: SmtpClient) -> None:
        self._sent = sent
        self._protocol = protocol

    def buildProtocol(self, addr: Any) -> Protocol:
        return self._protocol

    def clientConnectionFailed(self, connector: Any, reason: Any) -> None:
        self._sent.isOver = True
        self._sent.error = reason.getErrorMessage()


def send(
    network: SimulatedNetwork,
    address: str,
    port: int,
    sender: str,
    recipients: Sequence[str],
    content: bytes,
    *,
    helo: str = "client.test",
    isLmtp: bool = False,
    starttls: bool = False,
    mailParameters: str = "",
    rcptParameters: Sequence[str] = (),
) -> Sent:
    """Send one message from C{network}; let time pass to see what becomes of it."""
    sent = Sent(sender, tuple(recipients), content)
    client = SmtpClient(sent, network.clock, helo, isLmtp, starttls, (mailParameters, rcptParameters))
    network.connectTCP(address, port, _Sending(sent, client))
    return sent
