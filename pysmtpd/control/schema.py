"""The control protocol: AMP over a UNIX socket. This page is the schema; docs/control.md says the same in prose.

It is plain data so that C{pysmtpctl} starts without loading the daemon's libraries. L{pysmtpd.control.amp} makes AMP commands of it.

Types: C{text} is UTF-8; C{integer} and C{boolean} are AMP's; C{octets} are raw; C{json} is one JSON value of at most L{PAGE} octets. Lists
come in pages: a response's C{cursor} goes into the next call, and an empty one ends the list. Long answers come in pieces in the same way:
joined they are one JSON value. The first call, with an empty cursor, does the work; the next ones only read on.
"""

from __future__ import annotations

from typing import NamedTuple

# A value in an AMP box holds at most 65,535 octets.
PAGE = 60_000

DEFAULT_SOCKET = "/var/spool/pysmtpd/control.sock"


class Command(NamedTuple):
    """
    @ivar doc: one sentence: what it does.
    @ivar arguments: name and type of each.
    @ivar response: name and type of each.
    """

    name: str
    doc: str
    arguments: tuple[tuple[str, str], ...] = ()
    response: tuple[tuple[str, str], ...] = ()


# Error codes that any command may answer with, and what they mean.
ERRORS = {
    "NO_SUCH_ITEM": "No message or envelope of that id is in the queue.",
    "BAD_ARGUMENT": "An argument is wrong; the text says which and what would be right.",
    "UNAVAILABLE": "The daemon cannot do it now; the text says why.",
}

_ROWS = (("rows", "json"), ("cursor", "text"))

COMMANDS = {
    command.name: command
    for command in (
        Command(
            "Status",
            "What the daemon is doing: version, uptime, durability, what is paused.",
            (),
            (("status", "json"),),
        ),
        Command("Stats", "Statistics, as a list of key and value.", (("cursor", "text"),), _ROWS),
        Command("Queue", "Envelopes, with why each waits and its last reply.", (("cursor", "text"),), _ROWS),
        Command("SetAside", "Queue items that could not be read, with reasons.", (("cursor", "text"),), _ROWS),
        Command("Message", "One message with its envelopes.", (("id", "text"),), (("message", "json"),)),
        Command(
            "Content",
            "The content of a message in pieces: the first call opens it (start is true), the next ones read on; empty ends it.",
            (("id", "text"), ("start", "boolean")),
            (("data", "octets"),),
        ),
        Command("Envelope", "One envelope.", (("id", "text"),), (("envelope", "json"),)),
        Command(
            "Explain",
            "What would be decided about mail of a supposed session, and why, without effect: JSON in pieces, as docs/explain.md says.",
            (("supposed", "json"), ("cursor", "text")),
            (("data", "octets"), ("cursor", "text")),
        ),
        Command(
            "Reload",
            "Read the configuration again and go on by it: JSON in pieces; with errors in it, nothing has changed.",
            (("cursor", "text"),),
            (("data", "octets"), ("cursor", "text")),
        ),
        Command(
            "Rematch",
            "Ask the rules again about undelivered envelopes: JSON in pieces, a list of what changes.",
            (("selection", "text"), ("dry", "boolean"), ("cursor", "text")),
            (("data", "octets"), ("cursor", "text")),
        ),
        Command("Relays", "Relays: where messages go, and what binds each now.", (("cursor", "text"),), _ROWS),
        Command(
            "Routes",
            "Routes of the mta, from a source to a host's port: state, penalty, next try, what binds each now.",
            (("cursor", "text"),),
            _ROWS,
        ),
        Command(
            "Hosts",
            "Hosts that the mta knows: state, errors, penalties, what they asked for.",
            (("cursor", "text"),),
            _ROWS,
        ),
        Command(
            "HostStats",
            "Destination domains: the last reply, and how many envelopes wait for a host to be reached.",
            (("cursor", "text"),),
            _ROWS,
        ),
        Command("Connections", "Outgoing connections, with what each waits for.", (("cursor", "text"),), _ROWS),
        Command(
            "Probe",
            "Connect to the hosts of a domain, host, address or relay URL, say hello, look at TLS, and leave: JSON in pieces.",
            (("destination", "text"), ("cursor", "text")),
            (("data", "octets"), ("cursor", "text")),
        ),
        Command(
            "Forgive",
            "Forget the penalties of a host, by name or address, or of all: the next try is a real one. Counts routes.",
            (("host", "text"),),
            (("count", "integer"),),
        ),
        Command(
            "Limits", "What is suspended or slowed down, why, and how much waits for it.", (("cursor", "text"),), _ROWS
        ),
        Command(
            "SuspendDestination",
            "Start nothing more for a domain, a mail host or a provider; it outlasts a restart.",
            (("destination", "text"),),
            (("changed", "boolean"),),
        ),
        Command(
            "ResumeDestination",
            "Let mail for it leave again, and forget that it asked for patience.",
            (("destination", "text"),),
            (("changed", "boolean"),),
        ),
        Command(
            "Tls",
            "What is known about the TLS of a domain's hosts (MTA-STS, what is remembered), and what they have to show.",
            (("domain", "text"),),
            (("rows", "json"),),
        ),
        Command(
            "ForgetTls",
            "Remember no longer that a domain's hosts had TLS; counts the hosts.",
            (("domain", "text"),),
            (("count", "integer"),),
        ),
        Command("Tables", "Tables that have a name: entries, age, the last error.", (("cursor", "text"),), _ROWS),
        Command(
            "UpdateTable",
            "Read a table's source again; counts what changed. On an error what it held is still there.",
            (("table", "text"),),
            (("update", "json"),),
        ),
        Command("Schedule", "Try now.", (("selection", "text"),), (("count", "integer"),)),
        Command(
            "Remove",
            "Remove from the queue; the sender is not told.",
            (("selection", "text"),),
            (("count", "integer"),),
        ),
        Command("PauseEnvelope", "Suspend envelopes.", (("selection", "text"),), (("count", "integer"),)),
        Command("ResumeEnvelope", "Resume suspended envelopes.", (("selection", "text"),), (("count", "integer"),)),
        Command("Pause", "Pause a part: mta, mda or smtp.", (("part", "text"),)),
        Command("Resume", "Resume a part: mta, mda or smtp.", (("part", "text"),)),
        Command("Log", "Make the daemon log verbose or brief.", (("verbose", "boolean"),)),
        Command(
            "Stop", "End in order: no new sessions, running transactions finish, deliveries under way are recorded."
        ),
    )
}
