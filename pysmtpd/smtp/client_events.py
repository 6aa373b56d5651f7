"""What the client core is given, and what it tells its owner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from enum import Enum

from pysmtpd.model.envelope import Notify
from pysmtpd.model.reply import Reply
from pysmtpd.model.value import value
from pysmtpd.smtp.client_extensions import Extensions


class StartTls(Enum):
    """What to do about STARTTLS. With implicit TLS it is NEVER, and the session is C{secured} from its start."""

    NEVER = "never"
    OPPORTUNISTIC = "opportunistic"
    REQUIRED = "required"


class Stage(Enum):
    """Where a session stands: which time-out counts (RFC 5321 4.5.3.2), and where it failed."""

    GREETING = "greeting"
    HELLO = "hello"
    STARTTLS = "starttls"
    TLS = "tls"
    AUTH = "auth"
    IDLE = "idle"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    CONTENT = "content"
    END_OF_DATA = "end of data"
    QUIT = "quit"
    CLOSED = "closed"


@value
class Credentials:
    user: str
    password: bytes = field(repr=False)


@value
class ClientSettings:
    """
    @ivar hostname: what we call ourselves in EHLO.
    @ivar secured: TLS is on before the first octet (smtps).
    @ivar credentials: authenticate with these, or fail; never without TLS.
    @ivar nonce: for SCRAM: printable, without commas, never used before; empty: SCRAM is not used.
    """

    hostname: str
    lmtp: bool = False
    starttls: StartTls = StartTls.OPPORTUNISTIC
    secured: bool = False
    credentials: Credentials | None = None
    nonce: str = ""


@value
class OutgoingRcpt:
    """
    @ivar path: as it stands between the brackets.
    @ivar orcpt: C{type;address}, decoded; empty: none.
    """

    path: str
    notify: Notify = Notify.UNSET
    orcpt: str = ""


@value
class OutgoingMail:
    """One transaction to come.

    @ivar sender: as it stands between the brackets; empty: the null path.
    @ivar size: octets of the content.
    @ivar body: C{""} (7 bit), 8BITMIME or BINARYMIME: what the content is.
    @ivar smtputf8: an address or a header field needs it.
    @ivar requireTls: say REQUIRETLS to a peer that offers it (RFC 8689); whether it has to is not decided here.
    """

    sender: str
    recipients: Sequence[OutgoingRcpt]
    size: int
    body: str = ""
    smtputf8: bool = False
    ret: str = ""
    envid: str = ""
    requireTls: bool = False


@value
class ClientEvent:
    """Base of all that the client core tells."""


@value
class TlsWanted(ClientEvent):
    """Start TLS now; call C{tlsStarted} when the handshake is done."""


@value
class Established(ClientEvent):
    """Transactions may start."""

    extensions: Extensions


@value
class ContentWanted(ClientEvent):
    """Call C{content} with each piece, the last one marked."""


@value
class Finished(ClientEvent):
    """The transaction is over.

    @ivar replies: for each recipient, in order, the reply that decided: every one has an enhanced code.
    @ivar reached: the peer had the whole content; a negative reply came, or was made up, after it.
    @ivar left: recipients that nothing was said about before the session ended; their replies are made up.
    @ivar said: what was said of all of it: to MAIL, DATA or the content, or what ended the session; None: nothing but yes.
    @ivar isLacking: the peer lacks what the message needs, so nothing was said to it.
    """

    replies: tuple[Reply, ...]
    reached: bool
    left: tuple[int, ...] = ()
    isLacking: bool = False
    said: Reply | None = field(default=None, compare=False)


@value
class Ended(ClientEvent):
    """The session is over; close the connection. Always the last event.

    @ivar stage: where it ended; QUIT: as we wished.
    """

    stage: Stage
    reply: Reply
