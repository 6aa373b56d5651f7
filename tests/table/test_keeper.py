"""Tables in the daemon: read when it starts, again when an operator says so, shown."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.config import Environment, load
from pysmtpd.interfaces.routing import Service, TableError
from pysmtpd.model.config import BackendSpec, TableSpec
from pysmtpd.table import file, getpwnam, static
from pysmtpd.table.uses import servicesOf
from tests.table.platform import SmallPlatform

PATH = "/t"


def fileTable(platform: SmallPlatform, *services: Service) -> file.FileTable:
    spec = TableSpec("t", BackendSpec("file", PATH))
    return file.make(PATH, platform.asPlatform, {"spec": spec, "services": services})


class UpdateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.platform = SmallPlatform()

    def test_counts(self) -> None:
        self.platform.disk.files[PATH] = b"ann: a\nben: b\ncid: c\n"
        table, first = self.successResultOf(fileTable(self.platform).update())
        self.assertEqual((first.entries, first.added, first.removed, first.changed), (3, 3, 0, 0))
        self.platform.disk.files[PATH] = b"ann: a\nben: x\ndora: d\neve: e\n"
        _, second = self.successResultOf(table.update())
        self.assertEqual((second.entries, second.added, second.removed, second.changed), (4, 2, 1, 1))

    def test_badValuesNameTheirLine(self) -> None:
        """They cost those who ask for them a try; the others are answered."""
        self.platform.disk.files[PATH] = b"ann: 1:1:/home/ann\nben: nonsense\ncid: 2:2:relative\n"
        table, update = self.successResultOf(fileTable(self.platform, Service.USERINFO).update())
        self.assertEqual([problem.split(": ")[0] for problem in update.problems], ["/t:2", "/t:3"])
        self.assertEqual(table.lookup(Service.USERINFO, "ann"), "1:1:/home/ann")
        error = self.assertRaises(TableError, table.lookup, Service.USERINFO, "ben")
        self.assertIn('/t:2: "nonsense" is not uid:gid:home', str(error))

    def test_badPatternRefusesTheFile(self) -> None:
        """Whether it would have matched cannot be told."""
        self.platform.disk.files[PATH] = b"^ok: [[:alpha:]]$\n(a)\\1\n"
        failure = self.failureResultOf(fileTable(self.platform, Service.REGEX).update(), TableError)
        self.assertIn("line 2: a bad regular expression", failure.getErrorMessage())
        spec = TableSpec("t", BackendSpec("static"), (("(a", ""),))
        settings = {"spec": spec, "services": (Service.REGEX,)}
        self.assertRaises(ValueError, static.make, "", self.platform.asPlatform, settings)

    def test_patternsKeepTheirCase(self) -> None:
        r"""C{\W} is not C{\w}."""
        self.platform.disk.files[PATH] = b"^\\W+$\n"
        table = self.successResultOf(fileTable(self.platform, Service.REGEX).update()).table
        self.assertTrue(table.match(Service.REGEX, "--"))
        self.assertFalse(table.match(Service.REGEX, "ab"))


class GetpwnamTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.platform = SmallPlatform()
        self.platform.users.names.add("ann")
        self.table = getpwnam.make("", self.platform.asPlatform, {"spec": TableSpec("users", BackendSpec("getpwnam"))})

    def test_users(self) -> None:
        asked = [self.table.lookup(Service.USERINFO, name) for name in ("ann", "nobody")]
        self.assertEqual([self.successResultOf(each) for each in asked], ["1001:1001:/home/ann", None])
        self.assertTrue(self.successResultOf(self.table.match(Service.STRING, "ann")))
        self.successResultOf(self.table.update())

    def test_systemIsDown(self) -> None:
        self.platform.users.failing = True
        failure = self.failureResultOf(self.table.lookup(Service.USERINFO, "ann"), TableError)
        self.assertIn("the directory is down", failure.getErrorMessage())

    def test_otherQuestions(self) -> None:
        for answer in (
            self.table.lookup(Service.CREDENTIALS, "ann"),
            self.table.match(Service.DOMAIN, "ann"),
            self.table.fetch(Service.SOURCE),
        ):
            self.failureResultOf(answer, TableError)

    def test_refusedWhenItIsMade(self) -> None:
        settings = {"spec": TableSpec("users", BackendSpec("getpwnam")), "services": (Service.CREDENTIALS,)}
        error = self.assertRaises(ValueError, getpwnam.make, "", self.platform.asPlatform, settings)
        self.assertIn("credentials", str(error))
        self.assertRaises(ValueError, getpwnam.make, "x", self.platform.asPlatform, settings)


class UsesTests(SynchronousTestCase):
    def test_services(self) -> None:
        text = """
table a { "ann" = "ben" }
table d { example.org }
table s { 192.0.2.1 }
action "local" maildir alias <a>
action "out" relay src <s>
match from any for domain <d> action "local"
match from src <s> mail-from <d> for any action "out"
"""
        config = load("c", {"c": text}.__getitem__, Environment("mx.example.org", ("192.0.2.1",)))
        found = servicesOf(config)
        self.assertEqual(found["a"], {Service.ALIAS})
        self.assertEqual(found["d"], {Service.DOMAIN, Service.MAILADDR})
        self.assertEqual(found["s"], {Service.SOURCE, Service.NETADDR})
        self.assertEqual(found.get("<localnames>", set()), set())
