"""Which addresses a user may send from (C{senders}, mailaddrmap). Pure."""

from __future__ import annotations

from pysmtpd.model.address import Path, untagged


def maySend(entries: str, sender: Path, delimiter: str) -> bool:
    """
    @param entries: the value of the map, parted by commas: C{user@domain}, C{@domain}, C{user} or C{user@} (in any domain), with C{*} for
        any string in the domain; C{@} for every address; C{<>} for the null sender.
    @param delimiter: of sub-addresses: C{user} covers C{user+tag}, but C{user+tag} only itself.
    """
    local, domain = sender.local.lower(), sender.domain.lower()
    return any(_covers(entry.strip().lower(), local, domain, delimiter) for entry in entries.split(","))


def _covers(entry: str, local: str, domain: str, delimiter: str) -> bool:
    if not entry:
        return False
    if entry == "@":
        return True
    if not local and not domain:
        return entry == "<>"
    user, at, host = entry.rpartition("@")
    if not at:
        user, host = host, "*"
    return _matches(host or "*", domain) and (not user or user in (local, untagged(local, delimiter)))


def _matches(pattern: str, text: str) -> bool:
    """C{*} stands for any string. Each piece is taken where it first fits, which is as good as anywhere."""
    first, *pieces = pattern.split("*")
    if not pieces:
        return pattern == text
    last = pieces.pop()
    at, end = len(first), len(text) - len(last)
    if end < at or not text.startswith(first) or not text.endswith(last):
        return False
    for piece in pieces:
        found = text.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True
