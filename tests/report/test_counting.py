from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from pysmtpd.interfaces.reporting import IStat
from pysmtpd.model import events
from pysmtpd.model.ids import MessageId, SessionId
from pysmtpd.report.counting import Counting
from tests.report.samples import sample

S = SessionId(1)


@implementer(IStat)
class Numbers:
    def __init__(self) -> None:
        self.values: Counter[str] = Counter()

    def increment(self, key: str, by: int = 1) -> None:
        self.values[key] += by

    def decrement(self, key: str, by: int = 1) -> None:
        self.values[key] -= by

    def set(self, key: str, value: float) -> None:
        self.values[key] = int(value)

    def snapshot(self) -> Mapping[str, float]:
        return dict(sorted(self.values.items()))


class CountingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.stat = Numbers()
        self.count = Counting(self.stat)

    def tell(self, *told: events.Event) -> None:
        for event in told:
            self.count(1000.5, event)

    def attempt(self, rcpt: str, result: str = "Ok", agent: str = "mta") -> None:
        self.tell(sample(events.DeliveryAttempted, rcpt=rcpt, result=result, agent=agent))

    def test_aSessionThatBringsMail(self) -> None:
        self.tell(
            events.SessionConnected(S, "192.0.2.1", "", "192.0.2.9:25"),
            events.MessageAccepted(S, MessageId(1), "a@example.org", 4096, 1, "ESMTP"),
            events.MessageAccepted(S, MessageId(2), "a@example.org", 100, 1, "ESMTP"),
        )
        self.assertEqual(
            self.stat.values,
            {
                "smtp.session": 1,
                "smtp.session.inet4": 1,
                "smtp.listener.192.0.2.9:25.session": 1,
                "smtp.message": 2,
                "smtp.bytes": 4196,
                "smtp.listener.192.0.2.9:25.message": 2,
                "smtp.listener.192.0.2.9:25.bytes": 4196,
            },
        )
        self.tell(sample(events.SessionDisconnected, session=S))
        self.assertEqual(self.stat.values["smtp.session"], 0)

    def test_aMessageWithoutAListener(self) -> None:
        self.tell(sample(events.MessageAccepted, size=10))
        self.assertEqual(self.stat.values, {"smtp.message": 1, "smtp.bytes": 10})

    def test_families(self) -> None:
        for number, address in enumerate(("2001:db8::1", "192.0.2.1", "local")):
            self.tell(events.SessionConnected(SessionId(number), address, "", "x"))
        for family in ("inet4", "inet6", "local"):
            self.assertEqual(self.stat.values["smtp.session." + family], 1)

    def test_deliveriesPerDomain(self) -> None:
        self.attempt("a@example.org")
        self.attempt("b@EXAMPLE.org", "TempFail")
        self.attempt("c@example.net", "PermFail")
        self.attempt("d", "Ok", "mda")
        self.assertEqual(
            self.stat.values,
            {
                "mta.delivery.ok": 1,
                "mta.delivery.tempfail": 1,
                "mta.delivery.permfail": 1,
                "mda.delivery.ok": 1,
                "mta.domain.example.org.ok": 1,
                "mta.domain.example.org.tempfail": 1,
                "mta.domain.example.net.permfail": 1,
            },
        )

    def test_domainsAreBounded(self) -> None:
        self.count = Counting(self.stat, mostDomains=3)
        for number in range(10):
            self.attempt(f"a@d{number}.example.org")
        self.attempt("a@d0.example.org")
        domains = {key for key in self.stat.values if key.startswith("mta.domain.")}
        self.assertEqual(len(domains), 4)
        self.assertEqual(self.stat.values["mta.domain.other.ok"], 7)
        self.assertEqual(self.stat.values["mta.domain.d0.example.org.ok"], 2)

    def test_aDomainIsNoWayToAnotherKey(self) -> None:
        for rcpt in ("a@[192.0.2.1]", "a@b c", "a@x..y", "a@", "postmaster@bücher.example"):
            self.attempt(rcpt)
        self.assertEqual(self.stat.values, {"mta.delivery.ok": 5, "mta.domain.other.ok": 5})

    def test_anUnknownResultIsOther(self) -> None:
        self.attempt("a@example.org", "x.y.z")
        self.tell(sample(events.SessionAuthenticated, result="evil.key"))
        self.assertEqual(
            self.stat.values,
            {"mta.delivery.other": 1, "mta.domain.example.org.other": 1, "smtp.authentication.other": 1},
        )

    def test_outgoingConnections(self) -> None:
        self.tell(
            sample(events.ConnectionOpened),
            sample(events.ConnectionTls, verified=False),
            sample(events.ConnectionClosed),
            sample(events.ConnectionFailed),
        )
        self.assertEqual(
            self.stat.values,
            {"mta.session": 0, "mta.connection.ok": 1, "mta.tls.unverified": 1, "mta.connection.failed": 1},
        )

    def test_loginsElsewhere(self) -> None:
        for result in ("ok", "ok", "permfail", "x.y"):
            self.tell(sample(events.ConnectionAuthenticated, result=result))
        self.assertEqual(
            self.stat.values,
            {"mta.authentication.ok": 2, "mta.authentication.permfail": 1, "mta.authentication.other": 1},
        )

    def test_startIsATime(self) -> None:
        self.tell(sample(events.DaemonStarted))
        self.assertEqual(self.stat.values, {"daemon.started": 1000})

    def test_sessionsAreForgotten(self) -> None:
        for number in range(100):
            self.tell(sample(events.SessionConnected, session=SessionId(number)))
            self.tell(sample(events.SessionDisconnected, session=SessionId(number)))
        self.assertEqual(self.count._sessions, {})
