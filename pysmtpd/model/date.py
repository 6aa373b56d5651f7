"""Dates as mail has them."""

from __future__ import annotations

from email.utils import formatdate
from functools import lru_cache


def formatDate(seconds: float) -> str:
    """RFC 5322 3.3, in UTC: C{Tue, 14 Nov 2023 22:13:20 +0000}.

    @param seconds: since the epoch; parts of one are left out.
    """
    return _format(int(seconds))


# Whatever comes together has its second in common.
@lru_cache(maxsize=16)
def _format(seconds: int) -> str:
    # What it writes for UTC says that nobody knows where it was made.
    return formatdate(seconds).removesuffix("-0000") + "+0000"
