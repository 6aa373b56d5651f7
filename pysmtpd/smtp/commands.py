"""From a command's argument to its event: pure functions that either return it or raise L{GrammarError} with the refusal."""

from __future__ import annotations

import re
from typing import Final

from pysmtpd.model.reply import Reply
from pysmtpd.smtp.events import Mail, Rcpt, ServerSettings
from pysmtpd.smtp.grammar import GrammarError, isHeloName, parsePath, splitPath
from pysmtpd.smtp.parameters import (
    parseAuth,
    parseBody,
    parseEnvid,
    parseNotify,
    parseOrcpt,
    parseParameters,
    parseRet,
    parseSize,
)
from pysmtpd.smtp.replies import (
    BAD_NAME,
    BDAT_SYNTAX,
    MAIL_SYNTAX,
    MESSAGE_TOO_BIG,
    NEED_ARGUMENT,
    NOT_UTF8,
    PARAMETER_SYNTAX,
    RCPT_SYNTAX,
    REQUIRETLS_NEEDS_TLS,
    UNKNOWN_PARAMETER,
)

# RFC 5321 3.3 has no space behind the colon; old clients do.
_FROM: Final = re.compile(r"FROM:[ \t]*+", re.IGNORECASE)
_TO: Final = re.compile(r"TO:[ \t]*+", re.IGNORECASE)
_NONE: Final[dict[str, str | None]] = {}
_BDAT: Final = re.compile(rb"([0-9]{1,20})(?:[ \t]++(LAST))?", re.IGNORECASE)


def decodeArgument(argument: bytes) -> str:
    """
    @raise GrammarError: 501.
    """
    try:
        return argument.decode()
    except UnicodeDecodeError:
        raise GrammarError(NOT_UTF8) from None


def parseHello(argument: bytes) -> str:
    """
    @return: the name that the client gives itself.
    @raise GrammarError: 501.
    """
    name = decodeArgument(argument)
    if not isHeloName(name):
        raise GrammarError(BAD_NAME if name else NEED_ARGUMENT)
    return name


def parseMail(argument: bytes, settings: ServerSettings, tls: bool = False) -> Mail:
    """
    @param tls: the command came under TLS.
    @raise GrammarError: 501, 530, 552, 553 or 555.
    """
    path, parameters = _pathAndParameters(_FROM, argument, MAIL_SYNTAX)
    if not parameters:
        return Mail(parsePath(path, reverse=True))
    smtputf8 = "SMTPUTF8" in parameters
    mail = Mail(parsePath(path, reverse=True, utf8=smtputf8), smtputf8=smtputf8)
    for keyword, value in parameters.items():
        if keyword == "SIZE":
            mail.size = parseSize(value)
            if mail.size > settings.maxSize:
                raise GrammarError(MESSAGE_TOO_BIG)
        elif keyword == "BODY":
            mail.body = parseBody(value)
        elif keyword == "SMTPUTF8":
            if value is not None:
                raise GrammarError(PARAMETER_SYNTAX)
        elif keyword == "AUTH":
            mail.auth = parseAuth(value)
        elif keyword == "RET" and settings.dsn:
            mail.ret = parseRet(value)
        elif keyword == "ENVID" and settings.dsn:
            mail.envid = parseEnvid(value)
        elif keyword == "REQUIRETLS":
            if not tls:
                raise GrammarError(REQUIRETLS_NEEDS_TLS)
            if value is not None:
                raise GrammarError(PARAMETER_SYNTAX)
            mail.requireTls = True
        else:
            raise GrammarError(UNKNOWN_PARAMETER)
    return mail


def parseRcpt(argument: bytes, settings: ServerSettings, utf8: bool) -> Rcpt:
    """
    @param utf8: MAIL had SMTPUTF8.
    @raise GrammarError: 501, 553 or 555.
    """
    path, parameters = _pathAndParameters(_TO, argument, RCPT_SYNTAX)
    rcpt = Rcpt(parsePath(path, utf8=utf8))
    for keyword, value in parameters.items():
        if keyword == "NOTIFY" and settings.dsn:
            rcpt.notify = parseNotify(value)
        elif keyword == "ORCPT" and settings.dsn:
            rcpt.orcpt = parseOrcpt(value)
        else:
            raise GrammarError(UNKNOWN_PARAMETER)
    return rcpt


def parseBdat(argument: bytes) -> tuple[int, bool]:
    """
    @return: octets of the chunk, and whether it is the last.
    @raise GrammarError: 501. The session has to end with it: the chunk's octets would be read as commands.
    """
    found = _BDAT.fullmatch(argument)
    if found is None:
        raise GrammarError(BDAT_SYNTAX)
    return int(found.group(1)), found.group(2) is not None


def _pathAndParameters(keyword: re.Pattern[str], argument: bytes, syntax: Reply) -> tuple[str, dict[str, str | None]]:
    text = decodeArgument(argument)
    found = keyword.match(text)
    if found is None:
        raise GrammarError(syntax)
    path, rest = splitPath(text[found.end() :])
    if not rest:
        return path, _NONE
    if not path:
        # It has no brackets, or they do not match: the path's own words say so.
        return rest, _NONE
    if rest[0] not in " \t":
        raise GrammarError(syntax)
    return path, parseParameters(rest)
