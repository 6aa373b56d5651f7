"""Policy, one file per verb: each takes the session and an event of the protocol core, and answers it now or later."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pysmtpd.listen.session import Session
from pysmtpd.listen.verbs import auth, connect, data, hello, mail, other, rcpt, starttls, xclient
from pysmtpd.smtp import events

HANDLERS: Mapping[type, Callable[[Session, Any], None]] = {
    events.Connect: connect.connected,
    events.Hello: hello.greeted,
    events.StartTls: starttls.requested,
    events.Authenticate: auth.authenticate,
    events.Xclient: xclient.announced,
    events.Mail: mail.mailFrom,
    events.Rcpt: rcpt.rcptTo,
    events.Data: data.begun,
    events.Content: data.content,
    events.EndOfData: data.ended,
    events.ContentRefused: data.refused,
    events.Reset: other.reset,
    events.Verify: other.verify,
    events.Refused: other.refused,
    events.Quit: other.quitted,
    events.Hangup: other.hungUp,
}
