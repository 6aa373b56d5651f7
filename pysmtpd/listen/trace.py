"""The trace field that goes before an accepted message (RFC 5321 4.4). Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

from pysmtpd.model.address import Path
from pysmtpd.model.date import formatDate
from pysmtpd.model.facts import SessionFacts, TlsFacts, Transaction
from pysmtpd.model.ids import MessageId, formatMessageId

# What a peer calls itself is shown, but never enough of it to break the field.
MAX_NAME = 255
_UNSAFE_USER = re.compile(r"[^\w.@+=~!#$%&'*/?^{|}-]")
_UNSAFE = re.compile(r"[^!-'*-\[\]-~\u00a1-\uffff]")


class TraceStyle(NamedTuple):
    """
    @ivar maskSource: nothing is told of where the peer is, nor what it calls itself (C{mask-src}).
    @ivar showUser: the authenticated user is told, if the session is encrypted (C{received-auth}).
    """

    maskSource: bool = False
    showUser: bool = False


PLAIN_STYLE = TraceStyle()


def protocolName(verb: str, isTls: bool, isAuthenticated: bool) -> str:
    """The C{with} of a session (RFC 3848), from the verb of its greeting: HELO, EHLO or LHLO."""
    if verb == "HELO":
        return "SMTP"
    return ("LMTP" if verb == "LHLO" else "ESMTP") + ("S" if isTls else "") + ("A" if isAuthenticated else "")


def received(
    transaction: Transaction,
    message: MessageId,
    recipient: Path | None,
    seconds: float,
    style: TraceStyle = PLAIN_STYLE,
) -> bytes:
    """
    @param recipient: the message's recipient when it has exactly one; naming one of several would betray the others.
    @param seconds: wall-clock time of acceptance.
    @return: one Received field with its CRLF.
    """
    session = transaction.session
    smtputf8 = transaction.smtputf8
    protocol = session.protocol
    if smtputf8:
        # RFC 6531 4.3: UTF8SMTP, UTF8SMTPSA, UTF8LMTP, ...
        protocol = "UTF8" + protocol.removeprefix("E")
    comment = f"\r\n\t({_tls(session.tls)})" if session.tls is not None else ""
    address = "" if recipient is None or (recipient.isUTF8 and not smtputf8) else f"\r\n\tfor <{recipient}>"
    source = "" if style.maskSource else f"from {_from(session)}\r\n\t"
    if style.showUser and session.tls is not None and session.user:
        comment += f" auth=yes user={_UNSAFE_USER.sub('?', session.user[:MAX_NAME])}"
    text = (
        f"Received: {source}by {session.hostname} with {protocol} id {formatMessageId(message)}"
        f"{comment}{address};\r\n\t{formatDate(seconds)}\r\n"
    )
    return text.encode("utf-8" if smtputf8 else "ascii", "replace")


def _from(session: SessionFacts) -> str:
    name = _UNSAFE.sub("?", session.helo[:MAX_NAME]) or "unknown"
    if session.peer == "local":
        user = f" user {_UNSAFE_USER.sub('?', session.user[:MAX_NAME])}" if session.user else ""
        return f"{name} (local{user})"
    address = f"IPv6:{session.peer}" if ":" in session.peer else session.peer
    return f"{name} ({session.rdns or 'unknown'} [{address}])"


def _tls(tls: TlsFacts) -> str:
    """As OpenSMTPD writes it: version, cipher, bits, and whether the client's certificate was verified."""
    return f"{tls.protocol}:{tls.cipher}:{tls.bits}:{'YES' if tls.verified else 'NO'}"
