"""A blocking client of the control socket, with nothing but the standard library: C{pysmtpctl} must start fast.

An AMP box is a sequence of key and value, each behind its length in two octets; an empty key ends it.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator
from typing import Any

from pysmtpd.control.schema import COMMANDS

# Seconds for an answer. The daemon answers at once; a page of a large queue may wait for the disk.
TIMEOUT = 60.0

# Bounds of AMP.
_KEY_OCTETS = 255
_VALUE_OCTETS = 65_535


class ControlError(Exception):
    """The daemon answered with an error.

    @ivar code: one of L{pysmtpd.control.schema.ERRORS}, or C{UNKNOWN}.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Broken(ConnectionError):
    """The connection ended, or went silent, before the answer was whole. Not to be taken for an error of whoever reads what we print."""


def _encode(key: str, kind: str, value: Any) -> bytes:
    """
    @raise ControlError: it is nothing that could be sent.
    """
    try:
        octets = _octets(kind, value)
    except UnicodeEncodeError as error:
        raise ControlError("BAD_ARGUMENT", f"the {key} {value!r} is not UTF-8") from error
    if len(octets) > _VALUE_OCTETS:
        raise ControlError("BAD_ARGUMENT", f"the {key} is too long: {len(octets)} octets, of at most {_VALUE_OCTETS}")
    return octets


def _octets(kind: str, value: Any) -> bytes:
    if kind == "text":
        return str(value).encode()
    if kind == "integer":
        return b"%d" % value
    if kind == "boolean":
        return b"True" if value else b"False"
    if kind == "json":
        return json.dumps(value).encode()
    return bytes(value)


def _decode(kind: str, value: bytes) -> Any:
    if kind == "text":
        return value.decode()
    if kind == "integer":
        return int(value)
    if kind == "boolean":
        return value == b"True"
    if kind == "json":
        # Octets that no charset explains are kept as they are.
        return json.loads(value.decode("utf-8", "surrogateescape"))
    return value


def _frame(box: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join(struct.pack("!H", len(part)) + part for pair in box for part in pair) + b"\0\0"


class Client:
    """One connection; one call at a time."""

    def __init__(self, path: str) -> None:
        """
        @raise OSError: nobody listens there, or we may not connect.
        """
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(TIMEOUT)
        try:
            self._socket.connect(path)
        except OSError:
            self._socket.close()
            raise
        self._stream = self._socket.makefile("rb")
        self._tag = 0

    def close(self) -> None:
        self._stream.close()
        self._socket.close()

    def call(self, name: str, **arguments: Any) -> dict[str, Any]:
        """
        @raise ControlError: the daemon refused.
        @raise Broken: no whole answer came.
        """
        command = COMMANDS[name]
        self._tag += 1
        tag = b"%x" % self._tag
        box = [(b"_ask", tag), (b"_command", name.encode())]
        box += [(key.encode(), _encode(key, kind, arguments[key])) for key, kind in command.arguments]
        try:
            self._socket.sendall(_frame(box))
            answer = self._read()
        except Broken:
            raise
        except TimeoutError as error:
            raise Broken(f"the daemon has not answered within {TIMEOUT:g} seconds") from error
        except OSError as error:
            raise Broken(f"the daemon closed the connection: {error.strerror or error}") from error
        if b"_error_code" in answer:
            code = answer[b"_error_code"].decode()
            raise ControlError(code, answer.get(b"_error_description", b"").decode("utf-8", "replace"))
        return {key: _decode(kind, answer[key.encode()]) for key, kind in command.response}

    def rows(self, name: str) -> Iterator[Any]:
        """All rows of a paged list."""
        cursor = ""
        while True:
            answer = self.call(name, cursor=cursor)
            yield from answer["rows"]
            cursor = answer["cursor"]
            if not cursor:
                return

    def whole(self, name: str, **arguments: Any) -> Any:
        """The JSON value of an answer that comes in pieces."""
        data, cursor = b"", ""
        while True:
            answer = self.call(name, cursor=cursor, **arguments)
            data += answer["data"]
            cursor = answer["cursor"]
            if not cursor:
                return _decode("json", data)

    def _read(self) -> dict[bytes, bytes]:
        box: dict[bytes, bytes] = {}
        while key := self._part(_KEY_OCTETS):
            box[key] = self._part(_VALUE_OCTETS)
        return box

    def _part(self, most: int) -> bytes:
        length: int = struct.unpack("!H", self._exactly(2))[0]
        if length > most:
            raise Broken("who answers does not speak the control protocol")
        return self._exactly(length)

    def _exactly(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) != size:
            raise Broken("the daemon closed the connection")
        return data
