"""Which policy counts, and when it is fetched."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.dns.resolver import Resolver
from pysmtpd.mta.policy.file import SAVE_DELAY
from pysmtpd.mta.policy.https import NotFetched
from pysmtpd.mta.policy.known import AGAIN_SECONDS, FAILURE_SECONDS, StsPolicies
from pysmtpd.mta.policy.sts import Mode, StsPolicy
from pysmtpd.testing.dns import TTL, ScriptedDns
from pysmtpd.testing.platform import SimulatedPlatform

DAY = 86400.0
PATH = "/var/spool/pysmtpd/mta-sts.json"


def content(mode: str = "enforce", host: str = "mx.example.org", age: float = DAY) -> bytes:
    return f"version: STSv1\nmode: {mode}\nmx: {host}\nmax_age: {age:.0f}\n".encode()


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.begin(0)

    def begin(self, seed: int) -> None:
        self.platform = SimulatedPlatform(seed)
        self.platform.disk.directory("/var/spool/pysmtpd")
        self.dns = ScriptedDns(self.platform.internet)
        self.dns.text("_mta-sts.example.org", "v=STSv1; id=1")
        self.content: bytes | Exception = content()
        self.fetched: list[str] = []
        self.told: list[tuple[str, ...]] = []
        self.policies = self.make()

    def make(self) -> StsPolicies:
        resolver = Resolver(self.platform, self.platform.resolverSettings())
        return StsPolicies(self.platform, resolver, self.fetch, PATH, lambda *told: self.told.append(told))

    def fetch(self, domain: str) -> Deferred[bytes]:
        self.fetched.append(domain)
        return fail(self.content) if isinstance(self.content, Exception) else succeed(self.content)

    def passes(self, seconds: float) -> None:
        self.platform.timeline.run(seconds)

    def wait(self, ask: Callable[[str], Deferred[StsPolicy | None]]) -> StsPolicy | None:
        asking = ask("example.org")
        self.passes(1.0)
        return self.successResultOf(asking)

    def policy(self) -> StsPolicy | None:
        return self.wait(self.policies.policy)

    def mode(self) -> str:
        policy = self.policy()
        return "" if policy is None else policy.mode.value


class PolicyTests(Case):
    def test_fetchedOnce(self) -> None:
        self.assertEqual(StsPolicy(Mode.ENFORCE, ("mx.example.org",), DAY), self.policy())
        self.assertEqual("enforce", self.mode())
        self.assertEqual(["example.org"], self.fetched)

    def test_oneFetchForAllWhoWait(self) -> None:
        waiting: Deferred[bytes] = Deferred()
        self.fetch = lambda domain: self.fetched.append(domain) or waiting  # type: ignore[method-assign, func-returns-value]
        self.policies = self.make()
        asking = [self.policies.policy("example.org") for _ in range(3)]
        self.passes(1.0)
        self.assertEqual(["example.org"], self.fetched)
        waiting.callback(content())
        self.assertEqual(
            3, [self.successResultOf(one) for one in asking].count(StsPolicy(Mode.ENFORCE, ("mx.example.org",), DAY))
        )

    def test_none(self) -> None:
        self.dns.remove("_mta-sts.example.org")
        self.assertIsNone(self.policy())
        self.assertEqual([], self.fetched)

    def test_itHoldsWhateverDnsSays(self) -> None:
        """Whoever can hide the record must not be able to switch TLS off."""
        self.policy()
        self.dns.remove("_mta-sts.example.org")
        self.passes(TTL + 1.0)
        self.assertEqual("enforce", self.mode())
        self.dns.fail("_mta-sts.example.org")
        self.passes(TTL + 1.0)
        self.assertEqual("enforce", self.mode())
        self.passes(DAY)
        self.assertEqual("", self.mode())

    def test_newerOneCountsAtOnce(self) -> None:
        """The attempt that sees its record may be the last one."""
        self.policy()
        self.dns.text("_mta-sts.example.org", "v=STSv1; id=2")
        self.content = content("none")
        self.passes(TTL + 1.0)
        self.assertEqual("none", self.mode())

    def test_fetchedAgainLongBeforeItEnds(self) -> None:
        self.policy()
        self.passes(0.6 * DAY)
        self.assertEqual("enforce", self.mode())
        self.assertEqual(2, len(self.fetched))
        self.passes(0.6 * DAY)
        self.assertEqual("enforce", self.mode())

    def test_failureKeepsWhatIsKnown(self) -> None:
        self.policy()
        self.content = NotFetched("the answer is 404")
        self.dns.text("_mta-sts.example.org", "v=STSv1; id=2")
        self.passes(TTL + 1.0)
        self.assertEqual("enforce", self.mode())
        self.assertEqual(
            [("example.org", "the policy cannot be had: the answer is 404", "sts-policy-fetch-error")], self.told
        )

    def test_aFetchThatCannotBegin(self) -> None:
        """It is a failure like others, and leaves nobody waiting: neither the first who asks nor the next."""

        def fetch(domain: str) -> Deferred[bytes]:
            raise LookupError("unknown encoding: charmap")

        self.fetch = fetch  # type: ignore[method-assign]
        self.policies = self.make()
        self.assertIsNone(self.policy())
        self.assertIsNone(self.policy())
        why = "the policy cannot be had: LookupError('unknown encoding: charmap')"
        self.assertEqual([("example.org", why, "sts-policy-fetch-error")], self.told)

    def test_failureIsNotTriedAgainAtOnce(self) -> None:
        self.content = b"<html>"
        self.assertIsNone(self.policy())
        self.assertIsNone(self.policy())
        self.assertEqual(1, len(self.fetched))
        self.content = content()
        self.passes(FAILURE_SECONDS)
        self.assertEqual("enforce", self.mode())

    def test_askedAgainBeforeAMessageIsGivenUp(self) -> None:
        self.policy()
        self.content = content("none")
        policy = self.wait(self.policies.again)
        assert policy is not None
        self.assertIs(Mode.NONE, policy.mode)

    def test_againNotTooOften(self) -> None:
        self.policy()
        for _ in range(5):
            self.wait(self.policies.again)
        self.assertEqual(2, len(self.fetched))
        self.passes(AGAIN_SECONDS)
        self.wait(self.policies.again)
        self.assertEqual(3, len(self.fetched))

    def test_againWithoutRecord(self) -> None:
        self.policy()
        self.dns.remove("_mta-sts.example.org")
        self.passes(TTL + 1.0)
        policy = self.wait(self.policies.again)
        assert policy is not None
        self.assertIs(Mode.ENFORCE, policy.mode)


class DiskTests(Case):
    def restart(self) -> None:
        self.passes(SAVE_DELAY + 1.0)
        self.platform.crash(powerCut=True)
        self.platform = self.platform.reborn()
        self.policies = self.make()
        loading = self.policies.load()
        self.passes(1.0)
        self.successResultOf(loading)

    def test_policiesOutliveAPowerCut(self) -> None:
        """Whichever of its unsynced writes the disk forgets."""
        for seed in range(8):
            self.begin(seed)
            self.policy()
            self.restart()
            self.dns.remove("_mta-sts.example.org")
            self.assertEqual("enforce", self.mode(), seed)

    def test_nothingYet(self) -> None:
        self.restart()
        self.assertEqual("enforce", self.mode())
        self.assertEqual([], self.told)

    def test_fileThatCannotBeRead(self) -> None:
        for content in (b"{", b"[]", b'{"example.org": 1}', b'{"example.org": ["1", "strict", [], 1, 1]}'):
            self.platform.disk.write(PATH, content)
            self.restart()
            [(_, why, _)] = self.told
            self.assertIn(PATH, why)
            self.told.clear()
        self.assertEqual("enforce", self.mode())
