"""xtext (RFC 3461 4): ASCII text in which C{+}, C{=}, and what is not printable, is written as C{+HH}."""

from __future__ import annotations

import re

_UNSAFE = re.compile(rb"[^!-*,-<>-~]")
_ESCAPE = re.compile(r"\+([0-9A-F]{2})")
_VALID = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*\Z")


def encodeXtext(text: str) -> str:
    """Octets outside ASCII, of the text's UTF-8, are escaped one by one."""
    return _UNSAFE.sub(lambda match: b"+%02X" % match[0][0], text.encode("utf-8", "surrogateescape")).decode("ascii")


def decodeXtext(text: str) -> str:
    """
    @raise ValueError: C{text} is not xtext, or what it encodes is not UTF-8.
    """
    if not _VALID.match(text):
        raise ValueError("not xtext")
    if "+" not in text:
        return text
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text).encode("latin-1").decode("utf-8")


def encodeAddressXtext(kind: str, address: str) -> str:
    """An ORCPT value, C{type;address}. A C{utf-8} address is written so that it needs no SMTPUTF8 (RFC 6533 3)."""
    if address.isascii() or kind.lower() != "utf-8":
        return f"{kind};{encodeXtext(address)}"
    parts = (encodeXtext(sign) if sign.isascii() and sign != "\\" else f"\\x{{{ord(sign):02X}}}" for sign in address)
    return f"{kind};{''.join(parts)}"
