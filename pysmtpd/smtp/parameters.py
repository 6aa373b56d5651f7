"""The parameters of MAIL and RCPT (RFC 5321 4.1.2, 1870, 6152, 6531, 4954, 3461): reading and writing them."""

from __future__ import annotations

import re
from typing import Final

from pysmtpd.model.envelope import Notify
from pysmtpd.model.reply import Reply
from pysmtpd.smtp.grammar import GrammarError, parseAddress
from pysmtpd.smtp.replies import PARAMETER_SYNTAX, UNKNOWN_PARAMETER
from pysmtpd.smtp.xtext import decodeUtf8Address, decodeXtext, encodeUtf8Address, encodeXtext

# Characters (RFC 3461 4.4, 4.2; RFC 1870 4; RFC 4954 5).
ENVID_MAX: Final = 100
ORCPT_MAX: Final = 500
AUTH_MAX: Final = 500
SIZE_DIGITS: Final = 20

_KEYWORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*+")
# Values may hold "=" within: an ORCPT in the wild is not always encoded as it should be. Space and controls end or spoil them.
_VALUE = re.compile(r"[!-~\u0080-\U0010ffff]+")
_SIZE = re.compile(rf"[0-9]{{1,{SIZE_DIGITS}}}")
_ADDRESS_TYPE = re.compile(r"[A-Za-z0-9-]+")

_NOTIFY_WORDS: Final = {"SUCCESS": Notify.SUCCESS, "FAILURE": Notify.FAILURE, "DELAY": Notify.DELAY}
_BODIES: Final = ("7BIT", "8BITMIME")


def parseParameters(text: str) -> dict[str, str | None]:
    """C{KEYWORD=value KEYWORD ...}: keywords in upper case, in order; None where there was no C{=}. Any number of spaces parts them.

    @raise GrammarError: 501 5.5.4, also for a keyword that comes twice.
    """
    parameters: dict[str, str | None] = {}
    for word in filter(None, text.replace("\t", " ").split(" ")):
        keyword, equals, value = word.partition("=")
        name = keyword.upper()
        if not _KEYWORD.fullmatch(keyword) or name in parameters or (equals and not _VALUE.fullmatch(value)):
            raise GrammarError(PARAMETER_SYNTAX)
        parameters[name] = value if equals else None
    return parameters


def parseSize(value: str | None) -> int:
    """
    @raise GrammarError: 501 5.5.4.
    """
    if value is None or not _SIZE.fullmatch(value):
        raise GrammarError(Reply(501, "Malformed SIZE", "5.5.4"))
    return int(value)


def parseBody(value: str | None) -> str:
    """
    @raise GrammarError: 555 5.5.4 for BINARYMIME, which is not offered; 501 5.5.4 for what nobody knows.
    """
    body = (value or "").upper()
    if body == "BINARYMIME":
        raise GrammarError(UNKNOWN_PARAMETER)
    if body not in _BODIES:
        raise GrammarError(Reply(501, "Malformed BODY", "5.5.4"))
    return body


def parseRet(value: str | None) -> str:
    """
    @raise GrammarError: 501 5.5.4.
    """
    ret = (value or "").upper()
    if ret not in ("FULL", "HDRS"):
        raise GrammarError(Reply(501, "RET is FULL or HDRS", "5.5.4"))
    return ret


def parseEnvid(value: str | None) -> str:
    """Decoded.

    @raise GrammarError: 501 5.5.4.
    """
    if not value or len(value) > ENVID_MAX:
        raise GrammarError(Reply(501, "Malformed ENVID", "5.5.4"))
    return decodeXtext(value)


def parseAuth(value: str | None) -> str:
    """AUTH= of MAIL (RFC 4954 5), decoded: an address, or C{<>}.

    @raise GrammarError: 501 5.5.4.
    """
    if not value or len(value) > AUTH_MAX:
        raise GrammarError(Reply(501, "Malformed AUTH", "5.5.4"))
    decoded = decodeXtext(value)
    if decoded != "<>":
        try:
            parseAddress(decoded)
        except GrammarError:
            raise GrammarError(Reply(501, "Malformed AUTH", "5.5.4")) from None
    return decoded


def parseNotify(value: str | None) -> Notify:
    """
    @raise GrammarError: 501 5.5.4: unknown or repeated words, or NEVER among others.
    """
    words = (value or "").upper().split(",")
    if words == ["NEVER"]:
        return Notify.NEVER
    notify = Notify.UNSET
    for word in words:
        flag = _NOTIFY_WORDS.get(word)
        if flag is None or flag & notify:
            raise GrammarError(Reply(501, "NOTIFY is NEVER, or some of SUCCESS, FAILURE, DELAY", "5.5.4"))
        notify |= flag
    return notify


def parseOrcpt(value: str | None) -> str:
    """C{type;address}, the address decoded by its type.

    @raise GrammarError: 501 5.5.4.
    """
    kind, semicolon, address = (value or "").partition(";")
    if not semicolon or not address or len(value or "") > ORCPT_MAX or not _ADDRESS_TYPE.fullmatch(kind):
        raise GrammarError(Reply(501, "Malformed ORCPT", "5.5.4"))
    return f"{kind};{decodeUtf8Address(address) if kind.lower() == 'utf-8' else decodeXtext(address)}"


def formatNotify(notify: Notify) -> str:
    """The value of NOTIFY=; empty for UNSET: leave the parameter out."""
    if notify & Notify.NEVER:
        return "NEVER"
    return ",".join(word for word, flag in _NOTIFY_WORDS.items() if notify & flag)


def formatOrcpt(orcpt: str, *, utf8: bool = False) -> str:
    """The value of ORCPT= for what L{parseOrcpt} gave.

    @param utf8: this transaction has SMTPUTF8 (RFC 6533 3).
    """
    kind, _, address = orcpt.partition(";")
    if kind.lower() == "utf-8":
        return f"{kind};{encodeUtf8Address(address, ascii=not utf8)}"
    return f"{kind};{encodeXtext(address)}"
