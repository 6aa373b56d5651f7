"""What destinations publish about TLS, and what is remembered of them: found, kept, asked again in time, and told to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, succeed
from zope.interface import Interface, implementer

from pysmtpd.mta.policy.sts import StsPolicy

if TYPE_CHECKING:
    from pysmtpd.mta.encounter import Encounter


class IPolicies(Interface):
    """Domains are in A-labels."""

    def policy(domain: str) -> Deferred[StsPolicy | None]:
        """What C{domain} asks for by MTA-STS (RFC 8461); None: nothing. Never fails."""

    def known(domain: str) -> StsPolicy | None:
        """The same, as far as it is known by now; nobody is asked."""

    def again(domain: str) -> None:
        """This policy keeps mail from going anywhere: look whether it still is the policy (RFC 8461 5.1). Calls that come often are
        ignored."""

    def remembers(domain: str, host: str) -> bool:
        """Was TLS to be had there not long ago?"""

    def met(encounter: Encounter) -> None:
        """A session, or a host that was not used. Remembers, logs, counts."""

    def forget(domain: str) -> int:
        """Remember nothing of the TLS of its hosts; tells how many there were."""

    def show(domain: str) -> Sequence[Mapping[str, object]]:
        """What is known of it, for people."""


@implementer(IPolicies)
class NoPolicies:
    """Nobody publishes anything, and nothing is remembered."""

    def policy(self, domain: str) -> Deferred[StsPolicy | None]:
        return succeed(None)

    def known(self, domain: str) -> StsPolicy | None:
        return None

    def again(self, domain: str) -> None: ...

    def remembers(self, domain: str, host: str) -> bool:
        return False

    def met(self, encounter: Encounter) -> None: ...

    def forget(self, domain: str) -> int:
        return 0

    def show(self, domain: str) -> Sequence[Mapping[str, object]]:
        return ()


@implementer(IPolicies)
class Foreseen(NoPolicies):
    """What an attempt would meet, as far as it is known: nothing is remembered or told."""

    def __init__(self, policies: IPolicies, mayFetch: bool = False) -> None:
        """
        @param mayFetch: domains may be asked for their policies.
        """
        self._policies = policies
        self._mayFetch = mayFetch

    def policy(self, domain: str) -> Deferred[StsPolicy | None]:
        """See L{IPolicies.policy}."""
        return self._policies.policy(domain) if self._mayFetch else succeed(self._policies.known(domain))

    def remembers(self, domain: str, host: str) -> bool:
        """See L{IPolicies.remembers}."""
        return self._policies.remembers(domain, host)
