"""A database that loses one envelope of several: whose mail it was must not go without a word."""

from __future__ import annotations

import os
import shutil
import sqlite3
from random import Random

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.interfaces.queue import IQueueBackend, NewMessage, SetAside
from pysmtpd.model.config import QueueLimits
from pysmtpd.model.ids import EnvelopeId, MessageId, envelopeId
from pysmtpd.platform.disk import RealDisk
from pysmtpd.queue import sqlite
from pysmtpd.testing.disk import SimulatedDisk
from tests.queue.make_fixture import FIXTURES
from tests.queue.support import SmallPlatform

ID = MessageId(0x123456789)
ENVELOPES = tuple((envelopeId(ID, number), b"envelope %d" % number) for number in range(5))
IDS = [id for id, _ in ENVELOPES]


class VanishedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.place = os.path.abspath(self.mktemp())
        self.backend = self.opened()
        self.addCleanup(lambda: self.successResultOf(self.backend.close()))
        self.successResultOf(self.backend.commit([NewMessage(ID, b"record", ENVELOPES, b"content")]))

    def opened(self) -> IQueueBackend:
        settings = {"spool": self.place, "limits": QueueLimits()}
        backend = sqlite.make("", SmallPlatform(RealDisk()), settings)
        self.successResultOf(backend.open())
        return backend

    def restart(self, lost: EnvelopeId | None = None) -> tuple[SetAside, ...]:
        """
        @return: what the new daemon tells.
        """
        self.successResultOf(self.backend.close())
        if lost is not None:
            database = sqlite3.connect(f"{self.place}/queue.db")
            database.execute("DELETE FROM envelope WHERE message = ? AND number = ?", (ID, lost & 0xFFFFFFFF))
            database.commit()
            database.close()
        self.backend = self.opened()
        return self.successResultOf(self.backend.walk(None, 10)).damaged

    def left(self) -> list[EnvelopeId]:
        found = self.successResultOf(self.backend.load(ID))
        return [] if found is None else [id for id, _, _ in found.envelopes]

    def test_whatEndedIsNotMissed(self) -> None:
        for gone in (3, 0):
            self.successResultOf(self.backend.delete([IDS[gone]]))
            self.assertEqual((), self.restart())
        self.assertEqual([IDS[1], IDS[2], IDS[4]], self.left())
        # Twice, or unknown: as if it had not been asked for.
        self.successResultOf(self.backend.delete([IDS[3], envelopeId(ID, 77)]))
        self.successResultOf(self.backend.update({IDS[3]: b"state"}))
        self.assertEqual([IDS[1], IDS[2], IDS[4]], self.left())
        self.successResultOf(self.backend.delete([IDS[1], IDS[2]]))
        self.successResultOf(self.backend.delete([IDS[4]]))
        self.assertEqual((), self.restart())
        self.assertEqual((), self.successResultOf(self.backend.setAside()))
        self.successResultOf(self.backend.close())
        database = sqlite3.connect(f"{self.place}/queue.db")
        for table in ("message", "body", "envelope"):
            self.assertEqual((0,), database.execute(f"SELECT count(*) FROM {table}").fetchone())
        database.close()

    def test_whatVanishedIsTold(self) -> None:
        self.successResultOf(self.backend.delete([IDS[3]]))
        (told,) = self.restart(lost=IDS[1])
        self.assertEqual(f"{ID:016x}", told.item)
        self.assertIn("1 of its 5 envelopes vanished", told.reason)
        # The others are delivered all the same.
        self.assertEqual([IDS[0], IDS[2], IDS[4]], self.left())
        for id in (IDS[0], IDS[2], IDS[4]):
            self.assertEqual((), self.successResultOf(self.backend.setAside()))
            self.successResultOf(self.backend.delete([id]))
        # But the content is not thrown away, for somebody may not have it.
        (aside,) = self.successResultOf(self.backend.setAside())
        self.assertEqual(f"{ID:016x}", aside.item)
        self.assertIn("1 of its 5 envelopes", aside.reason)
        self.assertEqual([], self.left())
        self.assertIsNotNone(self.successResultOf(self.backend.body(ID)))
        self.assertEqual((), self.restart())
        self.assertEqual((aside,), self.successResultOf(self.backend.setAside()))

    def test_allOfThemVanished(self) -> None:
        self.successResultOf(self.backend.delete(IDS[1:]))
        self.restart(lost=IDS[0])
        (message,) = self.successResultOf(self.backend.walk(None, 10)).messages
        self.assertEqual((), message.envelopes, "the front sets it aside for that")


class UpgradeTests(SynchronousTestCase):
    """A release that does not know the marks of finished envelopes would take them for damage: it must not open what has some."""

    def test_powerCutAtAnyMoment(self) -> None:
        for format in (1, 2):
            with open(f"{FIXTURES}/sqlite-{format}/queue.db", "rb") as file:
                database = file.read()
            for seed in range(3):
                self.cutThrough(format, database, seed)

    def cutThrough(self, format: int, database: bytes, seed: int) -> None:
        operations = 0
        isOpened = False
        while not isOpened:
            disk = SimulatedDisk(Random(f"{seed} {operations}"))
            disk.write("/place/queue.db", database)
            disk.write("/place/queue.format", b"pysmtpd queue sqlite %d\n" % format)
            disk.directory("/place/bodies")
            disk.cutAfter = operations
            opening = self.open(disk)
            opening.addErrback(lambda failure: None)
            isOpened = disk.cutAfter is not None and isinstance(opening.result, int)
            if isOpened:
                disk.powerCut()
            disk.powerOn()
            content = disk.database("/place/queue.db").serialize()
            if b"envelopes INTEGER" in content if format == 1 else b"share INTEGER" in content:
                self.assertIn(b"sqlite 3", disk.read("/place/queue.format"))
            # Wherever it was cut, the next start goes on from there.
            self.assertIsInstance(self.successResultOf(self.open(disk)), int)
            self.assertIn(b"share INTEGER", disk.database("/place/queue.db").serialize())
            operations += 1
            self.assertLess(operations, 100)
        self.assertIn(b"sqlite 3", disk.read("/place/queue.format"))

    def open(self, disk: SimulatedDisk) -> Deferred[int]:
        return sqlite.make("/place", SmallPlatform(disk), {"spool": "/place", "limits": QueueLimits()}).open()

    def test_oldMessagesAreTaken(self) -> None:
        place = os.path.abspath(self.mktemp())
        shutil.copytree(f"{FIXTURES}/sqlite-1", place)
        for _ in range(2):
            backend = sqlite.make("", SmallPlatform(RealDisk()), {"spool": place, "limits": QueueLimits()})
            self.successResultOf(backend.open())
            page = self.successResultOf(backend.walk(None, 10))
            self.assertEqual((3, ()), (len(page.messages), page.damaged))
            self.successResultOf(backend.close())
