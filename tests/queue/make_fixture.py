"""Writes the fixture spools of the newest formats. Run when a format is new; its result is committed and never changed.

python -m tests.queue.make_fixture
"""

from __future__ import annotations

import os

from twisted.internet.defer import Deferred

from pysmtpd.interfaces.queue import IQueueBackend
from pysmtpd.interfaces.ready import asDeferred
from pysmtpd.model.address import Path
from pysmtpd.model.config import QueueLimits
from pysmtpd.model.envelope import Agent, Attempt, Destination, EnvelopeState, Notify
from pysmtpd.model.ids import EnvelopeId
from pysmtpd.platform.disk import RealDisk
from pysmtpd.queue import fs, sqlite
from pysmtpd.queue.front import QueueFront
from tests.queue.support import SmallPlatform
from tests.queue.values import LOCAL, REMOTE, TRANSACTION, ChangesetScheduler, Recorder

FIXTURES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "fixtures")
LIMITS = QueueLimits(fileThreshold=2000)
MAKERS = {
    "sqlite-1": sqlite.make,
    "sqlite-2": sqlite.make,
    "sqlite-3": sqlite.make,
    "fs-1": fs.make,
    "fs-2": fs.make,
}
CROWDED = ("sqlite-3", "fs-2")
"""Those with a message more, whose recipients have their state in common."""

CROWD = 20

PREFIX = b"Received: from client.example.net by mx.example.org; Tue, 14 Nov 2023 22:13:20 +0000\r\n"
SMALL = b"Subject: small\r\n\r\nA small letter, with an \xe9 in it.\r\n"
LARGE = b"Subject: large\r\n\r\n" + b"A long line of a large letter.\r\n" * 100
ODD = Destination(
    Path("d\u00f6 \udcff\u2603", "xn--example.test"),
    Path("alias", ""),
    Agent.MDA,
    "local",
    "d",
    "a.conf:1",
    60.0,
    Notify.NEVER,
)
STATE = EnvelopeState(
    2,
    1_700_000_900.5,
    1_700_000_300.25,
    "451 4.7.1 later",
    "held",
    True,
    "",
    "",
    1,
    (
        Attempt(1_700_000_000.0, "421 4.3.2 busy", "mx.example.com [192.0.2.9]"),
        Attempt(1_700_000_300.25, "451 4.7.1 later"),
    ),
)

DOWN = EnvelopeState(
    7,
    1_700_003_600.0,
    1_700_003_000.0,
    "451 4.4.1 down",
    attempts=(Attempt(1_700_003_000.0, "451 4.4.1 down", "mx.example.com [192.0.2.9]", 7, 1_700_000_100.0),),
)


def frontOver(name: str, place: str) -> QueueFront:
    platform = SmallPlatform(RealDisk())
    backend: IQueueBackend = MAKERS[name](place, platform, {"spool": place, "limits": LIMITS})
    return QueueFront(backend, ChangesetScheduler(), platform, Recorder(), LIMITS)


async def fill(front: QueueFront) -> None:
    """Three messages with five envelopes are left of four, and one is set aside. A sixth envelope was delivered.
    And there is the crowd's."""
    await front.start()
    small = front.begin(TRANSACTION)
    for destination in (LOCAL, REMOTE, ODD):
        small.recipient(destination)
    small.write(SMALL)
    first = await small.commit(PREFIX)
    large = front.begin(TRANSACTION)
    large.recipient(REMOTE)
    large.recipient(LOCAL)
    await asDeferred(large.write(LARGE))
    second = await large.commit(PREFIX)
    gone = front.begin(TRANSACTION)
    gone.recipient(LOCAL)
    await gone.commit(PREFIX)
    aside = front.begin(TRANSACTION)
    aside.recipient(LOCAL)
    damaged = await aside.commit(PREFIX)
    bounce = front.begin(TRANSACTION, isBounce=True)
    bounce.recipient(REMOTE)
    await bounce.commit(b"", [EnvelopeId(gone.id << 32)])
    crowd = front.begin(TRANSACTION)
    for _ in range(CROWD):
        crowd.recipient(REMOTE)
    last = await crowd.commit(PREFIX)
    front.update({EnvelopeId(last.id << 32 | number): DOWN for number in range(CROWD)})
    # The turn of these comes with the end.
    front.update({EnvelopeId(first.id << 32 | 1): STATE})
    front.delete([EnvelopeId(second.id << 32 | 1)])
    await front._backend.putAside(damaged.id, "set aside on purpose")
    await front.stop()


def main() -> None:
    for name in MAKERS:
        place = os.path.join(FIXTURES, name)
        if os.path.exists(place):
            continue
        results: list[object] = []
        Deferred.fromCoroutine(fill(frontOver(name, place))).addBoth(results.append)
        if results != [None]:
            raise SystemExit(f"{name}: {results}")


if __name__ == "__main__":
    main()
