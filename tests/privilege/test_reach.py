"""Whom a directory is closed to."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.privilege.reach import obstacle

STRANGER = 61234


class ObstacleTests(SynchronousTestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory(dir="/tmp")
        self.addCleanup(scratch.cleanup)
        self.top = Path(os.path.realpath(scratch.name))
        self.top.chmod(0o755)
        self.inner = self.top / "lib" / "python"
        self.inner.mkdir(parents=True)

    def test_open(self) -> None:
        self.assertEqual(obstacle(str(self.inner), STRANGER, (STRANGER,)), "")

    def test_closedAbove(self) -> None:
        self.top.chmod(0o700)
        self.assertEqual(obstacle(str(self.inner), STRANGER, (STRANGER,)), str(self.top))
        self.assertEqual(obstacle(str(self.inner), os.getuid(), ()), "", "its owner may")

    def test_byItsGroup(self) -> None:
        self.top.chmod(0o710)
        self.assertEqual(obstacle(str(self.inner), STRANGER, (self.top.stat().st_gid,)), "")
        self.assertEqual(obstacle(str(self.inner), STRANGER, ()), str(self.top))

    def test_behindALink(self) -> None:
        """Where it leads to counts."""
        self.inner.chmod(0o700)
        link = self.top / "link"
        link.symlink_to(self.inner)
        self.assertEqual(obstacle(str(link), STRANGER, ()), str(self.inner))

    def test_notThere(self) -> None:
        self.assertEqual(obstacle(str(self.top / "none"), STRANGER, ()), "")
