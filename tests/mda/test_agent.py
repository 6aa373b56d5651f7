"""What becomes of each envelope for local users."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.interfaces import QueueError
from pysmtpd.mda.agent import MdaAgent
from pysmtpd.model.config import Config
from pysmtpd.model.outcome import Result
from pysmtpd.model.reply import Reply
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
        platform = SimulatedPlatform(hostname=hostname)
        return MdaAgent(platform, self.hosts, self.queue, lambda: chosen, dict, self.fates, NullStat())


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
