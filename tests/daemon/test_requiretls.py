"""REQUIRETLS and C{TLS-Required: No} (RFC 8689), from the sender's session to the last host."""

from __future__ import annotations

from pysmtpd.model.events import DeliveryAttempted, TlsRefused
from pysmtpd.testing.certificates import selfSigned
from pysmtpd.testing.client import Sent
from pysmtpd.testing.internet import Condition
from pysmtpd.testing.remote import RemoteServer
from pysmtpd.testing.world import World
from tests.daemon.story import rules
from tests.daemon.test_tls_policy import MX, RIGHT, WRONG, Case

OTHER = "mx2.remote.test"
PKI = 'pki mx.example.org cert "/etc/pysmtpd/cert.pem" key "/etc/pysmtpd/key.pem"\n'
OPTIONAL = b"From: a@client.test\r\nTLS-Required: No\r\nSubject: x\r\n\r\nHello.\r\n"


class RequireTlsCase(Case):
    def story(self, *hosts: str, offering: tuple[str, ...] = (MX,), trusts: tuple[str, ...] = (MX, OTHER)) -> World:
        """A world where we take mail under TLS, and remote.test has these hosts in a signed zone.

        @param offering: which of them offer REQUIRETLS.
        """
        certificate, key = selfSigned("mx.example.org")
        text = rules().replace("port 25\n", "port 25 tls pki mx.example.org\n")
        world: World = self.world(
            PKI + text,
            files={"/etc/pysmtpd/cert.pem": certificate, "/etc/pysmtpd/key.pem": key},
            settings={
                "authorities": b"".join(selfSigned(name)[0] for name in trusts),
                "readFile": lambda path: world.disk.read(path),
            },
        )
        self.servers: list[RemoteServer] = []
        for name in hosts or (MX,):
            server = self.host(world, name, starttls=True)
            if name in offering:
                server.extensions = (*server.extensions, "REQUIRETLS")
            self.servers.append(server)
        self.mx = self.servers[0]
        world.dns.mx("remote.test", *(hosts or (MX,)))
        self.secure(world, "remote.test", *(hosts or (MX,)))
        world.start()
        return world

    def send(self, world: World, sender: str = "jane@client.test", **options: object) -> Sent:
        options = {"starttls": True, "mailParameters": "REQUIRETLS", **options}
        sent = world.send(sender, "joe@remote.test", **options)  # type: ignore[arg-type]
        world.until(lambda: sent.isOver, 60, "the session ends")
        return sent

    def attempt(self, world: World, seconds: float = 120.0) -> DeliveryAttempted:
        world.until(lambda: world.eventsOf(DeliveryAttempted), seconds, "an attempt")
        event: DeliveryAttempted = world.eventsOf(DeliveryAttempted)[0]
        return event


class RequireTlsTests(RequireTlsCase):
    def test_carriedOn(self) -> None:
        world = self.story()
        self.assertTrue(self.send(world).isAccepted)
        self.assertEqual("Ok", self.attempt(world).result)
        self.assertIn("REQUIRETLS", self.mx.messages[0].parameters.split())

    def test_notSaidByOthers(self) -> None:
        world = self.story()
        self.send(world, mailParameters="")
        self.assertEqual("Ok", self.attempt(world).result)
        self.assertNotIn("REQUIRETLS", self.mx.messages[0].parameters)

    def test_neededUnderTlsOnly(self) -> None:
        world = self.story()
        sent = self.send(world, starttls=False)
        self.assertEqual("530 5.7.10", sent.reply("MAIL")[:10])

    def test_hostDoesNotOfferIt(self) -> None:
        """For good, at once: and the sender is told."""
        world = self.story(offering=())
        self.send(world)
        attempt = self.attempt(world)
        self.assertEqual("PermFail", attempt.result)
        self.assertIn("5.7.30", attempt.stat)
        self.assertEqual([], self.mx.messages)
        (told,) = world.eventsOf(TlsRefused)
        self.assertEqual(("remote.test", "verified REQUIRETLS"), (told.domain, told.policy))

    def test_anotherHostOffersIt(self) -> None:
        world = self.story(MX, OTHER, offering=(OTHER,))
        self.send(world)
        self.assertEqual("Ok", self.attempt(world).result)
        self.assertEqual(1, len(self.servers[1].messages))
        self.assertEqual([], self.mx.messages)

    def test_aHostThatIsNotKnownYetMayOfferIt(self) -> None:
        """It is not refused for good before all hosts are known."""
        world = self.story(MX, OTHER, offering=(OTHER,))
        world.dns.mx("remote.test", (10, MX), (20, OTHER))
        world.dns.secure("remote.test")
        world.dns.delay(OTHER, 1.0)
        self.send(world)
        world.until(lambda: self.servers[1].messages, 3600, "it arrives")
        self.assertNotIn("PermFail", self.results(world))

    def test_onlyReachableHostsCount(self) -> None:
        world = self.story(MX, OTHER, offering=(OTHER,))
        world.remotes[OTHER].set(Condition.REFUSING)
        self.send(world)
        self.assertEqual("PermFail", self.attempt(world).result)

    def test_noHostIsReachable(self) -> None:
        world = self.story(offering=())
        self.mx.set(Condition.REFUSING)
        self.send(world)
        self.assertEqual("TempFail", self.attempt(world).result)

    def test_nothingProvesTheHost(self) -> None:
        world = self.story()
        world.dns.secure("remote.test", False)
        self.send(world)
        attempt = self.attempt(world)
        self.assertEqual("PermFail", attempt.result)
        self.assertIn("nothing proves", attempt.stat)
        self.assertEqual(0, self.mx.connections)

    def test_certificateIsWorthNothing(self) -> None:
        """That may be mended tomorrow."""
        world = self.story(trusts=("other.test",))
        self.send(world)
        self.assertEqual("TempFail", self.attempt(world).result)
        self.assertEqual([], self.mx.messages)

    def test_usualMailIsNotHeldUp(self) -> None:
        """What one message cannot have says nothing about the next."""
        world = self.story(offering=())
        self.send(world)
        self.attempt(world)
        self.send(world, mailParameters="")
        world.until(lambda: self.mx.messages, 10, "the usual one arrives")

    def test_winsOverTheHeader(self) -> None:
        world = self.story(offering=())
        self.send(world, content=OPTIONAL)
        self.assertEqual("PermFail", self.attempt(world).result)

    def test_survivesARestart(self) -> None:
        world = self.story()
        self.mx.set(Condition.REFUSING)
        self.send(world)
        self.attempt(world)
        world.crash()
        self.mx.set(Condition.NORMAL)
        world.restart()
        world.until(lambda: self.mx.messages, 3600, "it arrives")
        self.assertIn("REQUIRETLS", self.mx.messages[0].parameters.split())


class ReportTests(RequireTlsCase):
    def bounced(self, world: World, *offers: str) -> RemoteServer:
        """The report of a message that was refused, at its sender's host."""
        self.mx.reject("RCPT", "550 5.1.1 unknown")
        home = self.remote(world, "client.test", starttls=True)
        home.extensions = (*home.extensions, *offers)
        self.send(world, mailParameters="REQUIRETLS RET=FULL")
        world.until(lambda: home.messages, 120, "the report comes")
        return home

    def test_protectedLikeTheMessage(self) -> None:
        home = self.bounced(self.story(), "REQUIRETLS")
        report = home.messages[0]
        self.assertEqual("", report.sender)
        self.assertIn("REQUIRETLS", report.parameters.split())
        # RFC 8689 5: the header alone, whatever RET says.
        self.assertNotIn(b"Hello.", report.content)
        self.assertIn(b"Subject: test", report.content)

    def test_notDroppedForWantOfIt(self) -> None:
        home = self.bounced(self.story())
        self.assertNotIn("REQUIRETLS", home.messages[0].parameters)


class TlsRequiredNoTests(RequireTlsCase):
    def test_daneIsNotAsked(self) -> None:
        world = self.story()
        self.tlsa(world, WRONG)
        self.send(world, mailParameters="", content=OPTIONAL)
        self.assertEqual("Ok", self.attempt(world).result)

    def test_othersWaitMeanwhile(self) -> None:
        """It goes though all hosts are down for the usual message, and does not open the door for that."""
        world = self.story()
        self.tlsa(world, WRONG)
        self.send(world, mailParameters="")
        self.assertEqual("TempFail", self.attempt(world).result)
        self.send(world, mailParameters="", content=OPTIONAL)
        world.until(lambda: self.mx.messages, 10, "the other arrives")
        self.send(world, mailParameters="")
        world.run(10)
        self.assertEqual([OPTIONAL], [message.content[-len(OPTIONAL) :] for message in self.mx.messages])

    def test_bogusRecords(self) -> None:
        world = self.story()
        world.dns.fail(f"_25._tcp.{MX}")
        self.send(world, mailParameters="", content=OPTIONAL)
        self.assertEqual("Ok", self.attempt(world).result)

    def test_theActionStays(self) -> None:
        world = self.at(relay="tls")
        self.tlsa(world, RIGHT)
        self.accepted(world, "joe@remote.test", content=OPTIONAL)
        self.assertIn("self-signed", self.attempt(world).stat)
