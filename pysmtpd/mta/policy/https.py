"""Fetching a policy (RFC 8461 3.3), and posting a report (RFC 8460 5.4): verified HTTPS, one answer, bounded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer, IProtocol, IProtocolFactory
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IBodyProducer
from zope.interface import implementer

from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.interfaces.routing import IResolver
from pysmtpd.interfaces.tls import IClientTls
from pysmtpd.model.netaddr import isPublic
from pysmtpd.mta.policy.sts import MAX_POLICY

PATIENCE = 60.0
"""Seconds for everything: DNS, connecting, TLS, the answer."""

CONNECT_TIMEOUT = 15.0
MOST_ADDRESSES = 4


class NotFetched(Exception):
    """There is no policy to be had there; the text says why."""


class PolicyFetcher:
    """Asks C{mta-sts.DOMAIN} for its policy. Redirects are not followed, nothing but C{text/plain} is taken."""

    def __init__(self, platform: IPlatform, resolver: IResolver, tls: IClientTls, allowLocal: bool = False) -> None:
        """
        @param allowLocal: addresses that are not public may be asked, too.
        """
        self._clock = platform.clock
        self._endpoints = _Endpoints(platform, resolver, tls, allowLocal)

    def fetch(self, domain: str) -> Deferred[bytes]:
        """
        @param domain: in A-labels.
        @return: the policy as it was sent.
        @raise NotFetched:
        """
        fetching = Deferred.fromCoroutine(self._fetch(domain))
        fetching.addTimeout(PATIENCE, self._clock, lambda outcome, seconds: _late())
        return fetching.addErrback(_explain)

    async def _fetch(self, domain: str) -> bytes:
        # It takes a tenth of a second to load, and many daemons never need it.
        import treq

        response = await _client(self._clock, self._endpoints).get(
            f"https://mta-sts.{domain}/.well-known/mta-sts.txt",
            headers=Headers({"User-Agent": ["pysmtpd"], "Accept": ["text/plain"]}),
            allow_redirects=False,
            unbuffered=True,
        )
        content = bytearray()

        def collect(data: bytes) -> None:
            content.extend(data)
            if len(content) > MAX_POLICY:
                raise NotFetched(f"it has more than {MAX_POLICY} octets")

        if response.code != 200:
            _drop(response)
            raise NotFetched(f"the answer is {response.code}")
        types = response.headers.getRawHeaders("content-type", [])
        if len(types) != 1 or types[0].partition(";")[0].strip().lower() != "text/plain":
            _drop(response)
            raise NotFetched(f"the content is not text/plain but {', '.join(types)[:80] or 'nothing known'}")
        await treq.collect(response, collect)
        return bytes(content)


class ReportPoster:
    """Hands reports about TLS to those who have asked for them (RFC 8460 5.4). Redirects are not followed."""

    def __init__(self, platform: IPlatform, resolver: IResolver, tls: IClientTls, allowLocal: bool = False) -> None:
        """
        @param allowLocal: as for L{PolicyFetcher}.
        """
        self._clock = platform.clock
        self._endpoints = _Endpoints(platform, resolver, tls, allowLocal)

    def post(self, uri: str, compressed: bytes) -> Deferred[None]:
        """
        @param uri: C{https://...}.
        @param compressed: the JSON, by gzip.
        @raise NotFetched: it was not taken.
        """
        posting = Deferred.fromCoroutine(self._post(uri, compressed))
        posting.addTimeout(PATIENCE, self._clock, lambda outcome, seconds: _late())
        return posting.addErrback(_explain)

    async def _post(self, uri: str, compressed: bytes) -> None:
        response = await _client(self._clock, self._endpoints).post(
            uri,
            data=_Body(compressed),
            headers=Headers({"User-Agent": ["pysmtpd"], "Content-Type": ["application/tlsrpt+gzip"]}),
            allow_redirects=False,
            unbuffered=True,
        )
        _drop(response)
        if response.code // 100 != 2:
            raise NotFetched(f"the answer is {response.code}")


@implementer(IBodyProducer)
class _Body:
    """Small enough to be written at once: a producer of pieces would have a clock of its own."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.length = len(content)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        consumer.write(self._content)
        return succeed(None)

    def pauseProducing(self) -> None: ...

    def resumeProducing(self) -> None: ...

    def stopProducing(self) -> None: ...


def _client(clock: Any, endpoints: _Endpoints) -> Any:
    from treq.client import HTTPClient

    return HTTPClient(Agent.usingEndpointFactory(clock, endpoints, HTTPConnectionPool(clock, persistent=False)))


def _drop(response: Any) -> None:
    """Nobody wants the rest."""

    class Closer(Protocol):
        def connectionMade(self) -> None:
            untyped: Any = self.transport
            untyped.loseConnection()

    response.original.deliverBody(Closer())


def _late() -> NoReturn:
    raise NotFetched(f"no answer within {PATIENCE:g} seconds")


def _explain(failure: Failure) -> NoReturn:
    error = failure.value
    if isinstance(error, NotFetched):
        raise error
    reasons = getattr(error, "reasons", None) or [failure]
    raise NotFetched("; ".join(reason.getErrorMessage() for reason in reasons)[:300])


@implementer(IAgentEndpointFactory)
class _Endpoints:
    def __init__(self, platform: IPlatform, resolver: IResolver, tls: IClientTls, allowLocal: bool) -> None:
        self._platform = platform
        self._resolver = resolver
        self._tls = tls
        self._allowLocal = allowLocal

    def endpointForURI(self, uri: URI) -> _Endpoint:
        host = uri.host.decode("ascii")
        return _Endpoint(self._platform, self._resolver, self._tls, self._allowLocal, host, uri.port)


class _Endpoint:
    """The addresses of a host, one after the other, and TLS above."""

    def __init__(
        self, platform: IPlatform, resolver: IResolver, tls: IClientTls, allowLocal: bool, host: str, port: int
    ) -> None:
        self._platform = platform
        self._resolver = resolver
        self._tls = tls
        self._allowLocal = allowLocal
        self._host = host
        self._port = port

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, above: IProtocolFactory) -> IProtocol:
        answer = await self._resolver.addresses(self._host)
        addresses = [address for address in answer.addresses if self._allowLocal or isPublic(address)]
        if not addresses:
            why = answer.error or ("no public address" if answer.addresses else "no address")
            raise NotFetched(f"{self._host}: {why}")
        return await self._first(addresses[:MOST_ADDRESSES], above)

    async def _first(self, addresses: Sequence[str], above: IProtocolFactory) -> IProtocol:
        errors = []
        for address in addresses:
            factory = _OneConnection(above)
            wrapped = TLSMemoryBIOFactory(
                self._tls.handshake(self._host, True), True, factory, clock=self._platform.clock
            )
            self._platform.network.connectTCP(address, self._port, wrapped, CONNECT_TIMEOUT)
            try:
                return await factory.connected
            except Exception as error:
                errors.append(f"{address}: {error}")
        raise NotFetched("; ".join(errors))


class _OneConnection(ClientFactory):
    """Tells about one attempt."""

    noisy = False

    def __init__(self, above: IProtocolFactory) -> None:
        self._above = above
        self.connected: Deferred[IProtocol] = Deferred()

    def buildProtocol(self, addr: Any) -> Any:
        protocol: Any = self._above.buildProtocol(addr)
        if protocol is not None:
            # The protocol hears of its connection first.
            made = protocol.makeConnection

            def makeConnection(transport: Any) -> None:
                made(transport)
                self.connected.callback(protocol)

            protocol.makeConnection = makeConnection
        return protocol

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        self.connected.errback(reason)
