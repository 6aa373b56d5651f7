"""What is said of rule sets as a whole, held against what the rules decide about sampled sessions."""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

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
    AskTrust,
    AskUser,
    Service,
    TempFail,
    UserInfo,
)
from pysmtpd.ruleset import decide
from pysmtpd.ruleset.analysis import Relaying, Tables, relaying, shadowed
from pysmtpd.ruleset.candidates import entriesOf, isNamed, isTrusted, networks
from pysmtpd.table.content import Content

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


def tablesOf(config: Config) -> Tables:
    contents = {name: Content(spec.entries) for name, spec in config.tables.items() if spec.backend.name == "static"}

    def match(table: str, service: Service, key: str) -> bool | None:
        content = contents.get(table)
        return None if content is None else content.match(service, key)

    def lookup(table: str, service: Service, key: str) -> Answer:
        content = contents.get(table)
        return TempFail("not read") if content is None else content.lookup(service, key)

    return Tables(match, lookup, lambda table: table in contents)


def verdict(rules: str, listeners: str = "listen on 0.0.0.0") -> Relaying:
    config = configOf(rules, listeners)
    return relaying(config, tablesOf(config))


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


class VerdictTests(SynchronousTestCase):
    def check(self, expected: str, rules: str, listeners: str = "listen on 0.0.0.0") -> Relaying:
        found = verdict(rules, listeners)
        self.assertEqual(found.verdict, expected, f"{rules}: {found}")
        return found

    def test_closed(self) -> None:
        for rules in (
            'match for any action "out"',
            'match from local for any action "out"',
            'match auth from any for any action "out"',
            'match from auth for any action "out"',
            'match from any for local action "local"\nmatch from local for any action "out"',
            'match from any for domain "backup.test" action "out"',
            'match from any for domain "*.backup.test" action "out"',
            'match from any for any reject\nmatch from any for any action "out"',
            'match from any for any rcpt-to "joe@friend.test" action "out"',
            'match ! from any for any action "out"',
        ):
            self.check("closed", rules)

    def test_whatNeverProtects(self) -> None:
        for rules in (
            'match from any for any action "out"',
            'match from any for any mail-from "@example.org" action "out"',
            'match from any for any helo "friend.test" action "out"',
            'match from rdns "friend.test" for any action "out"',
            'match from any for domain "*" action "out"',
            'match from any for domain "*.test" action "out"',
            'match from src 0.0.0.0/0 for any action "out"',
            'match from src 128.0.0.0/7 for any action "out"',
            'match from any tag "x" for any action "out"',
            'match tls from any for any action "out"',
            'match ! from local for any action "out"',
            'match ! auth from any for any action "out"',
            'match from any for any rcpt-to "joe" action "out"',
            'match from any ! for domain "example.org" action "out"',
            'match from any for domain "example.org" reject\nmatch from any for any action "out"',
        ):
            found = self.check("open", rules)
            self.assertIsNotNone(found.where)

    def test_declaredNetworksAreTrusted(self) -> None:
        found = self.check("closed", 'match from src { 192.0.2.0/24, 10.0.0.0/8 } for any action "out"')
        self.assertEqual(found.trusted, ("192.0.2.0/24", "10.0.0.0/8"))

    def test_whatAnyoneMayAnnounce(self) -> None:
        """Behind a PROXY header from anybody, networks are words."""
        rules = 'match from src 192.0.2.0/24 for any action "out"'
        self.check("open", rules, "listen on 0.0.0.0 proxy-v2")
        self.check("closed", rules, "listen on 0.0.0.0 proxy from 198.51.100.1")

    def test_aBalancerOnThisMachine(self) -> None:
        """A listener of the loopback is nobody else's, unless it believes who comes to it."""
        rules = 'match from any for any action "out"'
        self.check("closed", rules, "listen on 127.0.0.1")
        for option in ("proxy from 127.0.0.1", "proxy-v2", "xclient 127.0.0.1"):
            self.check("open", rules, f"listen on 127.0.0.1 {option}")

    def test_aListenerThatDemandsAuthentication(self) -> None:
        rules = 'match from any for any tag "users" action "out"'
        users = "listen on 0.0.0.0 port 587 auth <users> auth-without-tls tag users"
        self.check("closed", rules, f"listen on 0.0.0.0\n{users}")
        self.check("open", rules, f"listen on 0.0.0.0 tag users\n{users}")
        self.check("closed", 'match from any for any action "out"', users)

    def test_forwardsCount(self) -> None:
        out = '\nmatch from local for any action "out"'
        self.check("open", f'match ! from local for any action "catch"{out}')
        self.check("open", f'match ! from local for any action "local"{out}')
        found = self.check("cannot tell", f'match ! from local for any action "sink"{out}')
        self.assertIn(".forward of vmail", found.reason)
        self.check("closed", 'match from any for any action "sink"')

    def test_tablesThatAreNotSeen(self) -> None:
        found = self.check(
            "cannot tell", 'match from any for domain <far> action "out"', "table far file:/far\nlisten on 0.0.0.0"
        )
        self.assertIn("far", found.reason)
        self.assertEqual(found.where and found.where.line, 12)
        regex = 'match from any for domain regex { "^b.*" } action "out"'
        self.check("cannot tell", regex)

    def test_moreOfBoth(self) -> None:
        listeners = "table t { x.example }\ntable far { 10.0.0.0/1 }\nlisten on 0.0.0.0"
        for rule in (
            "! from src <t> for any",
            "from src <far> for any",
            'from src "::/0" for any',
            "from any ! for domain <t>",
            "from any ! for local",
            "from mail-from <t> for any",
            "from rdns <t> for any",
            "from any helo <t> tag x tls for any",
            "from any for rcpt-to <t>",
        ):
            self.check("open", f'match {rule} action "out"', listeners)
        for rule in (
            "from socket for any",
            "from any auth <t> for any",
            "from any for domain <t>",
            "from any for local",
        ):
            self.check("closed", f'match {rule} action "out"', listeners)
        self.check("closed", 'match ! from local for any reject\nmatch from any for any action "out"')
        self.check("open", 'match from any tag x for any reject\nmatch from any for any action "out"')

    def test_text(self) -> None:
        self.assertEqual(str(verdict('match for any action "out"')), "closed")
        self.assertIn('reaches the action "out"', str(verdict('match from any for any action "out"')))


class ShadowTests(SynchronousTestCase):
    def told(self, rules: str, listeners: str = "listen on 0.0.0.0") -> list[tuple[int, str]]:
        config = configOf(rules, listeners)
        return [(where.line - 10, why.partition(": ")[2]) for where, why in shadowed(config, tablesOf(config))]

    def test_none(self) -> None:
        self.assertEqual(
            self.told(
                'match from any for domain "a.test" action "local"\nmatch from any for domain { "a.test", "b.test" } action "out"\n'
                'match for any action "out"'
            ),
            [],
        )

    def test_oneTakesAll(self) -> None:
        (told,) = self.told('match from any for domain "*.test" action "local"\nmatch for domain "a.test" action "out"')
        self.assertEqual(told, (2, "the rule at c:11 takes all of it"))

    def test_severalTakeAll(self) -> None:
        (told,) = self.told(
            'match from any auth for any action "out"\nmatch from any ! auth for any reject\nmatch for any action "out"'
        )
        self.assertEqual(told, (3, "the rules above it take all of it"))

    def test_conditionsThatExcludeEachOther(self) -> None:
        (told,) = self.told('match from any tag "x" for any action "out"\nmatch for any action "out"')
        self.assertEqual(told[0], 1)
        self.assertIn("no listener has its tag", told[1])

    def test_tablesThatAreNotSeenShadowNothing(self) -> None:
        self.assertEqual(
            self.told(
                'match from any for domain <far> action "local"\nmatch from any for domain "a.test" action "out"',
                "table far file:/far\nlisten on 0.0.0.0",
            )[1:],
            [],
        )


DOMAINS = ("example.org", "*.example.org", "a.test", "*", "*.test", "b.*", "c.a.test")
NETWORKS = ("192.0.2.0/24", "192.0.0.0/16", "0.0.0.0/0", "128.0.0.0/2", "2001:db8::/32", "::/0", "198.51.100.7")
NAMES = ("friend.test", "*.friend.test", "*", "mail*")
SENDERS = ("@example.org", "joe@a.test", "<>", "joe", "@*.test")


def randomRules(random: Random) -> str:
    def some(values: tuple[str, ...]) -> str:
        return "{ " + ", ".join(f'"{value}"' for value in random.sample(values, random.randint(1, 2))) + " }"

    rules = []
    for _ in range(random.randint(1, 6)):
        source = random.choice(("from any", "from any", "", f"from src {some(NETWORKS)}", f"! from src {some(NETWORKS)}",
                                f"from rdns {some(NAMES)}", "from rdns", "from auth", "! from local"))  # fmt: skip
        target = random.choice(
            ("for any", "for any", "", f"for domain {some(DOMAINS)}", f"! for domain {some(DOMAINS)}")
        )
        more = [
            text
            for text in (
                f"{random.choice(('', '! '))}helo {some(NAMES)}",
                f"{random.choice(('', '! '))}mail-from {some(SENDERS)}",
                f"{random.choice(('', '! '))}rcpt-to {some(SENDERS[:2] + SENDERS[3:])}",
                random.choice(("tls", "! tls")),
                random.choice(("tag x", "! tag x")),
                "! auth" if source != "from auth" else "",
            )
            if text and random.random() < 0.25
        ]
        end = random.choice(("reject", *[f'action "{name}"' for name in ("out", "out", "local", "sink", "catch")]))
        rules.append(" ".join(filter(None, ["match", source, target, *more, end])))
    return "\n".join(rules)


class BruteForceTests(SynchronousTestCase):
    """Random rule sets: what is called open has a session that shows it; what is called closed has none among those sampled."""

    PEERS = (
        "203.0.113.9",
        "192.0.2.1",
        "192.0.3.1",
        "191.255.255.255",
        "10.1.1.1",
        "2001:db8::1",
        "2a00::1",
        "198.51.100.7",
    )
    WORDS = ("friend.test", "x.friend.test", "mailer", "mail.friend.test", "other.test", "zz")
    HOSTS = (
        "example.org",
        "x.example.org",
        "a.test",
        "c.a.test",
        "d.a.test",
        "b.x",
        "victim.net",
        "b.test",
        "test",
        "z.b.c",
    )
    LOCALS = ("ann", "joe", "bob", "someone")

    def test_verdicts(self) -> None:
        counts: dict[str, int] = {}
        for number in range(120):
            random = Random(number)
            config = configOf(randomRules(random))
            tables = tablesOf(config)
            found = relaying(config, tables)
            counts[found.verdict] = counts.get(found.verdict, 0) + 1
            if found.verdict == "open":
                assert found.witness is not None
                self.assertTrue(self.shows(config, tables, *found.witness, forward=None), f"{number}: {found}")
            elif found.verdict == "closed":
                for _ in range(150):
                    sample = self.sample(config, random)
                    self.assertFalse(
                        sample is not None
                        and (
                            self.shows(config, tables, *sample, None)
                            or self.shows(config, tables, *sample, "o@else.net")
                        ),
                        f"{number}: {sample}",
                    )
        self.assertGreater(min(counts.get(each, 0) for each in ("open", "closed")), 30, counts)

    def shows(self, config: Config, tables: Tables, transaction: Transaction, rcpt: Path, forward: str | None) -> bool:
        return relays(config, decided(config, tables, transaction, rcpt, forward))

    def sample(self, config: Config, random: Random) -> tuple[Transaction, Path] | None:
        """A stranger's transaction with a foreign recipient, by chance; None: chance has made something else."""
        peer = random.choice(self.PEERS)
        if isTrusted(peer, networks(entriesOf(config, Predicate.FROM_SRC))):
            return None
        rcpt = Path(random.choice(self.LOCALS), random.choice(self.HOSTS))
        if isNamed(rcpt.domain, entriesOf(config, Predicate.FOR_DOMAIN, Predicate.FOR_LOCAL)):
            return None
        for entry in entriesOf(config, Predicate.RCPT_TO):
            local, at, domain = entry.rpartition("@")
            if at and local in ("", rcpt.local) and isNamed(rcpt.domain, (domain,)):
                return None
        session = SessionFacts(
            SessionId(1), "l", "mx.example.org", peer,
            rdns=random.choice(("", *self.WORDS)), helo=random.choice(self.WORDS), tag=random.choice(("", "x")),
            tls=random.choice((None, TlsFacts("TLSv1.3", "", 0))),
        )  # fmt: skip
        sender = random.choice((Path("", ""), Path(random.choice(self.LOCALS), random.choice(self.HOSTS))))
        return Transaction(session, sender), rcpt

    def test_whatIsCalledShadowedIsNeverChosen(self) -> None:
        found = 0
        for number in range(80):
            random = Random(f"shadow {number}")
            config = configOf(randomRules(random))
            tables = tablesOf(config)
            never = {where for where, _ in shadowed(config, tables)}
            found += len(never)
            for _ in range(100):
                session = SessionFacts(
                    SessionId(1), "l", "mx.example.org", random.choice((*self.PEERS, "127.0.0.1")),
                    rdns=random.choice(("", *self.WORDS)), helo=random.choice(self.WORDS),
                    user=random.choice(("", "joe")), tls=random.choice((None, TlsFacts("TLSv1.3", "", 0))),
                    isLocal=random.random() < 0.3,
                )  # fmt: skip
                sender = random.choice((Path("", ""), Path(random.choice(self.LOCALS), random.choice(self.HOSTS))))
                rcpt = Path(random.choice(self.LOCALS), random.choice(self.HOSTS))
                step = decided(config, tables, Transaction(session, sender), rcpt, None).step
                self.assertNotIn(step.chosen, never, f"{number}")
        self.assertGreater(found, 10)
