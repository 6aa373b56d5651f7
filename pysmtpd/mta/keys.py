"""What is the same as what: built from values, never from the identity of an action or of a configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import idna

from pysmtpd.model.address import Path
from pysmtpd.model.clienttls import USUAL, ClientKind
from pysmtpd.model.config import Action, Config, Method, RelayHost
from pysmtpd.model.envelope import Destination
from pysmtpd.model.netaddr import isLoopback
from pysmtpd.model.srs import rewriteSender
from pysmtpd.mta.policy.sts import Mode
from pysmtpd.mta.security import Barred, HostFacts, Level, Policy, Wishes, demands

SMTP_PORT = 25

NO_FACTS = HostFacts("")
NO_WISHES = Wishes("", Level.OPPORTUNISTIC)


class RelayKey(NamedTuple):
    """Where messages should go.

    @ivar domain: A-labels in lower case, or an address literal with brackets; empty with explicit hosts.
    @ivar level: of MX hosts. Explicit hosts have their own, by protocol.
    @ivar source: name of a table of source addresses; empty: the system chooses.
    @ivar auth: name of a table of credentials; their labels stand with the hosts.
    @ivar heloTable: name of a table from source addresses to what we call ourselves there; C{helo} is for those it does not have.
    @ivar tls: what we show, and hold against hosts.
    @ivar backup: our own name among the MX hosts, beside the server's; empty: there is no other.
    """

    domain: str
    hosts: tuple[RelayHost, ...]
    level: Level
    verify: bool
    helo: str
    source: str
    auth: str
    heloTable: str = ""
    tls: ClientKind = USUAL
    backup: str = ""

    def __str__(self) -> str:
        """The name of its hold queue."""
        return self.named("")

    def named(self, usual: str) -> str:
        """For people.

        @param usual: what we call ourselves where nothing else is said: that need not be said.
        """
        more = [
            self.level.name.lower() if self.level is not Level.OPPORTUNISTIC else "",
            "" if self.verify else "no-verify",
            self.source,
            self.auth,
            self.helo if self.helo != usual else "",
            self.heloTable,
            str(self.tls),
            self.backup and f"backup {self.backup}",
        ]
        return " ".join([self.place, *filter(None, more)])

    @property
    def place(self) -> str:
        """The domain, or the explicit hosts."""
        return self.domain or ",".join(
            f"{host.protocol}://{host.label and host.label + '@'}{host.host}:{host.port}" for host in self.hosts
        )

    @property
    def limitName(self) -> str:
        """The domain that C{mta limit for domain} may be said for: with explicit hosts, the first host."""
        return self.domain or self.hosts[0].host.lower()


class ConnectionKey(NamedTuple):
    """What a connection is used for. TLS policy and the name in SNI are not in it: a connection records what it established, and
    L{pysmtpd.mta.security.satisfies} is asked before each use. So domains that call one host by different names share too.

    @ivar protocol: smtp, smtps or lmtp.
    @ivar port: 0 for a UNIX socket.
    @ivar credential: C{table:label}; different credentials never share.
    @ivar tls: what we show and hold against the host.
    """

    protocol: str
    source: str
    address: str
    port: int
    helo: str
    credential: str
    tls: ClientKind = USUAL


def serviceOf(host: str, port: int) -> str:
    """A host's mail service, as it is remembered: another port of the same host is another service."""
    return host if port in (0, SMTP_PORT) else f"{host}:{port}"


class Target(NamedTuple):
    """One host that a relay's mail may go to.

    @ivar host: its name, or its address again.
    @ivar policy: what it has to show for a usual message.
    @ivar barred: why no usual message may go there at all; empty: it may. C{status} is the RFC 3463 status of that.
    @ivar known: what is known of it, and C{wishes} what is asked for; for messages that ask for more, or for less.
    """

    key: ConnectionKey
    host: str
    policy: Policy
    barred: str = ""
    known: HostFacts = NO_FACTS
    wishes: Wishes = NO_WISHES
    status: str = ""

    @classmethod
    def make(cls, key: ConnectionKey, host: str, known: HostFacts, wishes: Wishes) -> Target:
        """With the policy that follows."""
        policy = demands(wishes, known)
        if isinstance(policy, Barred):
            nothing = Policy(wishes.level, known.host, grounds=policy.grounds)
            return cls(key, host, nothing, policy.reason, known, wishes, policy.status)
        return cls(key, host, policy, "", known, wishes)

    def under(self, requireTls: bool, isTlsOptional: bool) -> Target:
        """For a message with wishes of its own (RFC 8689).

        A mail store on this machine that speaks LMTP has nothing to prove: the message leaves no wire behind.
        """
        key = self.key
        if key.protocol == "lmtp" and (not key.port or isLoopback(key.address)):
            return self
        wishes = replace(self.wishes, requireTls=requireTls, isTlsOptional=isTlsOptional)
        return Target.make(key, self.host, self.known, wishes)

    @property
    def verdict(self) -> str:
        """What is asked of it, and why; for people."""
        grounds = f" ({'; '.join(map(str, self.policy.grounds))})" if self.policy.grounds else ""
        return f"not used: {self.barred}" if self.barred else f"{self.policy}{grounds}"

    def isKeptByMtaSts(self, problem: str) -> bool:
        """Is it the domain's MTA-STS policy that keeps mail from going there?"""
        sts = self.wishes.sts
        isTls = bool(self.barred) or problem.startswith("451 4.7.")
        return isTls and sts is not None and sts.mode is Mode.ENFORCE

    def explain(self, problem: str) -> str:
        """With the problem that it has."""
        isAsked = self.policy.asksForMore and not self.barred
        return f"{self.label}: {problem}{f' [{self.verdict}]' if isAsked else ''}"

    def fromSource(self, address: str, helo: str) -> Target:
        """The same from one of our addresses."""
        return self._replace(key=self.key._replace(source=address, helo=helo or self.key.helo))

    @property
    def family(self) -> str:
        """C{inet4}, C{inet6}, or empty: a UNIX socket."""
        address = self.key.address
        return "" if not self.key.port else "inet6" if ":" in address else "inet4"

    @property
    def label(self) -> str:
        """For logs: C{mx.example.org [192.0.2.1]}."""
        address = self.key.address
        return address if address.startswith("/") else f"{self.host.strip('[]')} [{address}]"


class TransactionKey(NamedTuple):
    """Recipients of one message that are equal in this, and have a connection key in common, share a transaction.

    RET, ENVID, BODY and content are the message's own, so they cannot differ. NOTIFY and ORCPT are per recipient. What the host has to
    show depends on the host; see L{pysmtpd.mta.grouping.group}. Who needs SMTPUTF8 is known when the header was read; see
    L{pysmtpd.mta.task.international}.
    """

    sender: str


def lacksRequireTls(problems: Sequence[tuple[Target, str]]) -> bool:
    """Is REQUIRETLS (RFC 8689) not to be had from any host that can be reached? Then waiting is of no use. A certificate that is not in
    order may be tomorrow.

    @param problems: all hosts, each with why nothing should be sent there.
    """
    # What cannot be reached says nothing about what it offers.
    reached = [(target, problem) for target, problem in problems if target.barred or not problem.startswith("451 4.4.")]
    return bool(reached) and all(
        target.status == "5.7.30" or problem.startswith("451 4.7.30 ") for target, problem in reached
    )


class BadDomain(ValueError):
    """This is not the name of a domain."""


def domainOf(path: Path) -> str:
    """
    @raise BadDomain: it has none, or one that cannot be in DNS.
    """
    domain = path.domain.rstrip(".").lower()
    if not domain.isascii():
        try:
            return idna.encode(domain, uts46=True).decode("ascii")
        except idna.IDNAError:
            raise BadDomain(domain) from None
    if not domain:
        raise BadDomain(domain)
    return domain


def clientKind(config: Config, action: Action) -> ClientKind:
    """What an action says of TLS beside its policy."""
    pki, ca = config.pki.get(action.pki), config.ca.get(action.ca)
    ciphers = action.ciphers or config.ciphers
    if not (action.pki or action.ca or ciphers or action.protocols):
        return USUAL
    cert, anchors = pki.cert if pki else "", ca.cert if ca else ""
    return ClientKind(action.pki, cert, action.ca, anchors, ciphers, action.protocols)


def relayKey(config: Config, action: Action, path: Path, hosts: tuple[RelayHost, ...] = ()) -> RelayKey:
    """
    @param hosts: what the action's table has told; empty: the action's own.
    @raise BadDomain: the mail goes by MX, and the address has no usable domain.
    """
    hosts = hosts or action.hosts
    byHosts = bool(hosts) or action.method is Method.LMTP
    level = Level.OPPORTUNISTIC
    if action.tlsRequired:
        level = Level.VERIFIED if action.tlsVerify else Level.REQUIRED
    return RelayKey(
        "" if byHosts else domainOf(path),
        hosts,
        level,
        action.tlsVerify,
        action.helo or config.serverName,
        action.source.name if action.source else "",
        action.authTable.name if action.authTable else "",
        action.heloTable.name if action.heloTable else "",
        clientKind(config, action),
        "" if byHosts else action.backupMx.rstrip(".").lower(),
    )


def hostLevel(key: RelayKey, host: RelayHost) -> Level | None:
    """Of an explicit host; None: its protocol contradicts the action."""
    if host.protocol in ("smtps", "smtp+tls"):
        return Level.VERIFIED if key.verify else Level.REQUIRED
    if host.protocol in ("smtp+notls", "lmtp"):
        return None if key.level > Level.OPPORTUNISTIC and host.protocol != "lmtp" else Level.NEVER
    return key.level


def finalSender(config: Config, action: Action, sender: Path, destination: Destination, wallTime: float) -> Path:
    """MAIL FROM after C{mail-from}, which leaves the null path alone (an empty half keeps the original's), and C{srs}, which is for what
    was forwarded.

    @param wallTime: seconds since the epoch.
    """
    change = action.mailFrom
    if change is not None and not sender.isNull:
        sender = Path(change.local or sender.local, change.domain or sender.domain)
    if action.srs and destination.isForwarded:
        sender = rewriteSender(config, sender, destination.original, wallTime)
    return sender
