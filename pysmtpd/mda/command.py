"""A letter for a command. Everything here blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pysmtpd.mda.spooled import Spooled

if TYPE_CHECKING:
    from pysmtpd.interfaces import IDisk, IProcesses
    from pysmtpd.model.task import CommandTask, Exit


class CommandWriter:
    """One letter for one command, which is started when the letter is complete: none ever sees a part and takes it for the whole."""

    def __init__(self, disk: IDisk, processes: IProcesses, task: CommandTask) -> None:
        """
        @raise OSError: it cannot be begun.
        """
        self._processes = processes
        self._task = task
        self._spooled = Spooled(disk)
        self._spooled.write(task.prefix)

    def write(self, part: bytes) -> None:
        """
        @raise OSError:
        """
        self._spooled.write(part)

    def finish(self) -> Exit:
        """Run it.

        @return: how it ended.
        @raise OSError: it was not started.
        """
        task = self._task
        try:
            self._spooled.end()
            return self._processes.command(task.argv, task.environment, task.directory, self._spooled.file, task.limit)
        finally:
            self._spooled.close()

    def abort(self) -> None:
        """It comes to nothing."""
        self._spooled.close()
