"""docs/expansion.md tells the truth: each of its examples is tried."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.model.envelope import Agent, Destination
from tests.ruleset.driver import World

PAGE = Path(__file__).resolve().parents[2] / "docs" / "expansion.md"

_BLOCK = re.compile(r"^```([\w.]+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


# What the page calls the daemon's own user.
DAEMON = "_smtpd"


def shown(destination: Destination) -> str:
    if destination.command:
        return f"{destination.action} runs {destination.command} as {destination.user or DAEMON}"
    if destination.file:
        return f"{destination.action} appends to {destination.file} as {destination.user or DAEMON}"
    if destination.agent is Agent.MTA:
        return f"{destination.action} to {destination.recipient}"
    return f"{destination.action} for {destination.user}"


class PageTests(SynchronousTestCase):
    def test_examples(self) -> None:
        world = World("action a relay\nmatch from any for any action a")
        tried = 0
        for kind, name, text in _BLOCK.findall(PAGE.read_text()):
            if kind == "smtpd.conf":
                world = World(text, users="ann ben cid vmail")
            elif kind == "include":
                world.files[name] = text
            elif kind == "forward":
                world.forwards[name] = text
            else:
                self.assertEqual(kind, "results")
                for line in text.splitlines():
                    address, _, expected = line.partition(": ")
                    decision = world.decide(address)
                    refusal = decision.refusal
                    got = (
                        f"{refusal.code} {refusal.enhanced}"
                        if refusal
                        else ", ".join(map(shown, decision.destinations))
                    )
                    self.assertEqual(got, expected, line)
                    tried += 1
        self.assertGreater(tried, 20)
