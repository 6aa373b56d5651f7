"""Letters in a Maildir: what is said to be delivered lies in C{new}, whatever happens to the power."""

from __future__ import annotations

import errno
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.mda.header import deliveredTo
from pysmtpd.mda.maildir import Letter, LetterWriter, storeAll
from pysmtpd.testing.disk import SimulatedDisk
from pysmtpd.testing.faults import PowerCut

HOME = "/home/bob"
MAILDIR = f"{HOME}/Maildir"


def disk(seed: int = 0) -> SimulatedDisk:
    made = SimulatedDisk(Random(seed))
    made.directory(HOME)
    return made


def letters(count: int) -> list[Letter]:
    return [Letter(MAILDIR, f"letter{number}", (b"Number: %d\r\n" % number,)) for number in range(count)]


class ContentTests(SynchronousTestCase):
    def test_stored(self) -> None:
        there = disk()
        (path,) = storeAll(there, [Letter(MAILDIR, "a", (b"To: x\r\n", b"\r\nbody\r\n"))])
        self.assertEqual(path, f"{MAILDIR}/new/a")
        self.assertEqual(there.read(f"{MAILDIR}/new/a"), b"To: x\n\nbody\n")
        self.assertEqual(there.tree(MAILDIR), [f"{MAILDIR}/new/a"])

    @given(st.lists(st.text("ab\r\n", max_size=6), max_size=8))
    @settings(max_examples=60, deadline=None)
    def test_lineEndsAcrossPieces(self, pieces: list[str]) -> None:
        """However it is cut, CRLF becomes LF, and a bare CR stays."""
        octets = [piece.encode() for piece in pieces]
        there = disk()
        writer = LetterWriter(there, MAILDIR, "a")
        for piece in octets:
            writer.write(piece)
        writer.finish()
        self.assertEqual(there.read(f"{MAILDIR}/new/a"), b"".join(octets).replace(b"\r\n", b"\n"))

    def test_aSecondTryReplacesTheFirst(self) -> None:
        """A delivery that is repeated after a crash leaves one letter."""
        there = disk()
        storeAll(there, letters(1))
        storeAll(there, letters(1))
        self.assertEqual(there.tree(MAILDIR), [f"{MAILDIR}/new/letter0"])

    def test_leftoversOfAnEarlierTry(self) -> None:
        there = disk()
        storeAll(there, letters(1))
        there.write(f"{MAILDIR}/tmp/letter1", b"half")
        self.assertEqual(storeAll(there, letters(2))[1], f"{MAILDIR}/new/letter1")
        self.assertEqual(there.read(f"{MAILDIR}/new/letter1"), b"Number: 1\n")

    def test_syncOncePerDirectory(self) -> None:
        there = disk()
        storeAll(there, letters(1))
        before = dict(there.counts)
        storeAll(there, letters(10))
        self.assertEqual(there.counts["syncDirectory"] - before["syncDirectory"], 1)
        self.assertEqual(there.counts["sync"] - before["sync"], 10)


class TroubleTests(SynchronousTestCase):
    def test_anErrorLeavesNothing(self) -> None:
        for operation in ("write", "sync", "rename"):
            there = disk()
            storeAll(there, letters(1))
            there.fail(operation, errno.ENOSPC)
            (result,) = storeAll(there, [Letter(MAILDIR, "b", (b"x",))])
            assert isinstance(result, OSError)
            self.assertEqual(result.errno, errno.ENOSPC, operation)
            self.assertEqual(there.tree(MAILDIR), [f"{MAILDIR}/new/letter0"], operation)

    def test_oneLettersTroubleIsNotAnothers(self) -> None:
        there = disk()
        storeAll(there, letters(1))
        there.fail("write", errno.EIO, path=f"{MAILDIR}/tmp/letter1")
        results = storeAll(there, letters(3))
        self.assertEqual([isinstance(result, OSError) for result in results], [False, True, False])

    def test_aDirectoryThatDoesNotSync(self) -> None:
        """Without that nothing is delivered, though it lies there: it will be replaced."""
        there = disk()
        storeAll(there, letters(1))
        there.fail("syncDirectory", errno.EIO)
        for result in storeAll(there, letters(2)):
            self.assertIsInstance(result, OSError)

    def test_noHome(self) -> None:
        there = SimulatedDisk(Random(0))
        there.fail("makeDirectory", errno.EACCES)
        (result,) = storeAll(there, letters(1))
        self.assertIsInstance(result, PermissionError)

    def test_aHomeThatOthersMayNotList(self) -> None:
        """Above what we may read there is nothing that we made."""
        there = disk()
        there.fail("syncDirectory", errno.EACCES, after=2)
        self.assertEqual(storeAll(there, letters(1)), [f"{MAILDIR}/new/letter0"])


class PowerTests(SynchronousTestCase):
    """What was said to be stored is there after the power was cut at any moment."""

    def delivered(self, cut: int, isLying: bool = False) -> tuple[list[str], SimulatedDisk]:
        there = disk(cut)
        there.isLying = isLying
        there.cutAfter = cut
        said: list[str] = []
        try:
            for batch in (letters(1), letters(4)[1:], [Letter("/home/bob/deep/er/Maildir", "far", (b"Far: 1\r\n",))]):
                said += [result for result in storeAll(there, batch) if isinstance(result, str)]
            writer = LetterWriter(there, MAILDIR, "large")
            for piece in (b"Large: ", b"1\r", b"\n"):
                writer.write(piece)
            said.append(writer.finish())
        except PowerCut:
            there.powerOn()
        else:
            there.powerCut()
        return said, there

    def lost(self, isLying: bool = False) -> list[tuple[int, str]]:
        found = []
        for cut in range(80):
            said, there = self.delivered(cut, isLying)
            for path in said:
                name = path.rpartition("/")[2]
                wanted = {"far": b"Far: 1\n", "large": b"Large: 1\n"}.get(name, b"Number: %s\n" % name[6:].encode())
                if path not in there.tree("/home") or there.read(path) != wanted:
                    found.append((cut, path))
        return found

    def test_nothingIsLost(self) -> None:
        self.assertEqual(self.lost(), [])

    def test_aDiskThatLiesIsNoticed(self) -> None:
        self.assertNotEqual(self.lost(isLying=True), [])

    def test_whoeverFindsATmpMayTrustTheRest(self) -> None:
        """The first delivery was killed while it made the Maildir; the next one's letter is durable all the same."""
        for killed in range(14):
            there = disk(killed)
            there.fail("makeDirectory", errno.EINTR, after=killed)
            there.fail("syncDirectory", errno.EINTR, after=killed // 2)
            storeAll(there, letters(1))
            there.failures.clear()
            (path,) = storeAll(there, letters(2)[1:])
            there.powerCut()
            self.assertIn(path, there.tree("/home"))


class HeaderTests(SynchronousTestCase):
    def test_deliveredTo(self) -> None:
        content = (
            b"delivered-to : A@x.test\r\nSubject: y\r\nDelivered-To: b@x.test\r\n\r\nDelivered-To: body@x.test\r\n"
        )
        self.assertEqual(deliveredTo(content), ["a@x.test", "b@x.test"])
        self.assertEqual(deliveredTo(b"\r\nDelivered-To: a@x.test"), ())

    @given(st.binary(max_size=60))
    @settings(max_examples=40, deadline=None)
    def test_anyOctets(self, octets: bytes) -> None:
        deliveredTo(b"Delivered-To: " + octets)
