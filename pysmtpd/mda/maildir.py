"""Maildir on disk: tmp, sync, rename, sync of the directory. Everything here blocks: it runs in a lane, or in a delivery host.

A letter's file name is made from its envelope's id and is the same at every try: a delivery repeated after a crash replaces the file
that the first one left in C{new}, as long as no reader has moved it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pysmtpd.interfaces import IDisk, IFile

# Letters that should be stored with one sync of their directory.
BATCH = 16

_LASTING = ("cur", "new")


@dataclass(frozen=True, slots=True)
class Letter:
    """One message for one Maildir.

    @ivar directory: absolute path of the Maildir; made, with its folders, if it is not there.
    @ivar name: the file's name, unique for ever.
    @ivar parts: the content in canonical form; stored with LF line ends.
    @ivar disk: by what the directory is reached; None: by whatever stores the letter.
    """

    directory: str
    name: str
    parts: tuple[bytes, ...]
    disk: IDisk | None = None


def storeAll(disk: IDisk, letters: Sequence[Letter]) -> list[str | OSError]:
    """Store letters with one sync of each directory. The files' content is synced one by one.

    @return: for each letter the path where it durably lies, or what went wrong; one letter's trouble is not another's.
    """
    results: list[str | OSError] = []
    directories: dict[str, list[int]] = {}
    for number, letter in enumerate(letters):
        try:
            writer = LetterWriter(letter.disk or disk, letter.directory, letter.name)
            writer.writeAll(letter.parts)
            results.append(writer.moveIntoPlace())
            directories.setdefault(letter.directory, []).append(number)
        except OSError as error:
            results.append(error)
    for directory, numbers in directories.items():
        try:
            (letters[numbers[0]].disk or disk).syncDirectory(f"{directory}/new")
        except OSError as error:
            for number in numbers:
                results[number] = error
    return results


class LetterWriter:
    """One letter on its way into a Maildir; for content that comes in pieces, C{write} as often as needed, then C{finish}."""

    def __init__(self, disk: IDisk, directory: str, name: str) -> None:
        """
        @raise OSError: it cannot be begun; nothing was left behind.
        """
        self._disk = disk
        self._new = f"{directory}/new/{name}"
        self._tmp = f"{directory}/tmp/{name}"  # noqa: S108 - the Maildir's own tmp
        self._directory = directory
        self._endsWithCR = False
        self._file = self._create()

    def _create(self) -> IFile:
        try:
            return self._disk.create(self._tmp)
        except FileExistsError:
            # An earlier try of this same delivery ended here.
            self._disk.unlink(self._tmp)
        except FileNotFoundError:
            self._makeMaildir()
        return self._disk.create(self._tmp)

    def _makeMaildir(self) -> None:
        """Make the folders, C{tmp} last: where there is a C{tmp}, whoever made it has synced the rest, up to the root."""
        for folder in _LASTING:
            self._disk.makeDirectory(f"{self._directory}/{folder}")
        for depth in range(self._directory.count("/") + 1):
            path = self._directory.rsplit("/", depth)[0]
            try:
                self._disk.syncDirectory(path or "/")
            except PermissionError:
                # We may not read it: nothing in it was made by us.
                break
        self._disk.makeDirectory(f"{self._directory}/tmp")  # noqa: S108

    def writeAll(self, parts: Iterable[bytes]) -> None:
        """
        @raise OSError: the file in C{tmp} is gone again.
        """
        try:
            for part in parts:
                self._write(part)
            if self._endsWithCR:
                self._file.write(b"\r")
            self._file.sync()
        except OSError:
            self.abort()
            raise
        self._file.close()

    def write(self, part: bytes) -> None:
        """
        @raise OSError: the file in C{tmp} is gone again.
        """
        try:
            self._write(part)
        except OSError:
            self.abort()
            raise

    def _write(self, part: bytes) -> None:
        # CRLF may fall between two pieces.
        if self._endsWithCR:
            part = b"\r" + part
        self._endsWithCR = part.endswith(b"\r")
        if self._endsWithCR:
            part = part[:-1]
        self._file.write(part.replace(b"\r\n", b"\n"))

    def moveIntoPlace(self) -> str:
        """It is complete; durable once C{new} was synced.

        @return: its path.
        """
        try:
            self._disk.rename(self._tmp, self._new)
        except OSError:
            self.abort()
            raise
        return self._new

    def finish(self) -> str:
        """Sync it, move it into place, sync the directory.

        @return: its path; it lies there durably.
        """
        self.writeAll(())
        path = self.moveIntoPlace()
        self._disk.syncDirectory(f"{self._directory}/new")
        return path

    def abort(self) -> None:
        """Leave nothing in C{tmp}, as far as the disk lets us; a reader's clean-up takes what it does not."""
        self._file.close()
        try:
            self._disk.unlink(self._tmp)
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                return
