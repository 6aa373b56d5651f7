"""What holds where a file says nothing: smtpd.conf(5)'s defaults, or the listed difference."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.model.config import AuthMode, BareNewline, Method, Predicate, TlsMode
from tests.config.support import problems, read

DAY = 86400.0


class DefaultTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.config = read(
            "listen on 127.0.0.1\naction l maildir\naction r relay\nmatch action l\nmatch for any action r\n"
        )

    def test_settings(self) -> None:
        config = self.config
        self.assertEqual(config.admd, "")
        self.assertEqual(config.bounceWarn, (4 * 3600.0,))
        self.assertEqual(config.maxDeferred, 100)
        self.assertEqual(config.queue.ttl, 4 * DAY)
        self.assertEqual((config.queueCompression, config.queueEncryption), (False, ""))
        self.assertEqual(config.smtp.maxMessageSize, 35 * 1024 * 1024)
        self.assertEqual(config.subAddressDelimiter, "+")
        self.assertEqual(config.ciphers, "")
        self.assertIsNone(config.srs)
        self.assertEqual(read('srs key "k"\nmatch reject').srs.ttl, 4 * DAY)  # type: ignore[union-attr]
        self.assertIsNone(config.socket)

    def test_limits(self) -> None:
        """Those of OpenSMTPD; the others are listed."""
        config = self.config
        self.assertEqual(config.smtp.maxRcpt, 1000)
        self.assertEqual(config.smtp.maxReceived, 100)
        self.assertEqual(config.smtp.commandTimeout, 300.0)
        self.assertEqual(config.scheduler.maxInflight, 5000)
        self.assertEqual(config.scheduler.maxBatch, 256)
        self.assertEqual((config.mda.maxSession, config.mda.maxSessionPerUser), (50, 7))
        mta = config.mta
        self.assertEqual(mta.maxConnPerConnector, 20)
        self.assertEqual((mta.maxConnPerRelay, mta.maxConnPerDomain), (100, 100))
        self.assertEqual(
            (mta.connDelayHost, mta.connDelaySource, mta.connDelayConnector, mta.connDelayDomain), (0.0,) * 4
        )
        self.assertEqual(
            (mta.sessionTransactionDelay, mta.sessionKeepalive, mta.maxFailuresPerSession), (0.0, 10.0, 25)
        )
        self.assertEqual(mta.family, "")

    def test_listedLimits(self) -> None:
        """Ours, where OpenSMTPD has others: docs/differences.md."""
        config = self.config
        self.assertEqual(config.smtp.maxMails, 1000)
        self.assertEqual((config.mta.maxConnPerHost, config.mta.maxConnPerRoute), (20, 20))
        self.assertEqual(config.mta.maxConnPerSource, 1000)
        self.assertEqual(
            (config.mta.connDelayRoute, config.mta.connDelayRelay, config.mta.reconnDelayRoute), (0.0,) * 3
        )
        self.assertEqual(config.mta.sessionMailMax, 1000)
        self.assertEqual((config.mta.taskHiwat, config.mta.taskLowat, config.mta.taskRelease), (200, 100, 100))
        self.assertEqual((config.mda.taskHiwat, config.mda.taskLowat, config.mda.taskRelease), (500, 250, 250))
        self.assertEqual(
            (config.smtp.maxSessionsPerPeer, config.smtp.maxErrors, config.smtp.maxCommands), (100, 20, 100)
        )
        self.assertEqual((config.smtp.maxLineLength, config.smtp.maxTextLine), (2048, 65536))

    def test_listener(self) -> None:
        listener = self.config.listeners[0]
        self.assertEqual((listener.port, listener.tls, listener.auth), (25, TlsMode.NONE, AuthMode.NONE))
        self.assertIs(listener.bareNewline, BareNewline.REJECT)
        said = (listener.noDsn, listener.maskSource, listener.receivedAuth, listener.masquerade, listener.verifyClient)
        self.assertEqual(said, (False,) * 5)
        self.assertEqual(
            (listener.proxy, listener.xclient, listener.submission, listener.filters), (None, None, False, ())
        )

    def test_actions(self) -> None:
        local, relay = self.config.actions["l"], self.config.actions["r"]
        self.assertEqual((local.method, local.path, local.junk, local.user), (Method.MAILDIR, "", False, ""))
        self.assertEqual((local.userbase, local.ttl), (None, None))
        self.assertEqual((relay.tlsRequired, relay.tlsVerify, relay.isBackup, relay.srs), (False, True, False, False))

    def test_rules(self) -> None:
        first, second = ([condition.predicate for condition in rule.conditions] for rule in self.config.rules)
        self.assertEqual(first, [Predicate.FROM_LOCAL, Predicate.FOR_LOCAL])
        self.assertEqual(second, [Predicate.FROM_LOCAL, Predicate.FOR_ANY])

    def test_pki(self) -> None:
        self.assertEqual(read("pki a cert c key k\nmatch reject").pki["a"].dhe, "none")

    def test_implicitTables(self) -> None:
        tables = self.config.tables
        self.assertEqual([key for key, _ in tables["<anydestination>"].entries], ["*", "mx"])
        self.assertEqual([key for key, _ in tables["<anyhost>"].entries], ["local", "0.0.0.0/0", "::/0"])
        self.assertEqual([key for key, _ in tables["<localhost>"].entries], ["local", "127.0.0.1", "::1", "192.0.2.25"])
        names = [key for key, _ in tables["<localnames>"].entries]
        self.assertEqual(names[:5], ["localhost", "mx.example.org", "127.0.0.1", "::1", "192.0.2.25"])

    def test_schedulerLimits(self) -> None:
        config = read("scheduler limit max-schedule 10 max-msg-batch-size 1024\nmatch reject")
        self.assertEqual(len([warning for warning in config.warnings if "no effect" in warning]), 2)

    def test_severalBounces(self) -> None:
        self.assertEqual(read("bounce warn-interval 1h, 2d\nmatch reject").bounceWarn, (3600.0, 2 * DAY))
        config = read("bounce warn-interval 1h, 2h, 3h, 4h, 5h\nmatch reject")
        self.assertEqual(len(config.bounceWarn), 4)
        self.assertTrue(any("only the first 4" in warning for warning in config.warnings))
        self.assertIn("ascend", problems("bounce warn-interval 2h, 1h\nmatch reject")[0])
