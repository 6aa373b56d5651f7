"""TLS policy verdicts. Pure: what a domain and a message ask for is held against what a connection established.

Requirements only add up: whatever asks for more wins, and what nobody asks for is not done. Two questions are answered here: what does
a host have to show (L{demands}), and does a connection show it (L{missing})?
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, IntEnum

from pysmtpd.model.facts import TlsFacts
from pysmtpd.model.tlsa import DOMAIN_ISSUED, Presented, Tlsa, deciding
from pysmtpd.mta.policy.sts import Mode, StsPolicy


class Level(IntEnum):
    """From weak to strong.

    @cvar VERIFIED: by a certificate authority that we trust.
    """

    NEVER = 0
    OPPORTUNISTIC = 1
    REQUIRED = 2
    VERIFIED = 3


@dataclass(frozen=True, slots=True)
class Ground:
    """Who asked for what; for people.

    @ivar who: C{"action"}, C{"DANE"}, C{"MTA-STS"}, C{"REQUIRETLS"}, C{"memory"}, ...
    """

    who: str
    what: str

    def __str__(self) -> str:
        return f"{self.who}: {self.what}"


@dataclass(frozen=True, slots=True)
class Policy:
    """What a host has to show before it gets a message.

    @ivar name: what the host's certificate has to be for, when the level is VERIFIED.
    @ivar tlsa: records, any of which authenticates the host; empty: DANE asks for nothing.
    @ivar tlsaNames: a certificate under a trust anchor of C{tlsa} has to be for one of these.
    @ivar requireTls: the host has to offer REQUIRETLS (RFC 8689).
    @ivar grounds: how it came to this; two policies that differ only here are equal.
    """

    level: Level
    name: str = ""
    tlsa: tuple[Tlsa, ...] = ()
    tlsaNames: tuple[str, ...] = ()
    requireTls: bool = False
    grounds: tuple[Ground, ...] = field(default=(), compare=False)

    @property
    def isAuthenticated(self) -> bool:
        """Does the host have to prove who it is?"""
        return self.level is Level.VERIFIED or bool(self.tlsa)

    @property
    def asksForMore(self) -> bool:
        """Than what any host has to give?"""
        return self.level >= Level.REQUIRED or bool(self.tlsa) or self.requireTls

    def __str__(self) -> str:
        words = [self.level.name.lower()]
        words += ["DANE"] * bool(self.tlsa) + ["REQUIRETLS"] * self.requireTls
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a connection established.

    @ivar tls: None: plain text.
    @ivar tried: TLS was wished, and could not be had from this host.
    @ivar chain: what the host showed, its own certificate first; empty unless DANE was a subject.
    @ivar names: that its own certificate is for, in lower case, wildcards as they stand.
    @ivar offersRequireTls: it said REQUIRETLS, under TLS.
    """

    tls: TlsFacts | None = None
    tried: bool = False
    chain: tuple[Presented, ...] = ()
    names: tuple[str, ...] = ()
    offersRequireTls: bool = False


class Missing(Enum):
    """What a connection lacks; the value is for people."""

    TLS = "TLS is required, and could not be had"
    NOT_TRIED = "TLS was not tried"
    IDENTITY = "the host's certificate was not verified for its name"
    DANE = "the host's certificate matches none of the TLSA records"
    REQUIRETLS = "the host does not offer REQUIRETLS"


def satisfies(facts: Facts, policy: Policy) -> bool:
    """May a message under C{policy} use a connection with these facts?"""
    return missing(facts, policy) is None


def missing(facts: Facts, policy: Policy) -> Missing | None:
    """What a connection lacks for a message under C{policy}; None: nothing.

    A verified connection serves a weaker policy. One that is not verified is never upgraded. One that is in plain text though nobody
    tried TLS (C{smtp+notls}) does not serve those who would have tried.
    """
    level = policy.level
    tls = facts.tls
    if tls is None:
        if level >= Level.REQUIRED or policy.tlsa or policy.requireTls:
            return Missing.TLS
        return Missing.NOT_TRIED if level is Level.OPPORTUNISTIC and not facts.tried else None
    if level is Level.VERIFIED and not (tls.verified and tls.peerName.lower() == policy.name.lower()):
        return Missing.IDENTITY
    if policy.tlsa and not isMatched(policy.tlsa, policy.tlsaNames, facts.chain, facts.names):
        return Missing.DANE
    return Missing.REQUIRETLS if policy.requireTls and not facts.offersRequireTls else None


def isMatched(
    records: tuple[Tlsa, ...], wanted: tuple[str, ...], chain: tuple[Presented, ...], names: tuple[str, ...]
) -> bool:
    """DANE's verdict (RFC 7672 3.1): usage 3 looks at the host's certificate alone, neither at names nor at dates; usage 2 at a
    certificate above it that vouches for it today, and at its names.
    """
    if not chain:
        return False
    isNamed = any(_covers(name, host.lower()) for name in names for host in wanted)
    for record in records:
        if record.usage == DOMAIN_ISSUED:
            if record.matches(chain[0]):
                return True
        elif isNamed and any(shown.isAnchor and record.matches(shown) for shown in chain[1:]):
            return True
    return False


def _covers(name: str, host: str) -> bool:
    if name.startswith("*."):
        return host.partition(".")[2] == name[2:]
    return host == name


class Dane(Enum):
    """What DNS says about a host.

    @cvar NONE: nothing, and that is sure, or cannot be secured: DANE is no subject.
    @cvar RECORDS: there are TLSA records.
    @cvar FAILED: it cannot be told; somebody may be hiding the records.
    """

    NONE = "none"
    RECORDS = "records"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What is known about one host of a destination before it is connected to.

    @ivar host: its name in A-labels; for SNI, and in certificates.
    @ivar baseName: where its TLSA records were found.
    @ivar until: monotonic seconds until which that may be believed.
    @ivar isSecure: DNS proved that this is a host of the destination (RFC 7672 2.2.1); so does the operator, by naming it.
    """

    host: str
    baseName: str = ""
    isSecure: bool = False
    dane: Dane = Dane.NONE
    tlsa: tuple[Tlsa, ...] = ()
    daneError: str = ""
    until: float = field(default=float("inf"), compare=False)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a message, its action, and what is remembered of its destination ask for.

    @ivar domain: the destination, or the smarthost: whose policy it is.
    @ivar canonical: its name at the end of its CNAMEs, as DNS told with its MX records; empty: the same.
    @ivar level: by the action and the host's URL.
    @ivar requireTls: the message came with REQUIRETLS.
    @ivar isTlsOptional: C{TLS-Required: No}: the sender would rather have it delivered than protected.
    @ivar sts: the domain's MTA-STS policy; None: it has none.
    @ivar remembers: TLS was to be had from this destination not long ago.
    """

    domain: str
    level: Level
    requireTls: bool = False
    isTlsOptional: bool = False
    sts: StsPolicy | None = None
    remembers: bool = False
    canonical: str = ""


@dataclass(frozen=True, slots=True)
class Barred:
    """This host must not be used for this message.

    @ivar status: RFC 3463.
    """

    reason: str
    status: str
    grounds: tuple[Ground, ...] = ()


def demands(wishes: Wishes, host: HostFacts) -> Policy | Barred:
    """What C{host} has to show, or why it cannot be used at all.

    - What the action and the URL ask for is never weakened.
    - Usable TLSA records decide who the host is, and MTA-STS cannot change that (RFC 8461 2); without them C{enforce} decides.
    - C{testing} never asks for anything.
    - C{TLS-Required: No} takes DANE and MTA-STS away, nothing else; REQUIRETLS wins over it (RFC 8689 4.1).
    """
    grounds: list[Ground] = []
    level = wishes.level
    if level is not Level.OPPORTUNISTIC:
        grounds.append(Ground("action", level.name.lower()))
    if level is Level.NEVER:
        if wishes.requireTls:
            return Barred("The message requires TLS, and the action forbids it", "5.7.30", tuple(grounds))
        return Policy(level, host.host, grounds=tuple(grounds))
    waived = wishes.isTlsOptional and not wishes.requireTls
    tlsa: tuple[Tlsa, ...] = ()
    if waived:
        grounds.append(Ground("TLS-Required: No", "neither DANE nor MTA-STS is asked"))
    elif host.dane is Dane.FAILED:
        reason = f"DANE: the TLSA records of {host.host} cannot be had: {host.daneError}"
        return Barred(reason, "4.7.5", (*grounds, Ground("DANE", host.daneError)))
    elif host.dane is Dane.RECORDS:
        tlsa = deciding(host.tlsa)
        level = max(level, Level.REQUIRED)
        what = "one of its TLSA records has to match" if tlsa else "TLS, for none of its TLSA records can be used"
        grounds.append(Ground("DANE", what))
    sts = wishes.sts if not waived and not tlsa else None
    if sts is not None and sts.mode is Mode.ENFORCE:
        if not sts.covers(host.host):
            grounds.append(Ground("MTA-STS", f"{host.host} is no host of {wishes.domain}"))
            return Barred(f"MTA-STS: the policy of {wishes.domain} does not name {host.host}", "4.7.5", tuple(grounds))
        level = Level.VERIFIED
        grounds.append(Ground("MTA-STS", "a valid certificate"))
    if wishes.requireTls:
        isProven = host.isSecure or (sts is not None and sts.mode is Mode.ENFORCE)
        grounds.append(Ground("REQUIRETLS", "the host has to prove who it is, and to offer it"))
        if not isProven:
            reason = f"REQUIRETLS: nothing proves that {host.host} is a host of {wishes.domain}"
            return Barred(reason, "5.7.30", tuple(grounds))
        if not tlsa:
            level = Level.VERIFIED
    if wishes.remembers and level is Level.OPPORTUNISTIC:
        level = Level.REQUIRED
        grounds.append(
            Ground("memory", f"it had TLS within a month; if that is over, say pysmtpctl forget-tls {wishes.domain}")
        )
    names = anchoredNames(wishes, host) if tlsa else ()
    return Policy(level, host.host, tlsa, names, wishes.requireTls, tuple(grounds))


def anchoredNames(wishes: Wishes, host: HostFacts) -> tuple[str, ...]:
    """What a certificate under a trust anchor of DNS may be for (RFC 7672 3.2.2)."""
    return tuple(dict.fromkeys(filter(None, (host.baseName, wishes.domain, wishes.canonical))))
