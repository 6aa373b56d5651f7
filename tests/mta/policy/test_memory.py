"""What is remembered of TLS, and for how long."""

from __future__ import annotations

from unittest import mock

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.mta.policy import memory
from pysmtpd.mta.policy.memory import GRAIN, LIFETIME, TlsMemory

NAMES = st.sampled_from(["a.test", "b.test", "c.test"])


class MemoryTests(SynchronousTestCase):
    def test_aMonth(self) -> None:
        known = TlsMemory()
        self.assertTrue(known.saw("example.org", "mx.example.org", 1000.0))
        self.assertEqual(1000.0, known.seen("example.org", "mx.example.org", 1000.0 + LIFETIME - 1))
        self.assertEqual(0.0, known.seen("example.org", "mx.example.org", 1000.0 + LIFETIME))
        self.assertEqual([], known.dump(1000.0 + LIFETIME))

    def test_eachPairByItself(self) -> None:
        known = TlsMemory()
        known.saw("example.org", "mx.example.org", 1.0)
        self.assertEqual(0.0, known.seen("example.org", "mx2.example.org", 2.0))
        self.assertEqual(0.0, known.seen("example.net", "mx.example.org", 2.0))

    def test_aBusyHostIsWrittenDownOnceADay(self) -> None:
        known = TlsMemory()
        known.saw("example.org", "mx.example.org", 1.0)
        self.assertFalse(known.saw("example.org", "mx.example.org", GRAIN))
        self.assertTrue(known.saw("example.org", "mx.example.org", 1.0 + GRAIN))

    def test_aClockThatWentBack(self) -> None:
        """What lies in the future is not believed, and mended at the next session."""
        known = TlsMemory()
        known.saw("example.org", "mx.example.org", 5000.0)
        self.assertEqual(0.0, known.seen("example.org", "mx.example.org", 4000.0))
        self.assertTrue(known.saw("example.org", "mx.example.org", 4000.0))
        self.assertEqual({"mx.example.org": 4000.0}, known.hosts("example.org", 4000.0))

    def test_forget(self) -> None:
        known = TlsMemory()
        for domain, host in (("a.test", "1"), ("a.test", "2"), ("b.test", "1")):
            known.saw(domain, host, 1.0)
        self.assertEqual(2, known.forget("a.test"))
        self.assertEqual({}, known.hosts("a.test", 1.0))
        self.assertEqual({"1": 1.0}, known.hosts("b.test", 1.0))

    def test_bounded(self) -> None:
        with mock.patch.object(memory, "MOST", 3):
            known = TlsMemory()
            for number in range(5):
                known.saw("example.org", f"mx{number}", 1.0 + number)
            self.assertEqual(["mx2", "mx3", "mx4"], list(known.hosts("example.org", 9.0)))

    @settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(st.tuples(NAMES, NAMES, st.integers(0, 10**9)), max_size=20))
    def test_aFileKeepsIt(self, sessions: list[tuple[str, str, int]]) -> None:
        known, other = TlsMemory(), TlsMemory()
        now = max([when for *_, when in sessions], default=0)
        for domain, host, when in sessions:
            known.saw(domain, host, when)
        other.load(known.dump(now))
        self.assertEqual(known.dump(now), other.dump(now))

    def test_aFileOfSomethingElse(self) -> None:
        for content in ({"a": 1}, [["a", "b"]], [["a", "b", "c"]], 5):
            known = TlsMemory()
            self.assertRaises((ValueError, TypeError), known.load, content)
            self.assertEqual([], known.dump(0.0))
