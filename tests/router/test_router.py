"""The router answers in place what it can, waits for the rest, and never fails."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pysmtpd.config import Environment, load
from pysmtpd.interfaces.ready import Ready
from pysmtpd.interfaces.routing import IRouter, ITable, Service, TableError
from pysmtpd.model.address import Path
from pysmtpd.model.config import Config
from pysmtpd.model.decision import Decision
from pysmtpd.model.facts import SessionFacts, Transaction
from pysmtpd.model.ids import SessionId
from pysmtpd.router.router import Router
from pysmtpd.ruleset import decide
from pysmtpd.table import static
from tests.table.platform import SmallPlatform
from tests.table.test_backends import SlowTable

TEXT = """
table domains { example.org }
table people { "ann@example.org" = ann, "ben@example.org" = ben }
action "local" maildir virtual <people>
match from any for domain <domains> action "local"
"""

ANN = Path("ann", "example.org")
TRANSACTION = Transaction(SessionFacts(SessionId(1), "l", "mx.example.org", "192.0.2.1"), Path("s", "example.com"))


class RouterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.platform = SmallPlatform()
        self.platform.users.names |= {"ann", "ben"}
        self.config = load("smtpd.conf", lambda path: TEXT, Environment("mx.example.org"))
        self.tables: dict[str, ITable] = {
            name: static.make("", self.platform.asPlatform, {"spec": spec}) for name, spec in self.config.tables.items()
        }
        self.router = Router(self.platform.asPlatform, decide, self.tablesOf)

    def tablesOf(self, config: Config) -> Mapping[str, ITable]:
        return self.tables

    def slow(self, name: str) -> SlowTable:
        self.tables[name] = slow = SlowTable(self.tables[name], self.platform.clock)
        return slow

    def decided(self, ready: Ready[Decision]) -> Decision:
        return self.successResultOf(ready) if isinstance(ready, Deferred) else ready

    def expand(self, path: Path = ANN) -> Ready[Decision]:
        return self.router.expand(self.config, path, TRANSACTION)

    def assertTemporary(self, ready: Ready[Decision], why: str) -> None:
        decision = self.decided(ready)
        assert decision.refusal is not None
        self.assertEqual((decision.refusal.code, decision.refusal.enhanced), (451, "4.3.0"))
        self.assertIn(why, decision.reason)
        self.assertNotIn(why, decision.refusal.text)

    def test_isARouter(self) -> None:
        self.assertTrue(verifyObject(IRouter, self.router))

    def test_answersInPlaceOnceTheUserIsKnown(self) -> None:
        self.assertEqual([d.user for d in self.decided(self.expand()).destinations], ["ann"])
        again = self.expand()
        assert isinstance(again, Decision)
        self.assertEqual(self.platform.users.asked, ["ann"])

    def test_usersAreAskedAgainAfterAWhile(self) -> None:
        self.decided(self.expand())
        self.platform.users.names.clear()
        self.platform.clock.advance(61)
        self.assertIsNotNone(self.decided(self.expand()).refusal)
        self.platform.users.names.add("ann")
        self.platform.clock.advance(11)
        self.assertIsNone(self.decided(self.expand()).refusal)

    def test_waitsForASlowTable(self) -> None:
        self.slow("domains")
        self.slow("people")
        ready = self.expand()
        assert isinstance(ready, Deferred)
        self.assertNoResult(ready)
        self.platform.clock.pump([0.05] * 4)
        self.assertEqual([d.user for d in self.decided(ready).destinations], ["ann"])

    def test_equalQuestionsAreAskedOnce(self) -> None:
        slow = self.slow("domains")
        waiting = [self.expand(), self.expand(), self.expand(Path("ben", "example.org"))]
        self.assertEqual(slow.asked, 1)
        self.platform.clock.pump([0.05])
        self.assertEqual([self.decided(ready).destinations[0].user for ready in waiting], ["ann", "ann", "ben"])

    def test_equalUsersAreAskedOnce(self) -> None:
        self.platform.workers.delay = 1.0
        waiting = [self.expand(), self.expand()]
        self.platform.clock.advance(1)
        self.assertEqual([self.decided(ready).destinations[0].user for ready in waiting], ["ann", "ann"])
        self.assertEqual(self.platform.users.asked, ["ann"])

    def test_patienceEnds(self) -> None:
        class Silent(SlowTable):
            def match(self, service: Service, key: str) -> Ready[bool]:
                self.asked += 1
                return Deferred()

        self.tables["domains"] = silent = Silent(self.tables["domains"], self.platform.clock)
        ready = self.expand()
        self.platform.clock.advance(29)
        late = self.expand()
        self.platform.clock.advance(1)
        self.assertTemporary(ready, "30 seconds")
        self.assertEqual(silent.asked, 1)
        assert isinstance(late, Deferred)
        self.assertNoResult(late)
        self.platform.clock.advance(29)
        self.assertTemporary(late, "30 seconds")

    def test_tableErrors(self) -> None:
        class Broken(SlowTable):
            def match(self, service: Service, key: str) -> Ready[bool]:
                raise TableError("the disk is wet")

            def lookup(self, service: Service, key: str) -> Ready[str | None]:
                return fail(TableError("the line is dead"))

        people = self.tables["people"]
        self.tables["people"] = Broken(people, self.platform.clock)
        self.assertTemporary(self.expand(), "the line is dead")
        self.tables["domains"] = self.tables["people"]
        self.assertTemporary(self.expand(), "the disk is wet")

    def test_unknownTable(self) -> None:
        del self.tables["domains"]
        self.assertTemporary(self.expand(), "domains")

    def test_usersCannotBeTold(self) -> None:
        self.platform.users.failing = True
        self.assertTemporary(self.expand(), "the directory is down")
        self.platform.users.failing = False
        self.assertIsNone(self.decided(self.expand()).refusal)

    def test_aFaultCostsOneRecipient(self) -> None:
        class Faulty(SlowTable):
            def match(self, service: Service, key: str) -> Ready[bool]:
                raise ZeroDivisionError("a bug")

        self.tables["domains"] = Faulty(self.tables["domains"], self.platform.clock)
        self.assertTemporary(self.expand(), "a bug")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
