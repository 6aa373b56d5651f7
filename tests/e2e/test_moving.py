"""A queue is handed over as docs/migrating.md says: see tests/e2e/moving.py."""

from __future__ import annotations

from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from tests.e2e.moving import PROGRAMS, move
from tests.e2e.support import needsRoot


class MovingTests(SynchronousTestCase):
    timeout = 180

    def test_theQueueIsHandedOver(self) -> None:
        needsRoot("it makes a room with users, paths and ports of its own")
        if not (PROGRAMS / "smtpd").exists():
            raise SkipTest("tests/e2e/setup unpacks Debian's opensmtpd where it can be had")
        moved = move()
        self.assertEqual(len(moved["before"]), 3)
        self.assertEqual(moved["after"], [])
        self.assertEqual((moved["ann"], moved["ben"]), (["0", "1"], ["1"]))
