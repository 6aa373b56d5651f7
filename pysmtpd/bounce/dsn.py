"""Reports of delivery, failed, late or done: RFC 3464 in a multipart/report (RFC 6522), internationalised after RFC 6533. Pure.

Words of peers and senders never reach a field as they are: controls become spaces, so that nothing can end a field and begin another.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pysmtpd.model.address import Path
from pysmtpd.model.date import formatDate
from pysmtpd.model.envelope import Attempt
from pysmtpd.model.value import value

# Octets of a remote reply that are told, and of the original that is returned.
MAX_WORDS = 2000
MAX_HEADER = 65_536
MAX_CONTENT = 262_144

_WIDTH = 76
# RFC 5322 2.1.1, without CRLF.
_MAX_LINE = 998
# Longer than any address, and an indented line of it is still a line.
_MAX_WORD = 980

_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_SURROGATES = re.compile("[\ud800-\udfff]")
_TYPE = re.compile(r"[A-Za-z0-9-]+\Z")
# RFC 3463: what may stand in Status.
_STATUS = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}\Z")

# In the order in which they are told; the first one in a report gives it its name.
_SUBJECTS = {
    "failed": "Mail could not be delivered",
    "delayed": "Mail is delayed",
    "relayed": "Mail was relayed",
    "delivered": "Mail was delivered",
}
_SENTENCES = {
    "failed": "Your message could not be delivered to {who},\r\nand no further attempt will be made:",
    "delayed": "Your message could not be delivered to {who} yet. You need not do anything:\r\nwe go on trying. What was in the way last:",
    "relayed": "Your message was handed on for {who}, to a system that sends no\r\nnotice of delivery:",
    "delivered": "Your message was delivered to {who}:",
}
_CLASSES = {"failed": "5", "delayed": "4", "relayed": "2", "delivered": "2"}


@value
class Fate:
    """What became of one recipient. Times are wall-clock seconds.

    @ivar recipient: the address that was tried last (Final-Recipient).
    @ivar address: the address that the sender used.
    @ivar orcpt: RFC 3461 ORCPT as C{type;address}, decoded; empty: none was given.
    @ivar status: RFC 3463 status.
    @ivar words: the reply, one line.
    @ivar remote: who said it: C{"mx.example.org [192.0.2.1]"}; empty: we.
    @ivar attempted: when it was tried last; 0: never.
    @ivar action: RFC 3464 2.3.3: failed, delayed, relayed or delivered.
    @ivar retryUntil: of a delayed one: when it fails at the latest; 0: not told.
    @ivar attempts: how it was tried, oldest first, where that says more than the reply does.
    @ivar via: what C{address} led to on the way to C{recipient}, and where that ended; empty: nothing.
    """

    recipient: Path
    address: Path
    status: str
    words: str
    orcpt: str = ""
    remote: str = ""
    attempted: float = 0.0
    action: str = "failed"
    retryUntil: float = 0.0
    attempts: tuple[Attempt, ...] = ()
    via: tuple[str, ...] = ()


@value
class Report:
    """What goes into a report.

    @ivar hostname: our name: Reporting-MTA, and MAILER-DAEMON's domain.
    @ivar sender: whom it is for.
    @ivar now: wall-clock seconds.
    @ivar arrived: wall-clock seconds when the original was accepted.
    @ivar envid: the sender's ENVID, decoded; empty: none.
    @ivar messageId: of the report, without its angle brackets.
    @ivar boundary: a token that nobody can guess.
    @ivar original: the original's header, or all of it when C{isFull}.
    @ivar utf8: the sender can take internationalised mail.
    """

    hostname: str
    sender: Path
    now: float
    arrived: float
    fates: tuple[Fate, ...]
    messageId: str
    boundary: str
    original: bytes
    isFull: bool = False
    envid: str = ""
    utf8: bool = False


def build(report: Report) -> bytes:
    """The message: canonical (CRLF), its lines within 998 octets except those of an original that is returned whole.

    Octets above 127 stand only in parts that say so (Content-Transfer-Encoding: 8bit), and in the header only with C{utf8}.
    """
    lines = report.original.replace(b"\r\n", b"\n").replace(b"\r", b"\n").removesuffix(b"\n").split(b"\n")
    if not report.isFull:
        lines = [line[:_MAX_LINE] for line in lines]
    original = b"\r\n".join(lines) + b"\r\n"
    told = {fate.action for fate in report.fates}
    actions = [action for action in _SUBJECTS if action in told]
    notice = _encoded(_notice(report, actions), report.utf8)
    status = _encoded(_status(report), report.utf8)
    boundary = report.boundary
    while boundary.encode() in original or boundary.encode() in notice or boundary.encode() in status:
        boundary += "x"
    if report.utf8:
        charset, kind = "utf-8", "global-delivery-status"
        originalType = "message/global" if report.isFull else "message/global-headers"
    else:
        charset, kind = "us-ascii", "delivery-status"
        originalType = "message/rfc822" if report.isFull else "text/rfc822-headers"
    body = b"".join(
        (
            _part(boundary, f"text/plain; charset={charset}", "Notification", notice),
            _part(boundary, f"message/{kind}", "Delivery report", status),
            _part(boundary, originalType, "Your message" if report.isFull else "Header of your message", original),
            f"--{boundary}--\r\n".encode(),
        )
    )
    host = _plain(report.hostname)
    header = [
        f"From: Mail Delivery System <MAILER-DAEMON@{host}>",
        _fold(f"To: <{_plain(str(report.sender))}>"),
        f"Subject: {_SUBJECTS[actions[0]]}",
        f"Date: {formatDate(report.now)}",
        f"Message-ID: <{_plain(report.messageId)}>",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type={kind};\r\n boundary="{boundary}"',
        _encoding(body),
        "",
    ]
    return _encoded(header, report.utf8) + body


def _part(boundary: str, contentType: str, description: str, content: bytes) -> bytes:
    head = (
        f"--{boundary}\r\n"
        f"Content-Type: {contentType}\r\n"
        f"Content-Description: {description}\r\n"
        f"{_encoding(content)}\r\n\r\n"
    )
    return head.encode() + content + b"\r\n"


def _notice(report: Report, actions: Sequence[str]) -> list[str]:
    """The part for people.

    @param actions: those of its fates, in the order in which they are told.
    """
    lines = [f"This is the mail system at {_plain(report.hostname)}.", ""]
    for action in actions:
        fates = [fate for fate in report.fates if fate.action == action]
        lines += [_SENTENCES[action].format(who="these recipients" if len(fates) > 1 else "this recipient"), ""]
        for fate in fates:
            address, recipient = _plain(str(fate.address)), _plain(str(fate.recipient))
            sentOn = f" (sent on as <{recipient}>)" if recipient != address else ""
            lines.append("\r\n    ".join(_wrap(f"<{address}>{sentOn}")))
            if fate.via:
                lines.append(_indent("    ", _plain("by way of " + ", ".join(fate.via))))
            said = f"{_plain(fate.remote)} said: " if fate.remote else ""
            lines.append(_indent("    ", said + _plain(fate.words)))
            for attempt in fate.attempts:
                lines.append(_indent("      ", _tried(attempt, report.arrived)))
            if fate.retryUntil:
                lines.append(f"    We try until {formatDate(fate.retryUntil)}.")
            lines.append("")
    what = "message" if report.isFull else "message's header"
    lines.append(f"A report for programs and your {what} follow.")
    return lines


def _tried(attempt: Attempt, arrived: float) -> str:
    """For people: when, how often, where, and what was said."""
    when = formatDate(attempt.at)
    if attempt.times > 1:
        when = f"{attempt.times} times from {formatDate(attempt.began(arrived))} to {when}"
    host = f"{_plain(attempt.host)}: " if attempt.host else ""
    return f"{when}: {host}{_plain(attempt.reply)}"


def _status(report: Report) -> list[str]:
    """RFC 3464 2: one group of fields for the message, and one for each recipient."""
    lines = [f"Reporting-MTA: dns; {_plain(report.hostname)}"]
    if report.envid:
        lines.append(_fold(f"Original-Envelope-Id: {_plain(report.envid)}"))
    lines.append(f"Arrival-Date: {formatDate(report.arrived)}")
    for fate in report.fates:
        lines.append("")
        kind, semicolon, address = fate.orcpt.partition(";")
        if semicolon and _TYPE.match(kind):
            lines.append(_fold(f"Original-Recipient: {_typed(kind, address, report.utf8)}"))
        lines.append(_fold(f"Final-Recipient: {_typed('rfc822', str(fate.recipient), report.utf8)}"))
        lines.append(f"Action: {fate.action}")
        status = fate.status if _STATUS.match(fate.status) else ".0.0"
        # The class follows from the action (RFC 3464 2.3.4).
        lines.append(f"Status: {_CLASSES[fate.action]}{status[status.index('.') :]}")
        name, words = _plain(fate.remote.partition(" ")[0]), _plain(fate.words)
        if name:
            lines.append(_fold(f"Remote-MTA: dns; {name}"))
        if words:
            # RFC 3464 2.3.6: what is not an SMTP reply of a peer has another type.
            lines.append(_fold(f"Diagnostic-Code: {'smtp' if name else 'x-pysmtpd'}; {words}"))
        if fate.attempted:
            lines.append(f"Last-Attempt-Date: {formatDate(fate.attempted)}")
        if fate.retryUntil:
            lines.append(f"Will-Retry-Until: {formatDate(fate.retryUntil)}")
    return lines


def _typed(kind: str, address: str, utf8: bool) -> str:
    """An address with its type (RFC 3464 2.3.1); one that is not ASCII gets type utf-8 (RFC 6533 3)."""
    address = _plain(address)
    if address.isascii():
        return f"{kind}; {address}"
    if not utf8:
        address = "".join(one if one.isascii() and one not in "\\+=" else f"\\x{{{ord(one):X}}}" for one in address)
    return f"utf-8; {address}"


def _plain(words: str) -> str:
    """One line without controls, bounded."""
    words = words[:MAX_WORDS]
    if not (words.isascii() and words.isprintable()):
        words = _SURROGATES.sub("?", _CONTROLS.sub(" ", words))
    return words.strip()


def _fold(field: str) -> str:
    """A field in lines of about 76 characters (RFC 5322 2.2.3)."""
    return "\r\n ".join(_wrap(field))


def _indent(margin: str, text: str) -> str:
    return "\r\n".join([margin + line for line in _wrap(text)])


def _wrap(text: str) -> list[str]:
    """At spaces where there are some; what is longer than a line may be is cut anywhere."""
    if len(text) <= _WIDTH and "  " not in text:
        return [text.strip()]
    # A field's name stays with its first word: a line that holds the name alone is not legal everywhere.
    head, colon, rest = text.partition(": ")
    if colon and " " not in head:
        words = [head + colon + rest.split(" ", 1)[0], *filter(None, rest.split(" ")[1:])]
    else:
        words = text.split()
    if len(text) * 4 > _MAX_WORD:
        words = [part for word in words for part in _cut(word)]
    lines: list[str] = []
    text = " ".join(words)
    begin = len(words[0]) if words else 0
    while len(text) > _WIDTH:
        end = text.rfind(" ", begin, _WIDTH + 1)
        if end < 0:
            # A word that no line has room for.
            end = text.find(" ", max(begin, _WIDTH))
            if end < 0:
                break
        lines.append(text[:end])
        text = text[end + 1 :]
        begin = 0
    return [*lines, text]


def _cut(word: str) -> list[str]:
    """Pieces that a line has room for. Characters may take four octets each."""
    pieces: list[str] = []
    while len(word) * 4 > _MAX_WORD and len(word.encode()) > _MAX_WORD:
        pieces.append(word[: _MAX_WORD // 4])
        word = word[_MAX_WORD // 4 :]
    return [*pieces, word] if word else pieces


def _encoded(lines: list[str], utf8: bool) -> bytes:
    text = "\r\n".join(lines) + "\r\n"
    return text.encode("utf-8", "replace") if utf8 else text.encode("ascii", "replace")


def _encoding(content: bytes) -> str:
    """RFC 2045 6.2: 8-bit content says so."""
    return f"Content-Transfer-Encoding: {'7bit' if content.isascii() else '8bit'}"
