"""TLS on one connection."""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from twisted.python.failure import Failure

from pysmtpd.interfaces.tls import IClientTls
from pysmtpd.model.facts import TlsFacts
from pysmtpd.model.tlsa import Presented
from pysmtpd.mta.keys import Target
from pysmtpd.mta.security import Level


class Secured:
    """From the handshake's first octet.

    @ivar facts: what came of it; None: it is not over.
    @ivar shown: what DANE looks at: the chain, and the names in its first certificate; empty where nobody asks for it.
    """

    __slots__ = ("_handshake", "_isLookedAt", "_verifies", "facts", "shown")

    def __init__(self, tls: IClientTls, target: Target) -> None:
        policy = target.policy
        self._verifies = policy.level is Level.VERIFIED
        self._isLookedAt = bool(policy.tlsa)
        self.facts: TlsFacts | None = None
        self.shown: tuple[tuple[Presented, ...], tuple[str, ...]] = ((), ())
        # RFC 7672 8.1: a host that has TLSA records is asked for the certificate of the name under which they are.
        name = policy.tlsaNames[0] if policy.tlsa and not self._verifies else policy.name
        self._handshake = tls.handshake(name, self._verifies, kind=target.key.tls, place=(target.key, self._isLookedAt))

    def start(self, transport: Any) -> None:
        """Begin."""
        transport.startTLS(self._handshake)

    def completed(self, transport: Any) -> TlsFacts:
        """Twisted says that it is on."""
        handle = transport.getHandle()
        self.facts = facts = self._handshake.facts(handle)
        if self._isLookedAt:
            self.shown = self._handshake.presented(handle)
        return facts

    def keep(self, transport: Any) -> None:
        """By now the host has sent its tickets: remember them."""
        if self.facts is not None:
            self._handshake.keep(transport.getHandle())

    @property
    def certificateError(self) -> str:
        """Why the peer's certificate is not valid; empty: it is, or there is none."""
        return self._handshake.error

    @property
    def offersTicket(self) -> bool:
        """Has it tried to resume a session?"""
        return self._handshake.offersTicket

    def explain(self, reason: Failure) -> tuple[str, bool]:
        """Why the connection was lost, as far as TLS can tell, in OpenSSL's own words: C{certificate verify failed}; empty: it cannot.

        @return: the text, and whether the certificate is the reason.
        """
        if self._verifies and self._handshake.error:
            return f"TLS: {self._handshake.error}", True
        if not reason.check(SSL.Error):
            return "", False
        error = reason.value
        queue = error.args[0] if error is not None and error.args else None
        words = str(queue[-1][-1]) if isinstance(queue, list) and queue else "closed by the peer"
        return f"TLS {'failed' if self.facts else 'handshake failed'}: {words}", False
