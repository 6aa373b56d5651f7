"""What Postfix, Exim, OpenSMTPD, Dovecot, aiosmtpd and nodemailer's smtp-server receive from us. C{python -m tests.e2e.peers} prints it."""

from __future__ import annotations

import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.e2e.peers import FEATURES, Row, matrix
from tests.e2e.support import checkReach, needsRoot

USUAL = {
    "tls": r"TLSv1\.3",
    "plain": "Ok, as it was",
    "dsn": "Ok, handed on",
    "utf8": "Ok, declared",
    "8bit": "Ok, as it was, declared",
    "bdat": "Ok, as it was, BDAT",
    "large": "Ok, as it was, DATA",
    "size": r"PermFail 5\.3\.4, nothing said",
    "grey": r"TempFail 4\.7\.1, then Ok, 1 copy",
}

NO_CHUNKING = "Ok, as it was, DATA"
NO_UTF8 = r"PermFail 5\.6\.7"

# What else a host makes of it.
OWN: dict[str, Row] = {
    "postfix": {},
    "exim": {},
    # 6.8 cannot use its key with OpenSSL 3: the message goes in plain text after the handshake has failed.
    "opensmtpd": {"tls": r"in plain text|TLSv1\.3", "utf8": NO_UTF8, "bdat": NO_CHUNKING},
    # LMTP: no TLS on our side, and nothing says how large a message may be.
    "dovecot": {
        "tls": "in plain text",
        "dsn": "Ok, not offered, sender told: delivered",
        "utf8": NO_UTF8,
        "bdat": "Ok, as it was, (BDAT|DATA)",
        "size": "Ok, in DATA",
        "grey": r"TempFail 4\.2\.0, then Ok, 1 copy",
    },
    "aiosmtpd": {"dsn": "Ok, not offered, sender told: relayed", "bdat": NO_CHUNKING},
    "smtp-server": {"bdat": NO_CHUNKING},
}


class PeerTests(SynchronousTestCase):
    timeout = 500

    def test_matrix(self) -> None:
        needsRoot("make a room for other servers")
        if not sys.platform.startswith("linux"):
            self.skipTest("such rooms are Linux's")
        checkReach()
        table = matrix()
        self.assertEqual(list(table), list(OWN))
        for name, own in OWN.items():
            for feature in FEATURES:
                self.assertRegex(table[name][feature], rf"\A(?:{(USUAL | own)[feature]})\Z", f"{name} {feature}")
