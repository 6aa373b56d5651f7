"""Passwords against a table of credentials."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pysmtpd.config import Environment, load
from pysmtpd.interfaces.platform import HelperFailed
from pysmtpd.interfaces.ready import Ready
from pysmtpd.interfaces.routing import IAuthenticator, ITable, Service, TableError
from pysmtpd.model.config import BackendSpec, Config, TableSpec
from pysmtpd.router.auth import MOST_WAITING, Authenticator
from pysmtpd.router.crypt import verify
from pysmtpd.table import static
from tests.table.platform import SmallPlatform
from tests.table.test_backends import SlowTable

# Of "secret", made by libxcrypt.
HASHES = {
    "$1$": "$1$o/O28wdv$H1UqH2n5bqKQN8qfO.yot/",
    "$2b$": "$2b$04$zZ.5/1QHtCzbAboPddSkTuchnhNw2y5JXTcbQJgLmmAaCHKpsKtAK",
    "$2y$": "$2y$04$Lvgreqciki750MP4HHp/x.MklLq3Bl1q.23BOvYccBuygKv9HE1Ka",
    "$2a$": "$2a$04$8WBBC2oAsCMuomcFc2BpP.55M5wQ/wiC2hipZSD9lTinYioRPIDPK",
    "$gy$": "$gy$j9T$ggl9pLNwDgj34qyXxQhO1.$Ihd5IM6EwpkugGOhEjrwV3iFPvz5e04pZE.dUc.6Mq4",
    "$5$": "$5$rounds=1000$2jRbMiCvXW4d3knL$sAhwcGhP6LCyTua7zIAREEGzbEZ6t2EOvWUR1fUcok/",
    "$6$": "$6$rounds=1000$nPHKfP86vjE6dlWx$uTDminLYz4c3xQZQUlTL8xTpcEY49E6b3.aJW9Gq756/oBUlRPxDn8T5vXkxeEgJ.H5bp9RXRqmmWqoouGy1y.",
    "$y$": "$y$j75$9WDay/5mg7E8PKoEA9yyE0$.vhua7pJUuE7J4hAEu9RpRCLB/SrqFGvEa2U3GoIM3/",
    "$argon2id$": "$argon2id$v=19$m=64,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$pbviq+1UUgwZCmLIr4Hgk7mEMsxnRLuOb2HfvIaBwGY",
    "$7$": "$7$BU..../....bYhkRA6csSXqWVc1AC3C90$cOqWwDREuKSA8iGGIwiFXS1y2EKy97u0XlWnlP7SiAC",
}

CONFIG = load("smtpd.conf", lambda path: "match reject", Environment("mx.example.org"))


class VerifyTests(SynchronousTestCase):
    def test_schemes(self) -> None:
        for scheme, stored in HASHES.items():
            self.assertTrue(verify(b"secret", stored), scheme)
            self.assertFalse(verify(b"Secret", stored), scheme)
            self.assertFalse(verify(b"secret\0", stored), scheme)
            self.assertFalse(verify(b"", stored), scheme)

    def test_whatIsNoHashNeverMatches(self) -> None:
        for stored in (
            "",
            "*",
            "!",
            "!$6$x$y",
            "secret",
            "*0",
            "$6$",
            "$9$x$y",
            "$6$salt",
            "{PLAIN}secret",
            "$6$\u00e4$x",
            "$argon2id$",
            "$argon2id$v=19$m=64,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$",
            "$argon2id$v=19$m=64,t=0,p=1$MDEyMzQ1Njc4OWFiY2RlZg$AAAAAAAAAAAAAAAA",
            "$argon2id$v=18$m=64,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$AAAAAAAAAAAAAAAA",
        ):
            for password in (b"", b"secret", b"*", b"*0", stored.encode()):
                self.assertFalse(verify(password, stored), stored)


class AuthenticatorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.platform = SmallPlatform()
        entries = (
            *(
                ("ann", HASHES["$5$"]),
                ("ben", "ben:" + HASHES["$1$"]),
                ("cid", "{PLAIN}se:cret"),
                ("dora", "cid:{PLAIN}x"),
            ),
            *(("eve", ""), ("fay", "secret"), ("gus", "gus:secret"), ("hal", "{PLAIN}"), ("ida", "*"), ("jo", "jo:")),
        )
        spec = TableSpec("users", BackendSpec("static"), entries, True)
        self.tables: dict[str, ITable] = {"users": static.make("", self.platform.asPlatform, {"spec": spec})}
        self.authenticator = Authenticator(self.platform.asPlatform, self.tablesOf)

    def tablesOf(self, config: Config) -> dict[str, ITable]:
        return self.tables

    def ask(self, user: str, password: bytes) -> bool:
        return self.successResultOf(self.authenticator.authenticate(CONFIG, "users", user, password))

    def test_isAnAuthenticator(self) -> None:
        self.assertTrue(verifyObject(IAuthenticator, self.authenticator))

    def test_hashes(self) -> None:
        self.assertTrue(self.ask("ann", b"secret"))
        self.assertTrue(self.ask("Ann", b"secret"))
        self.assertTrue(self.ask("ben", b"secret"))
        self.assertFalse(self.ask("ann", b"secret2"))

    def test_plainOnlyWhereItIsMarked(self) -> None:
        self.assertTrue(self.ask("cid", b"se:cret"))
        self.assertTrue(self.ask("dora", b"x"))
        for user in ("fay", "gus", "ida"):
            self.assertFalse(self.ask(user, b"secret"), user)

    def test_emptyNeverMatches(self) -> None:
        for user in ("", "ann", "ben", "cid", "eve", "hal", "ida", "jo", "nobody"):
            self.assertFalse(self.ask(user, b""), user)

    def test_unknownUsersTakeAsLong(self) -> None:
        """Each refusal costs one turn in a lane, whether there is such a user or not."""
        for user in ("ann", "nobody", "eve", ""):
            self.assertFalse(self.ask(user, b"wrong"))
        self.assertEqual(self.platform.workers.ran, ["auth-1", "auth-0"] * 2)

    def test_unknownUsersOfPlainTablesTakeAsLong(self) -> None:
        """A comparison takes no time, so neither does a user who is not there."""
        self.assertFalse(self.ask("cid", b"wrong"))
        for user in ("nobody", "cid", "eve"):
            self.assertFalse(self.ask(user, b"wrong"))
        self.assertEqual(self.platform.workers.ran, [])

    def test_unknownUsersTakeAsLongAsArgon2(self) -> None:
        spec = TableSpec("users", BackendSpec("static"), (("ann", HASHES["$argon2id$"]),), True)
        self.tables["users"] = static.make("", self.platform.asPlatform, {"spec": spec})
        self.assertTrue(self.ask("ann", b"secret"))
        self.assertFalse(self.ask("nobody", b"secret"))
        self.assertEqual(self.platform.workers.ran, ["auth-1", "auth-0"])

    def test_aHashThatTakesTooMuchMemory(self) -> None:
        huge = HASHES["$argon2id$"].replace("m=64", "m=99999999")
        spec = TableSpec("users", BackendSpec("static"), (("ann", huge),), True)
        self.tables["users"] = static.make("", self.platform.asPlatform, {"spec": spec})
        asked = self.authenticator.authenticate(CONFIG, "users", "ann", b"secret")
        self.failureResultOf(asked, TableError)

    def test_theSystemsUsers(self) -> None:
        """Root's helper is asked; where there is none, it cannot be told."""
        asked = self.authenticator.authenticate(CONFIG, "", "ann", b"secret", "192.0.2.7")
        self.assertIn("root", str(self.failureResultOf(asked, TableError).value))
        questions: list[tuple[str, bytes, str]] = []

        def system(user: str, password: bytes, peer: str) -> Deferred[bool]:
            questions.append((user, password, peer))
            return fail(HelperFailed("gone")) if user == "ben" else succeed(password == b"secret")

        self.authenticator = Authenticator(self.platform.asPlatform, self.tablesOf, system=system)
        asked = self.authenticator.authenticate(CONFIG, "", "Ann", b"secret", "192.0.2.7")
        self.assertTrue(self.successResultOf(asked))
        self.assertEqual(questions, [("Ann", b"secret", "192.0.2.7")])
        self.failureResultOf(self.authenticator.authenticate(CONFIG, "", "ben", b"x"), TableError)

    def test_busy(self) -> None:
        """Those who wait are bounded."""

        class Silent(SlowTable):
            def lookup(self, service: Service, key: str) -> Ready[str | None]:
                return Deferred()

        self.tables["users"] = Silent(self.tables["users"], self.platform.clock)
        waiting = [self.authenticator.authenticate(CONFIG, "users", "ann", b"x") for _ in range(MOST_WAITING)]
        self.failureResultOf(self.authenticator.authenticate(CONFIG, "users", "ann", b"x"), TableError)
        self.platform.clock.advance(30)
        for each in waiting:
            self.failureResultOf(each, TableError)
        self.assertNoResult(self.authenticator.authenticate(CONFIG, "users", "ann", b"x"))

    def test_slowTable(self) -> None:
        self.tables["users"] = SlowTable(self.tables["users"], self.platform.clock)
        asked = self.authenticator.authenticate(CONFIG, "users", "ann", b"secret")
        self.assertNoResult(asked)
        self.platform.clock.advance(0.05)
        self.assertTrue(self.successResultOf(asked))

    def test_itCannotBeTold(self) -> None:
        class Silent(SlowTable):
            def lookup(self, service: Service, key: str) -> Ready[str | None]:
                return Deferred()

        self.tables["users"] = Silent(self.tables["users"], self.platform.clock)
        asked = self.authenticator.authenticate(CONFIG, "users", "ann", b"secret")
        self.platform.clock.advance(30)
        self.failureResultOf(asked, TableError)
        self.failureResultOf(self.authenticator.authenticate(CONFIG, "other", "ann", b"secret"), TableError)
