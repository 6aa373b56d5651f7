"""Other people's mail servers: each does what a test wrote, and keeps what it was told.

Written apart from our own SMTP, so that the two can disagree.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from twisted.internet.protocol import Factory, Protocol

from pysmtpd.testing.internet import Condition, Internet
from pysmtpd.testing.network import SimulatedNetwork
from pysmtpd.testing.session import Received, RemoteSession, Rule

EXTENSIONS = ("PIPELINING", "8BITMIME", "SIZE 36700160", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN")


@dataclass(slots=True)
class RemoteServer:
    """A scripted SMTP or LMTP server. Change its fields at any time.

    @ivar path: of a UNIX socket, in place of addresses and port.
    @ivar certificateFor: the name that its certificate is for; empty: its own.
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
    certificateFor: str = ""
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


class _RemoteFactory(Factory):
    noisy = False

    def __init__(self, server: RemoteServer) -> None:
        self._server = server

    def buildProtocol(self, addr: Any) -> Protocol:
        return RemoteSession(self._server, getattr(addr, "host", ""))
