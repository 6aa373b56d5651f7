"""What of a SQLite queue is kept for people to look at, when its journal turns out to be damaged.

Each such journal has a directory C{aside/journal-NAME}: the journal, the database as it was before the replay where that is known to lack
commits, the content files that nothing names any more, and C{reason}.
"""

from __future__ import annotations

from collections.abc import Sequence

from pysmtpd.interfaces.platform import IDisk
from pysmtpd.interfaces.queue import SetAside
from pysmtpd.queue.journal import Break, findBreak
from pysmtpd.queue.spool import isThere, makeDurableDirectory, writeDurably

ASIDE = "aside"
REASON = "reason"

_CHUNK = 1 << 20
_REASON_OCTETS = 4096


def inspect(disk: IDisk, place: str, database: str) -> Break | None:
    """Will the replay of the database's journal lose anything? Reads the journal, if there is one, once.

    @raise OSError:
    """
    path = f"{place}/{database}-wal"
    if not isThere(disk, path):
        return None
    file = disk.open(path)
    try:
        return findBreak(file)
    finally:
        file.close()


def keep(disk: IDisk, place: str, database: str, found: Break) -> SetAside:
    """Copy aside, durably, before SQLite opens them. Done once for each journal, however often the start is tried.

    @raise OSError: there is no room, for one; then nothing may be opened.
    """
    directory = f"{place}/{ASIDE}/{found.name}"
    aside = SetAside(f"{ASIDE}/{found.name}", _words(found, directory, database))
    if isThere(disk, f"{directory}/{REASON}"):
        return aside
    makeDurableDirectory(disk, directory)
    for name in (f"{database}-wal", *((database,) if found.isCertain else ())):
        _copy(disk, f"{place}/{name}", f"{directory}/{name}")
    # It is there, so all is.
    writeDurably(disk, f"{directory}/{REASON}.tmp", f"{directory}/{REASON}", aside.reason.encode("utf-8", "replace"))
    disk.syncDirectory(directory)
    return aside


def moveBodies(disk: IDisk, bodies: str, names: Sequence[str], aside: str) -> None:
    """Content that may belong to what was lost. Durable on return."""
    target = f"{aside}/bodies"
    makeDurableDirectory(disk, target)
    for name in names:
        disk.rename(f"{bodies}/{name}", f"{target}/{name}")
    # Should the old names come back after a power cut, they are other names of the same.
    disk.syncDirectory(target)


def kept(disk: IDisk, place: str) -> tuple[SetAside, ...]:
    """What is there from this start or earlier ones, until somebody removes it."""
    found: list[SetAside] = []
    directory = f"{place}/{ASIDE}"
    if not isThere(disk, directory):
        return ()
    for name in disk.listDirectory(directory):
        path = f"{directory}/{name}/{REASON}"
        if name.startswith("journal-") and isThere(disk, path):
            file = disk.open(path)
            try:
                found.append(SetAside(f"{ASIDE}/{name}", file.read(_REASON_OCTETS).decode("utf-8", "replace")))
            finally:
                file.close()
    return tuple(found)


def _words(found: Break, directory: str, database: str) -> str:
    where = "its header" if found.frame < 0 else f"frame {found.frame}"
    commits = f"{found.commits} commit{'' if found.commits == 1 else 's'}"
    if found.isCertain:
        what = f"{commits} behind it had been acknowledged and cannot be replayed: mail was lost from the queue"
        there = f"{database}, its journal"
    else:
        what = (
            "it is in the last commit, which a power cut may have torn before it was acknowledged; "
            "if the power did not fail, mail was lost from the queue"
        )
        there = "the journal"
    return (
        f"the journal of {database} is damaged in {where}; {what}. Look at the disk. In {directory} are {there} and the content "
        "that nothing in the queue names now; the mail log says what was accepted last. Remove that directory when it is of no more use"
    )


def _copy(disk: IDisk, source: str, target: str) -> None:
    if isThere(disk, target):
        disk.unlink(target)
    origin = disk.open(source)
    try:
        copy = disk.create(target)
        try:
            while chunk := origin.read(_CHUNK):
                copy.write(chunk)
            copy.sync()
        finally:
            copy.close()
    finally:
        origin.close()
