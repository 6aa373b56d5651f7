"""How an event becomes a line of a log: worked out once for each class of event."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from enum import Enum
from operator import attrgetter
from typing import Any, get_type_hints

from pysmtpd.model.events import (
    ConnectionAuthenticated,
    ConnectionClosed,
    ConnectionGreeted,
    ConnectionIdentified,
    ConnectionOpened,
    ConnectionTls,
    Event,
    InternalError,
    SessionConnected,
    SessionDisconnected,
    SessionTls,
)
from pysmtpd.model.ids import EnvelopeId, MessageId, SessionId, formatSessionId

DETAILS: frozenset[type[Event]] = frozenset(
    {
        *(SessionConnected, SessionTls, SessionDisconnected),
        *(ConnectionOpened, ConnectionTls, ConnectionGreeted, ConnectionIdentified, ConnectionAuthenticated),
        ConnectionClosed,
    }
)
"""What a brief log leaves out: how connections came and went, where nothing failed."""

NO_SESSION = formatSessionId(SessionId(0))


class Kind(Enum):
    """What a field holds, which decides how it is written."""

    ROOM = "room"
    SESSION = "session"
    MESSAGE = "message"
    ENVELOPE = "envelope"
    PATH = "path"
    PHRASE = "phrase"
    TEXT = "text"
    FLAG = "flag"
    COUNT = "count"
    SECONDS = "seconds"
    DELAY = "delay"


# Where the mail log's word for a field is not the event's.
_KEYS = {"sender": "from"}

# Text with a form of its own, by the name of its field.
_FORMS = {
    "agent": Kind.ROOM,
    "sender": Kind.PATH,
    "to": Kind.PATH,
    "rcpt": Kind.PATH,
    "source": Kind.PHRASE,
    "relay": Kind.PHRASE,
    "result": Kind.PHRASE,
    "stat": Kind.PHRASE,
    "via": Kind.PHRASE,
    "command": Kind.PHRASE,
    "delay": Kind.DELAY,
}

_TYPES: Mapping[Any, Kind] = {
    SessionId: Kind.SESSION,
    MessageId: Kind.MESSAGE,
    EnvelopeId: Kind.ENVELOPE,
    str: Kind.TEXT,
    bool: Kind.FLAG,
    int: Kind.COUNT,
    float: Kind.SECONDS,
}


@dataclass(frozen=True, slots=True)
class Column:
    """
    @ivar attribute: the event's field.
    @ivar key: what the log calls it.
    """

    attribute: str
    key: str
    kind: Kind


# How a value is written: by a conversion of C{%}, which costs no call, or by a function.
Render = str | Callable[[Any], str]
Line = Callable[[Event], str]


def columns(event: type[Event]) -> tuple[Sequence[Column], Column, Sequence[Column]]:
    """What C{event} tells: its session if it has one, its room, and the rest in the order of its fields.

    @raise KeyError: a field of a type that no log can write.
    """
    hints = get_type_hints(event)
    found = [
        Column(field.name, _KEYS.get(field.name, field.name), _FORMS.get(field.name) or _TYPES[hints[field.name]])
        for field in fields(event)
    ]
    session = [column for column in found if column.kind is Kind.SESSION][:1]
    room = next((column for column in found if column.kind is Kind.ROOM), Column("room", "room", Kind.ROOM))
    return session, room, [column for column in found if column not in session and column is not room]


def bind(template: str, order: Sequence[Column], renders: Mapping[Kind, Render]) -> Line:
    """A function that fills C{template}, with a C{%s} for each column.

    @param order: at least two.
    """
    values = attrgetter(*(column.attribute for column in order))
    conversions: list[str] = []
    calls: list[tuple[int, Callable[[Any], str]]] = []
    for index, column in enumerate(order):
        render = renders[column.kind]
        if isinstance(render, str):
            conversions.append(render)
        else:
            conversions.append("%s")
            calls.append((index, render))
    form = template % tuple(conversions)

    def line(event: Event) -> str:
        row = list(values(event))
        for index, render in calls:
            row[index] = render(row[index])
        return form % tuple(row)

    return line


class EventLog:
    """An observer for the bus: writes a line for each event.

    @ivar verbose: whether L{DETAILS} are written; may be changed at any time.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        verbose: bool,
        compile: Callable[[type[Event]], Line],
        finish: Callable[[float, str], str],
    ) -> None:
        """
        @param write: takes a whole line with its newline; must not block.
        @param finish: makes a whole line of the time and what C{compile}'s function gave.
        """
        self.verbose = verbose
        self._write = write
        self._compile = compile
        self._finish = finish
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
            line = self._lines[kind] = self._compile(kind)
        try:
            text = line(event)
        except (TypeError, ValueError, AttributeError) as error:
            # A value of a wrong type is a fault of ours in one room; the log goes on, for the others' sake.
            text = self._compile(InternalError)(InternalError(f"log {kind.__name__}", str(error)))
        self._write(self._finish(when, text))


class Stamp:
    """Wall-clock seconds as C{2026-11-20T16:06:01.250Z}; keeps the part that changes once a second."""

    __slots__ = ("_second", "_text")

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def __call__(self, when: float) -> str:
        """
        @param when: seconds since the epoch.
        """
        second = int(when)
        if second != self._second:
            self._text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
            self._second = second
        return f"{self._text}.{int((when - second) * 1000):03d}Z"
