"""The structure of a message's content, found while it streams by: headers, leaves, and what stands between them (RFC 2045, 2046).

Nothing is held but one header, or one line. What is too deep, too large or not to be understood is taken as a leaf, and said.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

MAX_DEPTH = 50
"""Multiparts and messages in one another."""

MAX_HEADER = 262_144
"""Octets of one header."""

_MAX_LINE = 4096
# Longer than any boundary line (RFC 2046 5.1.1: 70 characters), blanks included.
_MAX_BOUNDARY = 1024

_TYPE = re.compile(rb"\s*([^\s;/()]+)\s*/\s*([^\s;()]+)")
_PARAMETER = re.compile(rb';\s*([^\s=;"]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;"\s]+)', re.DOTALL)
_QUOTED = re.compile(rb"\\(.)", re.DOTALL)
_FIELD = re.compile(rb"[^\x00-\x20:]+[ \t]*:")

PLAIN = (b"7bit", b"8bit", b"binary", b"7-bit", b"8-bit", b"plain")
"""Encodings that are none, and what they are mistaken for."""

SIGNED = (b"multipart/signed", b"multipart/encrypted", b"application/pkcs7-mime", b"application/x-pkcs7-mime")


class Header(NamedTuple):
    """One header: of the message, of a part, or of a message in it.

    @ivar fields: as they came, with their CRLF.
    @ivar end: the empty line, if there is one.
    @ivar kind: C{text/plain}, in lower case.
    @ivar hasType: the kind was said.
    @ivar encoding: in lower case; empty: not said.
    @ivar isMessage: it begins a message, not a part.
    @ivar isComposite: what follows has headers of its own.
    @ivar isSigned: something that it is in is signed or encrypted.
    """

    fields: tuple[bytes, ...]
    end: bytes
    kind: bytes
    hasType: bool
    encoding: bytes
    isMessage: bool
    isComposite: bool
    isSigned: bool


class _Multipart(NamedTuple):
    line: bytes
    default: bytes
    isSigned: bool


class Walker:
    """Feed it content in chunks; it calls the methods that a subclass has.

    @ivar isOdd: something was too deep or too large to be understood.
    """

    def __init__(self) -> None:
        self.isOdd = False
        self._rest = b""
        self._open: list[_Multipart] = []
        self._depth = 0
        # Lines of the header that we are in; None: we are in none.
        self._lines: list[bytes] | None = []
        self._length = 0
        self._default = b"text/plain"
        self._isMessage = True
        self._isSigned = False
        self._isLeaf = False
        self._isMidline = False
        self._held = b""

    # --- what a subclass does

    def header(self, header: Header) -> None:
        """A header is complete; a leaf follows, unless it is composite."""

    def content(self, data: bytes) -> None:
        """Some of the leaf. The end of the line before a boundary is not of the leaf (RFC 2046 5.1.1)."""

    def leafEnded(self, isLast: bool) -> None:
        """
        @param isLast: nothing at all follows.
        """

    def between(self, data: bytes) -> None:
        """Boundaries, with the end of line before them, and what nobody reads: preambles and epilogues."""

    # --- what the owner calls

    def feed(self, chunk: bytes) -> None:
        data = self._rest + chunk if self._rest else chunk
        self._rest = data[self._consume(data) :]

    def finish(self) -> None:
        """There is no more."""
        rest, self._rest = self._rest, b""
        if rest and self._lines is not None:
            self._headerLine(rest)
        elif rest and (self._isMidline or not self._boundary(rest)):
            self._body(rest)
        if self._lines is not None:
            self._headerEnds(b"")
        if self._held:
            held, self._held = self._held, b""
            (self.content if self._isLeaf else self.between)(held)
        if self._isLeaf:
            self._isLeaf = False
            self.leafEnded(True)

    # --- lines

    def _consume(self, data: bytes) -> int:
        """Take all that can be understood already; how much that is."""
        at = 0
        while True:
            if self._lines is not None:
                end = data.find(b"\r\n", at)
                if end < 0:
                    if len(data) - at > MAX_HEADER:
                        self.isOdd = True
                        self._headerEnds(b"")
                        continue
                    return at
                self._headerLine(data[at : end + 2])
                at = end + 2
            elif not self._isMidline and self._open and data.startswith(b"-", at):
                end = data.find(b"\r\n", at)
                if end < 0 and len(data) - at <= _MAX_BOUNDARY:
                    return at
                line = data[at:] if end < 0 else data[at : end + 2]
                if end >= 0 and self._boundary(line):
                    at = end + 2
                    continue
                if end < 0 and line.endswith(b"\r"):
                    line = line[:-1]
                self._body(line)
                at += len(line)
            else:
                end = data.find(b"\r\n-", at) if self._open else -1
                if end < 0:
                    end = data.rfind(b"\r\n", at)
                if end >= 0:
                    self._body(data[at : end + 2])
                    at = end + 2
                    continue
                if len(data) - at > _MAX_LINE:
                    # Half a line; its last octet may be half of its end.
                    self._body(data[at:-1])
                    return len(data) - 1
                return at

    def _body(self, data: bytes) -> None:
        take = self.content if self._isLeaf else self.between
        held = self._held
        if data.endswith(b"\r\n"):
            self._held = b"\r\n"
            self._isMidline = False
            data = data[:-2]
        else:
            self._held = b""
            self._isMidline = True
        if held or data:
            take(held + data)

    def _boundary(self, line: bytes) -> bool:
        """Does it end the part that we are in?"""
        bare = line.rstrip(b" \t\r\n")
        for index in range(len(self._open) - 1, -1, -1):
            multipart = self._open[index]
            if not bare.startswith(multipart.line):
                continue
            more = bare[len(multipart.line) :]
            if more not in (b"", b"--"):
                continue
            self._leave()
            held, self._held = self._held, b""
            self.between(held + line)
            self._isMidline = False
            if more:
                del self._open[index:]
            else:
                del self._open[index + 1 :]
                self._begin(False, multipart.default, multipart.isSigned)
            return True
        return False

    def _leave(self) -> None:
        if self._lines is not None:
            self._headerEnds(b"")
        if self._isLeaf:
            self._isLeaf = False
            self.leafEnded(False)

    # --- headers

    def _begin(self, isMessage: bool, default: bytes, isSigned: bool) -> None:
        self._lines = []
        self._length = 0
        self._isMessage = isMessage
        self._default = default
        self._isSigned = isSigned
        if not isMessage:
            self._depth = len(self._open)

    def _headerLine(self, line: bytes) -> None:
        lines = self._lines
        assert lines is not None
        self._length += len(line)
        if line == b"\r\n":
            self._headerEnds(line)
        elif self._open and line.startswith(b"--") and self._boundary(line):
            pass
        elif _FIELD.match(line) or (lines and line[:1] in (b" ", b"\t")) or (not lines and line.startswith(b"From ")):
            lines.append(line)
        else:
            # No field: the header has ended without its empty line.
            self._headerEnds(b"")
            self._again(line)
        if self._length > MAX_HEADER and self._lines is not None:
            self.isOdd = True
            self._headerEnds(b"")

    def _again(self, line: bytes) -> None:
        if self._lines is not None:
            # A message in a message that has no header at all.
            self._headerEnds(b"")
        self._body(line)

    def _headerEnds(self, end: bytes) -> None:
        fields = _fields(self._lines or ())
        self._lines = None
        said = {b"content-type": b"", b"content-transfer-encoding": b""}
        for field in fields:
            name, _, value = field.partition(b":")
            name = name.rstrip().lower()
            if name in said and not said[name]:
                said[name] = value.replace(b"\r\n", b"")
        found = _TYPE.match(said[b"content-type"])
        kind = found[1].lower() + b"/" + found[2].lower() if found else self._default
        encoding = said[b"content-transfer-encoding"].strip(b" \t;\"'").lower()
        isSigned = self._isSigned or kind in SIGNED
        isPlain = not encoding or encoding in PLAIN
        boundary = _boundaryOf(said[b"content-type"]) if kind.startswith(b"multipart/") else b""
        isMessage = kind in (b"message/rfc822", b"message/news")
        isComposite = bool(boundary or isMessage) and isPlain and end != b""
        if isComposite and self._depth >= MAX_DEPTH:
            self.isOdd = True
            isComposite = False
        if kind.startswith(b"multipart/") and not isComposite and end:
            self.isOdd = True
        self.header(Header(fields, end, kind, bool(found), encoding, self._isMessage, isComposite, self._isSigned))
        if not isComposite:
            self._isLeaf = True
        elif isMessage:
            self._depth += 1
            self._begin(True, b"text/plain", isSigned)
        else:
            self._depth += 1
            default = b"message/rfc822" if kind == b"multipart/digest" else b"text/plain"
            self._open.append(_Multipart(b"--" + boundary, default, isSigned))


def _fields(lines: Sequence[bytes]) -> tuple[bytes, ...]:
    """Lines that begin with a blank belong to the one before."""
    found: list[list[bytes]] = []
    for line in lines:
        if line[:1] in (b" ", b"\t"):
            found[-1].append(line)
        else:
            found.append([line])
    return tuple(b"".join(parts) for parts in found)


def _boundaryOf(value: bytes) -> bytes:
    for name, said in _PARAMETER.findall(value):
        if name.lower() == b"boundary":
            text = _QUOTED.sub(rb"\1", said[1:-1]) if said.startswith(b'"') else said
            return bytes(text).rstrip()
    return b""
