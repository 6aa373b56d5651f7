"""DANE (RFC 7672) with a signed zone of BIND, a validating Unbound before it, and hosts on port 25 of loopback addresses: a table of
verdicts, none weaker than the RFC's and none that blocks more.

It needs root, for port 25.
"""

from __future__ import annotations

import errno
import os
import re
import ssl
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from unittest import SkipTest

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from twisted.trial.unittest import SynchronousTestCase

from tests.e2e.recorder import Recorder
from tests.e2e.servers import bind, unbound
from tests.e2e.support import Place, needsRoot, run, running, say, waitFor
from tests.tls.authority import DAY, Authority, keyPem, newKey

OUT = """
listen on 127.0.0.1 port @PORT@
action "out" relay
match from local for any action "out"
mta allow-local-mx
resolver 127.0.0.1 port {dns}
"""
SIGNED, PLAIN = "signed.test", "plain.test"
WRONG = "3 1 1 " + bytes(32).hex()
CLEAR, TLS, DEFER = "in clear", "under TLS", "deferred"


@dataclass(frozen=True)
class Case:
    """One domain with one host of the same name, C{mx.} before it.

    @ivar tlsa: records: C{EE} and C{TA} stand for the right ones.
    @ivar tls: the host has TLS; its certificate is for C{certificateFor} (empty: its own name), and ends in so many days.
    @ivar isTampered: the TLSA records were changed after signing.
    @ivar mx: lines of the zone in place of the usual MX record; C{@} stands for the domain.
    @ivar zone: where the domain is.
    """

    name: str
    expected: str
    tlsa: tuple[str, ...] = ()
    tls: bool = True
    certificateFor: str = ""
    days: int = 100
    isTampered: bool = False
    mx: tuple[str, ...] = ()
    zone: str = SIGNED

    @property
    def domain(self) -> str:
        return f"{self.name}.{self.zone}"


CASES = (
    Case("good", TLS, ("EE",)),
    Case("one-of-several", TLS, (WRONG, "1 1 1 " + bytes(32).hex(), "EE")),
    Case("wrong-key", DEFER, (WRONG,)),
    Case("no-tls", DEFER, ("EE",), tls=False),
    Case("expired-ee", TLS, ("EE",), days=-1),
    Case("name-ee", TLS, ("EE",), certificateFor="other.test"),
    Case("anchor", TLS, ("TA",)),
    Case("anchor-next-hop", TLS, ("TA",), certificateFor="anchor-next-hop.signed.test"),
    Case("expired-ta", DEFER, ("TA",), days=-1),
    Case("name-ta", DEFER, ("TA",), certificateFor="other.test"),
    Case("usage-1", TLS, ("1 1 1 " + bytes(32).hex(),), days=-1),
    Case("usage-1-no-tls", DEFER, ("1 1 1 " + bytes(32).hex(),), tls=False),
    Case("bogus", DEFER, ("EE",), isTampered=True),
    Case("one-of-two-bogus", TLS, mx=("@ MX 10 mx.bogus", "@ MX 20 mx.good")),
    Case("no-records", CLEAR, tls=False),
    Case("no-records-tls", TLS, days=-1),
    Case("alias", TLS, mx=("@ MX 10 host.alias", "host.alias CNAME mx.good")),
    Case("alias-wrong-key", DEFER, mx=("@ MX 10 host.alias-wrong-key", "host.alias-wrong-key CNAME mx.wrong-key")),
    Case("host-elsewhere", TLS, mx=("@ MX 10 mx.broken-server.plain.test.",)),
    Case("broken-server", TLS, zone=PLAIN),
    Case("broken-server-clear", CLEAR, tls=False, zone=PLAIN),
)


class DaneTests(SynchronousTestCase):
    def setUp(self) -> None:
        needsRoot("mail exchangers are on port 25")
        self.stack = ExitStack()
        self.addCleanup(self.stack.close)
        place = Place()
        self.stack.callback(place.remove)
        self.place: Path = place.path
        self.authority = Authority()
        # Others may test here at the same time.
        self.network = f"127.{os.getpid() // 250 % 200 + 10}.{os.getpid() % 250 + 1}"
        self.recorders: dict[str, Recorder] = {}

    def test_verdicts(self) -> None:
        records = {case: self.host(case, 10 + number) for number, case in enumerate(CASES)}
        self.sign([line for case in CASES if case.zone == SIGNED for line in records[case]])
        # Who is asked for TLSA below this host does not answer.
        broken = [f"_tcp.mx.{case.name} NS ns.{case.name}" for case in CASES if case.zone == PLAIN]
        glue = [f"ns.{case.name} A {self.network}.9" for case in CASES if case.zone == PLAIN]
        lines = [line for case in CASES if case.zone == PLAIN for line in records[case]]
        (self.place / PLAIN).write_text(_zone([*lines, *broken, *glue]))
        authority = self.stack.enter_context(bind(self.place, (SIGNED, PLAIN)))
        resolver = self.stack.enter_context(unbound(self.place, (SIGNED, PLAIN), authority))
        daemon = self.stack.enter_context(running(OUT.format(dns=resolver)))
        with daemon.client() as client:
            for case in CASES:
                client.sendmail("sender@example.org", [f"user@{case.domain}"], b"Subject: x\r\n\r\nBody.\r\n")

        def attempts() -> dict[str, str]:
            found: dict[str, str] = {}
            for event in daemon.events("delivery"):
                found.setdefault(event["to"].partition("@")[2], f"{event['result']} {event['stat']}")
            return found

        waitFor("an attempt for each", lambda: len(attempts()) == len(CASES))
        verdicts = {case.name: self.verdict(case, attempts()[case.domain]) for case in CASES}
        for case in CASES:
            why = attempts()[case.domain]
            say(f"{case.name:20} {verdicts[case.name]:10} {'' if why.startswith('Ok') else why[:150]}")
        self.assertEqual({case.name: case.expected for case in CASES}, verdicts)
        self.assertEqual(0, self.recorders["bogus"].connections)

    def verdict(self, case: Case, attempt: str) -> str:
        if not attempt.startswith("Ok"):
            return DEFER if attempt.startswith("TempFail") else attempt
        (received,) = [
            each
            for recorder in self.recorders.values()
            for each in recorder.messages
            if each.recipients == (f"user@{case.domain}",)
        ]
        return TLS if received.isTls else CLEAR

    def host(self, case: Case, number: int) -> list[str]:
        """Start a case's mail exchanger; gives the lines of the zone."""
        name = f"mx.{case.name}"
        if case.mx:
            return [re.sub(r"\A@", case.name, line) for line in case.mx]
        address = f"{self.network}.{number}"
        key = newKey()
        context = self.context(case, f"{name}.{case.zone}", key) if case.tls else None
        try:
            recorder = self.recorders[case.name] = Recorder(address, 25, tls=context)
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EADDRNOTAVAIL):
                raise SkipTest(f"no mail exchanger on port 25 of {address}: {error.strerror}") from error
            raise
        self.stack.callback(recorder.close)
        own = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        anchor = self.authority.certificate.public_bytes(Encoding.DER)
        words = {"EE": f"3 1 1 {sha256(own).hexdigest()}", "TA": f"2 0 1 {sha256(anchor).hexdigest()}"}
        tlsa = [f"_25._tcp.{name} TLSA {words.get(record, record)}" for record in case.tlsa]
        return [f"{case.name} MX 10 {name}", f"{name} A {address}", *tlsa]

    def context(self, case: Case, name: str, key: EllipticCurvePrivateKey) -> ssl.SSLContext:
        issued = self.authority.issue(
            [case.certificateFor or name], key, begin=-20 * DAY, end=timedelta(days=case.days)
        )
        path = self.place / f"{case.name}.pem"
        path.write_bytes(issued + self.authority.pem + keyPem(key))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def sign(self, lines: list[str]) -> None:
        """Make the signed zone and its trust anchor; then tamper with what is to be bogus."""
        place = str(self.place)
        run("dnssec-keygen", "-q", "-K", place, "-a", "ECDSAP256SHA256", "-f", "KSK", SIGNED)
        run("dnssec-keygen", "-q", "-K", place, "-a", "ECDSAP256SHA256", SIGNED)
        source, target = self.place / "unsigned", self.place / SIGNED
        source.write_text(_zone(lines))
        run(
            "dnssec-signzone",
            "-S",
            "-K",
            place,
            "-d",
            place,
            "-o",
            SIGNED,
            "-O",
            "full",
            "-f",
            str(target),
            str(source),
        )
        (self.place / "anchors").write_bytes((self.place / f"dsset-{SIGNED}.").read_bytes())
        text = target.read_text()
        for case in CASES:
            if case.isTampered:
                pattern = rf"(?m)^(_25\._tcp\.mx\.{case.name}\.{SIGNED}\.\s.*\sTLSA\s+3 1 1 )[0-9A-F]{{8}}"
                text, count = re.subn(pattern, r"\g<1>DEADBEEF", text)
                self.assertEqual(1, count)
        target.write_text(text)


def _zone(lines: list[str]) -> str:
    usual = ["$TTL 60", "@ SOA ns hostmaster 1 3600 600 86400 60", "@ NS ns", "ns A 127.0.0.1"]
    return "\n".join((*usual, *lines, ""))
