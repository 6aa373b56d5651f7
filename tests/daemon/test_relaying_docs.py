"""The examples of the pages on delivery and control are what the daemon takes and pysmtpctl prints."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.control import routetext
from tests.daemon.story import StoryTestCase

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
NOW = 1_767_225_611.0
ERROR = "451 4.4.1 Connection refused"
PLACE = "mx.example.net [192.0.2.1]"
BACK_OFF = {"kind": "back-off", "text": ERROR, "until": NOW + 40}


class DeliveryPageTests(StoryTestCase):
    def test_theExample(self) -> None:
        """The daemon starts with it, and sends by the next of its relays."""
        page = (DOCS / "delivery.md").read_text()
        (config,) = re.findall(r"^```smtpd.conf\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
        (relays,) = re.findall(r"^    # @list\n(?:    .*\n)+", page, flags=re.MULTILINE)
        files = {"/etc/pysmtpd/relays": re.sub(r"^    ", "", relays, flags=re.MULTILINE).encode()}
        world = self.begin("listen on lo\n" + config, files=files, addresses=("192.0.2.25", "192.0.2.26"))
        hosts = [world.remote(f"{name}.example.net", port=587, starttls=True) for name in ("one", "two")]
        self.accepted(world, "joe@lists.example.org", source="127.0.0.1")
        world.run(5)
        self.assertEqual(sum(host.connections for host in hosts), 1)
        (row,) = self.operator(world).queue()
        self.assertIn("certificate", row["last_reply"], "that of a test is nobody's")


class ControlPageTests(SynchronousTestCase):
    def shown(self, command: str) -> str:
        """What the page shows behind a command."""
        page = (DOCS / "control.md").read_text()
        lines = [line[4:] for line in page.splitlines() if line.startswith("    ")]
        start = lines.index(f"$ pysmtpctl {command}") + 1
        end = next(index for index in range(start, len(lines)) if lines[index].startswith("$ "))
        return "\n".join(lines[start:end])

    def test_relays(self) -> None:
        error = f"No host could be reached: {PLACE}: {ERROR}"
        row = {
            "relay": "example.net",
            "state": "down",
            "backlog": 0,
            "envelopes": 0,
            "held": 0,
            "constraint": BACK_OFF | {"text": f"{PLACE}: {ERROR}"},
            "hosts": [PLACE],
            "sources_skipped": [],
            "error": error,
        }
        self.assertEqual(routetext.relay(row, NOW), self.shown("show relays"))

    def test_routes(self) -> None:
        row = {
            "source": "192.0.2.25",
            "protocol": "smtp",
            "address": "192.0.2.1",
            "port": 25,
            "host": "mx.example.net",
            "state": "broken",
            "connections": 0,
            "idle": 0,
            "waiting": 0,
            "delivered": 17,
            "failures": 2,
            "constraint": BACK_OFF,
            "error": ERROR,
            "next_try": NOW + 40,
            "credential": "",
            "tls": "",
        }
        self.assertEqual(routetext.route(row, NOW), self.shown("show routes"))

    def test_probe(self) -> None:
        row = {
            "host": "mx.example.net",
            "address": "192.0.2.1",
            "port": 25,
            "result": "ok",
            "stage": "",
            "error": "",
            "greeting": "mx.example.net ESMTP",
            "extensions": ["PIPELINING", "STARTTLS", "SIZE=36700160"],
            "tls": "TLSv1.3:TLS_AES_256_GCM_SHA384:256 verified",
            "certificate": "",
            "policy": "opportunistic",
            "verdict": "mail goes there, under TLS",
            "grounds": [],
        }
        found = {"name": "example.net", "problem": "", "hosts": [row]}
        self.assertEqual(routetext.probe(found), self.shown("probe example.net"))
