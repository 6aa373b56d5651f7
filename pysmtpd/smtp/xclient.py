"""XCLIENT: a proxy that is believed tells who its client is. The attributes of Postfix's XCLIENT_README."""

from __future__ import annotations

from typing import Final

from pysmtpd.model.netaddr import canonicalIp
from pysmtpd.model.reply import Reply
from pysmtpd.smtp.events import Xclient
from pysmtpd.smtp.grammar import GrammarError, isDomain, isHeloName
from pysmtpd.smtp.xtext import decodeXtext

ATTRIBUTES: Final = ("NAME", "ADDR", "PORT", "PROTO", "HELO", "DESTADDR", "DESTPORT")
LOGIN: Final = "LOGIN"
LOGIN_MAX: Final = 255

# There is none, or it cannot be told now: either way it is not known.
_UNKNOWN: Final = ("[UNAVAILABLE]", "[TEMPUNAVAIL]")


def parseXclient(argument: str, offered: tuple[str, ...]) -> Xclient:
    """
    @param offered: attributes that EHLO has named to this peer.
    @raise GrammarError: 501 5.5.4.
    """
    values: dict[str, str] = {}
    for word in argument.split():
        name, equals, value = word.partition("=")
        name = name.upper()
        if not equals or name in values or name not in offered:
            raise _bad(f"{name[:20]} is not taken here" if equals and name not in offered else "NAME=value ...")
        values[name] = "" if value.upper() in _UNKNOWN else _checked(name, decodeXtext(value))
    if not values:
        raise _bad("it needs an attribute")
    return Xclient(
        name=values.get("NAME"),
        address=values.get("ADDR"),
        port=int(values.get("PORT") or 0),
        helo=values.get("HELO", ""),
        login=values.get(LOGIN, ""),
        destination=values.get("DESTADDR", ""),
        destinationPort=int(values.get("DESTPORT") or 0),
    )


def _checked(name: str, value: str) -> str:
    if name in ("ADDR", "DESTADDR"):
        plain = value[5:] if value[:5].upper() == "IPV6:" else value
        address = "" if plain.startswith("[") else canonicalIp(plain)
        if address:
            return address
    elif name in ("PORT", "DESTPORT"):
        if value.isascii() and value.isdigit() and len(value) <= 5 and int(value) < 65_536:
            return value
    elif name == "NAME":
        if isDomain(value):
            return value.lower()
    elif name == "HELO":
        if isHeloName(value):
            return value
    elif name == "PROTO":
        if value.upper() in ("SMTP", "ESMTP"):
            return value
    elif value and len(value) <= LOGIN_MAX:
        return value
    raise _bad(f"malformed {name}")


def _bad(why: str) -> GrammarError:
    return GrammarError(Reply(501, f"Bad XCLIENT: {why}", "5.5.4"))
