"""A screen never rules out a table that matches, whatever the tables hold; and it rules out most of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pysmtpd.interfaces.routing import IScreen, ITable, Service
from pysmtpd.model.config import BackendSpec, TableSpec
from pysmtpd.table import file, getpwnam, screen, static
from pysmtpd.table.screen import Screen, makeScreen
from tests.table.platform import SmallPlatform
from tests.table.test_matching import addresses, asked, mailKeys, names, networks

MATCHED = (Service.DOMAIN, Service.MAILADDR, Service.NETADDR, Service.STRING)
entries = st.lists(st.one_of(names, mailKeys, networks), max_size=5)


class ScreenTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.platform = SmallPlatform()

    def table(self, name: str, keys: Sequence[str]) -> ITable:
        spec = TableSpec(name, BackendSpec("static"), tuple((key, "") for key in keys))
        return static.make("", self.platform.asPlatform, {"spec": spec})

    def tables(self, contents: Sequence[Sequence[str]]) -> dict[str, ITable]:
        return {f"t{number}": self.table(f"t{number}", keys) for number, keys in enumerate(contents)}

    def make(self, tables: Mapping[str, ITable], before: Screen | None = None) -> Screen:
        services = dict.fromkeys(tables, MATCHED)
        making = Deferred.fromCoroutine(makeScreen(self.platform.asPlatform, tables, services, before))
        made = self.successResultOf(making)
        assert made is not None
        return made

    def assertRight(self, found: Screen, tables: Mapping[str, ITable], keys: Sequence[str]) -> None:
        for service in MATCHED:
            for key in keys:
                held = found.holders(service, key)
                for name, table in tables.items():
                    if table.match(service, key):
                        self.assertIn(name, held, f"{service} {key}")


class ScreenTests(ScreenTestCase):
    def test_isAScreen(self) -> None:
        self.assertTrue(verifyObject(IScreen, self.make(self.tables([["a"]] * 6))))

    @settings(deadline=None, max_examples=150)
    @given(st.lists(entries, min_size=6, max_size=8), st.lists(st.one_of(asked, addresses), min_size=1, max_size=5))
    def test_noTableThatMatchesIsLeftOut(self, contents: list[list[str]], keys: list[str]) -> None:
        tables = self.tables(contents)
        self.assertRight(self.make(tables), tables, keys)

    def test_mostOthersAre(self) -> None:
        tables = self.tables(
            [
                [
                    key
                    for n in range(100)
                    for key in (f"d{part}x{n}.org", f"u{n}@m{part}.example", f"10.{part}.{n}.0/24")
                ]
                for part in range(20)
            ]
        )
        found = self.make(tables)
        told = 0
        for part in range(20):
            for service, key in (
                (Service.DOMAIN, f"d{part}x50.org"),
                (Service.MAILADDR, f"u3@m{part}.example"),
                (Service.NETADDR, f"10.{part}.77.9"),
            ):
                held = found.holders(service, key)
                self.assertIn(f"t{part}", held)
                told += len(held)
            told += len(found.holders(Service.DOMAIN, f"x{part}.example.com"))
        # 1,600 questions, one by one.
        self.assertLess(told, 300)

    def test_fewTables(self) -> None:
        tables = self.tables([["a"]] * screen.FEW)
        making = makeScreen(self.platform.asPlatform, tables, dict.fromkeys(tables, MATCHED))
        self.assertIsNone(self.successResultOf(Deferred.fromCoroutine(making)))

    def test_tablesThatAreNotInMemory(self) -> None:
        """They are always asked; where they are not used for a service, they are not."""
        tables = self.tables([["a"]] * 6)
        tables["users"] = getpwnam.make("", self.platform.asPlatform, {"spec": TableSpec("users", BackendSpec("x"))})
        services: dict[str, Sequence[Service]] = {**dict.fromkeys(tables, MATCHED), "users": [Service.STRING]}
        making = makeScreen(self.platform.asPlatform, tables, services)
        found = self.successResultOf(Deferred.fromCoroutine(making))
        assert found is not None
        self.assertEqual(found.holders(Service.STRING, "nobody"), ["users"])
        self.assertEqual(found.holders(Service.DOMAIN, "nobody"), [])

    def test_tooManyDifferentMarks(self) -> None:
        self.patch(screen, "_MOST_MARKS", 4)
        tables = self.tables([[f"k{n}" for n in range(40) if n >> bit & 1] for bit in range(6)])
        keys = [f"k{n}" for n in range(45)]
        self.assertRight(self.make(tables), tables, keys)


class GenerationTests(ScreenTestCase):
    def test_aTableIsReadAgain(self) -> None:
        """Old and new tables share the marks, and each screen is right about its own."""
        before = self.tables([[f"a{part}"] for part in range(6)])
        first = self.make(before)
        after = {**before, "t3": self.table("t3", ["b3", "*.org", "10.0.0.0/9", "@*.net"])}
        second = self.make(after, first)
        self.assertIs(second.marks, first.marks)
        keys = ["a3", "b3", "x.org", "10.1.2.3", "ann@x.net"]
        self.assertRight(first, before, keys)
        self.assertRight(second, after, keys)
        self.assertEqual(second.holders(Service.STRING, "b3"), ["t3"])

    def test_marksThatAreFull(self) -> None:
        """Tables come and go; then all are marked anew, and what has gone leaves no mark."""
        self.patch(screen, "_LEAST", 64)
        tables = self.tables([[f"a{part}"] for part in range(6)])
        first = found = self.make(tables)
        for number in range(20):
            tables = {**tables, "t0": self.table("t0", [f"n{number}"])}
            found = self.make(tables, found)
            self.assertRight(found, tables, ["a1", f"n{number}"])
        self.assertIsNot(found.marks, first.marks)

    def test_files(self) -> None:
        """A file's content is marked; one that has not been read is asked."""
        tables = self.tables([["a"]] * 6)
        self.platform.disk.files["/f"] = b"x.example\n"
        spec = TableSpec("f", BackendSpec("file", "/f"))
        unread = file.make("/f", self.platform.asPlatform, {"spec": spec})
        self.assertEqual(self.make({**tables, "f": unread}).holders(Service.DOMAIN, "y.example"), ["f"])
        read = self.successResultOf(unread.update()).table
        found = self.make({**tables, "f": read})
        self.assertEqual(found.holders(Service.DOMAIN, "y.example"), [])
        self.assertEqual(found.holders(Service.DOMAIN, "x.example"), ["f"])
