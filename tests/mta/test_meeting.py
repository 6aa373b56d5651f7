"""Who meets whom on a connection: for any mix of domains, policies, messages and hosts no two credentials, and nobody with less TLS than
his own domain and message ask for. What they ask for is told here apart from the code that decides it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.interfaces.routing import AddressAnswer, Lookup, MxAnswer, MxHost, TlsaAnswer
from pysmtpd.model.clienttls import USUAL, ClientKind
from pysmtpd.model.config import Action, Method, MtaLimits, RelayHost, TableRef
from pysmtpd.model.envelope import Envelope
from pysmtpd.model.facts import TlsFacts
from pysmtpd.model.tlsa import Presented, Tlsa
from pysmtpd.mta.policy import NoPolicies
from pysmtpd.mta.policy.sts import Mode, StsPolicy
from tests.mta.fakes import Link, Server, Table, World

# Two names of one address, and a third of another.
HOSTS = {"mx1.test": "192.0.2.1", "mx2.test": "192.0.2.1", "mx3.test": "192.0.2.3"}
LABELS = ("ann", "bob")


class Host(Server):
    """One with a certificate for C{names}; C{key} is what DANE knows it by."""

    def __init__(
        self, names: tuple[str, ...], isValid: bool, offersTls: bool, offersRequireTls: bool, key: bytes
    ) -> None:
        offers = ["PIPELINING", "AUTH PLAIN", *(["STARTTLS"] if offersTls else [])]
        super().__init__(*offers, *(["REQUIRETLS"] if offersRequireTls else []), AUTH="235 2.7.0 ok")
        self.names = names
        self.isValid = isValid
        self.offersRequireTls = offersRequireTls
        self.key = key


class Handshake:
    """As L{pysmtpd.tls.client} does it, with what a L{Host} shows."""

    offersTicket = False

    def __init__(self, name: str, verify: bool) -> None:
        self._name = name
        self._verify = verify
        self.error = ""

    def _judge(self, host: Host) -> None:
        isGood = host.isValid and self._name in host.names
        self.error = "" if isGood else "not in order"

    def refuses(self, host: Host) -> bool:
        self._judge(host)
        return self._verify and bool(self.error)

    def facts(self, link: Any) -> TlsFacts:
        self._judge(link._server)
        return TlsFacts("TLSv1.3", "x", 256, not self.error, self._name if not self.error else "", self._name)

    def presented(self, link: Any) -> tuple[tuple[Presented, ...], tuple[str, ...]]:
        host = link._server
        return (Presented(b"der", host.key, True),), host.names

    def keep(self, link: Any) -> None:
        """Sessions are not gone on from here."""


class Tls:
    def check(self, kind: ClientKind) -> None:
        """Anything goes."""

    def handshake(
        self, host: str, verify: bool, names: Sequence[str] = (), kind: ClientKind = USUAL, place: Hashable = None
    ) -> Handshake:
        return Handshake(host, verify)


class Policies(NoPolicies):
    def __init__(self, known: dict[str, StsPolicy]) -> None:
        self._known = known

    def policy(self, domain: str) -> Deferred[StsPolicy | None]:
        return succeed(self._known.get(domain))


@dataclass(frozen=True)
class Domain:
    """
    @ivar publishes: nothing, MTA-STS enforce or testing, TLSA records of the host's key or of another.
    """

    host: str
    publishes: str


@dataclass(frozen=True)
class Mail:
    """
    @ivar action: C{out}; C{tls}, C{no-verify}; or C{ann}, C{bob}: by their own host, with their credentials.
    """

    domains: tuple[int, ...]
    action: str = "out"
    requireTls: bool = False
    isTlsOptional: bool = False


OFTEN = st.sampled_from([True, True, True, False])
SELDOM = st.sampled_from([False, False, False, True])
DOMAINS = st.lists(
    st.builds(
        Domain,
        st.sampled_from(sorted(HOSTS)),
        st.sampled_from(["", "enforce", "enforce", "enforce", "testing", "tlsa", "other tlsa"]),
    ),
    min_size=2,
    max_size=5,
)
MAILS = st.lists(
    st.builds(
        Mail,
        st.lists(st.integers(0, 4), min_size=1, max_size=4, unique=True).map(tuple),
        st.sampled_from(["out", "out", "out", "tls", "no-verify", *LABELS]),
        SELDOM,
        SELDOM,
    ),
    min_size=1,
    max_size=8,
)
SERVERS = st.builds(
    Host,
    st.sampled_from([("mx1.test",), ("mx2.test",), ("mx1.test", "mx2.test"), tuple(HOSTS)]),
    OFTEN,
    OFTEN,
    st.booleans(),
    st.just(b"key"),
)


class MeetingTests(SynchronousTestCase):
    @given(DOMAINS, MAILS, SERVERS, SERVERS, st.integers(1, 3))
    # One connection at a time, and four that nobody else may use: each is idle, and makes room.
    @example(
        [Domain("mx2.test", ""), Domain("mx1.test", ""), Domain("mx1.test", "tlsa")],
        [Mail((0, 1, 2)), Mail((0, 1, 2), "tls")],
        Host(("mx1.test",), True, True, False, b"key"),
        Host(("mx1.test",), True, True, False, b"key"),
        1,
    )
    @settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    def test_nobodyMeetsLess(self, domains: list[Domain], mails: list[Mail], one: Host, other: Host, most: int) -> None:
        world = self.world(domains, most)
        world.host("192.0.2.1", one)
        world.host("192.0.2.3", other)
        sent: dict[str, Mail] = {}
        for number, mail in enumerate(mails):
            recipients = [f"m{number}@d{index}.test" for index in mail.domains if index < len(domains)]
            if not recipients:
                continue
            sent |= dict.fromkeys(recipients, mail)
            delivery = world.delivery(*recipients, requireTls=mail.requireTls, isTlsOptional=mail.isTlsOptional)
            envelopes = tuple(_by(envelope, mail.action) for envelope in delivery.envelopes)
            world.agent.deliver(delivery._replace(envelopes=envelopes), world.ears)
            world.run(0.1)
        # Half of the time that an idle connection is kept.
        world.run(5)
        self.assertEqual(len(world.ears.outcomes), len(sent))
        for host in (one, other):
            for link in host.connections:
                self.meeting(link, host, sent, domains)

    def world(self, domains: list[Domain], most: int) -> World:
        actions = {
            "out": Action("out", Method.RELAY),
            "tls": Action("tls", Method.RELAY, tlsRequired=True),
            "no-verify": Action("no-verify", Method.RELAY, tlsRequired=True, tlsVerify=False),
        }
        for label in LABELS:
            hosts = (RelayHost("smtp+tls", "mx1.test", 25, label),)
            actions[label] = Action(label, Method.RELAY, hosts=hosts, authTable=TableRef("secrets"))
        tables = {"secrets": Table("secrets", {label: f"{label}:x" for label in LABELS})}
        sts = {
            f"d{index}.test": StsPolicy(Mode(domain.publishes), (domain.host,), 86400.0)
            for index, domain in enumerate(domains)
            if domain.publishes in ("enforce", "testing")
        }
        world = World(actions, MtaLimits(maxConnPerHost=most), tables, policies=Policies(sts), tls=Tls())
        for index, domain in enumerate(domains):
            isSigned = domain.publishes.endswith("tlsa")
            # Who publishes TLSA has a host name of his own for it: records belong to names.
            name = f"dane{index}.{domain.host}" if isSigned else domain.host
            world.dns.mxs[f"d{index}.test"] = MxAnswer(Lookup.FOUND, (MxHost(10, name),), isSigned)
            answer = AddressAnswer(Lookup.FOUND, (HOSTS[domain.host],), isSigned, name)
            world.dns.failing[name] = answer
            if isSigned:
                key = b"key" if domain.publishes == "tlsa" else b"another"
                world.dns.tlsas[name] = TlsaAnswer(Lookup.FOUND, (Tlsa(3, 1, 0, key),), True)
        return world

    def meeting(self, link: Link, host: Host, sent: dict[str, Mail], domains: list[Domain]) -> None:
        """All that went by one connection."""
        recipients = [recipient for mail in link.mails for recipient in mail]
        labels = {sent[recipient].action for recipient in recipients} & set(LABELS)
        self.assertLessEqual(len(labels), 1, "two credentials")
        if labels:
            self.assertEqual({sent[recipient].action for recipient in recipients}, labels, "another's credentials")
        self.assertLessEqual(sum(command.startswith("AUTH") for command in link.commands), 1)
        for recipient in recipients:
            self.enough(
                link, host, sent[recipient], domains[int(recipient.partition("@d")[2].partition(".")[0])], recipient
            )

    def enough(self, link: Link, host: Host, mail: Mail, domain: Domain, recipient: str) -> None:
        """The RFCs' requirements, said once more."""
        name = "mx1.test" if mail.action in LABELS else domain.host
        isVerified = link.isSecure and host.isValid and name in host.names
        why = f"{mail} {domain} {recipient}"
        if mail.action in ("tls", *LABELS) and not domain.publishes.endswith("tlsa"):
            self.assertTrue(isVerified, why)
        if mail.action != "out":
            self.assertTrue(link.isSecure, why)
        isWaived = mail.isTlsOptional and not mail.requireTls
        if mail.action not in LABELS and not isWaived:
            if domain.publishes == "enforce":
                self.assertTrue(isVerified, why)
            if domain.publishes == "tlsa":
                self.assertTrue(link.isSecure and host.key == b"key", why)
            self.assertNotEqual(domain.publishes, "other tlsa", why)
        if mail.requireTls:
            self.assertTrue(link.isSecure and host.offersRequireTls, why)
            isProven = mail.action in LABELS or domain.publishes in ("enforce", "tlsa")
            self.assertTrue(isProven, why)


def _by(envelope: Envelope, action: str) -> Envelope:
    return replace(envelope, destination=replace(envelope.destination, action=action))
