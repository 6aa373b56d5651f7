"""Paths, addresses and names of RFC 5321 4.1.2 and RFC 6531 3.3: the only place where text becomes a L{Path}.

Where we take more than the RFCs give:

  - a local part with dots at its ends or in a row (C{a..b@example.org}): such addresses exist and receive mail. It is kept as it is meant,
    and written quoted, which every peer must take.
  - underscores in domain names, and in HELO names whatever cannot do harm.
  - a local part of more than 64 octets, up to L{LOCAL_TOLERATED}: VERP, SRS and ticket systems make them (RFC 5321 4.5.3.1 asks to
    bound as little as possible). The domain's 255 octets are DNS's own bound and are kept.

And less: no control or separator characters of Unicode, which would break lines in logs and tables.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from typing import Final

import idna

from pysmtpd.model.address import NULL_PATH, Path
from pysmtpd.model.reply import Reply

# Octets (RFC 5321 4.5.3.1.2; RFC 1035 2.3.4).
DOMAIN_MAX: Final = 255
LABEL_MAX: Final = 63
# RFC 5321 4.5.3.1.1 says 64; VERP and SRS make longer ones.
LOCAL_TOLERATED: Final = 256

# Enhanced codes of RFC 3463: bad destination or bad sender's mailbox address syntax.
_FORWARD: Final = "5.1.3"
_REVERSE: Final = "5.1.7"

# RFC 5321 4.1.2 atext, dots anywhere, and (RFC 6531 3.3) all that is not ASCII.
_DOT_STRING = re.compile(r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~.\u0080-\U0010ffff]+")
_QUOTED = re.compile(r'"(?:[\x20\x21\x23-\x5b\x5d-\x7e\u0080-\U0010ffff]|\\[\x20-\x7e])*+"')
_QUOTED_PAIR = re.compile(r"\\(.)")
_LABEL = r"[A-Za-z0-9_](?:-*+[A-Za-z0-9_])*+"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*+")
_U_LABEL_DOMAIN = re.compile(r"[A-Za-z0-9_.\-\u0080-\U0010ffff]+")
_LITERAL = re.compile(r"\[[\x21-\x5a\x5e-\x7e]+\]")
_LITERAL_TAG = re.compile(r"[A-Za-z0-9-]*[A-Za-z0-9]")
_HELO_NAME = re.compile(r"[A-Za-z0-9._\-:]+")
# A path with its brackets: a '>' inside quotes does not end it.
_BRACKETED = re.compile(r'<(?:[^"<>]|"(?:[^"\\]|\\.)*+")*+>')
# Nearly every address.
_PLAIN = re.compile(rf"([A-Za-z0-9!#$%&'*+\-/=?^_`{{|}}~.]{{1,64}})@({_LABEL}(?:\.{_LABEL})*+)")
_UNSAFE_CATEGORIES: Final = ("Cc", "Cs", "Zl", "Zp", "Zs")


class GrammarError(ValueError):
    """Text that is not what it should be.

    @ivar reply: what an SMTP server answers to it; its text says what is wrong.
    """

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.text)
        self.reply = reply


def splitPath(text: str) -> tuple[str, str]:
    """Cut a path with its brackets from the beginning of C{text}.

    @return: the path, and what follows it; the path is empty when C{text} does not begin with one.
    """
    end = text.find(">")
    if text[:1] == "<" and end >= 0 and '"' not in text[:end]:
        return text[: end + 1], text[end + 1 :]
    found = _BRACKETED.match(text)
    return (found.group(), text[found.end() :]) if found else ("", text)


def parsePath(text: str, *, reverse: bool = False, utf8: bool = False) -> Path:
    """A path with its brackets; its source route is dropped (RFC 5321 appendix C).

    @param reverse: the path of MAIL, where C{<>} is allowed; else that of RCPT, where C{<postmaster>} is, in any case.
    @param utf8: SMTPUTF8 was asked for.
    @raise GrammarError: 501 with 5.1.7 (reverse) or 5.1.3; 553 5.6.7 for what needs SMTPUTF8.
    """
    enhanced = _REVERSE if reverse else _FORWARD
    if text[:1] != "<" or text[-1:] != ">":
        raise GrammarError(Reply(501, "The address needs brackets: <local@domain>", enhanced))
    inner = text[1:-1]
    if not inner:
        if reverse:
            return NULL_PATH
        raise GrammarError(Reply(501, "A recipient cannot be empty", enhanced))
    if inner[0] == "@":
        inner = _withoutRoute(inner, enhanced)
    elif not reverse and inner.lower() == "postmaster":
        return Path(inner, "")
    return _mailbox(inner, enhanced, utf8)


def parseAddress(text: str) -> Path:
    """C{local@domain} without brackets or route, as it stands in tables and configurations; UTF-8 is allowed.

    @raise GrammarError: it is not an address.
    """
    return _mailbox(text, _FORWARD, True)


def isDomain(text: str, *, utf8: bool = False) -> bool:
    """Is it a domain name (not a literal), without a dot at its end?

    @param utf8: U-labels are allowed; they must be valid under IDNA 2008 (RFC 5890), after UTS 46 mapping.
    """
    if not text.isascii():
        return utf8 and _isInternationalDomain(text)
    if len(text) > DOMAIN_MAX or not _DOMAIN.fullmatch(text):
        return False
    return len(text) <= LABEL_MAX or max(map(len, text.split("."))) <= LABEL_MAX


def isAddressLiteral(text: str) -> bool:
    """Is it C{[192.0.2.1]}, C{[IPv6:2001:db8::1]}, or of the general form C{[tag:content]} (RFC 5321 4.1.3)?"""
    if len(text) > DOMAIN_MAX or not _LITERAL.fullmatch(text):
        return False
    inner = text[1:-1]
    tag, colon, content = inner.partition(":")
    try:
        if not colon:
            ipaddress.IPv4Address(inner)
        elif tag.lower() == "ipv6":
            return "%" not in content and bool(ipaddress.IPv6Address(content).max_prefixlen)
        else:
            return bool(content) and _LITERAL_TAG.fullmatch(tag) is not None
    except ValueError:
        return False
    return True


def isHeloName(text: str) -> bool:
    """May a client call itself this? RFC 5321 4.1.4 forbids to refuse mail over it, so only what would harm a log or a header is refused:
    domains, literals of any form, bare addresses, names with underscores or a dot at the end pass."""
    return len(text) <= DOMAIN_MAX and bool(_HELO_NAME.fullmatch(text) or _LITERAL.fullmatch(text))


def _mailbox(text: str, enhanced: str, utf8: bool) -> Path:
    plain = _PLAIN.fullmatch(text)
    if plain is not None:
        local, domain = plain.groups()
        if len(domain) <= LABEL_MAX or isDomain(domain):
            return Path(local, domain)
    return _unusualMailbox(text, enhanced, utf8)


def _unusualMailbox(text: str, enhanced: str, utf8: bool) -> Path:
    if not text.isascii():
        if not utf8:
            raise GrammarError(Reply(553, "Other than ASCII needs the SMTPUTF8 parameter", "5.6.7"))
        if any(unicodedata.category(character) in _UNSAFE_CATEGORIES for character in text if character > "\x7f"):
            raise GrammarError(Reply(501, "A character that no address may hold", enhanced))
    found = (_QUOTED if text[:1] == '"' else _DOT_STRING).match(text)
    if found is None:
        raise GrammarError(Reply(501, "Malformed local part", enhanced))
    local = found.group()
    if text[found.end() : found.end() + 1] != "@":
        raise GrammarError(Reply(501, "Malformed address, it should be local@domain", enhanced))
    if local[0] == '"':
        local = _QUOTED_PAIR.sub(r"\1", local[1:-1])
    if len(local.encode()) > LOCAL_TOLERATED:
        raise GrammarError(Reply(501, "Local part too long", enhanced))
    domain = text[found.end() + 1 :]
    if not (isAddressLiteral(domain) if domain[:1] == "[" else isDomain(domain, utf8=utf8)):
        raise GrammarError(Reply(501, "Malformed domain", enhanced))
    return Path(local, domain)


def _withoutRoute(inner: str, enhanced: str) -> str:
    """RFC 5321 4.1.2 A-d-l: C{@one.example,@two.example:}"""
    route, colon, mailbox = inner.partition(":")
    if not colon or not all(hop[:1] == "@" and isDomain(hop[1:], utf8=True) for hop in route.split(",")):
        raise GrammarError(Reply(501, "Malformed source route", enhanced))
    return mailbox


def _isInternationalDomain(text: str) -> bool:
    # The bound comes first: encoding costs more than linear time.
    if len(text) > DOMAIN_MAX or not _U_LABEL_DOMAIN.fullmatch(text):
        return False
    try:
        return len(idna.encode(text, uts46=True)) <= DOMAIN_MAX and text[-1] != "."
    except idna.IDNAError:
        return False
