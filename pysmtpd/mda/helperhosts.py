"""Delivery with root's help: one delivery host for each user whose mail is delivered, a process that runs as that user."""

from __future__ import annotations

import errno
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from pysmtpd.interfaces import DeliveryRefused, HelperFailed, IBody, IDeliveryHosts, IHelper, IPlatform, answered
from pysmtpd.mda.hosts import concluded, refusal
from pysmtpd.mda.wire import Answer, Frame, Kind, Status, asExit, packFrame, takeAnswers
from pysmtpd.model.reply import Reply
from pysmtpd.model.task import Account, CommandTask, MboxTask, Task

# Content above this goes in pieces.
WHOLE = 262_144

MAX_HOSTS = 32

# Seconds after which a host without work ends.
IDLE = 60.0

# Seconds without an answer after which a host that has letters is given up; beyond the time that a command may take, if it has one.
PATIENCE = 300.0

# Why the system's mailbox of a user cannot be opened, where root may have to make it.
_NO_MAILBOX = {errno.EACCES, errno.ENOENT, errno.EPERM}

STOPPING = Reply(451, "Daemon is stopping", "4.3.2")


def _refused(text: str) -> DeliveryRefused:
    return DeliveryRefused(Reply(451, text, "4.3.0"))


class _Host(Protocol):
    """The daemon's end of one host.

    @ivar busy: deliveries that have chosen this host and have not ended.
    @ivar isRetiring: it gets no new ones, so that another user's host can take its place.
    """

    transport: Any

    def __init__(self, hosts: HelperHosts, account: Account) -> None:
        self.account = account
        self.user = account.key
        self.busy = 0
        self.isRetiring = False
        self.isConnected = False
        self._hosts = hosts
        self._buffer = bytearray()
        self._waiting: dict[int, Deferred[Answer]] = {}
        # By letter: when a command's time is over.
        self._slow: dict[int, float] = {}
        self._idle: IDelayedCall | None = None
        self._watch: IDelayedCall | None = None
        self._heard = 0.0

    def connectionMade(self) -> None:
        self.isConnected = True

    # --- talk

    def ask(self, frame: Frame, slowness: float = 0.0) -> Deferred[Answer]:
        """
        @param slowness: seconds that the answer may take, beyond the usual.
        @raise DeliveryRefused: the host is gone.
        @raise ValueError: the frame is too long.
        """
        if not self.isConnected:
            raise self._lost()
        octets = packFrame(frame)
        done = self._waiting[frame.letter] = Deferred[Answer]()
        if slowness:
            self._slow[frame.letter] = self._hosts.platform.clock.seconds() + slowness
        elif len(self._waiting) == len(self._slow) + 1:
            # The first to which an answer is due soon.
            self._heard = self._hosts.platform.clock.seconds()
        self.transport.write(octets)
        return done

    def tell(self, frame: Frame) -> None:
        if self.isConnected:
            self.transport.write(packFrame(frame))

    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        try:
            answers = takeAnswers(self._buffer)
        except ValueError:
            # It runs as somebody else: it may say anything.
            self.end()
            return
        self._heard = self._hosts.platform.clock.seconds()
        for answer in answers:
            done = self._waiting.pop(answer.letter, None)
            self._slow.pop(answer.letter, None)
            if done is not None:
                done.callback(answer)

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.isConnected = False
        self._rest()
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        self._hosts.ended(self)
        waiting, self._waiting = self._waiting, {}
        for done in waiting.values():
            done.errback(self._lost())

    def _lost(self) -> DeliveryRefused:
        return _refused(f"The delivery host of user {self.user} has ended")

    # --- life

    def take(self) -> None:
        """A delivery has chosen it."""
        clock = self._hosts.platform.clock
        if not self.busy:
            self._heard = clock.seconds()
            if self._watch is None:
                self._watch = clock.callLater(PATIENCE, self._look)
        self.busy += 1
        self._rest()

    def leave(self) -> None:
        """That delivery has ended."""
        self.busy -= 1
        if not self.busy and self.isConnected:
            if not self.isRetiring:
                self._hosts.rested()
            if self.isRetiring:
                self.end()
            else:
                self._idle = self._hosts.platform.clock.callLater(self._hosts.idleSeconds, self._tired)

    def retire(self) -> None:
        """End when the deliveries that it has are done."""
        self.isRetiring = True
        if not self.busy:
            self.end()

    def end(self) -> None:
        """Hang up: the process ends by that."""
        self._rest()
        self.isRetiring = True
        if self.isConnected:
            # Not loseConnection: one that takes nothing any more must not keep its place.
            self.transport.abortConnection()

    def _look(self) -> None:
        """Is it still at work? A file system that hangs must not keep letters for ever."""
        clock = self._hosts.platform.clock
        since = self._heard
        if self._slow and len(self._waiting) == len(self._slow):
            # While it has nothing but commands it need not say anything.
            since = max(since, *self._slow.values())
        left = since + PATIENCE - clock.seconds()
        self._watch = None
        if self.busy and left <= 0:
            self.end()
        elif self.busy:
            self._watch = clock.callLater(left, self._look)

    def _tired(self) -> None:
        self._idle = None
        self.retire()

    def _rest(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None


@implementer(IDeliveryHosts)
class HelperHosts:
    """Hosts are started when they are first needed, at most so many at one time. When another user needs one, the least recently used ends
    as soon as its deliveries are done. A host that dies fails its letters for now, and the next letter starts another."""

    _log = Logger()

    def __init__(
        self, platform: IPlatform, helper: IHelper, maxHosts: int = MAX_HOSTS, idleSeconds: float = IDLE
    ) -> None:
        self.platform = platform
        self.idleSeconds = idleSeconds
        self._helper = helper
        self._maxHosts = maxHosts
        # By the time of their last use, the longest ago first.
        self._hosts: dict[str, _Host] = {}
        self._starting: dict[str, _Host] = {}
        self._wanted: dict[str, tuple[Account, list[Deferred[_Host]]]] = {}
        self._letters = 0
        self._busy = 0
        self._closed: Deferred[None] | None = None

    @property
    def users(self) -> tuple[str, ...]:
        """Who has a host now."""
        return (*self._hosts, *self._starting)

    def deliver(self, account: Account, task: Task, body: IBody) -> Deferred[str]:
        """See L{IDeliveryHosts.deliver}."""
        return Deferred.fromCoroutine(self._deliver(account, task, body))

    async def _deliver(self, account: Account, task: Task, body: IBody) -> str:
        if self._closed is not None:
            raise DeliveryRefused(STOPPING)
        self._busy += 1
        try:
            host = await self._host(account)
            try:
                return await self._store(host, task, body)
            except OSError as error:
                raise refusal(error) from error
            except ValueError as error:
                raise _refused(str(error)) from error
            finally:
                host.leave()
        finally:
            self._busy -= 1
            self._closing()

    async def _store(self, host: _Host, task: Task, body: IBody) -> str:
        if isinstance(task, MboxTask) and task.isSystem and not host.account.isNumeric:
            try:
                return await self._send(host, task, body)
            except OSError as error:
                if error.errno not in _NO_MAILBOX:
                    raise
                body.rewind()
                try:
                    await self._helper.mailbox(host.account.name)
                except HelperFailed as failed:
                    raise OSError(error.errno, f"{error.strerror}; and it cannot be made: {failed}") from error
        return await self._send(host, task, body)

    async def _send(self, host: _Host, task: Task, body: IBody) -> str:
        """
        @raise OSError: the host says so.
        """
        self._letters = letter = self._letters % 0xFFFFFFFF + 1
        slowness = task.limit if isinstance(task, CommandTask) else 0.0
        if body.size <= WHOLE:
            parts = []
            while chunk := await answered(body.read()):
                parts.append(chunk)
            return _stored(await host.ask(Frame(letter, Kind.WHOLE, task, b"".join(parts)), slowness), task)
        _next(await host.ask(Frame(letter, Kind.BEGIN, task)))
        try:
            while chunk := await answered(body.read()):
                _next(await host.ask(Frame(letter, Kind.PIECE, content=chunk)))
        except (DeliveryRefused, OSError):
            # The host has nothing of it any more.
            raise
        except BaseException:
            host.tell(Frame(letter, Kind.ABORT))
            raise
        return _stored(await host.ask(Frame(letter, Kind.END), slowness), task)

    # --- hosts

    def _host(self, account: Account) -> Deferred[_Host]:
        """The user's host, taken."""
        user = account.key
        if not self._helper.isAlive:
            raise _refused("The root helper has ended: nothing can be delivered until the daemon is started again")
        host = self._hosts.pop(user, None)
        if host is not None:
            self._hosts[user] = host
            if not host.isRetiring:
                host.take()
                return succeed(host)
        done: Deferred[_Host] = Deferred()
        self._wanted.setdefault(user, (account, []))[1].append(done)
        self._admit()
        return done

    def _admit(self) -> None:
        """Start hosts for those who wait; where there is no room, let old ones go."""
        free = self._maxHosts - len(self._hosts) - len(self._starting)
        short = 0
        for user, (account, _) in list(self._wanted.items()):
            if user in self._starting or user in self._hosts:
                continue
            if free > 0:
                free -= 1
                self._start(account)
            else:
                short += 1
        short -= sum(host.isRetiring for host in self._hosts.values())
        if short > 0:
            # Those without work first, the least recently used before others.
            staying = [host for host in self._hosts.values() if not host.isRetiring]
            for host in sorted(staying, key=lambda host: host.busy > 0)[:short]:
                host.retire()

    def _start(self, account: Account) -> None:
        host = self._starting[account.key] = _Host(self, account)
        self._helper.host(account, host).addCallbacks(self._started, self._failed, (host,), {}, (host,))

    def _started(self, result: object, host: _Host) -> None:
        user = host.user
        self._starting.pop(user, None)
        if not host.isConnected:
            # It has ended already.
            self._failed(Failure(_refused(f"The delivery host of user {user} has ended")), host)
            return
        self._hosts[user] = host
        # All of them first: one that ends at once must not find the host idle.
        _, wanted = self._wanted.pop(user, (None, []))
        for _ in wanted:
            host.take()
        for done in wanted:
            done.callback(host)
        self._admit()

    def _failed(self, failure: Failure, host: _Host) -> None:
        user = host.user
        self._starting.pop(user, None)
        self._log.error(
            "No delivery host for user {user}: {why}", user=user, why=failure.getErrorMessage(), failure=failure
        )
        refused = _refused(f"No delivery host for user {user} can be had now")
        for done in self._wanted.pop(user, (None, []))[1]:
            done.errback(refused)
        self._admit()

    def rested(self) -> None:
        """A host has nothing to do: it may have to give way."""
        if self._wanted:
            self._admit()

    def ended(self, host: _Host) -> None:
        """A host's process has ended, or nearly."""
        if self._hosts.get(host.user) is host:
            del self._hosts[host.user]
        self._closing()
        self._admit()

    # --- the end

    def close(self) -> Deferred[None]:
        """See L{IDeliveryHosts.close}."""
        if self._closed is None:
            self._closed = Deferred()
            for host in self._hosts.values():
                host.tell(Frame(0, Kind.STOP))
            self._closing()
        return self._closed

    def _closing(self) -> None:
        if self._closed is None or self._busy or self._closed.called:
            return
        if not self._hosts:
            self._closed.callback(None)
        for host in list(self._hosts.values()):
            host.end()


def _next(answer: Answer) -> None:
    if answer.status is not Status.NEXT:
        raise OSError(answer.code, _printable(answer.text))


def _stored(answer: Answer, task: Task) -> str:
    """
    @raise DeliveryRefused: its command says no.
    @raise OSError: it is not stored.
    """
    if answer.status is Status.EXITED:
        return _printable(concluded(asExit(answer), task))
    if answer.status is not Status.STORED or isinstance(task, CommandTask):
        raise OSError(answer.code, _printable(answer.text))
    return _printable(answer.text)


def _printable(text: str) -> str:
    """What a process of another user says, fit for a log's line."""
    return "".join(character if character.isprintable() else "?" for character in text)[:1000]
