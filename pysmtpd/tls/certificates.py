"""The certificates of the configuration, and server contexts that choose among them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from cryptography import x509
from OpenSSL import SSL
from zope.interface import implementer

from pysmtpd.interfaces.tls import ICertificates, IClientCertificates
from pysmtpd.model.clienttls import ClientKind
from pysmtpd.model.config import CaSpec, Config, PkiSpec, TlsMode
from pysmtpd.model.facts import TlsFacts
from pysmtpd.tls.authorities import Authorities, loadAuthorities
from pysmtpd.tls.contexts import chooseByName, clientContext, serverContext
from pysmtpd.tls.facts import establishedFacts
from pysmtpd.tls.names import isCovered
from pysmtpd.tls.pki import Pki, load, warnings


class _Kind(NamedTuple):
    """What a context is made of; equal ones are one."""

    names: tuple[str, ...]
    verifyClient: bool
    ca: str
    ciphers: str
    protocols: str


@implementer(ICertificates, IClientCertificates)
class Certificates:
    """One generation of certificates. All files are read when it is made, and again by whoever calls C{take}.

    Making it reads files, so it blocks: do that at the start, or in a lane.

    @ivar pki: as the configuration has them; likewise C{ca}.
    """

    def __init__(
        self,
        pki: Mapping[str, PkiSpec],
        readFile: Callable[[str], bytes],
        wallTime: Callable[[], float],
        authorities: bytes = b"",
        ca: Mapping[str, CaSpec] | None = None,
    ) -> None:
        """
        @param readFile: a whole file; raises L{OSError}.
        @param wallTime: seconds since the epoch.
        @param authorities: certificates in PEM form that vouch for clients where no C{ca} is named; empty: the system's.
        @raise ValueError: C{authorities} cannot be read.
        """
        self.pki = pki
        self.ca: Mapping[str, CaSpec] = {} if ca is None else ca
        self._wallTime = wallTime
        self._default = tuple(x509.load_pem_x509_certificates(authorities)) if authorities else ()
        self._loaded: dict[str, Pki] = {name: load(spec, readFile) for name, spec in pki.items()}
        self._authorities = {name: loadAuthorities(spec, readFile) for name, spec in self.ca.items()}
        self._contexts: dict[_Kind, SSL.Context] = {}
        self._clientContexts: dict[ClientKind, SSL.Context] = {}

    def serverContext(
        self,
        names: Sequence[str],
        verifyClient: bool = False,
        ca: str = "",
        ciphers: str = "",
        protocols: str = "",
    ) -> SSL.Context:
        """One context for a listener with these pkis: it serves the first of them whose certificate is for the name that the client
        asks for, an exact name before a wildcard; the first of all to others. Equal questions get the same context.

        @raise LookupError: no name is given, no pki has one of them, or something cannot be used; the text says why.
        """
        kind = _Kind(tuple(names), verifyClient, ca, ciphers, protocols)
        context = self._contexts.get(kind)
        if context is None:
            context = self._contexts[kind] = self._make(kind)
        return context

    def clientContext(self, kind: ClientKind, authorities: tuple[x509.Certificate, ...]) -> SSL.Context:
        """See L{IClientCertificates.clientContext}."""
        context = self._clientContexts.get(kind)
        if context is None:
            pki = self._usable(kind.pki) if kind.pki else None
            if pki is not None and pki.spec.cert != kind.cert:
                raise LookupError(f"pki {kind.pki} is another certificate now")
            if kind.ca and kind.ca in self.ca and self.ca[kind.ca].cert != kind.anchors:
                raise LookupError(f"ca {kind.ca} is another one now")
            try:
                anchors = self._vouching(kind.ca) if kind.ca else authorities
                context = clientContext(pki, anchors, kind.ciphers, kind.protocols)
            except ValueError as error:
                raise LookupError(str(error)) from error
            self._clientContexts[kind] = context
        return context

    def facts(self, connection: SSL.Connection) -> TlsFacts:
        """See L{ICertificates.facts}. A certificate that a client showed was verified: it is asked for only where it must be valid."""
        sni = (connection.get_servername() or b"").decode("ascii", "replace")
        return establishedFacts(connection, sni)

    def take(self, pki: Pki) -> bool:
        """This one was read anew and has no faults: handshakes from now on use it. Those under way, and sessions, keep the old one.

        @return: it is another than before.
        """
        old = self._loaded.get(pki.spec.name)
        if old is not None and old.chain == pki.chain:
            return False
        self._loaded[pki.spec.name] = pki
        self._contexts.clear()
        self._clientContexts.clear()
        return True

    def takeAuthorities(self, authorities: Authorities) -> bool:
        """As C{take}."""
        old = self._authorities.get(authorities.spec.name)
        if old is not None and old.certificates == authorities.certificates:
            return False
        self._authorities[authorities.spec.name] = authorities
        self._contexts.clear()
        self._clientContexts.clear()
        return True

    @property
    def faults(self) -> Sequence[str]:
        """Why some pkis and cas cannot be used, in the order of the configuration."""
        inPki = [text for pki in self._loaded.values() for text in pki.faults]
        return inPki + [text for authorities in self._authorities.values() for text in authorities.faults]

    def faultsOf(self, config: Config) -> Sequence[str]:
        """Why some listeners could not do TLS as they are told: ciphers and protocols that leave nothing, what is not there."""
        found: list[str] = []
        for spec in config.listeners:
            if spec.tls is not TlsMode.NONE:
                ciphers = spec.ciphers or config.ciphers
                try:
                    self.serverContext(spec.pki, spec.verifyClient, spec.ca, ciphers, spec.protocols)
                except LookupError as error:
                    found.append(f"{spec.where}: {error}")
        return found

    def check(self) -> Sequence[str]:
        """What an operator should know of the pkis that can be used, in the order of the configuration."""
        now = self._wallTime()
        return [text for pki in self._loaded.values() for text in warnings(pki, now)]

    def _make(self, kind: _Kind) -> SSL.Context:
        if not kind.names:
            raise LookupError("no pki is given")
        chosen = [self._usable(name) for name in kind.names]
        authorities = self._vouching(kind.ca) if kind.verifyClient else ()
        try:
            contexts = [
                serverContext(pki, kind.verifyClient, authorities, kind.ciphers, kind.protocols) for pki in chosen
            ]
        except ValueError as error:
            raise LookupError(str(error)) from error
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

    def _vouching(self, name: str) -> tuple[x509.Certificate, ...]:
        if not name:
            return self._default
        found = self._authorities.get(name)
        if found is None:
            raise LookupError(f"no such ca: {name}")
        if found.faults:
            raise LookupError("; ".join(found.faults))
        return found.certificates
