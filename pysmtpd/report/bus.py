"""The bus: every room tells it what happened, and it tells whoever listens."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.logger import Logger
from zope.interface import implementer

from pysmtpd.interfaces.reporting import IReportBus
from pysmtpd.model.events import Event

Observer = Callable[[float, Event], None]


@implementer(IReportBus)
class Bus:
    """Calls its observers in the order in which they subscribed, at once, in the caller's stack.

    What an observer tells the bus in turn is delivered inside the event that it answers. An observer that subscribes or
    unsubscribes while an event is on its way changes who gets the next one.
    """

    _log = Logger()

    def __init__(self, wallTime: Callable[[], float]) -> None:
        """
        @param wallTime: seconds since the epoch.
        """
        self._wallTime = wallTime
        # Replaced, never changed, so that an event on its way walks the list it began with.
        self._subscriptions: tuple[_Subscription, ...] = ()
        self._steps: tuple[Callable[[Event], None], ...] = ()

    def happened(self, event: Event) -> None:
        """Tell everyone. Never raises: an observer that does is dropped, with one line in the daemon log."""
        now = self._wallTime()
        for subscription in self._subscriptions:
            try:
                subscription.observer(now, event)
            except Exception:
                self._log.failure(
                    "Observer {observer!r} failed at {event!r}; it hears nothing more.",
                    observer=subscription.observer,
                    event=event,
                )
                self._remove(subscription)

    def allHappened(self, events: Sequence[Event]) -> None:
        """See L{IReport.allHappened}."""
        now = self._wallTime()
        for subscription in self._subscriptions:
            observer = subscription.observer
            try:
                for event in events:
                    observer(now, event)
            except Exception:
                self._log.failure(
                    "Observer {observer!r} failed at one of many events; it hears nothing more.", observer=observer
                )
                self._remove(subscription)

    def subscribe(self, observer: Observer) -> Callable[[], None]:
        """Tell C{observer} of everything from the next event on.

        @return: ends it; may be called more than once.
        """
        subscription = _Subscription(observer)
        self._subscriptions = (*self._subscriptions, subscription)
        return lambda: self._remove(subscription)

    def subscribeSteps(self, observer: Callable[[Event], None]) -> Callable[[], None]:
        """Tell C{observer} of each command of outgoing sessions (L{pysmtpd.model.events.CommandAnswered}), and of nothing else. Nobody else
        hears of them: they cost too much to be told when no one listens.

        @return: ends it.
        """
        self._steps = (*self._steps, observer)

        def end() -> None:
            self._steps = tuple(other for other in self._steps if other is not observer)

        return end

    def steps(self) -> Callable[[Event], None] | None:
        """Where to tell of steps now; None: nobody wants to hear of them."""
        return self._stepped if self._steps else None

    def _stepped(self, event: Event) -> None:
        for observer in self._steps:
            try:
                observer(event)
            except Exception:
                self._log.failure("Observer {observer!r} failed at {event!r}", observer=observer, event=event)

    def _remove(self, subscription: _Subscription) -> None:
        self._subscriptions = tuple(other for other in self._subscriptions if other is not subscription)


class _Subscription:
    """An identity of its own: one observer may subscribe twice."""

    __slots__ = ("observer",)

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
