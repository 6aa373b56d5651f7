"""Questions to recursive name servers: who is asked, how often, and which datagrams count as answers."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from heapq import heappop, heappush
from ipaddress import ip_address
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.names import dns

from pysmtpd.dns.sockets import Socket, Sockets
from pysmtpd.dns.stream import StreamQuestion
from pysmtpd.dns.turns import Turns
from pysmtpd.dns.wire import HEADER, answers, decode, encode, extendedRcode, isLame
from pysmtpd.interfaces.platform import IPlatform

UDP_TIMEOUT = 2.0
TCP_TIMEOUT = 4.0
PENALTY = 30.0
PLAIN_FOR = 900.0
MOST_OUTSTANDING = 512
MOST_WAITING = 20_000
# Seconds after which a question gives its place to one that waits. It goes on without: domains whose servers are dead must not keep good
# mail waiting, however many there are.
HASTE = 0.25
# That go on so. If there are more, the one that was asked first is given up.
MOST_SLOW = 4096
# Over TCP, each with a descriptor of its own, whether or not it has a place.
MOST_STREAMS = 256
# Questions that peers make us ask, by connecting, have places of their own: what they cost must not be taken from our mail. An origin is
# a network of peers, so one of them with a reverse zone that never answers leaves places to others.
MOST_FOR_PEERS = 128
MOST_FOR_ORIGIN = 32
MOST_PEERS_WAITING = 2_000
_RCODES = {
    dns.EFORMAT: "format error",
    dns.ESERVER: "server failure",
    dns.ENOTIMP: "not implemented",
    dns.EREFUSED: "refused",
}


@dataclass(frozen=True, slots=True)
class Unanswered:
    """No server gave an answer that counts; why, for people."""

    reason: str


_TOO_MANY = Unanswered("too many questions to DNS are waiting")


class Server:
    """A name server, and what is known of it.

    @ivar host: its address in canonical form, without a scope.
    @ivar interface: what to bind to, to reach it.
    @ivar slowUntil: it did not answer in time: others are asked first until then.
    @ivar plainUntil: it does not understand EDNS.
    """

    __slots__ = ("address", "host", "interface", "plainUntil", "port", "slowUntil")

    def __init__(self, host: str, port: int) -> None:
        """
        @raise ValueError: C{host} is no address.
        """
        self.address = (host, port)
        self.host = str(ip_address(host.partition("%")[0]))
        self.port = port
        self.interface = "::" if ":" in host else ""
        self.slowUntil = 0.0
        self.plainUntil = 0.0

    def __str__(self) -> str:
        return self.host if self.port == dns.PORT else f"{self.host} port {self.port}"


class _Question:
    """One question on its way.

    @ivar asked: its number among the questions that are open; 0: it waits.
    @ivar began: monotonic seconds when it was first asked.
    @ivar turns: the servers that may still be asked, in order; one that was silent is appended again.
    @ivar attempt: grows with each message sent, so that an old time-out is told from a new one.
    """

    __slots__ = (
        *(
            "answer",
            "asked",
            "attempt",
            "began",
            "deadline",
            "id",
            "name",
            "origin",
            "over",
            "server",
            "share",
            "socket",
            "stream",
            "tries",
            "turns",
        ),
        *("trouble", "type", "usedEdns"),
    )

    def __init__(self, name: bytes, type: int, deadline: float, origin: str, share: Turns[_Question]) -> None:
        self.name = name
        self.type = type
        self.deadline = deadline
        self.origin = origin
        self.share = share
        self.answer: Deferred[dns.Message | Unanswered] = Deferred()
        self.turns: deque[Server] = deque()
        self.asked = 0
        self.began = 0.0
        self.tries = 0
        self.attempt = 0
        self.server: Server | None = None
        self.socket: Socket[_Question] | None = None
        self.stream: StreamQuestion | None = None
        self.id = 0
        self.usedEdns = False
        self.trouble = ""
        self.over = False


class Stub:
    """Asks recursive servers.

    An answer counts only if it came from the server that was asked, to the port, with the id and the question that were sent.
    A server that fails is not asked again for the same question; one that is silent is, after the others.
    """

    def __init__(self, platform: IPlatform, servers: tuple[tuple[str, int], ...]) -> None:
        self._platform = platform
        self._clock = platform.clock
        self._servers = [Server(host, port) for host, port in servers]
        self._sockets: Sockets[_Question] = Sockets(platform, self._received)
        self._own: Turns[_Question] = Turns(MOST_OUTSTANDING, MOST_OUTSTANDING, MOST_WAITING)
        self._peers: Turns[_Question] = Turns(MOST_FOR_PEERS, MOST_FOR_ORIGIN, MOST_PEERS_WAITING)
        self._due: list[tuple[float, int, _Question, int]] = []
        self._serial = 0
        self._timer: IDelayedCall | None = None
        self._hurrying: IDelayedCall | None = None
        # Those of our own that have no place any more, longest first.
        self._slow: dict[_Question, None] = {}
        self._streams = 0
        self._open: dict[int, _Question] = {}
        self._draining = False
        self._closed = False

    def ask(self, name: bytes, type: int, deadline: float, origin: str = "") -> Deferred[dns.Message | Unanswered]:
        """Never fails; the message's rcode is NOERROR or NXDOMAIN.

        @param name: in lower case.
        @param deadline: monotonic seconds at which to give up.
        @param origin: the network of the peer that makes us ask; empty: we ask for our own mail.
        """
        share = self._peers if origin else self._own
        question = _Question(name, type, deadline, origin, share)
        if self._closed:
            question.answer.callback(Unanswered("the resolver was closed"))
        elif not self._servers:
            question.answer.callback(Unanswered("no name server is configured"))
        elif share.enter(origin, question):
            self._start(question)
        elif not share.wait(origin, question):
            question.answer.callback(_TOO_MANY)
        else:
            self._hurrySoon()
        return question.answer

    def close(self) -> Deferred[None]:
        """Give up all questions and close all sockets."""
        self._closed = True
        given = [*self._open.values(), *self._own.clear(), *self._peers.clear()]
        for question in given:
            self._finish(question, Unanswered("the resolver was closed"))
        for call in (self._timer, self._hurrying):
            if call is not None:
                call.cancel()
        self._timer = self._hurrying = None
        self._due.clear()
        return self._sockets.close()

    # --- from start to end

    def _start(self, question: _Question) -> None:
        now = self._clock.seconds()
        self._serial += 1
        question.asked = self._serial
        question.began = now
        self._open[question.asked] = question
        # Sorting is stable: servers in good standing in the order of the configuration, then the one that was slow longest ago.
        question.turns.extend(sorted(self._servers, key=lambda server: max(server.slowUntil - now, 0.0)))
        question.tries = max(3, 2 * len(self._servers))
        self._next(question)

    def _next(self, question: _Question) -> None:
        """Ask the next server."""
        while question.turns and question.tries > 0 and self._clock.seconds() < question.deadline:
            question.server = question.turns.popleft()
            question.tries -= 1
            if self._send(question):
                return
        self._finish(question, Unanswered(question.trouble or "no answer in time"))

    def _finish(self, question: _Question, result: dns.Message | Unanswered) -> None:
        if question.over:
            return
        question.over = True
        self._release(question)
        share = question.share
        if self._open.pop(question.asked, None) is not None:
            share.leave(question)
            self._slow.pop(question, None)
        question.answer.callback(result)
        if len(share) and not self._draining:
            self._drain(share)

    def _drain(self, share: Turns[_Question]) -> None:
        """Start what waits. Questions that end at once end inside this loop, not each inside the one before."""
        self._draining = True
        try:
            while (question := share.next()) is not None:
                if question.deadline <= self._clock.seconds():
                    share.leave(question)
                    self._finish(question, _TOO_MANY)
                else:
                    self._start(question)
        finally:
            self._draining = False

    def _hurrySoon(self) -> None:
        """If some of our own wait, look when it is somebody's time to make room."""
        question = self._own.longest()
        if self._hurrying is None and len(self._own) and question is not None:
            left = question.began + HASTE - self._clock.seconds()
            self._hurrying = self._clock.callLater(max(0.0, left), self._hurry)

    def _hurry(self) -> None:
        """Those that have had their places for long enough go on without."""
        self._hurrying = None
        now = self._clock.seconds()
        while len(self._own) and (question := self._own.longest()) is not None and question.began + HASTE <= now:
            self._own.leave(question)
            self._slow[question] = None
            if len(self._slow) > MOST_SLOW:
                self._finish(next(iter(self._slow)), _TOO_MANY)
            self._drain(self._own)
        self._hurrySoon()

    def _release(self, question: _Question) -> None:
        socket, question.socket = question.socket, None
        if socket is not None:
            self._sockets.release(socket, question.id)
        stream, question.stream = question.stream, None
        if stream is not None:
            self._streams -= 1
            stream.stop()

    # --- asking

    def _send(self, question: _Question) -> bool:
        """
        @return: it is on its way.
        """
        server = question.server
        assert server is not None
        question.usedEdns = server.plainUntil <= self._clock.seconds()
        try:
            socket, question.id = self._sockets.place(question, server.interface)
            question.socket = socket
            socket.send(encode(question.id, question.name, question.type, question.usedEdns), server.address)
        except OSError as error:
            self._release(question)
            question.trouble = f"{server}: {error}"
            return False
        self._expect(question, UDP_TIMEOUT)
        return True

    def _sendStream(self, question: _Question) -> None:
        """The same question to the same server, over TCP."""
        server = question.server
        assert server is not None
        if self._streams >= MOST_STREAMS:
            self._failed(question, "too many answers that do not fit into a datagram")
            return
        self._release(question)
        self._streams += 1
        id = int.from_bytes(self._platform.secret(2), "big")
        question.stream = stream = StreamQuestion(
            encode(id, question.name, question.type, question.usedEdns),
            lambda data: self._receivedStream(question, id, data),
            lambda reason: self._failed(question, reason),
        )
        self._expect(question, TCP_TIMEOUT)
        stream.start(self._platform.network, server.address, TCP_TIMEOUT)

    def _expect(self, question: _Question, timeout: float) -> None:
        """One timer serves all questions."""
        question.attempt += 1
        self._serial += 1
        now = self._clock.seconds()
        due = min(now + timeout, question.deadline)
        heappush(self._due, (due, self._serial, question, question.attempt))
        if self._timer is None:
            self._timer = self._clock.callLater(due - now, self._tick)
        elif due < self._timer.getTime():
            self._timer.reset(due - now)

    def _tick(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        while self._due:
            due, _, question, attempt = self._due[0]
            if question.over or question.attempt != attempt:
                heappop(self._due)
            elif due <= now:
                heappop(self._due)
                self._silent(question)
            else:
                if self._timer is None:
                    self._timer = self._clock.callLater(due - now, self._tick)
                break

    def _silent(self, question: _Question) -> None:
        server = question.server
        assert server is not None
        server.slowUntil = self._clock.seconds() + PENALTY
        question.turns.append(server)
        question.trouble = f"{server}: no answer in time"
        self._release(question)
        self._next(question)

    def _failed(self, question: _Question, reason: str) -> None:
        """This server is of no use for this question."""
        question.trouble = f"{question.server}: {reason}"
        self._release(question)
        self._next(question)

    # --- being answered

    def _received(self, socket: Socket[_Question], data: bytes, address: Any) -> None:
        if len(data) < HEADER or not data[2] & 0x80:
            return
        question = socket.pending.get(data[0] << 8 | data[1])
        if question is None:
            return
        server = question.server
        assert server is not None
        # The system writes addresses in their canonical form, with the scope of link-local ones.
        if address[1] != server.port or address[0].partition("%")[0] != server.host:
            return
        message = decode(data)
        if message is None or not answers(message, question.name, question.type):
            # Perhaps a forgery: the true answer may still come.
            return
        self._judge(question, server, message, mayStream=True)

    def _receivedStream(self, question: _Question, id: int, data: bytes) -> None:
        server = question.server
        assert server is not None
        message = decode(data)
        if (
            message is None
            or message.id != id
            or not message.answer
            or not answers(message, question.name, question.type)
        ):
            self._failed(question, "an answer that makes no sense")
        else:
            self._judge(question, server, message, mayStream=False)

    def _judge(self, question: _Question, server: Server, message: dns.Message, mayStream: bool) -> None:
        server.slowUntil = 0.0
        rcode = message.rCode | extendedRcode(message)
        if rcode in (dns.EFORMAT, dns.ENOTIMP) and question.usedEdns:
            server.plainUntil = self._clock.seconds() + PLAIN_FOR
            self._release(question)
            question.turns.appendleft(server)
            question.tries += 1
            self._next(question)
        elif rcode not in (dns.OK, dns.ENAME):
            self._failed(question, _RCODES.get(rcode, f"error {rcode}"))
        elif message.trunc:
            if mayStream:
                self._sendStream(question)
            else:
                self._failed(question, "a truncated answer over TCP")
        elif isLame(message):
            self._failed(question, "it does not recurse")
        else:
            self._finish(question, message)
