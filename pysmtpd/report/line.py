"""How an event becomes the fields of a log line: worked out once for each class of event."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from enum import Enum
from operator import attrgetter
from typing import Any, get_type_hints

from pysmtpd.model.events import Event
from pysmtpd.model.ids import EnvelopeId, MessageId, SessionId


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


Render = Callable[[Any], str]
Line = Callable[[Event], str]


def columns(event: type[Event]) -> tuple[Column, ...]:
    """What C{event} tells, in the order of its fields.

    @raise KeyError: a field of a type that no log can write.
    """
    hints = get_type_hints(event)
    return tuple(
        Column(field.name, _KEYS.get(field.name, field.name), _FORMS.get(field.name) or _TYPES[hints[field.name]])
        for field in fields(event)
    )


def bind(template: str, attributes: tuple[str, ...], renders: tuple[Render, ...]) -> Line:
    """A function that fills C{template}, with a C{%s} for each attribute.

    @param attributes: at least two.
    """
    values = attrgetter(*attributes)

    def line(event: Event) -> str:
        return template % tuple([render(value) for render, value in zip(renders, values(event), strict=True)])

    return line


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
