from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pysmtpd.interfaces.reporting import IReportBus
from pysmtpd.model.events import DaemonStopped, Event, ListenerOpened
from pysmtpd.report.bus import Bus

STOPPED = DaemonStopped("asked")


class BusTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.bus = Bus(lambda: 1000.25)
        self.heard: list[tuple[str, float, Event]] = []

    def hear(self, name: str, when: float, event: Event) -> None:
        self.heard.append((name, when, event))

    def test_provides(self) -> None:
        self.assertTrue(verifyObject(IReportBus, self.bus))

    def test_observersHearInOrder(self) -> None:
        self.bus.subscribe(lambda when, event: self.hear("a", when, event))
        self.bus.subscribe(lambda when, event: self.hear("b", when, event))
        self.bus.happened(STOPPED)
        self.assertEqual(self.heard, [("a", 1000.25, STOPPED), ("b", 1000.25, STOPPED)])

    def test_unsubscribeTwiceIsHarmless(self) -> None:
        end = self.bus.subscribe(lambda when, event: self.hear("a", when, event))
        self.bus.subscribe(lambda when, event: self.hear("b", when, event))
        end()
        end()
        self.bus.happened(STOPPED)
        self.assertEqual([name for name, _, _ in self.heard], ["b"])

    def test_oneObserverMaySubscribeTwice(self) -> None:
        def observer(when: float, event: Event) -> None:
            self.hear("a", when, event)

        end = self.bus.subscribe(observer)
        self.bus.subscribe(observer)
        end()
        self.bus.happened(STOPPED)
        self.assertEqual(len(self.heard), 1)

    def test_anObserverThatRaisesIsLoggedAndDropped(self) -> None:
        def broken(when: float, event: Event) -> None:
            self.hear("broken", when, event)
            raise RuntimeError("no")

        self.bus.subscribe(broken)
        self.bus.subscribe(lambda when, event: self.hear("b", when, event))
        self.bus.happened(STOPPED)
        self.bus.happened(STOPPED)
        self.assertEqual([name for name, _, _ in self.heard], ["broken", "b", "b"])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_unsubscribingWhileAnEventIsOnItsWay(self) -> None:
        def once(when: float, event: Event) -> None:
            self.hear("once", when, event)
            end()

        end = self.bus.subscribe(once)
        self.bus.subscribe(lambda when, event: self.hear("b", when, event))
        self.bus.happened(STOPPED)
        self.bus.happened(STOPPED)
        self.assertEqual([name for name, _, _ in self.heard], ["once", "b", "b"])

    def test_anObserverMayTellTheBus(self) -> None:
        def answer(when: float, event: Event) -> None:
            if event is STOPPED:
                self.bus.happened(ListenerOpened("x"))

        self.bus.subscribe(answer)
        self.bus.subscribe(lambda when, event: self.hear("b", when, event))
        self.bus.happened(STOPPED)
        self.assertEqual([event for _, _, event in self.heard], [ListenerOpened("x"), STOPPED])

    def test_anObserverThatAnswersItselfForEverIsDropped(self) -> None:
        self.bus.subscribe(lambda when, event: self.bus.happened(event))
        self.bus.happened(STOPPED)
        self.bus.happened(STOPPED)
        self.assertGreaterEqual(len(self.flushLoggedErrors(RecursionError)), 1)
