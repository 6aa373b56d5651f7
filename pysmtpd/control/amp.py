"""The schema as AMP commands."""

from __future__ import annotations

import json
from typing import Any

from twisted.protocols import amp

from pysmtpd.control.schema import COMMANDS, ERRORS


class NoSuchItemError(Exception):
    """NO_SUCH_ITEM"""


class BadArgument(Exception):
    """BAD_ARGUMENT"""


class Unavailable(Exception):
    """UNAVAILABLE"""


_EXCEPTIONS: dict[str, type[Exception]] = {
    "NO_SUCH_ITEM": NoSuchItemError,
    "BAD_ARGUMENT": BadArgument,
    "UNAVAILABLE": Unavailable,
}


class Json(amp.Argument):
    """One JSON value."""

    def toString(self, inObject: Any) -> bytes:
        return json.dumps(inObject, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogateescape")

    def fromString(self, inString: bytes) -> Any:
        return json.loads(inString)


_TYPES: dict[str, type[amp.Argument]] = {
    "text": amp.Unicode,
    "integer": amp.Integer,
    "boolean": amp.Boolean,
    "octets": amp.String,
    "json": Json,
}


def _make(name: str) -> type[amp.Command]:
    command = COMMANDS[name]
    fields = {
        "__doc__": command.doc,
        "commandName": name.encode(),
        "arguments": [(key.encode(), _TYPES[kind]()) for key, kind in command.arguments],
        "response": [(key.encode(), _TYPES[kind]()) for key, kind in command.response],
        "errors": {_EXCEPTIONS[code]: code.encode() for code in ERRORS},
    }
    metaclass: Any = type(amp.Command)
    made: type[amp.Command] = metaclass(name, (amp.Command,), fields)
    return made


AMP_COMMANDS: dict[str, type[amp.Command]] = {name: _make(name) for name in COMMANDS}
