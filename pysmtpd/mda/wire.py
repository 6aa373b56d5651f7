"""What the daemon and a delivery host say to each other over their socket: structs, lengths first.

The daemon sends letters with what is to be done with them, small ones whole, large ones piece by piece, each piece after the last one was
answered. Every letter is answered once it is durable, or its command has ended, or it has failed.
"""

from __future__ import annotations

import json
from enum import IntEnum
from struct import Struct
from typing import Any, NamedTuple

from pysmtpd.model.task import CommandTask, Exit, MaildirTask, MboxTask, Task

# Letter, kind, octets of the task, of the prefix, of content.
_FRAME = Struct("!IBIII")
# Letter, status, errno, octets of text.
_ANSWER = Struct("!IBHH")

MAX_CONTENT = 1_048_576
MAX_TASK = 65_536
MAX_TEXT = 8192

_METHODS: dict[type[Any], str] = {MaildirTask: "maildir", MboxTask: "mbox", CommandTask: "command"}


class Kind(IntEnum):
    """
    @cvar WHOLE: a letter with all its content.
    @cvar BEGIN: a letter whose content goes on; answered by NEXT, as PIECE is.
    @cvar END: it is complete.
    @cvar ABORT: it comes to nothing; not answered.
    @cvar STOP: end all commands, and start no more; not answered.
    """

    WHOLE = 1
    BEGIN = 2
    PIECE = 3
    END = 4
    ABORT = 5
    STOP = 6


class Status(IntEnum):
    STORED = 1
    NEXT = 2
    FAILED = 3
    EXITED = 4


class Frame(NamedTuple):
    """
    @ivar task: in WHOLE and BEGIN.
    """

    letter: int
    kind: Kind
    task: Task | None = None
    content: bytes = b""


class Answer(NamedTuple):
    """
    @ivar code: the errno of what has FAILED.
    @ivar text: where it is STORED, or why it has FAILED, or how the command has EXITED (see L{asExit}).
    """

    letter: int
    status: Status
    code: int = 0
    text: str = ""


def packFrame(frame: Frame) -> bytes:
    """
    @raise ValueError: a part of it is too long.
    """
    task = _packTask(frame.task) if frame.task is not None else b""
    prefix = frame.task.prefix if frame.task is not None else b""
    if len(task) > MAX_TASK or len(prefix) > MAX_TASK or len(frame.content) > MAX_CONTENT:
        raise ValueError("the frame is too long")
    head = _FRAME.pack(frame.letter, frame.kind, len(task), len(prefix), len(frame.content))
    return b"".join((head, task, prefix, frame.content))


def packAnswer(answer: Answer) -> bytes:
    """Text that is too long is cut."""
    text = answer.text.encode("utf-8", "surrogateescape")[:MAX_TEXT]
    return _ANSWER.pack(answer.letter, answer.status, answer.code & 0xFFFF, len(text)) + text


def takeFrames(buffer: bytearray) -> list[Frame]:
    """Take what is complete off the buffer's front.

    @raise ValueError: this is no frame.
    """
    frames = []
    at = 0
    while len(buffer) - at >= _FRAME.size:
        letter, kind, task, prefix, content = _FRAME.unpack_from(buffer, at)
        if task > MAX_TASK or prefix > MAX_TASK or content > MAX_CONTENT:
            raise ValueError("the frame is too long")
        kind = Kind(kind)
        start = at + _FRAME.size
        end = start + task + prefix + content
        if len(buffer) < end:
            break
        middle = start + task + prefix
        told = _unpackTask(bytes(buffer[start : start + task]), bytes(buffer[start + task : middle])) if task else None
        if (told is None) == (kind in (Kind.WHOLE, Kind.BEGIN)):
            raise ValueError("a frame with the wrong parts")
        frames.append(Frame(letter, kind, told, bytes(buffer[middle:end])))
        at = end
    del buffer[:at]
    return frames


def takeAnswers(buffer: bytearray) -> list[Answer]:
    """Take what is complete off the buffer's front.

    @raise ValueError: this is no answer.
    """
    answers = []
    at = 0
    while len(buffer) - at >= _ANSWER.size:
        letter, status, code, text = _ANSWER.unpack_from(buffer, at)
        if text > MAX_TEXT:
            raise ValueError("the answer is too long")
        start = at + _ANSWER.size
        if len(buffer) < start + text:
            break
        told = buffer[start : start + text].decode("utf-8", "surrogateescape")
        answers.append(Answer(letter, Status(status), code, told))
        at = start + text
    del buffer[:at]
    return answers


def exited(letter: int, exit: Exit) -> Answer:
    """The answer that tells how a command has ended."""
    return Answer(letter, Status.EXITED, 0, json.dumps(exit))


def asExit(answer: Answer) -> Exit:
    """
    @raise ValueError: it does not tell how a command has ended.
    """
    told = json.loads(answer.text)
    if not isinstance(told, list) or [type(each) for each in told] != [int, int, bool, str, str]:
        raise ValueError("the end of no command")
    return Exit(*told)


def _packTask(task: Task) -> bytes:
    values: dict[str, object] = {"method": _METHODS[type(task)]}
    if isinstance(task, MaildirTask):
        values |= {"path": task.path, "name": task.name}
        if task.beneath:
            values["beneath"] = task.beneath
        if task.folder:
            values |= {"folder": task.folder, "isFolderMade": task.isFolderMade}
    elif isinstance(task, MboxTask):
        values |= {"path": task.path, "fromLine": task.fromLine, "isSystem": task.isSystem}
    else:
        values |= {"argv": task.argv, "environment": dict(task.environment), "directory": task.directory}
        values["limit"] = task.limit
    return json.dumps(values).encode("ascii")


def _unpackTask(octets: bytes, prefix: bytes) -> Task:
    """
    @raise ValueError: this is none.
    """
    try:
        values = json.loads(octets)
        method = values.pop("method")
        if method == "maildir":
            return MaildirTask(**values, prefix=prefix)
        if method == "mbox":
            return MboxTask(**values, prefix=prefix)
        if method == "command":
            return CommandTask(**(values | {"argv": tuple(values["argv"])}), prefix=prefix)
    except (AttributeError, KeyError, TypeError, RecursionError) as error:
        raise ValueError("no task") from error
    raise ValueError("no task")
