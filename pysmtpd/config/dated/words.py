"""Words of these languages, and what they are called today."""

from __future__ import annotations

CONVERT = '"pysmtpd convert" turns this file into today\'s language'

# With these a line of the languages of old began.
DIRECTIVES = frozenset(
    {
        "accept",
        "bounce-warn",
        "ciphers",
        "expire",
        "hostname",
        "limit",
        "map",
        "max-message-size",
        "max-mta-deferred",
        "reject",
        "subaddressing-delimiter",
    }
)
# By the word that a line begins with: what stood in it, and what stands there today.
_INSIDE = {
    "ca": {"certificate": "cert"},
    "listen": {"certificate": "pki", "mask-source": "mask-src", "secure": "tls, and a line of its own with smtps"},
    "pki": {"certificate": "cert", "ca": "ca NAME cert", "dhparams": "dhe"},
    "queue": {"key": "queue encryption KEY"},
}
# In lines that only today's language has.
_MIXED = {
    "action": {
        "as": "mail-from",
        "deliver": "maildir, mbox, lmtp or mda alone",
        "expire": "ttl",
        "hostname": "helo",
        "hostnames": "helo-src",
        "mask-source": "mask-src",
        "source": "src",
        "via": "host",
    },
    "match": {"authenticated": "auth", "recipient": "rcpt-to", "sender": "mail-from", "source": "src", "tagged": "tag"},
}


def dated(first: str, word: str) -> str:
    """What to say of a word in a line that begins with another; empty: it is not one of then.

    @param first: empty where the word itself begins the line.
    """
    if not first:
        return f'"{word}" is of OpenSMTPD before 6.4; {CONVERT}' if word in DIRECTIVES else ""
    if today := _INSIDE.get(first, {}).get(word):
        return f'since OpenSMTPD 6.4 this is "{today}"; {CONVERT}'
    today = _MIXED.get(first, {}).get(word)
    return f'since OpenSMTPD 6.4 this is "{today}"' if today else ""
