"""The C{.forward} of users, and who reads it."""

from __future__ import annotations

import errno
import json
from typing import Any

from twisted.internet.defer import Deferred, DeferredSemaphore, fail
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from pysmtpd.interfaces.platform import IDisk, IHelper, IPlatform
from pysmtpd.interfaces.routing import ForwardRefused, IForwardReader
from pysmtpd.model.question import UserInfo

LANE = "forward"
NAME = ".forward"
MAX_SIZE = 4096
PATIENCE = 2.0

# How many are read at one time, those included that nobody waits for any more.
MAX_READING = 16

# With root's helper others wait for their turn, so many of them and so many seconds.
MAX_WAITING = 1000
TURN = 20.0

# Homes that stand for none.
_NOWHERE = ("", "/nonexistent", "/dev/null")

# A .forward as JSON text, at worst.
_MAX_ANSWER = 16 * MAX_SIZE


@implementer(IForwardReader)
class LaneForwards:
    """Without root: of the invoking user only, in a lane. Others have none as far as this daemon is concerned, which cannot deliver to
    them either."""

    def __init__(self, platform: IPlatform, patience: float = PATIENCE) -> None:
        """
        @param patience: seconds.
        """
        self._platform = platform
        self._patience = patience
        self._uid = platform.users.me().uid
        self._reading = 0

    def read(self, user: UserInfo) -> Deferred[str | None]:
        """See L{IForwardReader.read}."""
        return Deferred.fromCoroutine(self._read(user))

    async def _read(self, user: UserInfo) -> str | None:
        if user.uid != self._uid or user.home in _NOWHERE:
            return None
        if self._reading >= MAX_READING:
            raise OSError(errno.EBUSY, f"{user.home} does not answer")
        self._reading += 1
        reading = self._platform.workers.run(LANE, _read, self._platform.disk, user)
        answered: Deferred[bytes | None] = Deferred()

        def ended(result: Any) -> None:
            self._reading -= 1
            if not answered.called:
                answered.callback(result)

        # A lane cannot be interrupted: the one who asked goes on, the lane stays busy.
        reading.addBoth(ended)

        def late(outcome: object, seconds: float) -> bytes:
            raise OSError(errno.ETIMEDOUT, f"{user.home} does not answer within {seconds:g} seconds")

        try:
            octets = await answered.addTimeout(self._patience, self._platform.clock, late)
        except PermissionError as error:
            if error.errno == errno.EPERM:
                raise ForwardRefused(error.strerror or str(error)) from error
            raise
        return None if octets is None else _decoded(octets)


def _read(disk: IDisk, user: UserInfo) -> bytes | None:
    """Runs in the lane."""
    try:
        return disk.readTrusted(user.home, NAME, (user.uid,), MAX_SIZE)
    except FileNotFoundError:
        return None


def _decoded(octets: bytes) -> str:
    """
    @raise OSError: it is no text.
    """
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        raise OSError(errno.EILSEQ, "it is not UTF-8") from None


class _Answer(Protocol):
    """What a child of the root helper has read."""

    transport: Any

    def __init__(self, answered: Deferred[bytes]) -> None:
        self._answered = answered
        self._octets = bytearray()

    def dataReceived(self, data: bytes) -> None:
        self._octets += data
        if len(self._octets) > _MAX_ANSWER:
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure | None = None) -> None:
        if not self._answered.called:
            self._answered.callback(bytes(self._octets))

    def hangUp(self) -> None:
        if self.transport is not None:
            self.transport.abortConnection()


@implementer(IForwardReader)
class HelperForwards:
    """With root: in a child of the root helper, which has become the user for good."""

    def __init__(self, platform: IPlatform, helper: IHelper, patience: float = PATIENCE) -> None:
        """
        @param patience: seconds.
        """
        self._platform = platform
        self._helper = helper
        self._patience = patience
        self._places = DeferredSemaphore(MAX_READING)

    def read(self, user: UserInfo) -> Deferred[str | None]:
        """See L{IForwardReader.read}."""
        if user.home in _NOWHERE:
            return Deferred.fromCoroutine(_nothing())
        if len(self._places.waiting) >= MAX_WAITING:
            return fail(OSError(errno.EBUSY, "too many .forward files are being read"))
        return Deferred.fromCoroutine(self._inTurn(user))

    async def _inTurn(self, user: UserInfo) -> str | None:
        def late(outcome: object, seconds: float) -> DeferredSemaphore:
            raise OSError(errno.EBUSY, f"there was no turn to read it within {seconds:g} seconds")

        await self._places.acquire().addTimeout(TURN, self._platform.clock, late)
        try:
            return await self._read(user)
        finally:
            self._places.release()

    async def _read(self, user: UserInfo) -> str | None:
        answered: Deferred[bytes] = Deferred()
        protocol = _Answer(answered)

        def late(outcome: object, seconds: float) -> bytes:
            raise OSError(errno.ETIMEDOUT, f"{user.home} does not answer within {seconds:g} seconds")

        try:
            await self._helper.forward(user, protocol)
            octets = await answered.addTimeout(self._patience, self._platform.clock, late)
        finally:
            protocol.hangUp()
        return _understood(octets)


async def _nothing() -> None:
    return None


def _understood(octets: bytes) -> str | None:
    """
    @raise ForwardRefused:
    @raise OSError: it could not be read, or the child ended without a word.
    """
    try:
        values = json.loads(octets)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise OSError(errno.EIO, "it could not be read")
    refused, text = values.get("refused"), values.get("text")
    if isinstance(refused, str):
        code = values.get("errno")
        if code == errno.EPERM:
            raise ForwardRefused(refused)
        raise OSError(code if isinstance(code, int) else errno.EIO, refused)
    if text is None:
        return None
    if not isinstance(text, str) or len(text) > MAX_SIZE:
        raise OSError(errno.EIO, "it could not be read")
    return _decoded(text.encode("latin-1", "replace"))
