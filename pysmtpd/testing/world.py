"""A whole mail world on virtual time: our daemon, other people's servers, name servers and senders, from one seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred

from pysmtpd.model.events import Event
from pysmtpd.testing.client import Sent
from pysmtpd.testing.client import send as sendMail
from pysmtpd.testing.clock import Timeline
from pysmtpd.testing.daemon import CONFIG_PATH, SPOOL, buildDaemon
from pysmtpd.testing.disk import SimulatedDisk
from pysmtpd.testing.dns import ScriptedDns
from pysmtpd.testing.faults import PowerCut
from pysmtpd.testing.internet import Internet
from pysmtpd.testing.network import SimulatedNetwork
from pysmtpd.testing.platform import ADDRESS, HOSTNAME, SimulatedPlatform
from pysmtpd.testing.remote import RemoteServer
from pysmtpd.testing.users import SimulatedUsers

CLIENT = "198.51.100.7"
CONTENT = b"From: a@client.test\r\nTo: b@example.org\r\nSubject: test\r\n\r\nHello.\r\n"

Builder = Callable[[SimulatedPlatform, Callable[[float, Event], None], dict[str, Any]], Any]


class Unreached(AssertionError):
    """Time ran out before what was waited for came true."""


class World:
    """Make one, add remotes, users and names, C{start} it, send, let time C{run}, look.

    Nothing happens but inside C{run}, C{until}, C{start} and C{stop}.

    @ivar platform: of the daemon that runs now, or ran last.
    @ivar events: what the daemon reported: virtual seconds and event; over all its lives.
    @ivar isUp: the daemon was started and has neither stopped nor crashed.
    """

    def __init__(
        self,
        seed: object = 0,
        config: str = "",
        *,
        files: Mapping[str, bytes] | None = None,
        hostname: str = HOSTNAME,
        addresses: Sequence[str] = (ADDRESS,),
        settings: Mapping[str, Any] | None = None,
        build: Builder = buildDaemon,
    ) -> None:
        """
        @param config: the text of smtpd.conf.
        @param files: more files that it names: absolute path, content.
        @param settings: of L{pysmtpd.service.Settings}, in place of the usual.
        @param build: makes the service; for a test of something smaller than the daemon.
        """
        self.seed = seed
        self.events: list[tuple[float, Event]] = []
        self.isUp = False
        self.service: Any = None
        self.timeline = Timeline()
        self.internet = Internet(self.timeline, seed)
        self.dns = ScriptedDns(self.internet)
        self.remotes: dict[str, RemoteServer] = {}
        self.platform = SimulatedPlatform(seed, internet=self.internet, hostname=hostname, addresses=addresses)
        self._settings = dict(settings or {})
        self._build = build
        self._clients: dict[str, SimulatedNetwork] = {}
        self._addresses = 0
        for place in (SPOOL, "/etc/pysmtpd", "/home", "/var/mail", self.users.me().home):
            self.disk.directory(place)
        self.disk.write(CONFIG_PATH, config.encode())
        for path, content in (files or {}).items():
            self.disk.write(path, content)
        self.disk.onPowerCut = self._powerWentOff

    # --- what there is

    @property
    def now(self) -> float:
        """Virtual seconds since the world began."""
        return self.timeline.now

    @property
    def disk(self) -> SimulatedDisk:
        return self.platform.disk

    @property
    def users(self) -> SimulatedUsers:
        return self.platform.users

    def remote(self, name: str, *addresses: str, domains: Sequence[str] = (), **script: Any) -> RemoteServer:
        """A mail server somewhere, with its names in DNS.

        @param addresses: none: one is found.
        @param domains: it is the only MX of these.
        @param script: fields of L{RemoteServer}.
        """
        if not addresses:
            self._addresses += 1
            number = self._addresses
            # 203.0.113.0/24 for the first, then the network for benchmarks (RFC 2544).
            addresses = (f"203.0.113.{number}" if number < 255 else f"198.18.{number >> 8}.{number & 255}",)
        server = self.remotes[name] = RemoteServer(self.internet, name, addresses, **script)
        self.dns.addresses(name, *addresses)
        for address in addresses:
            self.dns.ptr(address, name)
        for domain in domains:
            self.dns.mx(domain, name)
        return server

    def local(self, name: str, **script: Any) -> RemoteServer:
        """A server on our own machine, as the LMTP server of a mail store; it outlives the daemon.

        @param script: fields of L{RemoteServer}: C{port}, or the C{path} of a UNIX socket, C{lmtp}, ...
        """
        network = self.platform.network.neighbour()
        server = self.remotes[name] = RemoteServer(self.internet, name, ("127.0.0.1",), network=network, **script)
        return server

    def user(self, name: str) -> str:
        """A system user with a home directory; gives its path."""
        home = self.users.add(name).home
        self.disk.directory(home)
        return home

    # --- the daemon's life

    def start(self, seconds: float = 1.0) -> None:
        """Build the daemon, start it, and let so much time pass."""
        if self.isUp:
            raise RuntimeError("it runs")
        self.isUp = True
        self.service = self._build(self.platform, self._happened, self._settings)
        self._guarded(self.service.startService)
        self.run(seconds)

    def stop(self, seconds: float = 60.0) -> None:
        """An orderly end.

        @raise Unreached: it took longer.
        """
        stopped: list[object] = []
        done: Deferred[object] = maybeDeferred(self.service.stopService)
        done.addBoth(stopped.append)
        self.until(lambda: stopped, seconds, "the daemon stops")
        self.isUp = False

    def crash(self, powerCut: bool = False) -> None:
        """The daemon's process ends at once; with C{powerCut} the machine. C{restart} begins its next life."""
        self.platform.crash(powerCut)
        self.isUp = False

    def restart(self, seconds: float = 1.0) -> None:
        """The daemon's next life, on the same disk; after C{crash}, C{stop} or a power cut of the disk's."""
        if self.isUp:
            raise RuntimeError("it runs")
        self.platform = self.platform.reborn()
        self.disk.onPowerCut = self._powerWentOff
        self.start(seconds)

    def _powerWentOff(self) -> None:
        self.platform.powerWentOff()
        self.isUp = False

    def _happened(self, wallTime: float, event: Event) -> None:
        self.events.append((self.timeline.now, event))

    # --- time

    def run(self, seconds: float) -> None:
        """Let time pass."""
        deadline = self.now + seconds
        self._guarded(lambda: self.timeline.run(deadline - self.now))
        while self.now < deadline:
            self._guarded(lambda: self.timeline.run(deadline - self.now))

    def until(self, condition: Callable[[], object], seconds: float = 3600.0, what: str = "") -> None:
        """Let time pass until C{condition} is true; it is asked after each thing that happens.

        @param what: what is waited for, for the failure's text.
        @raise Unreached: it has not come true.
        """
        deadline = self.now + seconds
        reached = False
        while not reached and self.now < deadline:
            self._guarded(lambda: self.timeline.run(deadline - self.now, condition))
            reached = bool(condition())
        if not reached and not condition():
            raise Unreached(f"{what or 'the condition'}: not within {seconds:g} virtual seconds (seed {self.seed})")

    def _guarded(self, act: Callable[[], object]) -> None:
        try:
            act()
        except PowerCut:
            # It hit the daemon outside of a lane; the world goes on without it.
            return

    # --- people

    def client(self, address: str = CLIENT) -> SimulatedNetwork:
        """The network of a machine that is neither ours nor a remote's."""
        found = self._clients.get(address)
        if found is None:
            found = self._clients[address] = self.internet.host(address)
        return found

    def send(
        self,
        sender: str,
        *recipients: str,
        content: bytes = CONTENT,
        to: str = "",
        port: int = 25,
        source: str = CLIENT,
        **options: Any,
    ) -> Sent:
        """Somebody sends us a message; it arrives while time passes.

        @param to: the address to send it to; empty: our first one.
        @param source: address of the machine that sends it; our own: C{"127.0.0.1"}.
        @param options: of L{pysmtpd.testing.client.send}.
        """
        network = self.platform.network if source.startswith("127.") else self.client(source)
        target = to or ("127.0.0.1" if source.startswith("127.") else self.platform.network.addresses[0])
        return sendMail(network, target, port, sender, recipients, content, **options)

    # --- what happened

    def eventsOf(self, *kinds: type[Event]) -> list[Any]:
        """Events of these classes, in order."""
        return [event for _, event in self.events if isinstance(event, kinds)]

    def eventLog(self) -> str:
        """All events as text, a line each: the same for the same seed, whatever the machine, the day and the hash seed."""
        return "".join(f"{at:.6f} {describe(event)}\n" for at, event in self.events)


def describe(event: Event) -> str:
    """An event in one line: room, word, and its fields."""
    fields = " ".join(f"{item.name}={getattr(event, item.name)!r}" for item in dataclasses.fields(event))
    return f"{event.room or getattr(event, 'agent', '')} {event.word} {fields}"
