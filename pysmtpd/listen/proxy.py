"""The header of the PROXY protocol, versions 1 and 2: who a load balancer's client is. Pure.

It stands before everything else on a connection, also before TLS. What it says is checked like all that comes from outside, and is bounded:
107 octets of text (version 1), or 16 octets and at most L{MAX_REST} more (version 2).
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from struct import Struct
from typing import Final, NamedTuple

from pysmtpd.model.netaddr import canonicalIp

_SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_FIXED: Final = 16
_TEXT: Final = b"PROXY "
# Octets of a line with its CRLF (section 2.1).
MAX_TEXT: Final = 107
# Octets behind the fixed part: addresses and TLVs. The field could say 65,535; nobody sends near as much.
MAX_REST: Final = 4096

_TCP4: Final = Struct("!4s4sHH")
_TCP6: Final = Struct("!16s16sHH")
_UNIX: Final = 216


class ProxyError(ValueError):
    """This is no header, or one that is not taken here; the text says why, for the log."""


class ProxyHeader(NamedTuple):
    """
    @ivar size: octets of the header; what follows is the client's.
    @ivar source: the client's address in its canonical form; empty: it is not told (LOCAL, UNKNOWN, a UNIX socket).
    @ivar destination: the address that the client connected to; empty: likewise.
    @ivar isLocal: the balancer speaks for itself, as for a check of health.
    """

    size: int
    source: str = ""
    sourcePort: int = 0
    destination: str = ""
    destinationPort: int = 0
    isLocal: bool = False


def parseProxy(data: bytes, takesText: bool) -> ProxyHeader | None:
    """
    @param data: all that has come, from the connection's first octet.
    @param takesText: version 1 is taken, too.
    @return: None: there is more to come.
    @raise ProxyError: nothing that comes can make it a header.
    """
    length = len(data)
    if data[: len(_SIGNATURE)] == _SIGNATURE[:length]:
        return _parseBinary(data) if length >= _FIXED else None
    if data[: len(_TEXT)] != _TEXT[:length]:
        raise ProxyError("no PROXY header")
    if not takesText:
        raise ProxyError("a PROXY header of version 1, which is not taken here")
    end = data.find(b"\r\n", 0, MAX_TEXT)
    if end >= 0:
        return _parseText(data[:end])
    if length >= MAX_TEXT:
        raise ProxyError("a PROXY header without an end")
    return None


def _parseText(line: bytes) -> ProxyHeader:
    size = len(line) + 2
    try:
        words = line.decode("ascii").split(" ")
    except UnicodeDecodeError:
        raise ProxyError("a PROXY header that is not ASCII") from None
    if words[1] == "UNKNOWN":
        # Whatever follows must be ignored.
        return ProxyHeader(size)
    if len(words) != 6 or words[1] not in ("TCP4", "TCP6"):
        raise ProxyError("a malformed PROXY header")
    _, family, source, destination, sourcePort, destinationPort = words
    kind = IPv4Address if family == "TCP4" else IPv6Address
    try:
        kind(source)
        kind(destination)
    except ValueError:
        raise ProxyError(f"a PROXY header with an address that is not {family}") from None
    if "%" in source + destination or not (_isPort(sourcePort) and _isPort(destinationPort)):
        raise ProxyError("a malformed PROXY header")
    return ProxyHeader(size, canonicalIp(source), int(sourcePort), canonicalIp(destination), int(destinationPort))


def _isPort(text: str) -> bool:
    """In the one way that it is written."""
    return text.isdecimal() and len(text) <= 5 and int(text) <= 0xFFFF and text == str(int(text))


def _parseBinary(data: bytes) -> ProxyHeader | None:
    version, command, family = data[12] >> 4, data[12] & 15, data[13]
    rest = data[14] << 8 | data[15]
    if version != 2:
        raise ProxyError(f"a PROXY header of version {version}")
    if command > 1:
        raise ProxyError(f"a PROXY header with the unknown command {command}")
    if rest > MAX_REST:
        raise ProxyError(f"a PROXY header of {rest} octets")
    size = _FIXED + rest
    if len(data) < size:
        return None
    if command == 0:
        # LOCAL: the family and the addresses must be ignored.
        return ProxyHeader(size, isLocal=True)
    # What stands behind the addresses are TLVs, which nobody here needs: a check sum among them covers what TCP has checked already.
    if family == 0x11 and rest >= _TCP4.size:
        parts = _TCP4.unpack_from(data, _FIXED)
    elif family == 0x21 and rest >= _TCP6.size:
        parts = _TCP6.unpack_from(data, _FIXED)
    elif family in (0x00, 0x31, 0x32) and (family == 0x00 or rest >= _UNIX):
        return ProxyHeader(size)
    else:
        raise ProxyError(f"a PROXY header with the unknown or cut off family {family:#04x}")
    source, destination, sourcePort, destinationPort = parts
    kind = IPv4Address if family == 0x11 else IPv6Address
    return ProxyHeader(
        size, canonicalIp(str(kind(source))), sourcePort, canonicalIp(str(kind(destination))), destinationPort
    )
