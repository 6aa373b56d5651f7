"""Facts for people: events and statistics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from zope.interface import Interface

from pysmtpd.model.events import Event


class IReport(Interface):
    """Where every room tells what happened."""

    def happened(event: Event) -> None:
        """Never raises, never blocks."""

    def allHappened(events: Sequence[Event]) -> None:
        """The same for many that happened at one moment, in their order; each listener hears all of them before the next one does."""


class IReportBus(IReport, Interface):
    """The other side: who listens."""

    def subscribe(observer: Callable[[float, Event], None]) -> Callable[[], None]:
        """Call C{observer} with wall-clock seconds and each event from now on. An observer that raises is logged and dropped.

        @return: call it to unsubscribe.
        """


class IStat(Interface):
    """Counters and gauges under dynamic keys, C{"smtp.session"}, C{"mta.domain.example.org.ok"}. Pushed, never read by logic."""

    def increment(key: str, by: int = 1) -> None: ...

    def decrement(key: str, by: int = 1) -> None: ...

    def set(key: str, value: float) -> None: ...

    def snapshot() -> Mapping[str, float]:
        """For people: all keys, sorted."""
