"""What the server core asks its owner, one event at a time, and the bounds and abilities that it is given.

The law: one unanswered command at a time. After an event that L{asks}, the core parses nothing before it was answered; order under
pipelining and immunity to command injection at STARTTLS follow from that alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar

from pysmtpd.model.address import Path
from pysmtpd.model.config import BareNewline
from pysmtpd.model.envelope import Notify
from pysmtpd.model.reply import Reply
from pysmtpd.model.value import value


class Idle(Enum):
    """What C{nextEvent} answers when there is no event."""

    NEED_DATA = "need data"
    PAUSED = "paused"
    CLOSED = "closed"


NEED_DATA = Idle.NEED_DATA
PAUSED = Idle.PAUSED
CLOSED = Idle.CLOSED


class Waiting(Enum):
    """What a server core waits for from its peer: which of the listener's time-outs counts."""

    COMMAND = "command"
    DATA = "data"
    AUTH = "auth"
    TLS = "tls"
    US = "us"


@value
class ServerSettings:
    """What one session's core may do; made from the listener and its limits.

    @ivar hostname: the name in the greeting and the EHLO answer.
    @ivar lmtp: speak LMTP (RFC 2033) in place of SMTP.
    @ivar starttls: STARTTLS can be offered now.
    @ivar tlsRequired: 530 to MAIL before TLS.
    @ivar authRequired: 530 to MAIL before AUTH.
    @ivar authMechanisms: offered when C{authWithoutTls} or TLS is on; empty: no AUTH at all.
    @ivar maxSize: octets of a message; 0 never means unlimited.
    @ivar dsn: offer DSN (RFC 3461).
    """

    hostname: str
    lmtp: bool = False
    starttls: bool = False
    tlsRequired: bool = False
    authRequired: bool = False
    authMechanisms: tuple[str, ...] = ()
    authWithoutTls: bool = False
    maxSize: int = 36_700_160
    maxMails: int = 1000
    maxRcpt: int = 1000
    maxErrors: int = 20
    maxCommands: int = 100
    maxLineLength: int = 2048
    maxTextLine: int = 65_536
    bareNewline: BareNewline = BareNewline.REJECT
    dsn: bool = True


@dataclass(slots=True)
class Event:
    """
    @cvar asks: the core waits for C{answer} (for L{EndOfData} under LMTP: C{answerEach}) before it goes on.
    """

    asks: ClassVar[bool] = True


@dataclass(slots=True)
class Connect(Event):
    """The first event. 220 opens the session; 421 or 554 refuse it (RFC 5321 3.1)."""


@dataclass(slots=True)
class Hello(Event):
    """HELO, EHLO or LHLO. On 250 the core adds the list of extensions; C{name} is a domain or an address literal, as it was given."""

    verb: str
    name: str


@dataclass(slots=True)
class StartTls(Event):
    """Answer 220 and then start TLS, and call C{tlsStarted} when the handshake is done; the core forgets all that came before."""


@dataclass(slots=True)
class Authenticate(Event):
    """Credentials are complete (PLAIN, LOGIN). 235, 535 or 454 answer it."""

    mechanism: str
    user: str
    password: bytes = field(repr=False)
    authorization: str = ""


@dataclass(slots=True)
class Xclient(Event):
    """A proxy tells who its client is. 220 greets that client: everything that was said before is forgotten, and the client has logged in
    if C{login} says so. 421 and others refuse.

    @ivar name: the client's confirmed name; empty: it has none; None: not told.
    @ivar address: its address in canonical form; empty: not known; None: not told.
    @ivar port: 0: not told.
    @ivar helo: what it calls itself.
    @ivar login: the user that the proxy has authenticated.
    @ivar destination: the address that it has connected to; empty: not told.
    """

    name: str | None = None
    address: str | None = None
    port: int = 0
    helo: str = ""
    login: str = ""
    destination: str = ""
    destinationPort: int = 0


@dataclass(slots=True)
class Mail(Event):
    """
    @ivar size: of SIZE=, already held against the limit; 0: not given.
    @ivar body: C{""}, 7BIT, 8BITMIME or BINARYMIME.
    """

    path: Path
    size: int = 0
    body: str = ""
    ret: str = ""
    envid: str = ""
    smtputf8: bool = False
    auth: str = ""
    requireTls: bool = False


@dataclass(slots=True)
class Rcpt(Event):
    """
    @ivar orcpt: C{type;address}, decoded; empty: none.
    """

    path: Path
    notify: Notify = Notify.UNSET
    orcpt: str = ""


@dataclass(slots=True)
class Data(Event):
    """DATA, or the first BDAT: the content may come. 354 lets it (for BDAT nothing is written); 4xx or 5xx refuse.

    A DATA that is refused leaves the transaction open. A BDAT that is refused ends it: its octets are read first, then the refusal is said
    and a L{Reset} follows (RFC 3030 2).
    """

    bdat: bool = False


@dataclass(slots=True)
class Content(Event):
    """A piece of canonical content: CRLF, dot-unstuffed. Never asks; its owner stops calling C{nextEvent} while it is full."""

    asks: ClassVar[bool] = False
    data: bytes


@dataclass(slots=True)
class EndOfData(Event):
    """The content is complete and acceptable. 250 accepts it; under LMTP C{answerEach} gives one reply for each accepted recipient."""

    size: int
    eightBit: bool = False


@dataclass(slots=True)
class ContentRefused(Event):
    """The core has already answered the end of data with C{reply} (too large, bare newline, line too long): drop what was written."""

    asks: ClassVar[bool] = False
    reply: Reply


@dataclass(slots=True)
class Reset(Event):
    """RSET, a second EHLO, a refused BDAT, or the end of TLS negotiation ended the transaction, if there was one; the core has answered."""

    asks: ClassVar[bool] = False


@dataclass(slots=True)
class Verify(Event):
    """VRFY. 252 is the usual answer (RFC 5321 3.5.3)."""

    argument: str


@dataclass(slots=True)
class Refused(Event):
    """For the log: the core itself refused a command. C{command} is cut, printable, and never holds an AUTH payload."""

    asks: ClassVar[bool] = False
    command: str
    reply: str


@dataclass(slots=True)
class Quit(Event):
    """The core has answered 221; close when all is written."""

    asks: ClassVar[bool] = False


@dataclass(slots=True)
class Hangup(Event):
    """A bound was passed; the core has said 421 (or 500) and reads no more; close when all is written."""

    asks: ClassVar[bool] = False
    reason: str
