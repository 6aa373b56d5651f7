"""What EHLO and LHLO announce."""

from __future__ import annotations

from pysmtpd.model.reply import Reply
from pysmtpd.smtp.events import ServerSettings


def offersAuth(settings: ServerSettings, tls: bool) -> bool:
    """May credentials be sent now?"""
    return bool(settings.authMechanisms) and (tls or settings.authWithoutTls)


def helloReply(
    greeting: Reply, settings: ServerSettings, tls: bool, authenticated: bool, xclient: tuple[str, ...] = ()
) -> Reply:
    """C{greeting} with a line for each extension that this session can use now.

    @param xclient: attributes of XCLIENT that this peer may give.

    BINARYMIME is not among them: content is lines. RCPTDOMAINMAX is not either, there is no such bound.
    """
    lines = [
        greeting.text,
        "PIPELINING",  # RFC 2920
        f"SIZE {settings.maxSize}",  # RFC 1870
        "8BITMIME",  # RFC 6152
        "SMTPUTF8",  # RFC 6531
        "CHUNKING",  # RFC 3030
        "ENHANCEDSTATUSCODES",  # RFC 2034
    ]
    if settings.dsn:
        lines.append("DSN")  # RFC 3461
    if settings.starttls and not tls:
        lines.append("STARTTLS")  # RFC 3207
    if tls:
        lines.append("REQUIRETLS")  # RFC 8689 2: under TLS only
    if offersAuth(settings, tls) and not authenticated:
        lines.append("AUTH " + " ".join(settings.authMechanisms))  # RFC 4954
    if xclient and (tls or not settings.tlsRequired):
        lines.append("XCLIENT " + " ".join(xclient))
    lines.append(f"LIMITS MAILMAX={settings.maxMails} RCPTMAX={settings.maxRcpt}")  # RFC 9422
    return Reply(greeting.code, "\n".join(lines))
