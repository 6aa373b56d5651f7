"""Delivery with root's help, as the daemon sees it: one host for each user, bounded, restarted when it dies."""

from __future__ import annotations

import errno

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.interfaces import DeliveryRefused, QueueError
from pysmtpd.mda.helperhosts import IDLE, PATIENCE, WHOLE, HelperHosts
from pysmtpd.mda.wire import Answer, Status
from pysmtpd.model.reply import Reply
from pysmtpd.model.task import Account, CommandTask, Exit, MboxTask
from pysmtpd.testing.platform import SimulatedPlatform
from tests.mda.fakes import FakeBody, FakeHelper
from tests.mda.test_hosts import FULL, task


class HelperHostsTestCase(SynchronousTestCase):
    maxHosts = 2

    def setUp(self) -> None:
        self.platform = SimulatedPlatform()
        for user in ("ann", "bob", "cid", "dee"):
            self.platform.disk.directory(f"/home/{user}")
        self.helper = FakeHelper(self.platform)
        self.hosts = HelperHosts(self.platform, self.helper, self.maxHosts)

    def deliver(self, user: str, name: str = "letter", body: FakeBody | None = None) -> Deferred[str]:
        return self.hosts.deliver(Account(user), task(name), body or FakeBody())

    def pass_(self, seconds: float = 1.0) -> None:
        self.platform.timeline.run(seconds)

    def refusal(self, done: Deferred[str]) -> Reply:
        failure = self.failureResultOf(done, DeliveryRefused)
        assert isinstance(failure.value, DeliveryRefused)
        self.assertTrue(failure.value.reply.isTemporary)
        return failure.value.reply


class DeliveryTests(HelperHostsTestCase):
    def test_stored(self) -> None:
        done = self.deliver("bob")
        self.pass_()
        path = self.successResultOf(done)
        self.assertEqual(path, "/home/bob/Maildir/new/letter")
        self.assertTrue(self.platform.disk.read(path).startswith(b"Return-Path: <>\nFrom: "))

    def test_oneHostForAUser(self) -> None:
        done = [self.deliver("bob", f"letter{number}") for number in range(10)]
        self.pass_()
        done.append(self.deliver("bob", "last"))
        self.pass_()
        self.assertEqual(len({self.successResultOf(each) for each in done}), 11)
        self.assertEqual([host.user for host in self.helper.hosts], ["bob"])

    def test_largeInPieces(self) -> None:
        """Each piece waits until the last one was written: what is under way is bounded."""
        content = b"0123456789abcde\r\n" * (WHOLE // 10)
        done = self.deliver("bob", body=FakeBody(content))
        self.pass_()
        self.assertEqual(
            self.platform.disk.read(self.successResultOf(done)), b"Return-Path: <>\n" + content.replace(b"\r\n", b"\n")
        )

    def test_largeThatCannotBeRead(self) -> None:
        done = self.deliver("bob", body=FakeBody(b"x" * (WHOLE + 1), failure=QueueError(FULL, "damaged")))
        self.pass_()
        self.failureResultOf(done, QueueError)
        self.assertEqual(self.helper.hosts[0].frames[-1].kind.name, "ABORT")

    def test_diskFull(self) -> None:
        self.platform.disk.fail("write", errno.ENOSPC)
        done = self.deliver("bob")
        self.pass_()
        self.assertEqual(self.refusal(done).enhanced, "4.2.2")

    def test_whatAHostSaysIsMadePrintable(self) -> None:
        """It runs as another user: its text must not forge lines of the log."""
        done = self.deliver("bob")
        self.pass_(0.055)
        host = self.helper.hosts[0]
        host.isSilent = True
        host.say(Answer(host.frames[0].letter, Status.STORED, 0, "/x\nforged\r\n"))
        self.assertEqual(self.successResultOf(done), "/x?forged??")


class BoundTests(HelperHostsTestCase):
    def test_theLeastRecentlyUsedGivesWay(self) -> None:
        for user in ("ann", "bob", "ann"):
            self.successResultOf(self._done(self.deliver(user)))
        self.successResultOf(self._done(self.deliver("cid")))
        self.assertEqual(self.helper.running(), ["ann", "cid"])

    def _done(self, done: Deferred[str]) -> Deferred[str]:
        self.pass_()
        return done

    def test_neverMoreThanAllowed(self) -> None:
        done = []
        most = 0
        for number in range(60):
            done.append(self.deliver(("ann", "bob", "cid", "dee")[number * 7 % 4], f"letter{number}"))
            self.pass_(0.02)
            most = max(most, len(self.helper.running()))
        self.pass_(30)
        self.assertEqual(len({self.successResultOf(each) for each in done}), 60)
        self.assertLessEqual(most, self.maxHosts)

    def test_abusyHostEndsItsLettersFirst(self) -> None:
        done = [self.deliver("ann"), self.deliver("bob"), self.deliver("cid")]
        self.pass_(5)
        for each in done:
            self.successResultOf(each)

    def test_idleHostsEnd(self) -> None:
        self.deliver("bob")
        self.pass_(IDLE / 2)
        self.assertEqual(self.helper.running(), ["bob"])
        self.deliver("bob", "again")
        self.pass_(IDLE - 1)
        self.assertEqual(self.helper.running(), ["bob"])
        self.pass_(2)
        self.assertEqual(self.helper.running(), [])
        self.assertEqual(self.hosts.users, ())


class TroubleTests(HelperHostsTestCase):
    def test_aHostThatDies(self) -> None:
        """Its letters are tried again later; the next letter starts another one."""
        first = self.deliver("bob")
        self.pass_(0.055)
        self.helper.hosts[0].isSilent = True
        self.helper.hosts[0].die()
        self.pass_()
        self.assertIn("bob", self.refusal(first).text)
        again = self.deliver("bob")
        self.pass_()
        self.successResultOf(again)
        self.assertEqual(len(self.helper.hosts), 2)

    def test_aHostThatTalksRubbish(self) -> None:
        done = self.deliver("bob")
        self.pass_(0.055)
        self.helper.hosts[0].sayOctets(b"\xff" * 100)
        self.pass_()
        self.refusal(done)
        self.assertTrue(self.helper.hosts[0].isOver)

    def test_anAnswerThatNobodyAskedFor(self) -> None:
        done = self.deliver("bob")
        self.pass_(0.055)
        self.helper.hosts[0].say(Answer(999, Status.STORED, 0, "/x"))
        self.pass_()
        self.assertEqual(self.successResultOf(done), "/home/bob/Maildir/new/letter")

    def test_aHostThatHangs(self) -> None:
        """A file system that does not answer keeps its user's letters only."""
        done = self.deliver("bob")
        self.pass_(0.055)
        self.helper.hosts[0].isSilent = True
        self.platform.timeline.run(PATIENCE / 2)
        self.assertNoResult(done)
        self.platform.timeline.run(PATIENCE)
        self.refusal(done)

    def test_noHostToBeHad(self) -> None:
        self.helper.refused.add("bob")
        done = self.deliver("bob")
        other = self.deliver("ann")
        self.pass_()
        self.assertIn("bob", self.refusal(done).text)
        self.successResultOf(other)
        self.flushLoggedErrors()

    def test_theHelperIsGone(self) -> None:
        """Nothing less safe takes its place."""
        self.helper.isAlive = False
        self.assertIn("helper", self.refusal(self.deliver("bob")).text)
        self.assertEqual(self.helper.hosts, [])


class CloseTests(HelperHostsTestCase):
    def test_deliveriesEndFirst(self) -> None:
        done = self.deliver("bob")
        self.pass_(0.055)
        closed = self.hosts.close()
        self.refusal(self.deliver("ann"))
        self.assertNoResult(closed)
        self.pass_()
        self.successResultOf(done)
        self.successResultOf(closed)
        self.assertEqual(self.helper.running(), [])

    def test_idle(self) -> None:
        self.deliver("bob")
        self.pass_()
        closed = self.hosts.close()
        self.pass_()
        self.successResultOf(closed)
        self.assertEqual(self.helper.running(), [])

    def test_neverUsed(self) -> None:
        self.successResultOf(self.hosts.close())


class TaskTests(HelperHostsTestCase):
    def mbox(self, user: str = "bob", isSystem: bool = True) -> Deferred[str]:
        return self.hosts.deliver(Account(user), MboxTask(f"/var/mail/{user}", "From a b", b"", isSystem), FakeBody())

    def command(self, body: FakeBody | None = None, limit: float = 1000.0) -> Deferred[str]:
        return self.hosts.deliver(Account("bob"), CommandTask(("/bin/filter",), {}, "/", limit), body or FakeBody())

    def test_mbox(self) -> None:
        self.platform.disk.directory("/var/mail")
        done = self.mbox()
        self.pass_()
        self.assertEqual(self.successResultOf(done), "/var/mail/bob")
        self.assertTrue(self.platform.disk.read("/var/mail/bob").startswith(b"From a b\nFrom: a@client.test\n"))
        self.assertEqual(self.helper.mailboxes, [])

    def test_aMailboxThatTheUserMayNotMake(self) -> None:
        """Root makes it, once."""
        self.platform.disk.fail("mailbox", errno.EACCES)
        done = self.mbox()
        self.pass_()
        self.assertEqual(self.successResultOf(done), "/var/mail/bob")
        self.assertEqual(self.helper.mailboxes, ["bob"])

    def test_aMailboxThatNobodyMayMake(self) -> None:
        self.helper.refused.add("bob")
        self.platform.disk.fail("mailbox", errno.EACCES)
        self.platform.disk.directory("/home")
        done = self.mbox()
        self.pass_()
        self.refusal(done)
        self.flushLoggedErrors()

    def test_rootMakesNoOtherFile(self) -> None:
        self.platform.disk.fail("mailbox", errno.EACCES, times=None)
        done = [self.mbox(isSystem=False)]
        account = Account("bob", 5000, 5000, "/srv/bob")
        done.append(self.hosts.deliver(account, MboxTask("/var/mail/bob", "From a b", b"", True), FakeBody()))
        self.pass_()
        for each in done:
            self.assertEqual(self.refusal(each).enhanced, "4.2.0")
        self.assertEqual(self.helper.mailboxes, [])

    def test_command(self) -> None:
        self.platform.processes.commands["/bin/filter"] = lambda called: Exit()
        for body in (FakeBody(), FakeBody(b"x" * (WHOLE + 1))):
            done = self.command(body)
            self.pass_()
            self.assertEqual(self.successResultOf(done), "/bin/filter")
        self.platform.processes.commands["/bin/filter"] = lambda called: Exit(67, output="who\u2028?")
        done = self.command()
        self.pass_()
        failure = self.failureResultOf(done, DeliveryRefused)
        assert isinstance(failure.value, DeliveryRefused)
        self.assertEqual(str(failure.value.reply), "550 5.1.1 Command failed: EX_NOUSER: who??")

    def test_aHostThatSaysThatACommandIsStored(self) -> None:
        done = self.command()
        self.pass_(0.055)
        host = self.helper.hosts[0]
        host.isSilent = True
        host.say(Answer(host.frames[0].letter, Status.STORED, 0, "/x"))
        self.refusal(done)

    def test_aHostThatSaysRubbishAboutACommand(self) -> None:
        done = self.command()
        self.pass_(0.055)
        host = self.helper.hosts[0]
        host.isSilent = True
        host.say(Answer(host.frames[0].letter, Status.EXITED, 0, "[0]"))
        self.refusal(done)

    def test_aCommandMayTakeItsTime(self) -> None:
        """A host that has nothing else need not speak meanwhile; where it has letters, those are waited for as ever."""
        done = self.command(limit=1000.0)
        self.pass_(0.055)
        self.helper.hosts[0].isSilent = True
        self.platform.timeline.run(1000)
        self.assertNoResult(done)
        letter = self.deliver("bob")
        self.platform.timeline.run(PATIENCE - 1)
        self.assertNoResult(letter)
        self.platform.timeline.run(PATIENCE)
        self.refusal(letter)
        self.refusal(done)

    def test_aCommandWhoseEndNobodyTells(self) -> None:
        done = self.command(limit=10.0)
        self.pass_(0.055)
        self.helper.hosts[0].isSilent = True
        self.platform.timeline.run(2 * PATIENCE + 20)
        self.refusal(done)

    def test_closeEndsCommands(self) -> None:
        done = self.command()
        self.pass_(0.055)
        self.hosts.close()
        self.assertEqual([frame.kind.name for frame in self.helper.hosts[0].frames], ["WHOLE", "STOP"])
        self.pass_()
        self.refusal(done)

    def test_oneHostForAnId(self) -> None:
        """However many names a table gives to it."""
        done = []
        for name in ("ann", "bob", "cid"):
            self.platform.disk.directory(f"/srv/{name}")
            account = Account(name, 5000, 5001, f"/srv/{name}")
            done.append(self.hosts.deliver(account, task(path=f"/srv/{name}/Maildir"), FakeBody()))
        self.pass_()
        self.assertEqual(self.successResultOf(done[2]), "/srv/cid/Maildir/new/letter")
        self.assertEqual(self.helper.running(), ["5000:5001"])
