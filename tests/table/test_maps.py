"""Maps of makemap: made whole or not at all, whatever fails; used from the next question on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.interfaces.routing import Service, TableError
from pysmtpd.makemap import MapError, makeMap
from pysmtpd.model.config import BackendSpec, TableSpec
from pysmtpd.platform.disk import RealDisk
from pysmtpd.table import db
from pysmtpd.testing.disk import SimulatedDisk
from pysmtpd.testing.faults import PowerCut
from tests.table.platform import SmallPlatform

ROOT = Path(__file__).resolve().parents[2]


def opened(disk: object, path: str) -> db.DbTable:
    return db.make(path, SmallPlatform(disk).asPlatform, {"spec": TableSpec("t", BackendSpec("db", path))})


class MapTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.source = os.path.abspath(self.mktemp())
        self.map = f"{self.source}.db"

    def make(self, text: str, kind: str = "map") -> None:
        Path(self.source).write_text(text)
        makeMap(RealDisk(), self.source, self.map, kind)

    def test_replacedWhileItIsUsed(self) -> None:
        self.make("ann: ben\n")
        table = opened(RealDisk(), self.map)
        self.addCleanup(table.close)
        self.assertEqual(self.successResultOf(table.lookup(Service.ALIAS, "ann")), "ben")
        self.make("ann: cid\nben: dora\n")
        self.assertEqual(self.successResultOf(table.lookup(Service.ALIAS, "ann")), "cid")
        self.assertEqual(self.successResultOf(table.update()).update.entries, 2)

    def test_kinds(self) -> None:
        self.make("2001:db8:: x\nexample.org\n", "set")
        table = opened(RealDisk(), self.map)
        self.addCleanup(table.close)
        self.assertTrue(self.successResultOf(table.match(Service.DOMAIN, "example.org")))

    def test_badSourceChangesNothing(self) -> None:
        self.make("ann: ben\n")
        before = Path(self.map).read_bytes()
        for text, kind, why in (
            ("ann\n", "map", "line 1"),
            ("ann: two words\n", "aliases", 'line 1: "ann" expands to'),
            ("ann: ben, error:550 x\nben: c\n", "aliases", "line 1"),
        ):
            error = self.assertRaises(MapError, self.make, text, kind)
            self.assertIn(why, str(error))
            self.assertEqual(Path(self.map).read_bytes(), before)
        self.assertEqual(sorted(os.listdir(os.path.dirname(self.map))).count(f"{os.path.basename(self.map)}.new"), 0)

    def test_foreignFile(self) -> None:
        for content in (b"ann: ben\n" * 100, b""):
            Path(self.map).write_bytes(content)
            failure = self.failureResultOf(opened(RealDisk(), self.map).update(), TableError)
            self.assertIn("pysmtpd makemap", failure.getErrorMessage())

    def test_missingFile(self) -> None:
        failure = self.failureResultOf(opened(RealDisk(), self.map).update(), TableError)
        self.assertIn("No such file", failure.getErrorMessage())

    def test_commandLine(self) -> None:
        Path(self.source).write_text("Root: ann,\n  ben@example.org\nroot: cid\n")
        os.chmod(self.source, 0o640)

        def run(*arguments: str) -> subprocess.CompletedProcess[str]:
            argv = [sys.executable, "-m", "pysmtpd", *arguments]
            return subprocess.run(argv, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)

        made = run("newaliases", self.source)
        self.assertEqual((made.returncode, made.stdout), (0, f"{self.map}: 1 entries\n"))
        self.assertIn("line 3: root: again", made.stderr)
        self.assertEqual(os.stat(self.map).st_mode & 0o777, 0o640)
        self.assertEqual(run("makemap", f"{self.source}.none").returncode, 1)
        self.assertEqual(run("makemap").returncode, 2)


class CrashTests(SynchronousTestCase):
    def test_powerCutAnywhere(self) -> None:
        """Afterwards there is the old map or the new one; once it was said that it is made, the new one, whatever was not written yet."""
        cuts = whole = 0
        for after in range(60):
            disk = SimulatedDisk(Random(after))
            disk.write("/m/aliases", b"ann: old\n")
            makeMap(disk, "/m/aliases", "/m/aliases.db")
            disk.write("/m/aliases", b"ann: new\nben: x\n")
            disk.cutAfter = after
            try:
                makeMap(disk, "/m/aliases", "/m/aliases.db")
                made = True
            except PowerCut:
                made = False
                cuts += 1
            disk.cutAfter = None
            if made:
                disk.powerCut()
            disk.powerOn()
            table = opened(disk, "/m/aliases.db")
            value = self.successResultOf(table.lookup(Service.ALIAS, "ann"))
            self.assertIn(value, ("new",) if made else ("old", "new"), after)
            # What was left lying does not hinder the next time.
            makeMap(disk, "/m/aliases", "/m/aliases.db")
            table.close()
            whole += made
            if whole == 8:
                break
        self.assertGreater(cuts, 5)
        self.assertEqual(whole, 8)
