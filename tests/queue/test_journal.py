"""A disk that loses a bit of SQLite's journal: nothing that was acknowledged vanishes without a word."""

from __future__ import annotations

import os
import shutil
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.interfaces.queue import IQueueBackend, NewMessage
from pysmtpd.model.config import QueueLimits
from pysmtpd.model.ids import MessageId, envelopeId, formatMessageId
from pysmtpd.platform.disk import RealDisk
from pysmtpd.queue import sqlite
from pysmtpd.queue.journal import Break, findBreak
from pysmtpd.queue.rescue import keep, kept, moveBodies
from pysmtpd.testing.disk import SimulatedDisk
from pysmtpd.testing.faults import PowerCut
from tests.queue.support import SmallPlatform

HEADER = 32
FRAME = 24 + 4096
MESSAGES = 12


def make(place: str) -> IQueueBackend:
    return sqlite.make(place, SmallPlatform(RealDisk()), {"spool": place, "limits": QueueLimits()})


class CrashedSpoolCase(SynchronousTestCase):
    """A spool as C{kill -9} leaves it, with a message for each commit; every third one's content is in a file."""

    def setUp(self) -> None:
        self.place = os.path.abspath(self.mktemp())
        running = os.path.abspath(self.mktemp())
        backend = make(running)
        self.successResultOf(backend.open())
        # What is made first is in the database by now.
        self.successResultOf(backend.close())
        backend = make(running)
        self.successResultOf(backend.open())
        self.ids = [MessageId(0x1000 + number) for number in range(MESSAGES)]
        for id in self.ids:
            envelopes = ((envelopeId(id, 0), b"envelope"),)
            if id % 3:
                new = NewMessage(id, b"record", envelopes, b"content" * 1500)
            else:
                stage = self.successResultOf(backend.stage(id))
                self.successResultOf(stage.write(b"large"))
                self.successResultOf(stage.finish())
                new = NewMessage(id, b"record", envelopes, None, stage.name)
            self.successResultOf(backend.commit([new]))
        shutil.copytree(running, self.place, ignore=shutil.ignore_patterns("*-shm"))
        self.successResultOf(backend.close())
        self.journal = f"{self.place}/queue.db-wal"
        with open(self.journal, "rb") as file:
            self.content = file.read()
        self.frames = (len(self.content) - HEADER) // FRAME

    def damage(self, offset: int, bit: int = 1) -> None:
        content = bytearray(self.content)
        content[offset] ^= bit
        with open(self.journal, "wb") as file:
            file.write(content)

    def started(self) -> IQueueBackend:
        backend = make(self.place)
        self.successResultOf(backend.open())
        return backend

    def found(self, backend: IQueueBackend) -> list[MessageId]:
        return [message.id for message in self.successResultOf(backend.walk(None, 100)).messages]


class JournalTests(CrashedSpoolCase):
    def test_inOrder(self) -> None:
        backend = self.started()
        self.assertEqual(self.ids, self.found(backend))
        self.assertEqual((), self.successResultOf(backend.setAside()))
        self.successResultOf(backend.close())
        self.assertNotIn("aside", os.listdir(self.place))

    def test_acknowledgedMailIsNotLostWithoutAWord(self) -> None:
        self.damage(HEADER + FRAME * (self.frames // 2) + 1000)
        backend = self.started()
        (aside,) = self.successResultOf(backend.walk(None, 100)).damaged
        left = self.found(backend)
        self.assertLess(len(left), MESSAGES)
        self.assertIn("mail was lost from the queue", aside.reason)
        self.assertIn(f"{self.place}/{aside.item}", aside.reason)
        self.assertEqual((aside,), self.successResultOf(backend.setAside()))
        directory = f"{self.place}/{aside.item}"
        with open(f"{directory}/queue.db-wal", "rb") as file:
            self.assertEqual(len(self.content), len(file.read()))
        self.assertIn("queue.db", os.listdir(directory))
        # The content of what is lost is not debris.
        lost = [formatMessageId(id) for id in self.ids if id not in left and not id % 3]
        self.assertTrue(lost)
        self.assertEqual(lost, sorted(os.listdir(f"{directory}/bodies")))
        # It goes on, and the next start has nothing new to say.
        later = MessageId(0x9000)
        new = NewMessage(later, b"record", ((envelopeId(later, 0), b"envelope"),), b"content")
        self.successResultOf(backend.commit([new]))
        self.successResultOf(backend.close())
        again = self.started()
        page = self.successResultOf(again.walk(None, 100))
        self.assertEqual(([*left, later], ()), ([message.id for message in page.messages], page.damaged))
        self.assertEqual((aside,), self.successResultOf(again.setAside()))
        self.assertEqual(lost, sorted(os.listdir(f"{directory}/bodies")))
        self.successResultOf(again.close())

    def test_inTheLastCommit(self) -> None:
        """A power cut may have torn it, so the database is not copied; but it is told."""
        self.damage(len(self.content) - 10)
        backend = self.started()
        (aside,) = self.successResultOf(backend.setAside())
        self.assertIn("if the power did not fail, mail was lost", aside.reason)
        self.assertNotIn("queue.db", sorted(os.listdir(f"{self.place}/{aside.item}")))
        self.successResultOf(backend.close())

    def test_anyBit(self) -> None:
        """Wherever it is: all are there, or it is told."""
        random = Random(1)
        disk = RealDisk()
        header = [(place, 1 << random.randrange(8)) for place in range(HEADER)]
        heads = [
            (HEADER + random.randrange(self.frames) * FRAME + place, 1 << random.randrange(8)) for place in range(24)
        ]
        anywhere = [(random.randrange(len(self.content)), 1 << random.randrange(8)) for _ in range(40)]
        for offset, bit in (*header, *heads, *anywhere):
            self.damage(offset, bit)
            file = disk.open(self.journal)
            broken = findBreak(file)
            file.close()
            place = os.path.abspath(self.mktemp())
            shutil.copytree(self.place, place)
            backend = make(place)
            self.successResultOf(backend.open())
            isWhole = self.found(backend) == self.ids
            self.assertEqual(isWhole, broken is None, (offset, bit))
            self.assertEqual(isWhole, not self.successResultOf(backend.setAside()), (offset, bit))
            self.successResultOf(backend.close())
            shutil.rmtree(place)

    def test_tornAtTheEnd(self) -> None:
        """C{kill -9} leaves the beginning of a commit: that is no damage."""
        for length in range(0, len(self.content), 1009):
            with open(self.journal, "wb") as file:
                file.write(self.content[:length])
            opened = RealDisk().open(self.journal)
            self.assertIsNone(findBreak(opened))
            opened.close()

    def test_anEarlierGenerationBehind(self) -> None:
        """The log is used from its start again; what stands behind is of no interest."""
        content = bytearray(self.content)
        for index in range(self.frames - 4, self.frames):
            start = HEADER + index * FRAME
            content[start + 8 : start + 16] = bytes(8)
        with open(self.journal, "wb") as file:
            file.write(content)
        opened = RealDisk().open(self.journal)
        self.assertIsNone(findBreak(opened))
        opened.close()


class RescueTests(SynchronousTestCase):
    """What is kept stays through a power cut, whatever the disk forgets."""

    FOUND = Break("journal-1", 3, 2, True)

    def test_powerCut(self) -> None:
        for seed in range(20):
            disk = SimulatedDisk(Random(seed))
            disk.write("/place/queue.db", b"d" * 50_000)
            disk.write("/place/queue.db-wal", b"w" * 50_000)
            disk.write("/place/bodies/0000000000000001", b"large")
            aside = keep(disk, "/place", "queue.db", self.FOUND)
            if seed % 2:
                moveBodies(disk, "/place/bodies", ["0000000000000001"], f"/place/{aside.item}")
            disk.powerCut()
            self.assertEqual((aside,), kept(disk, "/place"))
            self.assertEqual(b"d" * 50_000, disk.read(f"/place/{aside.item}/queue.db"))
            self.assertEqual(b"w" * 50_000, disk.read(f"/place/{aside.item}/queue.db-wal"))
            if seed % 2:
                self.assertEqual(b"large", disk.read(f"/place/{aside.item}/bodies/0000000000000001"))

    def test_powerCutAtAnyMoment(self) -> None:
        """Done once more, it is whole."""
        for seed in range(4):
            operations = 0
            while True:
                disk = SimulatedDisk(Random(seed))
                disk.write("/place/queue.db", b"d" * 5000)
                disk.write("/place/queue.db-wal", b"w" * 5000)
                disk.cutAfter = operations
                try:
                    keep(disk, "/place", "queue.db", self.FOUND)
                    break
                except (PowerCut, OSError):
                    operations += 1
                disk.powerOn()
                aside = keep(disk, "/place", "queue.db", self.FOUND)
                self.assertEqual(b"d" * 5000, disk.read(f"/place/{aside.item}/queue.db"))
                self.assertEqual(b"w" * 5000, disk.read(f"/place/{aside.item}/queue.db-wal"))
            self.assertGreater(operations, 5)
