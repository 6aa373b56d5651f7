"""Delivery in the daemon's own process, without root."""

from __future__ import annotations

import errno

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.interfaces import DeliveryRefused, QueueError
from pysmtpd.mda.hosts import WHOLE, LaneHosts
from pysmtpd.model.reply import Reply
from pysmtpd.model.task import Account, MaildirTask
from pysmtpd.testing.platform import SimulatedPlatform
from tests.mda.fakes import FakeBody

FULL = Reply(452, "No room", "4.3.1")


def task(name: str = "letter", path: str = "~/Maildir") -> MaildirTask:
    return MaildirTask(path, name, b"Return-Path: <>\r\n")


class LaneHostsTests(SynchronousTestCase):
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
