"""What a table may answer to each service. A value that cannot be right is an error of the table, not an answer."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address

from pysmtpd.model.question import Service
from pysmtpd.model.relayurl import parseRelay

MAX_VALUE = 65_536

_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_HOST = re.compile(r"[0-9a-z_]([0-9a-z_-]*[0-9a-z_])?(\.[0-9a-z_]([0-9a-z_-]*[0-9a-z_])?)*\.?\Z", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]{1,10}\Z", re.ASCII)
_MAX_ID = 2**32 - 2


def checkValue(service: Service, value: str) -> None:
    """
    @raise ValueError: it cannot be an answer to this service; the text says what would be right.
    """
    if len(value) > MAX_VALUE:
        raise ValueError(f"the value is longer than {MAX_VALUE} characters")
    if _CONTROLS.search(value):
        raise ValueError("there are control characters in the value")
    check = CHECKS.get(service)
    if check is not None:
        check(value)


def _credentials(value: str) -> None:
    # An empty password is not wrong: nobody comes in by it.
    if value.startswith(":"):
        raise ValueError("credentials are user:password, or a password")


def _userInfo(value: str) -> None:
    uid, _, rest = value.partition(":")
    gid, _, home = rest.partition(":")
    if not all(_NUMBER.match(number) and int(number) <= _MAX_ID for number in (uid, gid)) or home[:1] != "/":
        raise ValueError(f'{_shown(value)} is not uid:gid:home, as in "1000:1000:/home/ann"')


def _source(value: str) -> None:
    if not isIp(value):
        raise ValueError(f"{_shown(value)} is not an IP address")


def _addressName(value: str) -> None:
    if len(value) > 255 or not (_HOST.match(value) or (value[:1] == "[" and isIp(value))):
        raise ValueError(f"{_shown(value)} is not a host name")


def _addressMap(value: str) -> None:
    for address in addressList(value):
        if not address or any(blank in address for blank in " \t,"):
            raise ValueError(f"{_shown(value)} is not a list of addresses, with commas between them")


def _relayHost(value: str) -> None:
    parseRelay(value)


CHECKS: dict[Service, Callable[[str], None]] = {
    Service.CREDENTIALS: _credentials,
    Service.USERINFO: _userInfo,
    Service.SOURCE: _source,
    Service.ADDRNAME: _addressName,
    Service.MAILADDRMAP: _addressMap,
    Service.RELAYHOST: _relayHost,
}


def addressList(value: str) -> list[str]:
    """The addresses of a C{mailaddrmap}'s value."""
    return [address.strip() for address in value.split(",")]


def isIp(text: str) -> bool:
    """An address, plain or in brackets, perhaps with C{IPv6:} before it."""
    if text[:1] == "[" and text[-1:] == "]":
        text = text[1:-1]
    if text[:5].lower() == "ipv6:":
        text = text[5:]
    try:
        ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def _shown(text: str) -> str:
    return f'"{text[:60]}"'
