"""Which host gets the mail."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.interfaces.routing import Lookup, MxAnswer, MxHost
from pysmtpd.model.config import Action, ListenerSpec, Method, MtaLimits, RelayHost
from pysmtpd.model.outcome import Result
from tests.mta.fakes import Dns, Server, World, explicit


class MxTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World()

    def result(self, recipient: str, seconds: float = 0.0) -> str:
        (envelope,) = self.world.send(recipient, seconds=seconds)
        return self.world.told(envelope)

    def test_byMx(self) -> None:
        self.world.dns.domain("y.test", (10, "mx.y.test"))
        self.world.dns.hosts["mx.y.test"] = ("192.0.2.1",)
        sink = self.world.host("192.0.2.1")
        (envelope,) = self.world.send("b@Y.test")
        outcome = self.world.ears.outcomes[envelope]
        self.assertEqual(str(outcome.reply), "250 2.0.0 queued")
        self.assertEqual(
            (outcome.remote, outcome.relay, outcome.source), ("mx.y.test [192.0.2.1]",) * 2 + ("198.51.100.9",)
        )
        self.assertEqual(sink.mails, [(["b@Y.test"], b"Subject: hello\r\n\r\n..dots\r\n")])
        self.assertEqual(self.world.ears.counts["mta.transaction"], 1)

    def test_withoutMxTheDomainItself(self) -> None:
        self.world.dns.hosts["y.test"] = ("192.0.2.1",)
        self.world.host("192.0.2.1")
        self.assertEqual(self.result("b@y.test"), "Ok 250 2.0.0 queued")

    def test_nullMx(self) -> None:
        self.world.dns.domain("y.test", (0, "."))
        self.assertEqual(self.result("b@y.test"), "PermFail 556 5.1.10 Domain y.test does not accept mail")

    def test_noSuchDomain(self) -> None:
        self.assertEqual(self.result("b@nowhere.test"), "PermFail 550 5.1.2 Domain nowhere.test does not exist")

    def test_dnsFails(self) -> None:
        self.world.dns.mxs["y.test"] = MxAnswer(Lookup.FAILED, error="SERVFAIL")
        self.assertEqual(self.result("b@y.test"), "TempFail 451 4.4.3 DNS: MX of y.test: SERVFAIL")

    def test_mxWithoutAddress(self) -> None:
        self.world.dns.domain("y.test", (10, "gone.test"))
        self.assertIn("TempFail 451 4.4.3 No usable host for y.test: gone.test: nxdomain", self.result("b@y.test"))

    def test_answersLiveForTheirTtl(self) -> None:
        """At most a minute beyond the resolver's own memory, and no question for each message."""
        dns = self.world.dns
        dns.hosts["mx.y.test"] = ("192.0.2.1",)
        self.world.host("192.0.2.1")
        for ttl, seconds in ((0.0, 5.0), (20.0, 20.0), (3600.0, 60.0)):
            domain = f"d{ttl:.0f}.test"
            mx = MxAnswer(Lookup.FOUND, (MxHost(10, "mx.y.test"),), until=self.world.clock.seconds() + ttl)
            dns.mxs[domain] = mx
            self.assertEqual(self.result(f"b@{domain}"), "Ok 250 2.0.0 queued")
            self.world.run(seconds - 1)
            self.assertEqual(self.result(f"b@{domain}"), "Ok 250 2.0.0 queued")
            self.assertEqual(dns.asked.count(domain), 1, domain)
            self.world.run(2)
            self.assertEqual(self.result(f"b@{domain}"), "Ok 250 2.0.0 queued")
            self.assertEqual(dns.asked.count(domain), 2, domain)

    def test_nextLevelOnlyWhenOneIsDown(self) -> None:
        self.world.dns.domain("y.test", (10, "a.test"), (20, "b.test"))
        self.world.dns.hosts.update({"a.test": ("192.0.2.1",), "b.test": ("192.0.2.2",)})
        backup = self.world.host("192.0.2.2")
        first = self.world.host("192.0.2.1")
        self.result("b@y.test")
        self.assertEqual((len(first.mails), len(backup.mails)), (1, 0))
        self.world.run(20)
        del self.world.network.servers["192.0.2.1", 25]
        self.assertEqual(self.result("b@y.test", 0.1), "Ok 250 2.0.0 queued")
        self.assertEqual(len(backup.mails), 1)

    def isLate(self, dns: Dns, name: str) -> Deferred[Any]:
        """Its addresses are told once the Deferred is called."""
        ask, late = dns.addresses, Deferred[Any]()

        def addresses(host: str, family: str = "") -> Deferred[Any]:
            answer: Deferred[Any] = ask(host, family)
            return late.addCallback(lambda _: answer) if host == name else answer

        dns.addresses = addresses  # type: ignore[method-assign]
        return late

    def test_worseHostsThatAreNotKnownYet(self) -> None:
        """Whatever the better ones say, or do not: nothing is decided before DNS has told of all."""
        for greeting in ("", "521 5.3.2 no mail here", "421 4.3.2 not now"):
            world = self.world = World()
            world.dns.domain("y.test", (10, "a.test"), (20, "b.test"))
            world.dns.hosts.update({"a.test": ("192.0.2.1",), "b.test": ("192.0.2.2",)})
            if greeting:
                world.host("192.0.2.1", Server(greeting=greeting))
            world.host("192.0.2.2")
            late = self.isLate(world.dns, "b.test")
            (first, second) = world.send("b@y.test") + world.send("c@y.test")
            world.run(1)
            self.assertEqual((world.told(first), world.told(second)), ("", ""), greeting)
            self.assertEqual(set(world.agent.routes.underWay().values()), {"waits for DNS"})
            late.callback(None)
            world.run(1)
            self.assertEqual({world.told(first), world.told(second)}, {"Ok 250 2.0.0 queued"}, greeting)

    def test_equalHostsAreShuffled(self) -> None:
        self.world = World(limits=MtaLimits(sessionKeepalive=0.0))
        self.world.dns.domain("y.test", (10, "a.test"), (10, "b.test"))
        self.world.dns.hosts.update({"a.test": ("192.0.2.1",), "b.test": ("192.0.2.2",)})
        sinks = [self.world.host("192.0.2.1"), self.world.host("192.0.2.2")]
        for _ in range(20):
            self.result("b@y.test")
        self.assertGreater(min(len(sink.mails) for sink in sinks), 3)

    def test_nothingReachableNamesEachHost(self) -> None:
        self.world.dns.domain("y.test", (10, "a.test"), (20, "b.test"))
        self.world.dns.hosts.update({"a.test": ("192.0.2.1", "192.0.2.3"), "b.test": ("192.0.2.2",)})
        (envelope,) = self.world.send("b@y.test", seconds=0.2)
        told = self.world.told(envelope)
        for host in ("a.test [192.0.2.1]", "a.test [192.0.2.3]", "b.test [192.0.2.2]"):
            self.assertIn(f"{host}: 451 4.4.1 Connection was refused by other side", told)
        self.assertTrue(told.startswith("TempFail 451 4.4.1 No host could be reached"))
        self.assertGreater(self.world.ears.outcomes[envelope].retryAt, 1e9 + 10)
        tried = len(self.world.network.tried)
        self.assertTrue(self.result("b@y.test").startswith("TempFail"), "at once")
        self.assertEqual(len(self.world.network.tried), tried, "hosts that are down are left alone")
        self.world.host("192.0.2.2")
        self.world.run(30)
        self.assertEqual(self.result("b@y.test", 0.1), "Ok 250 2.0.0 queued")

    def test_addressLiteral(self) -> None:
        self.world.host("192.0.2.7")
        self.world.host("2001:db8::7")
        self.assertTrue(self.result("b@[192.0.2.7]").startswith("Ok"))
        self.assertTrue(self.result("b@[IPv6:2001:db8::7]").startswith("Ok"))
        self.assertTrue(self.result("b@[nonsense]").startswith("PermFail 550 5.1.2"))

    def test_internationalDomain(self) -> None:
        self.world.dns.hosts["xn--bcher-kva.test"] = ("192.0.2.1",)
        self.world.host("192.0.2.1", Server("SMTPUTF8", "8BITMIME"))
        self.assertTrue(self.result("b@B\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.test").startswith("Ok"))

    def test_actionIsGone(self) -> None:
        self.world = World(actions={})
        self.assertIn("4.3.5 Action out is no longer configured", self.result("b@y.test"))


class LoopTests(SynchronousTestCase):
    def test_addressesThatAreNeverUsed(self) -> None:
        for address in (
            "127.0.0.1",
            "::1",
            "0.0.0.0",
            "169.254.1.1",
            "224.0.0.1",
            "198.51.100.9",
            "203.0.113.5",
            "::ffff:127.0.0.1",
        ):
            with self.subTest(address):
                world = World(localAddresses=("203.0.113.5",))
                world.host(address)
                world.dns.domain("y.test", (10, "mx.test"))
                world.dns.hosts["mx.test"] = (address,)
                (envelope,) = world.send("b@y.test")
                outcome = world.ears.outcomes[envelope]
                self.assertEqual((outcome.result, outcome.reply.enhanced), (Result.LOOP, "5.4.6"))
                self.assertEqual(world.network.tried, [])

    def test_worseThanOurselves(self) -> None:
        """RFC 5321 5.1: a backup never sends to itself, nor to hosts behind it."""
        world = World(localAddresses=("203.0.113.5",))
        world.dns.domain("y.test", (10, "main.test"), (20, "me.test"), (30, "worse.test"))
        world.dns.hosts.update({"main.test": ("192.0.2.1",), "me.test": ("203.0.113.5",), "worse.test": ("192.0.2.3",)})
        worse = world.host("192.0.2.3")
        (envelope,) = world.send("b@y.test", seconds=0.1)
        self.assertIn("TempFail", world.told(envelope))
        self.assertEqual(worse.conversations, [])

    def test_allowLocalMx(self) -> None:
        listener = ListenerSpec("lo", ("127.0.0.1", "0.0.0.0"), 25)
        world = World(allowLocalMx=True, listeners=(ListenerSpec("lo", ("127.0.0.1",), 25),))
        world.host("127.0.0.2")
        world.host("127.0.0.1")
        world.dns.hosts["y.test"] = ("127.0.0.2",)
        world.dns.hosts["z.test"] = ("127.0.0.1",)
        one, two = world.send("b@y.test", "b@z.test")
        self.assertIn("Ok", world.told(one))
        self.assertIn("Loop 554 5.4.6", world.told(two), "our own listener")
        world = World(allowLocalMx=True, listeners=(listener,))
        world.dns.hosts["y.test"] = ("127.0.0.2",)
        (one,) = world.send("b@y.test")
        self.assertIn("Loop", world.told(one), "a listener on all addresses")

    def test_operatorsHostMayBeLocal(self) -> None:
        world = World(explicit("smtp://127.0.0.1", 2526))
        world.host("127.0.0.1", port=2526)
        (envelope,) = world.send("b@y.test")
        self.assertIn("Ok", world.told(envelope))


class ExplicitTests(SynchronousTestCase):
    def test_namesAreLookedUpButNotTheirMx(self) -> None:
        world = World(explicit("smtp://relay.test", 587))
        world.dns.hosts["relay.test"] = ("192.0.2.1",)
        world.host("192.0.2.1", port=587)
        one, two = world.send("b@y.test", "c@z.test")
        self.assertIn("Ok", world.told(one))
        self.assertIn("Ok", world.told(two))
        self.assertEqual(world.dns.asked, ["relay.test"])

    def test_severalHosts(self) -> None:
        hosts = (RelayHost("smtp", "192.0.2.1", 25), RelayHost("smtp", "192.0.2.2", 25))
        world = World({"out": Action("out", Method.RELAY, hosts=hosts)})
        sink = world.host("192.0.2.2")
        for _ in range(5):
            world.send("b@y.test", seconds=0.1)
        self.assertEqual(len(sink.mails), 5)

    def test_lmtp(self) -> None:
        for url, place in (("lmtp://192.0.2.1", ("192.0.2.1", 24)), ("lmtp:///run/lmtp", ("/run/lmtp", 0))):
            world = World(explicit(url, place[1]))
            sink = world.host(place[0], Server("PIPELINING", **{"c@y.test": "550 5.1.1 nobody"}), place[1])
            one, two = world.send("b@y.test", "c@y.test")
            self.assertEqual(world.told(one), "Ok 250 2.0.0 queued")
            self.assertEqual(world.told(two), "PermFail 550 5.1.1 nobody")
            self.assertTrue(sink.conversations[0][0].startswith("LHLO"))

    def test_contradiction(self) -> None:
        world = World(explicit("smtp+notls://192.0.2.1", 25, tlsRequired=True))
        (envelope,) = world.send("b@y.test")
        self.assertIn("contradicts the action's tls", world.told(envelope))


class GatherTests(SynchronousTestCase):
    """One message to a hundred domains behind one host."""

    def setUp(self) -> None:
        self.world = World(limits=MtaLimits(gather=0.2))
        self.world.dns.hosts["mx.test"] = ("192.0.2.1",)
        self.domains = [f"d{number}.test" for number in range(100)]
        for domain in self.domains:
            self.world.dns.domain(domain, (10, "mx.test"))
        self.sink = self.world.host("192.0.2.1")

    def test_oneTransaction(self) -> None:
        envelopes = self.world.send(*(f"b@{domain}" for domain in self.domains))
        self.assertEqual([len(recipients) for recipients, _ in self.sink.mails], [100])
        self.assertEqual(len(self.sink.conversations), 1)
        self.assertTrue(all(self.world.told(one).startswith("Ok") for one in envelopes))

    def test_manyMessagesShareConnections(self) -> None:
        for domain in self.domains * 3:
            self.world.agent.deliver(self.world.delivery(f"b@{domain}"), self.world.ears)
        self.world.run(1)
        self.assertEqual(len(self.sink.mails), 300)
        self.assertLessEqual(len(self.sink.conversations), 20)

    def test_oneSilentDomain(self) -> None:
        silent: Deferred[None] = Deferred()
        self.world.dns.silent["d7.test"] = silent
        envelopes = self.world.send(*(f"b@{domain}" for domain in self.domains))
        self.assertEqual(self.sink.mails, [], "gathering")
        self.world.run(0.25)
        self.assertEqual([len(recipients) for recipients, _ in self.sink.mails], [99])
        self.assertEqual(self.world.told(envelopes[7]), "")
        silent.callback(None)
        self.world.run(0)
        self.assertEqual([len(recipients) for recipients, _ in self.sink.mails], [99, 1])
        self.assertEqual(len(self.sink.conversations), 1, "the same connection")

    def test_askedOnce(self) -> None:
        for _ in range(5):
            self.world.send("b@d1.test")
        self.assertEqual(self.world.dns.asked.count("d1.test"), 1)

    def test_differentNamesOfOneAddress(self) -> None:
        self.world.dns.domain("vanity.test", (10, "mx.vanity.test"))
        self.world.dns.hosts["mx.vanity.test"] = ("192.0.2.1",)
        self.world.send("b@d1.test", "b@vanity.test")
        self.assertEqual(len(self.sink.mails), 1)

    def test_overlappingHosts(self) -> None:
        """Domains that have one of several hosts in common meet there."""
        self.world.host("192.0.2.2")
        self.world.dns.domain("two.test", (10, "mx.test"), (10, "other.test"))
        self.world.dns.hosts["other.test"] = ("192.0.2.2",)
        self.world.send("b@two.test", "b@d1.test")
        self.assertEqual([len(recipients) for recipients, _ in self.sink.mails], [2])

    def test_rcptMax(self) -> None:
        self.sink.extensions = ("PIPELINING", "LIMITS RCPTMAX=30")
        self.world.send(*(f"b@{domain}" for domain in self.domains), seconds=1)
        self.assertEqual(sorted(len(recipients) for recipients, _ in self.sink.mails), [10, 30, 30, 30])

    def test_rcptDomainMax(self) -> None:
        self.sink.extensions = ("PIPELINING", "LIMITS RCPTDOMAINMAX=1")
        self.world.send("a@d1.test", "b@d1.test", "c@d2.test", seconds=1)
        self.assertEqual([recipients for recipients, _ in self.sink.mails], [["a@d1.test", "b@d1.test"], ["c@d2.test"]])
