"""How the stages of a client's session follow each other. docs/delivery.md draws it; tests hold the core against it."""

from __future__ import annotations

from collections.abc import Mapping

from pysmtpd.smtp.client_events import Stage

STAGE_TURNS: Mapping[Stage, Mapping[Stage, str]] = {
    Stage.GREETING: {Stage.HELLO: "220"},
    Stage.HELLO: {
        Stage.STARTTLS: "250, it offers TLS",
        Stage.AUTH: "250 under TLS, we have credentials",
        Stage.IDLE: "250",
    },
    Stage.STARTTLS: {Stage.TLS: "220", Stage.IDLE: "refused, and TLS need not be"},
    Stage.TLS: {Stage.HELLO: "the handshake is done"},
    Stage.AUTH: {Stage.IDLE: "235"},
    Stage.IDLE: {Stage.MAIL: "a message", Stage.QUIT: "nothing more to send"},
    Stage.MAIL: {Stage.RCPT: "answered"},
    Stage.RCPT: {
        Stage.DATA: "all are answered",
        Stage.CONTENT: "by BDAT",
        Stage.END_OF_DATA: "by BDAT, all was said at once",
        Stage.IDLE: "all are refused",
    },
    Stage.DATA: {Stage.CONTENT: "354", Stage.END_OF_DATA: "354, all are refused: a lone dot", Stage.IDLE: "refused"},
    Stage.CONTENT: {Stage.END_OF_DATA: "all is said"},
    Stage.END_OF_DATA: {Stage.IDLE: "answered"},
    Stage.QUIT: {},
    Stage.CLOSED: {},
}
"""What follows what, and why. From each stage but the last C{CLOSED} may follow: 421, a refusal, nonsense, the end of the connection, a
time-out, our own wish."""
