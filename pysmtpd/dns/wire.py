"""Questions and answers as they go over the wire."""

from __future__ import annotations

from functools import cache

from twisted.names import dns

HEADER = dns.Message.headerSize
EDNS_SIZE = 1232  # fits into an IPv6 packet that no path has to cut


@cache
def _form(type: int, edns: bool) -> tuple[bytes, bytes]:
    """A question for the root, as the codec writes it: what stands between the id and the name, and from the name's end on."""
    message = dns.Message(recDes=1, authenticData=1)
    message.queries.append(dns.Query(b"", type, dns.IN))
    if edns:
        message.additional.append(dns.RRHeader(b"", dns.OPT, EDNS_SIZE))
    wire = message.toStr()
    return wire[2:HEADER], wire[HEADER:]


def encode(id: int, name: bytes, type: int, edns: bool) -> bytes:
    """A question: recursion desired, and AD asked for (RFC 6840 5.7).

    The signatures themselves are not: they would only make answers longer.

    @param name: of L{pysmtpd.dns.names.toWire}.
    """
    head, tail = _form(type, edns)
    labels = b"".join([b"%c%b" % (len(label), label) for label in name.split(b".")])
    return b"%b%b%b%b" % (id.to_bytes(2, "big"), head, labels, tail)


def decode(data: bytes) -> dns.Message | None:
    """A message, or None for octets that are none, or not a whole one."""
    message = dns.Message()
    try:
        message.fromStr(data)
    except Exception:
        # The codec has no list of what it raises at garbage; whatever it is, it costs this datagram.
        return None
    whole = (
        len(message.queries) == int.from_bytes(data[4:6], "big")
        and len(message.answers) == int.from_bytes(data[6:8], "big")
        and len(message.authority) == int.from_bytes(data[8:10], "big")
        and len(message.additional) == int.from_bytes(data[10:12], "big")
    )
    return message if whole or message.trunc else None


def answers(message: dns.Message, name: bytes, type: int) -> bool:
    """Does the message repeat the question? One that tells only of an error need not (RFC 6891 7: old servers)."""
    if not message.queries:
        return message.rCode not in (dns.OK, dns.ENAME)
    asked = message.queries[0]
    return len(message.queries) == 1 and asked.type == type and asked.cls == dns.IN and asked.name.name.lower() == name


def extendedRcode(message: dns.Message) -> int:
    """The high bits of the rcode, from the OPT record (RFC 6891 6.1.3)."""
    for header in message.additional:
        if header.type == dns.OPT:
            return int(header.ttl >> 24 << 4)
    return 0


def isLame(message: dns.Message) -> bool:
    """A referral in place of an answer: the server is asked what it does not know, and does not ask for us."""
    return (
        message.rCode == dns.OK
        and not message.answers
        and not message.recAv
        and not message.auth
        and not any(header.type == dns.SOA for header in message.authority)
    )
