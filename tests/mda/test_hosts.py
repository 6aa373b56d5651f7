"""Delivery in the daemon's own process, without root."""

from __future__ import annotations

import errno
from dataclasses import replace

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.interfaces import DeliveryRefused, QueueError
from pysmtpd.mda.hosts import WHOLE, LaneHosts
from pysmtpd.model.reply import Reply
from pysmtpd.model.task import Account, CommandTask, Exit, MaildirTask, MboxTask
from pysmtpd.testing.platform import SimulatedPlatform
from tests.mda.fakes import FakeBody

FULL = Reply(452, "No room", "4.3.1")


def task(name: str = "letter", path: str = "~/Maildir") -> MaildirTask:
    return MaildirTask(path, name, b"Return-Path: <>\r\n")


class LaneHostsTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.platform = SimulatedPlatform()
        self.me = self.platform.users.me()
        self.platform.disk.directory(self.me.home)
        self.hosts = LaneHosts(self.platform, lanes=2)

    def deliver(self, name: str = "letter", body: FakeBody | None = None, user: str = "") -> Deferred[str]:
        return self.hosts.deliver(Account(user or self.me.name), task(name), body or FakeBody())

    def pass_(self, seconds: float = 10.0) -> None:
        self.platform.timeline.run(seconds)

    def refusal(self, done: Deferred[str]) -> Reply:
        failure = self.failureResultOf(done, DeliveryRefused)
        assert isinstance(failure.value, DeliveryRefused)
        return failure.value.reply


class LaneHostsTests(LaneHostsTestCase):
    def test_stored(self) -> None:
        done = self.deliver()
        self.assertNoResult(done)
        self.pass_()
        path = self.successResultOf(done)
        self.assertEqual(path, f"{self.me.home}/Maildir/new/letter")
        self.assertTrue(self.platform.disk.read(path).startswith(b"Return-Path: <>\nFrom: a@client.test\n"))

    def test_onlyForTheInvokingUser(self) -> None:
        reply = self.refusal(self.deliver(user="bob"))
        self.assertIn("bob", reply.text)
        self.assertTrue(reply.isTemporary)

    def test_manyAtOnceShareSyncs(self) -> None:
        """What comes while the lanes are busy goes in batches."""
        self.deliver("first")
        self.pass_()
        before = self.platform.disk.counts["syncDirectory"]
        done = [self.deliver(f"letter{number}") for number in range(40)]
        self.pass_()
        self.assertEqual(len({self.successResultOf(each) for each in done}), 40)
        self.assertLess(self.platform.disk.counts["syncDirectory"] - before, 8)

    def test_largeInPieces(self) -> None:
        content = b"0123456789abcde\r\n" * (WHOLE // 10)
        done = self.deliver("large", FakeBody(content))
        self.pass_(100)
        stored = self.platform.disk.read(self.successResultOf(done))
        self.assertEqual(stored, b"Return-Path: <>\n" + content.replace(b"\r\n", b"\n"))

    def test_largeThatCannotBeReadLeavesNothing(self) -> None:
        body = FakeBody(b"x" * (WHOLE + 1), failure=QueueError(FULL, "damaged"))
        done = self.deliver("large", body)
        self.pass_(100)
        self.failureResultOf(done, QueueError)
        self.assertEqual(self.platform.disk.tree(self.me.home), [])

    def test_diskFull(self) -> None:
        self.platform.disk.fail("write", errno.ENOSPC, times=None)
        small, large = self.deliver(), self.deliver("large", FakeBody(b"x" * (WHOLE + 1)))
        self.pass_(100)
        for done in (small, large):
            reply = self.refusal(done)
            self.assertEqual((reply.code, reply.enhanced), (452, "4.2.2"))

    def test_close(self) -> None:
        done = self.deliver()
        closed = self.hosts.close()
        self.assertNoResult(closed)
        self.pass_()
        self.successResultOf(done)
        self.successResultOf(closed)

    def test_closeWhenIdle(self) -> None:
        self.successResultOf(self.hosts.close())


class SlowTests(LaneHostsTestCase):
    """Mailboxes and commands, each in a lane of its own."""

    def setUp(self) -> None:
        super().setUp()
        self.disk = self.platform.disk
        self.path = f"{self.me.home}/mbox"

    def mbox(self, body: FakeBody | None = None) -> Deferred[str]:
        task = MboxTask("~/mbox", "From a@b Thu Jan  1 00:00:00 2026", b"Return-Path: <a@b>\r\n")
        return self.hosts.deliver(Account(self.me.name), task, body or FakeBody())

    def test_mbox(self) -> None:
        for _ in range(2):
            done = self.mbox()
            self.pass_()
            self.assertEqual(self.successResultOf(done), self.path)
        letter = (
            b"From a@b Thu Jan  1 00:00:00 2026\nReturn-Path: <a@b>\nFrom: a@client.test\nSubject: test\n\nHello.\n\n"
        )
        self.assertEqual(self.disk.read(self.path), letter * 2)

    def test_mboxIsDurable(self) -> None:
        done = self.mbox()
        self.pass_()
        self.successResultOf(done)
        before = self.disk.read(self.path)
        self.disk.powerCut()
        self.assertEqual(self.disk.read(self.path), before)

    def test_quoting(self) -> None:
        """What would begin another message, and what was quoted so already, also where pieces meet."""
        lines = b"From a\r\n>From b\r\n>>From c\r\n From d\r\nfrom e\r\nFromage\r\n"
        for chunk in (1, 3, 7, 65_536):
            self.disk.write(self.path, b"")
            done = self.mbox(FakeBody(b"\r\n" + lines, chunk=chunk))
            self.pass_()
            self.successResultOf(done)
            self.assertIn(b"\n\n>From a\n>>From b\n>>>From c\n From d\nfrom e\nFromage\n\n", self.disk.read(self.path))

    def test_oneThatWasCutOff(self) -> None:
        """What a crash left is no part of the next message."""
        for before, gap in ((b"From x\n\nhal", b"\n\n"), (b"From x\n\nhalf\n", b"\n"), (b"\n", b"\n")):
            self.disk.write(self.path, before)
            done = self.mbox()
            self.pass_()
            self.successResultOf(done)
            self.assertTrue(self.disk.read(self.path).startswith(before + gap + b"From a@b "), before)

    def test_contentWithoutAnEnd(self) -> None:
        done = self.mbox(FakeBody(b"\r\nno end"))
        self.pass_()
        self.successResultOf(done)
        self.assertTrue(self.disk.read(self.path).endswith(b"\nno end\n\n"))

    def test_diskFullLeavesTheMailboxAsItWas(self) -> None:
        self.disk.write(self.path, b"From x\n\nbefore\n\n")
        for size in (100, WHOLE + 1):
            for operation, after in (("write", 0), ("write", 1), ("sync", 0)):
                failure = self.disk.fail(operation, errno.ENOSPC, after=after, path=self.path)
                done = self.mbox(FakeBody(b"x\r\n" * size))
                self.pass_(100)
                self.assertEqual(self.refusal(done).enhanced, "4.2.2")
                self.disk.failures.remove(failure)
                self.assertEqual(self.disk.read(self.path), b"From x\n\nbefore\n\n")

    def test_locked(self) -> None:
        mailbox = self.disk.mailbox(self.path, 0)
        done = self.mbox()
        self.pass_()
        self.assertIn("locked", self.refusal(done).text)
        mailbox.close()

    def command(self, exit: Exit = Exit(), body: FakeBody | None = None) -> Deferred[str]:  # noqa: B008 - a value
        self.platform.processes.commands["/bin/filter"] = lambda called: exit
        task = CommandTask(("/bin/filter", "-a"), {"A": "b"}, self.me.home, 7.0, b"Return-Path: <>\r\n")
        return self.hosts.deliver(Account(self.me.name), task, body or FakeBody())

    def test_command(self) -> None:
        done = self.command()
        self.pass_()
        self.assertEqual(self.successResultOf(done), "/bin/filter")
        (called,) = self.platform.processes.called
        self.assertEqual((called.argv, called.environment), (("/bin/filter", "-a"), {"A": "b"}))
        self.assertEqual((called.directory, called.limit), (self.me.home, 7.0))
        self.assertEqual(called.content, b"Return-Path: <>\nFrom: a@client.test\nSubject: test\n\nHello.\n")

    def test_largeForACommand(self) -> None:
        done = self.command(body=FakeBody(b"0123456789\r\n" * WHOLE))
        self.pass_(100)
        self.successResultOf(done)
        self.assertEqual(self.platform.processes.called[0].content, b"Return-Path: <>\n" + b"0123456789\n" * WHOLE)

    def test_contentThatCannotBeRead(self) -> None:
        """No command sees a part of a message and takes it for the whole."""
        done = self.command(body=FakeBody(b"x" * (WHOLE + 1), failure=QueueError(FULL, "damaged")))
        self.pass_(100)
        self.failureResultOf(done, QueueError)
        self.assertEqual(self.platform.processes.called, [])

    def test_refusals(self) -> None:
        for exit, code in ((Exit(67, output="who?"), 550), (Exit(75), 451), (Exit(127), 451), (Exit(isLate=True), 451)):
            done = self.command(exit)
            self.pass_()
            failure = self.failureResultOf(done, DeliveryRefused)
            assert isinstance(failure.value, DeliveryRefused)
            self.assertEqual(failure.value.reply.code, code)

    def test_aSlowOneDelaysNobody(self) -> None:
        self.platform.workers.delays["mda.slow.0"] = 200.0
        slow, quick, letter = self.command(), self.command(), self.deliver()
        self.pass_()
        self.successResultOf(quick)
        self.successResultOf(letter)
        self.assertNoResult(slow)
        self.pass_(300)
        self.successResultOf(slow)

    def test_afterCloseNoneIsStarted(self) -> None:
        done = self.command()
        closed = self.hosts.close()
        self.pass_()
        self.assertTrue(self.refusal(done).isTemporary)
        self.successResultOf(closed)

    def test_folders(self) -> None:
        home = self.me.home
        for folder, isMade, expected in (("lists", False, ""), ("Junk", True, "/.Junk")):
            task = MaildirTask("~/Maildir", f"a{folder}", b"", "", folder, isMade)
            done = self.hosts.deliver(Account(self.me.name), task, FakeBody())
            self.pass_()
            self.assertEqual(self.successResultOf(done), f"{home}/Maildir{expected}/new/a{folder}")
        self.disk.directory(f"{home}/Maildir/.lists")
        done = self.hosts.deliver(Account(self.me.name), replace(task, folder="lists", isFolderMade=False), FakeBody())
        self.pass_()
        self.assertEqual(self.successResultOf(done), f"{home}/Maildir/.lists/new/aJunk")

    def test_aUserbaseOfOurOwnId(self) -> None:
        """Without root: as the invoking user, in the home that the table says."""
        self.disk.directory("/srv/ann")
        done = self.hosts.deliver(Account("ann", self.me.uid, self.me.gid, "/srv/ann"), task(), FakeBody())
        self.pass_()
        self.assertEqual(self.successResultOf(done), "/srv/ann/Maildir/new/letter")
        done = self.hosts.deliver(Account("ann", self.me.uid + 1, self.me.gid, "/srv/ann"), task(), FakeBody())
        self.assertIn("ann", self.refusal(done).text)
