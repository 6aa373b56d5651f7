"""The mail log: one line for each event, C{key=value}, in OpenSMTPD's words.

No value can forge another field or another line: what is not plain stands in quotes, and what could end the quotes or the line is
escaped with a backslash.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache

from pysmtpd.model.events import Event
from pysmtpd.report.line import NO_SESSION, EventLog, Kind, Line, Render, Stamp, bind, columns

KEPT = 1024
"""Values whose written form is kept: names of listeners, actions and rules, and addresses, come again and again."""

_isPlain = re.compile(r"[A-Za-z0-9_.:;/@+,*!?~\[\]()-]+\Z").match
_isPlainPath = re.compile(r"[!#-;=?-\[\]-~]*\Z").match


class MailLog(EventLog):
    """Writes C{key=value} lines."""

    def __init__(self, write: Callable[[str], None], verbose: bool = True, stamped: bool = True) -> None:
        """
        @param write: takes a whole line with its newline; must not block.
        @param stamped: begin each line with the time (UTC); not needed where journald or syslog does it.
        """
        stamp = Stamp()
        super().__init__(
            write,
            verbose,
            compileText,
            (lambda when, text: f"{stamp(when)} {text}\n") if stamped else (lambda when, text: f"{text}\n"),
        )


def compileText(kind: type[Event]) -> Line:
    """A function that gives the line of an event of this class, without time and newline."""
    session, room, rest = columns(kind)
    head = "%s" if session else NO_SESSION
    template = f"{head} %s {kind.word}" + "".join(f" {column.key}=%s" for column in rest)
    return bind(template, (*session, room, *rest), _RENDERS)


def quoted(value: str) -> str:
    """C{value} in double quotes. Quotes and backslashes get a backslash, what is not printable becomes an escape."""
    if value.isprintable():
        if '"' not in value and "\\" not in value:
            return f'"{value}"'
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return '"' + "".join([_escaped(character, '"\\') for character in value]) + '"'


@lru_cache(KEPT)
def plain(value: str) -> str:
    """C{value} as it is if that cannot be misread, else L{quoted}."""
    return value if _isPlain(value) else quoted(value)


@lru_cache(KEPT)
def bracketed(value: str) -> str:
    """A path between angle brackets; a blank or a bracket inside becomes an escape."""
    if _isPlainPath(value):
        return f"<{value}>"
    return "<" + "".join([_escaped(character, '"\\', " <>") for character in value]) + ">"


def duration(seconds: float) -> str:
    """Whole seconds as C{1d2h3m4s}, without the parts that are zero; less than one second is C{0s}."""
    rest = max(0, int(seconds))
    if rest < 60:
        return f"{rest}s"
    text = ""
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count:
            text += f"{count}{unit}"
    return text


def _escaped(character: str, backslashed: str, hexed: str = "") -> str:
    if character in backslashed:
        return "\\" + character
    if character.isprintable() and character not in hexed:
        return character
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


_RENDERS: Mapping[Kind, Render] = {
    Kind.ROOM: plain,
    Kind.SESSION: "%016x",
    Kind.MESSAGE: "%016x",
    Kind.ENVELOPE: "%024x",
    Kind.PATH: bracketed,
    Kind.PHRASE: quoted,
    Kind.TEXT: plain,
    Kind.FLAG: lambda value: "yes" if value else "no",
    Kind.COUNT: "%d",
    Kind.SECONDS: "%.3f",
    Kind.DELAY: duration,
}
