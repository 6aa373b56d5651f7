"""TLS that was to be had yesterday has to be had today; and what an operator sees of that."""

from __future__ import annotations

from pysmtpd.model.events import DeliveryAttempted, TlsRefused
from pysmtpd.testing.remote import RemoteServer
from pysmtpd.testing.world import World
from tests.daemon.story import rules
from tests.daemon.test_tls_policy import MX, RIGHT, WRONG, Case

DAY = 86400.0
OTHER = "mx2.remote.test"


class MemoryTests(Case):
    def met(self) -> World:
        """A world that has talked to the host under TLS, though nothing is published."""
        world = self.at(isSecure=False)
        self.delivered(world)
        return world

    def stripped(self, *servers: RemoteServer) -> None:
        """Somebody takes STARTTLS out of the conversation."""
        for server in servers or (self.mx,):
            server.starttls = False
            server.without("STARTTLS")

    def next(self, world: World, *recipients: str, seconds: float = 90.0) -> str:
        """How the next message fares."""
        before = len(world.eventsOf(DeliveryAttempted))
        self.accepted(world, *(recipients or ("ann@remote.test",)))
        world.until(lambda: len(world.eventsOf(DeliveryAttempted)) > before, seconds, "an attempt")
        attempt = world.eventsOf(DeliveryAttempted)[before]
        return f"{attempt.result} {attempt.stat}"

    def test_lossDefers(self) -> None:
        world = self.met()
        self.stripped()
        world.run(120)
        told = self.next(world)
        self.assertIn("TempFail", told)
        self.assertIn("does not offer STARTTLS", told)
        self.assertIn("pysmtpctl forget-tls remote.test", told)
        self.assertEqual(1, len(self.mx.messages))

    def test_lossDefersAtOnce(self) -> None:
        """Not only when what DNS said is over: the next message is asked of under what the one before has taught."""
        world = self.met()
        self.stripped()
        world.run(15)
        self.assertEqual(0, self.mx.open, "the connection that was under TLS is gone")
        told = self.next(world)
        self.assertIn("TempFail", told)
        self.assertIn("does not offer STARTTLS", told)

    def test_brokenHandshakeDefers(self) -> None:
        world = self.met()
        world.run(120)
        self.mx.reject("STARTTLS", "454 4.7.0 TLS not available")
        self.assertIn("TempFail", self.next(world))

    def test_anotherHostThatHasTls(self) -> None:
        world = self.met()
        other = self.host(world, OTHER, starttls=True)
        world.dns.mx("remote.test", MX, OTHER)
        self.stripped()
        world.run(4000)
        self.assertIn("Ok", self.next(world))
        self.assertEqual(1, len(other.messages))

    def test_anotherServiceOfTheSameHost(self) -> None:
        """That port 25 has TLS says nothing about port 2526."""
        hosts = 'action "other" relay host "smtp://mx.remote.test:2526"\nmatch from any for domain "other.test" action "other"'
        first = f'action "one" relay host "smtp://{MX}"\nmatch from any for domain "remote.test" action "one"'
        world = self.world(rules(f"{hosts}\n{first}"))
        self.mx = self.host(world, MX, starttls=True)
        plain = RemoteServer(world.internet, MX, self.mx.addresses, port=2526, network=self.mx.network)
        world.start()
        self.delivered(world)
        self.assertIn("Ok", self.next(world, "ann@other.test"))
        self.assertEqual(1, len(plain.messages))

    def test_whoNeverHadItMayGoWithout(self) -> None:
        world = self.met()
        self.stripped()
        world.dns.mx("other.test", MX)
        world.run(120)
        self.assertIn("Ok", self.next(world, "ann@other.test"))

    def test_aCertificateIsNotRemembered(self) -> None:
        world = self.met()
        self.mx.certificateFor = "somebody.else.test"
        world.run(120)
        self.assertIn("Ok", self.next(world))

    def test_forAMonth(self) -> None:
        world = self.met()
        self.stripped()
        world.run(31 * DAY)
        self.assertIn("Ok", self.next(world))

    def test_survivesARestart(self) -> None:
        world = self.met()
        world.run(10)
        world.crash(powerCut=True)
        self.stripped()
        world.restart()
        self.assertIn("TempFail", self.next(world))

    def test_anOrderlyEndKeepsTheLatest(self) -> None:
        world = self.met()
        world.stop()
        self.stripped()
        world.restart()
        self.assertIn("TempFail", self.next(world))

    def test_forgotten(self) -> None:
        world = self.met()
        self.stripped()
        world.run(120)
        self.next(world)
        operator = self.operator(world)
        (memory,) = [row for row in operator.ask("Tls", domain="remote.test")["rows"] if row["what"] == "memory"]
        self.assertEqual(MX, memory["host"])
        self.assertEqual(1, operator.ask("ForgetTls", domain="Remote.Test.")["count"])
        self.assertEqual(0, operator.ask("ForgetTls", domain="remote.test")["count"])
        self.assertIn("Ok", self.next(world, "bob@remote.test"))
        world.until(lambda: len(self.mx.messages) == 3, 3600, "what has waited goes, too")


class ToldTests(Case):
    def test_anEventSaysWhatIsWrong(self) -> None:
        world = self.at()
        self.tlsa(world, WRONG)
        self.tried(world)
        event = world.eventsOf(TlsRefused)[0]
        self.assertEqual(("remote.test", f"{MX} [203.0.113.1]"), (event.domain, event.host))
        self.assertEqual("required DANE", event.policy)
        self.assertIn("matches none of the TLSA records", event.reason)
        self.assertEqual("DANE: one of its TLSA records has to match", event.asked)

    def test_aHostThatMustNotBeUsed(self) -> None:
        world = self.at()
        world.dns.fail(f"_25._tcp.{MX}")
        self.tried(world)
        self.assertIn("cannot be had", world.eventsOf(TlsRefused)[0].reason)

    def test_nothingIsToldOfAGoodHost(self) -> None:
        world = self.at()
        self.tlsa(world, RIGHT)
        self.delivered(world)
        self.assertEqual([], world.eventsOf(TlsRefused))

    def test_shown(self) -> None:
        world = self.at()
        self.tlsa(world, WRONG)
        self.tried(world)
        (row,) = self.operator(world).ask("Tls", domain="remote.test")["rows"]
        self.assertEqual("required DANE (DANE: one of its TLSA records has to match)", row["asks"])
        self.assertIn("matches none", row["problem"])
