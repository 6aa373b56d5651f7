"""With C{relay host} the host is the policy domain (RFC 8461 2, RFC 7672 2.2.3): what the recipients' domains publish is not asked."""

from __future__ import annotations

from pysmtpd.testing.certificates import selfSigned
from pysmtpd.testing.web import ScriptedWeb
from pysmtpd.testing.world import World
from tests.daemon.story import rules
from tests.daemon.test_tls_policy import RIGHT, WRONG, Case, keyOf

SMART = "smart.test"
WEB = f"mta-sts.{SMART}"
OTHER = "mta-sts.remote.test"


class SmarthostTests(Case):
    def begun(
        self, relay: str = f'host "smtp://{SMART}"', port: int = 25, starttls: bool = True, isTrusted: bool = True
    ) -> World:
        names = (WEB, OTHER, *([SMART] if isTrusted else []))
        world = self.world(
            rules(relay=relay), settings={"authorities": b"".join(selfSigned(name)[0] for name in names)}
        )
        self.mx = self.host(world, SMART, starttls=starttls, port=port)
        # The recipients' own domain forbids all hosts, by all means.
        world.dns.mx("remote.test", "mx.remote.test")
        world.dns.addresses("mx.remote.test", "203.0.113.77")
        world.dns.tlsa("mx.remote.test", WRONG)
        self.secure(world, "remote.test", "mx.remote.test")
        self.published(world, "remote.test", "mode: enforce\nmx: none.remote.test\n", "203.0.113.201")
        world.start()
        return world

    def published(self, world: World, domain: str, policy: str, address: str = "203.0.113.200") -> None:
        ScriptedWeb(world.internet, address, [f"mta-sts.{domain}"]).policy(f"version: STSv1\n{policy}max_age: 86400\n")
        world.dns.addresses(f"mta-sts.{domain}", address)
        world.dns.text(f"_mta-sts.{domain}", "v=STSv1; id=1")

    def test_theRecipientsDomainIsNotAsked(self) -> None:
        world = self.begun(starttls=False)
        self.delivered(world, isSecured=False)
        asked = {question.name for question in world.dns.queries}
        self.assertEqual([name for name in asked if "remote.test" in name and not name.endswith("arpa")], [])

    def test_mtaSts(self) -> None:
        for policy, starttls, isTrusted, why in (
            (f"mode: enforce\nmx: {SMART}\n", True, True, ""),
            (f"mode: enforce\nmx: {SMART}\n", False, True, "TLS is required"),
            (f"mode: enforce\nmx: {SMART}\n", True, False, "self-signed"),
            ("mode: enforce\nmx: elsewhere.test\n", True, True, "does not name smart.test"),
            ("mode: testing\nmx: elsewhere.test\n", True, True, ""),
        ):
            world = self.begun(starttls=starttls, isTrusted=isTrusted)
            self.published(world, SMART, policy)
            if why:
                self.deferred(world, why)
            else:
                self.delivered(world)

    def test_dane(self) -> None:
        """Whoever names the host is as good as signed MX records; its address has to be signed."""
        for record, isSecure, why in (
            (WRONG, True, "matches none of the TLSA records"),
            (RIGHT._replace(data=keyOf(SMART)), True, ""),
            (WRONG, False, ""),
        ):
            world = self.begun()
            if isSecure:
                self.secure(world, SMART)
                self.tlsa(world, record, host=SMART)
            else:
                world.dns.tlsa(SMART, record)
            if why:
                self.deferred(world, why)
            else:
                self.delivered(world)

    def test_daneOfAnotherPort(self) -> None:
        world = self.begun(f'host "smtp://{SMART}:587"', port=587)
        self.secure(world, SMART)
        world.dns.tlsa(SMART, WRONG, port=587)
        world.dns.secure(f"_587._tcp.{SMART}")
        self.deferred(world, "matches none of the TLSA records")
        asked = [question.name for question in world.dns.queries if "_tcp" in question.name]
        self.assertEqual(set(asked), {f"_587._tcp.{SMART}"})

    def test_whatTheActionSaysStays(self) -> None:
        """A policy that asks for less takes nothing away."""
        world = self.begun(f'host "smtp+tls://{SMART}"', isTrusted=False)
        self.published(world, SMART, "mode: none\n")
        self.deferred(world, "self-signed")
