"""DANE for SMTP: what DNS says about a host (RFC 7672 2.2)."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred

from pysmtpd.interfaces.routing import FOREVER, IResolver, Lookup, TlsaAnswer
from pysmtpd.model.tlsa import Tlsa
from pysmtpd.mta.security import Dane, HostFacts

# Stands for records that cannot be read: they are there, and of no use.
_UNREADABLE = Tlsa(255, 0, 0, b"")


def daneFacts(resolver: IResolver, host: str, names: Sequence[str], port: int) -> Deferred[HostFacts]:
    """Ask for the TLSA records of a host whose MX and address records are secure.

    @param names: where they may be: first the name at the end of the host's CNAMEs, then its own (2.2.2).
    @return: what is known now. Never fails: what cannot be asked is L{Dane.FAILED}.
    """
    return Deferred.fromCoroutine(_ask(resolver, host, names, port))


async def _ask(resolver: IResolver, host: str, names: Sequence[str], port: int) -> HostFacts:
    until = FOREVER
    for name in names:
        answer: TlsaAnswer = await resolver.tlsa(name, port)
        until = min(until, answer.until)
        if answer.status is Lookup.FAILED:
            return HostFacts(host, name, True, Dane.FAILED, (), answer.error or "no answer", until)
        if answer.status is Lookup.FOUND and answer.secure:
            records = answer.records + (_UNREADABLE,) * bool(answer.malformed)
            return HostFacts(host, name, True, Dane.RECORDS, records, until=until)
    return HostFacts(host, isSecure=True, until=until)
