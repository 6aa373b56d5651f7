"""A batch of changes as one SQL statement, or as few as can be.

Every step of a statement gives the interpreter's lock away, and while the reactor is busy, waiting to have it back costs more than the
step. With a step for each row, and for C{BEGIN} and C{COMMIT}, the writer waited ten times for a message, and the reactor as often for
the writer. So whatever changes is a row for one view, and triggers do what the row says.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TypeAlias

from pysmtpd.interfaces.queue import NewMessage
from pysmtpd.model.ids import ENVELOPE_BITS, EnvelopeId
from pysmtpd.queue.shares import Shares, Step

Change: TypeAlias = tuple[str, int, int, "bytes | None", "bytes | None", "bytes | None", "int | None"]

GONE = b""
"""The record of an envelope that is finished while others of its message are not: so one that is finished is told from one that was lost.
It stands where the envelope stood, so it costs no page more; it goes with its message."""

SETUP = (
    "PRAGMA temp_store = MEMORY",
    "CREATE TEMP VIEW change (deed, message, number, record, head, content, count) AS"
    " VALUES ('', 0, 0, x'', x'', x'', 0)",
    "CREATE TEMP TRIGGER arrives INSTEAD OF INSERT ON change WHEN new.deed = 'arrives' BEGIN"
    " INSERT INTO message (id, record, envelopes) VALUES (new.message, new.head, new.count);"
    " INSERT INTO body VALUES (new.message, new.content);"
    " INSERT INTO envelope (message, number, record) VALUES (new.message, new.number, new.record);"
    " END",
    "CREATE TEMP TRIGGER joins INSTEAD OF INSERT ON change WHEN new.deed = 'joins' BEGIN"
    " INSERT INTO envelope (message, number, record) VALUES (new.message, new.number, new.record);"
    " END",
    "CREATE TEMP TRIGGER turns INSTEAD OF INSERT ON change WHEN new.deed = 'turns' BEGIN"
    " UPDATE envelope SET state = new.record, share = NULL WHERE message = new.message AND number = new.number;"
    " END",
    "CREATE TEMP TRIGGER leaves INSTEAD OF INSERT ON change WHEN new.deed = 'leaves' BEGIN"
    " DELETE FROM envelope WHERE message = new.message AND number = new.number AND record != x'';"
    " END",
    "CREATE TEMP TRIGGER rests AFTER DELETE ON main.envelope"
    " WHEN EXISTS (SELECT 1 FROM envelope WHERE message = old.message AND record != x'') BEGIN"
    " INSERT INTO envelope (message, number, record) VALUES (old.message, old.number, x'');"
    " END",
    # With its last envelope a message goes; unless some were lost on the way, for then it is not known who has not got it.
    "CREATE TEMP TRIGGER empties AFTER DELETE ON main.envelope WHEN old.record != x''"
    " AND NOT EXISTS (SELECT 1 FROM envelope WHERE message = old.message AND record != x'') BEGIN"
    " DELETE FROM message WHERE id = old.message AND (envelopes IS NULL"
    " OR envelopes <= 1 + (SELECT count(*) FROM envelope WHERE message = old.message));"
    " UPDATE message SET aside = (envelopes - 1 - (SELECT count(*) FROM envelope WHERE message = old.message))"
    " || ' of its ' || envelopes || ' envelopes had vanished from the database; the others have ended' WHERE id = old.message;"
    " DELETE FROM body WHERE message = old.message AND NOT EXISTS (SELECT 1 FROM message WHERE id = old.message);"
    " DELETE FROM envelope WHERE message = old.message;"
    " END",
)
"""For the connection that changes. Temporary: none of it is in the file."""

MOST = 64
"""Rows in one step."""

MANY = (128, 64, 32, 16)
"""States in one step, where there are so many: by themselves they cost half of what the view costs, and the more of them the less each."""

_NUMBER_MASK = (1 << ENVELOPE_BITS) - 1
_WIDTH = 7
_ROW = f"({', '.join('?' * _WIDTH)})"
_NOTHING = (None,) * _WIDTH

# For 1, 2, 4, 8, ... rows, so that each is compiled once and kept; rows of NULL, which no trigger is for, fill it up.
_INSERT = "INSERT INTO change VALUES "
_STATEMENTS = tuple(_INSERT + ", ".join([_ROW] * (1 << power)) for power in range(MOST.bit_length()))


_TURNED = "WITH turned (message, number, state) AS (VALUES "
_TURN = (
    ") UPDATE envelope SET state = turned.state, share = NULL FROM turned"
    " WHERE envelope.message = turned.message AND envelope.number = turned.number"
)
_UPDATES = tuple((most, _TURNED + ", ".join(["(?, ?, ?)"] * most) + _TURN) for most in MANY)


def change(
    connection: sqlite3.Connection,
    shares: Shares,
    messages: Sequence[NewMessage],
    states: Mapping[EnvelopeId, bytes],
    deleted: Sequence[EnvelopeId],
) -> int:
    """All of it, or nothing. The connection is in autocommit mode and without a transaction; what it has made is durable if it syncs.

    @return: rows that new states have taken.
    """
    try:
        turning, sharing = shares.turn(states)
        steps = _steps(messages, sharing, turning, deleted)
        _run(connection, [*steps, *shares.leave(deleted)])
    except BaseException as error:
        shares.forget()
        if type(error) is sqlite3.DatabaseError:
            # Of its kind it is damage alone. Where that is in the shares, what has a state of its own goes on.
            shares.giveUp()
        raise
    # Of an envelope that joins a share there are two values.
    return len(turning) + sum(len(values) // 2 for _, values in sharing)


def _steps(
    messages: Sequence[NewMessage],
    sharing: Sequence[Step],
    turning: Sequence[tuple[EnvelopeId, bytes]],
    deleted: Sequence[EnvelopeId],
) -> list[Step]:
    steps: list[Step] = []
    rows = _arriving(messages)
    if sharing or len(turning) > MANY[-1]:
        # Nothing turns before it is there.
        steps += _inSteps(rows)
        steps += sharing
        rows = []
        for most, update in _UPDATES:
            while len(turning) >= most:
                steps.append((update, _flat(turning[:most])))
                turning = turning[most:]
    rows += [("turns", id >> ENVELOPE_BITS, id & _NUMBER_MASK, state, None, None, None) for id, state in turning]
    rows += [("leaves", id >> ENVELOPE_BITS, id & _NUMBER_MASK, None, None, None, None) for id in deleted]
    return [*steps, *_inSteps(rows)]


def _run(connection: sqlite3.Connection, steps: Sequence[Step]) -> None:
    if len(steps) == 1:
        # A statement by itself is a transaction.
        connection.execute(*steps[0])
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for step in steps:
            connection.execute(*step)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _arriving(messages: Sequence[NewMessage]) -> list[Change]:
    """In the order in which they are to be made: a message with its first envelope is one row, each further envelope one more."""
    rows: list[Change] = []
    for new in messages:
        head: bytes | None
        count: int | None
        deed, head, content, count = "arrives", new.record, new.body, len(new.envelopes)
        for id, record in new.envelopes:
            rows.append((deed, new.id, id & _NUMBER_MASK, record, head, content, count))
            deed, head, content, count = "joins", None, None, None
    return rows


def _flat(turning: Sequence[tuple[EnvelopeId, bytes]]) -> list[object]:
    values: list[object] = []
    for id, state in turning:
        values += (id >> ENVELOPE_BITS, id & _NUMBER_MASK, state)
    return values


def _inSteps(rows: Sequence[Change]) -> list[Step]:
    steps: list[Step] = []
    for start in range(0, len(rows), MOST):
        some = rows[start : start + MOST]
        power = (len(some) - 1).bit_length()
        padding = [_NOTHING] * ((1 << power) - len(some))
        steps.append((_STATEMENTS[power], tuple(chain.from_iterable((*some, *padding)))))
    return steps
