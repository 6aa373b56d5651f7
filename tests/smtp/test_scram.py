"""SCRAM-SHA-256: the exchange of RFC 7677 3, what hosts may get wrong, and the client core that carries it."""

from __future__ import annotations

from base64 import b64encode

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.smtp.client import ClientCore
from pysmtpd.smtp.client_events import ClientSettings, Credentials, Ended, Established, Stage, StartTls
from pysmtpd.smtp.scram import Scram, ScramError

NONCE = "rOprNGfwEbeRWgbNEkqO"
FIRST = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
CHALLENGE = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
FINAL = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
PROOF = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


class ExchangeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.scram = Scram("user", b"pencil", NONCE)

    def test_theExampleOfTheRfc(self) -> None:
        self.assertEqual(self.scram.first(), FIRST)
        self.assertEqual(self.scram.answer(CHALLENGE), FINAL)
        self.assertFalse(self.scram.isProven)
        self.assertEqual(self.scram.answer(PROOF), b"")
        self.assertTrue(self.scram.isProven)

    def test_badChallenges(self) -> None:
        for challenge in (
            b"",
            b"nonsense",
            CHALLENGE.replace(b"rOpr", b"xxxx"),
            b"r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            b"m=ext," + CHALLENGE,
            CHALLENGE.replace(b"s=W", b"s=!"),
            CHALLENGE.replace(b"4096", b"1"),
            CHALLENGE.replace(b"4096", b"999999999"),
            CHALLENGE.replace(b"4096", b"x"),
        ):
            self.assertRaises(ScramError, Scram("user", b"pencil", NONCE).answer, challenge)

    def test_aHostThatDoesNotKnowThePassword(self) -> None:
        for proof in (b"v=AAAA", b"v=", b"e=unknown-user", b"x", PROOF + b",v=AAAA"):
            scram = Scram("user", b"pencil", NONCE)
            scram.answer(CHALLENGE)
            self.assertRaises(ScramError, scram.answer, proof)
            self.assertFalse(scram.isProven)

    def test_names(self) -> None:
        self.assertEqual(Scram("a,b=c", b"x", "n").first(), b"n,,n=a=2Cb=3Dc,r=n")
        self.assertEqual(
            Scram("I\N{SOFT HYPHEN}X\N{NO-BREAK SPACE}\N{FEMININE ORDINAL INDICATOR}", b"x", "n").first(),
            b"n,,n=IX a,r=n",
        )


class CoreTests(SynchronousTestCase):
    def core(self, auth: bytes = b"SCRAM-SHA-256 PLAIN", nonce: str = NONCE) -> ClientCore:
        core = ClientCore(
            ClientSettings("me.test", False, StartTls.NEVER, True, Credentials("user", b"pencil"), nonce=nonce)
        )
        core.receive(b"220 sink\r\n")
        core.output()
        core.receive(b"250-sink\r\n250 AUTH " + auth + b"\r\n")
        return core

    def say(self, core: ClientCore, challenge: bytes) -> bytes:
        core.receive(b"334 " + b64encode(challenge) + b"\r\n")
        return core.output()

    def test_itIsPreferred(self) -> None:
        core = self.core()
        self.assertEqual(core.output(), b"AUTH SCRAM-SHA-256 " + b64encode(FIRST) + b"\r\n")
        self.assertEqual(self.say(core, CHALLENGE), b64encode(FINAL) + b"\r\n")
        self.assertEqual(self.say(core, PROOF), b"\r\n")
        (event,) = core.receive(b"235 2.7.0 ok\r\n")
        self.assertIsInstance(event, Established)

    def test_whereItIsNotOffered(self) -> None:
        self.assertTrue(self.core(b"PLAIN LOGIN").output().startswith(b"AUTH PLAIN "))
        self.assertTrue(self.core(nonce="").output().startswith(b"AUTH PLAIN "))

    def test_aHostThatSkipsItsProof(self) -> None:
        core = self.core()
        core.output()
        self.say(core, CHALLENGE)
        (event,) = core.receive(b"235 2.7.0 ok\r\n")
        assert isinstance(event, Ended)
        self.assertIn("does not prove", event.reply.text)
        self.assertTrue(event.reply.isTemporary)

    def test_nonsense(self) -> None:
        for line in (b"334 !!!\r\n", b"334 \r\n", b"334 " + b64encode(b"r=x,s=,i=4096") + b"\r\n"):
            core = self.core()
            core.output()
            (event,) = core.receive(line)
            assert isinstance(event, Ended)
            self.assertEqual((event.stage, event.reply.isTemporary), (Stage.AUTH, True))

    def test_refused(self) -> None:
        core = self.core()
        core.output()
        self.say(core, CHALLENGE)
        (event,) = core.receive(b"535 5.7.8 wrong\r\n")
        assert isinstance(event, Ended)
        self.assertEqual((event.stage, str(event.reply)), (Stage.AUTH, "535 5.7.8 wrong"))
