"""Hosts that are broken or mean harm: other mail is not kept waiting, and each envelope still has its one end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.protocol import Factory, Protocol

from pysmtpd.model.events import DeliveryAttempted, InternalError
from pysmtpd.testing.world import World
from tests.daemon.story import StoryTestCase, rules

Act = Callable[["Evil"], None]

EHLO = b"250-evil\r\n250 PIPELINING\r\n"
FRIENDLY: Mapping[str, bytes] = {
    "": b"220 evil\r\n",
    "EHLO": EHLO,
    "MAIL": b"250 2.1.0 ok\r\n",
    "RCPT": b"250 2.1.5 ok\r\n",
    "DATA": b"354 go\r\n",
    ".": b"250 2.0.0 taken\r\n",
    "RSET": b"250 2.0.0 ok\r\n",
    "QUIT": b"221 2.0.0 bye\r\n",
}


class Evil(Protocol):
    """Friendly, but for what the script says at single verbs: octets, or what to do.

    The verb of the greeting is empty, that of the end of data a dot.
    """

    def __init__(self, script: Mapping[str, bytes | Act], clock: Any) -> None:
        self.transport: Any
        self.script = script
        self.clock = clock
        self._buffer = b""
        self._inData = False

    def connectionMade(self) -> None:
        self.answer("")

    def answer(self, verb: str) -> None:
        what = self.script.get(verb, FRIENDLY.get(verb, b"502 5.5.1 what\r\n"))
        if isinstance(what, bytes):
            self.transport.write(what)
        else:
            what(self)

    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n" in self._buffer:
            line, _, self._buffer = self._buffer.partition(b"\r\n")
            if self._inData:
                if line == b".":
                    self._inData = False
                    self.answer(".")
                continue
            verb = line.split(b" ")[0].decode("ascii", "replace").upper()
            self._inData = verb == "DATA" and self.script.get("DATA", b"354").__class__ is bytes
            self.answer(verb)

    def drip(self) -> None:
        """One octet now and then, and never the end of a line."""
        if self.connected:
            self.transport.write(b"2")
            self.clock.callLater(20, self.drip)


def hangUp(evil: Evil) -> None:
    evil.transport.abortConnection()


def drip(evil: Evil) -> None:
    evil.drip()


def silence(evil: Evil) -> None:
    pass


def hangUpInContent(evil: Evil) -> None:
    evil.transport.write(b"354 go\r\n")
    evil.clock.callLater(0.001, evil.transport.abortConnection)


def nonsense(evil: Evil) -> None:
    """In place of a handshake."""
    evil.transport.write(b"220 go\r\n")
    evil.clock.callLater(0.5, evil.transport.write, b"250 this is no TLS\r\n" * 10)


def silentHandshake(evil: Evil) -> None:
    evil.transport.write(b"220 go\r\n")


EVILS: Mapping[str, Mapping[str, bytes | Act]] = {
    **{f"reset at {verb or 'greeting'}": {verb: hangUp} for verb in ("", "EHLO", "MAIL", "RCPT", "DATA", ".")},
    **{f"drip at {verb or 'greeting'}": {verb: drip} for verb in ("", "EHLO", "MAIL", "RCPT", "DATA", ".")},
    **{f"silence at {verb or 'greeting'}": {verb: silence} for verb in ("", "EHLO", "MAIL", "RCPT", "DATA", ".")},
    "reset in content": {"DATA": hangUpInContent},
    "4xx banner": {"": b"450 4.3.2 not now\r\n"},
    "5xx banner": {"": b"554 5.3.2 never\r\n"},
    "endless reply": {"EHLO": b"250-x\r\n" * 100_000},
    "long line": {"EHLO": b"250 " + b"x" * 1_000_000 + b"\r\n"},
    "no end of line": {"": b"2" * 1_000_000},
    "codes differ": {"EHLO": b"250-x\r\n550 y\r\n"},
    "8-bit in replies": {"": b"220 gr\xfc\xdf dich\r\n", "RCPT": b"451 4.2.0 sp\xe4ter \x1b[2J\x00\r\n"},
    "no SMTP": {"": b"HTTP/1.1 200 OK\r\n\r\n"},
    "reply before its command": {"": b"220 evil\r\n250 2.0.0 taken\r\n"},
    "replies to commands never given": {"MAIL": b"250 2.1.0 ok\r\n" * 50},
    "reply to the wrong command": {"MAIL": b"354 go\r\n"},
    "taken before it was sent": {"DATA": b"250 2.0.0 taken\r\n"},
    "reply in the midst of content": {"DATA": b"354 go\r\n250 2.0.0 taken\r\n"},
    "354 at the end": {".": b"354 more\r\n"},
    "421 anywhere": {"RCPT": b"421 4.3.2 bye\r\n"},
    "empty lines": {"EHLO": b"\r\n\r\n"},
}

TLS = b"250-evil\r\n250 STARTTLS\r\n"
TLS_EVILS: Mapping[str, Mapping[str, bytes | Act]] = {
    "reset at STARTTLS": {"EHLO": TLS, "STARTTLS": hangUp},
    "drip at STARTTLS": {"EHLO": TLS, "STARTTLS": drip},
    "silence at STARTTLS": {"EHLO": TLS, "STARTTLS": silence},
    "4xx to STARTTLS": {"EHLO": TLS, "STARTTLS": b"454 4.7.0 not now\r\n"},
    "5xx to STARTTLS": {"EHLO": TLS, "STARTTLS": b"500 5.5.1 what\r\n"},
    "nonsense in the handshake": {"EHLO": TLS, "STARTTLS": nonsense},
    "silence in the handshake": {"EHLO": TLS, "STARTTLS": silentHandshake},
}

# Where all of the content was on its way before it came, that is the answer to it for all we can tell.
MAYBE_MEANT = ("reply in the midst of content",)
MAYBE = ("reset at .", "drip at .", "silence at .", "354 at the end")


class HostileHostTests(StoryTestCase):
    def evil(self, world: World, script: Mapping[str, bytes | Act]) -> None:
        remote = world.remote("mx.evil.test", domains=["evil.test"], port=2525)
        factory = Factory()
        factory.buildProtocol = lambda addr: Evil(script, world.platform.clock)  # type: ignore[method-assign]
        assert remote.network is not None
        remote.network.listenTCP(25, factory)

    def test_each(self) -> None:
        for name, script in EVILS.items():
            world = self.begin(rules("queue ttl 3h\nbounce warn-interval 30d"))
            good = self.remote(world)
            self.remote(world, "client.test")
            self.evil(world, script)
            self.accepted(world, *(f"u{number}@evil.test" for number in range(3)))
            self.accepted(world, "first@evil.test", "ann@remote.test")
            self.accepted(world, "bob@remote.test")
            world.run(5)
            self.assertEqual(sorted(good.recipients), ["ann@remote.test", "bob@remote.test"], name)
            # The longest of all time-outs is behind.
            world.run(3600)
            attempts = [event for event in world.eventsOf(DeliveryAttempted) if "@evil.test" in event.to]
            self.assertTrue(attempts, name)
            results = {event.result for event in attempts} - ({"Ok"} if name in MAYBE_MEANT else set())
            self.assertFalse(results & {"Ok", "PermFail"}, name)
            self.assertTrue(all(event.stat.isascii() and event.stat.isprintable() for event in attempts), name)
            if name in MAYBE:
                self.assertTrue(
                    any("may have been delivered" in event.stat or "354" in event.stat for event in attempts), name
                )
            self.assertEqual(world.eventsOf(InternalError), [], name)
            world.run(3 * 3600)
            self.finish(world, seconds=1)

    def test_tlsThatIsNone(self) -> None:
        """Who would only like TLS goes on without it, on a new connection; other mail does not wait for that."""
        for name, script in TLS_EVILS.items():
            world = self.begin(rules())
            good = self.remote(world)
            self.evil(world, script)
            self.accepted(world, "first@evil.test", "ann@remote.test")
            self.accepted(world, "bob@remote.test")
            world.run(5)
            self.assertEqual(sorted(good.recipients), ["ann@remote.test", "bob@remote.test"], name)
            world.run(300)
            results = [event.result for event in world.eventsOf(DeliveryAttempted) if "@evil.test" in event.to]
            self.assertEqual(results, ["Ok"], name)
            (row,) = self.operator(world).whole("Probe", destination="evil.test")["hosts"]
            again = " on a new connection: TLS fails, and nothing asks for it" if row["result"] == "failed" else ""
            self.assertEqual(row["verdict"], f"mail goes there, in plain text{again}", name)
            self.finish(world, "delivered", "delivered", "delivered")

    def test_allAtOnce(self) -> None:
        """Each of them with mail of its own: what is for others takes no longer than it does alone."""

        def delivered(evils: Mapping[str, Mapping[str, bytes | Act]]) -> float:
            world = self.begin(rules("queue ttl 3h\nbounce warn-interval 30d"))
            good = self.remote(world)
            for number, script in enumerate(evils.values()):
                remote = world.remote(f"mx{number}.evil.test", domains=[f"e{number}.test"], port=2525)
                factory = Factory()
                factory.buildProtocol = lambda addr, script=script: Evil(script, world.platform.clock)  # type: ignore[method-assign, misc]
                assert remote.network is not None
                remote.network.listenTCP(25, factory)
                for _ in range(3):
                    world.send("a@client.test", f"b@e{number}.test")
            world.run(60)
            since = world.now
            for number in range(100):
                world.send("a@client.test", f"b{number}@remote.test")
            world.until(lambda: len(good.recipients) == 100, 60, "the good host's mail")
            self.assertEqual(world.eventsOf(InternalError), [])
            return world.now - since

        alone = delivered({})
        self.assertLess(delivered({**EVILS, **TLS_EVILS}), 1.2 * alone)

    def test_unknownOutcome(self) -> None:
        """The end of data was sent and its reply never came (RFC 1047): it is tried again, once, after the usual wait."""
        world = self.begin(rules("queue ttl 3h\nbounce warn-interval 30d"))
        remote = self.remote(world).drop("BODY", times=1)
        self.accepted(world, "ann@remote.test", "bob@remote.test")
        world.run(60)
        self.assertEqual([event.result for event in world.eventsOf(DeliveryAttempted)], ["TempFail", "TempFail"])
        self.finish(world, "delivered", "delivered", seconds=3600)
        self.assertEqual(remote.attempts, 2)
