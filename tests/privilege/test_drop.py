"""Whom the daemon becomes, and the spool that it is given."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.privilege.drop import CANDIDATES, PrivilegeError, becomeUser, chooseUser, prepareSpool


def users(**uids: int) -> dict[str, pwd.struct_passwd]:
    return {name: pwd.struct_passwd((name, "x", uid, uid, "", "/", "/bin/false")) for name, uid in uids.items()}


class UserTests(SynchronousTestCase):
    def choose(self, name: str | None, **uids: int) -> str:
        return chooseUser(name, users(**uids).__getitem__).pw_name

    def test_theFirstThatExists(self) -> None:
        everyone = {name: number + 1 for number, name in enumerate(CANDIDATES)}
        for name in CANDIDATES:
            self.assertEqual(self.choose(None, **everyone), name)
            del everyone[name]
        self.assertRaises(PrivilegeError, self.choose, None)

    def test_whatTheOperatorSays(self) -> None:
        self.assertEqual(self.choose("mail", mail=8, nobody=9), "mail")
        self.assertRaises(PrivilegeError, self.choose, "mail", nobody=9)

    def test_neverRoot(self) -> None:
        self.assertRaises(PrivilegeError, self.choose, "root", root=0)
        self.assertRaises(PrivilegeError, self.choose, None, smtpd=0, nobody=9)
        self.assertRaises(PrivilegeError, becomeUser, 0, 0, [])
        self.assertRaises(PrivilegeError, becomeUser, -1, 5, [])


class SpoolTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.parent = Path(tempfile.mkdtemp(prefix="pysmtpd-"))
        self.addCleanup(shutil.rmtree, self.parent, True)
        self.spool = self.parent / "spool"

    def prepare(self, uid: int | None = None, path: Path | None = None) -> None:
        prepareSpool(str(path or self.spool), os.getuid() if uid is None else uid, os.getgid())

    def test_made(self) -> None:
        self.prepare()
        self.assertEqual(stat.S_IMODE(self.spool.stat().st_mode), 0o711)

    def test_oneThatIsThere(self) -> None:
        self.spool.mkdir(mode=0o755)
        (self.spool / "queue.db").write_text("kept")
        self.prepare()
        self.assertEqual(stat.S_IMODE(self.spool.stat().st_mode), 0o711)
        self.assertEqual((self.spool / "queue.db").read_text(), "kept")

    def test_aLink(self) -> None:
        (self.parent / "elsewhere").mkdir()
        self.spool.symlink_to(self.parent / "elsewhere")
        self.assertRaises(PrivilegeError, self.prepare)

    def test_somebodyElses(self) -> None:
        self.spool.mkdir()
        if os.getuid() == 0:
            os.chown(self.spool, 12345, 12345)
        self.assertRaises(PrivilegeError, self.prepare, 54321)

    def test_aParentThatOthersMayWriteTo(self) -> None:
        self.parent.chmod(0o777)
        self.assertRaises(PrivilegeError, self.prepare)
        self.parent.chmod(0o1777)
        self.prepare()

    def test_aFile(self) -> None:
        self.spool.write_text("")
        self.assertRaises(OSError, self.prepare)
