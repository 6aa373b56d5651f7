"""What the daemon and a delivery host say to each other over their socket: structs, lengths first.

The daemon sends letters, small ones whole, large ones piece by piece, each piece after the last one was answered. Every letter is answered
once it is durable, or has failed.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import NamedTuple

# Letter, kind, octets of path, of name, of content.
_FRAME = Struct("!IBHHI")
# Letter, status, errno, octets of text.
_ANSWER = Struct("!IBHH")

MAX_CONTENT = 1_048_576
MAX_TEXT = 8192


class Kind(IntEnum):
    """
    @cvar WHOLE: a letter with all its content.
    @cvar BEGIN: a letter whose content goes on; answered by NEXT, as PIECE is.
    @cvar END: it is complete.
    @cvar ABORT: it comes to nothing; not answered.
    """

    WHOLE = 1
    BEGIN = 2
    PIECE = 3
    END = 4
    ABORT = 5


class Status(IntEnum):
    STORED = 1
    NEXT = 2
    FAILED = 3


class Frame(NamedTuple):
    """
    @ivar path: of the Maildir, absolute or below C{~/}; it and the name are empty but in WHOLE and BEGIN.
    """

    letter: int
    kind: Kind
    path: str = ""
    name: str = ""
    content: bytes = b""


class Answer(NamedTuple):
    """
    @ivar code: the errno of what has FAILED.
    @ivar text: where it is STORED, or why it has FAILED.
    """

    letter: int
    status: Status
    code: int = 0
    text: str = ""


def packFrame(frame: Frame) -> bytes:
    """
    @raise ValueError: a part of it is too long.
    """
    path, name = _encode(frame.path), _encode(frame.name)
    if len(path) > MAX_TEXT or len(name) > MAX_TEXT or len(frame.content) > MAX_CONTENT:
        raise ValueError("the frame is too long")
    head = _FRAME.pack(frame.letter, frame.kind, len(path), len(name), len(frame.content))
    return b"".join((head, path, name, frame.content))


def packAnswer(answer: Answer) -> bytes:
    """Text that is too long is cut."""
    text = _encode(answer.text)[:MAX_TEXT]
    return _ANSWER.pack(answer.letter, answer.status, answer.code & 0xFFFF, len(text)) + text


def takeFrames(buffer: bytearray) -> list[Frame]:
    """Take what is complete off the buffer's front.

    @raise ValueError: this is no frame.
    """
    frames = []
    at = 0
    while len(buffer) - at >= _FRAME.size:
        letter, kind, path, name, content = _FRAME.unpack_from(buffer, at)
        if path > MAX_TEXT or name > MAX_TEXT or content > MAX_CONTENT:
            raise ValueError("the frame is too long")
        kind = Kind(kind)
        start = at + _FRAME.size
        end = start + path + name + content
        if len(buffer) < end:
            break
        frames.append(
            Frame(
                letter,
                kind,
                _decode(buffer[start : start + path]),
                _decode(buffer[start + path : start + path + name]),
                bytes(buffer[end - content : end]),
            )
        )
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
        answers.append(Answer(letter, Status(status), code, _decode(buffer[start : start + text])))
        at = start + text
    del buffer[:at]
    return answers


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _decode(octets: bytearray) -> str:
    return octets.decode("utf-8", "surrogateescape")
