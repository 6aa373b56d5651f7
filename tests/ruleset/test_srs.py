"""Bounces to rewritten senders."""

from __future__ import annotations

from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.model.address import Path
from pysmtpd.model.config import Config, SrsSpec, TableRef
from pysmtpd.model.decision import Kind
from pysmtpd.model.srs import encode
from tests.ruleset.driver import World, transaction

TEXT = """
table ours { example.org }
action "local" maildir
action out relay
match from any for domain <ours> action "local"
match from local for domain "no.example" reject
match from local for any action out
"""
SPEC = SrsSpec("secret", domains=TableRef("ours"))
BOUNCE = transaction("")


def world(spec: SrsSpec | None = SPEC) -> World:
    def change(config: Config) -> Config:
        return replace(config, srs=spec)

    return World(TEXT, change=change)


def rewritten(sender: str, domain: str = "example.org", day: int = 20_000) -> str:
    local, _, at = sender.rpartition("@")
    return str(encode(SPEC, Path(local, at), domain, day))


class SrsTests(SynchronousTestCase):
    def test_goesBack(self) -> None:
        for domain in ("example.org", "mx.example.org", "EXAMPLE.org"):
            address = rewritten("eve@far.example", domain)
            self.assertEqual(world().goes(address, BOUNCE), ["out eve@far.example"])
            destination = world().decide(address, BOUNCE).destinations[0]
            self.assertEqual(str(destination.original), address)

    def test_theRulesDecide(self) -> None:
        """As for any address that we forward to."""
        self.assertEqual(
            world().goes(rewritten("ann@example.org", "mx.example.org"), BOUNCE), ["local ann ann@example.org"]
        )
        self.assertEqual(world().goes(rewritten("ann@no.example"), BOUNCE), ["524 5.2.4"])

    def test_forged(self) -> None:
        for address in (
            "SRS0=AAAAAAAA=AA=far.example=eve@example.org",
            "srs0+junk@example.org",
            "SRS1=x@example.org",
            rewritten("eve@far.example", day=19_995),
        ):
            decision = world().decide(address, BOUNCE)
            self.assertEqual(world().goes(address, BOUNCE), ["550 5.1.1"], address)
            self.assertIs(decision.step.kind, Kind.SRS)
            self.assertIn("rewritten sender", decision.reason)

    def test_onlyForTheNullSender(self) -> None:
        self.assertEqual(world().goes(rewritten("eve@far.example")), ["550 5.1.1"])

    def test_onlyInOurDomains(self) -> None:
        self.assertEqual(world().goes(rewritten("eve@far.example", "example.net"), BOUNCE), ["550 5.7.1"])
        self.assertEqual(world(replace(SPEC, domains=None)).goes(rewritten("eve@far.example"), BOUNCE), ["550 5.1.1"])
        self.assertEqual(world(None).goes(rewritten("eve@far.example", "mx.example.org"), BOUNCE), ["550 5.7.1"])

    def test_onlyFromOutside(self) -> None:
        """An alias that leads to one is an address like others."""
        aliases = f'alias {{ staff = "{rewritten("eve@far.example")}" }}'
        text = f'action "local" maildir {aliases}\nmatch from any for domain "example.org" action "local"'
        self.assertEqual(
            World(text, change=lambda config: replace(config, srs=SPEC)).goes("staff@example.org", BOUNCE),
            ["524 5.2.4"],
        )

    def test_tableError(self) -> None:
        there = world()
        there.failing.add("ours")
        self.assertEqual(there.goes(rewritten("eve@far.example"), BOUNCE), ["451 4.3.0"])
