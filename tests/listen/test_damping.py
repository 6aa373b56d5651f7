"""Guessing passwords is slow, and hinders nobody else."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.listen.damping import FORGIVE_OF_ADDRESS, FORGIVE_OF_USER, MOST_OF_ADDRESS, MOST_OF_USER, Damped, Damping
from pysmtpd.model.events import CommandFailed, SessionAuthenticated
from tests.listen.fakes import STRANGER, House
from tests.listen.test_auth import house, plain

OTHER = "192.0.2.8"


class DampingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.damping = Damping(kept=100)

    def fail(self, address: str = STRANGER, user: str = "anna", times: int = 1, now: float = 0.0) -> Damped | None:  # type: ignore[override]
        for _ in range(times):
            damped = self.damping.begin(address, user, now)
        return damped

    def test_aUserFromOneAddress(self) -> None:
        self.assertIsNone(self.fail(times=MOST_OF_USER))
        self.assertIs(self.fail(), Damped.USER)
        # Neither another user of this address nor this user from elsewhere.
        self.assertIsNone(self.fail(user="bert"))
        self.assertIsNone(self.fail(OTHER))

    def test_forgottenWithTime(self) -> None:
        self.fail(times=MOST_OF_USER)
        self.assertIs(self.fail(now=FORGIVE_OF_USER * 0.9), Damped.USER)
        self.assertIsNone(self.fail(now=FORGIVE_OF_USER))
        self.assertIs(self.fail(now=FORGIVE_OF_USER), Damped.USER)

    def test_manyUsersFromOneAddress(self) -> None:
        for number in range(MOST_OF_ADDRESS):
            self.assertIsNone(self.fail(user=f"user{number}"))
        self.assertIs(self.fail(user="bert"), Damped.ADDRESS)
        self.assertIsNone(self.fail(OTHER))
        self.assertIsNone(self.fail(user="bert", now=FORGIVE_OF_ADDRESS))

    def test_aNetworkIsOne(self) -> None:
        for number in range(MOST_OF_ADDRESS):
            self.fail(f"2001:db8::{number:x}", f"user{number}")
        self.assertIs(self.fail("2001:db8::ffff", "bert"), Damped.ADDRESS)
        self.assertIsNone(self.fail("2001:db8:0:1::1", "bert"))

    def test_programsOfThisMachine(self) -> None:
        """A webmail program brings everybody's users."""
        for number in range(MOST_OF_ADDRESS * 2):
            self.assertIsNone(self.fail("127.0.0.1", f"user{number}"))
        self.assertIs(self.fail("127.0.0.1", times=MOST_OF_USER + 1), Damped.USER)

    def test_successForgives(self) -> None:
        for _ in range(3 * MOST_OF_ADDRESS):
            self.assertIsNone(self.damping.begin(STRANGER, "anna", 0.0))
            self.damping.forgive(STRANGER, "anna", 0.0, isKnown=True)
        self.assertEqual(self.damping.kept, 0)

    def test_onePasswordDoesNotPayForOthers(self) -> None:
        for number in range(MOST_OF_ADDRESS):
            self.assertIsNone(self.damping.begin(STRANGER, f"user{number}", 0.0))
            if number < MOST_OF_ADDRESS - 1:
                self.damping.begin(STRANGER, "mallory", 0.0)
                self.damping.forgive(STRANGER, "mallory", 0.0, isKnown=True)
        self.assertIs(self.fail(user="mallory"), Damped.ADDRESS)

    def test_memoryIsBounded(self) -> None:
        for number in range(1000):
            self.fail(f"192.0.{number // 250}.{number % 250}", f"user{number}")
        self.assertEqual(self.damping.kept, 200)


class SessionTests(SynchronousTestCase):
    def attempt(self, here: House, user: str, password: str, address: str = STRANGER) -> str:
        peer = here.greeted(address)
        heard = peer.lines(plain(user, password))
        if not heard:
            here.clock.advance(5.0)
            heard = peer.hear()
        peer.lose()
        return heard

    def test_overSessions(self) -> None:
        here = house()
        here.resolver.names[OTHER] = ""
        for _ in range(MOST_OF_USER + 1):
            self.attempt(here, "Anna", "wrong")
        self.assertRegex(self.attempt(here, "anna", "secret"), r"^454 4\.7\.0 Too many failures")
        self.assertEqual(here.report.of(SessionAuthenticated)[-1].result, "tempfail")
        self.assertIn("failures of this user", here.report.of(CommandFailed)[-1].reason)
        self.assertRegex(self.attempt(here, "anna", "secret", OTHER), "^235 ")
        here.clock.advance(3600)
        self.assertRegex(self.attempt(here, "anna", "secret"), "^235 ")

    def test_anAddressIsToldToGo(self) -> None:
        here = house()
        peers = [here.greeted(STRANGER) for _ in range(MOST_OF_ADDRESS + 1)]
        # All at once: none of them has failed yet.
        answers = [peer.lines(plain(f"user{number}", "wrong")) for number, peer in enumerate(peers)]
        self.assertEqual(answers[:-1], [""] * MOST_OF_ADDRESS)
        self.assertRegex(answers[-1], r"^421 4\.7\.0 ")
        self.assertTrue(peers[-1].isClosed)

    def test_theDelayGrowsOverSessions(self) -> None:
        here = house()
        for delay in (1.0, 2.0, 3.0):
            peer = here.greeted(STRANGER)
            peer.lines(plain("anna", "wrong"))
            here.clock.advance(delay - 0.3)
            self.assertEqual(peer.hear(), "")
            here.clock.advance(0.3)
            self.assertRegex(peer.hear(), "^535 ")
            peer.lose()

    def test_anOutageIsNobodysFailure(self) -> None:
        from pysmtpd.interfaces import TableError

        here = house()
        here.authenticator.error = TableError("down")
        for _ in range(2 * MOST_OF_ADDRESS):
            self.assertRegex(self.attempt(here, "anna", "secret"), r"^454 4\.7\.0 Temporary")
        here.authenticator.error = None
        self.assertRegex(self.attempt(here, "anna", "secret"), "^235 ")
