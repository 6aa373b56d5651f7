"""What a delivery came to, per envelope."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from pysmtpd.model.ids import EnvelopeId, SessionId
from pysmtpd.model.reply import Reply


class Result(Enum):
    """The words are those of the mail log."""

    DELIVERED = "Ok"
    TEMPORARY = "TempFail"
    PERMANENT = "PermFail"
    LOOP = "Loop"

    # Members are singletons; Enum's own hash is a Python call, and these are keys wherever an outcome is taken.
    __hash__ = object.__hash__


class Outcome(NamedTuple):
    """
    @ivar reply: what the peer said, or what we say in its place; always with an enhanced code.
    @ivar remote: who said it: C{"mx.example.org [192.0.2.1]"}; empty when the words are ours.
    @ivar relay: where it went or should have gone, for the log: a host, or a path of a mailbox.
    @ivar source: local address of the connection, if there was one.
    @ivar tls: as in L{pysmtpd.model.envelope.Attempt}.
    @ivar success: of a delivery by the mta: what we have to tell a sender who asks for it: delivered or relayed; empty: the peer tells.
    @ivar retryAt: wall-clock seconds before which another try is useless; 0: the scheduler decides.
    @ivar session: the id of the connection, if there was one.
    """

    envelope: EnvelopeId
    result: Result
    reply: Reply
    remote: str = ""
    relay: str = ""
    source: str = ""
    retryAt: float = 0.0
    tls: str = ""
    session: SessionId = SessionId(0)
    success: str = ""
