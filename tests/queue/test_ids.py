"""Ids: unique, growing, and never above what is reserved for long."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.model.ids import MessageId
from pysmtpd.queue.ids import IdSource


class IdTests(SynchronousTestCase):
    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.tuples(st.floats(0, 4e9), st.integers(1, 5), st.booleans())), st.integers(0, 127))
    def test_neverTheSameTwice(self, steps: list[tuple[float, int, bool]], shard: int) -> None:
        """Whatever the clock does, over restarts that know the ceiling only."""
        now = [0.0]
        source = IdSource(lambda: now[0], MessageId(0), shard)
        last = 0
        for time, count, isRestart in steps:
            now[0] = time
            if isRestart:
                source = IdSource(lambda: now[0], source.ceiling, shard)
            for _ in range(count):
                wanted = source.wanted()
                if wanted is not None:
                    source.ceiling = wanted
                id = source.next()
                self.assertGreater(id, last)
                self.assertLessEqual(id, source.ceiling)
                self.assertEqual(shard, id >> 56)
                self.assertLess(id, 1 << 63)
                last = id

    def test_manyInOneMillisecond(self) -> None:
        source = IdSource(lambda: 1.0, MessageId(0))
        ids = [source.next() for _ in range(10_000)]
        self.assertEqual(sorted(set(ids)), ids)

    def test_reservesSeldom(self) -> None:
        now = [1_700_000_000.0]
        source = IdSource(lambda: now[0], MessageId(0))
        writes = 0
        for _ in range(600):
            now[0] += 1.0
            wanted = source.wanted()
            if wanted is not None:
                source.ceiling = wanted
                writes += 1
            source.next()
        self.assertLess(writes, 25)

    def test_shards(self) -> None:
        self.assertRaises(ValueError, IdSource, lambda: 0.0, MessageId(0), 128)
        self.assertRaises(ValueError, IdSource, lambda: 0.0, MessageId(5 << 56), 4)
