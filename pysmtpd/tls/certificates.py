"""The certificates of the configuration, and server contexts that choose among them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from cryptography import x509
from OpenSSL import SSL
from zope.interface import implementer

from pysmtpd.interfaces.tls import ICertificates
from pysmtpd.model.config import PkiSpec
from pysmtpd.model.facts import TlsFacts
from pysmtpd.tls.contexts import chooseByName, serverContext
from pysmtpd.tls.facts import establishedFacts
from pysmtpd.tls.names import isCovered
from pysmtpd.tls.pki import Pki, load, warnings


@implementer(ICertificates)
class Certificates:
    """One generation of certificates. All files are read when it is made, and never again: a reload makes another one.

    Making it reads files, so it blocks: do that at the start, or in a lane.
    """

    def __init__(
        self,
        pki: Mapping[str, PkiSpec],
        readFile: Callable[[str], bytes],
        wallTime: Callable[[], float],
        authorities: bytes = b"",
    ) -> None:
        """
        @param readFile: a whole file; raises L{OSError}.
        @param wallTime: seconds since the epoch.
        @param authorities: certificates in PEM form that vouch for clients; empty: the system's.
        @raise ValueError: C{authorities} cannot be read.
        """
        self._wallTime = wallTime
        self._authorities = tuple(x509.load_pem_x509_certificates(authorities)) if authorities else ()
        self._loaded: dict[str, Pki] = {name: load(spec, readFile) for name, spec in pki.items()}
        self._contexts: dict[tuple[tuple[str, ...], bool], SSL.Context] = {}

    def serverContext(self, names: Sequence[str], verifyClient: bool = False) -> SSL.Context:
        """One context for a listener with these pkis: it serves the first of them whose certificate is for the name that the client
        asks for, an exact name before a wildcard; the first of all to others. Equal questions get the same context.

        @raise LookupError: no name is given, no pki has one of them, or it cannot be used; the text says why.
        """
        key = (tuple(names), verifyClient)
        context = self._contexts.get(key)
        if context is None:
            context = self._contexts[key] = self._make(*key)
        return context

    def facts(self, connection: SSL.Connection) -> TlsFacts:
        """See L{ICertificates.facts}. A certificate that a client showed was verified: it is asked for only where it must be valid."""
        sni = (connection.get_servername() or b"").decode("ascii", "replace")
        return establishedFacts(connection, sni)

    @property
    def faults(self) -> Sequence[str]:
        """Why some pkis cannot be used, in the order of the configuration."""
        return [text for pki in self._loaded.values() for text in pki.faults]

    def check(self) -> Sequence[str]:
        """What an operator should know of the pkis that can be used, in the order of the configuration."""
        now = self._wallTime()
        return [text for pki in self._loaded.values() for text in warnings(pki, now)]

    def _make(self, names: tuple[str, ...], verifyClient: bool) -> SSL.Context:
        if not names:
            raise LookupError("no pki is given")
        chosen = [self._usable(name) for name in names]
        contexts = [serverContext(pki, verifyClient, self._authorities) for pki in chosen]
        exact: dict[str, SSL.Context] = {}
        wildcards: list[tuple[str, SSL.Context]] = []
        for pki, context in zip(chosen, contexts, strict=True):
            for name in pki.names:
                if name.startswith("*."):
                    wildcards.append((name, context))
                else:
                    exact.setdefault(name, context)

        def choose(host: str) -> SSL.Context | None:
            found = exact.get(host)
            if found is None:
                found = next((context for name, context in wildcards if isCovered(host, name)), None)
            return found

        if len(contexts) > 1:
            chooseByName(contexts[0], choose)
        return contexts[0]

    def _usable(self, name: str) -> Pki:
        pki = self._loaded.get(name)
        if pki is None:
            raise LookupError(f"no such pki: {name}")
        if pki.faults:
            raise LookupError("; ".join(pki.faults))
        return pki
