"""What runs in the lanes of the SQLite queue: one object per connection, used by its lane alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from pysmtpd.interfaces.platform import IDisk, IFile
from pysmtpd.interfaces.queue import ContentLost, NewMessage, SetAside, SpoolError, StoredMessage, StoredPage
from pysmtpd.model.ids import EnvelopeId, MessageId, envelopeId, formatMessageId, messageOf, parseMessageId
from pysmtpd.queue import shares
from pysmtpd.queue.changes import GONE, SETUP, change
from pysmtpd.queue.refusal import FAILED
from pysmtpd.queue.rescue import ASIDE, inspect, keep, kept, moveBodies
from pysmtpd.queue.shares import Shares
from pysmtpd.queue.spool import checkKinds, claim, isThere, makeDurableDirectory, raiseFormat, removeIfThere

DATABASE = "queue.db"
FORMAT = 3
"""Since 2 a message knows how many envelopes it came with, and those that are finished leave a mark as long as others are not. Since 3
envelopes may have their state in common."""
BODIES = "bodies"

CHECKPOINT_OCTETS = 8 * 1024 * 1024
"""How much goes into the journal, about, before it is moved into the database."""

JOURNAL_OCTETS = 64 * 1024 * 1024
"""A journal that a burst made longer than this is cut when it starts anew."""

VACUUM_FLOOR_PAGES = 16_384
VACUUM_STEP_PAGES = 256
"""When more than this floor, and more than half of the file, is unused, each checkpoint gives some pages back to the file system."""

BUSY_MILLISECONDS = 30_000
"""How long a statement waits for somebody who looks into the database."""

_PAGE_OCTETS = 4096

# Content has a table of its own: a walk reads the small records only. What changes of an envelope is its state and where that is kept.
SCHEMA = (
    "CREATE TABLE message (id INTEGER PRIMARY KEY, record BLOB NOT NULL, aside TEXT, envelopes INTEGER)",
    "CREATE INDEX aside ON message (id) WHERE aside IS NOT NULL",
    "CREATE TABLE body (message INTEGER PRIMARY KEY, content BLOB)",
    "CREATE TABLE envelope (message INTEGER NOT NULL, number INTEGER NOT NULL, record BLOB NOT NULL, state BLOB,"
    " share INTEGER, PRIMARY KEY (message, number)) WITHOUT ROWID",
    *shares.SCHEMA,
    "CREATE TABLE reserved (ceiling INTEGER NOT NULL)",
    "INSERT INTO reserved VALUES (0)",
)


def _connect(disk: IDisk, place: str) -> sqlite3.Connection:
    connection = disk.database(f"{place}/{DATABASE}")
    connection.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
    connection.execute("PRAGMA synchronous = FULL")
    # Only the checkpointer moves the journal.
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    return connection


class Reader:
    """Reads through a connection of its own."""

    def __init__(self, disk: IDisk, place: str) -> None:
        self._disk = disk
        self._place = place
        self._opened: sqlite3.Connection | None = None

    @property
    def _connection(self) -> sqlite3.Connection:
        if self._opened is None:
            raise sqlite3.ProgrammingError("the queue is not open")
        return self._opened

    def open(self) -> int:
        """
        @return: for the writer, the highest message id that may ever have been used.
        """
        self._opened = _connect(self._disk, self._place)
        return 0

    def close(self) -> None:
        connection, self._opened = self._opened, None
        if connection is not None:
            connection.close()

    def load(self, message: MessageId) -> StoredMessage | None:
        execute = self._connection.execute
        found = execute("SELECT record FROM message WHERE id = ? AND aside IS NULL", (message,)).fetchone()
        if found is None:
            return None
        try:
            rows = execute(shares.ENVELOPES, (message, message)).fetchall()
        except sqlite3.DatabaseError:
            rows = execute(shares.UNREADABLE, (message, message)).fetchall()
        envelopes = tuple(
            (envelopeId(message, number), record, state or b"") for _, number, record, state in rows if record != GONE
        )
        return StoredMessage(message, found[0], envelopes)

    def body(self, message: MessageId) -> bytes | tuple[IFile, int] | None:
        execute = self._connection.execute
        found = execute("SELECT content FROM body WHERE message = ?", (message,)).fetchone()
        if found is None:
            self._checkGone(message, "its content has vanished from the database")
            return None
        content = found[0]
        if content is not None:
            # A hand that wrote text there damaged it: the front's checksum will say so.
            return content if isinstance(content, bytes) else str(content).encode("utf-8", "replace")
        path = f"{self._place}/{BODIES}/{formatMessageId(message)}"
        try:
            return self._disk.open(path), self._disk.stat(path).size
        except FileNotFoundError as error:
            self._checkGone(message, f"its content is not there any more: {error}")
            return None

    def _checkGone(self, message: MessageId, reason: str) -> None:
        """
        @raise ContentLost: it is in the queue all the same.
        """
        query = "SELECT 1 FROM message WHERE id = ? AND aside IS NULL"
        if self._connection.execute(query, (message,)).fetchone() is not None:
            raise ContentLost(FAILED, reason)

    def page(self, after: MessageId, limit: int) -> tuple[StoredMessage, ...]:
        last = MessageId((1 << 63) - 1)
        try:
            return self._page(after, last, limit).messages
        except sqlite3.DatabaseError:
            # An operator wants to see what is left.
            while True:
                found = self._walkSingly(after, last, limit)
                if found.messages or found.cursor is None:
                    return found.messages
                after = parseMessageId(found.cursor)

    def walk(self, after: MessageId, last: MessageId, limit: int) -> StoredPage:
        """Messages above C{after} up to C{last}."""
        try:
            return self._page(after, last, limit)
        except sqlite3.DatabaseError:
            return self._walkSingly(after, last, limit)

    def _page(self, after: int, last: int, limit: int, envelopesOf: str = shares.ENVELOPES) -> StoredPage:
        execute = self._connection.execute
        # One transaction: the envelopes are those of the same moment.
        execute("BEGIN")
        try:
            heads = execute(
                "SELECT id, record, envelopes FROM message WHERE id > ? AND id <= ? AND aside IS NULL ORDER BY id LIMIT ?",
                (after, last, limit),
            ).fetchall()
            if not heads:
                return StoredPage((), None)
            envelopes: dict[int, list[tuple[EnvelopeId, bytes, bytes]]] = {id: [] for id, _, _ in heads}
            finished = dict.fromkeys(envelopes, 0)
            for message, number, record, state in execute(envelopesOf, (heads[0][0], heads[-1][0])):
                if message not in envelopes:
                    continue
                if record != GONE:
                    envelopes[message].append((envelopeId(message, number), record, state or b""))
                else:
                    finished[message] += 1
        finally:
            execute("ROLLBACK")
        messages = tuple(StoredMessage(MessageId(id), record, tuple(envelopes[id])) for id, record, _ in heads)
        damaged = tuple(
            _vanished(id, count - len(envelopes[id]) - finished[id], count)
            for id, _, count in heads
            if count is not None and len(envelopes[id]) + finished[id] < count and envelopes[id]
        )
        cursor = formatMessageId(messages[-1].id) if len(messages) == limit else None
        return StoredPage(messages, cursor, damaged)

    def _walkSingly(self, after: MessageId, last: MessageId, limit: int) -> StoredPage:
        """Something on this page of the database is damaged: find out which messages it costs."""
        ids = self._connection.execute(
            "SELECT id FROM message WHERE id > ? AND id <= ? ORDER BY id LIMIT ?", (after, last, limit)
        ).fetchall()
        found: list[StoredMessage] = []
        damaged: list[SetAside] = []
        for (id,) in ids:
            try:
                page = self._readable(id)
            except sqlite3.DatabaseError as error:
                damaged.append(SetAside(formatMessageId(MessageId(id)), f"the database is damaged here: {error}"))
            else:
                found += page.messages
                damaged += page.damaged
        cursor = formatMessageId(MessageId(ids[-1][0])) if len(ids) == limit else None
        return StoredPage(tuple(found), cursor, tuple(damaged))

    def _readable(self, id: int) -> StoredPage:
        """One message; a state that is lost costs tries, not mail.

        @raise sqlite3.DatabaseError: it is damaged itself.
        """
        try:
            return self._page(id - 1, id, 1)
        except sqlite3.DatabaseError:
            return self._page(id - 1, id, 1, shares.UNREADABLE)

    def setAside(self) -> tuple[SetAside, ...]:
        rows = self._connection.execute("SELECT id, aside FROM message WHERE aside IS NOT NULL ORDER BY id")
        asides = tuple(SetAside(formatMessageId(MessageId(id)), reason) for id, reason in rows)
        return (*kept(self._disk, self._place), *asides)


def _vanished(message: int, missing: int, count: int) -> SetAside:
    """The others of that message go on."""
    return SetAside(
        formatMessageId(MessageId(message)),
        f"{missing} of its {count} envelopes vanished from the database, of which nobody knows whether they were delivered; the others "
        "go on, then what is left of the message is set aside. The mail log of its coming in names its recipients",
    )


class Writer(Reader):
    """The one connection that writes. It also holds the lock of the place."""

    def __init__(self, disk: IDisk, place: str) -> None:
        super().__init__(disk, place)
        self._lock: IFile | None = None
        # Messages whose content is a file; few, and known from the directory at open.
        self._inFiles: set[int] = set()
        self._sinceCheckpoint = 0
        self._loss: SetAside | None = None
        self._shares = Shares()

    def loss(self) -> SetAside | None:
        """What this start has found lost, and kept aside."""
        return self._loss

    def open(self) -> int:
        """
        @return: the highest message id that may ever have been used.
        @raise SpoolError:
        """
        self._lock = claim(self._disk, self._place, "sqlite", (DATABASE,), FORMAT)
        try:
            return self._openLocked()
        except (OSError, sqlite3.Error) as error:
            self.close()
            raise SpoolError(f"the queue in {self._place} cannot be opened: {error}") from error
        except SpoolError:
            self.close()
            raise

    def _openLocked(self) -> int:
        # SQLite would only say that it is unable to open the database.
        checkKinds(
            self._disk, self._place, [f"{DATABASE}{end}" for end in ("", "-wal", "-shm", "-journal")], (BODIES, ASIDE)
        )
        bodies = f"{self._place}/{BODIES}"
        # They are made after the database, so where they are, it was. A new one would have them all removed as debris.
        hadDatabase = isThere(self._disk, bodies)
        if hadDatabase and not isThere(self._disk, f"{self._place}/{DATABASE}"):
            raise SpoolError(self._lost("there is none"))
        journal = f"{self._place}/{DATABASE}-wal"
        hadJournal = isThere(self._disk, journal) and self._disk.stat(journal).size > 0
        found = inspect(self._disk, self._place, DATABASE) if hadJournal and hadDatabase else None
        if found is not None:
            self._loss = keep(self._disk, self._place, DATABASE, found)
        # The database must not be readable by others, whatever the directory's mode.
        self._disk.append(f"{self._place}/{DATABASE}").close()
        super().open()
        execute = self._connection.execute
        if execute("SELECT 1 FROM sqlite_schema WHERE name = 'reserved'").fetchone() is None:
            if hadDatabase:
                raise SpoolError(
                    self._lost("it is empty" if self._loss is None else f"it is empty, for {self._loss.reason}")
                )
            # A start of an older release may have ended here.
            raiseFormat(self._disk, self._place, "sqlite", FORMAT)
            execute("PRAGMA auto_vacuum = INCREMENTAL")
            execute("PRAGMA journal_mode = WAL")
            execute("BEGIN IMMEDIATE")
            # With a journal's first sync SQLite syncs the directory, too: the database keeps its name.
            for statement in SCHEMA:
                execute(statement)
            execute("COMMIT")
        else:
            execute("PRAGMA journal_mode = WAL")
            self._upgrade()
        execute(f"PRAGMA journal_size_limit = {JOURNAL_OCTETS}")
        makeDurableDirectory(self._disk, bodies)
        for statement in SETUP:
            execute(statement)
        self._shares = self._sweepShares()
        self._removeDebris()
        if hadJournal:
            self._startJournalAnew()
        # A hand, or a bad disk, may have left nothing or nonsense there.
        (ceiling,) = execute("SELECT max(ceiling) FROM reserved WHERE typeof(ceiling) = 'integer'").fetchone()
        (highest,) = execute("SELECT max(id) FROM message").fetchone()
        return max(ceiling or 0, highest or 0)

    def _lost(self, how: str) -> str:
        return (
            f"the queue in {self._place} has lost its database {DATABASE}: {how}; put it back, "
            f"or move {BODIES} away to begin with an empty queue"
        )

    def _upgrade(self) -> None:
        """From formats 1 and 2. Messages of the first stay without a count."""
        raiseFormat(self._disk, self._place, "sqlite", FORMAT)
        if not self._hasColumn("message", "envelopes"):
            self._connection.execute("ALTER TABLE message ADD COLUMN envelopes INTEGER")
        if not self._hasColumn("envelope", "share"):
            self._connection.execute("BEGIN IMMEDIATE")
            for statement in ("ALTER TABLE envelope ADD COLUMN share INTEGER", *shares.SCHEMA):
                self._connection.execute(statement)
            self._connection.execute("COMMIT")

    def _hasColumn(self, table: str, column: str) -> bool:
        query = "SELECT 1 FROM pragma_table_info(?) WHERE name = ?"
        return self._connection.execute(query, (table, column)).fetchone() is not None

    def _sweepShares(self) -> Shares:
        execute = self._connection.execute
        try:
            execute(shares.SWEEP)
            (last,) = execute(shares.HIGHEST).fetchone()
        except sqlite3.DatabaseError:
            # Whoever reads a state that is damaged there will say so; no envelope is put there any more.
            return Shares(most=0)
        return Shares(last)

    def _startJournalAnew(self) -> None:
        """What a crash left behind the last commit must not be taken for a damaged commit when there is another crash."""
        execute = self._connection.execute
        # Somebody else may be reading. Then it is done some other time.
        execute("PRAGMA busy_timeout = 0")
        execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")

    def _removeDebris(self) -> None:
        unnamed: list[str] = []
        directory = f"{self._place}/{BODIES}"
        for name in self._disk.listDirectory(directory):
            try:
                message = parseMessageId(name)
            except ValueError:
                message = MessageId(0)
            query = "SELECT 1 FROM body WHERE message = ? AND content IS NULL"
            if self._connection.execute(query, (message,)).fetchone() is None:
                unnamed.append(name)
            else:
                self._inFiles.add(message)
        if unnamed and self._loss is not None:
            moveBodies(self._disk, directory, unnamed, f"{self._place}/{self._loss.item}")
            return
        for name in unnamed:
            # What cannot be removed, such as a directory that somebody made there, is in nobody's way.
            with suppress(OSError):
                removeIfThere(self._disk, f"{directory}/{name}")

    def close(self) -> None:
        super().close()
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.close()

    def reserve(self, ceiling: MessageId) -> None:
        self._connection.execute("UPDATE reserved SET ceiling = max(ceiling, ?)", (ceiling,))

    def putAside(self, message: MessageId, reason: str) -> None:
        # Reasons may quote what cannot be encoded.
        text = reason.encode("utf-8", "replace").decode("utf-8")
        self._connection.execute("UPDATE message SET aside = ? WHERE id = ?", (text, message))

    def apply(
        self, messages: Sequence[NewMessage], states: Mapping[EnvelopeId, bytes], deleted: Sequence[EnvelopeId]
    ) -> bool:
        """All in one transaction, durable on return.

        @return: should the journal be moved?
        """
        gone = [*deleted]
        for new in messages:
            if new.body is None:
                # What is not there cannot be committed.
                self._disk.stat(f"{self._place}/{BODIES}/{formatMessageId(new.id)}")
                self._inFiles.add(new.id)
            gone += new.supersedes
        turned = change(self._connection, self._shares, messages, states, gone)
        if gone and self._inFiles:
            self._removeBodies(dict.fromkeys(map(messageOf, gone)))
        size = sum(len(new.body) + _PAGE_OCTETS for new in messages if new.body is not None)
        self._sinceCheckpoint += size + _PAGE_OCTETS * (turned + len(gone))
        return self._sinceCheckpoint >= CHECKPOINT_OCTETS

    def _removeBodies(self, touched: Iterable[MessageId]) -> None:
        for id in touched:
            if id not in self._inFiles:
                continue
            if self._connection.execute("SELECT 1 FROM message WHERE id = ?", (id,)).fetchone() is None:
                self._inFiles.discard(id)
                try:
                    removeIfThere(self._disk, f"{self._place}/{BODIES}/{formatMessageId(id)}")
                except OSError:
                    # The deletion itself is done and durable. The file is debris, which the next start removes.
                    continue

    def checkpoint(self) -> None:
        """Move the rest of the journal, so that the next commit starts it anew; shrink the file if much of it is unused, and forget states
        that a failure has left behind."""
        self._sinceCheckpoint = 0
        execute = self._connection.execute
        execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        (unused,) = execute("PRAGMA freelist_count").fetchone()
        (pages,) = execute("PRAGMA page_count").fetchone()
        if unused > VACUUM_FLOOR_PAGES and unused * 2 > pages:
            execute(f"PRAGMA incremental_vacuum({VACUUM_STEP_PAGES})").fetchall()
        if self._shares.isUsable:
            execute(shares.SWEEP)


class Checkpointer(Reader):
    """Moves the journal into the database while the writer goes on."""

    def checkpoint(self) -> None:
        self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
