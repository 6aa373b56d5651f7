"""Rule sets by chance, with tables inside and outside of the configuration, and sessions by chance, held against what is said of the rules.

C{python -m tests.bars} does it with a thousand of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from random import Random
from types import MappingProxyType

from pysmtpd.config import Environment, load
from pysmtpd.model.address import Path
from pysmtpd.model.config import Config, Method, Predicate
from pysmtpd.model.decision import Decision
from pysmtpd.model.facts import SessionFacts, TlsFacts, Transaction
from pysmtpd.model.ids import SessionId
from pysmtpd.model.question import (
    Answer,
    Ask,
    AskForward,
    AskLookup,
    AskMatch,
    AskSelf,
    AskTrust,
    AskUser,
    Service,
    TempFail,
    UserInfo,
)
from pysmtpd.ruleset import decide
from pysmtpd.ruleset.analysis import Relaying, Tables, relaying, shadowed
from pysmtpd.table.content import Content
from pysmtpd.table.seen import entriesOf

ENVIRONMENT = Environment("mx.example.org", ("192.0.2.25",))
ACTIONS = """
table aliases { "ann" = "bob, carol@remote.test", "joe" = "bob" }
table catch { "@" = "x@remote.test" }
table users { "joe" = "secret" }
action "local" maildir alias <aliases>
action "sink" maildir virtual { "@" = "vmail" }
action "catch" maildir virtual <catch>
action "out" relay
"""


def configOf(rules: str, listeners: str = "listen on 0.0.0.0") -> Config:
    return load("c", lambda name: f"{ACTIONS}\n{listeners}\n{rules}\n", ENVIRONMENT)


def tablesOf(config: Config, outside: Mapping[str, Sequence[tuple[str, str]]] = MappingProxyType({})) -> Tables:
    """
    @param outside: entries of tables that are not in the configuration, as far as they can be seen.
    """
    contents = {name: Content(spec.entries) for name, spec in config.tables.items() if spec.backend.name == "static"}
    contents |= {name: Content(entries) for name, entries in outside.items()}

    def match(table: str, service: Service, key: str) -> bool | None:
        content = contents.get(table)
        return None if content is None else content.match(service, key)

    def lookup(table: str, service: Service, key: str) -> Answer:
        content = contents.get(table)
        return TempFail("not read") if content is None else content.lookup(service, key)

    def holds(table: str, service: Service, key: str) -> bool:
        return table in contents and contents[table].get(key) is not None

    def entries(table: str, service: Service) -> Iterable[tuple[str, str]] | None:
        return entriesOf(contents[table]) if table in contents and service is not Service.REGEX else None

    return Tables(match, lookup, holds, entries)


def verdict(
    rules: str,
    listeners: str = "listen on 0.0.0.0",
    outside: Mapping[str, Sequence[tuple[str, str]]] = MappingProxyType({}),
) -> Relaying:
    config = configOf(rules, listeners)
    return relaying(config, tablesOf(config, outside))


def decided(config: Config, tables: Tables, transaction: Transaction, rcpt: Path, forward: str | None) -> Decision:
    """What the rules decide, where every user exists and has this .forward."""

    def answer(ask: Ask) -> Answer:
        match ask:
            case AskMatch():
                return tables.match(*ask)
            case AskLookup():
                return tables.lookup(*ask)
            case AskUser(name):
                return UserInfo(name, 1000, 1000, f"/home/{name}")
            case AskForward():
                return forward
            case AskTrust():
                return True
            case AskSelf():
                return UserInfo("daemon", 990, 990, "/var/empty")
        raise AssertionError(ask)

    deciding = decide(config, rcpt, transaction)
    try:
        ask = next(deciding)
        while True:
            ask = deciding.send(answer(ask))
    except StopIteration as ended:
        decision: Decision = ended.value
        return decision


def relays(config: Config, decision: Decision) -> bool:
    return any(config.actions[one.action].method is Method.RELAY for one in decision.destinations)


DOMAINS = (
    *("example.org", "*.example.org", "a.test", "*", "*.test", "b.*", "c.a.test", "*foo*", "*bar*", "*.com"),
    *("mx*.a*.test", "victim.net"),
)
NETWORKS = (
    "192.0.2.0/24",
    "192.0.0.0/16",
    "0.0.0.0/0",
    "128.0.0.0/2",
    "2001:db8::/32",
    "::/0",
    "198.51.100.7",
    "10.0.0.0/8",
)
NAMES = ("friend.test", "*.friend.test", "*", "mail*", "*foo*")
SENDERS = ("@example.org", "joe@a.test", "<>", "joe", "@*.test", "ann@*foo*", "bob")
VALUES = (
    "bob",
    "joe",
    "x@remote.test",
    "ann@a.test",
    "joe@victim.net",
    "bob, x@foo.com",
    "|/bin/prog",
    "error:550 no",
    "/var/mail/x",
)
MAPPED = ("ann", "joe", "ann@a.test", "joe@victim.net", "@a.test", "@b.foo", "@", "bob@remote.test", "someone")

PEERS = (
    *("203.0.113.9", "192.0.2.1", "192.0.3.1", "191.255.255.255", "10.1.1.1", "11.0.0.1", "2001:db8::1", "2a00::1"),
    "198.51.100.7",
)
WORDS = ("friend.test", "x.friend.test", "mailer", "mail.friend.test", "other.test", "zz", "a.foo.b")
HOSTS = (
    *("example.org", "x.example.org", "a.test", "c.a.test", "d.a.test", "b.x", "victim.net", "b.test", "test"),
    *("z.b.c", "foo.com", "barfoo", "afoob.bar.org", "mx1.ab.test", "b.foo", "remote.test", "x.com"),
)
LOCALS = ("ann", "joe", "bob", "someone", "ann+x")
_TLS = TlsFacts("TLSv1.3", "", 0)


@dataclass(frozen=True)
class Case:
    """
    @ivar outside: entries of tables in files, by name.
    @ivar unseen: some of these tables cannot be looked into.
    """

    config: Config
    outside: Mapping[str, Sequence[tuple[str, str]]]
    tables: Tables
    unseen: bool

    @property
    def truth(self) -> Tables:
        """What the tables really hold."""
        return tablesOf(self.config, self.outside)


def makeCase(random: Random) -> Case:
    outside: dict[str, list[tuple[str, str]]] = {
        "domains": [(key, "") for key in random.sample(DOMAINS, random.randint(0, 4))],
        "networks": [(key, "") for key in random.sample(NETWORKS, random.randint(0, 3))],
        "writers": [(key, "") for key in random.sample(SENDERS, random.randint(0, 3))],
        "people": [(key, random.choice(VALUES)) for key in random.sample(MAPPED, random.randint(0, 6))],
        "names": [
            (key, random.choice(VALUES)) for key in random.sample(MAPPED, random.randint(0, 4)) if "@" not in key
        ],
    }
    if random.random() < 0.3:
        # Many that are all the same.
        outside["domains"] += [(f"d{number}.customers.net", "") for number in range(500)]
        outside["people"] += [(f"u{number}@a.test", "vmail") for number in range(200)]
        outside["networks"] += [(f"10.{number}.0.0/16", "") for number in range(100)]
    hidden = random.choice(list(outside)) if random.random() < 0.2 else ""
    declared = "".join(f"table {name} file:/{name}\n" for name in outside)
    actions = 'action "far" maildir virtual <people>\naction "near" maildir alias <names>\n'
    listeners = "listen on 0.0.0.0" + random.choice(("", "", " tag x"))
    config = configOf(randomRules(random), f"{listeners}\n{declared}{actions}")
    seen = {name: entries for name, entries in outside.items() if name != hidden}
    return Case(config, outside, tablesOf(config, seen), bool(hidden))


def randomRules(random: Random) -> str:
    def some(values: tuple[str, ...], outside: str) -> str:
        if random.random() < 0.35:
            return f"<{outside}>"
        return "{ " + ", ".join(f'"{value}"' for value in random.sample(values, random.randint(1, 2))) + " }"

    def source() -> str:
        nets, names = some(NETWORKS, "networks"), some(NAMES, "domains")
        return random.choice(
            (
                *("from any", "from any", "", f"from src {nets}", f"! from src {nets}"),
                *(f"from rdns {names}", "from rdns", "from auth", "! from local"),
            )
        )

    rules = []
    for _ in range(random.randint(1, 6)):
        begin, domains = source(), some(DOMAINS, "domains")
        target = random.choice(("for any", "for any", "", f"for domain {domains}", f"! for domain {domains}"))
        more = [
            text
            for text in (
                f"{random.choice(('', '! '))}helo {some(NAMES, 'domains')}",
                f"{random.choice(('', '! '))}mail-from {some(SENDERS, 'writers')}",
                f"{random.choice(('', '! '))}rcpt-to {some(SENDERS[:2] + SENDERS[3:], 'writers')}",
                random.choice(("tls", "! tls")),
                random.choice(("tag x", "! tag x")),
                "! auth" if begin != "from auth" else "",
            )
            if text and random.random() < 0.25
        ]
        actions = ("out", "out", "local", "sink", "catch", "far", "near")
        end = random.choice(("reject", *[f'action "{name}"' for name in actions]))
        rules.append(" ".join(filter(None, ["match", begin, target, *more, end])))
    return "\n".join(rules)


def keysOf(case: Case, *predicates: Predicate) -> list[str]:
    """The entries of tables that rules hold against these."""
    found: list[str] = []
    for rule in case.config.rules:
        for condition in rule.conditions:
            if condition.predicate in predicates and condition.table is not None:
                name = condition.table.name
                found += [key.lower() for key, _ in case.outside.get(name, case.config.tables[name].entries)]
    return found


def isDeclared(case: Case, peer: str) -> bool:
    """Is it in a network that some rule is from, and that is not too wide for trust?"""
    address = ip_address(peer)
    found = [ip_network(key, strict=False) for key in keysOf(case, Predicate.FROM_SRC)]
    return any(network.prefixlen >= 8 and address in network for network in found if network.version == address.version)


def isOurs(case: Case, rcpt: Path) -> bool:
    """Does some rule name its domain, by itself or by two labels at least, or the address?"""
    domain = rcpt.domain.lower()

    def names(entry: str) -> bool:
        return entry == domain or (
            entry.startswith("*.") and entry.count("*") == 1 and entry.count(".") > 1 and domain.endswith(entry[1:])
        )

    if domain == case.config.serverName or any(map(names, keysOf(case, Predicate.FOR_DOMAIN, Predicate.FOR_LOCAL))):
        return True
    said = [key.rpartition("@") for key in keysOf(case, Predicate.RCPT_TO)]
    return any(at and local in ("", rcpt.local.lower()) and names(where) for local, at, where in said)


def relaysFor(case: Case, transaction: Transaction, rcpt: Path, forward: str | None) -> bool:
    return relays(case.config, decided(case.config, case.truth, transaction, rcpt, forward))


def sample(case: Case, random: Random) -> tuple[Transaction, Path]:
    """A session's transaction and a recipient."""
    entries = [key.rpartition("@") for key in (*MAPPED, *(key for key, _ in case.outside["people"][:20]))]
    rcpt = Path(
        random.choice((*LOCALS, *(local for local, at, _ in entries if at and local))),
        random.choice((*HOSTS, *(domain for _, at, domain in entries if at and domain))),
    )
    session = SessionFacts(
        SessionId(1),
        "l",
        "mx.example.org",
        random.choice(PEERS),
        rdns=random.choice(("", *WORDS)),
        helo=random.choice(WORDS),
        tag=random.choice(("", "x")),
        tls=random.choice((None, _TLS)),
    )
    sender = random.choice((Path("", ""), Path(random.choice(LOCALS), random.choice(HOSTS))))
    return Transaction(session, sender), rcpt


def checkVerdict(number: int, sessions: int) -> str:
    """What is called open has a session that shows it; what is called closed has none among those sampled.

    @return: the verdict.
    @raise AssertionError: it is wrong.
    """
    random = Random(number)
    case = makeCase(random)
    found = relaying(case.config, case.tables)
    if found.verdict == "open":
        assert found.witness is not None
        transaction, rcpt = found.witness
        assert not isDeclared(case, transaction.session.peer), f"{number}: {found}"
        assert case.unseen or not isOurs(case, rcpt), f"{number}: {found}"
        assert relaysFor(case, transaction, rcpt, None), f"{number}: {found}"
    elif found.verdict == "closed":
        for _ in range(sessions):
            transaction, rcpt = sample(case, random)
            if isDeclared(case, transaction.session.peer) or isOurs(case, rcpt):
                continue
            if case.config.listeners[0].tag not in ("", transaction.session.tag):
                # All listeners give another one. A tag that none gives is thought to be to be had.
                continue
            for forward in (None, "o@else.net"):
                assert not relaysFor(case, transaction, rcpt, forward), f"{number}: {transaction} {rcpt}"
    else:
        assert case.unseen or ".forward of " in found.reason, f"{number}: {found}"
    return found.verdict


def checkShadows(number: int, sessions: int) -> int:
    """What is said never to match matches none of the sampled sessions.

    @return: how many rules that is said of.
    @raise AssertionError: it is wrong.
    """
    random = Random(f"shadow {number}")
    case = makeCase(random)
    never = {where for where, _ in shadowed(case.config, case.tables)}
    for _ in range(sessions if never else 0):
        transaction, rcpt = sample(case, random)
        session = transaction.session
        session = SessionFacts(
            session.session,
            "l",
            "mx.example.org",
            random.choice((*PEERS, "127.0.0.1")),
            rdns=session.rdns,
            helo=session.helo,
            tag=case.config.listeners[0].tag,
            user=random.choice(("", "joe")),
            tls=session.tls,
            isLocal=random.random() < 0.3,
        )
        step = decided(case.config, case.truth, Transaction(session, transaction.sender), rcpt, None).step
        assert step.chosen not in never, f"{number}: {rcpt} {session}"
    return len(never)
