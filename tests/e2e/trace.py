"""System calls of a daemon, as strace saw them, put in an order that can be argued about.

The clock is the number of the line in strace's output: strace writes a line when a call begins and, if something came between, another
when it ends. So what stands before has happened before.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

WRITES = ("write", "pwrite64", "writev")
SENDS = ("sendto", "sendmsg", "write", "writev")
SYNCS = ("fsync", "fdatasync")
RENAMES = ("rename", "renameat", "renameat2")
UNLINKS = ("unlink", "unlinkat")
MAKES = ("mkdir", "mkdirat")

# Descriptors with their paths and sockets (-yy), data as octets in hexadecimal (-xx), enough of them to see a whole page of a database.
STRACE = ("strace", "-f", "-qq", "-yy", "-xx", "-s", "8192", "-e", "signal=none",
          "-e", "trace=" + ",".join(dict.fromkeys((*WRITES, *SENDS, *SYNCS, *RENAMES, *UNLINKS, *MAKES))))  # fmt: skip

_LINE = re.compile(r"(?:\[pid +)?(\d+)\]? +(.*)")
_RESUMED = re.compile(r"<\.\.\. (\w+) resumed>(.*)")
_UNFINISHED = " <unfinished ...>"
_CALL = re.compile(r"(\w+)\((.*)\) += (-?\d+)")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_OCTETS = re.compile(r"(?:\\x[0-9a-f]{2})+")
_DESCRIPTOR = re.compile(r"^(\d+)<(.*?)>(?:,|$)")


@dataclass(frozen=True)
class Call:
    """
    @ivar begin: when it began.
    @ivar end: when it returned.
    @ivar target: what the descriptor is: a path, or C{TCP:[...]}; empty: there is none.
    @ivar strings: what was written, or the paths.
    """

    begin: int
    end: int
    name: str
    target: str
    strings: tuple[bytes, ...]

    @property
    def data(self) -> bytes:
        return b"".join(self.strings)

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(each.decode() for each in self.strings)


def read(path: Path) -> list[Call]:
    """The calls that succeeded, by the moment at which they began."""
    return sorted(_calls(path.read_text().splitlines()), key=lambda call: call.begin)


def _calls(lines: Iterable[str]) -> Iterator[Call]:
    open_: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(lines):
        match = _LINE.match(line)
        if match is None:
            continue
        pid, text = match.groups()
        begin = number
        resumed = _RESUMED.match(text)
        if resumed is not None:
            begin, start = open_.pop(pid)
            text = start + resumed[2]
        elif text.endswith(_UNFINISHED):
            open_[pid] = (number, text.removesuffix(_UNFINISHED))
            continue
        call = _CALL.match(text)
        if call is None or call[3] == "-1":
            continue
        descriptor = _DESCRIPTOR.match(call[2])
        strings = tuple(bytes.fromhex(each.replace("\\x", "")) for each in _STRING.findall(call[2]))
        target = "" if descriptor is None else descriptor[2]
        yield Call(begin, number, call[1], _OCTETS.sub(_text, target), strings)


def _text(octets: re.Match[str]) -> str:
    return bytes.fromhex(octets[0].replace("\\x", "")).decode()
