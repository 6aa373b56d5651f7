"""Fetching a policy (RFC 8461 3.3), and posting a report (RFC 8460 5.4): verified HTTPS, one answer, bounded."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, TypeVar

import treq
from treq.client import HTTPClient
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
from pysmtpd.interfaces.tls import IClientHandshake, IClientTls
from pysmtpd.model.netaddr import isPublic
from pysmtpd.mta.policy.sts import MAX_POLICY

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds for everything: DNS, connecting, TLS, the answer."""

CONNECT_TIMEOUT = 15.0
MOST_ADDRESSES = 4


class NotFetched(Exception):
    """There is no policy to be had there; the text says why.

    @ivar isUntrusted: the server's certificate is not in order.
    """

    def __init__(self, why: str, isUntrusted: bool = False) -> None:
        super().__init__(why)
        self.isUntrusted = isUntrusted


class _Web:
    """Verified HTTPS to public addresses."""

    def __init__(self, platform: IPlatform, resolver: IResolver, tls: IClientTls) -> None:
        self._platform = platform
        self._resolver = resolver
        self._tls = tls

    def _ask(self, work: Callable[[Any], Coroutine[Deferred[Any], Any, T]]) -> Deferred[T]:
        """
        @param work: takes a client, and gives what came of it.
        @raise NotFetched:
        """
        clock: Any = self._platform.clock
        endpoints = _Endpoints(self._platform, self._resolver, self._tls)
        pool = HTTPConnectionPool(clock, persistent=False)
        asking = Deferred.fromCoroutine(work(HTTPClient(Agent.usingEndpointFactory(clock, endpoints, pool))))
        asking.addTimeout(PATIENCE, clock, lambda outcome, seconds: _late())
        return asking.addErrback(_explain, endpoints)


class PolicyFetcher(_Web):
    """Asks C{mta-sts.DOMAIN} for its policy. Redirects are not followed, nothing but C{text/plain} is taken."""

    def fetch(self, domain: str) -> Deferred[bytes]:
        """
        @param domain: in A-labels.
        @return: the policy as it was sent.
        @raise NotFetched:
        """
        return self._ask(lambda client: self._fetch(client, domain))

    async def _fetch(self, client: Any, domain: str) -> bytes:
        response = await client.get(
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


class ReportPoster(_Web):
    """Hands reports about TLS to those who have asked for them (RFC 8460 5.4). Redirects are not followed."""

    def post(self, uri: str, compressed: bytes) -> Deferred[None]:
        """
        @param uri: C{https://...}.
        @param compressed: the JSON, by gzip.
        @raise NotFetched: it was not taken.
        """
        return self._ask(lambda client: self._post(client, uri, compressed))

    async def _post(self, client: Any, uri: str, compressed: bytes) -> None:
        response = await client.post(
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


def _drop(response: Any) -> None:
    """Nobody wants the rest."""

    class Closer(Protocol):
        def connectionMade(self) -> None:
            untyped: Any = self.transport
            untyped.loseConnection()

    response.original.deliverBody(Closer())


def _late() -> NoReturn:
    raise NotFetched(f"no answer within {PATIENCE:g} seconds")


def _explain(failure: Failure, endpoints: _Endpoints) -> NoReturn:
    error = failure.value
    if isinstance(error, NotFetched):
        raise error
    if endpoints.problem:
        raise NotFetched(endpoints.problem, isUntrusted=True)
    reasons = getattr(error, "reasons", None) or [failure]
    raise NotFetched("; ".join(reason.getErrorMessage() for reason in reasons)[:300])


@implementer(IAgentEndpointFactory)
class _Endpoints:
    """Of one question."""

    def __init__(self, platform: IPlatform, resolver: IResolver, tls: IClientTls) -> None:
        self._platform = platform
        self._resolver = resolver
        self._tls = tls
        self._handshakes: list[tuple[str, IClientHandshake]] = []

    @property
    def problem(self) -> str:
        """What is wrong with a certificate that was shown; empty: nothing is."""
        return next((f"{host}: {one.error}" for host, one in self._handshakes if one.error), "")

    def endpointForURI(self, uri: URI) -> _Endpoint:
        return _Endpoint(self, uri.host.decode("ascii"), uri.port)

    async def connect(self, host: str, port: int, above: IProtocolFactory) -> IProtocol:
        """To the addresses of a host, one after the other, and TLS above."""
        answer = await self._resolver.addresses(host)
        addresses = [address for address in answer.addresses if isPublic(address)]
        if not addresses:
            why = answer.error or ("no public address" if answer.addresses else "no address")
            raise NotFetched(f"{host}: {why}")
        errors = []
        for address in addresses[:MOST_ADDRESSES]:
            factory = _OneConnection(above)
            handshake = self._tls.handshake(host, True)
            wrapped = TLSMemoryBIOFactory(handshake, True, factory, clock=self._platform.clock)
            self._platform.network.connectTCP(address, port, wrapped, CONNECT_TIMEOUT)
            try:
                protocol = await factory.connected
            except Exception as error:
                errors.append(f"{address}: {error}")
            else:
                self._handshakes.append((host, handshake))
                return protocol
        raise NotFetched("; ".join(errors))


class _Endpoint:
    def __init__(self, endpoints: _Endpoints, host: str, port: int) -> None:
        self._endpoints = endpoints
        self._host = host
        self._port = port

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        return Deferred.fromCoroutine(self._endpoints.connect(self._host, self._port, protocolFactory))


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
