"""What is damaged and cannot even be moved away costs itself alone: all other mail goes on, and people are told."""

from __future__ import annotations

import errno
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.interfaces.queue import ContentLost, IQueueBackend, NewMessage, QueueError, SetAside, SpoolError
from pysmtpd.model.config import QueueLimits
from pysmtpd.model.ids import EnvelopeId, MessageId, envelopeId
from pysmtpd.queue import fs, sqlite
from pysmtpd.testing.disk import SimulatedDisk
from tests.queue.support import SmallPlatform

FIRST = MessageId(0x123456789)
# One in the same bucket, one in the next.
IDS = [FIRST, MessageId(FIRST + 1), MessageId(FIRST + (1 << 28))]
BUCKET, NEXT = f"{FIRST >> 28:09x}", f"{IDS[2] >> 28:09x}"


def new(id: MessageId, supersedes: tuple[EnvelopeId, ...] = ()) -> NewMessage:
    return NewMessage(id, b"record", ((envelopeId(id, 0), b"envelope"),), b"content", supersedes=supersedes)


class StuckCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.disk = SimulatedDisk(Random(1))

    def begin(self, name: str) -> None:
        self.name = name
        self.backend = self.made()
        self.successResultOf(self.backend.open())
        for id in IDS:
            self.successResultOf(self.backend.commit([new(id)]))

    def made(self) -> IQueueBackend:
        settings = {"spool": "/spool", "limits": QueueLimits()}
        made: IQueueBackend = {"sqlite": sqlite, "fs": fs}[self.name].make("/place", SmallPlatform(self.disk), settings)
        return made

    def restart(self) -> int:
        self.successResultOf(self.backend.close())
        self.backend = self.made()
        return self.successResultOf(self.backend.open())

    def walked(self) -> tuple[list[MessageId], tuple[SetAside, ...]]:
        page = self.successResultOf(self.backend.walk(None, 100))
        return [message.id for message in page.messages], page.damaged

    def aside(self) -> tuple[SetAside, ...]:
        return self.successResultOf(self.backend.setAside())


class FileTests(StuckCase):
    def setUp(self) -> None:
        super().setUp()
        self.begin("fs")
        self.path = f"/place/messages/{BUCKET}/{IDS[1]:016x}"

    def test_aFileThatCannotBeMoved(self) -> None:
        """It is root's, or there is no room for a name."""
        self.disk.write(self.path, b"garbage")
        for operation, code in (("rename", errno.EACCES), ("create", errno.ENOSPC)):
            self.restart()
            self.disk.fail(operation, code, path="/place/")
            found, (damaged,) = self.walked()
            self.assertEqual(found, [IDS[0], IDS[2]])
            self.assertEqual(damaged.item, f"{IDS[1]:016x}")
            self.assertIn("it stays where it is", damaged.reason)
            self.assertEqual(self.aside(), (damaged,))
        # Later it can be, and is told once.
        self.failureResultOf(self.backend.load(IDS[1]), QueueError)
        (aside,) = self.aside()
        self.assertEqual(aside.item, f"{IDS[1]:016x}")
        self.assertNotIn("stays", aside.reason)

    def test_aDirectoryThatCannotBeRead(self) -> None:
        self.restart()
        self.disk.fail("listDirectory", errno.EIO, times=None, path=BUCKET)
        found, (damaged,) = self.walked()
        self.assertEqual(found, [IDS[2]])
        self.assertEqual(damaged.item, f"messages/{BUCKET}")
        self.assertEqual(self.aside(), (damaged,))

    def test_theNewestDirectoryCannotBeRead(self) -> None:
        """Ids go on above all that could be in it."""
        self.disk.fail("listDirectory", errno.EIO, times=None, path=NEXT)
        self.assertGreaterEqual(self.restart(), IDS[2])
        self.assertEqual(self.walked()[0], IDS[:2])

    def test_shortOfDescriptors(self) -> None:
        """That says nothing about the file: the walk is tried again, and nothing is moved."""
        for operation, path in (("open", self.path), ("listDirectory", BUCKET)):
            self.restart()
            self.disk.fail(operation, errno.EMFILE, path=path)
            self.failureResultOf(self.backend.walk(None, 100), QueueError)
            self.assertEqual(self.walked(), (IDS, ()))

    def test_debrisThatCannotBeRemoved(self) -> None:
        self.disk.directory("/place/staged/somebodys")
        self.restart()
        self.assertEqual(self.walked(), (IDS, ()))


class SupersedingTests(StuckCase):
    """A bounce whose superseded envelopes could not be removed before the end."""

    BOUNCE = MessageId(FIRST + 2)

    def setUp(self) -> None:
        super().setUp()
        self.begin("fs")
        self.disk.fail("unlink", errno.EIO, times=None, path=f"{IDS[0]:016x}")
        self.successResultOf(self.backend.commit([new(self.BOUNCE, (envelopeId(IDS[0], 0),))]))
        self.name_ = f"{self.BOUNCE:016x}"
        self.assertEqual(self.disk.listDirectory("/place/superseding"), [self.name_])

    def test_itIsSetAside(self) -> None:
        self.restart()
        self.assertEqual(self.walked()[0], IDS)
        (aside,) = self.aside()
        self.assertEqual(aside.item, self.name_)
        self.assertIn("what it supersedes cannot be removed", aside.reason)

    def test_noRoom(self) -> None:
        """Then nothing is wrong with it, and the start waits for room."""
        self.disk.failures.clear()
        self.disk.fail("unlink", errno.ENOSPC, times=1, path=f"{IDS[0]:016x}")
        self.successResultOf(self.backend.close())
        self.backend = self.made()
        refusal = self.failureResultOf(self.backend.open(), SpoolError)
        self.assertIn("cannot be opened", refusal.getErrorMessage())
        self.backend = self.made()
        self.successResultOf(self.backend.open())
        self.assertEqual(self.walked(), ([IDS[1], self.BOUNCE, IDS[2]], ()))


class DatabaseTests(StuckCase):
    def setUp(self) -> None:
        super().setUp()
        self.begin("sqlite")

    def test_debrisThatCannotBeRemoved(self) -> None:
        self.disk.directory("/place/bodies/somebodys")
        self.restart()
        self.assertEqual(self.walked(), (IDS, ()))

    def crowd(self, first: int, state: bytes) -> list[MessageId]:
        """Mail that has its state in common."""
        ids = [MessageId(FIRST + first + number) for number in range(20)]
        self.successResultOf(self.backend.commit([new(id) for id in ids]))
        self.successResultOf(self.backend.update(dict.fromkeys([envelopeId(id, 0) for id in ids], state)))
        return ids

    def damageShares(self) -> None:
        self.successResultOf(self.backend.close())
        database = self.disk.database("/place/queue.db")
        (page,) = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'share'").fetchone()
        content = bytearray(database.serialize())
        database.close()
        content[(page - 1) * 4096 : page * 4096] = b"\xee" * 4096
        self.disk.write("/place/queue.db", bytes(content))
        self.backend = self.made()
        self.successResultOf(self.backend.open())

    def state(self, id: MessageId) -> bytes:
        stored = self.successResultOf(self.backend.load(id))
        assert stored is not None
        ((_, _, state),) = stored.envelopes
        return state

    def test_commonStatesAreDamaged(self) -> None:
        """They cost the tries of those that had them, and no mail; no more are put there."""
        crowd = self.crowd(10, b"common")
        self.damageShares()
        self.assertEqual(self.walked(), (sorted([*IDS, *crowd]), ()))
        # No state of ours, and not that of a new envelope: the front tells people of it.
        self.assertEqual(b"\0", self.state(crowd[3]))
        others = self.crowd(50, b"again")
        self.assertEqual(b"again", self.state(others[3]))
        # Nor is anybody caught there.
        self.successResultOf(self.backend.update(dict.fromkeys([envelopeId(id, 0) for id in crowd], b"new")))
        self.successResultOf(self.backend.delete([envelopeId(crowd[0], 0)]))
        self.assertEqual({b"new"}, set(map(self.state, crowd[1:])))

    def test_oneOfTwoCommonStatesHasVanished(self) -> None:
        """Its number is given to nobody else, for that would give his state to others."""
        one, two = self.crowd(10, b"one"), self.crowd(50, b"two")
        database = self.disk.database("/place/queue.db")
        database.execute("DELETE FROM share WHERE state = ?", (b"two",))
        database.close()
        self.restart()
        three = self.crowd(90, b"three")
        self.assertEqual([b"one", b"\0", b"three"], [self.state(crowd[0]) for crowd in (one, two, three)])

    def test_aHandHasTakenTheLastNumber(self) -> None:
        self.crowd(10, b"one")
        database = self.disk.database("/place/queue.db")
        database.execute("INSERT INTO share VALUES (?, ?)", ((1 << 63) - 1, b"last"))
        database.execute("UPDATE envelope SET share = ? WHERE message = ?", ((1 << 63) - 1, FIRST))
        database.execute("UPDATE envelope SET share = 'text' WHERE message = ?", (IDS[1],))
        database.close()
        self.restart()
        self.assertEqual([b"last", b"\0"], [*map(self.state, IDS[:2])])
        self.assertEqual(b"two", self.state(self.crowd(50, b"two")[0]))

    def test_contentThatHasVanished(self) -> None:
        """It is no message that has ended."""
        database = self.disk.database("/place/queue.db")
        database.execute("UPDATE body SET content = NULL WHERE message = ?", (IDS[0],))
        database.execute("DELETE FROM body WHERE message = ?", (IDS[1],))
        database.close()
        for id, why in ((IDS[0], "not there any more"), (IDS[1], "vanished from the database")):
            self.assertIn(why, self.failureResultOf(self.backend.body(id), ContentLost).value.reason)
        self.assertIsNone(self.successResultOf(self.backend.body(MessageId(7))))
