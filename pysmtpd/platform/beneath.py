"""Files below a directory, in paths that addresses have a part in. No Twisted is loaded for it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from pysmtpd.platform.file import RealFile, syncDirectory

if TYPE_CHECKING:
    from pysmtpd.interfaces.platform import IFile

_WALK = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC


class FilesBeneath:
    """Files below a directory: whatever lies there, no path leads out of it.

    Every path is walked step by step, so no symbolic link is followed, whoever puts one there at what moment.
    """

    def __init__(self, root: str) -> None:
        self._root = root

    @contextmanager
    def _parent(self, path: str, makes: int | None = None) -> Iterator[tuple[int, str]]:
        """The open directory that a path's last step is in, and that step.

        @param makes: the mode of directories on the way that are not there; None: they must be.
        """
        root = self._root.rstrip("/")
        steps = path.removeprefix(root + "/").split("/")
        if not path.startswith(root + "/") or any(step in ("", ".", "..") for step in steps):
            raise OSError(errno.EINVAL, f"it does not lie below {self._root}", path)
        if makes is not None:
            os.makedirs(root or "/", makes, exist_ok=True)
        at = os.open(root or "/", _WALK)
        try:
            for step in steps[:-1]:
                if makes is not None:
                    self._make(at, step, makes)
                next = os.open(step, _WALK | os.O_NOFOLLOW, dir_fd=at)
                os.close(at)
                at = next
            yield at, steps[-1]
        finally:
            os.close(at)

    @staticmethod
    def _make(parent: int, name: str, mode: int) -> None:
        try:
            os.mkdir(name, mode, dir_fd=parent)
        except FileExistsError:
            # Whether it is a directory shows when it is opened.
            return

    def create(self, path: str, mode: int = 0o600) -> IFile:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOCTTY
        with self._parent(path) as (parent, name):
            return cast("IFile", RealFile(os.open(name, flags, mode, dir_fd=parent)))

    def syncDirectory(self, path: str) -> None:
        if not path.startswith(self._root.rstrip("/") + "/"):
            # Above, where the operator's links are followed.
            syncDirectory(path)
            return
        with self._parent(path) as (parent, name):
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(name, flags, dir_fd=parent)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, old: str, new: str) -> None:
        with self._parent(old) as (source, oldName), self._parent(new) as (target, newName):
            os.rename(oldName, newName, src_dir_fd=source, dst_dir_fd=target)

    def unlink(self, path: str) -> None:
        with self._parent(path) as (parent, name):
            os.unlink(name, dir_fd=parent)

    def makeDirectory(self, path: str, mode: int = 0o700) -> None:
        with self._parent(path, mode) as (parent, name):
            self._make(parent, name, mode)

    def isDirectory(self, path: str) -> bool:
        try:
            with self._parent(path) as (parent, name):
                return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False
