"""Slowing down where a peer asks for it, and why. Pure."""

from __future__ import annotations

from pysmtpd.model.reply import Reply

FIRST_PACE = 1.0
"""Seconds between transactions after the first complaint; each one doubles it."""

MAX_PACE = 120.0

GROWTH_SECONDS = 15.0
"""Complaints that come closer together than this, or than the pace, are about the same mail: they count, but slow no further."""

HALF_LIFE = 300.0
"""Seconds without a complaint in which the pace halves."""

_LEAST_PACE = 0.25
_MAX_TEXT = 200
_OUR_OWN = ("4.7.4", "4.7.5", "4.7.11", "4.7.30")
_NOT_PACE = ("4.4.", "4.2.")


def complains(reply: Reply, isOfContent: bool = False) -> bool:
    """Does a peer say that we are too fast, or too many: 421, or 4.7.x?

    Not what a host says of the first mail of somebody (greylisting), of its own time-outs, nor what we say ourselves.

    @param reply: to a connection, to MAIL, or to a message as a whole. What is said of one recipient is not about us.
    @param isOfContent: it is the reply to the content; then C{4.7.1} is about that (RFC 3463 3.8), as greylisting after DATA says it.
    """
    status = reply.enhanced
    if not (reply.code == 421 or (400 <= reply.code < 500 and status.startswith("4.7."))):
        return False
    if status in _OUR_OWN or status.startswith(_NOT_PACE) or (isOfContent and status == "4.7.1" and reply.code != 421):
        return False
    text = reply.text.lower()
    return "greylist" not in text and "graylist" not in text


class Backoff:
    """One host or provider that has complained, with its evidence. Times are monotonic seconds.

    @ivar reply: the last complaint.
    @ivar at: when it came; C{since}: when the first of this row did.
    @ivar times: how many there were.
    @ivar lastPace: seconds between transactions right after the last complaint.
    @ivar next: no transaction before.
    """

    __slots__ = ("_grown", "at", "lastPace", "next", "reply", "since", "times")

    def __init__(
        self,
        now: float,
        pace: float = 0.0,
        reply: str = "",
        at: float | None = None,
        since: float | None = None,
        times: int = 0,
    ) -> None:
        self.since = now if since is None else since
        self.at = now if at is None else at
        self.lastPace = pace
        self._grown = float("-inf") if not pace else self.at
        self.reply = reply
        self.times = times
        self.next = now

    def pace(self, now: float) -> float:
        """Seconds from one transaction to the next; 0: it is over."""
        pace = self.lastPace * 0.5 ** (max(0.0, now - self.at) / HALF_LIFE)
        return pace if pace >= _LEAST_PACE else 0.0

    def complained(self, now: float, reply: Reply) -> None:
        pace = self.pace(now)
        if now - self._grown >= max(GROWTH_SECONDS, pace):
            pace = min(MAX_PACE, max(FIRST_PACE, 2.0 * pace))
            self._grown = now
        self.lastPace = pace
        self.at = now
        self.reply = str(reply)[:_MAX_TEXT]
        self.times += 1
        self.next = max(self.next, now + pace)

    def wait(self, now: float) -> float:
        return max(0.0, self.next - now) if self.pace(now) else 0.0

    def take(self, now: float) -> None:
        """A transaction starts."""
        self.next = max(self.next, now) + self.pace(now)
