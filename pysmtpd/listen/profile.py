"""What one generation of the configuration makes of one listener: computed once, shared by its sessions."""

from __future__ import annotations

from dataclasses import dataclass

from pysmtpd.listen.trace import TraceStyle
from pysmtpd.model.config import AuthMode, Config, ListenerSpec, SmtpLimits, TlsMode
from pysmtpd.model.reply import Reply
from pysmtpd.smtp.events import ServerSettings

MECHANISMS = ("PLAIN", "LOGIN")

# submission and submissions (RFC 6409, RFC 8314).
SUBMISSION_PORTS = (587, 465)


@dataclass(frozen=True, slots=True)
class Profile:
    """
    @ivar name: the listener's name for logs and statistics.
    @ivar address: its own address, or empty if it listens on all of them.
    @ivar banner: the 220.
    @ivar isSubmission: messages come from their authors' programs (RFC 6409), whoever is at the other end.
    @ivar asksFirst: tables or users are asked about each connection before it is greeted.
    @ivar trace: what the trace field shows.
    """

    config: Config
    spec: ListenerSpec
    name: str
    address: str
    port: int
    hostname: str
    limits: SmtpLimits
    settings: ServerSettings
    banner: Reply
    isSubmission: bool
    asksFirst: bool
    trace: TraceStyle


def makeProfile(config: Config, spec: ListenerSpec, name: str, address: str, port: int) -> Profile:
    hostname = spec.hostname or config.serverName
    limits = config.smtp
    settings = ServerSettings(
        hostname=hostname,
        lmtp=spec.lmtp,
        starttls=spec.tls in (TlsMode.STARTTLS, TlsMode.REQUIRED),
        tlsRequired=spec.tls is TlsMode.REQUIRED,
        authRequired=spec.auth is AuthMode.REQUIRED,
        authMechanisms=MECHANISMS if spec.auth is not AuthMode.NONE else (),
        authWithoutTls=spec.authWithoutTls,
        maxSize=limits.maxMessageSize,
        maxMails=limits.maxMails,
        maxRcpt=limits.maxRcpt,
        maxErrors=limits.maxErrors,
        maxCommands=limits.maxCommands,
        maxLineLength=limits.maxLineLength,
        maxTextLine=limits.maxTextLine,
        bareNewline=spec.bareNewline,
        dsn=not spec.noDsn,
    )
    banner = makeBanner(hostname, spec.lmtp)
    own = "" if address in ("", "0.0.0.0", "::") else address  # noqa: S104
    isSubmission = spec.submission or spec.isSocket or spec.port in SUBMISSION_PORTS
    asksFirst = spec.isSocket or spec.hostnames is not None or spec.xclient is not None
    trace = TraceStyle(spec.maskSource, spec.receivedAuth)
    return Profile(config, spec, name, own, port, hostname, limits, settings, banner, isSubmission, asksFirst, trace)


def makeBanner(hostname: str, lmtp: bool) -> Reply:
    return Reply(220, f"{hostname} {'LMTP' if lmtp else 'ESMTP'} pysmtpd")


def listenerName(address: str, port: int) -> str:
    """C{192.0.2.1:25}, C{[2001:db8::1]:25}."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
