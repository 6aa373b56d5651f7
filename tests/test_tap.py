"""The command line."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.internet import reactor
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.tap import Options, makeService
from pysmtpd.testing.certificates import selfSigned

REST = 'action "sink" maildir\nmatch from any for any action "sink"\n'


class CheckTests(SynchronousTestCase):
    """C{pysmtpd -n} tells what would keep the daemon from its work."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()

    def check(self, text: str) -> None:
        file = self.directory / "smtpd.conf"
        file.write_text(text.replace("DIR", os.fspath(self.directory)) + REST)
        options = Options()
        options.parseOptions(["-n", "-f", os.fspath(file)])
        makeService(options, reactor)

    def test_good(self) -> None:
        certificate, key = selfSigned("mx.example.org")
        (self.directory / "crt").write_bytes(certificate)
        (self.directory / "key").write_bytes(key)
        end = self.assertRaises(SystemExit, self.check, 'pki mx.example.org cert "DIR/crt" key "DIR/key"\n')
        self.assertEqual(end.code, 0)

    def test_aCertificateThatCannotBeRead(self) -> None:
        wrong = self.assertRaises(UsageError, self.check, 'pki mx.example.org cert "DIR/crt" key "DIR/key"\n')
        self.assertIn("pki mx.example.org: certificate ", str(wrong))
        self.assertIn("pki mx.example.org: key ", str(wrong))

    def test_everythingThatIsWrong(self) -> None:
        wrong = self.assertRaises(UsageError, self.check, "nonsense\nlisten on lo pki x\n")
        self.assertIn(":1", str(wrong))
        self.assertIn(":2", str(wrong))
