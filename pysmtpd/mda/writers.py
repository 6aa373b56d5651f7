"""Which writer does a task. Everything here blocks: it runs in a lane, or in a delivery host."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeAlias

from pysmtpd.mda.command import CommandWriter
from pysmtpd.mda.maildir import LetterWriter
from pysmtpd.mda.mbox import MboxWriter
from pysmtpd.model.task import MaildirTask, MboxTask

if TYPE_CHECKING:
    from pysmtpd.interfaces import IDisk, IProcesses
    from pysmtpd.model.task import Exit, Task

Writer: TypeAlias = LetterWriter | MboxWriter | CommandWriter


def openWriter(disk: IDisk, processes: IProcesses, home: str, task: Task) -> Writer:
    """
    @param home: what C{~} stands for.
    @return: it has the task's prefix, and is to have the content.
    @raise OSError: it cannot be begun.
    """
    if isinstance(task, MaildirTask):
        below, directory = maildirOf(disk, home, task)
        writer = LetterWriter(below, directory, task.name)
        writer.write(task.prefix)
        return writer
    if isinstance(task, MboxTask):
        return MboxWriter(disk, task, absolute(task.path, home))
    return CommandWriter(disk, processes, task)


def deliverWhole(disk: IDisk, processes: IProcesses, home: str, task: Task, parts: Iterable[bytes]) -> str | Exit:
    """
    @return: where the letter is, or how its command has ended.
    @raise OSError:
    """
    writer = openWriter(disk, processes, home, task)
    for part in parts:
        writer.write(part)
    return writer.finish()


def maildirOf(disk: IDisk, home: str, task: MaildirTask) -> tuple[IDisk, str]:
    """The directory that a letter goes to, and by what it is reached. Names are no paths, and paths lead down only, whoever sent them.

    @raise OSError: it cannot go there.
    """
    name = task.name
    if not name or name.startswith(".") or "/" in name or "\0" in name:
        raise OSError(errno.EINVAL, f"a letter is not named {name!r}")
    directory = absolute(task.path, home)
    if task.beneath:
        disk = disk.beneath(absolute(task.beneath, home))
    if task.folder:
        if "/" in task.folder or "\0" in task.folder or task.folder.startswith("."):
            raise OSError(errno.EINVAL, f"a folder is not named {task.folder!r}")
        folder = f"{directory}/.{task.folder}"
        if task.isFolderMade or disk.isDirectory(folder):
            directory = folder
    return disk, directory


def absolute(path: str, home: str) -> str:
    """
    @raise OSError: it is none that leads down.
    """
    found = f"{home}{path[1:]}" if path == "~" or path.startswith("~/") else path
    if not found.startswith("/") or ".." in found.split("/") or "\0" in found:
        raise OSError(errno.EINVAL, f"a path begins with a slash and leads down only, unlike {path!r}")
    return found.rstrip("/") or "/"
