"""Senders of forwarded mail."""

from __future__ import annotations

from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.model.address import NULL_PATH, Path
from pysmtpd.model.config import SrsSpec
from pysmtpd.model.srs import dayOf, decode
from tests.mta.fakes import World, explicit

SPEC = SrsSpec("secret")
ANN = Path("a", "x.test")


class SrsTests(SynchronousTestCase):
    def senders(self, isForwarded: tuple[bool, ...], sender: Path = ANN, srs: bool = True) -> list[str]:
        world = World(explicit("smtp://192.0.2.1", 25, srs=srs), srs=SPEC)
        sink = world.host("192.0.2.1")
        delivery = world.delivery(*(f"r{number}@y.test" for number in range(len(isForwarded))), sender=sender)
        envelopes = tuple(
            replace(envelope, destination=replace(envelope.destination, isForwarded=forwarded))
            for envelope, forwarded in zip(delivery.envelopes, isForwarded, strict=True)
        )
        world.agent.deliver(delivery._replace(envelopes=envelopes), world.ears)
        world.run(5)
        self.assertEqual(len(world.ears.outcomes), len(isForwarded))
        return [
            command.split()[1].removeprefix("FROM:<").removesuffix(">")
            for conversation in sink.conversations
            for command in conversation
            if command.startswith("MAIL")
        ]

    def test_forwardedMailHasOurAddress(self) -> None:
        (sender,) = self.senders((True, True))
        local, _, domain = sender.rpartition("@")
        self.assertEqual(domain, "me.test")
        self.assertEqual(decode(SPEC, Path(local, domain), dayOf(1e9)), ANN)

    def test_otherMailHasItsOwn(self) -> None:
        self.assertEqual(self.senders((False,)), ["a@x.test"])
        self.assertEqual(self.senders((True,), srs=False), ["a@x.test"])
        self.assertEqual(self.senders((True,), NULL_PATH), [""])

    def test_theyDoNotShareATransaction(self) -> None:
        self.assertEqual(sorted(sender[:5] for sender in self.senders((True, False, True))), ["SRS0=", "a@x.t"])
