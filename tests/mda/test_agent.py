"""What becomes of each envelope for local users."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import LogLevel, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from pysmtpd.interfaces import ITable, QueueError, Ready, Service, TableError, Updated
from pysmtpd.mda.agent import MdaAgent
from pysmtpd.model.config import Action, BackendSpec, Command, Config, Method, TableRef, TableSpec
from pysmtpd.model.outcome import Result
from pysmtpd.model.reply import Reply
from pysmtpd.model.task import Account, MboxTask
from pysmtpd.stat.null import NullStat
from pysmtpd.testing.platform import SimulatedPlatform
from tests.mda.fakes import CONTENT, FakeQueue, Fates, HeldHosts, config, delivery

FULL = Reply(452, "Mailbox storage is full", "4.2.2")
NEVER = Reply(550, "Not for you", "5.2.1")


class AgentTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.hosts = HeldHosts()
        self.queue = FakeQueue()
        self.fates = Fates()

    def agent(self, settings: Config | None = None, hostname: str = "mail.example.org") -> MdaAgent:
        chosen = settings or config()
        self.platform = SimulatedPlatform(hostname=hostname)
        return MdaAgent(self.platform, self.hosts, self.queue, lambda: chosen, dict, self.fates, NullStat())


@implementer(ITable)
class PeopleTable:
    """
    @ivar value: what it says of anybody.
    """

    name = "people"
    allowsCommands = False

    def __init__(self) -> None:
        self.value: str | None = "5000:5001:/srv/bob/"
        self.error: TableError | None = None

    def lookup(self, service: Service, key: str) -> Ready[str | None]:
        assert service is Service.USERINFO
        if self.error is not None:
            raise self.error
        return succeed(self.value)

    def match(self, service: Service, key: str) -> Ready[bool]:
        raise NotImplementedError

    def fetch(self, service: Service) -> Ready[str | None]:
        raise NotImplementedError

    def update(self) -> Deferred[Updated]:
        raise NotImplementedError

    def close(self) -> Deferred[None]:
        return succeed(None)


class OutcomeTests(AgentTestCase):
    def test_delivered(self) -> None:
        self.agent().deliver(delivery(1, "bob"), self.fates)
        self.assertEqual(self.fates.outcomes, [])
        self.hosts.finish()
        (outcome,) = self.fates.outcomes
        self.assertEqual((outcome.result, outcome.relay), (Result.DELIVERED, "/new/bob"))
        self.assertTrue(self.queue.bodies[0].isClosed)

    def test_whatIsStored(self) -> None:
        """The sender and the recipient go on top; the name is the envelope's own, fit for a file."""
        self.agent(hostname="a/b:c").deliver(delivery(1, "bob"), self.fates)
        _, task, _ = self.hosts.pending[0]
        self.assertEqual(task.prefix, b"Return-Path: <sender@example.net>\r\nDelivered-To: bob@example.org\r\n")
        self.assertEqual(task.path, "~/Maildir")
        self.assertEqual(task.name, "1700000000.E000000000000000100000000.a\\057b\\072c")

    def test_theNameIsTheSameAtEachTry(self) -> None:
        agent = self.agent()
        for _ in range(2):
            agent.deliver(delivery(1, "bob"), self.fates)
        self.assertEqual(len({task.name for _, task, _ in self.hosts.pending}), 1)

    def test_anotherMaildir(self) -> None:
        self.agent().deliver(delivery(1, "bob", action="elsewhere"), self.fates)
        self.assertEqual(self.hosts.pending[0][1].path, "/srv/mail")

    def test_aMaildirForEachAddress(self) -> None:
        self.agent().deliver(delivery(1, "bob+lists", action="named"), self.fates)
        self.assertEqual(self.hosts.pending[0][1].path, "/srv/example.org/bob")

    def test_noNameLeadsUp(self) -> None:
        for name in ("..", "."):
            self.agent().deliver(delivery(1, name, action="named"), self.fates)
        self.assertEqual(
            [(task.path, task.beneath) for _, task, _ in self.hosts.pending],
            [("/srv/example.org/::", "/srv"), ("/srv/example.org/:", "/srv")],
        )

    def test_refusals(self) -> None:
        self.agent().deliver(delivery(1, "bob", "carol"), self.fates)
        self.hosts.refuse(FULL)
        self.hosts.refuse(NEVER)
        self.assertEqual(self.fates.results(), [Result.TEMPORARY, Result.PERMANENT])
        self.assertEqual([outcome.reply for outcome in self.fates.outcomes], [FULL, NEVER])
        # The log tells where it should have gone.
        self.assertEqual([outcome.relay for outcome in self.fates.outcomes], ["~/Maildir"] * 2)

    def test_loop(self) -> None:
        """A message that was delivered to this address before does not get there again, however it is written (5.4.6)."""
        self.queue.content = b"Received: x\r\nDELIVERED-TO: Bob@Example.ORG\r\n" + CONTENT
        self.hosts.isInstant = True
        for self.queue.chunk in (65_536, 7):
            self.fates.outcomes.clear()
            self.agent().deliver(delivery(1, "bob", "carol"), self.fates)
            self.assertEqual(self.fates.results(), [Result.LOOP, Result.DELIVERED])
            self.assertEqual(self.fates.outcomes[0].reply.enhanced, "5.4.6")

    def test_aLoopIsLookedForInTheHeaderOnly(self) -> None:
        self.queue.content = CONTENT + b"Delivered-To: bob@example.org\r\n"
        self.hosts.isInstant = True
        self.agent().deliver(delivery(1, "bob"), self.fates)
        self.assertEqual(self.fates.results(), [Result.DELIVERED])


class MethodTests(AgentTestCase):
    """Methods, and as whom they run."""

    def setUp(self) -> None:
        super().setUp()
        self.events = []
        observer: Any = self.events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.platform = SimulatedPlatform()
        self.platform.users.add("bob")
        self.table = PeopleTable()
        self.actions = {
            "mbox": Action("mbox", Method.MBOX),
            "mda": Action("mda", Method.MDA, command=Command(("/bin/x", "%{user.directory}"))),
            "base": Action("base", Method.MAILDIR, userbase=TableRef("people")),
            "system": Action("system", Method.MAILDIR, userbase=TableRef("<getpwnam>")),
            "user": Action("user", Method.MAILDIR, userbase=TableRef("people"), user="vmail"),
        }

    def agent(self, settings: Config | None = None, hostname: str = "") -> MdaAgent:
        tables = {"<getpwnam>": TableSpec("<getpwnam>", BackendSpec("getpwnam"))}
        chosen = settings or replace(config(), actions=self.actions, tables=tables)
        people: dict[str, ITable] = {"people": self.table}
        return MdaAgent(self.platform, self.hosts, self.queue, lambda: chosen, lambda: people, self.fates, NullStat())

    def deliver(self, action: str, user: str = "bob", **more: Any) -> None:
        given = delivery(1, user, action=action)
        envelope = given.envelopes[0]
        envelope = replace(envelope, destination=replace(envelope.destination, **more))
        self.agent().deliver(given._replace(envelopes=(envelope,)), self.fates)
        self.platform.timeline.run(10)

    def outcome(self) -> str:
        (outcome,) = self.fates.outcomes
        return str(outcome.reply)

    def test_mbox(self) -> None:
        self.deliver("mbox")
        self.assertEqual(self.hosts.accounts, [Account("bob")])
        self.assertIsInstance(self.hosts.pending[0][1], MboxTask)

    def test_command(self) -> None:
        self.deliver("mda")
        self.assertEqual(self.hosts.accounts, [Account("bob", home="/home/bob")])
        self.assertEqual(self.hosts.pending[0][1].argv, ("/bin/x", "/home/bob"))

    def test_nodes(self) -> None:
        self.deliver("base", "bob", command="a b")
        self.assertEqual(self.hosts.pending[0][1].argv, ("a", "b"))
        self.deliver("base", "bob", file="/x")
        self.assertEqual(self.hosts.pending[1][1].path, "/x")
        self.deliver("base", "bob", file="/dev/null")
        self.assertEqual(self.fates.results(), [Result.DELIVERED])

    def test_anAliassCommandRunsAsTheDaemon(self) -> None:
        """And that of a user who has the daemon's name in a userbase does not."""
        me = self.platform.users.me()
        self.deliver("base", "", command="a b")
        self.deliver("base", me.name, command="a b")
        self.assertEqual(
            self.hosts.accounts, [Account(me.name, home=me.home), Account(me.name, 5000, 5001, "/srv/bob")]
        )

    def test_userbase(self) -> None:
        self.deliver("base")
        self.assertEqual(self.hosts.accounts, [Account("bob", 5000, 5001, "/srv/bob")])
        self.deliver("system")
        self.deliver("user", "vmail")
        self.assertEqual(self.hosts.accounts[1:], [Account("bob"), Account("vmail")])

    def test_userbaseThatCannotBeAsked(self) -> None:
        self.table.error = TableError("gone")
        self.deliver("base")
        self.assertTrue(self.outcome().startswith("451 4.3.0 "), self.outcome())

    def test_userbaseWithoutTheUser(self) -> None:
        self.table.value = None
        self.deliver("base")
        self.assertTrue(self.outcome().startswith("550 5.1.1 "), self.outcome())

    def test_userbaseThatIsNoLonger(self) -> None:
        self.actions["base"] = Action("base", Method.MAILDIR, userbase=TableRef("gone"))
        self.deliver("base")
        self.assertTrue(self.outcome().startswith("451 4.3.5 "), self.outcome())
        self.assertEqual(len(self.faults()), 1)

    def test_neverAsRoot(self) -> None:
        for value in (
            "0:0:/root",
            "0:5000:/x",
            "5000:0:/x",
            "-1:5:/x",
            "5000:5000:",
            "5000:5000:x",
            "a:b:c",
            "5",
            "\u0665:1:/x",
        ):
            self.fates.outcomes.clear()
            self.table.value = value
            self.deliver("base")
            self.assertTrue(self.outcome().startswith("451 4.3.5 "), value)
        self.assertEqual(self.hosts.pending, [])
        self.faults()

    def test_anUnknownUserMayComeBack(self) -> None:
        self.deliver("mda", "cid")
        self.assertTrue(self.outcome().startswith("451 "), self.outcome())
        self.fates.outcomes.clear()
        self.platform.users.isFailing = True
        self.deliver("mda", "dee")
        self.assertTrue(self.outcome().startswith("451 "), self.outcome())

    def test_aFaultIsLogged(self) -> None:
        """It waits, and an operator is told."""
        for action, more in (("mda", {"command": "a | b"}), ("gone", {})):
            self.fates.outcomes.clear()
            self.deliver(action, **more)
            self.assertEqual(self.fates.results(), [Result.TEMPORARY])
            (event,) = self.faults()
            self.assertIn("Configuration fault", event)
        self.deliver("mbox")
        self.hosts.refuse(Reply(451, "Command failed", "4.3.5"))
        self.assertEqual(len(self.faults()), 1)

    def faults(self) -> list[str]:
        return [str(failure) for failure in self.logged()]

    def logged(self) -> list[str]:
        found = [formatEvent(event) for event in self.events if event["log_level"] is LogLevel.error]
        self.events.clear()
        return found

    events: list[Any]


class FailureTests(AgentTestCase):
    """Whatever goes wrong, each envelope has its outcome, and it is temporary."""

    def temporary(self, action: str = "local") -> str:
        self.hosts.isInstant = True
        self.agent().deliver(delivery(1, "bob", action=action), self.fates)
        (outcome,) = self.fates.outcomes
        self.assertEqual(outcome.result, Result.TEMPORARY)
        return str(outcome.reply)

    def test_noSuchAction(self) -> None:
        self.assertIn("gone", self.temporary("gone"))

    def test_anActionThatIsNotLocal(self) -> None:
        self.assertIn("relay", self.temporary("relay"))

    def test_messageGone(self) -> None:
        self.queue.missing()
        self.temporary()

    def test_messageUnreadable(self) -> None:
        self.queue.failure = QueueError(FULL, "disk full")
        self.assertIn("storage is full", self.temporary())

    def test_messageUnreadableHalfWay(self) -> None:
        self.queue.readFailure = QueueError(FULL, "disk full")
        self.queue.chunk = 10
        self.temporary()
        self.assertTrue(self.queue.bodies[0].isClosed)

    def test_aFaultOfOurs(self) -> None:
        self.agent().deliver(delivery(1, "bob"), self.fates)
        self.hosts.pending[0][2].errback(ZeroDivisionError())
        self.assertEqual(self.fates.results(), [Result.TEMPORARY])
        self.assertEqual(self.fates.outcomes[0].reply.enhanced, "4.3.0")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class BoundTests(AgentTestCase):
    def test_perUser(self) -> None:
        """One user's mail does not keep another's from being delivered."""
        agent = self.agent(config(maxSessionPerUser=1, batch=2))
        for number in range(1, 6):
            agent.deliver(delivery(number, "bob"), self.fates)
        agent.deliver(delivery(9, "carol"), self.fates)
        self.assertEqual(self.hosts.users(), ["bob", "bob", "carol"])
        self.hosts.finish()
        self.assertEqual(self.hosts.users(), ["bob", "carol", "bob"])

    def test_inAll(self) -> None:
        agent = self.agent(config(maxSession=1, batch=2))
        agent.deliver(delivery(1, "a", "b", "c"), self.fates)
        self.assertEqual(self.hosts.users(), ["a", "b"])
        self.hosts.finish()
        self.assertEqual(self.hosts.users(), ["b", "c"])

    def test_allEnd(self) -> None:
        agent = self.agent(config(maxSession=1, batch=3, maxSessionPerUser=1))
        for number in range(1, 20):
            agent.deliver(delivery(number, "a", "b"), self.fates)
        while self.hosts.pending:
            self.hosts.finish()
        self.assertEqual(self.fates.results(), [Result.DELIVERED] * 38)
        self.assertEqual(agent.capacity(), 1000)

    def test_commandsAreBatchesOfTheirOwn(self) -> None:
        """As many commands of a user as there may be batches, and as many in all; letters of others go on meanwhile."""
        chosen = config(maxSession=3, maxSessionPerUser=2)
        commands = {"mda": Action("mda", Method.MDA, user="", command=Command(("x",)))}
        agent = self.agent(replace(chosen, actions={**chosen.actions, **commands}))
        self.platform.users.add("bob")
        self.platform.users.add("ann")
        for number in range(1, 6):
            agent.deliver(delivery(number, "bob", action="mda"), self.fates)
        self.platform.timeline.run(1)
        self.assertEqual(self.hosts.users(), ["bob", "bob"])
        agent.deliver(delivery(10, "cid"), self.fates)
        self.assertEqual(self.hosts.users(), ["bob", "bob", "cid"])
        for number in range(20, 24):
            agent.deliver(delivery(number, "ann", action="mda"), self.fates)
        self.platform.timeline.run(1)
        self.assertEqual(self.hosts.users().count("ann"), 1)
        while self.hosts.pending:
            self.hosts.finish()
            self.platform.timeline.run(1)
        self.assertEqual(self.fates.results(), [Result.DELIVERED] * 10)
        self.assertEqual(agent.capacity(), 1000)

    def test_holdAndRelease(self) -> None:
        """What is too much for one user goes back to the scheduler, and is called for when there is room."""
        agent = self.agent(config(taskHiwat=3, taskLowat=2, taskRelease=5))
        for number in range(1, 6):
            agent.deliver(delivery(number, "bob"), self.fates)
        self.assertEqual([key for _, key in self.fates.held], ["mda:bob", "mda:bob"])
        self.hosts.finish()
        self.assertEqual(self.fates.released, [])
        self.hosts.finish()
        self.assertEqual(self.fates.released, [("mda:bob", 5)])
        self.hosts.finish()
        self.assertEqual(self.fates.released, [("mda:bob", 5)])

    def test_somethingIsLeftForOthers(self) -> None:
        """However many users have commands that take for ever, and however much mail for them."""
        agent = self.agent(config(taskHiwat=200, taskLowat=100, taskRelease=100))
        number = 0
        for user in ("a", "b", "c", "d", "e", "f"):
            for _ in range(300):
                number += 1
                agent.deliver(delivery(number, user), self.fates)
            self.assertGreater(agent.capacity(), 0, user)
        agent.deliver(delivery(5000, "ann"), self.fates)
        self.assertNotIn("mda:ann", [key for _, key in self.fates.held])
        # All that was held comes back in the end, a little at a time.
        before = len(self.fates.outcomes)
        released = 0
        while self.hosts.pending:
            self.hosts.finish()
            for key, count in self.fates.released[released:]:
                due = [each for each in self.fates.held if each[1] == key][:count]
                for each in due:
                    self.fates.held.remove(each)
                    number += 1
                    agent.deliver(delivery(number + 5000, key[4:]), self.fates)
            released = len(self.fates.released)
        self.assertEqual((self.fates.held, len(self.fates.outcomes) - before), ([], 1801))

    def test_capacity(self) -> None:
        agent = self.agent(config(taskHiwat=3))
        self.assertEqual(agent.capacity(), 6)
        agent.deliver(delivery(1, "a", "b"), self.fates)
        self.assertEqual(agent.capacity(), 4)
        agent.pause()
        self.assertEqual(agent.capacity(), 0)
        agent.resume()
        self.hosts.finish(2)
        self.assertEqual(agent.capacity(), 6)


class StopTests(AgentTestCase):
    def test_whatRunsEndsWhatWaitsGoesBack(self) -> None:
        agent = self.agent(config(maxSessionPerUser=1, batch=1))
        agent.deliver(delivery(1, "bob"), self.fates)
        agent.deliver(delivery(2, "bob"), self.fates)
        stopped = agent.stop()
        self.assertEqual([key for _, key in self.fates.held], ["mda:bob"])
        self.assertEqual(self.fates.results(), [])
        self.assertNoResult(stopped)
        self.assertEqual(agent.capacity(), 0)
        self.hosts.finish()
        self.successResultOf(stopped)
        self.assertEqual(self.fates.results(), [Result.DELIVERED])

    def test_idle(self) -> None:
        self.successResultOf(self.agent().stop())
