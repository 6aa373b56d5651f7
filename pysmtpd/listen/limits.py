"""Who may have a session: bounds in all and per peer."""

from __future__ import annotations

from ipaddress import IPv6Address

from pysmtpd.model.netaddr import isLoopback, parseIp
from pysmtpd.model.reply import Reply

TOO_MANY = Reply(421, "Too many sessions, try again later", "4.3.2")
TOO_MANY_FROM_YOU = Reply(421, "Too many sessions from your address, try again later", "4.7.0")


def peerKey(address: str) -> str:
    """What sessions are counted by: the address, or the /64 of an IPv6 one, since a single host commonly has all of it."""
    parsed = parseIp(address) if ":" in address else None
    return f"{int(parsed) >> 64:x}/64" if isinstance(parsed, IPv6Address) else address


class Limits:
    """Counts the sessions of all listeners together.

    @ivar sessions: how many there are now.
    """

    __slots__ = ("_maximum", "_peers", "sessions")

    def __init__(self, maximum: int) -> None:
        """
        @param maximum: sessions in all.
        """
        self._maximum = maximum
        self._peers: dict[str, int] = {}
        self.sessions = 0

    def admit(self, address: str, maximum: int, perPeer: int) -> Reply | None:
        """Count a session in, or say with which 421 to refuse it. Whoever was admitted must C{leave}.

        @param maximum: the configuration's own bound on all sessions; 0: none.
        @param perPeer: sessions per peer; does not count for loopback.
        """
        if self.sessions >= self._maximum or 0 < maximum <= self.sessions:
            return TOO_MANY
        if not isLoopback(address):
            key = peerKey(address)
            count = self._peers.get(key, 0)
            if count >= perPeer:
                return TOO_MANY_FROM_YOU
            self._peers[key] = count + 1
        self.sessions += 1
        return None

    def leave(self, address: str) -> None:
        """A session that was admitted from C{address} is over."""
        self.sessions -= 1
        if not isLoopback(address):
            key = peerKey(address)
            count = self._peers.get(key, 0)
            if count > 1:
                self._peers[key] = count - 1
            else:
                self._peers.pop(key, None)
