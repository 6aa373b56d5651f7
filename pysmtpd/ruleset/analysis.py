"""What can be said of a rule set as a whole: rules that never match, and whether strangers can relay."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from pysmtpd.model.address import NULL_PATH, Path
from pysmtpd.model.config import AuthMode, Config, ListenerSpec, Method, Predicate
from pysmtpd.model.decision import Decision, Where
from pysmtpd.model.facts import SessionFacts, TlsFacts, Transaction
from pysmtpd.model.ids import SessionId
from pysmtpd.model.netaddr import isLoopback
from pysmtpd.model.question import Answer, Ask, Service, called
from pysmtpd.ruleset.alike import Alike
from pysmtpd.ruleset.candidates import names, senders, tagsOf, told
from pysmtpd.ruleset.compile import Compiled, CompiledRule, compileRules
from pysmtpd.ruleset.expansion import Expansion
from pysmtpd.ruleset.named import Named
from pysmtpd.ruleset.networks import Network, Trusted, addresses, networks
from pysmtpd.ruleset.sights import Tables, TooMany, entriesOf
from pysmtpd.ruleset.suppositions import Unknown, Way, Ways
from pysmtpd.ruleset.walk import Walk

__all__ = ["Relaying", "Tables", "TooMany", "postmasters", "relaying", "shadowed"]

# What stands for the unknown in questions.
_PEER, _RDNS, _HELO, _TAG, _USER = "zqpeer", "zqrdns", "zqhelo", "zqtag", "zquser"
_SENDER = Path("zqsender", "zqsender")
_RCPT = Path("zqlocal", "zqdomain")
_TLS = TlsFacts("TLSv1.3", "", 0)

# Domains of one rule whose postmaster is looked for.
_MAX_DOMAINS = 100
# Tables that are named in a sentence.
_MOST_NAMED = 4
# Networks that are listed.
_MOST_LISTED = 100


@dataclass(frozen=True, slots=True)
class Relaying:
    """Can a peer that is neither local nor authenticated reach a relay for a foreign domain?

    @ivar verdict: closed, open, or C{"cannot tell"}.
    @ivar where: of the rule by which it can, or may; or could, if the listeners were not for this machine alone.
    @ivar reason: one sentence; empty where nothing is to be said of closed.
    @ivar trusted: networks that C{from src} declares; of many the first hundred, and how many more there are.
    @ivar witness: of an open relay: a transaction and a recipient that show it.
    @ivar asOf: tables that were looked into and may change while the configuration does not: the verdict is of what they hold now.
    """

    verdict: str
    where: Where | None = None
    reason: str = ""
    trusted: tuple[str, ...] = ()
    witness: tuple[Transaction, Path] | None = None
    asOf: tuple[str, ...] = ()

    def __str__(self) -> str:
        where = f" ({self.where})" if self.where is not None else ""
        return f"{self.verdict}{where}{self._asOf()}{': ' if self.reason else ''}{self.reason}"

    def _asOf(self) -> str:
        if len(self.asOf) > _MOST_NAMED:
            return f", as {len(self.asOf)} tables are now"
        if not self.asOf:
            return ""
        return (
            f", as the table{'s' * (len(self.asOf) > 1)} {', '.join(self.asOf)} {'are' if self.asOf[1:] else 'is'} now"
        )


def relaying(config: Config, tables: Tables) -> Relaying:
    """The verdict about open relaying. Whatever cannot be told is never called closed.

    A foreign domain is one that no rule names. A stranger has an address of no declared network, may choose its names, its sender and
    its listener, unless that demands authentication, and may use TLS or not.
    """
    trusted: tuple[str, ...] = ()
    try:
        declared = networks(entriesOf(config, tables, Predicate.FROM_SRC))
        trusted = _listed(declared)
        return _relaying(config, tables, declared, trusted)
    except TooMany as error:
        return Relaying("cannot tell", None, f"there are too many {error}", trusted)


def _relaying(config: Config, tables: Tables, declared: Sequence[Network], trusted: tuple[str, ...]) -> Relaying:
    """
    @raise TooMany:
    """
    tags = _strangersTags(config, tables)
    if tags:
        return _reachable(config, tables, declared, trusted, tags)
    own = tuple(dict.fromkeys(each.tag.lower() for each in config.listeners if each.auth is not AuthMode.REQUIRED))
    found = _reachable(config, tables, declared, trusted, own) if own else None
    if found is None or found.verdict != "open":
        return Relaying("closed", trusted=trusted)
    # It is one line away from being open.
    return Relaying("closed", found.where, f"only loopback addresses are listened on; else {found.reason}", trusted)


def _reachable(
    config: Config, tables: Tables, declared: Sequence[Network], trusted: tuple[str, ...], tags: Sequence[str]
) -> Relaying:
    """The verdict where strangers reach listeners with these tags.

    @raise TooMany:
    """
    peers = _strangers(config, tables, declared)
    named = Named(config, tables)
    foreign = Alike(config, tables).all(lambda local, domain: not named.isNamed(local, domain), onlyForeign=True)
    if not peers or not foreign:
        return Relaying("cannot tell", None, "the declared networks or domains leave nobody out", trusted)
    doubt: Relaying | None = None
    compiled = compileRules(config)
    byPlace = {rule.place: rule.where for rule in compiled.rules}
    for facts in _sessions():
        try:
            for way in _ways(config, tables, peers, tags, foreign, facts, _expanding(compiled)):
                found = _relayed(config, way.result)
                if found is None:
                    continue
                place, action = found
                where = byPlace.get(place)
                if not way.guesses:
                    witness = _witness(config, way, facts)
                    return Relaying("open", where, _example(witness, action), trusted, witness)
                if doubt is None:
                    doubt = Relaying(
                        "cannot tell",
                        where,
                        f"it depends on {', '.join(map(called, way.guesses))}, which is not known here",
                        trusted,
                    )
        except TooMany as error:
            doubt = doubt or Relaying("cannot tell", None, f"there are too many {error}", trusted)
    return doubt or Relaying("closed", trusted=trusted)


def shadowed(config: Config, tables: Tables) -> list[tuple[Where, str]]:
    """Rules that can never match, with why: one sentence. Empty also where it cannot be told."""
    compiled = compileRules(config)
    reached: dict[int, None] = {}
    try:
        for place in _reached(config, compiled, tables):
            reached[place] = None
        told: list[tuple[Where, str]] = []
        for place, rule in enumerate(compiled.rules):
            if place not in reached:
                told.append((rule.where, _why(config, compiled, tables, place)))
        return told
    except TooMany:
        return []


def postmasters(config: Config, tables: Tables) -> list[tuple[Path, Transaction, Where]]:
    """Who must be reached (RFC 5321 4.5.1), by a local sender, and the rule that makes the domain ours: one for each domain that rules name
    for local delivery."""
    session = SessionFacts(SessionId(0), "", config.serverName, "127.0.0.1", helo="localhost", isLocal=True)
    found: dict[str, tuple[Path, Transaction, Where]] = {}
    for rule in config.rules:
        action = config.actions[rule.action] if rule.action is not None else None
        if action is None or action.method is Method.RELAY:
            continue
        for condition in rule.conditions:
            if condition.negated or condition.table is None or condition.table.regex:
                continue
            if condition.predicate is Predicate.FOR_LOCAL:
                domains: Iterable[str] = [config.serverName]
            elif condition.predicate is Predicate.FOR_DOMAIN:
                entries = tables.entries(condition.table.name, Service.DOMAIN) or ()
                domains = (key for key, _ in entries if "*" not in key)
            else:
                continue
            for domain in islice(domains, _MAX_DOMAINS):
                found.setdefault(domain.lower(), (Path("postmaster", domain), Transaction(session), rule.where))
    return list(found.values())


def _why(config: Config, compiled: Compiled, tables: Tables, place: int) -> str:
    rule = compiled.rules[place]
    if not list(_reached(config, compiled._replace(rules=(rule,)), tables)):
        return "this rule can never match: its conditions exclude each other, or no listener has its tag"
    for earlier in compiled.rules[:place]:
        if 1 not in list(_reached(config, compiled._replace(rules=(earlier, rule)), tables)):
            return f"this rule can never match: the rule at {earlier.place} takes all of it"
    return "this rule can never match: the rules above it take all of it"


def _reached(config: Config, compiled: Compiled, tables: Tables) -> Iterator[int]:
    """The places of rules that some session reaches.

    @raise TooMany:
    """
    declared = networks(entriesOf(config, tables, Predicate.FROM_SRC))
    peers = told(config, tables, Predicate.FROM_SRC, addresses(declared))
    tags = tuple(dict.fromkeys(("", *tagsOf(config)))) if not config.listeners else tuple(tagsOf(config))
    everyone = Alike(config, tables).all(lambda local, domain: True, onlyForeign=False)
    missing = dict.fromkeys(range(len(compiled.rules)))
    for facts in _everybody():
        for way in _ways(config, tables, peers, tags, everyone, facts, _walking(compiled)):
            if isinstance(way.result, CompiledRule):
                place = compiled.rules.index(way.result)
                missing.pop(place, None)
                yield place
            if not missing:
                return


# --- sessions


def _sessions() -> Iterator[dict[str, Any]]:
    """What strangers may be."""
    for tls in (None, _TLS):
        for rdns in (_RDNS, ""):
            yield {"tls": tls, "rdns": rdns}


def _everybody() -> Iterator[dict[str, Any]]:
    """What anybody may be: the last three are a local program, an authenticated one, and an address that an expansion has given."""
    for facts in _sessions():
        for user in ("", _USER):
            yield {**facts, "user": user}
            yield {**facts, "user": user, "isLocal": True}
            yield {**facts, "user": user, "isLocal": True, "isSocket": True, "peer": "local"}
            yield {**facts, "user": user, "isLocal": True, "peer": "local"}


def _ways(
    config: Config,
    tables: Tables,
    peers: Sequence[str],
    tags: Sequence[str],
    recipients: Sequence[tuple[str, str]],
    facts: dict[str, Any],
    begin: Callable[[Transaction], Generator[Ask, Answer, Any]],
) -> Iterator[Way]:
    delimiter = config.subAddressDelimiter
    same = str
    unknowns = (
        Unknown({_PEER: same}, tuple(peers)),
        Unknown({_RDNS: same}, names(config, tables, Predicate.FROM_RDNS)),
        Unknown({_HELO: same}, names(config, tables, Predicate.HELO)),
        Unknown({_TAG: same}, tuple(tags)),
        Unknown({_SENDER.key: same}, senders(config, tables)),
        Unknown({_USER: same}, names(config, tables, Predicate.AUTH)),
        Unknown(
            {
                _RCPT.key: lambda rcpt: f"{rcpt[0]}@{rcpt[1]}",
                _RCPT.domain: lambda rcpt: str(rcpt[1]),
                _RCPT.local: lambda rcpt: str(rcpt[0]),
                f"@{_RCPT.domain}": lambda rcpt: f"@{rcpt[1]}",
            },
            tuple(recipients),
        ),
    )
    session = SessionFacts(SessionId(0), "", config.serverName, **{"peer": _PEER, "helo": _HELO, "tag": _TAG, **facts})
    transaction = Transaction(session, _SENDER)
    yield from Ways(tables, unknowns, delimiter).all(lambda: begin(transaction))


def _expanding(compiled: Compiled) -> Callable[[Transaction], Generator[Ask, Answer, Decision]]:
    return lambda transaction: Expansion(compiled, _RCPT, transaction).run()


def _walking(compiled: Compiled) -> Callable[[Transaction], Generator[Ask, Answer, Any]]:
    def walk(transaction: Transaction) -> Generator[Ask, Answer, Any]:
        # A rule as it is: what it leads to is another question.
        return (yield from Walk(compiled, _RCPT, transaction, isForwarded=False).run())

    return walk


def _strangers(config: Config, tables: Tables, declared: Sequence[Network]) -> tuple[str, ...]:
    """
    @raise TooMany:
    """
    own = dict.fromkeys(config.localAddresses)
    believed = any(
        (listener.proxy is not None and (listener.proxy.source is None or _isWide(tables, listener.proxy.source.name)))
        or (listener.xclient is not None and _isWide(tables, listener.xclient.name))
        for listener in config.listeners
    )
    if believed:
        return told(config, tables, Predicate.FROM_SRC, addresses(declared))
    found = (peer for peer in addresses(declared, Trusted(declared)) if not (isLoopback(peer) or peer in own))
    return told(config, tables, Predicate.FROM_SRC, found)


def _listed(declared: Sequence[Network]) -> tuple[str, ...]:
    """For people: those that are trusted, or the first of them."""
    trusted = (network for network in declared if network.isTrusted and not network.isLoopback)
    listed = [str(network) for network in islice(trusted, _MOST_LISTED)]
    more = sum(1 for _ in trusted)
    return (*listed, f"and {more} more") if more else tuple(listed)


def _isWide(tables: Tables, table: str) -> bool:
    """May strangers be in it? What cannot be seen may hold anybody.

    @raise TooMany:
    """
    entries = tables.entries(table, Service.NETADDR)
    if entries is None:
        return True
    return any(not network.isTrusted for network in networks(key for key, _ in entries))


def _strangersTags(config: Config, tables: Tables) -> tuple[str, ...]:
    """A tag protects nobody; a listener that demands authentication does, and its tag is not to be had without."""
    given = tagsOf(config)
    mentioned = dict.fromkeys(entriesOf(config, tables, Predicate.TAG))
    closed = [listener for listener in config.listeners if listener.auth is AuthMode.REQUIRED or _isOwn(listener)]
    if config.listeners and len(closed) == len(config.listeners):
        return ()
    open_ = dict.fromkeys(listener.tag.lower() for listener in config.listeners if listener not in closed)
    free = [tag for tag in mentioned if tag not in given and "*" not in tag]
    return tuple(dict.fromkeys([*open_, *free])) or ("",)


def _isOwn(listener: ListenerSpec) -> bool:
    """Do only this machine's programs reach it? A balancer here, which announces its peers, brings the world."""
    return listener.proxy is None and listener.xclient is None and all(map(isLoopback, listener.addresses))


# --- what came of it


def _relayed(config: Config, decision: Decision) -> tuple[str, str] | None:
    """Place and action of a destination that leaves this machine."""
    for destination in decision.destinations:
        if config.actions[destination.action].method is Method.RELAY and not destination.command:
            return destination.rule, destination.action
    return None


def _witness(config: Config, way: Way, facts: dict[str, Any]) -> tuple[Transaction, Path]:
    peers, names, helos, tags, senders, _, rcpts = way.left
    rdns = names[0] if facts["rdns"] else ""
    session = SessionFacts(
        SessionId(0), "", config.serverName, peers[0], rdns=rdns, helo=helos[0], tag=tags[0], tls=facts["tls"]
    )
    local, at, domain = senders[0].rpartition("@")
    return Transaction(session, Path(local, domain) if at else NULL_PATH), Path(*rcpts[0])


def _example(witness: tuple[Transaction, Path], action: str) -> str:
    transaction, rcpt = witness
    session = transaction.session
    tag = f' with the tag "{session.tag}"' if session.tag else ""
    return f'from {session.peer}{tag}, <{transaction.sender}> to <{rcpt}> reaches the action "{action}"'
