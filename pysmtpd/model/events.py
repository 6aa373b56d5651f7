"""One typed event for each fate of a session, message, envelope and attempt.

The mail log prints them, statistics count them, C{monitor} and the timeline follow them. The class names the fate; C{word} is
how the mail log calls it, in OpenSMTPD's words. Fields hold values, never secrets and never content.
"""

from __future__ import annotations

from typing import ClassVar

from pysmtpd.model.ids import EnvelopeId, MessageId, SessionId
from pysmtpd.model.value import value


@value
class Event:
    """
    @cvar room: which room tells it: smtp, queue, mta, mda, bounce, control, daemon.
    @cvar word: what happened.
    """

    room: ClassVar[str] = ""
    word: ClassVar[str] = ""


# --- smtp: sessions coming in


@value
class SessionConnected(Event):
    room: ClassVar[str] = "smtp"
    word: ClassVar[str] = "connected"
    session: SessionId
    address: str
    host: str
    listener: str


@value
class SessionAnnounced(Event):
    """A balancer or proxy that is believed has told who the peer of a session is.

    @ivar how: C{proxy} or C{xclient}.
    @ivar via: the address of the balancer or proxy.
    @ivar user: whom it has authenticated; empty: nobody.
    """

    room: ClassVar[str] = "smtp"
    word: ClassVar[str] = "announced"
    session: SessionId
    how: str
    via: str
    address: str
    host: str
    user: str


@value
class SessionRefused(Event):
    """A connection that was answered 421 instead of a greeting."""

    room: ClassVar[str] = "smtp"
    word: ClassVar[str] = "refused"
    address: str
    listener: str
    reason: str


@value
class SessionTls(Event):
    room: ClassVar[str] = "smtp"
    word: ClassVar[str] = "tls"
    session: SessionId
    ciphers: str
    sni: str


@value
class SessionAuthenticated(Event):
    """
    @ivar result: ok, permfail or tempfail.
    """

    room: ClassVar[str] = "smtp"
    word: ClassVar[str] = "authentication"
    session: SessionId
    user: str
    mechanism: str
    result: str


@value
class CommandFailed(Event):
    """A command that was refused. C{command} is cut and never holds an AUTH payload; C{reason} is not shown to the peer."""

    room: ClassVar[str] = "smtp"
    word: ClassVar[str] = "failed-command"
    session: SessionId
    command: str
    result: str
    reason: str = ""


@value
class SrsRefused(Event):
    """A bounce to a sender of the form that we rewrite them to, but not made by us, or too long ago."""

    room: ClassVar[str] = "smtp"
    word: ClassVar[str] = "srs-refused"
    session: SessionId
    rcpt: str
    reason: str


@value
class SessionDisconnected(Event):
    room: ClassVar[str] = "smtp"
    word: ClassVar[str] = "disconnected"
    session: SessionId
    reason: str
    messages: int
    seconds: float


# --- queue: messages accepted and finished


@value
class MessageAccepted(Event):
    """Durable when it is told, where the queue is durable."""

    room: ClassVar[str] = "smtp"
    word: ClassVar[str] = "message"
    session: SessionId
    msgid: MessageId
    sender: str
    size: int
    nrcpt: int
    proto: str


@value
class EnvelopeAccepted(Event):
    """
    @ivar via: how C{rcpt} led to C{to}, step by step.
    """

    room: ClassVar[str] = "smtp"
    word: ClassVar[str] = "envelope"
    session: SessionId
    evpid: EnvelopeId
    sender: str
    to: str
    rcpt: str
    action: str
    rule: str
    via: str = ""


@value
class ItemSetAside(Event):
    """A queue item that could not be read. It is kept, listed, and not tried."""

    room: ClassVar[str] = "queue"
    word: ClassVar[str] = "set-aside"
    item: str
    reason: str


@value
class QueueFailed(Event):
    """The queue could not do what was asked; the peer was answered 4xx, or the work stays where it is."""

    room: ClassVar[str] = "queue"
    word: ClassVar[str] = "failure"
    operation: str
    reason: str


@value
class EnvelopeBounced(Event):
    """The last fate of an envelope: its failure was reported (C{bounce} is the report), or there was nobody to tell (0)."""

    room: ClassVar[str] = "bounce"
    word: ClassVar[str] = "bounced"
    evpid: EnvelopeId
    sender: str
    to: str
    bounce: MessageId
    stat: str


@value
class EnvelopeReported(Event):
    """The sender was told of an envelope that has not failed: it is late, or was delivered and the sender had asked to hear of that.

    @ivar action: delayed, relayed or delivered.
    @ivar report: the report's message; 0: there was nobody to tell.
    """

    room: ClassVar[str] = "bounce"
    word: ClassVar[str] = "reported"
    evpid: EnvelopeId
    sender: str
    to: str
    action: str
    report: MessageId
    stat: str


@value
class EnvelopeRemoved(Event):
    """The last fate of an envelope: an operator removed it."""

    room: ClassVar[str] = "queue"
    word: ClassVar[str] = "removed"
    evpid: EnvelopeId
    sender: str
    to: str


@value
class EnvelopeExpired(Event):
    """Its time is over; a bounce follows."""

    room: ClassVar[str] = "queue"
    word: ClassVar[str] = "expired"
    evpid: EnvelopeId
    sender: str
    to: str


# --- mta and mda: attempts


@value
class DeliveryAttempted(Event):
    """One attempt for one envelope; with C{result=Ok} the last fate of that envelope.

    @ivar agent: mta or mda; printed as the room.
    @ivar delay: seconds since the message was accepted.
    """

    word: ClassVar[str] = "delivery"
    agent: str
    evpid: EnvelopeId
    sender: str
    to: str
    rcpt: str
    source: str
    relay: str
    delay: float
    result: str
    stat: str
    session: SessionId = SessionId(0)


@value
class ConnectionOpened(Event):
    room: ClassVar[str] = "mta"
    word: ClassVar[str] = "connected"
    session: SessionId
    address: str
    host: str
    source: str


@value
class ConnectionTls(Event):
    """
    @ivar sni: the server name that we asked for; empty: none, for the host is an address.
    """

    room: ClassVar[str] = "mta"
    word: ClassVar[str] = "tls"
    session: SessionId
    ciphers: str
    verified: bool
    sni: str = ""


@value
class ConnectionGreeted(Event):
    """
    @ivar banner: the text of the host's greeting.
    """

    room: ClassVar[str] = "mta"
    word: ClassVar[str] = "greeting"
    session: SessionId
    banner: str


@value
class ConnectionIdentified(Event):
    """All was said that comes before the first transaction.

    @ivar helo: what we called ourselves.
    @ivar extensions: that the host offers and we know.
    """

    room: ClassVar[str] = "mta"
    word: ClassVar[str] = "identified"
    session: SessionId
    helo: str
    extensions: str


@value
class ConnectionAuthenticated(Event):
    """We tried to log in.

    @ivar user: table and label of our credentials.
    @ivar result: ok, permfail or tempfail; L{CredentialsRefused} tells why.
    """

    room: ClassVar[str] = "mta"
    word: ClassVar[str] = "authentication"
    session: SessionId
    user: str
    mechanism: str
    result: str


@value
class CommandAnswered(Event):
    """One step of an outgoing session: greeting, hello, starttls, auth, reset, mail, rcpt, data, commit, quit, or unasked: the host has
    spoken when nobody had asked it. Told only to those who ask for steps.

    @ivar msgid: 0: it is of no message.
    @ivar command: what was said, without parameters and passwords; empty: nothing.
    """

    room: ClassVar[str] = "mta"
    word: ClassVar[str] = "command"
    session: SessionId
    msgid: MessageId
    step: str
    command: str
    result: str


@value
class PolicyFailed(Event):
    """The MTA-STS policy of a domain could not be had; what was known of it stays.

    @ivar domain: empty: it is about all of them.
    """

    room: ClassVar[str] = "mta"
    word: ClassVar[str] = "policy-failed"
    domain: str
    reason: str


@value
class TlsRefused(Event):
    """A host has not what is asked of its TLS, or cannot prove that it is the right one: no mail goes there.

    @ivar domain: whose mail it is.
    @ivar policy: what was asked: required, verified, DANE, REQUIRETLS.
    @ivar asked: by whom and why.
    """

    room: ClassVar[str] = "mta"
    word: ClassVar[str] = "tls-refused"
    domain: str
    host: str
    policy: str
    reason: str
    asked: str


@value
class TlsReportSent(Event):
    """A report about TLS (RFC 8460) was offered to a domain that wants them.

    @ivar domain: empty: it is about the file where sums are kept.
    @ivar sessions: that it tells of.
    @ivar result: C{Ok}, or why it was not taken.
    """

    room: ClassVar[str] = "mta"
    word: ClassVar[str] = "tls-report"
    domain: str
    uri: str
    sessions: int
    result: str


@value
class ConnectionClosed(Event):
    room: ClassVar[str] = "mta"
    word: ClassVar[str] = "disconnected"
    session: SessionId
    reason: str
    messages: int
    seconds: float


@value
class CredentialsRefused(Event):
    """A host does not take our credentials, or there are none for it: somebody has to mend them; mail waits until then.

    @ivar host: C{mx.example.org [192.0.2.1]}.
    @ivar credential: table and label.
    """

    room: ClassVar[str] = "mta"
    word: ClassVar[str] = "credentials-refused"
    session: SessionId
    host: str
    credential: str
    reason: str


@value
class ConnectionFailed(Event):
    room: ClassVar[str] = "mta"
    word: ClassVar[str] = "error"
    address: str
    host: str
    reason: str


# --- daemon and control


@value
class DaemonStarted(Event):
    room: ClassVar[str] = "daemon"
    word: ClassVar[str] = "started"
    version: str
    queue: str
    durability: str


@value
class DaemonStopped(Event):
    room: ClassVar[str] = "daemon"
    word: ClassVar[str] = "stopped"
    reason: str


@value
class Reloaded(Event):
    """The configuration was read again, or a table; new sessions use this generation.

    @ivar changes: what is different, in a few words each.
    """

    room: ClassVar[str] = "daemon"
    word: ClassVar[str] = "reloaded"
    generation: int
    changes: str


@value
class ReloadFailed(Event):
    """The configuration could not be taken; all is as it was.

    @ivar errors: how many there are.
    @ivar error: the first of them.
    """

    room: ClassVar[str] = "daemon"
    word: ClassVar[str] = "reload-failed"
    errors: int
    error: str


@value
class ConfigurationWarned(Event):
    """Something about the configuration that an operator should know; at start and at each reload."""

    room: ClassVar[str] = "daemon"
    word: ClassVar[str] = "warning"
    warning: str


@value
class ListenerOpened(Event):
    room: ClassVar[str] = "daemon"
    word: ClassVar[str] = "listening"
    listener: str


@value
class CertificateTaken(Event):
    """The files of a certificate have changed: new handshakes use it.

    @ivar name: C{pki NAME} or C{ca NAME}.
    """

    room: ClassVar[str] = "daemon"
    word: ClassVar[str] = "certificate-taken"
    name: str


@value
class CertificateKept(Event):
    """The files of a certificate have changed and cannot be used: the one from before stays."""

    room: ClassVar[str] = "daemon"
    word: ClassVar[str] = "certificate-kept"
    name: str
    reason: str


@value
class QueueLoaded(Event):
    """The walk over the queue at start has come to its end."""

    room: ClassVar[str] = "queue"
    word: ClassVar[str] = "loaded"
    envelopes: int
    seconds: float


@value
class Commanded(Event):
    """An operator's command that changed something."""

    room: ClassVar[str] = "control"
    word: ClassVar[str] = "command"
    command: str
    detail: str


@value
class InternalError(Event):
    """A fault of ours that cost one session, message or call. The daemon log holds the traceback."""

    room: ClassVar[str] = "daemon"
    word: ClassVar[str] = "internal-error"
    doing: str
    error: str
