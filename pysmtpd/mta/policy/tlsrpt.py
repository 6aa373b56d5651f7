"""Reports about TLS (RFC 8460): what sessions count as, sums of them, and the form of a report. Pure; times are wall-clock seconds."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator, Sequence
from email.utils import formatdate, parsedate
from itertools import chain
from typing import Any, NamedTuple, cast

from pysmtpd.model.tlsa import Tlsa, deciding
from pysmtpd.mta.encounter import Encounter
from pysmtpd.mta.policy.sts import Mode, StsPolicy
from pysmtpd.mta.security import Dane, anchoredNames, isMatched

DAY = 86400

MOST_DOMAINS = 5_000
"""Domains of which sessions are counted, each day."""

MOST_POLICIES = 10
"""Policies of one domain in one day: each change of a record is another one."""

MOST_DETAILS = 100
"""Kinds of failure under one policy that are told apart; all others count in its sum alone."""

MOST_IN_ALL = 20_000
"""Kinds of failure that are told apart in all."""

MOST_URIS = 5
MAX_TEXT = 300

_URI = re.compile(r"(?:https://|mailto:)[!-+\--:<-~]{1,500}\Z")


class Policy(NamedTuple):
    """What a session was held against (4.4).

    @ivar kind: tlsa, sts or no-policy-found.
    @ivar lines: of it, as published.
    @ivar hosts: patterns that an MTA-STS policy names.
    @ivar domain: whose it is: with DANE the name where the records are (1.1); empty: the domain that is reported to.
    """

    kind: str
    lines: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    domain: str = ""


NO_POLICY = Policy("no-policy-found")


class Detail(NamedTuple):
    """A kind of failure.

    @ivar result: of RFC 8460 4.3; empty: it did not fail.
    @ivar reason: in our words.
    """

    result: str
    source: str = ""
    host: str = ""
    address: str = ""
    reason: str = ""


_ROW = len(Detail._fields) + 1


class Counts:
    """Of one domain under one policy. There is one for each domain that mail goes to, so it is small."""

    __slots__ = ("_told", "failed", "policy", "succeeded")

    def __init__(self, policy: Policy, succeeded: int = 0, failed: int = 0) -> None:
        self.policy = policy
        self.succeeded = succeeded
        self.failed = failed
        # The fields of each detail, and its number: one tuple for all of them.
        self._told: tuple[str | int, ...] = ()

    @property
    def details(self) -> dict[Detail, int]:
        """Failures, as far as they are told apart."""
        told = self._told
        rows = [told[at : at + _ROW] for at in range(0, len(told), _ROW)]
        return {Detail(*cast("tuple[str, ...]", row[:-1])): cast(int, row[-1]) for row in rows}

    def tell(self, detail: Detail, times: int) -> None:
        """So many more of these."""
        details = self.details
        details[detail] = details.get(detail, 0) + times
        self._told = tuple(chain.from_iterable((*each, number) for each, number in details.items()))


def judge(encounter: Encounter) -> Iterator[tuple[Policy, Detail]]:
    """What a session counts as: under each policy that the domain has, whether or not it was decisive."""
    known, sts = encounter.target.known, encounter.target.wishes.sts
    hasPolicy = False
    if known.dane is not Dane.NONE:
        hasPolicy = True
        yield (
            Policy("tlsa", tuple(map(_line, known.tlsa)), domain=known.baseName or known.host),
            _detail(encounter, *_underDane(encounter)),
        )
    if sts is not None and sts.mode is not Mode.NONE:
        hasPolicy = True
        yield Policy("sts", policyLines(sts), sts.mx), _detail(encounter, *_underSts(encounter, sts))
    if not hasPolicy:
        yield NO_POLICY, _detail(encounter, *_encrypted(encounter))


def _line(record: Tlsa) -> str:
    return f"{record.usage} {record.selector} {record.matching} {record.data.hex()}"


def _detail(encounter: Encounter, result: str, reason: str = "") -> Detail:
    if not result:
        return Detail("")
    target = encounter.target
    return Detail(
        result, encounter.source, target.known.host, target.key.address, (reason or encounter.problem)[:MAX_TEXT]
    )


def _encrypted(encounter: Encounter) -> tuple[str, str]:
    """Was there TLS at all?"""
    facts = encounter.facts
    if facts is not None:
        return ("", "") if facts.tls is not None else ("starttls-not-supported", "")
    # No connection may have been made at all; then the problem is not its TLS.
    isMissing = encounter.problem.startswith("451 4.7.4 ")
    return ("starttls-not-supported" if isMissing else _ofCertificate(encounter.certificate), "")


def _ofCertificate(error: str) -> str:
    if "expired" in error:
        return "certificate-expired"
    if "not for" in error:
        return "certificate-host-mismatch"
    return "certificate-not-trusted" if error else "validation-failure"


def _underDane(encounter: Encounter) -> tuple[str, str]:
    known, facts = encounter.target.known, encounter.facts
    if known.dane is Dane.FAILED:
        return "dnssec-invalid", known.daneError
    records = deciding(known.tlsa)
    if not records:
        return "tlsa-invalid", "none of the records can be used"
    if facts is None or facts.tls is None:
        result, reason = _encrypted(encounter)
        # Certificates count by the records alone.
        return (result if result == "starttls-not-supported" else "validation-failure"), reason
    names = anchoredNames(encounter.target.wishes, known)
    # A connection that was opened for somebody without DANE has not kept what it was shown.
    if facts.chain and not isMatched(records, names, facts.chain, facts.names):
        return "validation-failure", "the certificate matches none of the records"
    return "", ""


def _underSts(encounter: Encounter, sts: StsPolicy) -> tuple[str, str]:
    host = encounter.target.known.host
    if not sts.covers(host):
        return "validation-failure", "the policy does not name this host"
    result, reason = _encrypted(encounter)
    if result or encounter.facts is None or encounter.facts.tls is None:
        return result, reason
    tls = encounter.facts.tls
    if tls.verified and tls.peerName.lower() == host.lower():
        return "", ""
    return _ofCertificate(encounter.certificate or "not trusted"), encounter.certificate


def policyLines(sts: StsPolicy) -> tuple[str, ...]:
    """An MTA-STS policy, as it stands in its file."""
    hosts = [f"mx: {host}" for host in sts.mx]
    return ("version: STSv1", f"mode: {sts.mode.value}", *hosts, f"max_age: {sts.maxAge:.0f}")


class Tally:
    """Sums by day and domain, bounded. A day is of UTC (4.1), and named by its first second."""

    def __init__(self) -> None:
        self.days: dict[int, dict[str, tuple[Counts, ...]]] = {}
        self._toldApart = 0

    def count(self, now: float, domain: str, policy: Policy, detail: Detail, times: int = 1) -> bool:
        """
        @return: there was room for it.
        """
        domains = self.days.setdefault(int(now // DAY) * DAY, {})
        policies = domains.get(domain, ())
        counts = next((counts for counts in policies if counts.policy == policy), None)
        if counts is None:
            if len(policies) >= MOST_POLICIES or (not policies and len(domains) >= MOST_DOMAINS):
                return False
            counts = Counts(policy)
            domains[domain] = (*policies, counts)
        if not detail.result:
            counts.succeeded += times
            return True
        counts.failed += times
        details = counts.details
        if detail in details:
            counts.tell(detail, times)
        elif len(details) < MOST_DETAILS and self._toldApart < MOST_IN_ALL:
            counts.tell(detail, times)
            self._toldApart += 1
        return True

    def drop(self, day: int, domain: str) -> None:
        """It was reported, or nobody wants to know."""
        domains = self.days.get(day, {})
        self._toldApart -= sum(len(counts.details) for counts in domains.pop(domain, ()))
        if not domains:
            self.days.pop(day, None)

    def dump(self) -> list[Any]:
        """For a file."""
        return [
            [
                day,
                domain,
                counts.policy,
                counts.succeeded,
                counts.failed,
                [[*detail, n] for detail, n in counts.details.items()],
            ]
            for day, domains in self.days.items()
            for domain, policies in domains.items()
            for counts in policies
        ]

    def load(self, rows: Any) -> None:
        """What C{dump} gave; it adds to what is there.

        @raise ValueError: (or L{TypeError}) this is something else; what came before that in it was taken.
        """
        for day, domain, (kind, lines, hosts, *whose), succeeded, failed, details in rows:
            policy = Policy(str(kind), tuple(map(str, lines)), tuple(map(str, hosts)), *map(str, whose))
            told = 0
            for *detail, times in details:
                self.count(int(day), str(domain), policy, Detail(*map(str, detail)), int(times))
                told += int(times)
            self.count(int(day), str(domain), policy, Detail(""), int(succeeded))
            if int(failed) > told:
                (counts,) = [one for one in self.days[int(day)][str(domain)] if one.policy == policy]
                counts.failed += int(failed) - told


def parseRecord(texts: Sequence[str]) -> tuple[str, ...]:
    """Where C{_smtp._tls.DOMAIN} wants reports sent to; empty: nowhere. Of several records none counts (3)."""
    records = [text for text in texts if re.match(r"v=TLSRPTv1[ \t]*;", text)]
    if len(records) != 1:
        return ()
    for field in records[0].split(";")[1:]:
        name, _, value = field.strip(" \t").partition("=")
        if name.strip(" \t") == "rua":
            uris = [uri.strip(" \t") for uri in value.split(",")]
            return tuple(uri for uri in uris if _URI.match(uri))[:MOST_URIS]
    return ()


def report(organisation: str, id: str, day: int, domain: str, policies: Sequence[Counts]) -> dict[str, Any]:
    """The report of one domain and day (4.4), to be written as JSON.

    @param organisation: our name; its postmaster can be asked.
    """
    return {
        "organization-name": organisation,
        "date-range": {"start-datetime": _moment(day), "end-datetime": _moment(day + DAY - 1)},
        "contact-info": f"postmaster@{organisation}",
        "report-id": id,
        "policies": [_section(domain, counts) for counts in policies],
    }


def _moment(seconds: int) -> str:
    year, month, day, hour, minute, second, *_ = parsedate(formatdate(seconds)) or (0,) * 6
    return f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"


def _section(domain: str, counts: Counts) -> dict[str, Any]:
    policy = counts.policy
    said: dict[str, Any] = {"policy-type": policy.kind, "policy-domain": policy.domain or domain}
    if policy.lines:
        said["policy-string"] = list(policy.lines)
    if policy.hosts:
        said["mx-host"] = list(policy.hosts)
    section: dict[str, Any] = {
        "policy": said,
        "summary": {"total-successful-session-count": counts.succeeded, "total-failure-session-count": counts.failed},
    }
    if counts.details:
        section["failure-details"] = [_failure(detail, times) for detail, times in counts.details.items()]
    return section


def _failure(detail: Detail, times: int) -> dict[str, Any]:
    fields = {
        "result-type": detail.result,
        "sending-mta-ip": detail.source,
        "receiving-mx-hostname": detail.host,
        "receiving-ip": detail.address,
        "failure-reason-code": detail.reason,
    }
    return {name: value for name, value in fields.items() if value} | {"failed-session-count": times}


def fileName(organisation: str, domain: str, day: int, id: str) -> str:
    """Of a report (5.1)."""
    return f"{organisation}!{domain}!{day}!{day + DAY - 1}!{id.partition('@')[0]}.json.gz"


def reportMessage(
    organisation: str, to: str, id: str, day: int, domain: str, now: float, boundary: str, compressed: bytes
) -> bytes:
    """A report as mail (5.3). It has to be signed (3), and may not fail for what it reports.

    @param to: address of a C{mailto:}.
    @param boundary: a token that nobody can guess.
    @param compressed: the JSON, by gzip.
    """
    name = fileName(organisation, domain, day, id)
    encoded = b64encode(compressed).decode()
    lines = [
        f"From: postmaster@{organisation}",
        f"To: {to}",
        f"Date: {formatdate(now)}",
        f"Subject: Report Domain: {domain}",
        f" Submitter: {organisation}",
        f" Report-ID: <{id}>",
        f"Message-ID: <{id}>",
        f"TLS-Report-Domain: {domain}",
        f"TLS-Report-Submitter: {organisation}",
        "TLS-Required: No",
        "Auto-Submitted: auto-generated",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type="tlsrpt";\r\n boundary="{boundary}"',
        "",
        f"--{boundary}",
        "Content-Type: text/plain; charset=us-ascii",
        "",
        f"This is a report about TLS in sessions with the mail hosts of {domain}",
        f"on {_moment(day)[:10]}, from {organisation}.",
        "",
        f"--{boundary}",
        "Content-Type: application/tlsrpt+gzip",
        "Content-Transfer-Encoding: base64",
        f'Content-Disposition: attachment;\r\n filename="{name}"',
        "",
        *(encoded[at : at + 76] for at in range(0, len(encoded), 76)),
        f"--{boundary}--",
        "",
    ]
    return "\r\n".join(lines).encode("ascii", "replace")
