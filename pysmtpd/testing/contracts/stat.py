"""What every statistics backend keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zope.interface.verify import verifyObject

from pysmtpd.interfaces.reporting import IStat

if TYPE_CHECKING:
    from twisted.trial.unittest import SynchronousTestCase as _Case
else:
    _Case = object


class StatContract(_Case):
    """Mix into a L{twisted.trial.unittest.SynchronousTestCase} and say how to make a fresh, empty backend.

    @cvar discards: the backend declares that it keeps nothing; then every snapshot must be empty.
    """

    discards = False

    def makeStat(self) -> IStat:
        """A fresh backend."""
        raise NotImplementedError

    def assertSnapshot(self, stat: IStat, expected: dict[str, float]) -> None:
        """All that is kept is C{expected}, in the order of the keys; nothing at all where the backend discards."""
        kept = stat.snapshot()
        self.assertEqual(dict(kept), {} if self.discards else expected)
        self.assertEqual(list(kept), sorted(kept))

    def test_provides(self) -> None:
        self.assertTrue(verifyObject(IStat, self.makeStat()))

    def test_startsEmpty(self) -> None:
        self.assertEqual(dict(self.makeStat().snapshot()), {})

    def test_incrementCreatesAndAdds(self) -> None:
        stat = self.makeStat()
        stat.increment("smtp.session")
        stat.increment("smtp.session")
        stat.increment("smtp.bytes", 4096)
        self.assertSnapshot(stat, {"smtp.bytes": 4096, "smtp.session": 2})

    def test_decrementTakesAway(self) -> None:
        stat = self.makeStat()
        stat.increment("smtp.session", 3)
        stat.decrement("smtp.session")
        stat.decrement("smtp.session", 2)
        self.assertSnapshot(stat, {"smtp.session": 0})

    def test_setReplaces(self) -> None:
        stat = self.makeStat()
        stat.set("queue.loaded", 12.5)
        stat.set("queue.loaded", 3)
        self.assertSnapshot(stat, {"queue.loaded": 3})

    def test_countersAreExact(self) -> None:
        """Large byte counts do not lose their last digits."""
        stat = self.makeStat()
        stat.increment("smtp.bytes", 2**60)
        stat.increment("smtp.bytes", 1)
        if not self.discards:
            self.assertEqual(int(stat.snapshot()["smtp.bytes"]), 2**60 + 1)

    def test_keysAreArbitraryText(self) -> None:
        stat = self.makeStat()
        stat.increment("mta.domain.bücher.example.ok")
        stat.increment("smtp.listener.[::1]:25.session")
        self.assertSnapshot(stat, {"mta.domain.bücher.example.ok": 1, "smtp.listener.[::1]:25.session": 1})

    def test_snapshotIsACopy(self) -> None:
        stat = self.makeStat()
        stat.increment("a")
        before = dict(stat.snapshot())
        snapshot = stat.snapshot()
        stat.increment("a")
        stat.increment("b")
        self.assertEqual(dict(snapshot), before)
