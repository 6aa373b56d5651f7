"""The router answers in place what it can, waits for the rest, and never fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

from twisted.internet.defer import Deferred, fail
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pysmtpd.config import Environment, load
from pysmtpd.interfaces.ready import Ready
from pysmtpd.interfaces.reporting import IReport
from pysmtpd.interfaces.routing import IRouter, ITable, Service, TableError
from pysmtpd.model.address import NULL_PATH, Path
from pysmtpd.model.config import Config, SrsSpec
from pysmtpd.model.decision import Decision
from pysmtpd.model.events import Event, SrsRefused
from pysmtpd.model.facts import SessionFacts, Transaction
from pysmtpd.model.ids import SessionId
from pysmtpd.router.forwards import LaneForwards
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


class RouterTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.platform = SmallPlatform()
        self.platform.users.names |= {"ann", "ben"}
        self.config = load("smtpd.conf", lambda path: TEXT, Environment("mx.example.org"))
        self.tables: dict[str, ITable] = {
            name: static.make("", self.platform.asPlatform, {"spec": spec}) for name, spec in self.config.tables.items()
        }
        self.forwards = LaneForwards(self.platform.asPlatform)
        self.ears: list[Event] = []
        self.router = Router(
            self.platform.asPlatform, decide, self.tablesOf, forwards=self.forwards, report=cast(IReport, self)
        )

    def happened(self, event: Event) -> None:
        self.ears.append(event)

    def allHappened(self, events: Sequence[Event]) -> None:
        for event in events:
            self.happened(event)

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


class TurnTests(RouterTestCase):
    def test_aLongListLeavesTurns(self) -> None:
        """Others are served while thousands of addresses go through the rules; what comes of it is the same."""
        members = [f"x{number}@far.example" for number in range(1000)]
        self.config = load(
            "smtpd.conf",
            lambda path: TEXT + 'action "plain" maildir\nmatch from any for any action "plain"\n',
            Environment("mx.example.org"),
        )
        spec = replace(self.config.tables["people"], entries=(("all", ", ".join(members)),))
        self.tables["people"] = static.make("", self.platform.asPlatform, {"spec": spec})
        names = {f"x{number}" for number in range(1000)}
        self.platform.users.names |= names
        clock = self.platform.clock
        turns = 0

        def other() -> None:
            nonlocal turns
            turns += 1
            assert isinstance(ready, Deferred)
            if not ready.called:
                clock.callLater(0, other)

        for _ in range(2):
            # The second time all users are known, and nothing has to be waited for.
            turns = 0
            ready = self.expand(Path("all", "example.org"))
            assert isinstance(ready, Deferred)
            clock.callLater(0, other)
            clock.advance(0)
            self.assertEqual([d.user for d in self.decided(ready).destinations], [m.partition("@")[0] for m in members])
        self.assertGreater(turns, 5)


class RouterTests(RouterTestCase):
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


class FileTests(RouterTestCase):
    """What is asked of files: C{.forward} and includes."""

    def setUp(self) -> None:
        super().setUp()
        self.logged: list[LogEvent] = []
        observer = cast(ILogObserver, self.logged.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.platform.users.names |= {"me"}
        self.files = self.platform.disk.files

    def people(self, **entries: str) -> None:
        spec = replace(self.config.tables["people"], entries=tuple(entries.items()))
        self.tables["people"] = static.make("", self.platform.asPlatform, {"spec": spec})

    def goes(self, name: str) -> list[str]:
        decision = self.decided(self.expand(Path(name, "example.org")))
        if decision.refusal is not None:
            return [str(decision.refusal.code)]
        return [each.command or each.file or each.user for each in decision.destinations]

    def test_forward(self) -> None:
        self.people(me="me", ann="ann")
        self.files["/home/me/.forward"] = b"ann, |/bin/prog"
        self.files["/home/ann/.forward"] = b"ben"
        self.assertEqual(self.goes("me"), ["ann", "/bin/prog"])

    def test_aForwardIsBelievedForAMoment(self) -> None:
        self.people(me="me")
        self.assertEqual(self.goes("me"), ["me"])
        self.files["/home/me/.forward"] = b"ann"
        self.assertEqual(self.goes("me"), ["me"])
        self.platform.clock.advance(5)
        self.assertEqual(self.goes("me"), ["ann"])

    def test_aForwardThatMustNotBeUsed(self) -> None:
        self.people(me="me")
        self.platform.disk.error = PermissionError(1, "it is a symbolic link")
        self.assertEqual(self.goes("me"), ["524"])
        self.assertEqual(self.faults(), ["/home/me/.forward: refused: it is a symbolic link"])

    def test_aHomeThatHangs(self) -> None:
        self.people(me="me")
        self.goes("me")
        self.platform.clock.advance(10)
        self.platform.workers.delay = 60.0
        ready = self.expand(Path("me", "example.org"))
        self.platform.clock.advance(2)
        self.assertTemporary(ready, "/home/me does not answer")
        # It has not answered the first one's question yet, and who asks now does not wait again.
        self.assertTemporary(self.expand(Path("me", "example.org")), "/home/me does not answer")

    def test_include(self) -> None:
        self.people(all=":include:/etc/all, /var/file")
        self.assertEqual(self.goes("all"), ["451"])
        self.assertIn("/etc/all", self.faults()[0])
        self.files["/etc/all"] = b"ann\nben\n"
        self.assertEqual(self.goes("all"), ["ann", "ben", "/var/file"])
        self.platform.disk.shared.add("/etc/all")
        self.assertEqual(self.goes("all"), ["451"])

    def test_faultsAreToldOnceAMinute(self) -> None:
        self.people(all="|a | b")
        for _ in range(3):
            self.assertEqual(self.goes("all"), ["451"])
        self.assertEqual(len(self.faults()), 1)
        self.platform.clock.advance(61)
        self.assertEqual(self.goes("all"), ["451"])
        self.assertEqual(len(self.faults()), 1)

    def faults(self) -> list[str]:
        """Those that were logged since the last question."""
        told = [event["fault"] for event in self.logged if "fault" in event]
        self.logged.clear()
        return told

    def test_tablesThatOthersMayWrite(self) -> None:
        self.people(all="|/bin/prog")
        self.assertEqual(self.goes("all"), ["/bin/prog"])
        self.tables["people"] = table = self.slow("people")
        table.allowsCommands = False
        ready = self.expand(Path("all", "example.org"))
        self.platform.clock.pump([0.05] * 8)
        self.assertTemporary(ready, "allow-commands")

    def test_srs(self) -> None:
        self.config = replace(self.config, srs=SrsSpec("secret"))
        decision = self.decided(
            self.router.expand(self.config, Path("SRS0=x", "mx.example.org"), replace(TRANSACTION, sender=NULL_PATH))
        )
        assert decision.refusal is not None
        self.assertEqual(decision.refusal.code, 550)
        self.assertEqual([type(event) for event in self.ears], [SrsRefused])
