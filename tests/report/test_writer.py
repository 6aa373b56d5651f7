from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from pysmtpd.interfaces.platform import IWorkers
from pysmtpd.report.writer import DELAY, HASTE, LAST_PATIENCE, LogWriter


@implementer(IWorkers)
class Lanes:
    """Runs work at once, or when told to."""

    def __init__(self) -> None:
        self.held: list[Callable[[], object]] | None = None

    def run(self, lane: str, work: Callable[..., Any], *values: Any) -> Deferred[Any]:
        if self.held is None:
            return execute(work, *values)
        result: Deferred[Any] = Deferred()
        self.held.append(lambda: execute(work, *values).chainDeferred(result))
        return result

    def go(self) -> None:
        held, self.held = self.held or [], []
        for work in held:
            work()


class Disk:
    """A sink that may be slow to take, or fail."""

    def __init__(self) -> None:
        self.data = b""
        self.takes = 1 << 30
        self.error: OSError | None = None
        self.calls = 0

    def __call__(self, data: bytes) -> int:
        self.calls += 1
        if self.error is not None:
            raise self.error
        taken = data[: self.takes]
        self.data += taken
        return len(taken)


class LogWriterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.lanes, self.disk = Clock(), Lanes(), Disk()
        self.writer = LogWriter(self.disk, self.lanes, self.clock)

    def test_linesAreGathered(self) -> None:
        for number in range(5):
            self.writer.write(f"{number}\n")
        self.assertEqual(self.disk.calls, 0)
        self.clock.advance(DELAY)
        self.assertEqual((self.disk.data, self.disk.calls), (b"0\n1\n2\n3\n4\n", 1))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_manyLinesAreWrittenSooner(self) -> None:
        line = "x" * 999 + "\n"
        for _ in range(HASTE // 1000 + 1):
            self.writer.write(line)
        self.assertEqual(self.disk.calls, 1)

    def test_orderIsKeptWhileALaneIsBusy(self) -> None:
        self.lanes.held = []
        self.writer.write("1\n")
        self.clock.advance(DELAY)
        self.writer.write("2\n")
        self.clock.advance(DELAY)
        self.assertEqual(len(self.lanes.held), 1, "one write at a time")
        self.lanes.go()
        self.clock.advance(DELAY)
        self.lanes.go()
        self.assertEqual(self.disk.data, b"1\n2\n")

    def test_aSinkThatTakesLittle(self) -> None:
        self.disk.takes = 3
        self.writer.write("12345678\n")
        self.clock.pump([DELAY] * 3)
        self.assertEqual(self.disk.data, b"12345678\n")

    def test_closeWritesEverything(self) -> None:
        self.writer.write("1\n")
        self.successResultOf(self.writer.close())
        self.writer.write("late\n")
        self.assertEqual(self.disk.data, b"1\n")
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.successResultOf(self.writer.close())

    def test_closeWithNothingToWrite(self) -> None:
        self.successResultOf(self.writer.close())
        self.assertEqual(self.disk.calls, 0)

    def test_closeWaitsForAWriteUnderWay(self) -> None:
        self.lanes.held = []
        self.writer.write("1\n")
        self.clock.advance(DELAY)
        self.writer.write("2\n")
        first, second = self.writer.close(), self.writer.close()
        self.assertNoResult(first)
        self.lanes.go()
        self.clock.advance(DELAY)
        self.lanes.go()
        self.successResultOf(first)
        self.successResultOf(second)
        self.assertEqual(self.disk.data, b"1\n2\n")

    def test_anErrorIsToldOnceAndNothingIsLost(self) -> None:
        self.disk.error = OSError(28, "No space left on device")
        self.writer.write("1\n")
        self.clock.pump([DELAY] * 100)
        self.assertLess(self.disk.calls, 10, "tries grow rarer")
        self.disk.error = None
        self.writer.write("2\n")
        self.clock.pump([1.0] * 6)
        self.assertEqual(self.disk.data, b"1\n2\n")
        self.writer.write("3\n")
        self.clock.advance(DELAY)
        self.assertEqual(self.disk.data, b"1\n2\n3\n")

    def test_whatWaitsIsBounded(self) -> None:
        self.writer = LogWriter(self.disk, self.lanes, self.clock, most=10)
        self.disk.error = OSError(5, "Input/output error")
        for _ in range(8):
            self.writer.write("1234\n")
        self.clock.advance(DELAY)
        self.disk.error = None
        self.clock.pump([1.0, 1.0])
        self.writer.write("on\n")
        self.clock.pump([1.0, 1.0])
        self.assertEqual(
            self.disk.data, b"1234\n1234\n6 log lines were dropped: they could not be written in time\non\n"
        )

    def test_closeGivesUpInTheEnd(self) -> None:
        self.disk.error = OSError(5, "Input/output error")
        self.writer.write("1\n")
        closed = self.writer.close()
        self.assertNoResult(closed)
        self.clock.pump([1.0] * int(LAST_PATIENCE + 5))
        self.successResultOf(closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_closeDoesNotWaitForAWriteThatHangs(self) -> None:
        self.lanes.held = []
        self.writer.write("1\n")
        closed = self.writer.close()
        self.clock.pump([1.0] * int(LAST_PATIENCE))
        self.successResultOf(closed)
        self.lanes.go()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_closeHasPatience(self) -> None:
        self.disk.takes = 0
        self.writer.write("1\n")
        closed = self.writer.close()
        self.clock.advance(1.0)
        self.disk.takes = 9
        self.clock.advance(1.0)
        self.successResultOf(closed)
        self.assertEqual(self.disk.data, b"1\n")

    def test_textThatIsNoUnicodeIsStillWritten(self) -> None:
        self.writer.write("\udcff\n")
        self.clock.advance(DELAY)
        self.assertEqual(self.disk.data, b"\\udcff\n")
