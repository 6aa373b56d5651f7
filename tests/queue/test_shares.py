"""States in common: each envelope has the state that it was given last, whoever shared it before, and little is written for it."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.interfaces.queue import NewMessage
from pysmtpd.model.ids import EnvelopeId, MessageId, envelopeId
from pysmtpd.queue import shares
from pysmtpd.queue.changes import SETUP, change
from pysmtpd.queue.database import SCHEMA, Writer
from pysmtpd.queue.shares import SMALLEST, Shares
from pysmtpd.testing.disk import SimulatedDisk

# Two recipients each.
COUNT = 40
IDS = [envelopeId(MessageId(1 + number // 2), number % 2) for number in range(COUNT)]


def new(message: int) -> NewMessage:
    id = MessageId(message)
    return NewMessage(id, b"head", tuple((envelopeId(id, number), b"envelope") for number in range(2)), b"content")


class Table:
    """A database with its envelopes, and what they should be."""

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        for statement in (*SCHEMA, *SETUP):
            self.connection.execute(statement)
        self.shares = Shares()
        change(self.connection, self.shares, [new(1 + number) for number in range(COUNT // 2)], {}, ())
        self.expected: dict[EnvelopeId, bytes] = dict.fromkeys(IDS, b"")

    def change(self, states: Mapping[EnvelopeId, bytes], deleted: Sequence[EnvelopeId] = ()) -> int:
        """
        @return: rows that were changed in the tables that hold states.
        """
        before = self.connection.total_changes
        change(self.connection, self.shares, (), states, deleted)
        self.expected.update({id: state for id, state in states.items() if id in self.expected})
        for id in deleted:
            self.expected.pop(id, None)
        return self.connection.total_changes - before

    def fail(self, states: Mapping[EnvelopeId, bytes], deleted: Sequence[EnvelopeId]) -> None:
        """All of it, and a message that the database refuses: so nothing of it."""
        twice = [new(1000), new(1000)]
        try:
            change(self.connection, self.shares, twice, states, deleted)
        except sqlite3.IntegrityError:
            return
        raise AssertionError("it took a message twice")

    def restart(self) -> None:
        self.connection.execute(shares.SWEEP)
        (last,) = self.connection.execute(shares.HIGHEST).fetchone()
        self.shares = Shares(last)

    def found(self) -> dict[EnvelopeId, bytes]:
        rows = self.connection.execute(shares.ENVELOPES, (0, 1 << 60))
        return {envelopeId(MessageId(id), number): state or b"" for id, number, record, state in rows if record}

    def count(self) -> int:
        (count,) = self.connection.execute("SELECT count(*) FROM share").fetchone()
        return int(count)


somebody = st.lists(st.sampled_from(IDS), unique=True, max_size=COUNT)
# A run of neighbours, as the mail for one host is.
together = st.tuples(st.integers(0, COUNT), st.integers(0, COUNT)).map(lambda ends: IDS[min(ends) : max(ends)])
states = st.sampled_from([b"one", b"two", b"three"])
turns = st.lists(st.tuples(together | somebody, states), max_size=3).map(
    lambda turned: {id: state for ids, state in turned for id in ids}
)
works = st.lists(
    st.one_of(
        st.tuples(st.just("change"), turns, somebody.map(lambda ids: ids[:2])),
        st.tuples(st.just("fail"), turns, somebody),
        st.tuples(st.just("restart"), st.just({}), st.just([])),
    ),
    max_size=12,
)


class SharesTests(SynchronousTestCase):
    @settings(max_examples=200, deadline=None)
    @given(works, st.sampled_from((2, 5, SMALLEST)), st.sampled_from((10, 1000)))
    def test_eachHasTheStateThatItWasGivenLast(
        self, works: list[tuple[str, dict[EnvelopeId, bytes], list[EnvelopeId]]], smallest: int, most: int
    ) -> None:
        self.patch(shares, "SMALLEST", smallest)
        table = Table()
        table.shares = Shares(most=most)
        for work, turned, gone in works:
            if work == "change":
                table.change(turned, gone)
            elif work == "fail":
                table.fail(turned, gone)
            else:
                table.restart()
                unused = (
                    "SELECT count(*) FROM share WHERE id NOT IN (SELECT share FROM envelope WHERE share IS NOT NULL)"
                )
                self.assertEqual((0,), table.connection.execute(unused).fetchone())
            self.assertEqual(table.expected, table.found())

    def test_aCrowdThatStaysTogetherIsOneRow(self) -> None:
        table = Table()
        table.change(dict.fromkeys(IDS, b"first"))
        for number in range(100):
            self.assertEqual(1, table.change(dict.fromkeys(IDS, b"%d" % number)))
        self.assertEqual(table.expected, table.found())
        self.assertEqual(1, table.count())

    def test_whoLeavesDoesNotTakeTheOthersAlong(self) -> None:
        table = Table()
        table.change(dict.fromkeys(IDS, b"all"))
        # One gets a state of its own, another one is delivered: the rest is still one.
        table.change({IDS[0]: b"own"}, [IDS[1]])
        self.assertEqual(1, table.change(dict.fromkeys(IDS[2:], b"rest")))
        self.assertEqual(table.expected, table.found())
        self.assertEqual(b"own", table.found()[IDS[0]])

    def test_crowdsThatMeetStayTwoRows(self) -> None:
        table = Table()
        table.change({**dict.fromkeys(IDS[:20], b"one"), **dict.fromkeys(IDS[20:], b"two")})
        self.assertEqual(2, table.change(dict.fromkeys(IDS, b"both")))
        self.assertEqual(table.expected, table.found())

    def test_newcomersHaveAShareBesideTheOld(self) -> None:
        table = Table()
        table.change(dict.fromkeys(IDS[:20], b"old"))
        # One row for those, and for the others one and their own.
        self.assertEqual(1 + 1 + 20, table.change(dict.fromkeys(IDS, b"all")))
        self.assertEqual(2, table.count())
        self.assertEqual(table.expected, table.found())

    def test_whatIsLeftOfACrowdJoinsTheNext(self) -> None:
        """It is too small to go on by itself."""
        table = Table()
        table.change(dict.fromkeys(IDS[:20], b"all"))
        table.change(dict.fromkeys(IDS[10:20], b"own"))
        table.change(dict.fromkeys([*IDS[:10], *IDS[20:30]], b"together"))
        self.assertEqual(1, table.count())
        self.assertEqual(1, table.change(dict.fromkeys([*IDS[:10], *IDS[20:30]], b"again")))
        self.assertEqual(table.expected, table.found())

    def test_allOfACrowdLeave(self) -> None:
        table = Table()
        table.change(dict.fromkeys(IDS, b"all"))
        table.change({id: b"own %d" % number for number, id in enumerate(IDS)})
        self.assertEqual(0, table.count())
        self.assertEqual(table.expected, table.found())

    def test_aStateIsNotKeptTwice(self) -> None:
        table = Table()
        table.change({id: b"own %d" % number for number, id in enumerate(IDS)})
        table.change(dict.fromkeys(IDS, b"all"))
        twice = "SELECT count(*) FROM envelope WHERE share IS NOT NULL AND state IS NOT NULL"
        self.assertEqual((0,), table.connection.execute(twice).fetchone())

    def test_emptyOnesGo(self) -> None:
        table = Table()
        table.change(dict.fromkeys(IDS, b"all"))
        for id in IDS[:-1]:
            table.change({id: b"own"})
        self.assertEqual(1, table.count())
        table.change({}, [IDS[-1]])
        self.assertEqual(0, table.count())

    def test_fewKeepTheirOwn(self) -> None:
        table = Table()
        table.change(dict.fromkeys(IDS[: SMALLEST - 1], b"few"))
        self.assertEqual(0, table.count())
        self.assertEqual(table.expected, table.found())

    def test_whatItKnowsIsBounded(self) -> None:
        table = Table()
        table.shares = Shares(most=20)
        table.change(dict.fromkeys(IDS[:20], b"known"))
        table.change(dict.fromkeys(IDS[20:], b"too many"))
        self.assertEqual(1, table.count())
        self.assertEqual(table.expected, table.found())
        # Whoever goes makes room.
        table.change({}, IDS[:20])
        table.change(dict.fromkeys(IDS[20:], b"room"))
        self.assertEqual(1, table.count())
        self.assertEqual(table.expected, table.found())

    def test_nothingLooksAtEveryEnvelope(self) -> None:
        """A queue is large, and all that is committed waits for whoever writes."""
        connection = Table().connection
        asked: list[str] = []
        connection.set_trace_callback(asked.append)
        known = Shares()
        for width in (16, 17, 40, 200):
            ids = [envelopeId(MessageId(number), 0) for number in range(1, width + 1)]
            change(connection, known, (), dict.fromkeys(ids, b"all"), ())
            change(connection, known, (), {id: b"own %d" % id for id in ids}, ())
            change(connection, known, (), dict.fromkeys(ids, b"again"), ids[:1])
        connection.execute(shares.SWEEP)
        connection.execute(shares.HIGHEST)
        connection.set_trace_callback(None)
        # What a trigger does is a comment.
        updates = [statement for statement in asked if "envelope" in statement and not statement.startswith("--")]
        self.assertGreater(len(updates), 10)
        for statement in updates:
            plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
            self.assertFalse([step for step in plan if step.startswith("SCAN envelope")], statement)

    def test_damageIsMetOnce(self) -> None:
        """Found while the daemon runs, it does not keep states from being kept."""
        table = Table()
        table.change(dict.fromkeys(IDS[:20], b"some"))
        (page,) = table.connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'share'").fetchone()
        content = bytearray(table.connection.serialize())
        content[(page - 1) * 4096 : page * 4096] = b"\xee" * 4096
        table.connection.deserialize(bytes(content))
        self.assertRaises(sqlite3.DatabaseError, table.change, dict.fromkeys(IDS, b"lost"))
        table.change(dict.fromkeys(IDS, b"kept"))
        self.assertEqual(table.expected, table.found())

    def test_aVanishedShareIsNoNewState(self) -> None:
        table = Table()
        table.change(dict.fromkeys(IDS, b"all"))
        table.connection.execute("DELETE FROM share")
        self.assertEqual({b"\0"}, set(table.found().values()))


class CheckpointTests(SynchronousTestCase):
    def test_whatAFailureHasLeftBehindIsForgotten(self) -> None:
        disk = SimulatedDisk(Random(1))
        writer = Writer(disk, "/place")
        writer.open()
        writer.apply([new(1 + number) for number in range(COUNT // 2)], {}, ())
        writer.apply((), dict.fromkeys(IDS, b"before"), ())
        # A message that is there already.
        self.assertRaises(sqlite3.IntegrityError, writer.apply, [new(1)], dict.fromkeys(IDS, b"lost"), ())
        writer.apply((), dict.fromkeys(IDS, b"after"), ())
        database = disk.database("/place/queue.db")
        count = "SELECT count(*) FROM share"
        self.assertEqual((2,), database.execute(count).fetchone())
        writer.checkpoint()
        self.assertEqual((1,), database.execute(count).fetchone())
        self.assertEqual([b"after"], [*{state for *_, state in database.execute(shares.ENVELOPES, (0, 1 << 60))}])
        writer.close()

    def test_damageDoesNotKeepTheJournalFromBeingMoved(self) -> None:
        disk = SimulatedDisk(Random(1))
        writer = Writer(disk, "/place")
        writer.open()
        writer.apply([new(1 + number) for number in range(COUNT // 2)], dict.fromkeys(IDS, b"all"), ())
        writer.close()
        database = disk.database("/place/queue.db")
        (page,) = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'share'").fetchone()
        content = bytearray(database.serialize())
        database.close()
        content[(page - 1) * 4096 : page * 4096] = b"\xee" * 4096
        disk.write("/place/queue.db", bytes(content))
        writer.open()
        writer.checkpoint()
        writer.close()
