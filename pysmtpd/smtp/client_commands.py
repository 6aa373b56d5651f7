"""What a client writes for one transaction."""

from __future__ import annotations

import re

from pysmtpd.model.reply import Reply
from pysmtpd.smtp.client_events import OutgoingMail, OutgoingRcpt
from pysmtpd.smtp.client_extensions import Extensions
from pysmtpd.smtp.parameters import formatNotify, formatOrcpt
from pysmtpd.smtp.xtext import encodeXtext

_UNSAFE = re.compile(r"[\x00-\x1f\x7f<>\ud800-\udfff]")

TOO_LARGE = Reply(552, "Message is larger than this host takes", "5.3.4")
NEEDS_SMTPUTF8 = Reply(550, "An address or header field needs SMTPUTF8, which this host does not offer", "5.6.7")
NEEDS_BINARYMIME = Reply(554, "The content needs BINARYMIME, which this host does not offer", "5.6.3")
NEEDS_8BITMIME = Reply(554, "The content is 8-bit, this host takes 7-bit only, and it must not be converted", "5.6.3")
BAD_SENDER = Reply(553, "The sender's address cannot be sent", "5.1.7")
BAD_RECIPIENT = Reply(553, "The recipient's address cannot be sent", "5.1.3")
LACKING = (TOO_LARGE, NEEDS_SMTPUTF8, NEEDS_BINARYMIME)
"""What another host may have, that this one lacks."""
OTHER_RECIPIENT = Reply(451, "Another recipient's address could not be sent", "4.1.3")


def mailCommand(mail: OutgoingMail, offered: Extensions) -> str:
    """MAIL with every parameter that the peer understands."""
    words = [f"MAIL FROM:<{mail.sender}>"]
    if offered.size is not None and mail.size:
        words.append(f"SIZE={mail.size}")
    if mail.body == "BINARYMIME":
        words.append("BODY=BINARYMIME")
    elif mail.body == "8BITMIME" and offered.eightBit:
        words.append("BODY=8BITMIME")
    if mail.smtputf8:
        words.append("SMTPUTF8")
    if mail.requireTls and offered.requireTls:
        words.append("REQUIRETLS")
    if offered.dsn:
        if mail.ret:
            words.append(f"RET={mail.ret}")
        if mail.envid:
            words.append(f"ENVID={encodeXtext(mail.envid)}")
    words[-1] += "\r\n"
    return " ".join(words)


def rcptCommand(recipient: OutgoingRcpt, offered: Extensions) -> str:
    """RCPT with its DSN parameters, where the peer offers DSN."""
    command = f"RCPT TO:<{recipient.path}>"
    if offered.dsn:
        if recipient.notify:
            command += f" NOTIFY={formatNotify(recipient.notify)}"
        if recipient.orcpt:
            command += f" ORCPT={formatOrcpt(recipient.orcpt)}"
    return command + "\r\n"


def refusals(mail: OutgoingMail, offered: Extensions) -> tuple[Reply, ...] | None:
    """What need not be tried with this peer: a reply for each recipient, or None."""
    whole: Reply | None = None
    if offered.size and mail.size > offered.size:
        whole = TOO_LARGE
    elif mail.smtputf8 and not offered.smtputf8:
        whole = NEEDS_SMTPUTF8
    elif mail.body == "BINARYMIME" and not (offered.chunking and offered.binaryMime):
        whole = NEEDS_BINARYMIME
    elif _UNSAFE.search(mail.sender):
        whole = BAD_SENDER
    if whole is not None:
        return (whole,) * len(mail.recipients)
    bad = [_UNSAFE.search(recipient.path) is not None for recipient in mail.recipients]
    if True in bad:
        return tuple(BAD_RECIPIENT if isBad else OTHER_RECIPIENT for isBad in bad)
    return None
