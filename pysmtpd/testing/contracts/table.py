"""What every table must do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from pysmtpd.interfaces.ready import Ready
from pysmtpd.interfaces.routing import ITable, Service, TableError, TableUpdate

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
    *("*example.gov", "fay@mail*.example.net", "@*.example.biz", "gus@*example.name", "[2001:DB9::0:1]"),
)
MAP = (
    *(("ann", "ben, cid@example.org"), ("@example.org", "vmail"), ("Dora", "$6$salt$hash:x"), ("@", "nobody")),
    *(("[2001:db8::1]", "six.example.org"),),
)


class TableContract(_Case):
    """Mix into a L{twisted.trial.unittest.SynchronousTestCase} and say how to make a table of given entries.

    Where a backend cannot hold a list, or no map, its hook raises L{twisted.trial.unittest.SkipTest}. Where one can only be asked for a
    key, it cannot know all patterns: C{hasAllPatterns} is false.
    """

    hasAllPatterns = True

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
            if self.hasAllPatterns or not key.startswith("("):
                self.assertIs(self.answer(table.match(service, key.strip("()"))), True, key)
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
                "(abcz.example.com)",
                "(az.example.com)",
                "(example.gov)",
                "(notexample.gov)",
                "(a.example.gov)",
            ],
            ["example.net", "xexample.org", "mail.example.org", "az.example.org", "", "example.org.", "xample.gov"],
        )

    def test_everyDomain(self) -> None:
        table = self.makeList(["*"])
        for key in ("example.org", "", "localhost"):
            self.assertTrue(self.answer(table.match(Service.DOMAIN, key)), key)

    def test_keysIgnoreCase(self) -> None:
        self.check(Service.DOMAIN, ["mixed.example"], [])

    def test_network(self) -> None:
        self.check(
            Service.NETADDR,
            [
                *("192.0.2.1", "192.0.2.200", "198.51.100.7", "2001:db8::25", "2001:db8:ffff::", "local"),
                *("[2001:db8::1]", "ipv6:2001:db8::1", "[ipv6:2001:db8::1]", "(2001:db9::1)"),
            ],
            ["192.0.3.1", "198.51.100.8", "2001:dba::", "::ffff:192.0.2.1", "nonsense", "", "socket"],
        )

    def test_address(self) -> None:
        self.check(
            Service.MAILADDR,
            [
                *("ann@anywhere.example", "ben@example.org", "who@example.com", "cid@x.example.edu", "ann"),
                *("who@a.b.example.biz", "(fay@mail7.example.net)", "(gus@myexample.name)", "(gus@example.name)"),
            ],
            [
                *("ben@example.net", "who@sub.example.com", "eve@x.example.edu", "", "cid@example.edu"),
                *("eve@mail7.example.net", "fay@smail7.example.net", "who@example.biz", "eve@example.name"),
            ],
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

    def test_patterns(self) -> None:
        """POSIX extended syntax, found anywhere, in either case."""
        table = self.makeList([r"^[A-Z]+\.example\.(org|net)$", "(?i)SPAM", r"x\W{2}y", "[[:digit:]]{3}"])
        for key in ("mail.example.org", "it is spam", "x--y", "ab123"):
            self.assertIs(self.answer(table.match(Service.REGEX, key)), True, key)
        for key in ("mail2.example.org", "spa m", "x-y", "12", ""):
            self.assertIs(self.answer(table.match(Service.REGEX, key)), False, key)

    def test_patternsTakeLinearTime(self) -> None:
        table = self.makeList(["(a+)+$"])
        self.assertIs(self.answer(table.match(Service.REGEX, "a" * 10_240 + "b")), False)

    def test_badPatternsAreErrors(self) -> None:
        for pattern in ("a(b", r"(a)\1", "*.example.org"):
            self.refused(lambda pattern=pattern: self.makeList([pattern]).match(Service.REGEX, "x"))  # type: ignore[misc]

    def refused(self, ask: Callable[[], Ready[Any]]) -> None:
        """It is a L{TableError}, now or later."""
        try:
            answer = ask()
        except TableError:
            return
        self.assertIsInstance(answer, Deferred)
        self.wait(answer)
        self.failureResultOf(answer, TableError)

    def test_values(self) -> None:
        """What cannot be an answer is an error, not an answer."""
        good = {
            Service.CREDENTIALS: ("ann:secret", "$6$salt$hash", "ann:$6$salt$hash:x", ""),
            Service.USERINFO: ("1000:1000:/home/ann",),
            Service.ADDRNAME: ("mail.example.org", "[192.0.2.1]"),
            Service.MAILADDRMAP: ("ann@example.org, @example.net", "ann"),
            Service.RELAYHOST: (
                "smtp+tls://me@mx.example.org:587",
                "mx.example.org",
                "lmtp:///run/lmtp",
                "[2001:db8::1]:25",
            ),
        }
        bad = {
            Service.CREDENTIALS: (":secret",),
            Service.USERINFO: ("1000:/home/ann", "1000:1000:home", "-1:0:/", "99999999999:1:/"),
            Service.ADDRNAME: ("mail_.example..org", "two names"),
            Service.MAILADDRMAP: ("ann@example.org, , ben", "two words"),
            Service.RELAYHOST: (
                "http://mx.example.org",
                "lmtp://mx.example.org",
                "smtp://me@mx.example.org",
                "mx:0",
                "mx:",
            ),
        }
        for service, values in good.items():
            for value in values:
                if value:
                    self.assertEqual(self.answer(self.makeMap([("key", value)]).lookup(service, "key")), value)
        for service, values in bad.items():
            for value in values:
                self.refused(lambda value=value, service=service: self.makeMap([("key", value)]).lookup(service, "key"))  # type: ignore[misc]
        self.refused(lambda: self.makeList(["not.an.address"]).fetch(Service.SOURCE))

    def test_addressesInAnyForm(self) -> None:
        table = self.makeMap([("[2001:db8::1]", "six.example.org"), ("192.0.2.1", "four.example.org")])
        for key, value in (("2001:db8::1", "six"), ("[2001:db8::1]", "six"), ("[192.0.2.1]", "four")):
            self.assertEqual(self.answer(table.lookup(Service.ADDRNAME, key)), f"{value}.example.org")

    def test_commands(self) -> None:
        self.assertIn(self.makeList(["ann"]).allowsCommands, (True, False))

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
        """In the table that it gives, and in the one that was told to."""
        table = self.makeList(["example.org"])
        updating = table.update()
        self.wait(updating)
        updated = self.successResultOf(updating)
        self.assertIsInstance(updated.update, TableUpdate)
        self.assertTrue(verifyObject(ITable, updated.table))
        self.assertEqual(updated.table.name, table.name)
        for each in (table, updated.table):
            self.assertTrue(self.answer(each.match(Service.DOMAIN, "example.org")))
            self.close(each)

    def close(self, table: ITable) -> None:
        closing = table.close()
        self.wait(closing)
        self.successResultOf(closing)

    def test_aClosedTableGivesNoWrongAnswer(self) -> None:
        table = self.makeList(["example.org"])
        self.assertTrue(self.answer(table.match(Service.DOMAIN, "example.org")))
        self.close(table)
        try:
            self.assertTrue(self.answer(table.match(Service.DOMAIN, "example.org")))
        except TableError:
            return
        self.close(table)
