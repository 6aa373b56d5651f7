"""How fast the queue takes messages in and lets them go again.

    python -m tests.benchmarks.queue [--directory DIR] [--messages N] [--queued N]

Messages of 4 KiB are begun, written, committed, opened, read and deleted, with 1, 20 and 100 of them in flight; CPU is that of the whole
process. Then a queue of N messages is filled, opened anew, and walked.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet import reactor, task
from twisted.internet.defer import Deferred, gatherResults
from zope.interface import implementer

from pysmtpd.interfaces.queue import IQueueBackend, NewMessage
from pysmtpd.interfaces.ready import asDeferred
from pysmtpd.interfaces.reporting import IReport
from pysmtpd.model.config import QueueLimits
from pysmtpd.model.envelope import BodyRef, Envelope, Message
from pysmtpd.model.events import Event
from pysmtpd.model.ids import MessageId, envelopeId
from pysmtpd.platform.real import RealPlatform
from pysmtpd.queue import fs, ram, sqlite
from pysmtpd.queue.front import QueueFront
from pysmtpd.queue.record import encodeEnvelope, encodeMessage
from tests.queue.values import REMOTE, TRANSACTION, ChangesetScheduler

CONTENT = (b"x" * 76 + b"\r\n") * 52
PREFIX = b"Received: from client.example.net by mx.example.org; Thu, 1 Jan 1970 00:00:00 +0000\r\n"
BACKENDS: dict[str, Callable[..., Any]] = {"sqlite": sqlite.make, "fs": fs.make, "ram": ram.make}


@implementer(IReport)
class Deaf:
    def happened(self, event: Event) -> None:
        pass

    def allHappened(self, events: Sequence[Event]) -> None:
        for event in events:
            self.happened(event)


async def one(front: QueueFront, isRead: bool) -> None:
    submission = front.begin(TRANSACTION)
    submission.recipient(REMOTE)
    await asDeferred(submission.write(CONTENT))
    message = await submission.commit(PREFIX)
    _, envelopes = await asDeferred(front.load(message.id))
    body = await front.open(message.body)
    while await asDeferred(body.read()):
        pass
    body.close()
    await front.delete([envelope.id for envelope in envelopes])


async def worker(front: QueueFront, count: int) -> None:
    for _ in range(count):
        await one(front, True)


async def throughput(name: str, platform: RealPlatform, directory: str, messages: int, flight: int) -> None:
    spool = f"{directory}/{name}-{flight}"
    os.makedirs(spool)
    limits = QueueLimits(minFreeSpace=0.0, minFreeInodes=0.0)
    backend = BACKENDS[name]("", platform, {"spool": spool, "limits": limits})
    front = QueueFront(backend, ChangesetScheduler(), platform, Deaf(), limits)
    await front.start()
    wall, cpu = time.perf_counter(), time.process_time()
    each = max(1, messages // flight)
    await gatherResults([Deferred.fromCoroutine(worker(front, each)) for _ in range(flight)])
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    done = each * flight
    print(
        f"{name:7} {flight:4} in flight {done / wall:9.0f} messages/s {cpu / done * 1000:8.3f} ms CPU/message",
        flush=True,
    )
    await front.stop()


async def standing(name: str, platform: RealPlatform, directory: str, queued: int) -> None:
    spool = f"{directory}/{name}-standing"
    os.makedirs(spool)
    limits = QueueLimits(minFreeSpace=0.0, minFreeInodes=0.0)
    settings = {"spool": spool, "limits": limits}
    backend: IQueueBackend = BACKENDS[name]("", platform, settings)
    await backend.open()
    start = time.perf_counter()
    first = int(time.time() * 1000) << 12
    for base in range(0, queued, 500):
        await backend.commit(
            [message(MessageId(first + (number << 11))) for number in range(base, min(base + 500, queued))]
        )
    print(f"{name:7} filled with {queued} in {time.perf_counter() - start:.1f} s", flush=True)
    await backend.close()
    front = QueueFront(BACKENDS[name]("", platform, settings), ChangesetScheduler(), platform, Deaf(), limits)
    wall = time.perf_counter()
    await front.start()
    print(f"{name:7} open with {queued} queued: {(time.perf_counter() - wall) * 1000:.1f} ms", flush=True)
    wall, cpu = time.perf_counter(), time.process_time()
    cursor, envelopes, longest = None, 0, 0.0
    while True:
        page = time.perf_counter()
        walked = await front.walk(cursor)
        longest = max(longest, time.perf_counter() - page)
        envelopes += sum(len(found) for _, found in walked.messages)
        cursor = walked.cursor
        if cursor is None:
            break
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(
        f"{name:7} walked {envelopes} envelopes in {wall:.2f} s, {cpu / envelopes * 1e6:.1f} us CPU each,"
        f" longest page {longest * 1000:.1f} ms",
        flush=True,
    )
    await front.stop()


def message(id: MessageId) -> NewMessage:
    now = time.time()
    value = Message(id, TRANSACTION, BodyRef(id, len(CONTENT), "", "00000000"), now)
    envelope = Envelope(envelopeId(id, 0), REMOTE, now, now + 3600)
    return NewMessage(id, encodeMessage(value), ((envelope.id, encodeEnvelope(envelope)),), CONTENT)


async def main(reactorHere: Any) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--directory", help="an existing directory on the disk to measure; default: the system's for temporary files"
    )
    parser.add_argument("--messages", type=int, default=4000)
    parser.add_argument("--queued", type=int, default=0)
    parser.add_argument("--backends", default="sqlite,fs")
    options = parser.parse_args()
    platform = RealPlatform(reactor)
    directory = tempfile.mkdtemp(prefix="queue-benchmark-", dir=options.directory)
    try:
        for name in options.backends.split(","):
            for flight in (1, 20, 100):
                await throughput(name, platform, directory, options.messages, flight)
            if options.queued:
                await standing(name, platform, directory, options.queued)
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    task.react(main)
