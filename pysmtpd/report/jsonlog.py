"""The mail log as JSON: one object a line, with the keys of the text log.

    {"time":"2026-11-20T16:06:01.250Z","session":"00000000000004d2","room":"smtp","word":"message","msgid":"...","from":"a@example.org",...}

Ids are text, times and delays numbers of seconds. Lines are pure ASCII.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from json import dumps

from pysmtpd.model.events import Event
from pysmtpd.report.line import NO_SESSION, EventLog, Kind, Line, Render, Stamp, bind, columns


class JsonLog(EventLog):
    """Writes lines of JSON."""

    def __init__(self, write: Callable[[str], None], verbose: bool = True) -> None:
        """
        @param write: takes a whole line with its newline; must not block.
        """
        stamp = Stamp()
        super().__init__(write, verbose, compileJson, lambda when, text: f'{{"time":"{stamp(when)}",{text}}}\n')


def compileJson(kind: type[Event]) -> Line:
    """A function that gives the members of an event's object, without braces and time."""
    session, room, rest = columns(kind)
    head = '"session":%s,' if session else f'"session":"{NO_SESSION}",'
    template = f'{head}"room":%s,"word":"{kind.word}"' + "".join(f',"{column.key}":%s' for column in rest)
    return bind(template, (*session, room, *rest), _RENDERS)


def _text(value: str) -> str:
    # Most values need no escape; finding that out is cheaper than the encoder.
    if value.isascii() and value.isprintable() and '"' not in value and "\\" not in value:
        return f'"{value}"'
    return dumps(str(value))


_RENDERS: Mapping[Kind, Render] = {
    Kind.ROOM: _text,
    Kind.SESSION: '"%016x"',
    Kind.MESSAGE: '"%016x"',
    Kind.ENVELOPE: '"%024x"',
    Kind.PATH: _text,
    Kind.PHRASE: _text,
    Kind.TEXT: _text,
    Kind.FLAG: lambda value: "true" if value else "false",
    Kind.COUNT: "%d",
    Kind.SECONDS: "%.3f",
    Kind.DELAY: "%.3f",
}
