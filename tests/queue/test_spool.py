"""The directory: format, lock, debris, damage."""

from __future__ import annotations

import os
from random import Random
from typing import Any

from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.interfaces.queue import IQueueBackend, NewMessage, SetAside, SpoolError
from pysmtpd.model.config import QueueLimits
from pysmtpd.model.ids import MessageId, envelopeId
from pysmtpd.queue import fs, sqlite
from pysmtpd.queue.spool import placeOf
from pysmtpd.testing.disk import SimulatedDisk
from tests.queue.support import CrashDisk, SmallPlatform

ID = MessageId(0x123456789)
NEW = NewMessage(ID, b"record", ((envelopeId(ID, 0), b"envelope"),), b"content")


class SpoolCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.disk = CrashDisk(os.path.abspath(self.mktemp()))
        self.settings: dict[str, Any] = {"spool": "/spool", "limits": QueueLimits()}

    def make(self, name: str = "sqlite") -> IQueueBackend:
        made: IQueueBackend = {"sqlite": sqlite, "fs": fs}[name].make("/place", SmallPlatform(self.disk), self.settings)
        return made

    def opened(self, name: str = "sqlite") -> IQueueBackend:
        backend = self.make(name)
        self.successResultOf(backend.open())
        return backend

    def content(self, path: str) -> bytes:
        return bytes(self.disk._node(path).data)

    def replace(self, path: str, data: bytes) -> None:
        self.disk._node(path).data[:] = data

    def refusal(self, name: str = "sqlite") -> str:
        return self.failureResultOf(self.make(name).open(), SpoolError).getErrorMessage()


class FirstStartTests(SynchronousTestCase):
    """The power may go while the very first daemon makes its spool: the next one must not take that for damage."""

    def make(self, name: str, disk: SimulatedDisk) -> IQueueBackend:
        settings = {"spool": "/spool", "limits": QueueLimits()}
        made: IQueueBackend = {"sqlite": sqlite, "fs": fs}[name].make("/place", SmallPlatform(disk), settings)
        return made

    def cut(self, name: str, operations: int, seed: int) -> bool:
        """
        @return: did the start end before the power did?
        """
        disk = SimulatedDisk(Random(f"{name} {operations} {seed}"))
        disk.cutAfter = operations
        opening = self.make(name, disk).open()
        isOpened = not isinstance(opening.result, Failure)
        opening.addErrback(lambda _: None)
        if isOpened:
            disk.powerCut()
        disk.powerOn()
        again = self.make(name, disk)
        self.successResultOf(again.open())
        self.successResultOf(again.commit([NEW]))
        return isOpened

    def test_powerCutAtAnyMoment(self) -> None:
        for name in ("sqlite", "fs"):
            for seed in range(8):
                operations = 0
                while not self.cut(name, operations, seed):
                    operations += 1
                    self.assertLess(operations, 100)


class DamagedCeilingTests(SynchronousTestCase):
    """What was set aside stays to be looked at, through a power cut and the next ceiling."""

    def test_powerCut(self) -> None:
        for seed in range(50):
            disk = SimulatedDisk(Random(seed))
            self.successResultOf(self.opened(disk).close())
            disk.write("/place/ceiling", b"damaged")
            backend = self.opened(disk)
            self.successResultOf(backend.reserve(MessageId(1 << 50)))
            disk.powerCut()
            backend = self.opened(disk)
            (aside,) = self.successResultOf(backend.setAside())
            self.assertEqual("ceiling", aside.item)
            self.assertIn("ids go on from the clock", aside.reason)

    def opened(self, disk: SimulatedDisk) -> IQueueBackend:
        settings = {"spool": "/spool", "limits": QueueLimits()}
        backend: IQueueBackend = fs.make("/place", SmallPlatform(disk), settings)
        self.successResultOf(backend.open())
        return backend


class FormatTests(SpoolCase):
    def test_newerFormatIsRefusedUntouched(self) -> None:
        for name in ("sqlite", "fs"):
            self.disk = CrashDisk(os.path.abspath(self.mktemp()))
            backend = self.opened(name)
            self.successResultOf(backend.commit([NEW]))
            stage = self.successResultOf(backend.stage(MessageId(5)))
            self.successResultOf(stage.write(b"debris"))
            self.successResultOf(backend.close())
            newest = {"sqlite": 3, "fs": 2}[name]
            self.replace("/place/queue.format", b"pysmtpd queue %s %d\n" % (name.encode(), newest + 1))
            before = self.everything("/place")
            text = self.refusal(name)
            self.assertIn(f"format {newest + 1}", text)
            self.assertIn(f"format {newest}", text)
            self.assertEqual(before, self.everything("/place"))

    def test_anOlderOneIsRaised(self) -> None:
        """Also where the first start of the older release had come no further than this."""
        for name, before, newest in (("sqlite", 1, 3), ("sqlite", 2, 3), ("fs", 1, 2)):
            self.disk = CrashDisk(os.path.abspath(self.mktemp()))
            self.disk.makeDirectory("/place")
            self.disk.create("/place/queue.format").write(b"pysmtpd queue %s %d\n" % (name.encode(), before))
            self.successResultOf(self.opened(name).close())
            self.assertEqual(b"pysmtpd queue %s %d\n" % (name.encode(), newest), self.content("/place/queue.format"))

    def test_whatIsNotOpenedIsNotRaised(self) -> None:
        """The older release can still be gone back to."""
        for name, inTheWay in (("sqlite", "bodies"), ("fs", "staged")):
            self.disk = CrashDisk(os.path.abspath(self.mktemp()))
            self.disk.makeDirectory("/place")
            self.disk.create("/place/queue.format").write(b"pysmtpd queue %s 1\n" % name.encode())
            self.disk.create(f"/place/{inTheWay}")
            self.assertIn(f"/place/{inTheWay} should be a directory", self.refusal(name))
            self.assertEqual(b"pysmtpd queue %s 1\n" % name.encode(), self.content("/place/queue.format"))

    def everything(self, path: str) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for name in self.disk.listDirectory(path):
            if self.disk.stat(f"{path}/{name}").kind == "file":
                found[f"{path}/{name}"] = self.content(f"{path}/{name}")
            else:
                found.update(self.everything(f"{path}/{name}"))
        return found

    def test_anotherBackendsPlaceIsRefused(self) -> None:
        self.successResultOf(self.opened("sqlite").close())
        self.assertIn("sqlite", self.refusal("fs"))

    def test_notOurs(self) -> None:
        self.disk.makeDirectory("/place")
        self.disk.create("/place/queue.db")
        self.assertIn("queue.format", self.refusal())
        self.disk.create("/place/queue.format").write(b"something else")
        self.assertIn("something else", self.refusal())

    def test_lockNamesTheRemedy(self) -> None:
        backend = self.opened()
        self.assertIn("another daemon", self.refusal())
        self.successResultOf(backend.close())
        self.successResultOf(self.opened().close())

    def test_places(self) -> None:
        self.assertEqual("/spool", placeOf("", "/spool", ""))
        self.assertEqual("/spool/queue", placeOf("", "/spool", "queue"))
        self.assertEqual("/spool/mine", placeOf("mine", "/spool", "queue"))
        self.assertEqual("/else/where", placeOf("/else/where", "/spool", "queue"))


class LostDatabaseTests(SpoolCase):
    def test_contentIsNotThrownAwayWithoutItsDatabase(self) -> None:
        backend = self.opened()
        stage = self.successResultOf(backend.stage(ID))
        self.successResultOf(stage.write(b"large"))
        self.successResultOf(stage.finish())
        self.successResultOf(backend.commit([NewMessage(ID, b"r", NEW.envelopes, None, stage.name)]))
        self.successResultOf(backend.close())
        self.disk.unlink("/place/queue.db")
        self.assertIn("lost its database", self.refusal())
        self.assertNotIn("queue.db", self.disk.listDirectory("/place"))
        self.assertEqual(b"large", self.content(f"/place/bodies/{ID:016x}"))

    def test_anEmptyDatabase(self) -> None:
        backend = self.opened()
        self.successResultOf(backend.close())
        database = self.disk.database("/place/queue.db")
        for table in ("message", "body", "envelope", "reserved"):
            database.execute(f"DROP TABLE {table}")
        database.close()
        self.assertIn("it is empty", self.refusal())

    def test_reservedIdsAreNonsense(self) -> None:
        backend = self.opened()
        self.successResultOf(backend.commit([NEW]))
        self.successResultOf(backend.close())
        for statement in ("UPDATE reserved SET ceiling = 'x'", "DELETE FROM reserved"):
            database = self.disk.database("/place/queue.db")
            database.execute(statement)
            database.close()
            backend = self.make()
            self.assertEqual(ID, self.successResultOf(backend.open()))
            self.successResultOf(backend.close())


class DebrisTests(SpoolCase):
    def test_whatWasBegunIsRemovedAtOpen(self) -> None:
        for name, directory in (("sqlite", "/place/bodies"), ("fs", "/place/staged")):
            self.disk = CrashDisk(os.path.abspath(self.mktemp()), isTearing=True)
            backend = self.opened(name)
            half = self.successResultOf(backend.stage(MessageId(5)))
            self.successResultOf(half.write(b"half"))
            whole = self.successResultOf(backend.stage(MessageId(6)))
            self.successResultOf(whole.write(b"whole"))
            self.successResultOf(whole.finish())
            self.disk = self.disk.powerCut()
            self.assertTrue(self.disk.listDirectory(directory))
            self.opened(name)
            self.assertEqual([], self.disk.listDirectory(directory))

    def test_noFileOfADeletedMessageIsLeft(self) -> None:
        backend = self.opened("fs")
        self.successResultOf(backend.commit([NEW]))
        later = MessageId(ID + (1 << 40))
        self.successResultOf(backend.commit([NewMessage(later, b"r", ((envelopeId(later, 0), b"e"),), b"c")]))
        self.successResultOf(backend.delete([NEW.envelopes[0][0]]))
        # Nor is its directory.
        self.assertEqual(1, len(self.disk.listDirectory("/place/messages")))
        self.assertEqual([], self.disk.listDirectory("/place/staged"))


class DamagedFileTests(SpoolCase):
    def setUp(self) -> None:
        super().setUp()
        self.backend = self.opened("fs")
        self.ids = [MessageId(ID + n) for n in range(3)]
        for id in self.ids:
            new = NewMessage(id, b"record", ((envelopeId(id, 0), b"one"), (envelopeId(id, 1), b"two")), b"content")
            self.successResultOf(self.backend.commit([new]))
        self.path = f"/place/messages/{ID >> 28:09x}/{self.ids[1]:016x}"

    def walked(self) -> list[MessageId]:
        self.successResultOf(self.backend.close())
        self.backend = self.opened("fs")
        self.damaged: list[SetAside] = []
        found: list[MessageId] = []
        cursor = None
        while True:
            page = self.successResultOf(self.backend.walk(cursor, 2))
            self.damaged.extend(page.damaged)
            found.extend(message.id for message in page.messages)
            cursor = page.cursor
            if cursor is None:
                return found

    def test_anyDamageOfRecordsCostsThatMessage(self) -> None:
        data = self.content(self.path)
        end = data.index(b"two") + 3
        self.assertGreater(end, 60)
        for place in range(end):
            broken = bytearray(data)
            broken[place] ^= 0x40
            self.replace(self.path, bytes(broken))
            self.assertEqual([self.ids[0], self.ids[2]], self.walked(), place)
            self.assertEqual(1, len(self.damaged))
            (aside,) = self.successResultOf(self.backend.setAside())
            self.assertEqual(f"{self.ids[1]:016x}", aside.item)
            self.assertEqual(self.damaged[0].reason, aside.reason)
            # By hand, an operator puts it back.
            self.disk.rename(f"/place/aside/{aside.item}", self.path)
            self.disk.unlink(f"/place/aside/{aside.item}.reason")
        self.replace(self.path, data)
        self.assertEqual(self.ids, self.walked())

    def test_loadSetsAside(self) -> None:
        self.replace(self.path, b"garbage")
        self.failureResultOf(self.backend.load(self.ids[1]))
        self.assertIsNone(self.successResultOf(self.backend.load(self.ids[1])))
        self.assertEqual(1, len(self.successResultOf(self.backend.setAside())))

    def test_strangeNames(self) -> None:
        self.disk.create(f"/place/messages/{ID >> 28:09x}/README").write(b"hello")
        self.disk.create(f"/place/messages/{ID >> 28:09x}/00000000000000ff").write(b"hello")
        self.assertEqual(self.ids, self.walked())
        self.assertEqual({"README", "00000000000000ff"}, {damaged.item for damaged in self.damaged})

    def test_tornStatesAreSkipped(self) -> None:
        first = envelopeId(self.ids[1], 0)
        self.successResultOf(self.backend.update({first: b"old"}))
        whole = len(self.content(self.path))
        self.successResultOf(self.backend.update({first: b"torn state"}))
        torn = self.content(self.path)
        for length in range(whole, len(torn)):
            self.replace(self.path, torn[:length])
            stored = self.successResultOf(self.backend.load(self.ids[1]))
            assert stored is not None
            self.assertEqual(b"old", stored.envelopes[0][2])
            # What is appended behind it counts.
            self.successResultOf(self.backend.update({first: b"new"}))
            stored = self.successResultOf(self.backend.load(self.ids[1]))
            assert stored is not None
            self.assertEqual(b"new", stored.envelopes[0][2])

    def test_damagedCeiling(self) -> None:
        self.successResultOf(self.backend.reserve(MessageId(77)))
        self.successResultOf(self.backend.close())
        self.replace("/place/ceiling", b"0000000000000078 12345678\n")
        backend = self.make("fs")
        self.assertEqual(max(self.ids), self.successResultOf(backend.open()), "all that is there stays below")
        (aside,) = self.successResultOf(backend.setAside())
        self.assertEqual("ceiling", aside.item)
        self.assertIn("ids go on from the clock", aside.reason)
        self.successResultOf(backend.reserve(MessageId(max(self.ids) + 9)))
        self.successResultOf(backend.close())
        self.assertEqual(max(self.ids) + 9, self.successResultOf(self.make("fs").open()))
