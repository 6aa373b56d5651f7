"""When mail is tried again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.model.schedule import Kind
from pysmtpd.scheduler.backoff import BASES, nextTry

moments = st.floats(0, 1e10)


class BackoffTests(SynchronousTestCase):
    def test_remoteMailWaitsLonger(self) -> None:
        self.assertEqual([nextTry(Kind.MTA, 0.0, tries, 0.0) for tries in (1, 2, 3, 4)], [400, 1600, 3600, 6400])
        self.assertEqual([nextTry(Kind.MDA, 0.0, tries, 0.0) for tries in (1, 2, 3, 4)], [10, 40, 90, 160])

    def test_stepsThatHavePassedAreLeftOut(self) -> None:
        self.assertEqual(nextTry(Kind.MTA, 0.0, 1, 400.0), 1600)
        self.assertEqual(nextTry(Kind.MTA, 0.0, 1, 3599.0), 3600)

    @given(kind=st.sampled_from(sorted(BASES, key=str)), created=moments, tries=st.integers(0, 1000), now=moments)
    def test_firstStepInTheFuture(self, kind: Kind, created: float, tries: int, now: float) -> None:
        at = nextTry(kind, created, tries, now)
        self.assertGreater(at, now)
        steps = ((at - created) / BASES[kind]) ** 0.5
        step = round(steps)
        self.assertAlmostEqual(steps, step, delta=0.01)
        if step > tries:
            self.assertLessEqual(created + BASES[kind] * (step - 1) ** 2, now)
