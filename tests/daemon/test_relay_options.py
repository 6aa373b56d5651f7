"""Options of C{relay}, each seen from the other side."""

from __future__ import annotations

from pysmtpd.model.events import ConnectionTls, DeliveryAttempted, EnvelopeExpired
from pysmtpd.testing.certificates import selfSigned
from pysmtpd.testing.internet import Condition
from pysmtpd.testing.remote import RemoteServer
from pysmtpd.testing.world import World
from tests.daemon.story import StoryTestCase, rules


class WireTests(StoryTestCase):
    def sent(self, option: str, before: str = "", starttls: bool = True, **more: object) -> tuple[World, RemoteServer]:
        """A letter of jane@client.test to joe@remote.test has gone by an action with this option."""
        world = self.begin(rules(before, option), **more)
        remote = self.remote(world, starttls=starttls)
        self.accepted(world, "joe@remote.test")
        world.run(5)
        return world, remote

    def said(self, remote: RemoteServer, verb: str) -> list[str]:
        return [line for _, _, line in remote.transcript if line.startswith(verb)]

    def test_helo(self) -> None:
        _, remote = self.sent('helo "relay.example.org"')
        self.assertEqual(set(self.said(remote, "EHLO")), {"EHLO relay.example.org"})

    def test_mailFrom(self) -> None:
        for option, expected in (
            ('mail-from "@example.net"', "jane@example.net"),
            ('mail-from "bounces@example.net"', "bounces@example.net"),
        ):
            _, remote = self.sent(option)
            self.assertEqual([message.sender for message in remote.messages], [expected])

    def test_protocols(self) -> None:
        for option, expected in (('protocols "TLSv1.2"', "TLSv1.2:"), ('protocols "TLSv1.3"', "TLSv1.3:")):
            world, remote = self.sent(option)
            (event,) = world.eventsOf(ConnectionTls)
            self.assertTrue(event.ciphers.startswith(expected), event.ciphers)
            self.assertEqual((event.sni, len(remote.messages)), ("mx.remote.test", 1))

    def test_ciphers(self) -> None:
        cipher = "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES256-GCM-SHA384"
        world, remote = self.sent(f'protocols "TLSv1.2" ciphers "{cipher}"')
        (event,) = world.eventsOf(ConnectionTls)
        self.assertIn("-AES256-GCM-SHA384", event.ciphers)
        self.assertEqual(len(remote.messages), 1)

    def test_tls(self) -> None:
        for option, starttls, result in (
            ("tls", True, "TempFail"),
            ("tls no-verify", True, "Ok"),
            ("tls no-verify", False, "TempFail"),
            ("", False, "Ok"),
        ):
            world, _ = self.sent(option, starttls=starttls)
            self.assertEqual(self.results(world), [result], option)

    def test_ca(self) -> None:
        """Whom this action trusts: the host's certificate signs itself, so it is its own authority."""
        for name, result in (("mx.remote.test", "Ok"), ("other.test", "TempFail")):
            certificate, _ = selfSigned(name)
            files = {"/etc/pysmtpd/ca.pem": certificate}
            world, _ = self.sent(
                'tls ca "ours"',
                'ca "ours" cert "/etc/pysmtpd/ca.pem"',
                files=files,
                settings={"readFile": files.__getitem__},
            )
            self.assertEqual(self.results(world), [result], name)

    def test_ttl(self) -> None:
        world = self.begin(rules("queue ttl 2d", "ttl 1h"))
        self.remote(world).set(Condition.REFUSING)
        self.remote(world, "client.test")
        self.accepted(world, "joe@remote.test")
        world.run(3500)
        self.assertEqual(world.eventsOf(EnvelopeExpired), [])
        world.run(200)
        (event,) = world.eventsOf(EnvelopeExpired)
        self.assertEqual(event.to, "joe@remote.test")
        tried = [event for event in world.eventsOf(DeliveryAttempted) if event.to == "joe@remote.test"]
        self.assertEqual({event.result for event in tried}, {"TempFail"})
