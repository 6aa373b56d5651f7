"""Header fields with octets above 127, made into ASCII: encoded words (RFC 2047) and extended parameters (RFC 2231)."""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Sequence

UNKNOWN = "unknown-8bit"
"""What RFC 1428 calls a charset that nobody has told."""

_ADDRESSES = frozenset(
    b"from sender reply-to to cc bcc resent-from resent-sender resent-to resent-cc resent-bcc"
    b" disposition-notification-to return-path mail-followup-to mail-reply-to".split()
)
_PARAMETERS = frozenset(b"content-type content-disposition".split())

_FOLD = re.compile(rb"\r\n(?=[ \t])")
_SPACES = re.compile(rb"([ \t\r\n]+)")
_HIGH = re.compile(rb"[\x80-\xff]")
# Quoted string, comment without another in it, angle address, blanks, a special, or an atom with all that is glued to it.
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|\((?:[^()\\]|\\.)*\)|<[^>]*>|[ \t\r\n]+|[,;:]|[^\s"(),;:<>]+|.', re.DOTALL)
_PARAMETER = re.compile(rb';([ \t\r\n]*)([^\s=;"*]+)[ \t\r\n]*=[ \t\r\n]*("(?:[^"\\]|\\.)*"|[^;"\s]+)')
_QUOTED = re.compile(rb"\\(.)", re.DOTALL)
# Octets of text in one encoded word: with charset and frame it stays within 75 characters (RFC 2047 2).
_MAX_TEXT = 42
# Characters of one piece of a parameter.
_MAX_PIECE = 60


def asciiField(field: bytes) -> bytes:
    """
    @param field: name, colon, value and CRLF; folded as it may be.
    @return: the same for readers who decode it, in ASCII. What no encoding can express stays: octets in an address, or in the name.
    """
    if field.isascii():
        return field
    name, colon, value = field.partition(b":")
    if not colon or not name.isascii():
        return field
    charset = charsetOf(value)
    kind = name.strip().lower()
    if kind in _PARAMETERS:
        return name + colon + _parameters(value, charset)
    words = _addressWords(value) if kind in _ADDRESSES else _words(value)
    return name + colon + _encode(words, charset)


def charsetOf(text: bytes) -> str:
    """UTF-8 is not mistaken for anything else."""
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return UNKNOWN
    return "utf-8"


class _Word:
    """A piece of a value.

    @ivar text: what it says, if it may be encoded; else None.
    @ivar frame: what stands around it when it is.
    """

    __slots__ = ("frame", "raw", "text")

    def __init__(self, raw: bytes, text: bytes | None = None, frame: bytes = b"") -> None:
        self.raw = raw
        self.text = text
        self.frame = frame


def _words(value: bytes) -> Sequence[_Word]:
    return [_Word(raw, raw if _HIGH.search(raw) else None) for raw in _SPACES.split(value) if raw]


def _addressWords(value: bytes) -> Sequence[_Word]:
    tokens = _TOKEN.findall(value)
    words = []
    for index, raw in enumerate(tokens):
        if not _HIGH.search(raw) or raw[:1] == b"<":
            words.append(_Word(raw))
        elif raw[:1] == b"(" and len(raw) > 1:
            words.append(_Word(raw, _unquoted(raw[1:-1]), b"()"))
        elif raw[:1] == b'"' and len(raw) > 1:
            # A quoted local part, with its @ behind it, is no phrase.
            isPhrase = index + 1 == len(tokens) or tokens[index + 1][:1] != b"@"
            words.append(_Word(raw, _unquoted(raw[1:-1]) if isPhrase else None))
        else:
            words.append(_Word(raw, None if b"@" in raw else raw))
    return words


def _unquoted(text: bytes) -> bytes:
    return _QUOTED.sub(rb"\1", _FOLD.sub(b"", text))


def _encode(words: Sequence[_Word], charset: str) -> bytes:
    """Blanks between two encoded words are not part of the text (RFC 2047 6.2), so they go into the second."""
    output = b""
    gap = b""
    afterEncoded = False
    for word in words:
        if word.raw.isspace():
            gap = word.raw
            continue
        if word.text is None:
            output += gap + word.raw
            afterEncoded = word.raw.startswith(b"=?") and word.raw.endswith(b"?=")
        elif word.frame:
            output += gap + word.frame[:1] + _encodedWords(word.text, charset) + word.frame[1:]
            afterEncoded = False
        else:
            text = word.text
            if afterEncoded:
                text = gap.replace(b"\r\n", b"") + text
                gap = gap or b" "
            output += (gap if not afterEncoded else b"\r\n ") + _encodedWords(text, charset)
            afterEncoded = True
        gap = b""
    return output + gap


def _encodedWords(text: bytes, charset: str) -> bytes:
    """One or more, each with whole characters."""
    pieces = []
    at = 0
    while at < len(text):
        end = min(at + _MAX_TEXT, len(text))
        while charset == "utf-8" and end < len(text) and 0x80 <= text[end] < 0xC0:
            end -= 1
        encoded = b2a_base64(text[at:end], newline=False)
        pieces.append(b"=?%b?B?%b?=" % (charset.encode(), encoded))
        at = end
    return b"\r\n ".join(pieces)


_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._")


def _percented(text: bytes) -> str:
    return "".join(chr(octet) if octet in _SAFE else f"%{octet:02X}" for octet in text)


def _parameters(value: bytes, charset: str) -> bytes:
    def extended(match: re.Match[bytes]) -> bytes:
        blank, name, said = match.groups()
        if said.isascii() and name.isascii():
            return match[0]
        text = _unquoted(said[1:-1]) if said[:1] == b'"' else said
        encoded = _percented(text)
        pieces = []
        while encoded:
            end = _MAX_PIECE
            while "%" in encoded[end - 2 : end]:
                end -= 1
            pieces.append(encoded[:end].encode())
            encoded = encoded[end:]
        first = b"%b''" % charset.encode()
        if len(pieces) == 1:
            return b";%b%b*=%b%b" % (blank, name, first, pieces[0])
        numbered = (b"%b*%d*=%b%b" % (name, at, first if not at else b"", piece) for at, piece in enumerate(pieces))
        return b";\r\n " + b";\r\n ".join(numbered)

    return _PARAMETER.sub(extended, value)
