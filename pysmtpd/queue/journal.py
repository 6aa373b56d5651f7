"""SQLite's journal, looked at before SQLite replays it.

After a crash SQLite replays its write-ahead log up to the first frame that is not in order, and takes that for the end. After a power cut
it is: what follows was never synced. But where a disk has lost a bit of what was synced, commits stand behind that frame which were
acknowledged, and SQLite drops them without a word. So the log is read here first (U{https://sqlite.org/fileformat2.html#the_write_ahead_log}).
Each frame's checksum goes on from that of the frame before, which is stored: so a frame behind a bad one can still be told to be whole.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from pysmtpd.interfaces.platform import IFile

_MAGIC = 0x377F0682
_HEADER = struct.Struct(">8I")
_FRAME = struct.Struct(">6I")
_SUMMED = 24
"""Octets of the header that its checksum is of."""

_MASK = 0xFFFFFFFF
_PAGES = (512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)
_USUAL_PAGE = 4096
_READ_FRAMES = 128


@dataclass(frozen=True, slots=True)
class Break:
    """Where the replay will end, although the log goes on.

    @ivar name: tells this log from others.
    @ivar frame: the first bad one; -1: the log's header is bad, and nothing is replayed.
    @ivar commits: transactions that end behind it, as far as can be seen.
    @ivar isCertain: they were synced, so acknowledged. If not, the break is in the last transaction of the log: a power cut may have torn
        it while it was written, before anybody was told.
    """

    name: str
    frame: int
    commits: int
    isCertain: bool


@dataclass(slots=True)
class _Frame:
    """
    @ivar isOurs: it is of this generation of the log: frames of earlier ones, which are not overwritten yet, have other salts.
    @ivar isCommit: a transaction ends with it.
    @ivar isWhole: it fits the checksum that is stored in the frame before.
    @ivar fits: it fits all that is before, so it will be replayed.
    """

    isOurs: bool
    isCommit: bool
    isWhole: bool
    fits: bool


def findBreak(file: IFile) -> Break | None:
    """
    @return: None for a log that will be replayed as far as it was acknowledged.
    @raise OSError: it cannot be read.
    """
    header = file.readAt(0, _HEADER.size)
    if len(header) < _HEADER.size:
        return None
    magic, _, page, _, salt, otherSalt, first, second = _HEADER.unpack(header)
    order = ">" if magic & 1 else "<"
    isRead = magic & ~1 == _MAGIC and page in _PAGES
    isRead = isRead and _checksum(order, header[:_SUMMED], 0, 0) == (first, second)
    if not isRead:
        # It may be the salts that are bad: those of the first frame will do. The byte order is this machine's, or was when it was written.
        page = _USUAL_PAGE
        found = file.readAt(_HEADER.size, _FRAME.size)
        if len(found) < _FRAME.size:
            return None
        _, _, salt, otherSalt, _, _ = _FRAME.unpack(found)
        order = "<"
    broken: int | None = None if isRead else -1
    # The end of the first transaction that is lost, and what stands behind it.
    lost = -1
    commits = 0
    isCertain = False
    isWhole = isRead
    for index, frame in enumerate(_frames(file, page, order, (salt, otherSalt), (first, second))):
        if broken is None:
            if frame.fits:
                continue
            broken = index
        if not frame.isOurs:
            continue
        isWhole = isWhole or frame.isWhole
        if frame.isWhole and lost >= 0:
            # It was written after that transaction had been synced.
            isCertain = True
        if frame.isCommit:
            commits += 1
            if lost < 0:
                lost = index
    if broken is None or lost < 0 or not isWhole:
        return None
    return Break(f"journal-{salt:08x}{otherSalt:08x}", broken, commits, isCertain or not isRead)


def _frames(file: IFile, page: int, order: str, salts: tuple[int, int], before: tuple[int, int]) -> Iterator[_Frame]:
    size = _FRAME.size + page
    offset = _HEADER.size
    fits = True
    while True:
        data = file.readAt(offset, size * _READ_FRAMES)
        whole = len(data) // size
        for start in range(0, whole * size, size):
            number, mark, salt, otherSalt, first, second = _FRAME.unpack_from(data, start)
            # Another generation differs in both. Where one is right, the other was damaged.
            isOurs = salt == salts[0] or otherSalt == salts[1]
            isWhole = False
            if isOurs:
                summed = _checksum(order, data[start : start + 8], *before)
                summed = _checksum(order, data[start + _FRAME.size : start + size], *summed)
                isWhole = number != 0 and (salt, otherSalt) == salts and summed == (first, second)
            fits = fits and isWhole
            yield _Frame(isOurs, isOurs and mark != 0, isWhole, fits)
            before = (first, second)
        if whole < _READ_FRAMES:
            return
        offset += whole * size


def _checksum(order: str, data: bytes, first: int, second: int) -> tuple[int, int]:
    """Of a whole number of 8 octets, going on from another."""
    words = iter(struct.unpack(f"{order}{len(data) // 4}I", data))
    for one, other in zip(words, words, strict=True):
        first = first + one + second & _MASK
        second = second + other + first & _MASK
    return first, second
