"""Dates as mail has them."""

from __future__ import annotations

from email.utils import formatdate
from functools import lru_cache


def formatDate(seconds: float) -> str:
    """RFC 5322 3.3, in UTC: C{Tue, 14 Nov 2023 22:13:20 +0000}.

    @param seconds: since the epoch; parts of one are left out.
    """
    return _format(int(seconds))


# Whatever comes together has its second in common, and what is reported of it has its days in common.
@lru_cache(maxsize=16)
def _format(seconds: int) -> str:
    days, seconds = divmod(seconds, 86_400)
    minutes, seconds = divmod(seconds, 60)
    return f"{_day(days)} {minutes // 60:02}:{minutes % 60:02}:{seconds:02} +0000"


@lru_cache(maxsize=16)
def _day(days: int) -> str:
    return formatdate(days * 86_400)[: len("Thu, 01 Jan 1970")]
