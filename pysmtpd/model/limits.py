"""Bounds of the rooms, as the configuration states them. Delays are seconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SmtpLimits:
    """Bounds of the SMTP server; each with its precedent. Zero never means unlimited.

    @ivar maxMails: messages per session.
    @ivar maxRcpt: recipients per transaction (RFC 5321 4.5.3.1.8: at least 100).
    @ivar maxMessageSize: octets.
    @ivar maxSessions: in all; 0 is replaced at start by what the descriptors allow.
    @ivar maxSessionsPerPeer: per address, or per /64 of IPv6; not applied to loopback.
    @ivar maxErrors: refused commands before the session ends with 421.
    @ivar maxCommands: commands that lead nowhere (NOOP, RSET, VRFY, ...) before the session ends with 421.
    @ivar maxLineLength: octets of a command line with its CRLF (RFC 5321 4.5.3.1.4 and its extensions).
    @ivar maxTextLine: octets of a line of the message; longer ones are refused at the end of data, never cut.
    @ivar maxReceived: Received fields (RFC 5321 6.3).
    @ivar commandTimeout: seconds without a command (RFC 5321 4.5.3.2.7).
    @ivar dataTimeout: seconds without an octet of a message (4.5.3.2.5).
    @ivar authTimeout: seconds for an answer to an AUTH challenge, and for a TLS handshake.
    @ivar sessionTimeout: seconds for a whole transaction's data phase; slow drips end here.
    """

    maxMails: int = 1000
    maxRcpt: int = 1000
    maxMessageSize: int = 36_700_160
    maxSessions: int = 0
    maxSessionsPerPeer: int = 100
    maxErrors: int = 20
    maxCommands: int = 100
    maxLineLength: int = 2048
    maxTextLine: int = 65_536
    maxReceived: int = 100
    commandTimeout: float = 300.0
    dataTimeout: float = 180.0
    authTimeout: float = 60.0
    sessionTimeout: float = 3600.0


@dataclass(frozen=True, slots=True)
class MtaLimits:
    """Bounds of remote delivery, in OpenSMTPD's words. Delays are seconds.

    @ivar transactionRcptMax: recipients of a transaction, whatever more the peer would take.
    @ivar gather: how long the first transaction of a message waits for outstanding DNS answers.
    @ivar taskHiwat: messages waiting on a relay before the scheduler is asked to hold the rest.
    """

    maxConnPerHost: int = 20
    maxConnPerRoute: int = 20
    maxConnPerSource: int = 1000
    maxConnPerConnector: int = 20
    maxConnPerRelay: int = 100
    maxConnPerDomain: int = 100
    connDelayHost: float = 0.0
    connDelayRoute: float = 0.0
    connDelaySource: float = 0.0
    connDelayConnector: float = 0.0
    connDelayRelay: float = 0.0
    connDelayDomain: float = 0.0
    reconnDelayRoute: float = 0.0
    sessionMailMax: int = 1000
    transactionRcptMax: int = 1000
    sessionTransactionDelay: float = 0.0
    sessionKeepalive: float = 10.0
    maxFailuresPerSession: int = 25
    family: str = ""
    taskHiwat: int = 200
    taskLowat: int = 100
    taskRelease: int = 100
    gather: float = 0.2


@dataclass(frozen=True, slots=True)
class MdaLimits:
    """Bounds of local delivery, in OpenSMTPD's words.

    @ivar maxSessionPerUser: batches of letters under way for one user.
    @ivar batch: letters of a batch. Up to 16 that wait together share the sync of their directory. A command, or a letter for an mbox, is a
        batch of its own.
    @ivar commandTimeout: seconds that a command may take.
    """

    maxSession: int = 50
    maxSessionPerUser: int = 7
    batch: int = 16
    taskHiwat: int = 500
    taskLowat: int = 250
    taskRelease: int = 250
    commandTimeout: float = 300.0


@dataclass(frozen=True, slots=True)
class SchedulerLimits:
    """
    @ivar maxInflight: envelopes handed out at one time.
    @ivar maxBatch: envelopes per call of C{batch}.
    """

    maxInflight: int = 5000
    maxBatch: int = 256


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """
    @ivar ttl: seconds until an envelope expires.
    @ivar fileThreshold: content of more octets than this lies in a file of its own.
    @ivar minFreeSpace: share of the file system's blocks that must stay free, or MAIL is answered 452.
    @ivar minFreeInodes: the same for inodes.
    """

    ttl: float = 4 * 86400.0
    fileThreshold: int = 262_144
    minFreeSpace: float = 0.05
    minFreeInodes: float = 0.05
