"""The mail log as JSON: one object a line, with the keys of the text log.

    {"time":"2026-11-20T16:06:01.250Z","session":"00000000000004d2","room":"smtp","word":"message","msgid":"...","from":"a@example.org",...}

Ids are text, times and delays numbers of seconds. Lines are pure ASCII.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from json import dumps

from pysmtpd.model.events import Event
from pysmtpd.model.ids import formatEnvelopeId, formatMessageId, formatSessionId
from pysmtpd.report.line import Column, Kind, Line, Render, Stamp, bind, columns
from pysmtpd.report.maillog import DETAILS, NO_SESSION


class JsonLog:
    """An observer for the bus: writes each event as a line of JSON.

    @ivar verbose: whether L{DETAILS} are written; may be changed at any time.
    """

    def __init__(self, write: Callable[[str], None], verbose: bool = True) -> None:
        """
        @param write: takes a whole line with its newline; must not block.
        """
        self.verbose = verbose
        self._write = write
        self._stamp = Stamp()
        self._lines: dict[type[Event], Line] = {}

    def __call__(self, when: float, event: Event) -> None:
        """Write C{event} down.

        @param when: seconds since the epoch.
        """
        kind = type(event)
        if not self.verbose and kind in DETAILS:
            return
        line = self._lines.get(kind)
        if line is None:
            line = self._lines[kind] = compileJson(kind)
        try:
            text = line(event)
        except (TypeError, ValueError, AttributeError) as error:
            # A value of a wrong type is a fault of ours in one room; the log goes on, for the others' sake.
            text = _object(
                session=NO_SESSION,
                room="daemon",
                word="internal-error",
                doing=f"log {kind.__name__}",
                error=str(error),
            )
        self._write(f'{{"time":"{self._stamp(when)}",{text}}}\n')


def compileJson(kind: type[Event]) -> Line:
    """A function that gives the members of an event's object, without braces and time."""
    session = [column for column in columns(kind) if column.kind is Kind.SESSION][:1]
    room = [column for column in columns(kind) if column.kind is Kind.ROOM][:1] or [Column("room", "room", Kind.ROOM)]
    rest = [column for column in columns(kind) if column not in session and column not in room]
    head = '"session":%s,' if session else f'"session":"{NO_SESSION}",'
    template = f'{head}"room":%s,"word":"{kind.word}"' + "".join(f',"{column.key}":%s' for column in rest)
    order = [*session, *room, *rest]
    return bind(template, tuple(c.attribute for c in order), tuple(_RENDERS[c.kind] for c in order))


def _object(**members: str) -> str:
    return ",".join(f'"{key}":{dumps(value)}' for key, value in members.items())


def _text(value: str) -> str:
    # Most values need no escape; finding that out is cheaper than the encoder.
    if value.isascii() and value.isprintable() and '"' not in value and "\\" not in value:
        return f'"{value}"'
    return dumps(str(value))


_RENDERS: Mapping[Kind, Render] = {
    Kind.ROOM: _text,
    Kind.SESSION: lambda value: f'"{formatSessionId(value)}"',
    Kind.MESSAGE: lambda value: f'"{formatMessageId(value)}"',
    Kind.ENVELOPE: lambda value: f'"{formatEnvelopeId(value)}"',
    Kind.PATH: _text,
    Kind.PHRASE: _text,
    Kind.TEXT: _text,
    Kind.FLAG: lambda value: "true" if value else "false",
    Kind.COUNT: lambda value: f"{value:d}",
    Kind.SECONDS: lambda value: f"{value:.3f}",
    Kind.DELAY: lambda value: f"{value:.3f}",
}
