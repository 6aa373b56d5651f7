from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.model.shaping import Rate
from pysmtpd.mta.shaping.bucket import Bucket

RATES = st.builds(Rate, st.just("messages"), st.integers(1, 5000), st.integers(1, 86400).map(float))


class BucketTests(SynchronousTestCase):
    @given(RATES, st.lists(st.floats(0, 2.0), max_size=200))
    @settings(max_examples=150, deadline=None)
    def test_noPeriodHasMore(self, rate: Rate, pauses: list[float]) -> None:
        """Whoever asks as often as possible gets no more than the rate in any period, wherever that begins."""
        bucket = Bucket(rate)
        now = 0.0
        times: list[float] = []
        for pause in pauses:
            now += pause * rate.period / rate.count
            while not bucket.wait(now):
                bucket.take(now)
                times.append(now)
        for index in range(rate.count, len(times)):
            self.assertGreaterEqual(times[index] - times[index - rate.count], rate.period * (1 - 1e-6))

    @given(RATES, st.lists(st.integers(1, 50), min_size=1, max_size=50))
    @settings(max_examples=100, deadline=None)
    def test_largeOnesArePaidBack(self, rate: Rate, costs: list[int]) -> None:
        """What leaves in a period is the rate and at most what the last one has more than one."""
        bucket = Bucket(rate)
        now = 0.0
        sent: list[tuple[float, int]] = []
        for cost in costs:
            now += bucket.wait(now)
            bucket.take(now, cost)
            sent.append((now, cost))
        for index, (start, _) in enumerate(sent):
            inside = [cost for at, cost in sent[index:] if at < start + rate.period * (1 - 1e-6)]
            self.assertLessEqual(sum(inside[:-1]), rate.count)

    @given(RATES)
    @settings(max_examples=100, deadline=None)
    def test_neverStarves(self, rate: Rate) -> None:
        """Somebody who waits as long as told may leave then, and the rate is nearly used up."""
        bucket = Bucket(rate)
        now = 0.0
        for _ in range(3 * rate.count if rate.count < 200 else 600):
            wait = bucket.wait(now)
            self.assertLessEqual(wait, rate.period)
            now += wait
            self.assertEqual(bucket.wait(now), 0.0)
            bucket.take(now)
        count = 3 * rate.count if rate.count < 200 else 600
        self.assertLessEqual(now, 1.2 * rate.period * count / rate.count)

    @given(RATES, st.floats(0, 3.0))
    @settings(max_examples=100, deadline=None)
    def test_room(self, rate: Rate, pause: float) -> None:
        """So many may leave one by one, and no more."""
        bucket = Bucket(rate)
        bucket.take(0.0, rate.count // 2)
        now = pause * rate.period / rate.count
        room = bucket.room(now)
        for _ in range(room):
            self.assertEqual(bucket.wait(now), 0.0)
            bucket.take(now)
        self.assertGreater(bucket.wait(now), 0.0)

    def test_spreads(self) -> None:
        """Ten in a minute leave one by one."""
        bucket = Bucket(Rate("messages", 10, 60.0))
        times = []
        now = 0.0
        for _ in range(5):
            now += bucket.wait(now)
            bucket.take(now)
            times.append(round(now, 3))
        self.assertEqual(times, [0.0, 6.0, 12.0, 18.0, 24.0])
