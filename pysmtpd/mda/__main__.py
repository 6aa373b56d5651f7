"""What a wrapper runs in the place of C{%{mda}} where the action's method is no command: it stores its standard input, and ends with a
code of sysexits(3).

    python -m pysmtpd.mda maildir PATH NAME [BENEATH [FOLDER [make]]]
    python -m pysmtpd.mda mbox PATH FROM-LINE
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from pysmtpd.mda.writers import openWriter
from pysmtpd.model.task import MaildirTask, MboxTask
from pysmtpd.platform.commands import Commands
from pysmtpd.platform.files import RealFiles

if TYPE_CHECKING:
    from pysmtpd.interfaces import IDisk, IProcesses

_OK, _USAGE, _TEMPFAIL = 0, 64, 75
_READ = 262_144


def main(words: Sequence[str], standardInput: int = 0) -> int:
    """
    @return: the exit code.
    """
    task = _task(words)
    if task is None:
        print("usage: maildir PATH NAME [BENEATH [FOLDER [make]]] | mbox PATH FROM-LINE", file=sys.stderr)
        return _USAGE
    os.umask(0o077)
    try:
        home = os.environ.get("HOME", "/")
        writer = openWriter(cast("IDisk", RealFiles()), cast("IProcesses", Commands()), home, task)
        while octets := os.read(standardInput, _READ):
            writer.write(octets)
        writer.finish()
    except OSError as error:
        print(f"{error.filename or task.path}: {error.strerror or error}", file=sys.stderr)
        return _TEMPFAIL
    return _OK


def _task(words: Sequence[str]) -> MaildirTask | MboxTask | None:
    match words:
        case ["maildir", path, name, *more] if len(more) <= 3:
            beneath, folder, make = (*more, "", "", "")[:3]
            return MaildirTask(path, name, b"", beneath, folder, make == "make")
        case ["mbox", path, fromLine]:
            return MboxTask(path, fromLine)
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
