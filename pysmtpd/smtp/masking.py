"""What of a command line may be shown in a log: cut, printable, and never a password."""

from __future__ import annotations

import re
from typing import Final

_SHOWN_MAX: Final = 80
_UNPRINTABLE = re.compile(rb"[^ -~]")
# Mechanisms by name: a confused client puts its response in their place.
_MECHANISMS: Final = frozenset(
    (
        *("PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "NTLM", "GSSAPI", "EXTERNAL", "ANONYMOUS", "XOAUTH2"),
        *("OAUTHBEARER", "SCRAM-SHA-1", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"),
    )
)
HIDDEN: Final = "(hidden)"


def shown(line: bytes, isKnown: bool, authSeen: bool) -> str:
    """
    @param isKnown: its verb is one of SMTP's.
    @param authSeen: the session has tried AUTH: what is no command may be a response that came too late.
    """
    if line[:4].upper() == b"AUTH":
        words = line[:_SHOWN_MAX].decode("latin-1").upper().split()
        return f"AUTH {words[1] if len(words) > 1 and words[1] in _MECHANISMS else HIDDEN}"
    if authSeen and not isKnown:
        return HIDDEN
    return _UNPRINTABLE.sub(b"?", line[:_SHOWN_MAX]).decode("ascii")
