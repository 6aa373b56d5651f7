"""What every table must do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from pysmtpd.interfaces.ready import Ready
from pysmtpd.interfaces.routing import ITable, Service

if TYPE_CHECKING:
    from twisted.trial.unittest import SynchronousTestCase as _Case
else:
    _Case = object

LIST = (
    *(
        "example.org",
        "*.example.net",
        "a*z.example.com",
        "192.0.2.0/24",
        "192.0.2.128/25",
        "2001:db8::/32",
        "198.51.100.7",
    ),
    *("ann", "ben@example.org", "@example.com", "cid@*.example.edu", "local", "MiXed.Example"),
)
MAP = (
    *(("ann", "ben, cid@example.org"), ("@example.org", "vmail"), ("Dora", "$6$salt$hash:x"), ("@", "nobody")),
    *(("[2001:db8::1]", "six.example.org"),),
)


class TableContract(_Case):
    """Mix into a L{twisted.trial.unittest.SynchronousTestCase} and say how to make a table of given entries.

    Where a backend cannot hold a list, or no map, its hook raises L{twisted.trial.unittest.SkipTest}.
    """

    def makeList(self, keys: Sequence[str]) -> ITable:
        """A table, ready to be asked, of these keys."""
        raise NotImplementedError

    def makeMap(self, entries: Sequence[tuple[str, str]]) -> ITable:
        """A table, ready to be asked, of these keys and values."""
        raise NotImplementedError

    def wait(self, answer: Deferred[Any]) -> None:
        """Let time pass until C{answer} is there; tables that answer in place never need it."""

    def answer(self, ready: Ready[Any]) -> Any:
        """What was answered, now or later."""
        if isinstance(ready, Deferred):
            self.wait(ready)
            return self.successResultOf(ready)
        return ready

    def check(self, service: Service, matching: Sequence[str], other: Sequence[str]) -> None:
        table = self.makeList(LIST)
        for key in matching:
            self.assertIs(self.answer(table.match(service, key)), True, key)
        for key in other:
            self.assertIs(self.answer(table.match(service, key)), False, key)

    def test_isATable(self) -> None:
        self.assertTrue(verifyObject(ITable, self.makeList(LIST)))

    def test_domain(self) -> None:
        """Exact, or by a pattern in which a star is any string."""
        self.check(
            Service.DOMAIN,
            [
                "example.org",
                "mail.example.net",
                "a.b.example.net",
                ".example.net",
                "abcz.example.com",
                "az.example.com",
            ],
            ["example.net", "xexample.org", "mail.example.org", "az.example.org", "", "example.org."],
        )

    def test_keysIgnoreCase(self) -> None:
        self.check(Service.DOMAIN, ["mixed.example"], [])

    def test_network(self) -> None:
        self.check(
            Service.NETADDR,
            ["192.0.2.1", "192.0.2.200", "198.51.100.7", "2001:db8::25", "2001:db8:ffff::", "local", "[2001:db8::1]"],
            ["192.0.3.1", "198.51.100.8", "2001:db9::", "::ffff:192.0.2.1", "nonsense", "", "socket"],
        )

    def test_address(self) -> None:
        self.check(
            Service.MAILADDR,
            ["ann@anywhere.example", "ben@example.org", "who@example.com", "cid@x.example.edu", "ann"],
            ["ben@example.net", "who@sub.example.com", "eve@x.example.edu", "", "cid@example.edu"],
        )

    def test_everyAddress(self) -> None:
        table = self.makeList(["@"])
        for key in ("ann@example.org", "ann", ""):
            self.assertTrue(self.answer(table.match(Service.MAILADDR, key)), key)

    def test_nullAddress(self) -> None:
        table = self.makeList(["<>"])
        self.assertTrue(self.answer(table.match(Service.MAILADDR, "")))
        self.assertFalse(self.answer(table.match(Service.MAILADDR, "ann@example.org")))

    def test_string(self) -> None:
        self.check(Service.STRING, ["ann", "local"], ["an", "anne", "x.example.net", "192.0.2.1"])

    def test_lookup(self) -> None:
        table = self.makeMap(MAP)
        for key, value in MAP:
            self.assertEqual(self.answer(table.lookup(Service.ALIAS, key.lower())), value)
        for key in ("nobody", "", "ann@example.org", "*"):
            self.assertIsNone(self.answer(table.lookup(Service.ALIAS, key)), key)

    def test_lookupIsExact(self) -> None:
        table = self.makeMap([("*", "star"), ("*.example.org", "glob")])
        self.assertIsNone(self.answer(table.lookup(Service.ALIAS, "www.example.org")))

    def test_fetchTakesTurns(self) -> None:
        """Each in its turn, beginning anywhere."""
        keys = [f"192.0.2.{n}" for n in range(1, 5)]
        table = self.makeList(keys)
        fetched = [self.answer(table.fetch(Service.SOURCE)) for _ in range(8)]
        self.assertEqual(sorted(fetched[:4]), keys)
        self.assertEqual(fetched[4:], fetched[:4])

    def test_emptyTable(self) -> None:
        table = self.makeList([])
        self.assertIsNone(self.answer(table.fetch(Service.SOURCE)))
        for service in (Service.DOMAIN, Service.NETADDR, Service.MAILADDR, Service.STRING):
            self.assertIs(self.answer(table.match(service, "x")), False)

    def test_updateKeepsWhatIsThere(self) -> None:
        table = self.makeList(["example.org"])
        updated = table.update()
        self.wait(updated)
        self.successResultOf(updated)
        self.assertTrue(self.answer(table.match(Service.DOMAIN, "example.org")))
