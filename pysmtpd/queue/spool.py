"""A directory that belongs to one backend of one daemon: its lock and its format."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pysmtpd.interfaces.platform import IDisk, IFile
from pysmtpd.interfaces.queue import SpoolBusy, SpoolError

LOCK = "queue.lock"
FORMAT = "queue.format"
FORMAT_VERSION = 1
"""Of backends that say nothing else."""

_FORMAT_LINE = re.compile(r"pysmtpd queue ([a-z]+) ([0-9]+)\n?\Z")
_FORMAT_OCTETS = 200


def placeOf(argument: str, spool: str, default: str) -> str:
    """The directory that a backend's argument means: relative ones lie in the spool, an empty one is C{default}."""
    chosen = argument or default
    if chosen.startswith("/"):
        return chosen
    return f"{spool}/{chosen}" if chosen else spool


def claim(disk: IDisk, directory: str, kind: str, traces: tuple[str, ...], newest: int = FORMAT_VERSION) -> IFile:
    """Take the directory: make it if it is missing, check its format, lock it. Runs in a lane.

    @param kind: the backend's name, as the format file has it.
    @param traces: names that show that a queue was here, even if the format file is missing.
    @param newest: the format that a new queue gets. Older ones are left as they are: see L{raiseFormat}.
    @return: the lock; close it to give the directory back.
    @raise SpoolError: it is locked, newer, or not ours; nothing was touched.
    """
    try:
        checkKinds(disk, directory, (LOCK, FORMAT, f"{FORMAT}.tmp"), ())
        isNew = _checkFormat(disk, directory, kind, traces, newest)
        if isNew:
            makeDurableDirectory(disk, directory)
        lock = _lock(disk, directory)
    except OSError as error:
        raise SpoolError(f"the queue in {directory} cannot be opened: {error}") from error
    try:
        # Another daemon may have been faster.
        if _checkFormat(disk, directory, kind, traces, newest):
            _writeFormat(disk, directory, kind, newest)
    except (OSError, SpoolError) as error:
        lock.close()
        raise SpoolError(f"the queue in {directory} cannot be opened: {error}") from error
    return lock


def _lock(disk: IDisk, directory: str) -> IFile:
    try:
        return disk.lock(f"{directory}/{LOCK}")
    except BlockingIOError as error:
        raise SpoolBusy(
            f"the queue in {directory} is in use by another daemon ({error}); stop that one first"
        ) from error


def _checkFormat(disk: IDisk, directory: str, kind: str, traces: tuple[str, ...], newest: int) -> bool:
    """Is there no queue yet?

    @raise SpoolError: there is one that we cannot use.
    """
    try:
        found, version = _readFormat(disk, directory)
    except FileNotFoundError:
        traced = [name for name in _names(disk, directory) if name in traces]
        if traced:
            raise SpoolError(
                f"{directory} holds {traced[0]} but no {FORMAT}: it is not a queue of ours, or was damaged"
            ) from None
        return True
    if found != kind:
        raise SpoolError(f"{directory} holds a queue of the {found} backend, not of {kind}")
    if version > newest:
        raise SpoolError(
            f"the queue in {directory} has format {version}, this release knows format {newest}: "
            "run the newer release again, or copy the queue with it"
        )
    return False


def _readFormat(disk: IDisk, directory: str) -> tuple[str, int]:
    """
    @return: the backend's name and the format's number.
    @raise FileNotFoundError: it has none.
    """
    path = f"{directory}/{FORMAT}"
    file = disk.open(path)
    try:
        text = file.readAt(0, _FORMAT_OCTETS).decode("ascii", "replace")
    finally:
        file.close()
    match = _FORMAT_LINE.match(text)
    if match is None:
        raise SpoolError(f"{path} is not a format file of ours: {text[:60]!r}")
    return match[1], int(match[2])


def raiseFormat(disk: IDisk, directory: str, kind: str, version: int) -> None:
    """If the claimed directory has an older one: from now on, durably, only releases that know this format may open it. Done before
    anything is written that older ones misread, and after all that would end the start without a change."""
    if _readFormat(disk, directory)[1] < version:
        _writeFormat(disk, directory, kind, version)


def _writeFormat(disk: IDisk, directory: str, kind: str, version: int) -> None:
    temporary = f"{directory}/{FORMAT}.tmp"
    writeDurably(disk, temporary, f"{directory}/{FORMAT}", f"pysmtpd queue {kind} {version}\n".encode())
    disk.syncDirectory(directory)


def checkKinds(disk: IDisk, directory: str, files: Sequence[str], directories: Sequence[str]) -> None:
    """What is there must be what it should be; what is missing is made later.

    @raise SpoolError: one is something else.
    """
    for names, kind in ((files, "file"), (directories, "directory")):
        for name in names:
            path = f"{directory}/{name}"
            # A link may lead to another disk.
            if isThere(disk, path) and (found := disk.stat(path).kind) not in (kind, "link"):
                raise SpoolError(f"{path} should be a {kind} of the queue, but is a {found}: move it away")


def makeDurableDirectory(disk: IDisk, path: str) -> None:
    """Make a directory, and those above it, so that they survive a power cut."""
    try:
        disk.stat(path)
    except FileNotFoundError:
        above = path.rpartition("/")[0]
        if above:
            makeDurableDirectory(disk, above)
        disk.makeDirectory(path)
        disk.syncDirectory(above or "/")


def writeDurably(disk: IDisk, temporary: str, path: str, data: bytes) -> None:
    """Replace C{path} by a file whose content is durable; its name is so after C{syncDirectory}."""
    removeIfThere(disk, temporary)
    file = disk.create(temporary)
    try:
        file.write(data)
        file.sync()
    finally:
        file.close()
    disk.rename(temporary, path)


def isThere(disk: IDisk, path: str) -> bool:
    """Is there something of this name?"""
    try:
        disk.stat(path)
    except FileNotFoundError:
        return False
    return True


def removeIfThere(disk: IDisk, path: str) -> bool:
    """Remove a file; False if there is none."""
    try:
        disk.unlink(path)
    except FileNotFoundError:
        return False
    return True


def _names(disk: IDisk, directory: str) -> list[str]:
    try:
        return disk.listDirectory(directory)
    except FileNotFoundError:
        return []
