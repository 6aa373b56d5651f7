"""Every release opens the spools of all formats, and finds all that is in them."""

from __future__ import annotations

import os
import shutil

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.interfaces.ready import asDeferred
from pysmtpd.model.envelope import EnvelopeState
from pysmtpd.model.ids import EnvelopeId, MessageId
from pysmtpd.queue.copy import copy
from tests.queue.make_fixture import CROWD, CROWDED, DOWN, FIXTURES, LARGE, MAKERS, ODD, PREFIX, SMALL, STATE, frontOver
from tests.queue.values import LOCAL, REMOTE, TRANSACTION


class FixtureTests(SynchronousTestCase):
    def copied(self, name: str) -> str:
        # Git keeps no empty directories: a spool must live without them, too.
        place = os.path.abspath(self.mktemp())
        shutil.copytree(os.path.join(FIXTURES, name), place)
        return place

    def check(self, name: str, place: str, hasAside: bool = True, hasCrowd: bool = False) -> None:
        front = frontOver(name, place)
        self.successResultOf(front.start())
        walked = self.successResultOf(front.walk(None))
        self.assertIsNone(walked.cursor)
        (small, smalls), (large, larges), (bounce, bounces), *more = walked.messages
        self.assertEqual([[DOWN] * CROWD] if hasCrowd else [], [[each.state for each in crowd] for _, crowd in more])
        last = more[-1][0] if more else bounce
        self.assertEqual([LOCAL, REMOTE, ODD], [envelope.destination for envelope in smalls])
        self.assertEqual([EnvelopeState(), STATE, EnvelopeState()], [envelope.state for envelope in smalls])
        self.assertEqual([REMOTE], [envelope.destination for envelope in larges])
        self.assertEqual([REMOTE], [envelope.destination for envelope in bounces])
        self.assertEqual([TRANSACTION] * 3, [message.transaction for message in (small, large, bounce)])
        self.assertEqual([False, False, True], [message.isBounce for message in (small, large, bounce)])
        self.assertEqual([True, False, False], [message.eightBit for message in (small, large, bounce)])
        self.assertEqual(1_700_000_000.0, small.created)
        self.assertEqual(1_700_003_600.0, smalls[0].expires)
        for message, content in ((small, PREFIX + SMALL), (large, PREFIX + LARGE), (bounce, b"")):
            body = self.successResultOf(front.open(message.body))
            chunks = []
            while chunk := self.successResultOf(asDeferred(body.read())):
                chunks.append(chunk)
            body.close()
            self.assertEqual(content, b"".join(chunks))
        aside = self.successResultOf(front.setAside())
        self.assertEqual(["set aside on purpose"] if hasAside else [], [item.reason for item in aside])
        # It works on, with ids above all that were used.
        new = front.begin(TRANSACTION)
        new.recipient(LOCAL)
        self.assertGreater(self.successResultOf(new.commit(PREFIX)).id, last.id)
        ids = [envelope.id for _, envelopes in walked.messages for envelope in envelopes]
        deleting = front.delete([*ids, EnvelopeId(new.id << 32)])
        self.successResultOf(front._pump.settled())
        self.successResultOf(deleting)
        self.assertEqual((), self.successResultOf(front.page(MessageId(0), 10)))
        self.successResultOf(front.stop())

    def test_each(self) -> None:
        for name in MAKERS:
            self.check(name, self.copied(name), hasCrowd=name in CROWDED)

    def test_copiesOfThem(self) -> None:
        copies = (
            ("sqlite-1", "fs-1"),
            ("sqlite-2", "fs-1"),
            ("sqlite-3", "fs-2"),
            ("fs-1", "sqlite-1"),
            ("fs-2", "sqlite-3"),
        )
        for name, other in copies:
            place = os.path.abspath(self.mktemp())
            source = frontOver(name, self.copied(name))._backend
            copied = self.successResultOf(copy(source, frontOver(other, place)._backend)).messages
            self.assertEqual(4 if name in CROWDED else 3, copied)
            self.check(other, place, hasAside=False, hasCrowd=name in CROWDED)

    def test_allFormatsAreHere(self) -> None:
        self.assertEqual(sorted(MAKERS), sorted(os.listdir(FIXTURES)))
