"""What destinations publish about TLS: found, kept, and asked again in time."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from zope.interface import Interface, implementer

from pysmtpd.mta.policy.sts import StsPolicy


class IPolicies(Interface):
    """MTA-STS policies (RFC 8461)."""

    def policy(domain: str) -> Deferred[StsPolicy | None]:
        """What C{domain}, in A-labels, asks for; None: nothing. Never fails."""


@implementer(IPolicies)
class NoPolicies:
    """Nobody publishes anything."""

    def policy(self, domain: str) -> Deferred[StsPolicy | None]:
        return succeed(None)
