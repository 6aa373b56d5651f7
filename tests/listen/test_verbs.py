"""Every event of the protocol core has its policy."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.listen.verbs import HANDLERS
from pysmtpd.smtp import events


class HandlerTests(SynchronousTestCase):
    def test_everyEvent(self) -> None:
        known = [
            kind
            for kind in vars(events).values()
            if isinstance(kind, type) and issubclass(kind, events.Event) and kind is not events.Event
        ]
        self.assertEqual([kind.__name__ for kind in known if kind not in HANDLERS], [])
