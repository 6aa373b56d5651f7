"""Reads a table's file, a small piece at a time: between two pieces the reactor has its turn."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, TypeVar

from twisted.internet.defer import TimeoutError

from pysmtpd.interfaces.platform import IDisk, IFile, IPlatform
from pysmtpd.interfaces.routing import Service, TableError, TableUpdate
from pysmtpd.table.content import Builder, Content, Difference
from pysmtpd.table.syntax import Reader

PATIENCE = 30.0
"""Seconds that the source of a table may take for a step."""
MAX_SIZE = 1 << 30

# Octets of one piece: some milliseconds of work.
_PIECE = 32_768
# A guess that is on the safe side: more parts than needed cost little.
_OCTETS_OF_ENTRY = 16
_LARGE = 1 << 24

T = TypeVar("T")


class Reading:
    """One file being read. It lives in the lane."""

    def __init__(self, disk: IDisk, path: str, services: Collection[Service], users: Collection[int]) -> None:
        """
        @param users: who may have written what may name commands.
        """
        self._disk = disk
        self._path = path
        self._services = services
        self._users = users
        # A file of nothing but patterns is a list, whatever its first line looks like.
        self._reader = Reader(False if set(services) == {Service.REGEX} else None)
        self._size = 0
        self._file: IFile | None = None
        self._builder: Builder | None = None
        self.isTrusted = False

    def step(self) -> bool:
        """Read one piece.

        @return: there is more.
        @raise OSError:
        @raise ValueError: it is no table.
        """
        if self._file is None or self._builder is None:
            self._open()
            return True
        try:
            piece = self._file.read(_PIECE)
            self._size += len(piece)
            if self._size > MAX_SIZE:
                raise ValueError(f"it has more than {MAX_SIZE} octets")
            self._builder.add(self._reader.feed(piece) if piece else self._reader.finish())
        except BaseException:
            self._file.close()
            raise
        if not piece:
            self._file.close()
        return bool(piece)

    def _open(self) -> None:
        found = self._disk.stat(self._path)
        # How large it is behind a link is not told; parts that are not needed cost little.
        size = _LARGE if found.kind == "link" else found.size
        self._file = self._disk.open(self._path)
        self.isTrusted = self._disk.isWritableOnlyBy(self._file, self._path, self._users)
        self._builder = Builder(self._path, self._services, size // _OCTETS_OF_ENTRY)

    def finish(self) -> Content:
        """All was read."""
        assert self._builder is not None
        return Content.of(self._builder)


def laneOf(name: str) -> str:
    """Each table has a lane of its own: one whose file system hangs is in nobody else's way."""
    return f"table-{name}"


async def read(platform: IPlatform, name: str, path: str, services: Collection[Service]) -> tuple[Content, bool]:
    """
    @return: the content, and: may it name commands?
    @raise OSError:
    @raise ValueError: it is no table; the text names the line.
    @raise TableError: it takes too long.
    """
    users = (0, platform.users.me().uid)
    reading = Reading(platform.disk, path, services, users)
    await inSlices(platform, laneOf(name), reading.step)
    return await patiently(platform, laneOf(name), reading.finish), reading.isTrusted


async def compare(platform: IPlatform, name: str, old: Content | None, new: Content) -> TableUpdate:
    """What has changed."""
    difference = Difference(old, new)
    await inSlices(platform, laneOf(name), difference.step)
    return difference.result()


async def inSlices(platform: IPlatform, lane: str, step: Callable[[], bool]) -> None:
    """Call C{step} in the lane until it says that there is no more; the reactor has its turn after each call.

    @raise TableError: it takes too long.
    """
    while await patiently(platform, lane, step):
        pass


async def patiently(platform: IPlatform, lane: str, work: Callable[..., T], *values: Any) -> T:
    """Call C{work} in the lane.

    @raise TableError: nothing has come of it in time. It may still be under way.
    """
    try:
        return await platform.workers.run(lane, work, *values).addTimeout(PATIENCE, platform.clock)
    except TimeoutError:
        raise TableError(f"no answer within {PATIENCE:g} seconds") from None
