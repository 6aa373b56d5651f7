"""The content of a message for a host that takes 7-bit content only."""

from __future__ import annotations

import re
from enum import Enum

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from pysmtpd.interfaces.queue import IBody
from pysmtpd.interfaces.ready import Ready, asDeferred
from pysmtpd.smtp.client_events import OutgoingMail
from pysmtpd.smtp.client_extensions import Extensions
from pysmtpd.smtp.sevenbit import Converter, Plan, Survey

_BARE = re.compile(rb"[\r\n\0]")


class Verdict(Enum):
    """CLEAN: what comes out may go to anyone. FORBIDDEN: it must not be changed. UNCLEAR: it cannot be told how to."""

    CLEAN = "clean"
    FORBIDDEN = "signed or encrypted"
    UNCLEAR = "in a structure or encoding that is not known"


def mustConvert(offered: Extensions, mail: OutgoingMail, isEightBit: bool) -> bool:
    """Is the content of a kind that the peer does not take (RFC 6152 3, RFC 3030 3)?"""
    if mail.smtputf8:
        # Nothing can be done about addresses and header fields.
        return False
    if mail.body == "BINARYMIME" and not (offered.chunking and offered.binaryMime):
        return True
    # RFC 6531 3.1 (8): whoever offers SMTPUTF8 takes 8-bit content.
    return isEightBit and not (offered.eightBit or offered.smtputf8)


@implementer(IBody)
class SevenBitBody:
    """Another body, converted while it is read. Ask C{prepare} first. C{size} is exact then."""

    def __init__(self, body: IBody, clock: IReactorTime) -> None:
        self.size = body.size
        self._body = body
        self._clock = clock
        self._plan = Plan(b"", False, False, True)
        self._converter: Converter | None = None
        self._isOver = False
        self._isClosed = False

    @property
    def original(self) -> IBody:
        """What it converts."""
        return self._body

    async def prepare(self, breaksDkim: bool) -> Verdict | None:
        """Look at all of it, twice; the reactor has its turn after each chunk. Then it is at its start again.

        @param breaksDkim: a signature of the sender's host (DKIM) is no reason to leave the content alone.
        @return: None: it was closed meanwhile.
        @raise QueueError: it cannot be read.
        """
        self._body.rewind()
        survey = Survey()
        while chunk := b"" if self._isClosed else await asDeferred(self._body.read()):
            survey.feed(chunk)
            await self._turn()
        if self._isClosed:
            return None
        survey.finish()
        plan = self._plan = survey.plan
        if plan.isSigned or (plan.isDkimSigned and not breaksDkim):
            return Verdict.FORBIDDEN
        if plan.isOdd:
            return Verdict.UNCLEAR
        self.rewind()
        size, end = 0, b""
        isClean = True
        while chunk := await asDeferred(self.read()):
            size += len(chunk)
            if isClean:
                end += chunk
                half = end.endswith(b"\r")
                isClean = _BARE.search(end.removesuffix(b"\r").replace(b"\r\n", b"")) is None
                end = b"\r" if half else b""
            await self._turn()
        if self._isClosed:
            return None
        self.size = size
        self.rewind()
        return Verdict.CLEAN if isClean else Verdict.UNCLEAR

    def _turn(self) -> Deferred[None]:
        """Others wait."""
        turn: Deferred[None] = Deferred()
        self._clock.callLater(0, turn.callback, None)
        return turn

    def read(self) -> Ready[bytes]:
        """See L{IBody.read}; a chunk may be three times as long."""
        while not self._isOver:
            chunk = self._body.read()
            if isinstance(chunk, Deferred):
                return chunk.addCallback(self._came)
            converted = self._convert(chunk)
            if converted:
                return converted
        return b""

    def _came(self, chunk: bytes) -> Ready[bytes]:
        return self._convert(chunk) or self.read()

    def _convert(self, chunk: bytes) -> bytes:
        converter = self._converter
        if converter is None:
            converter = self._converter = Converter(self._plan)
        if chunk:
            converter.feed(chunk)
        else:
            self._isOver = True
            converter.finish()
        return converter.take()

    def rewind(self) -> None:
        self._body.rewind()
        self._converter = None
        self._isOver = False

    def close(self) -> None:
        self._isClosed = True
        self._isOver = True
        self._body.close()
