"""Content with octets above 127, made into content without any (RFC 6152 3, RFC 3030 3): part by part, in two passes.

Neither holds more than a line. The first pass, L{Survey}, finds out how each leaf is best encoded, and whether that may be done at all.
The second, L{Converter}, does it. What is decoded is the same before and after: charsets and types are kept, labels tell the truth.
"""

from __future__ import annotations

import re
from binascii import b2a_base64, b2a_qp
from enum import IntEnum

from pysmtpd.model.value import value
from pysmtpd.smtp.fields import UNKNOWN, asciiField
from pysmtpd.smtp.mime import PLAIN, SIGNED, Header, Walker

MAX_LEAVES = 10_000
"""Parts of one message. Who sends more means no good, and their encodings have to be remembered."""

_MAX_LINE = 998
_QP_ENCODING = b"quoted-printable"
_BASE64_ENCODING = b"base64"
_HIGH_OCTETS = bytes(range(128, 256))
_LONG = re.compile(rb"[^\n]{%d}" % (_MAX_LINE + 2))
_HIGH = re.compile(rb"[\x80-\xff]")
# Octets of base64's input that make a line of 76.
_GROUP = 57


class Encoding(IntEnum):
    """What becomes of a leaf.

    RELABEL: it is 7-bit and was called otherwise. MEND: it is quoted-printable, and single octets are not. STRIP: it is base64, and what
    is above 127 in it means nothing. UTF8 and UNKNOWN_CHARSET: quoted-printable, and nobody has said what its octets mean.
    """

    KEEP = 0
    RELABEL = 1
    QP = 2
    BASE64 = 3
    MEND = 4
    STRIP = 5
    UTF8 = 6
    UNKNOWN_CHARSET = 7


@value
class Plan:
    """What the first pass has found.

    @ivar leaves: an L{Encoding} for each leaf, in order.
    @ivar isSigned: something signed or encrypted (S/MIME, OpenPGP) would be changed.
    @ivar isDkimSigned: a signature of its host stands over the message (RFC 6376): it would no longer fit.
    @ivar isOdd: its structure cannot be understood, or is encoded in a way that is not known.
    """

    leaves: bytes
    isSigned: bool
    isDkimSigned: bool
    isOdd: bool


class Survey(Walker):
    """The first pass. Feed it all of the content, then C{finish}, then ask for the C{plan}."""

    def __init__(self) -> None:
        super().__init__()
        self._leaves = bytearray()
        self._signed = False
        self._dkim = False
        self._isFirst = True
        self._clear(None)

    @property
    def plan(self) -> Plan:
        """After C{finish}."""
        isOdd = self.isOdd or len(self._leaves) > MAX_LEAVES
        return Plan(bytes(self._leaves[:MAX_LEAVES]), self._signed, self._dkim, isOdd)

    def header(self, header: Header) -> None:
        if self._isFirst:
            self._isFirst = False
            self._dkim = any(field[:15].lower().startswith(b"dkim-signature") for field in header.fields)
        if header.isSigned and not all(field.isascii() for field in header.fields):
            self._signed = True
        self._clear(None if header.isComposite else header)

    def _clear(self, header: Header | None) -> None:
        self._header = header
        self._size = 0
        self._high = 0
        self._equals = 0
        self._isBare = False
        self._isLong = False
        # The beginning of a character; None: it is not UTF-8, or nobody asks.
        self._partial: bytes | None = b"" if header is not None and not header.hasType else None

    def content(self, data: bytes) -> None:
        self._size += len(data)
        if not data.isascii():
            self._high += len(data) - len(data.translate(None, _HIGH_OCTETS))
        self._equals += data.count(b"=")
        if not self._isBare:
            ends = data.count(b"\r\n")
            self._isBare = data.count(b"\n") != ends or data.count(b"\r") != ends or b"\0" in data
        if not (self._isLong or self._high):
            self._isLong = _LONG.search(data) is not None
        if self._partial is not None:
            self._partial = _undecoded(self._partial + data)

    def leafEnded(self, isLast: bool) -> None:
        header = self._header
        assert header is not None
        if self._high and (header.isSigned or header.kind in SIGNED):
            self._signed = True
        if len(self._leaves) <= MAX_LEAVES:
            self._leaves.append(self._choose(header))

    def _choose(self, header: Header) -> Encoding:
        encoding = header.encoding
        if encoding and encoding not in PLAIN:
            if not self._high:
                return Encoding.KEEP
            if encoding == _QP_ENCODING:
                return Encoding.MEND
            if encoding == _BASE64_ENCODING:
                return Encoding.STRIP
            self.isOdd = True
            return Encoding.KEEP
        isLabelled = encoding not in (b"", b"7bit")
        if not self._high and not (isLabelled and (self._isBare or self._isLong)):
            return Encoding.RELABEL if isLabelled else Encoding.KEEP
        if not header.hasType and header.kind == b"text/plain" and not self._isBare:
            return Encoding.UNKNOWN_CHARSET if self._partial is None else Encoding.UTF8
        # Text is left legible where it is not twice as long then; for the rest the shorter one.
        bound = self._size if header.kind.startswith(b"text/") else self._size // 3
        if self._isBare or 2 * (self._high + self._equals) > bound:
            return Encoding.BASE64
        return Encoding.QP


def _undecoded(data: bytes) -> bytes | None:
    """What is left of UTF-8 at the end of a chunk; None: it is not UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return data[error.start :] if error.end == len(data) and len(data) - error.start < 4 else None
    return b""


_ENCODINGS = {
    Encoding.QP: _QP_ENCODING,
    Encoding.UTF8: _QP_ENCODING,
    Encoding.UNKNOWN_CHARSET: _QP_ENCODING,
    Encoding.BASE64: _BASE64_ENCODING,
    Encoding.RELABEL: b"7bit",
}
_CHARSETS = {Encoding.UTF8: b"utf-8", Encoding.UNKNOWN_CHARSET: UNKNOWN.encode()}


class Converter(Walker):
    """The second pass: feed it the same content, and take what comes out."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self._plan = plan.leaves
        self._leaf = -1
        self._encoding = Encoding.KEEP
        self._output: list[bytes] = []
        self._group = b""
        self._hasLines = False
        self._isOpen = False

    def take(self) -> bytes:
        """What has been converted since the last call."""
        output = b"".join(self._output)
        self._output.clear()
        return output

    def header(self, header: Header) -> None:
        encoding = Encoding.KEEP
        if not header.isComposite:
            self._leaf += 1
            encoding = Encoding(self._plan[self._leaf])
            self._encoding = encoding
            self._group = b""
            self._hasLines = self._isOpen = False
        write = self._output.append
        if header.isSigned:
            # The plan says that there is nothing to do.
            self._output.extend(header.fields)
            write(header.end)
            return
        label = _ENCODINGS.get(encoding)
        if header.isComposite and header.encoding not in (b"", b"7bit"):
            label = b"7bit"
        isLabelled = hasVersion = False
        for field in header.fields:
            name = field.partition(b":")[0].rstrip().lower()
            if name == b"content-transfer-encoding" and label is not None:
                if not isLabelled:
                    write(b"Content-Transfer-Encoding: %b\r\n" % label)
                isLabelled = True
                continue
            hasVersion = hasVersion or name == b"mime-version"
            write(asciiField(field))
        end = header.end
        if label is not None and not isLabelled:
            if header.isMessage and not hasVersion:
                write(b"MIME-Version: 1.0\r\n")
            if encoding in _CHARSETS:
                write(b"Content-Type: text/plain; charset=%b\r\n" % _CHARSETS[encoding])
            write(b"Content-Transfer-Encoding: %b\r\n" % label)
            # What follows is not to be taken for a field.
            end = end or b"\r\n"
        write(end)

    def content(self, data: bytes) -> None:
        encoding = self._encoding
        if encoding in (Encoding.KEEP, Encoding.RELABEL):
            self._output.append(data)
        elif encoding is Encoding.BASE64:
            self._base64(self._group + data, False)
        elif encoding is Encoding.STRIP:
            self._output.append(data.translate(None, _HIGH_OCTETS))
        elif encoding is Encoding.MEND:
            self._output.append(_HIGH.sub(lambda match: b"=%02X" % match[0][0], data))
        else:
            self._quotedPrintable(data)

    def _quotedPrintable(self, data: bytes) -> None:
        if self._isOpen and not data.startswith(b"\r\n"):
            # The same line goes on.
            self._output.append(b"=\r\n")
        self._isOpen = not data.endswith(b"\r\n")
        encoded = b2a_qp(data)
        if b"\r\n" not in data:
            encoded = encoded.replace(b"=\n", b"=\r\n")
        # A line that we have broken must not begin like a boundary.
        self._output.append(encoded.replace(b"=\r\n-", b"=\r\n=2D"))

    def _base64(self, data: bytes, isLast: bool) -> None:
        whole = len(data) if isLast else len(data) - len(data) % _GROUP
        self._group = data[whole:]
        lines = [b2a_base64(data[at : at + _GROUP], newline=False) for at in range(0, whole, _GROUP)]
        if lines:
            if self._hasLines:
                self._output.append(b"\r\n")
            self._hasLines = True
            self._output.append(b"\r\n".join(lines))

    def leafEnded(self, isLast: bool) -> None:
        if self._encoding is Encoding.BASE64:
            self._base64(self._group, True)
            if isLast:
                self._output.append(b"\r\n")

    def between(self, data: bytes) -> None:
        self._output.append(_HIGH.sub(b"?", data))
