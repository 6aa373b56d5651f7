"""Dovecot's LMTP server takes one message for several recipients, and says of each of them what it thinks."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.e2e.servers import dovecot
from tests.e2e.support import Place, needsRoot, running, waitFor

CONFIGURATION = """
listen on 127.0.0.1 port @PORT@
action "store" lmtp "{socket}" rcpt-to virtual {{ "@" = "@USER@" }}
action "names" lmtp "{socket}" virtual {{ "info@names.test" = "@USER@" }}
match from any for domain "names.test" action "names"
match from any for any action "store"
"""

CONTENT = b"Subject: test\r\n\r\n" + b"A line of it.\r\n" * 200


class DovecotTests(SynchronousTestCase):
    def setUp(self) -> None:
        needsRoot("Dovecot changes its users")
        self.place = Place()
        self.addCleanup(self.place.remove)

    def letters(self, name: str) -> list[Path]:
        return sorted((self.place.path / "home" / name / "Maildir" / "new").glob("*"))

    def test_eachRecipientHasItsOwnResult(self) -> None:
        users = {"good": "", "other": "", "full": "*:bytes=1000", "nobody": ""}
        with (
            dovecot(self.place.path, users) as socket,
            running(CONFIGURATION.format(socket=socket)) as daemon,
        ):
            with daemon.client() as client:
                for _ in range(3):
                    client.sendmail(
                        "a@client.test",
                        ["good@mail.test", "full@mail.test", "unknown@mail.test", "other@mail.test"],
                        CONTENT,
                    )
                client.sendmail("a@client.test", ["info@names.test"], CONTENT)
            waitFor("all fates", lambda: len(daemon.events("delivery")) >= 13)
            fates = [(row["rcpt"], row["result"], row["stat"][:3]) for row in daemon.events("delivery")]
            self.assertEqual(
                {fate for fate in fates if fate[0] != "a@client.test"},
                {
                    ("good@mail.test", "Ok", "250"),
                    ("other@mail.test", "Ok", "250"),
                    ("full@mail.test", "PermFail", "552"),
                    ("unknown@mail.test", "PermFail", "550"),
                    ("info@names.test", "Ok", "250"),
                },
            )
            for name, count in (("good", 3), ("other", 3), ("full", 0), ("nobody", 1)):
                self.assertEqual(len(self.letters(name)), count, name)
            for letter in self.letters("good"):
                stored = letter.read_bytes().replace(b"\r\n", b"\n")
                self.assertTrue(stored.endswith(CONTENT.partition(b"\r\n\r\n")[2].replace(b"\r\n", b"\n")))
                # It is Dovecot's to add; we leave it alone.
                self.assertNotIn(b"Delivered-To:", stored)
            # Messages that come one after the other share a connection, and all recipients of one a transaction.
            log = (self.place.path / "dovecot.log").read_text()
            self.assertLess(log.count("Connect from local"), 4, log)
