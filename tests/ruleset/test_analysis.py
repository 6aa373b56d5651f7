"""What is said of rule sets as a whole, held against what the rules decide about sampled sessions."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.ruleset.analysis import Relaying, shadowed
from tests.ruleset.brute import checkShadows, checkVerdict, configOf, tablesOf, verdict


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
        told = self.check("closed", rules, "listen on 127.0.0.1")
        self.assertIsNotNone(told.where)
        self.assertIn("only loopback addresses are listened on; else from ", str(told))
        for option in ("proxy from 127.0.0.1", "proxy-v2", "xclient 127.0.0.1"):
            self.check("open", rules, f"listen on 127.0.0.1 {option}")

    def test_aListenerThatDemandsAuthentication(self) -> None:
        rules = 'match from any for any tag "users" action "out"'
        users = "listen on 0.0.0.0 port 587 auth <users> auth-without-tls tag users"
        self.check("closed", rules, f"listen on 0.0.0.0\n{users}")
        self.check("open", rules, f"listen on 0.0.0.0 tag users\n{users}")
        self.check("closed", 'match from any for any action "out"', users)

    def test_inlineTablesHaveNoName(self) -> None:
        found = self.check("cannot tell", 'match from any for domain regex "x" action "out"')
        self.assertEqual(found.reason, "it depends on inline table, which is not known here")

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


class BruteForceTests(SynchronousTestCase):
    """A few of those that C{python -m tests.bars} tries."""

    def test_verdicts(self) -> None:
        counts: dict[str, int] = {}
        for number in range(40):
            found = checkVerdict(number, 60)
            counts[found] = counts.get(found, 0) + 1
        self.assertGreater(min(counts.get(each, 0) for each in ("open", "closed")), 8, counts)

    def test_whatIsCalledShadowedIsNeverChosen(self) -> None:
        self.assertGreater(sum(checkShadows(number, 40) for number in range(20)), 3)
