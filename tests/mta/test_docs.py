"""docs/tls.md tells the truth: its table is what the code decides, and its examples are what the programs say."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.config import Environment, load
from pysmtpd.control import render
from pysmtpd.model.tlsa import Tlsa
from pysmtpd.mta.policy.sts import Mode, StsPolicy
from pysmtpd.mta.security import Barred, Dane, HostFacts, Level, Wishes, demands

PAGE = (Path(__file__).parent.parent.parent / "docs" / "tls.md").read_text()
HOST = "mx.example.org"
DAY = 86400.0
LEVELS = {
    "-": Level.OPPORTUNISTIC,
    "`tls`": Level.VERIFIED,
    "`tls no-verify`": Level.REQUIRED,
    "`smtp+notls://`": Level.NEVER,
}
DNS = {
    "unsigned": HostFacts(HOST),
    "no TLSA": HostFacts(HOST, isSecure=True),
    "TLSA": HostFacts(HOST, HOST, True, Dane.RECORDS, (Tlsa(3, 1, 1, bytes(32)),)),
    "useless TLSA": HostFacts(HOST, HOST, True, Dane.RECORDS, (Tlsa(1, 1, 1, bytes(32)),)),
    "TLSA fails": HostFacts(HOST, HOST, True, Dane.FAILED),
}
STS = {
    "-": None,
    "enforce": StsPolicy(Mode.ENFORCE, (HOST,), DAY),
    "enforce, other hosts": StsPolicy(Mode.ENFORCE, ("other.example.org",), DAY),
    "testing": StsPolicy(Mode.TESTING, ("other.example.org",), DAY),
}


class PageTests(SynchronousTestCase):
    def test_verdicts(self) -> None:
        table = PAGE.partition("| asked of the host |\n")[2].partition("\n\n")[0].splitlines()[1:]
        self.assertGreater(len(table), 20)
        for row in table:
            action, dns, sts, memory, message, asked = (cell.strip() for cell in row.strip("|").split("|"))
            wishes = Wishes(
                "example.org",
                LEVELS[action],
                message in ("REQUIRETLS", "both"),
                message in ("TLS-Required: No", "both"),
                STS[sts],
                memory == "yes",
            )
            verdict = demands(wishes, DNS[dns])
            said = f"not used, {verdict.status}" if isinstance(verdict, Barred) else str(verdict)
            self.assertEqual(asked, said, row)

    def test_shown(self) -> None:
        shown = PAGE.partition("$ pysmtpctl show tls example.org\n")[2].partition("\n\n")[0]
        until = 1797724800
        rows = (
            {"what": "mta-sts", "mode": "enforce", "mx": [HOST, "*.mail.example.org"], "until": until},
            {"what": "memory", "host": HOST, "seen": until - 31 * DAY, "until": until - DAY},
            {
                "what": "host",
                "host": f"{HOST} [192.0.2.1]",
                "asks": "verified (MTA-STS: a valid certificate)",
                "problem": "451 4.7.5 TLS: the certificate has expired",
            },
        )
        lines = "\n".join(render.tls(row) for row in rows).splitlines()
        self.assertEqual([line[4:] for line in shown.splitlines()], lines)

    def test_resolver(self) -> None:
        (line,) = re.findall(r"^    (resolver .*)$", PAGE, flags=re.MULTILINE)
        text = f'{line}\naction "out" relay\nmatch from any for any action "out"\n'
        config = load("smtpd.conf", lambda path: text, Environment("mx.example.org", ("192.0.2.25",)))
        assert config.resolver is not None
        self.assertEqual(("127.0.0.1", 53), (config.resolver.address, config.resolver.port))
