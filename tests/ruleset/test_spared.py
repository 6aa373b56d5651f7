"""Questions that a screen spares change nothing: the decision is the same value, its record included."""

from __future__ import annotations

from random import Random

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.model.decision import Considered, Question, Record, Where
from pysmtpd.model.question import AskMatch, Holders, Service
from pysmtpd.table import static
from pysmtpd.table.screen import makeScreen
from pysmtpd.table.uses import servicesOf
from tests.ruleset.driver import World, transaction
from tests.table.platform import SmallPlatform

DOMAINS = ("example.org", "*.example.org", "a.test", "*", "*.test", "b.*", "c.a.test", "*est", "foreign.example")
NETWORKS = ("192.0.2.0/24", "192.0.0.0/16", "0.0.0.0/1", "2001:db8::/32", "198.51.100.7", "203.0.113.9", "local")
ADDRESSES = ("@example.org", "joe@a.test", "<>", "joe", "@*.test", "ann+x@a.test", "ann@a.test", "@", "joe@b*")
WORDS = ("ann", "joe", "x", "ann@a.test", "other")
WHOLE = ("ann", "joe+x", "ann+x", "Joe")
HOSTS = ("example.org", "x.example.org", "a.test", "C.a.test", "b.x", "victim.net", "test")
PEERS = ("192.0.2.9", "192.0.9.9", "203.0.113.9", "2001:db8::9", "2a00::1", "198.51.100.7")


def randomText(random: Random, rules: int) -> str:
    """A rule set with many tables."""

    def some(values: tuple[str, ...]) -> str:
        return "{ " + ", ".join(f'"{value}"' for value in random.sample(values, random.randint(1, 2))) + " }"

    def maybe(text: str, chance: float = 0.3) -> str:
        return f"{random.choice(('', '', '! '))}{text}" if random.random() < chance else ""

    lines = [
        'table aliases { "joe" = "ann, x@a.test" }',
        'action "local" maildir alias <aliases>',
        'action "out" relay',
    ]
    for _ in range(rules):
        words = [
            "match",
            random.choice(
                ("from any", "from any", "from local", f"from src {some(NETWORKS)}", f"! from src {some(NETWORKS)}")
            ),
            random.choice(("for any", f"for domain {some(DOMAINS)}", f"! for domain {some(DOMAINS)}")),
            maybe(f"mail-from {some(ADDRESSES)}"),
            maybe(f"rcpt-to {some(ADDRESSES)}", 0.6),
            maybe(f"helo {some(DOMAINS)}", 0.2),
            maybe(f"auth {some(WORDS)}", 0.2),
            maybe(f"tag {some(WORDS)}", 0.2),
            random.choice(("reject", 'action "local"', 'action "out"')),
        ]
        lines.append(" ".join(filter(None, words)))
    return "\n".join(lines)


def holdersOf(world: World) -> Holders:
    """As a daemon with these tables has them."""
    platform = SmallPlatform().asPlatform
    tables = {name: static.make("", platform, {"spec": spec}) for name, spec in world.config.tables.items()}
    made: list[Holders] = []
    making = Deferred.fromCoroutine(makeScreen(platform, tables, servicesOf(world.config)))
    making.addCallback(lambda screen: made.append(screen.holders) if screen is not None else None)
    return made[0]


def check(case: SynchronousTestCase, number: int, sessions: int) -> tuple[int, int]:
    """Hold decisions with and without a screen against each other.

    @return: how many questions were asked without and with it.
    """
    random = Random(number)
    world = World(randomText(random, 30), users="ann joe x")
    holders = holdersOf(world)
    counts = [0, 0]
    for _ in range(sessions):
        sent = transaction(
            random.choice(("", f"{random.choice(WHOLE)}@{random.choice(HOSTS)}")),
            peer=random.choice(PEERS),
            helo=random.choice(HOSTS),
            user=random.choice(("", "", *WORDS)),
            tag=random.choice(("", *WORDS)),
            isLocal=random.random() < 0.2,
        )
        world.failing = {random.choice(list(world.contents))} if random.random() < 0.1 else set()
        rcpt = f"{random.choice(WHOLE)}@{random.choice(HOSTS)}"
        decided = []
        for spare in (None, holders):
            world.asked.clear()
            decided.append(world.decide(rcpt, sent, spare))
            counts[spare is not None] += sum(isinstance(ask, AskMatch) for ask in world.asked)
        if world.failing and decided[0].refusal is not None and decided[0].refusal.isTemporary:
            # What is known to be no needs no answer: it can be told though the table is away.
            continue
        case.assertEqual(decided[0], decided[1], f"{number}: {rcpt} {sent}")
        case.assertEqual(tuple(decided[0].step.questions), tuple(decided[1].step.questions))
        case.assertEqual(hash(decided[0]), hash(decided[1]))
    return counts[0], counts[1]


class SparedTests(SynchronousTestCase):
    def test_theDecisionIsTheSame(self) -> None:
        without = spared = 0
        for number in range(25):
            one, other = check(self, number, 20)
            without, spared = without + one, spared + other
        self.assertLess(spared, without / 2)


class RecordTests(SynchronousTestCase):
    CONSIDERED = (Considered(Where("c", 1), "match"), Considered(Where("c", 2), "match", "from local"))

    def test_isThatTuple(self) -> None:
        record = Record(lambda: self.CONSIDERED[:1], self.CONSIDERED[1:])
        self.assertEqual(record, self.CONSIDERED)
        self.assertEqual(self.CONSIDERED, record)
        self.assertEqual(record, Record(lambda: self.CONSIDERED))
        self.assertNotEqual(record, self.CONSIDERED[:1])
        self.assertNotEqual(record, list(self.CONSIDERED))
        self.assertEqual((hash(record), len(record), repr(record)), (hash(self.CONSIDERED), 2, repr(self.CONSIDERED)))
        self.assertEqual(
            (record[1], record[:1], list(record)), (self.CONSIDERED[1], self.CONSIDERED[:1], [*self.CONSIDERED])
        )

    def test_isWrittenOnceAndLate(self) -> None:
        written: list[int] = []

        def write() -> tuple[Question, ...]:
            written.append(1)
            return (Question(AskMatch("t", Service.DOMAIN, "a"), False),)

        record = Record(write)
        self.assertEqual(written, [])
        self.assertEqual([len(record), len(list(record))], [1, 1])
        self.assertEqual(written, [1])
