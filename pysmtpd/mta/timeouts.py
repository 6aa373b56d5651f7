"""How long a peer has for what (RFC 5321 4.5.3.2). Seconds."""

from __future__ import annotations

from pysmtpd.smtp.client_events import Stage

TIMEOUTS = {
    Stage.GREETING: 300.0,
    Stage.HELLO: 300.0,
    Stage.STARTTLS: 120.0,
    Stage.TLS: 60.0,
    Stage.AUTH: 120.0,
    Stage.MAIL: 300.0,
    Stage.RCPT: 300.0,
    Stage.DATA: 120.0,
    Stage.CONTENT: 180.0,
    Stage.END_OF_DATA: 600.0,
    Stage.QUIT: 5.0,
    Stage.CLOSED: 5.0,
}
"""For each reply. QUIT is not worth waiting for."""

CONNECT_TIMEOUT = 30.0
"""For the TCP handshake; what the usual systems take for one or two lost packets."""

TRANSACTION_TIME = 1800.0
"""For a transaction as a whole: more than its stages may take together. A peer that uses up every time-out again and again would keep one
of our places for ever."""

RECIPIENT_TIME = 5.0
"""What each recipient adds to it."""

TRANSACTION_RATE = 2048
"""Octets of content that add one second to it."""
