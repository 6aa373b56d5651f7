"""How LMTP differs from SMTP (RFC 2033): another greeting verb, and one reply per accepted recipient at the end of data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pysmtpd.model.reply import Reply

# RFC 2033 4.1: HELO and EHLO are not spoken here, nor LHLO in SMTP.
HELLO_VERBS: Final = {False: ("HELO", "EHLO"), True: ("LHLO",)}


def repliesAtEnd(replies: Sequence[Reply], accepted: int) -> Sequence[Reply]:
    """Exactly one for each accepted recipient, in the order of the RCPT commands (RFC 2033 4.2).

    @raise ValueError: their number is another.
    """
    if len(replies) != accepted:
        raise ValueError(f"{accepted} recipients were accepted, {len(replies)} replies were given")
    return replies
