"""xtext of RFC 3461 4 and the address forms of RFC 6533 3."""

from __future__ import annotations

import re

from pysmtpd.model.reply import Reply
from pysmtpd.smtp.grammar import GrammarError

# xchar: printable ASCII but "+" and "=". Hex digits shall be upper case; lower case is taken.
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-Fa-f]{2})*+")
_HEXCHAR = re.compile(r"\+([0-9A-Fa-f]{2})")
_NOT_XCHAR = re.compile(r"[^!-*,-<>-~]")
_PRINTABLE = re.compile(r"[ -~]*+")
# QCHAR of RFC 6533 3: printable ASCII but "+", "=" and "\\".
_UTF8_ADDRESS = re.compile(r"(?:[!-*,-<>-\[\]-~\u0080-\U0010ffff]|\\x\{[0-9A-Fa-f]{2,6}\})*+")
_EMBEDDED = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")
_NOT_QCHAR = re.compile(r"[^!-*,-<>-\[\]-~]")
_NOT_QUCHAR = re.compile(r"[\x00- +=\\\x7f]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def encodeXtext(text: str) -> str:
    """
    @raise ValueError: C{text} is not ASCII: such an address needs L{encodeUtf8Address}.
    """
    if not text.isascii():
        raise ValueError(f"not ASCII: {text!r}")
    return _NOT_XCHAR.sub(lambda found: f"+{ord(found.group()):02X}", text)


def decodeXtext(text: str) -> str:
    """
    @raise GrammarError: 501 5.5.4: it is not xtext, or stands for characters that are not printable ASCII: what it stands for goes into
        header fields of reports, so a CR or LF must not pass.
    """
    if _XTEXT.fullmatch(text):
        decoded = _HEXCHAR.sub(lambda found: chr(int(found.group(1), 16)), text)
        if _PRINTABLE.fullmatch(decoded):
            return decoded
    raise GrammarError(Reply(501, "Malformed xtext", "5.5.4"))


def encodeUtf8Address(address: str, *, ascii: bool) -> str:
    """
    @param ascii: for utf-8-addr-xtext, which any server takes; else utf-8-addr-unitext, which needs SMTPUTF8.
    """
    unsafe = _NOT_QCHAR if ascii else _NOT_QUCHAR
    return unsafe.sub(lambda found: f"\\x{{{ord(found.group()):02X}}}", address)


def decodeUtf8Address(text: str) -> str:
    """utf-8-addr-xtext or utf-8-addr-unitext.

    @raise GrammarError: 501 5.5.4.
    """
    if _UTF8_ADDRESS.fullmatch(text):
        try:
            decoded = _EMBEDDED.sub(lambda found: chr(int(found.group(1), 16)), text)
            decoded.encode()
        except ValueError:  # beyond Unicode, or half of a surrogate pair
            pass
        else:
            if not _CONTROL.search(decoded):
                return decoded
    raise GrammarError(Reply(501, "Malformed internationalized address", "5.5.4"))
