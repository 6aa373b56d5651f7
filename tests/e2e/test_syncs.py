"""By the system calls of the real daemon: C{250} is said only after what it promises was synced, and a message leaves the queue only
after its letter was.

Each test lets a daemon run under strace, and argues about the order of what it saw: a sync covers a write if it began after the write had
ended; it counts for an answer if it had ended before the answer began.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.e2e.support import SINK, Daemon, needsRoot, running, say, waitFor
from tests.e2e.trace import MAKES, RENAMES, SENDS, STRACE, SYNCS, UNLINKS, WRITES, Call, read

THRESHOLD = 16384
MESSAGES = 24
_LARGE = 4

_ACCEPTED = re.compile(rb"250 2\.0\.0 ([0-9a-f]{16}) Message accepted")
# Of a frame's header in SQLite's write-ahead log: a commit says how large the database is then.
_FRAME_HEADER = 24


class Unproved(Exception):
    """The order of the calls does not show what it should."""


class Trace:
    """What can be asked of the calls of one daemon."""

    def __init__(self, calls: Sequence[Call], spool: Path) -> None:
        self.calls = calls
        self.spool = str(spool)

    def without(self, path: str) -> Trace:
        """As if nothing had been synced whose path matches this expression."""
        left = [call for call in self.calls if call.name not in SYNCS or not re.search(path, call.target)]
        return Trace(left, Path(self.spool))

    def first(self, what: str, condition: Callable[[Call], bool]) -> Call:
        for call in self.calls:
            if condition(call):
                return call
        raise Unproved(f"no {what}")

    def reply(self, id: str) -> Call:
        """The answer that accepted a message."""
        end = f"250 2.0.0 {id} ".encode()
        return self.first(
            f"answer for {id}", lambda call: call.name in SENDS and call.target.startswith("TCP") and end in call.data
        )

    def writes(self, path: str) -> list[Call]:
        return [call for call in self.calls if call.name in WRITES and call.target == path]

    def synced(self, path: str, after: Call) -> Call:
        """The first sync that covers what had happened by then."""
        return self.first(
            f"sync of {path} after call {after.end}",
            lambda call: call.name in SYNCS and call.target == path and call.begin > after.end,
        )

    def renamed(self, old: str) -> Call:
        return self.first(f"rename of {old}", lambda call: call.name in RENAMES and call.paths[0] == old)

    def file(self, path: str) -> Call:
        """A file that is written under a first name: written, synced, renamed, its directory synced.

        @param path: the first name.
        @return: the sync of the directory.
        """
        written = self.writes(path)
        if not written:
            raise Unproved(f"{path} was not written")
        renamed = self.renamed(path)
        synced = self.synced(path, written[-1])
        _before(synced, renamed)
        return self.synced(renamed.paths[1].rpartition("/")[0], renamed)

    # --- what the backends do

    def committed(self, id: str, token: bytes, recipient: bytes, isLarge: bool) -> list[Call]:
        """The syncs after which message and envelope are safe in SQLite."""
        log = f"{self.spool}/queue.db-wal"
        writes = self.writes(log)
        needed = [recipient] if isLarge else [recipient, token]
        found = [number for number, call in enumerate(writes) if any(each in call.data for each in needed)]
        seen = b"".join(writes[number].data for number in found)
        if not all(each in seen for each in needed):
            raise Unproved(f"{id} was not written to the log")
        # SQLite's own: a journal that was just made, and the database, keep their names.
        syncs = [self.synced(self.spool, writes[0]), self.synced(log, self._commit(writes, found[0]))]
        if isLarge:
            syncs.append(self.file(f"{self.spool}/bodies/{id}.tmp"))
        return syncs

    def _commit(self, writes: Sequence[Call], start: int) -> Call:
        """The last write of the transaction that has this one: the page of the frame that says commit."""
        for header, page in zip(writes[start - 1 :], writes[start:], strict=False):
            if len(header.data) == _FRAME_HEADER and header.data[4:8] != bytes(4):
                return page
        raise Unproved("the transaction has no end")

    def filed(self, id: str, token: bytes, recipient: bytes, isLarge: bool) -> list[Call]:
        """The syncs after which message and envelope are safe as a file."""
        staged = f"{self.spool}/queue/staged/{id}"
        bucket = f"{self.spool}/queue/messages/{int(id, 16) >> 28:09x}"
        made = self.first(f"directory {bucket}", lambda call: call.name in MAKES and call.paths[-1] == bucket)
        syncs = [self.synced(f"{self.spool}/queue/messages", made)]
        if isLarge:
            syncs.append(self.file(f"{staged}.tmp"))
        data = b"".join(call.data for path in (staged, f"{staged}.tmp") for call in self.writes(path))
        if token not in data or recipient not in data:
            raise Unproved(f"{id} was not written")
        return [*syncs, self.file(staged)]

    def letter(self, id: str, maildir: Path) -> Call:
        """
        @return: the sync after which the letter is safe in the Maildir.
        """
        renamed = self.first(
            f"letter for {id}",
            lambda call: call.name in RENAMES and f"E{id}" in call.paths[0] and call.paths[0].startswith(str(maildir)),
        )
        return self.file(renamed.paths[0])


def _before(earlier: Call, later: Call) -> None:
    if earlier.end >= later.begin:
        raise Unproved(
            f"{earlier.name} of {earlier.target} ended at {earlier.end}, {later.name} began at {later.begin}"
        )


SQLITE = f"queue limit file-threshold {THRESHOLD}\n" + SINK
FS = 'queue backend "fs:"\n' + SQLITE


class Sent:
    """A message that can be found again in everything that is written."""

    def __init__(self, number: int, size: int = 3 * THRESHOLD) -> None:
        """
        @param size: of a large one; each fourth is large.
        """
        self.token = f"token-{number:03d}-token".encode()
        self.recipient = f"recipient-{number:03d}@example.org"
        self.isLarge = number % _LARGE == 3
        line = self.token + b"\r\n"
        # The token is on each line: whatever the pieces in which it is written, each shows whose it is.
        self.content = b"Subject: test\r\n\r\n" + line * (size // len(line) if self.isLarge else 2)
        self.id = ""

    def by(self, daemon: Daemon) -> None:
        with daemon.client() as client:
            client.ehlo("client.test")
            client.mail("sender@example.org")
            client.rcpt(self.recipient)
            code, reply = client.data(self.content)
            match = _ACCEPTED.match(b"%d %s" % (code, reply))
            assert match is not None, reply
            self.id = match[1].decode()


class AcceptanceTests(SynchronousTestCase):
    """Messages come side by side, so that they share syncs, while others are delivered and deleted."""

    def trace(self, configuration: str, isNew: bool) -> tuple[Trace, list[Sent]]:
        """
        @param isNew: the daemon that is traced makes its spool; else it finds the one of an earlier daemon.
        """
        sent = [Sent(number) for number in range(MESSAGES)]
        with running(configuration, before=(*STRACE, "-o", "strace.out")) as daemon:
            if not isNew:
                daemon.stop()
                daemon.start()
            with ThreadPoolExecutor(6) as threads:
                list(threads.map(lambda each: each.by(daemon), sent))
            daemon.letters(MESSAGES)
            daemon.stop()
            return Trace(read(daemon.place / "strace.out"), daemon.spool), sent

    def prove(self, trace: Trace, sent: list[Sent], name: str) -> None:
        """
        @raise Unproved:
        """
        for each in sent:
            reply = trace.reply(each.id)
            for sync in getattr(trace, name)(each.id, each.token, each.recipient.encode(), each.isLarge):
                _before(sync, reply)

    def check(self, configuration: str, name: str, needed: Sequence[str], isNew: bool = True) -> None:
        """
        @param needed: ends of paths; without the syncs of any one of them there must be no proof.
        """
        trace, sent = self.trace(configuration, isNew)
        self.prove(trace, sent, name)
        for path in needed:
            less = trace.without(path)
            with self.assertRaises(Unproved):
                self.prove(less, sent, name)
        syncs = sum(call.name in SYNCS and call.target.startswith(f"{trace.spool}/") for call in trace.calls)
        say(
            f"{len(sent)} messages, {sum(each.isLarge for each in sent)} of them in files: each 250 after its syncs; {syncs} in all"
        )

    def test_sqlite(self) -> None:
        self.check(SQLITE, "committed", (r"/queue\.db-wal$", r"/spool$", r"/bodies$", r"/bodies/\w+\.tmp$"))

    def test_sqliteThatWasThereBefore(self) -> None:
        """Its journal is made anew."""
        self.check(SQLITE, "committed", (r"/queue\.db-wal$", r"/spool$"), isNew=False)

    def test_fs(self) -> None:
        self.check(FS, "filed", (r"/staged/\w+$", r"/staged/\w+\.tmp$", r"/staged$", r"/messages$", r"/messages/\w+$"))


class DeliveryTests(SynchronousTestCase):
    """One message after the other: what is written to the queue between two of them is the deletion of the first."""

    def check(self, configuration: str, asRoot: bool = False) -> None:
        # Letters of more than a mebibyte go to their file piece by piece.
        sent = [Sent(number, 1_200_000) for number in range(_LARGE * 2)]
        with running(configuration, before=(*STRACE, "-o", "strace.out"), asRoot=asRoot) as daemon:
            for number, each in enumerate(sent, 1):
                each.by(daemon)
                daemon.letters(number)
                waitFor("an empty queue", lambda: not daemon.queued())
            daemon.stop()
            trace = Trace(read(daemon.place / "strace.out"), daemon.spool)
            for each in sent:
                deleted = self.deleted(trace, each)
                _before(trace.letter(each.id, daemon.maildir), deleted)
                less = trace.without(f"^{daemon.maildir}/new$")
                self.assertRaises(Unproved, less.letter, each.id, daemon.maildir)
        say(f"{len(sent)} letters: file synced, renamed, directory synced, and only then deleted from the queue")

    def deleted(self, trace: Trace, sent: Sent) -> Call:
        """The first thing that the queue does about the message after it was accepted."""
        accepted = trace.reply(sent.id)
        queue = f"{trace.spool}/"

        def isChange(call: Call) -> bool:
            if call.begin < accepted.end:
                return False
            if call.name in WRITES:
                return call.target.startswith(queue) and not call.target.endswith(("-shm", ".sock"))
            return call.name in UNLINKS and call.paths[0].startswith(queue)

        return trace.first(f"deletion of {sent.id}", isChange)

    def test_sqlite(self) -> None:
        self.check(SQLITE)

    def test_fs(self) -> None:
        self.check(FS)

    def test_startedByRoot(self) -> None:
        """The letter is written by a child of the helper, as the user."""
        needsRoot("deliver as another user")
        self.check(SQLITE, asRoot=True)
