"""What becomes of mail, by what its destination publishes about TLS and by what its hosts show: over real sockets, as a table.

    python -m tests.e2e.verdicts

A signed zone of BIND behind an Unbound that validates, mail hosts on port 25, a web server for policies on port 443; all of it in a room
of its own (tests/e2e/namespace.py), at addresses for documentation, which count as public. The daemon trusts an authority of the
test's own by SSL_CERT_FILE, as an administrator would say it. Root on Linux only.
"""

from __future__ import annotations

import json
import os
import shutil
import ssl
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.e2e import namespace
from tests.e2e.policyhost import Answer, PolicyHost
from tests.e2e.recorder import Received, Recorder
from tests.e2e.support import Daemon, running, waitFor
from tests.e2e.verdict_cases import CASES, CLEAR, DEFER, PLAIN, SIGNED, STORIES, TLS, Case, Publishes, Shows, Story
from tests.e2e.zones import Zones
from tests.tls.authority import DAY, Authority, keyPem, newKey

CONFIGURATION = """
listen on 127.0.0.1 port @PORT@
resolver 127.0.0.1 port {dns}
mta limit session-keepalive 1s
action "out" relay
match from local for any action "out"
"""
POLICY_HOST, NOBODY = "192.0.2.1", "192.0.2.2"


@dataclass(frozen=True)
class Verdict:
    """
    @ivar what: cells that say of which case, or step of a story.
    @ivar rfc: where it says so.
    @ivar because: has to be found in C{why}.
    @ivar why: the reply, where mail was deferred, and why there is no policy, where one cannot be had.
    """

    what: Sequence[str]
    rfc: str
    expected: str
    because: str
    verdict: str
    why: str

    @property
    def isRight(self) -> bool:
        return self.verdict == self.expected and self.because in self.why


def verdicts(patience: float = 300.0) -> list[Verdict]:
    """
    @raise AssertionError: something did not start, or a message had no outcome.
    """
    done = namespace.inside("tests.e2e.verdicts", "--inside", patience=patience)
    if done.returncode:
        raise AssertionError(f"exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-6000:]}")
    return [Verdict(**row) for row in json.loads(done.stdout)]


def tables(rows: Sequence[Verdict]) -> str:
    """As they stand in docs/tls.md."""
    cases = [row for row in rows if len(row.what) == 2]
    steps = [row for row in rows if len(row.what) == 1]
    return "\n".join(
        (
            "| published | the host shows | RFC | verdict |",
            "|---|---|---|---|",
            *map(_line, cases),
            "",
            "| one domain, step by step | RFC | verdict |",
            "|---|---|---|",
            *map(_line, steps),
        )
    )


def _line(row: Verdict) -> str:
    return f"| {' | '.join((*row.what, row.rfc, row.verdict))} |"


class _Host:
    """One mail host: what it shows may change.

    @ivar words: C{EE} and C{TA}, as TLSA records.
    """

    def __init__(self, room: _Room, name: str, address: str) -> None:
        self.address = address
        self._room = room
        self._name = name
        self._shows: Shows | None = None
        self._key: EllipticCurvePrivateKey = newKey()
        self.recorder = Recorder(address, 25)
        room.stack.callback(self.recorder.close)
        own = self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        anchor = room.authority.certificate.public_bytes(Encoding.DER)
        self.words = {"EE": f"3 1 1 {sha256(own).hexdigest()}", "TA": f"2 0 1 {sha256(anchor).hexdigest()}"}

    def show(self, shows: Shows) -> None:
        """From now on; where that is something else, sessions of before cannot be resumed."""
        if shows == self._shows:
            return
        self._shows = shows
        self.recorder.tls = None
        if shows.tls:
            authority = self._room.stranger if shows.isStranger else self._room.authority
            names = [shows.name or self._name]
            path = self._room.place / f"{self._name}.pem"
            issued = authority.issue(names, self._key, begin=-20 * DAY, end=shows.days * DAY)
            path.write_bytes(issued + authority.pem + keyPem(self._key))
            self.recorder.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.recorder.tls.load_cert_chain(path)


class _Room:
    def __init__(self, place: Path, stack: ExitStack) -> None:
        self.place = place
        self.stack = stack
        self.authority = Authority()
        self.stranger = Authority("Stranger")
        (place / "authority.pem").write_bytes(self.authority.pem)
        self._zones = Zones(place, SIGNED, PLAIN)
        self._policies = PolicyHost(POLICY_HOST)
        stack.callback(self._policies.close)
        self._hosts: dict[str, _Host] = {}
        self._published: dict[tuple[str, str], Publishes] = {}

    def run(self) -> list[Verdict]:
        for case in CASES:
            self._publish(case.name, case.zone, case.publishes)
            self._show(case.name, case.zone, case.publishes, case.shows)
        for story in STORIES:
            self._change(story, 0)
        self._write()
        self._zones.serve(self.stack)
        daemon = self.stack.enter_context(running(CONFIGURATION.format(dns=self._zones.port)))
        found = self._attempt(daemon, [*CASES, *((story, 0) for story in STORIES)])
        for number in range(1, max(len(story.steps) for story in STORIES)):
            current = [(story, number) for story in STORIES if number < len(story.steps)]
            for story, _ in current:
                self._change(story, number)
            self._write()
            self._zones.renew()
            daemon.control("resume", "route", "all")
            for story, _ in current:
                if not story.steps[number].isPatient:
                    # Its hosts are looked up anew, and nothing is remembered of them.
                    daemon.control("forget-tls", story.domain)
            found |= self._attempt(daemon, current)
        bogus, dane = self._hosts[f"mx.bogus.{SIGNED}"].recorder, self._hosts[f"mx.dane.{SIGNED}"].recorder
        assert not bogus.connections, "nobody is connected to on the word of forged DNS"
        # The one that was deferred, too: what the host had shown before did not match any more.
        assert dane.resumed == 2, f"{dane.resumed} sessions were resumed"
        steps = [(story, number) for story in STORIES for number in range(len(story.steps))]
        return [*(found[case] for case in CASES), *(found[step] for step in steps)]

    # --- the world

    def _change(self, story: Story, number: int) -> None:
        step = story.steps[number]
        self._publish(story.name, story.zone, step.publishes)
        self._show(story.name, story.zone, step.publishes, step.shows)

    def _publish(self, name: str, zone: str, publishes: Publishes) -> None:
        self._published[name, zone] = publishes
        policy = publishes.policy
        host = f"mta-sts.{name}.{zone}"
        if policy is None:
            return
        path = self.place / f"{host}.pem"
        key = newKey()
        authority = self.stranger if policy.isStranger else self.authority
        issued = authority.issue([policy.certificateFor or host], key, begin=-20 * DAY, end=policy.days * DAY)
        path.write_bytes(issued + authority.pem + keyPem(key))
        self._policies.certify(host, path)
        text = (
            f"version: STSv1\nmode: {policy.mode}\n{self._patterns(name, zone, policy.hosts)}max_age: {policy.maxAge}\n"
        )
        self._policies.answers[host] = Answer(policy.text or text, policy.type, location=policy.location)

    def _patterns(self, name: str, zone: str, hosts: tuple[str, ...]) -> str:
        return "".join(f"mx: {host.replace('@', f'{name}.{zone}')}\n" for host in hosts)

    def _show(self, name: str, zone: str, publishes: Publishes, shows: Shows) -> None:
        if publishes.mx:
            return
        full = f"mx.{name}.{zone}"
        if full not in self._hosts:
            self._hosts[full] = _Host(self, full, f"192.0.2.{10 + len(self._hosts)}")
        self._hosts[full].show(shows)

    def _write(self) -> None:
        lines: dict[str, list[str]] = {SIGNED: [], PLAIN: []}
        tampered = []
        for (name, zone), publishes in self._published.items():
            more = lines[zone]
            more += [line.replace("@", name) for line in publishes.mx] or [f"{name} MX 10 mx.{name}"]
            host = self._hosts.get(f"mx.{name}.{zone}")
            if host is not None:
                more.append(f"mx.{name} A {host.address}")
                more += [f"_25._tcp.mx.{name} TLSA {host.words.get(tlsa, tlsa)}" for tlsa in publishes.tlsa]
            if publishes.isTampered:
                tampered.append(f"_25._tcp.mx.{name}")
            if publishes.isMute:
                # Who is asked for TLSA below this host does not answer.
                more += [f"_tcp.mx.{name} NS ns.{name}", f"ns.{name} A {NOBODY}"]
            policy = publishes.policy
            if policy is not None:
                more += [f'_mta-sts.{name} TXT "v=STSv1; id={id};"' for id in policy.ids]
                more.append(f"mta-sts.{name} A {NOBODY if policy.isUnreachable else POLICY_HOST}")
        self._zones.write(lines[SIGNED], lines[PLAIN], tampered)

    # --- what comes of it

    def _attempt(
        self, daemon: Daemon, some: Sequence[Case | tuple[Story, int]]
    ) -> dict[Case | tuple[Story, int], Verdict]:
        """One message for each."""
        sent = {_recipient(one): one for one in some}
        with daemon.client() as client:
            for recipient in sent:
                client.sendmail("sender@example.org", [recipient], b"Subject: x\r\n\r\nBody.\r\n")

        def attempts() -> dict[str, str]:
            found: dict[str, str] = {}
            for event in daemon.events("delivery"):
                found.setdefault(event["to"], f"{event['result']} {event['stat']}")
            return {recipient: found[recipient] for recipient in sent if recipient in found}

        waitFor("an attempt for each", lambda: len(attempts()) == len(sent), 60)
        waitFor("all hosts to be alone", lambda: not any(host.recorder.open for host in self._hosts.values()))
        policies = {event["domain"]: event["reason"] for event in daemon.events("policy-failed")}
        rows: dict[Case | tuple[Story, int], Verdict] = {}
        for recipient, one in sent.items():
            attempt = attempts()[recipient]
            verdict = self._verdict(recipient, attempt)
            why = attempt if verdict == DEFER else policies.get(recipient.partition("@")[2], "")
            if isinstance(one, Case):
                rows[one] = Verdict((one.published, one.shown), one.rfc, one.expected, one.because, verdict, why)
            else:
                story, number = one
                step = story.steps[number]
                what = f"{story.what}: {step.what}"
                rows[one] = Verdict((what,), step.rfc, step.expected, step.because, verdict, why)
        return rows

    def _verdict(self, recipient: str, attempt: str) -> str:
        if not attempt.startswith("Ok"):
            return DEFER if attempt.startswith("TempFail") else attempt
        (received,) = self._received(recipient)
        return f"{TLS}{', resumed' if received.isResumed else ''}" if received.isTls else CLEAR

    def _received(self, recipient: str) -> list[Received]:
        return [
            each for host in self._hosts.values() for each in host.recorder.messages if recipient in each.recipients
        ]


def _recipient(one: Case | tuple[Story, int]) -> str:
    if isinstance(one, Case):
        return f"user@{one.name}.{one.zone}"
    story, number = one
    return f"user{number}@{story.domain}"


def _inside() -> list[Verdict]:
    place = Path(tempfile.mkdtemp(prefix="pysmtpd-"))
    place.chmod(0o755)
    try:
        namespace.furnish((), place / "home")
        os.environ["SSL_CERT_FILE"] = str(place / "authority.pem")
        with ExitStack() as stack:
            return _Room(place, stack).run()
    finally:
        shutil.rmtree(place, ignore_errors=True)


def main() -> None:
    if sys.argv[1:2] == ["--inside"]:
        print(json.dumps([asdict(row) for row in _inside()]))
        return
    rows = verdicts()
    print(tables(rows))
    for row in rows:
        if row.why or not row.isRight:
            print(f"{'' if row.isRight else 'WRONG: '}{'; '.join(row.what)}: {row.verdict}: {row.why[:200]}")


if __name__ == "__main__":
    main()
