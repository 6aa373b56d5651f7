"""Random work, with power cuts, against a model: what was acknowledged is there, what was refused is not."""

from __future__ import annotations

import os
from collections.abc import Sequence
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.interfaces.queue import IQueueBackend, NoSuchItem, QueueError
from pysmtpd.interfaces.ready import asDeferred
from pysmtpd.model.config import QueueLimits
from pysmtpd.model.envelope import EnvelopeState, Message
from pysmtpd.model.ids import EnvelopeId, MessageId, messageOf
from pysmtpd.queue import fs, shares, sqlite
from pysmtpd.queue.front import QueueFront
from tests.queue.support import CrashDisk, HeldWorkers, SmallPlatform
from tests.queue.values import REMOTE, TRANSACTION, ChangesetScheduler, Recorder

LIMITS = QueueLimits(fileThreshold=600)
ROUNDS = 3
OPERATIONS = 40


class Life:
    """One daemon's work on a disk, until its end."""

    def __init__(self, make: Any, disk: CrashDisk, random: Random, sure: dict[EnvelopeId, set[int]]) -> None:
        self.random = random
        self.sure = sure
        self.maybe: set[EnvelopeId] = set()
        self.content: dict[MessageId, bytes] = {}
        # How often each has turned, and who has turned together last.
        self.order: dict[EnvelopeId, int] = {}
        self.crowd: set[EnvelopeId] = set()
        self.workers = HeldWorkers()
        platform = SmallPlatform(disk, self.workers)
        backend: IQueueBackend = make("/place", platform, {"spool": "/place", "limits": LIMITS})
        cache = random.choice((0, 1 << 20))
        self.front = QueueFront(backend, ChangesetScheduler(), platform, Recorder(), LIMITS, cacheOctets=cache)

    def finish(self, done: Deferred[Any]) -> Any:
        results: list[Any] = []
        done.addBoth(results.append)
        self.workers.finish()
        if isinstance(results[0], Failure):
            raise results[0].value  # type: ignore[misc]
        return results[0]

    def step(self) -> None:
        works = (self.submit, self.submit, self.change, self.changeMany, self.remove, self.workers.step)
        work = self.random.choice(works)
        work()

    def submit(self) -> None:
        submission = self.front.begin(TRANSACTION)
        ids = [submission.recipient(REMOTE) for _ in range(self.random.randint(1, 3))]
        content = b"%d\r\n" % self.random.getrandbits(30) * self.random.choice((1, 20, 100))
        self.content[submission.id] = content
        old = [id for id in self.sure if self.random.random() < 0.1] if self.random.random() < 0.3 else []
        self.maybe.update(ids, old)
        for id in old:
            del self.sure[id]

        def written(result: object) -> Deferred[Message]:
            return submission.commit(b"", old)

        def kept(result: object) -> None:
            self.maybe.difference_update(ids)
            self.sure.update((id, {0}) for id in ids)

        asDeferred(submission.write(content)).addCallback(written).addCallbacks(kept, self.ignore)

    def change(self) -> None:
        if self.sure:
            self.turn([self.random.choice(sorted(self.sure))])

    def changeMany(self) -> None:
        """Those that have turned together often do so again, and others join them."""
        likely = self.random.choice((0.0, 0.0, 0.1))
        together = [id for id in sorted(self.sure) if id in self.crowd or self.random.random() < likely]
        self.crowd = set(together) or {id for id in sorted(self.sure) if self.random.random() < 0.7}
        self.turn(sorted(self.crowd))

    def turn(self, ids: Sequence[EnvelopeId]) -> None:
        """They get one state."""
        state = EnvelopeState(tries=self.random.randint(1, 1000))
        for id in ids:
            self.sure[id].add(state.tries)
            self.order[id] = self.order.get(id, 0) + 1
        numbers = {id: self.order[id] for id in ids}

        def kept(result: object) -> None:
            for id, number in numbers.items():
                # Later changes may be on their way already.
                if self.order[id] == number and id in self.sure:
                    self.sure[id] = {state.tries}

        self.front.update(dict.fromkeys(ids, state)).addCallbacks(kept, self.ignore)

    def remove(self) -> None:
        gone = [id for id in sorted(self.sure) if self.random.random() < 0.1]
        for id in gone:
            del self.sure[id]
        # Not necessarily durable when it fires.
        self.maybe.update(gone)
        self.front.delete(gone).addErrback(self.ignore)

    def ignore(self, failure: Failure) -> None:
        failure.trap(QueueError)


class RandomTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(shares, "SMALLEST", 3)

    def test_sqlite(self) -> None:
        self.run_(sqlite.make, 40)

    def test_fs(self) -> None:
        self.run_(fs.make, 40)

    def run_(self, make: Any, seeds: int) -> None:
        for seed in range(seeds):
            try:
                self.live(make, Random(seed), isTearing=seed % 2 == 0)
            except BaseException:
                print(f"seed {seed}")
                raise

    def live(self, make: Any, random: Random, isTearing: bool) -> None:
        disk = CrashDisk(os.path.abspath(self.mktemp()), isTearing)
        sure: dict[EnvelopeId, set[int]] = {}
        content: dict[MessageId, bytes] = {}
        for _ in range(ROUNDS):
            life = Life(make, disk, random, sure)
            life.finish(life.front.start())
            for _ in range(random.randint(1, OPERATIONS)):
                life.step()
            content.update(life.content)
            ending = random.choice(("stop", "cut", "die"))
            if ending == "stop":
                life.finish(life.front.stop())
            elif ending == "die":
                disk.crashAfter(random.randint(0, 12))
                life.workers.finish()
            disk = disk.powerCut()
            self.check(make, disk, sure, life.maybe, content)

    def check(
        self,
        make: Any,
        disk: CrashDisk,
        sure: dict[EnvelopeId, set[int]],
        maybe: set[EnvelopeId],
        content: dict[MessageId, bytes],
    ) -> None:
        life = Life(make, disk, Random(1), {})
        life.finish(life.front.start())
        found: dict[EnvelopeId, int] = {}
        cursor = None
        while True:
            page = life.finish(life.front.walk(cursor))
            for message, envelopes in page.messages:
                found.update((envelope.id, envelope.state.tries) for envelope in envelopes)
                self.assertEqual(content[message.id], self.read(life, message))
            cursor = page.cursor
            if cursor is None:
                break
        for id, tries in sure.items():
            self.assertIn(id, found)
            self.assertIn(found[id], tries)
            sure[id] = {found[id]}
        for id in found:
            self.assertTrue(id in sure or id in maybe, "nobody gave it, or it was given up long ago")
            # From now on it is as good as acknowledged.
            sure.setdefault(id, {found[id]})
        self.assertEqual((), life.finish(life.front.setAside()))
        for message in {messageOf(id) for id in maybe - found.keys()} - {messageOf(id) for id in found}:
            self.assertRaises(NoSuchItem, life.finish, life.front.load(message))
        life.finish(life.front.stop())

    def read(self, life: Life, message: Message) -> bytes:
        body = life.finish(life.front.open(message.body))
        chunks = []
        while chunk := life.finish(asDeferred(body.read())):
            chunks.append(chunk)
        body.close()
        return b"".join(chunks)
