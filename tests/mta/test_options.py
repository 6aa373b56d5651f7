"""Every option of C{relay}: tables of hosts and addresses, names, backup, limits; and what hosts say that others may not."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.interfaces.routing import AddressAnswer, Lookup, Service, TableError
from pysmtpd.model.clienttls import ClientKind
from pysmtpd.model.config import Action, CaSpec, Method, MtaLimits, PkiSpec, TableRef
from pysmtpd.model.events import ConnectionAuthenticated, CredentialsRefused, Event
from pysmtpd.model.outcome import Result
from tests.mta.fakes import Server, Table, World, explicit


class Turns(Table):
    """Gives its entries in turn."""

    def __init__(self, name: str, *entries: str) -> None:
        super().__init__(name, dict.fromkeys(entries, ""))
        self._entries = entries
        self._at = 0

    def fetch(self, service: Service) -> Any:
        if not self._entries:
            return None
        self._at += 1
        return self._entries[(self._at - 1) % len(self._entries)]


class Slow(Table):
    """Answers when it is told to."""

    def __init__(self, name: str, values: dict[str, str]) -> None:
        super().__init__(name, values)
        self.asked: list[Deferred[str | None]] = []

    def lookup(self, service: Service, key: str) -> Any:
        self.asked.append(Deferred())
        return self.asked[-1]


class Broken(Table):
    def __init__(self, name: str) -> None:
        super().__init__(name, {})

    def lookup(self, service: Service, key: str) -> Any:
        raise TableError("the disk is gone")

    def fetch(self, service: Service) -> Any:
        raise TableError("the disk is gone")


def relay(**options: Any) -> dict[str, Action]:
    return {"out": Action("out", Method.RELAY, **options)}


class HostTableTests(SynchronousTestCase):
    def world(self, table: Table, **options: Any) -> World:
        return World(relay(hostTable=TableRef("hosts"), **options), tables={"hosts": table})

    def test_inTurn(self) -> None:
        world = self.world(Turns("hosts", "smtp://192.0.2.1", "smtp://192.0.2.2:26"))
        one, two = world.host("192.0.2.1"), world.host("192.0.2.2", port=26)
        for _ in range(4):
            world.send("b@y.test", "c@z.test")
        self.assertEqual([len(mails[0]) for mails in one.mails], [2, 2], "once for a message")
        self.assertEqual([len(mails[0]) for mails in two.mails], [2, 2])

    def test_problemsAreTemporary(self) -> None:
        for table, why in (
            (Turns("hosts"), "4.3.5 Table hosts is empty"),
            (Turns("hosts", "http://192.0.2.1"), "4.3.5 Table hosts: "),
            (Turns("hosts", "smtp+tls://me@192.0.2.1"), '4.3.5 Table hosts: "me" needs an auth table'),
            (Broken("hosts"), "4.3.0 Table hosts: the disk is gone"),
        ):
            world = self.world(table)
            (envelope,) = world.send("b@y.test")
            self.assertIn(f"TempFail 451 {why}", world.told(envelope))

    def test_labels(self) -> None:
        tables = {"hosts": Turns("hosts", "smtp+tls://me@192.0.2.1"), "secrets": Table("secrets", {"me": "user:pass"})}
        actions = relay(hostTable=TableRef("hosts"), authTable=TableRef("secrets"), tlsVerify=False)
        world = World(actions, tables=tables)
        sink = world.host("192.0.2.1", Server("STARTTLS", "AUTH PLAIN", AUTH="235 2.7.0 ok"))
        (envelope,) = world.send("b@y.test")
        self.assertIn("Ok", world.told(envelope))
        self.assertIn("AUTH PLAIN AHVzZXIAcGFzcw==", sink.conversations[0])


class DomainTableTests(SynchronousTestCase):
    def test_byDestination(self) -> None:
        table = Table("map", {"y.test": "smtp://192.0.2.1", "z.test": "smtp://192.0.2.2"})
        world = World(relay(domainTable=TableRef("map")), tables={"map": table})
        one, two = world.host("192.0.2.1"), world.host("192.0.2.2")
        sent = world.send("b@Y.test", "c@z.test", "d@other.test")
        self.assertEqual((len(one.mails), len(two.mails)), (1, 1))
        self.assertEqual(world.told(sent[2]), "TempFail 451 4.3.5 Table map has no relay for other.test")
        self.assertEqual(world.dns.asked, [])

    def slow(self) -> tuple[World, Slow]:
        table = Slow("map", {})
        return World(relay(domainTable=TableRef("map")), tables={"map": table}), table

    def test_aTableThatTakesItsTime(self) -> None:
        world, table = self.slow()
        sink = world.host("192.0.2.1")
        world.send("b@y.test", "c@y.test", "d@z.test")
        self.assertEqual(len(table.asked), 2, "once for each domain")
        for asked in table.asked:
            asked.callback("smtp://192.0.2.1")
        world.run(0)
        self.assertEqual([len(recipients) for recipients, _ in sink.mails], [3], "one transaction all the same")

    def test_aTableThatNeverAnswers(self) -> None:
        world, _ = self.slow()
        (envelope,) = world.send("b@y.test", seconds=11)
        self.assertIn("TempFail 451 4.3.0 Table map: ", world.told(envelope))

    def test_stopDoesNotWaitForIt(self) -> None:
        world, table = self.slow()
        world.send("b@y.test")
        self.successResultOf(world.agent.stop())
        self.assertEqual((len(world.ears.held), world.ears.outcomes), (1, {}))
        table.asked[0].callback("smtp://192.0.2.1")
        world.run(20)
        self.assertEqual(world.network.tried, [])
        self.assertEqual(world.clock.getDelayedCalls(), [])


class SourceTests(SynchronousTestCase):
    def world(self, *sources: str, names: dict[str, str] | None = None, **options: Any) -> World:
        tables = {"src": Turns("src", *sources), "names": Table("names", names or {})}
        if names is not None:
            options["heloTable"] = TableRef("names")
        world = World(relay(source=TableRef("src"), **options), MtaLimits(sessionKeepalive=0.0), tables=tables)
        world.dns.domain("y.test", (10, "mx.y.test"))
        world.dns.hosts["mx.y.test"] = ("192.0.2.1",)
        self.sink = world.host("192.0.2.1")
        return world

    def test_inTurn(self) -> None:
        world = self.world("198.51.100.1", "198.51.100.2")
        for _ in range(4):
            world.send("b@y.test")
        self.assertEqual(world.network.bound, ["198.51.100.1", "198.51.100.2"] * 2)

    def test_namesOfSources(self) -> None:
        world = self.world("198.51.100.1", "198.51.100.2", names={"198.51.100.1": "one.me.test"}, helo="usual.me.test")
        world.send("b@y.test")
        world.send("b@y.test")
        self.assertEqual(
            [commands[0] for commands in self.sink.conversations], ["EHLO one.me.test", "EHLO usual.me.test"]
        )

    def test_familyMismatch(self) -> None:
        world = self.world("2001:db8::1", "198.51.100.2")
        (envelope,) = world.send("b@y.test")
        self.assertIn("Ok", world.told(envelope))
        self.assertEqual(world.network.bound, ["198.51.100.2"])
        world = self.world("2001:db8::1")
        (envelope,) = world.send("b@y.test")
        self.assertEqual(
            world.told(envelope),
            "TempFail 451 4.4.1 No source address is of use: source 2001:db8::1: no host is of its family",
        )

    def test_anAddressThatThisMachineLacks(self) -> None:
        world = self.world("198.51.100.1", "198.51.100.2")
        world.network.lacking = ("198.51.100.1",)
        (envelope,) = world.send("b@y.test", seconds=0.1)
        self.assertIn("Ok", world.told(envelope))
        world.send("b@y.test", "c@y.test", seconds=0.1)
        self.assertEqual(world.network.bound.count("198.51.100.1"), 1, "left out for a while")
        world.network.lacking = ("198.51.100.1", "198.51.100.2")
        (envelope,) = world.send("b@y.test", seconds=0.1)
        self.assertIn("TempFail 451 4.4.1 No source address is of use", world.told(envelope))
        self.assertIn("source 198.51.100.2: Cannot assign requested address", world.told(envelope))

    def test_noSuchAddress(self) -> None:
        world = self.world()
        (envelope,) = world.send("b@y.test")
        self.assertEqual(world.told(envelope), "TempFail 451 4.3.0 Table src is empty")
        world = World(relay(source=TableRef("src")), tables={"src": Broken("src")})
        world.dns.hosts["y.test"] = ("192.0.2.1",)
        (envelope,) = world.send("b@y.test")
        self.assertEqual(world.told(envelope), "TempFail 451 4.3.0 Table src: the disk is gone")

    def test_theHostTakesNoMail(self) -> None:
        """From whichever address."""
        world = self.world("198.51.100.1", "198.51.100.2")
        self.sink.greeting = "521 5.3.2 no mail"
        (envelope,) = world.send("b@y.test", seconds=1)
        self.assertIn("PermFail 521 5.3.2 No host takes mail", world.told(envelope))

    def test_recipientsOfAMessageShareIt(self) -> None:
        world = self.world("198.51.100.1", "198.51.100.2")
        world.dns.domain("z.test", (10, "mx.y.test"))
        world.send("b@y.test", "c@z.test")
        self.assertEqual([len(recipients) for recipients, _ in self.sink.mails], [2])


class BackupTests(SynchronousTestCase):
    def result(self, *names: tuple[int, str], **options: Any) -> str:
        self.world = world = World(relay(**options))
        world.dns.domain("y.test", *names)
        for number, name in enumerate(("main.test", "worse.test", "spare.test", "me.test")):
            world.dns.hosts[name] = (f"192.0.2.{number + 1}",)
        world.host("192.0.2.2")
        self.main = world.host("192.0.2.1")
        (envelope,) = world.send("b@y.test")
        return world.told(envelope)

    def test_worseThanOurOwnName(self) -> None:
        """In every relay by MX, told to be a backup or not."""
        for options in ({}, {"isBackup": True}):
            self.assertIn("Ok", self.result((10, "main.test"), (20, "me.test"), (30, "worse.test"), **options))
            del self.world.network.servers["192.0.2.1", 25]
            self.world.run(20)
            (envelope,) = self.world.send("b@y.test", seconds=0.1)
            self.assertIn("TempFail 451 4.4.1", self.world.told(envelope))
            self.assertNotIn("worse", self.world.told(envelope))

    def test_anotherNameOfOurs(self) -> None:
        names = ((10, "main.test"), (20, "spare.test"), (30, "worse.test"))
        self.assertIn("Ok", self.result(*names, isBackup=True, backupMx="Spare.test."))
        self.assertEqual(len(self.main.mails), 1)
        told = self.result((10, "spare.test"), (30, "worse.test"), isBackup=True, backupMx="spare.test")
        self.assertEqual(told, "Loop 554 5.4.6 Mail for y.test loops back to this host: spare.test is this machine")

    def test_nothingIsLeft(self) -> None:
        told = self.result((10, "me.test"), (20, "main.test"))
        self.assertIn("Loop 554 5.4.6", told)
        world = World()
        world.dns.hosts["me.test"] = ("192.0.2.1",)
        (envelope,) = world.send("b@me.test")
        self.assertEqual(world.ears.outcomes[envelope].result, Result.LOOP, "without MX likewise")

    def test_theBetterHostCannotBeFoundNow(self) -> None:
        """A backup keeps the mail; it is no loop."""
        world = World()
        world.dns.domain("y.test", (10, "main.test"), (20, "me.test"))
        world.dns.failing["main.test"] = AddressAnswer(Lookup.FAILED, error="SERVFAIL")
        (envelope,) = world.send("b@y.test")
        self.assertIn("TempFail 451 4.4.3", world.told(envelope))


class TlsOptionTests(SynchronousTestCase):
    def test_keys(self) -> None:
        """Different certificates, authorities or ciphers never share a connection."""
        config: Any = {
            "pki": {"ours": PkiSpec("ours", "/c.pem", "/k.pem")},
            "ca": {"theirs": CaSpec("theirs", "/ca.pem")},
        }
        world = World(explicit("smtp://192.0.2.1", 25, pki="ours", ca="theirs", ciphers="HIGH"), **config)
        sink = world.host("192.0.2.1")
        world.send("b@y.test")
        self.assertEqual(world.tls.kinds, [ClientKind("ours", "/c.pem", "theirs", "/ca.pem", "HIGH", "")])
        usual = World(explicit("smtp://192.0.2.1", 25), **config).config
        world.config = usual
        world.send("b@y.test")
        self.assertEqual(len(sink.conversations), 2)
        self.assertEqual(sum(row["connections"] == 1 for row in world.agent.routes.showRoutes()), 2)

    def test_whatCannotBeUsed(self) -> None:
        world = World(explicit("smtp://192.0.2.1", 25, protocols="SSLv3"))
        world.host("192.0.2.1")
        world.tls.problem = "no protocol is left"
        (envelope,) = world.send("b@y.test")
        self.assertIn("TempFail", world.told(envelope))
        self.assertIn("TLS: no protocol is left", world.told(envelope))

    def test_theServersCiphers(self) -> None:
        world = World(explicit("smtp://192.0.2.1", 25), ciphers="HIGH")
        world.host("192.0.2.1")
        world.send("b@y.test")
        self.assertEqual(world.tls.kinds, [ClientKind(ciphers="HIGH")])


class TwoHosts(World):
    def __init__(self, first: Server, second: Server | None = None, **config: Any) -> None:
        super().__init__(**config)
        self.dns.domain("y.test", (10, "a.test"), (20, "b.test"))
        self.dns.hosts.update({"a.test": ("192.0.2.1",), "b.test": ("192.0.2.2",)})
        self.first = self.host("192.0.2.1", first)
        self.second = self.host("192.0.2.2", second)

    def result(self, *recipients: str, **more: Any) -> list[str]:
        envelopes = self.send(*(recipients or ("b@y.test",)), seconds=more.pop("seconds", 1), **more)
        return [self.told(envelope) for envelope in envelopes]


class OtherHostTests(SynchronousTestCase):
    """What sends mail to the next host in the same attempt, and what does not."""

    def test_sessionsThatAreEnded(self) -> None:
        for replies in (
            {"MAIL": "421 4.3.2 closing"},
            {"RCPT": "421 4.7.0 not now"},
            {"DATA": "421 4.3.0 no"},
            {"MAIL": "HANGUP"},
            {"EHLO": "550 no", "HELO": "550 no"},
        ):
            for extensions in (("PIPELINING",), ("8BITMIME",)):
                world = TwoHosts(Server(*extensions, **replies))
                self.assertEqual(world.result(), ["Ok 250 2.0.0 queued"], replies)
                self.assertEqual(len(world.second.mails), 1)

    def test_greetings(self) -> None:
        for greeting in ("421 4.3.2 busy", "554 5.7.1 go away", "521 5.3.2 never", "450 4.3.2 later"):
            world = TwoHosts(Server(greeting=greeting))
            self.assertEqual(world.result(), ["Ok 250 2.0.0 queued"])

    def test_tls(self) -> None:
        """It is not offered, refused, or fails: the next host may do better, in the same attempt."""
        actions = {"out": Action("out", Method.RELAY, tlsRequired=True, tlsVerify=False)}
        broken = Server("STARTTLS")
        broken.tls = "fails"
        for first in (Server("PIPELINING"), Server("STARTTLS", STARTTLS="454 4.7.0 not now"), broken):
            world = TwoHosts(first, Server("STARTTLS"), actions=actions)
            self.assertEqual(world.result(), ["Ok 250 2.0.0 queued"])
            self.assertTrue(world.second.connections[0].isSecure)
            self.assertEqual(first.mails, [])
        world = TwoHosts(Server("PIPELINING"), broken, actions=actions)
        (told,) = world.result()
        self.assertIn(
            "TempFail 451 4.4.1 No host could be reached: a.test [192.0.2.1]: 451 4.7.4 TLS is required", told
        )
        self.assertIn("; b.test [192.0.2.2]: 451 4.4.2 TLS handshake failed", told)

    def test_otherRefusalsStay(self) -> None:
        for replies in ({"MAIL": "451 4.3.0 no"}, {"RCPT": "450 4.2.1 no"}, {"DOT": "451 4.3.0 no"}, {"DOT": "HANGUP"}):
            world = TwoHosts(Server("PIPELINING", **replies))
            (told,) = world.result()
            self.assertIn("TempFail", told)
            self.assertEqual(world.second.conversations, [])

    def test_whatWasSaidStays(self) -> None:
        """A recipient that was refused before the session ended is not asked for again."""
        world = TwoHosts(Server("8BITMIME", **{"b@y.test": "550 5.1.1 nobody", "c@y.test": "421 4.3.2 closing"}))
        told = world.result("b@y.test", "c@y.test", "d@y.test")
        self.assertEqual(told, ["PermFail 550 5.1.1 nobody", "Ok 250 2.0.0 queued", "Ok 250 2.0.0 queued"])
        self.assertEqual([recipients for recipients, _ in world.second.mails], [["c@y.test", "d@y.test"]])

    def test_noHostIsLeft(self) -> None:
        world = TwoHosts(Server(MAIL="421 4.3.2 one"), Server(MAIL="421 4.3.2 two"))
        (told,) = world.result()
        self.assertIn("TempFail 451 4.4.1 No host took it: ", told)
        self.assertIn("a.test [192.0.2.1]: 421 4.3.2 one; b.test [192.0.2.2]: 421 4.3.2 two", told)

    def test_theOnlyHost(self) -> None:
        world = World(explicit("smtp://192.0.2.1", 25))
        world.host("192.0.2.1", Server(MAIL="421 4.3.2 closing"))
        (envelope,) = world.send("b@y.test")
        self.assertEqual(world.told(envelope), "TempFail 421 4.3.2 closing")
        self.assertEqual(world.ears.outcomes[envelope].remote, "192.0.2.1 [192.0.2.1]")

    def test_aHostThatAlwaysEndsSessionsIsLeftAlone(self) -> None:
        world = TwoHosts(Server(MAIL="421 4.3.2 closing"))
        for _ in range(6):
            world.result(seconds=8)
        self.assertEqual(len(world.second.mails), 6)
        self.assertLessEqual(len(world.first.conversations), 4)

    def test_allSayThatTheyTakeNoMail(self) -> None:
        world = TwoHosts(Server(greeting="521 5.3.2 no mail"), Server(greeting="521 no mail"))
        (told,) = world.result()
        self.assertIn("PermFail 521 5.3.2 No host takes mail: a.test [192.0.2.1]: 521", told)
        late = {"EHLO": "521 5.3.2 no mail", "HELO": "521 5.3.2 no mail"}
        (told,) = TwoHosts(Server(greeting="521 no mail"), Server(**late)).result()
        self.assertIn("PermFail 521 5.3.2 No host takes mail: ", told)
        world = TwoHosts(Server(greeting="521 5.3.2 no mail"), Server(greeting="554 5.7.1 not you"))
        (told,) = world.result()
        self.assertIn("TempFail 451 4.4.1", told)


class CapabilityTests(SynchronousTestCase):
    UTF8 = "Subject: \N{LATIN SMALL LETTER E WITH ACUTE}\r\n\r\n".encode()

    def test_anotherHostHasIt(self) -> None:
        world = TwoHosts(Server("8BITMIME"), Server("8BITMIME", "SMTPUTF8"))
        self.assertEqual(world.result(content=self.UTF8, smtputf8=True), ["Ok 250 2.0.0 queued"])
        self.assertEqual(world.result(), ["Ok 250 2.0.0 queued"])
        self.assertEqual(len(world.first.mails), 1, "others go where they would")

    def test_noneHasIt(self) -> None:
        world = TwoHosts(Server("8BITMIME"), Server("8BITMIME"))
        (told,) = world.result(content=self.UTF8, smtputf8=True)
        self.assertIn("PermFail 550 5.6.7", told)
        self.assertEqual([len(world.first.conversations), len(world.second.conversations)], [1, 1])
        world = TwoHosts(Server("SIZE 10"), Server("SIZE 10"))
        (told,) = world.result()
        self.assertIn("PermFail 552 5.3.4", told)
        (told,) = TwoHosts(Server(), Server()).result(body="BINARYMIME", content=b"Subject: x\r\n\r\na\nb")
        self.assertIn("PermFail 554 5.6.3", told)

    def test_theOtherOneIsBusy(self) -> None:
        """It was reached, and nobody knows what it would have offered. One that never takes mail may as well not be there."""
        for greeting, result in (
            ("421 4.3.2 busy", "TempFail 451 4.4.1 No host took it: "),
            ("554 5.7.1 not you", "TempFail 451 4.4.1 No host took it: "),
            ("521 5.3.2 never", "PermFail 552 5.3.4 "),
        ):
            (told,) = TwoHosts(Server("SIZE 10"), Server(greeting=greeting)).result()
            self.assertIn(result, told, greeting)
        actions = {"out": Action("out", Method.RELAY, source=TableRef("sources"))}
        tables = {"sources": Table("sources", {"198.51.100.9": ""})}
        (told,) = TwoHosts(
            Server("SIZE 10"), Server(greeting="421 4.3.2 busy"), actions=actions, tables=tables
        ).result()
        self.assertIn("TempFail 451 4.4.1 No host took it: source 198.51.100.9: a.test", told)

    def test_theOtherOneIsDown(self) -> None:
        """What cannot be reached may as well not be there."""
        world = TwoHosts(Server("SIZE 10"))
        del world.network.servers["192.0.2.2", 25]
        (told,) = world.result()
        self.assertIn("PermFail 552 5.3.4", told)


class TooManyTests(SynchronousTestCase):
    def test_theRestAtOnceAndTheCapIsLearnt(self) -> None:
        for reply in ("452 4.5.3 too many", "452 too many", "552 5.5.3 too many", "552 too many"):
            world = World(explicit("smtp://192.0.2.1", 25))
            sink = world.host("192.0.2.1", Server("PIPELINING", most="3", tooMany=reply))
            told = {world.told(one) for one in world.send(*(f"r{number}@y.test" for number in range(10)), seconds=1)}
            self.assertEqual(told, {"Ok 250 2.0.0 queued"})
            self.assertEqual([len(recipients) for recipients, _ in sink.mails], [3, 3, 3, 1])
            self.assertEqual(sum(command.startswith("RCPT") for command in sink.conversations[0]), 17, "then it knows")

    def test_afterAnAcceptedOneOnly(self) -> None:
        world = World(explicit("smtp://192.0.2.1", 25))
        world.host(
            "192.0.2.1", Server("PIPELINING", **{"b@y.test": "452 4.5.3 too many", "d@y.test": "552 5.2.2 full"})
        )
        told = [world.told(one)[:12] for one in world.send("b@y.test", "c@y.test", "d@y.test", seconds=1)]
        self.assertEqual(told, ["TempFail 452", "Ok 250 2.0.0", "PermFail 552"])


class ConfiguredCapTests(SynchronousTestCase):
    """C{transaction-rcpt-max}: the rest goes next, on the same connection."""

    def sent(self, *recipients: str, offers: str = "PIPELINING", **more: Any) -> list[int]:
        world = World(limits=MtaLimits(transactionRcptMax=3), **more)
        for name in ("y.test", "z.test"):
            world.dns.domain(name, (10, "a.test"))
        world.dns.hosts["a.test"] = ("192.0.2.1",)
        sink = world.host("192.0.2.1", Server(*offers.split(",")))
        told = {world.told(one) for one in world.send(*recipients, seconds=1)}
        self.assertEqual((told, len(sink.conversations)), ({"Ok 250 2.0.0 queued"}, 1))
        return [len(recipients) for recipients, _ in sink.mails]

    def test_forAll(self) -> None:
        many = [f"r{number}@y.test" for number in range(8)]
        self.assertEqual(self.sent(*many), [3, 3, 2])
        self.assertEqual(
            self.sent(*many, offers="PIPELINING,LIMITS RCPTMAX=100"), [3, 3, 2], "though the host takes more"
        )
        self.assertEqual(self.sent(*many, offers="PIPELINING,LIMITS RCPTMAX=2"), [2, 2, 2, 2], "nor more than that")

    def test_forOneDomain(self) -> None:
        """What is shared keeps to the strictest."""
        domains = {"y.test": MtaLimits(transactionRcptMax=2)}
        self.assertEqual(self.sent(*(f"r{number}@y.test" for number in range(5)), mtaDomains=domains), [2, 2, 1])
        self.assertEqual(self.sent(*(f"r{number}@z.test" for number in range(5)), mtaDomains=domains), [3, 2])
        self.assertEqual(self.sent("a@y.test", "b@z.test", "c@z.test", mtaDomains=domains), [2, 1])


class CredentialTests(SynchronousTestCase):
    def test_refused(self) -> None:
        """That is our fault: nobody's mail is bounced for it, and somebody is told."""
        actions = explicit("smtp+tls://me@192.0.2.1", 25, tlsVerify=False, authTable=TableRef("secrets"))
        world = World(actions, tables={"secrets": Table("secrets", {"me": "user:pass"})})
        world.host("192.0.2.1", Server("STARTTLS", "AUTH PLAIN", AUTH="535 5.7.8 wrong"))
        (envelope,) = world.send("b@y.test")
        self.assertIn("TempFail", world.told(envelope))
        self.assertIn("535 5.7.8 wrong", world.told(envelope))
        (event,) = [event for event in world.ears.events if isinstance(event, CredentialsRefused)]
        self.assertEqual(
            (event.host, event.credential, event.reason), ("192.0.2.1 [192.0.2.1]", "secrets:me", "535 5.7.8 wrong")
        )

    def told(self, protocol: str, *extensions: str, **replies: str) -> tuple[list[Event], str]:
        """What is told of logging in, and what becomes of the mail."""
        actions = explicit(f"{protocol}://me@192.0.2.1", 25, tlsVerify=False, authTable=TableRef("secrets"))
        world = World(actions, tables={"secrets": Table("secrets", {"me": "user:pass"})})
        world.host("192.0.2.1", Server(*extensions, **replies))
        (envelope,) = world.send("b@y.test", seconds=1)
        kinds = (ConnectionAuthenticated, CredentialsRefused)
        return [event for event in world.ears.events if isinstance(event, kinds)], world.told(envelope)

    def test_eachTryIsTold(self) -> None:
        for mechanism, reply, result in (
            ("PLAIN", "235 2.7.0 ok", "ok"),
            ("LOGIN", "535 5.7.8 wrong", "permfail"),
            ("PLAIN", "454 4.7.0 the directory is down", "tempfail"),
            ("SCRAM-SHA-256", "534 5.7.9 too weak", "permfail"),
        ):
            events, mail = self.told("smtp+tls", "STARTTLS", f"AUTH {mechanism}", AUTH=reply)
            event = events[0]
            assert isinstance(event, ConnectionAuthenticated)
            self.assertEqual((event.user, event.mechanism, event.result), ("secrets:me", mechanism, result))
            self.assertEqual(len(events), 1 if result == "ok" else 2)
            self.assertTrue(mail.startswith("Ok" if result == "ok" else "TempFail"), mail)

    def test_neverInPlainText(self) -> None:
        """A host that has lost its TLS is as loud as one that has lost our password."""
        (event,), mail = self.told("smtp", "AUTH PLAIN")
        assert isinstance(event, CredentialsRefused)
        self.assertEqual(event.reason, "451 4.7.11 Passwords are not sent without TLS")
        self.assertIn("TempFail", mail)

    def test_aSessionThatIsLostHasNotRefusedThem(self) -> None:
        (event,), mail = self.told("smtp+tls", "STARTTLS", "AUTH PLAIN", AUTH="HANGUP")
        assert isinstance(event, ConnectionAuthenticated)
        self.assertEqual(event.result, "tempfail")
        self.assertIn("TempFail", mail)

    def test_missing(self) -> None:
        actions = explicit("smtp+tls://me@192.0.2.1", 25, tlsVerify=False, authTable=TableRef("secrets"))
        for table, why in (
            (Table("secrets", {}), "nothing under secrets:me"),
            (Broken("secrets"), "the disk is gone"),
            (Slow("secrets", {}), "no answer within 10 seconds"),
        ):
            world = World(actions, tables={"secrets": table})
            (envelope,) = world.send("b@y.test", seconds=15)
            self.assertIn("TempFail", world.told(envelope))
            (event,) = [event for event in world.ears.events if isinstance(event, CredentialsRefused)]
            self.assertEqual(event.reason, why)


class LimitTests(SynchronousTestCase):
    def burst(self, world: World, count: int, *recipients: str) -> None:
        for _ in range(count):
            world.agent.deliver(world.delivery(*recipients), world.ears)

    def world(self, domains: dict[str, MtaLimits], **limits: Any) -> World:
        world = World(limits=MtaLimits(**limits), mtaDomains=domains)
        for name in ("y.test", "z.test"):
            world.dns.domain(name, (10, "a.test"), (10, "b.test"))
        world.dns.hosts.update({"a.test": ("192.0.2.1",), "b.test": ("192.0.2.2",)})
        self.sinks = [world.host("192.0.2.1"), world.host("192.0.2.2")]
        for sink in self.sinks:
            sink.delay = 0.1
        return world

    def busiest(self, world: World, domain: str, seconds: float = 30) -> int:
        most = 0
        for _ in range(int(seconds / 0.05)):
            world.clock.advance(0.05)
            busy = sum(link.isBusyWith(domain) for sink in self.sinks for link in sink.connections)
            most = max(most, busy)
        return most

    def test_forOneDomain(self) -> None:
        for limit in ("maxConnPerDomain", "maxConnPerRelay", "maxConnPerConnector"):
            limits: dict[str, Any] = {limit: 3}
            world = self.world({"y.test": MtaLimits(**limits)})
            self.burst(world, 30, "b@y.test")
            self.burst(world, 30, "b@z.test")
            self.assertEqual(self.busiest(world, "y.test"), 3, limit)
            self.assertEqual(len(world.ears.outcomes), 60)
            self.assertEqual(world.agent._board.load._used, {})

    def test_aSharedTransactionCountsForEach(self) -> None:
        world = self.world({"y.test": MtaLimits(maxConnPerDomain=1)})
        self.burst(world, 10, "b@y.test", "b@z.test")
        self.assertEqual(self.busiest(world, "y.test"), 1)
        self.assertEqual(len(world.ears.outcomes), 20)
        self.assertEqual({str(outcome.reply) for outcome in world.ears.outcomes.values()}, {"250 2.0.0 queued"})

    def test_delays(self) -> None:
        for limit in (
            "connDelayHost",
            "connDelayRoute",
            "connDelaySource",
            "connDelayConnector",
            "connDelayRelay",
            "connDelayDomain",
            "reconnDelayRoute",
        ):
            limits: dict[str, Any] = {limit: 5.0, "sessionKeepalive": 0.0}
            world = World(explicit("smtp://192.0.2.1", 25), MtaLimits(**limits))
            sink = world.host("192.0.2.1")
            world.send("b@y.test", seconds=0.5)
            (envelope,) = world.send("b@y.test", seconds=3)
            self.assertEqual((len(sink.conversations), world.told(envelope)), (1, ""), limit)
            world.run(4)
            self.assertIn("Ok", world.told(envelope))

    def test_family(self) -> None:
        for family, expected in (("inet4", "192.0.2.1"), ("inet6", "2001:db8::1")):
            world = World(mtaDomains={"y.test": MtaLimits(family=family)})
            world.dns.hosts["y.test"] = ("192.0.2.1", "2001:db8::1")
            world.send("b@y.test")
            self.assertEqual(world.network.tried, [(expected, 25)])


class EyeballsTests(SynchronousTestCase):
    """A host with addresses of both families (RFC 8305)."""

    SIX, FOUR = "2001:db8::1", "192.0.2.1"

    def setUp(self) -> None:
        self.world = World()
        self.world.dns.hosts["y.test"] = (self.FOUR, self.SIX)
        self.six, self.four = self.world.host(self.SIX), self.world.host(self.FOUR)

    def test_six(self) -> None:
        (envelope,) = self.world.send("b@y.test", seconds=1)
        self.assertIn("Ok", self.world.told(envelope))
        self.assertEqual(self.world.network.tried, [(self.SIX, 25)])

    def test_sixIsSilent(self) -> None:
        self.world.network.silent[self.SIX] = True
        one = self.world.delivery("b@y.test")
        self.world.agent.deliver(one, self.world.ears)
        self.world.clock.advance(0.2)
        self.assertEqual(self.world.network.tried, [(self.SIX, 25)])
        (two,) = self.world.send("c@y.test", seconds=0.2)
        self.assertIn("Ok", self.world.told(one.lease.envelopes[0]), "without waiting for the failure")
        self.assertIn("Ok", self.world.told(two))
        (three,) = self.world.send("d@y.test", seconds=0.05)
        self.assertIn("Ok", self.world.told(three))
        self.assertEqual(self.world.network.tried, [(self.SIX, 25), (self.FOUR, 25)], "it knows")
        self.world.run(700)
        del self.world.network.silent[self.SIX]
        self.world.send("e@y.test", seconds=0.2)
        self.assertEqual(len(self.six.mails), 1, "and does not know it for ever")

    def test_sixIsRefused(self) -> None:
        del self.world.network.servers[self.SIX, 25]
        (envelope,) = self.world.send("b@y.test", seconds=0.1)
        self.assertIn("Ok", self.world.told(envelope))

    def test_bothTakeTheirTime(self) -> None:
        """Whichever answers first gets the mail."""
        self.world.network.delays[self.SIX] = 1.0
        self.world.network.delays[self.FOUR] = 5.0
        (envelope,) = self.world.send("b@y.test", seconds=2)
        self.assertIn("Ok", self.world.told(envelope))
        self.assertEqual((len(self.six.mails), len(self.four.mails)), (1, 0))
        self.world.run(20)
        self.assertEqual((self.six.open, self.four.open), (0, 0))

    def test_neither(self) -> None:
        self.world.network.silent.update({self.SIX: True, self.FOUR: True})
        (envelope,) = self.world.send("b@y.test", seconds=70)
        self.assertIn("TempFail 451 4.4.1 No host could be reached", self.world.told(envelope))
        self.assertIn(self.SIX, self.world.told(envelope))
        self.assertIn(self.FOUR, self.world.told(envelope))


class DeferredTests(SynchronousTestCase):
    def test_triedAsSoonAsTheHostAnswers(self) -> None:
        world = World(explicit("smtp://192.0.2.1", 25), maxDeferred=2)
        deferred = [*world.send("b@y.test", seconds=1), *world.send("c@y.test"), *world.send("d@y.test")]
        world.send("e@z.test", seconds=40)
        self.assertEqual(world.ears.retried, [])
        world.host("192.0.2.1")
        world.send("f@y.test", seconds=1)
        self.assertEqual(world.ears.retried, deferred[:2])
        (y, z) = world.agent.routes.showHostStats()
        self.assertEqual(
            (y["domain"], y["status"], y["delivered"], y["deferred"]), ("y.test", "250 2.0.0 queued", 1, 0)
        )
        self.assertEqual((z["domain"], z["deferred"]), ("z.test", 1))
        world.ears.retried.clear()
        world.send("f@y.test", seconds=1)
        self.assertEqual(world.ears.retried, [], "once")


class ScramTests(SynchronousTestCase):
    def test_thePasswordIsNotSaid(self) -> None:
        actions = explicit("smtp+tls://me@192.0.2.1", 25, tlsVerify=False, authTable=TableRef("secrets"))
        world = World(actions, tables={"secrets": Table("secrets", {"me": "user:pencil"})})
        sink = world.host("192.0.2.1", Server("STARTTLS", "AUTH PLAIN SCRAM-SHA-256", AUTH="535 5.7.8 no"))
        world.send("b@y.test")
        (said,) = [line for line in sink.conversations[0] if line.startswith("AUTH")]
        self.assertTrue(said.startswith("AUTH SCRAM-SHA-256 biwsbj11c2VyLHI9"), said)
