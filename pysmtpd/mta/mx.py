"""From a relay to the hosts that take its mail (RFC 5321 5.1, RFC 7505), and the addresses that are never used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_address

from twisted.python.failure import Failure

from pysmtpd.interfaces.routing import FOREVER, AddressAnswer, IResolver, Lookup, MxAnswer
from pysmtpd.model.config import Config, RelayHost
from pysmtpd.model.netaddr import canonicalIp
from pysmtpd.model.outcome import Result
from pysmtpd.model.reply import Reply
from pysmtpd.mta.encounter import Encounter
from pysmtpd.mta.keys import SMTP_PORT, ConnectionKey, RelayKey, Target, hostLevel, serviceOf
from pysmtpd.mta.policy import IPolicies
from pysmtpd.mta.policy.dane import daneFacts
from pysmtpd.mta.policy.sts import StsPolicy
from pysmtpd.mta.security import HostFacts, Level, Wishes

MAX_MX_HOSTS = 50
"""Hosts of one domain that are looked at, best first."""

MAX_ADDRESSES = 20
"""Addresses of one host that are looked at."""

Make = Callable[[str, HostFacts], Target]


class Filter:
    """Which addresses may be used: made once for each configuration.

    @ivar ownNames: what we are called among MX hosts, in lower case.
    """

    def __init__(self, config: Config, ownAddresses: Sequence[str]) -> None:
        self._allowLocal = config.allowLocalMx
        self.ownNames = (config.serverName.rstrip(".").lower(),)
        self._own = {canonicalIp(address) for address in (*config.localAddresses, *ownAddresses)} - {""}
        self._listeners = {
            (canonicalIp(address), listener.port) for listener in config.listeners for address in listener.addresses
        }

    def refuses(self, address: str, port: int, isPublished: bool) -> str:
        """
        @param isPublished: it comes from DNS on behalf of the recipient's domain; else the operator named the host.
        @return: C{"own"}, C{"local"}, or empty: use it.
        """
        isOwn = address in self._own
        local = ip_address(address)
        if (address, port) in self._listeners:
            return "own"
        wildcard = "::" if ":" in address else "0.0.0.0"  # noqa: S104
        if (isOwn or local.is_loopback) and ((wildcard, port) in self._listeners or ("::", port) in self._listeners):
            return "own"
        if not isPublished or self._allowLocal:
            return ""
        if isOwn:
            return "own"
        return "local" if local.is_loopback or local.is_unspecified or local.is_link_local or local.is_multicast else ""


class Resolution:
    """Where a relay's mail can go, as far as it is known.

    @ivar levels: best first; of equal hosts in each. Levels behind the first usable one may still be filled when it is ready.
    @ivar failure: set when there is nowhere to go.
    @ivar isComplete: all levels are filled: what none of the hosts has is not to be had.
    @ivar until: monotonic seconds when the first of the answers that it is made of is over.
    """

    __slots__ = ("_waiting", "failure", "isComplete", "levels", "until")

    def __init__(self) -> None:
        self.levels: list[list[Target]] = []
        self.failure: tuple[Result, Reply] | None = None
        self.isComplete = False
        self.until = FOREVER
        self._waiting: list[Callable[[], None]] | None = None

    def whenComplete(self, then: Callable[[], None]) -> None:
        """Say it once all levels are filled, which they are not yet."""
        if self._waiting is None:
            self._waiting = []
        self._waiting.append(then)

    def complete(self) -> None:
        """They are."""
        self.isComplete = True
        waiting, self._waiting = self._waiting or (), None
        for then in waiting:
            then()


class Search:
    """One resolution under way. Calls C{done} once, at once if nothing has to be asked.

    @ivar problems: of single hosts and addresses, for people.
    """

    def __init__(
        self,
        key: RelayKey,
        source: str,
        family: str,
        filter: Filter,
        resolver: IResolver,
        policies: IPolicies,
        done: Callable[[Resolution], None],
    ) -> None:
        self._key = key
        self._source = source
        self._family = family or (("inet6" if ":" in source else "inet4") if source else "")
        self._filter = filter
        self._resolver = resolver
        self._policies = policies
        # What the domain asks for, and whether DNS proves that its hosts are its hosts.
        self._sts: StsPolicy | None = None
        self._isSecure = False
        self._canonical = ""
        self._done: Callable[[Resolution], None] | None = done
        self._result = Resolution()
        self._pending: list[int] = []
        self._cut = 1 << 30
        self._isPublished = not key.hosts
        self._isImplicit = False
        self.problems: list[str] = []
        self._refused = ""
        self._isUnresolved = False

    def start(self) -> None:
        domain = self._key.domain
        if self._key.hosts:
            self._explicit()
        elif domain.startswith("["):
            address = canonicalIp(domain)
            if not address:
                self._fail(Result.PERMANENT, Reply(550, f"Bad address literal {domain}", "5.1.2"))
                return
            self._open(1)
            self._found(0, self._mxTarget, HostFacts(domain.strip("[]")), (address,))
            self._settle(0)
        else:
            # Both are under way.
            mx, sts = self._resolver.mx(domain), self._policies.policy(domain)
            sts.addCallback(self._keepPolicy).addCallback(lambda _: mx).addCallbacks(self._mx, self._broken)

    def _keepPolicy(self, policy: StsPolicy | None) -> None:
        self._sts = policy

    def _broken(self, failure: Failure) -> None:
        self._fail(Result.TEMPORARY, Reply(451, f"DNS: {failure.getErrorMessage()}", "4.4.3"))

    # --- by MX

    def _mx(self, answer: MxAnswer) -> None:
        domain = self._key.domain
        self._isSecure = answer.secure
        self._result.until = min(self._result.until, answer.until)
        self._canonical = answer.canonical.rstrip(".").lower()
        if answer.status is Lookup.NXDOMAIN:
            self._fail(Result.PERMANENT, Reply(550, f"Domain {domain} does not exist", "5.1.2"))
        elif answer.status is Lookup.FAILED:
            self._fail(Result.TEMPORARY, Reply(451, f"DNS: MX of {domain}: {answer.error or 'failed'}", "4.4.3"))
        elif answer.status is Lookup.NODATA or not answer.hosts:
            self._isImplicit = True
            self._ask(self._better([[domain]]))
        else:
            levels: dict[int, list[str]] = {}
            for host in sorted(answer.hosts, key=lambda host: host.preference)[:MAX_MX_HOSTS]:
                name = host.host.rstrip(".").lower()
                if name and name not in levels.setdefault(host.preference, []):
                    levels[host.preference].append(name)
            if not any(levels.values()):
                self._fail(Result.PERMANENT, Reply(556, f"Domain {domain} does not accept mail", "5.1.10"))
                return
            self._ask(self._better(list(filter(None, levels.values()))))

    def _better(self, levels: list[list[str]]) -> list[list[str]]:
        """Those before the one in which we stand ourselves, by name (RFC 5321 5.1); what is behind it would send it back to us."""
        for index, names in enumerate(levels):
            for name in names:
                if name in self._filter.ownNames or name == self._key.backup:
                    self.problems.append(f"{name} is this machine")
                    self._refused = "loop"
                    return levels[:index]
        return levels

    def _ask(self, levels: list[list[str]]) -> None:
        self._open(len(levels))
        if not levels:
            self._nowhere()
            return
        for index, names in enumerate(levels):
            self._pending[index] += len(names)
        for index, names in enumerate(levels):
            for name in names:
                self._name(index, name, SMTP_PORT, self._mxTarget)

    def _mxTarget(self, address: str, known: HostFacts) -> Target:
        key = self._key
        remembers = self._policies.remembers(key.domain, known.host)
        wishes = Wishes(key.domain, key.level, sts=self._sts, remembers=remembers, canonical=self._canonical)
        connection = ConnectionKey("smtp", self._source, address, SMTP_PORT, key.helo, "", key.tls)
        return Target.make(connection, known.host, known, wishes)

    # --- explicit hosts

    def _explicit(self) -> None:
        self._open(1)
        self._pending[0] = len(self._key.hosts)
        for host in self._key.hosts:
            level = hostLevel(self._key, host)
            if level is None:
                self.problems.append(f"{host.protocol}://{host.host} contradicts the action's tls")
                self._settle(0)
                continue
            # The operator named it: that is as good as DNS with all its signatures.
            known = HostFacts(host.host.strip("[]"), isSecure=True)
            if host.host.startswith("/"):
                self._result.levels[0].append(self._hostTarget(host, level)(host.host, known))
                self._settle(0)
                continue
            address = canonicalIp(host.host)
            if address:
                self._found(0, self._hostTarget(host, level), known, (address,))
                self._settle(0)
            elif level is Level.NEVER:
                self._name(0, host.host, 0, self._hostTarget(host, level))
            else:
                # Its own policy counts (RFC 8461 2: a smarthost is a policy domain).
                asked = self._policies.policy(host.host)
                asked.addCallback(self._smarthost, host, level)

    def _smarthost(self, policy: StsPolicy | None, host: RelayHost, level: Level) -> None:
        self._name(0, host.host, _port(host), self._hostTarget(host, level, policy))

    def _hostTarget(self, host: RelayHost, level: Level, sts: StsPolicy | None = None) -> Make:
        key = self._key
        protocol = host.protocol if host.protocol in ("smtps", "lmtp") else "smtp"
        credential = f"{key.auth}:{host.label}" if key.auth and host.label else ""
        port = 0 if host.host.startswith("/") else _port(host)
        name = host.host.strip("[]")
        wishes = Wishes(name, level, sts=sts, remembers=self._policies.remembers(name, serviceOf(name, port)))

        def make(address: str, known: HostFacts) -> Target:
            connection = ConnectionKey(protocol, self._source, address, port, key.helo, credential, key.tls)
            return Target.make(connection, host.host, known, wishes)

        return make

    # --- addresses

    def _open(self, levels: int) -> None:
        self._result.levels = [[] for _ in range(levels)]
        self._pending = [0] * levels

    def _name(self, index: int, name: str, port: int, make: Make) -> None:
        """
        @param port: where TLSA records would be; 0: they do not matter.
        """
        isSecure = self._isSecure or not self._isPublished

        def answered(answer: AddressAnswer) -> None:
            self._result.until = min(self._result.until, answer.until)
            if answer.status is not Lookup.FOUND:
                why = (answer.error or answer.status.value).removeprefix(f"{name}: ")
                self.problems.append(f"{name}: {why}")
                self._isUnresolved = True
                if answer.status is Lookup.FAILED:
                    self._refused = self._refused or "failed"
                self._settle(index)
                return
            addresses = answer.addresses[:MAX_ADDRESSES]
            if port and isSecure and answer.secure:
                names = dict.fromkeys((answer.canonical.rstrip(".").lower() or name, name))
                daneFacts(self._resolver, name, tuple(names), port).addCallback(known, addresses)
            else:
                known(HostFacts(name, isSecure=isSecure), addresses)

        def known(facts: HostFacts, addresses: Sequence[str]) -> None:
            self._result.until = min(self._result.until, facts.until)
            self._found(index, make, facts, addresses)
            self._settle(index)

        def broken(failure: Failure) -> None:
            answered(AddressAnswer(Lookup.FAILED, error=failure.getErrorMessage()))

        self._resolver.addresses(name, self._family).addCallbacks(answered, broken)

    def _found(self, index: int, make: Make, known: HostFacts, addresses: Sequence[str]) -> None:
        level = self._result.levels[index]
        for text in addresses:
            address = canonicalIp(text)
            if not address or (self._source and (":" in self._source) != (":" in address)):
                self.problems.append(f"{text}: not of the source's family")
                continue
            made = make(address, known)
            refused = self._filter.refuses(address, made.key.port, self._isPublished)
            if refused:
                self.problems.append(
                    f"{made.label} is {'this machine' if refused == 'own' else 'not a public address'}"
                )
                self._refused = "loop"
                if refused == "own" and self._isPublished:
                    # RFC 5321 5.1: neither ourselves, nor hosts that are worse than ourselves.
                    self._cut = min(self._cut, index)
            elif not any(made.key == other.key for other in level):
                level.append(made)
                if made.barred:
                    self._policies.met(Encounter(made, self._source, problem=made.barred))

    def _settle(self, index: int) -> None:
        self._pending[index] -= 1
        isComplete = not any(pending > 0 for pending in self._pending)
        if self._done is None:
            if index >= self._cut:
                self._result.levels[index].clear()
            if isComplete:
                self._result.complete()
            return
        self._result.isComplete = isComplete
        for level, pending in enumerate(self._pending):
            if pending > 0:
                return
            if level >= self._cut:
                break
            if not all(target.barred for target in self._result.levels[level]):
                # What a policy bars is no reason to do without the others.
                break
        for late in range(self._cut, len(self._pending)):
            self._result.levels[late].clear()
        if any(self._result.levels):
            self._finish()
        else:
            self._nowhere()

    def _nowhere(self) -> None:
        place = self._key.place
        why = "; ".join(self.problems)[:500]
        if self._refused == "loop" and not self._isUnresolved:
            self._fail(Result.LOOP, Reply(554, f"Mail for {place} loops back to this host: {why}", "5.4.6"))
        elif self._refused or not self._isImplicit:
            self._fail(Result.TEMPORARY, Reply(451, f"No usable host for {place}: {why}", "4.4.3"))
        else:
            self._fail(Result.PERMANENT, Reply(550, f"Domain {place} has neither MX nor address", "5.1.2"))

    def _fail(self, result: Result, reply: Reply) -> None:
        self._result.levels = []
        self._result.failure = (result, reply)
        self._finish()

    def _finish(self) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(self._result)


def _port(host: RelayHost) -> int:
    return host.port or (465 if host.protocol == "smtps" else SMTP_PORT)
