from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.mda.exits import FAULT, verdict
from pysmtpd.model.task import Exit


class ExitTests(SynchronousTestCase):
    def said(self, exit: Exit) -> str:
        reply = verdict(exit)
        assert reply is not None
        return str(reply)

    def test_delivered(self) -> None:
        self.assertIsNone(verdict(Exit(output="whatever")))

    def test_permanent(self) -> None:
        self.assertEqual(
            self.said(Exit(67, output="no such mailbox")), "550 5.1.1 Command failed: EX_NOUSER: no such mailbox"
        )
        self.assertEqual(self.said(Exit(1)), "550 5.3.0 Command failed: exit code 1")
        for status in (2, 64, 65, 66, 68, 69, 70, 72, 73, 74, 76, 77, 79, 100, 128, 255):
            self.assertTrue(self.said(Exit(status)).startswith("550 5."), status)

    def test_temporary(self) -> None:
        for exit in (Exit(75), Exit(71), Exit(signal=9), Exit(isLate=True, signal=15), Exit(0, isLate=True)):
            said = self.said(exit)
            self.assertTrue(said.startswith("451 4."), said)
            self.assertNotIn(FAULT, said)

    def test_whatAnOperatorMends(self) -> None:
        for exit in (Exit(78), Exit(126), Exit(127), Exit(failure="there is no /bin/x")):
            self.assertTrue(self.said(exit).startswith(f"451 {FAULT} "), exit)

    def test_whatAProgramSaysIsMadePlain(self) -> None:
        said = self.said(Exit(1, output="a\r\n250 \x1b[1mb \u00e4" + "x" * 1000))
        self.assertTrue(said.isascii() and said.isprintable())
        self.assertLess(len(said), 500)
