"""When which command may come, as data.

The theory. A session is two machines. The I{reader} decides what the next octets are: a command line, content after DATA, a chunk of
BDAT, a SASL response, nothing while TLS starts. It is moved by answers alone and has no table; see L{pysmtpd.smtp.server}. The
I{progress} says how far the conversation has come, and it decides which commands make sense now. That is L{TABLE}: one row for each
verb, one column for each state; C{GO} lets the command through to be parsed and asked, anything else is the reply that refuses it.

Progress moves when a command succeeds, not when it is parsed (but for MAIL to DENIED):

  - START: greeted. HELO, EHLO or LHLO answered 250 leads to READY, from everywhere, and ends a transaction on its way.
  - READY: MAIL answered 250 leads to MAIL.
  - MAIL: a sender, no recipient yet. A RCPT leads to DENIED while it is judged, and to RCPT if it is accepted.
  - DENIED: recipients were tried, all were refused. It differs from MAIL in what DATA is told: 554 in place of 503 (RFC 5321 3.3).
  - RCPT: at least one recipient. DATA and its content lead to READY, well or ill; the first BDAT leads to CHUNKS. A DATA that is
    refused leaves all as it was.
  - CHUNKS: some of the content came by BDAT. The LAST one, a refused one, and RSET lead to READY (RFC 3030 2).
  - AWAY: the greeting was 554. Only QUIT is left (RFC 5321 3.1).

RSET leads to READY, or stays in START. The start of TLS leads to START (RFC 3207 4.2), and so does XCLIENT.

Not in the table, since it does not depend on the progress but on what the listener offers: whether TLS or AUTH is required, offered or
done, and the bounds. The octets behind a BDAT command are always read, whatever the table says to the command.
"""

from __future__ import annotations

from typing import Final

from pysmtpd.model.reply import Reply
from pysmtpd.smtp.replies import (
    BAD_SEQUENCE,
    CHUNKING,
    IN_TRANSACTION,
    NEED_HELLO,
    NEED_MAIL,
    NEED_RCPT,
    NESTED_MAIL,
    NO_RECIPIENTS,
)


class State:
    """The columns of L{TABLE}. Plain integers: in Python 3.11 a member of an enumeration takes ten times as long to look up."""

    START: Final = 0
    READY: Final = 1
    MAIL: Final = 2
    DENIED: Final = 3
    RCPT: Final = 4
    CHUNKS: Final = 5
    AWAY: Final = 6


GO: Final = None

# fmt: off
TABLE: Final[dict[bytes, tuple[Reply | None, ...]]] = {
    #            START       READY      MAIL            DENIED          RCPT            CHUNKS          AWAY
    b"HELO":     (GO,         GO,        GO,             GO,             GO,             GO,             BAD_SEQUENCE),
    b"EHLO":     (GO,         GO,        GO,             GO,             GO,             GO,             BAD_SEQUENCE),
    b"LHLO":     (GO,         GO,        GO,             GO,             GO,             GO,             BAD_SEQUENCE),
    b"STARTTLS": (NEED_HELLO, GO,        GO,             GO,             GO,             GO,             BAD_SEQUENCE),
    b"AUTH":     (NEED_HELLO, GO,        IN_TRANSACTION, IN_TRANSACTION, IN_TRANSACTION, IN_TRANSACTION, BAD_SEQUENCE),
    b"XCLIENT":  (GO,         GO,        IN_TRANSACTION, IN_TRANSACTION, IN_TRANSACTION, IN_TRANSACTION, BAD_SEQUENCE),
    b"MAIL":     (NEED_HELLO, GO,        NESTED_MAIL,    NESTED_MAIL,    NESTED_MAIL,    CHUNKING,       BAD_SEQUENCE),
    b"RCPT":     (NEED_HELLO, NEED_MAIL, GO,             GO,             GO,             CHUNKING,       BAD_SEQUENCE),
    b"DATA":     (NEED_HELLO, NEED_MAIL, NEED_RCPT,      NO_RECIPIENTS,  GO,             CHUNKING,       BAD_SEQUENCE),
    b"BDAT":     (NEED_HELLO, NEED_MAIL, NEED_RCPT,      NO_RECIPIENTS,  GO,             GO,             BAD_SEQUENCE),
    b"RSET":     (GO,         GO,        GO,             GO,             GO,             GO,             BAD_SEQUENCE),
    b"NOOP":     (GO,         GO,        GO,             GO,             GO,             GO,             BAD_SEQUENCE),
    b"HELP":     (GO,         GO,        GO,             GO,             GO,             GO,             BAD_SEQUENCE),
    b"VRFY":     (GO,         GO,        GO,             GO,             GO,             GO,             BAD_SEQUENCE),
    b"QUIT":     (GO,         GO,        GO,             GO,             GO,             GO,             GO),
}
# fmt: on

# Known and not done here: 502, not 500 (RFC 5321 4.2.4).
NOT_HERE: Final = frozenset((b"EXPN", b"SEND", b"SOML", b"SAML", b"TURN", b"ETRN", b"ATRN", b"BURL"))

# First words of other protocols. A browser that is made to post a form here would otherwise have its lines tried one by one.
FOREIGN: Final = frozenset(
    (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH", b"PRI")
)
