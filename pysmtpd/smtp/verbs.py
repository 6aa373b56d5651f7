"""What each command asks of the owner, or says at once, when the table has let it through.

Pure but for the counters of L{Progress}. A command is refused by raising L{GrammarError}; AUTH, BDAT and QUIT change what is read next, so
the core does them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pysmtpd.model.reply import Reply
from pysmtpd.smtp import replies
from pysmtpd.smtp.commands import decodeArgument, parseHello, parseMail, parseRcpt
from pysmtpd.smtp.events import Data, Event, Hello, StartTls, Verify, Xclient
from pysmtpd.smtp.extensions import offersAuth
from pysmtpd.smtp.grammar import GrammarError
from pysmtpd.smtp.lmtp import HELLO_VERBS
from pysmtpd.smtp.progress import RCPT_OVERSHOOT, Progress
from pysmtpd.smtp.sasl import MECHANISMS
from pysmtpd.smtp.table import State
from pysmtpd.smtp.xclient import parseXclient


def _hello(verb: str) -> Callable[[Progress, bytes], Event]:
    def hello(progress: Progress, argument: bytes) -> Event:
        if verb not in HELLO_VERBS[progress.settings.lmtp]:
            raise GrammarError(replies.UNRECOGNIZED)
        progress.countIdle()
        return Hello(verb, parseHello(argument))

    return hello


def _startTls(progress: Progress, argument: bytes) -> Event:
    _refuseArgument(argument)
    if progress.tls:
        raise GrammarError(replies.TLS_ON)
    if not progress.settings.starttls:
        raise GrammarError(replies.NO_TLS)
    return StartTls()


def _xclient(progress: Progress, argument: bytes) -> Event:
    if not progress.xclient:
        raise GrammarError(replies.UNRECOGNIZED)
    if progress.settings.tlsRequired and not progress.tls:
        raise GrammarError(replies.NEED_TLS)
    return parseXclient(decodeArgument(argument), progress.xclient)


def _mail(progress: Progress, argument: bytes) -> Event:
    _requireSecurity(progress)
    if progress.mails >= progress.settings.maxMails:
        raise GrammarError(replies.TOO_MANY_MAILS)
    return parseMail(argument, progress.settings, progress.tls)


def _rcpt(progress: Progress, argument: bytes) -> Event | Reply:
    limit = progress.settings.maxRcpt
    progress.tried += 1
    if progress.state == State.MAIL:
        progress.state = State.DENIED
    if progress.tried > limit + RCPT_OVERSHOOT:
        raise GrammarError(replies.TOO_MANY_RECIPIENTS)
    if progress.accepted >= limit:
        return replies.TOO_MANY_RECIPIENTS
    return parseRcpt(argument, progress.settings, progress.smtputf8)


def _data(progress: Progress, argument: bytes) -> Event:
    _refuseArgument(argument)
    return Data()


def _noop(progress: Progress, argument: bytes) -> Reply:
    progress.countIdle()
    return replies.NOOP


def _help(progress: Progress, argument: bytes) -> Reply:
    progress.countIdle()
    return replies.HELP


def _vrfy(progress: Progress, argument: bytes) -> Event:
    _requireSecurity(progress)
    if not argument:
        raise GrammarError(replies.NEED_ARGUMENT)
    progress.countIdle()
    return Verify(decodeArgument(argument))


VERBS: Final[dict[bytes, Callable[[Progress, bytes], Event | Reply]]] = {
    b"HELO": _hello("HELO"),
    b"EHLO": _hello("EHLO"),
    b"LHLO": _hello("LHLO"),
    b"STARTTLS": _startTls,
    b"XCLIENT": _xclient,
    b"MAIL": _mail,
    b"RCPT": _rcpt,
    b"DATA": _data,
    b"NOOP": _noop,
    b"HELP": _help,
    b"VRFY": _vrfy,
}

# Nothing may follow these before they are answered (RFC 2920 3.1).
ENDS_A_GROUP: Final = (Hello, StartTls, Data, Xclient)


def chooseMechanism(progress: Progress, argument: bytes) -> tuple[str, bytes]:
    """
    @return: the mechanism of an AUTH command, and its initial response as it was written; empty: none.
    @raise GrammarError: 501 to 538.
    """
    settings = progress.settings
    if progress.authenticated:
        raise GrammarError(replies.AUTHENTICATED)
    if not settings.authMechanisms:
        raise GrammarError(replies.NO_AUTH)
    if settings.tlsRequired and not progress.tls:
        raise GrammarError(replies.NEED_TLS)
    if not offersAuth(settings, progress.tls):
        raise GrammarError(replies.NEED_ENCRYPTION)
    name, _, initial = argument.partition(b" ")
    if not name:
        raise GrammarError(replies.NEED_ARGUMENT)
    mechanism = name.decode("latin-1").upper()
    if mechanism not in settings.authMechanisms or mechanism not in MECHANISMS:
        raise GrammarError(replies.UNKNOWN_MECHANISM)
    return mechanism, initial.strip()


def _refuseArgument(argument: bytes) -> None:
    if argument:
        raise GrammarError(replies.NO_ARGUMENT)


def _requireSecurity(progress: Progress) -> None:
    if progress.settings.tlsRequired and not progress.tls:
        raise GrammarError(replies.NEED_TLS)
    if progress.settings.authRequired and not progress.authenticated:
        raise GrammarError(replies.NEED_AUTH)
