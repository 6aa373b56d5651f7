"""Files below a directory: nothing leads out of it."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import cast

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.interfaces import IProcesses
from pysmtpd.mda.maildir import Letter, storeAll
from pysmtpd.mda.writers import deliverWhole
from pysmtpd.model.specifiers import NAMES, expandPath
from pysmtpd.model.task import MaildirTask
from pysmtpd.platform.commands import Commands
from pysmtpd.platform.disk import RealDisk


class BeneathTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="pysmtpd-")).resolve()
        self.addCleanup(shutil.rmtree, self.place, True)
        self.root = self.place / "mail"
        self.root.mkdir()
        self.outside = self.place / "outside"
        for folder in ("new", "cur", "tmp"):
            (self.outside / folder).mkdir(parents=True)
        self.disk = RealDisk().beneath(str(self.root))

    def store(self, directory: str) -> str | OSError:
        return storeAll(self.disk, [Letter(f"{self.root}/{directory}", "letter", (b"x\r\n",))])[0]

    def untouched(self) -> None:
        self.assertEqual([path for path in self.outside.rglob("*") if not path.is_dir()], [])

    def test_stored(self) -> None:
        path = self.store("example.org/bob")
        self.assertEqual(path, f"{self.root}/example.org/bob/new/letter")
        self.assertEqual((self.root / "example.org/bob/new/letter").read_bytes(), b"x\n")
        self.assertEqual((self.root / "example.org").stat().st_mode & 0o777, 0o700)

    def test_linksOnTheWay(self) -> None:
        (self.root / "example.org").symlink_to(self.place)
        self.assertIsInstance(self.store("example.org/outside"), OSError)
        (self.root / "bob").symlink_to(self.outside)
        self.assertIsInstance(self.store("bob"), OSError)
        (self.root / "ann").mkdir()
        for folder in ("new", "cur", "tmp"):
            (self.root / "ann" / folder).symlink_to(self.outside / folder)
        self.assertIsInstance(self.store("ann"), OSError)
        self.untouched()

    def test_theOperatorsOwnLink(self) -> None:
        (self.place / "link").symlink_to(self.root)
        disk = RealDisk().beneath(f"{self.place}/link")
        result = storeAll(disk, [Letter(f"{self.place}/link/bob", "letter", (b"x",))])[0]
        self.assertEqual(result, f"{self.place}/link/bob/new/letter")
        self.assertTrue((self.root / "bob/new/letter").exists())

    def test_pathsOfElsewhere(self) -> None:
        for path in (
            f"{self.root}/../outside/new/a",
            f"{self.outside}/new/a",
            f"{self.root}/./a",
            f"{self.root}//a",
            f"{self.root}x",
        ):
            self.assertRaises(OSError, self.disk.create, path)
            self.assertRaises(OSError, self.disk.unlink, path)
        self.untouched()

    def test_aPrefixThatIsNotThere(self) -> None:
        disk = RealDisk().beneath(f"{self.place}/made/deep")
        result = storeAll(disk, [Letter(f"{self.place}/made/deep/bob", "letter", (b"x",))])[0]
        self.assertEqual(result, f"{self.place}/made/deep/bob/new/letter")

    @given(st.text(st.sampled_from("./ab\0~+")), st.text(st.characters(codec="utf-8"), max_size=40), st.booleans())
    @settings(max_examples=60, deadline=None)
    def test_noAddressLeavesThePrefix(self, user: str, tag: str, isRaw: bool) -> None:
        """Whatever it says, and though there are links all over."""
        for name in ("a", "b", ".a", "::"):
            link = self.root / name
            if not link.is_symlink():
                link.symlink_to(self.place)
        text = f"{self.root}/%{{dest.user{':raw' if isRaw else ''}}}/%{{dest.domain:raw}}"
        values = dict.fromkeys(NAMES, "x") | {"dest.user": user, "dest.domain": tag}
        try:
            path, beneath = expandPath(text, values, str)
        except ValueError:
            return
        before = set(self.place.rglob("*"))
        task = MaildirTask(path, "letter", b"", beneath, "")
        with contextlib.suppress(OSError):
            deliverWhole(RealDisk(), cast("IProcesses", Commands()), "/nowhere", task, (b"x",))
        for made in set(self.place.rglob("*")) - before:
            self.assertTrue(str(made).startswith(f"{self.root}/"), made)
        self.untouched()
