"""Several filters as one, apart from any session."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pysmtpd.filter.chain import PipeChain, chain
from pysmtpd.interfaces import IBodyPipe
from tests.listen.test_filter import LinePipe, Rewriter


class ChainTests(SynchronousTestCase):
    def test_noFilters(self) -> None:
        self.assertIsNone(chain([]))

    def test_oneFilter(self) -> None:
        only = Rewriter()
        self.assertIs(chain([only]), only)


class PipeChainTests(SynchronousTestCase):
    def test_restsRunThrough(self) -> None:
        """What a stage gives at its end still passes the stages behind it."""
        for slow in (False, True):
            pipe = PipeChain(
                [
                    LinePipe(lambda line: line.replace(b"a", b"b"), slow),
                    LinePipe(lambda line: line.replace(b"b", b"c"), not slow),
                ]
            )
            verifyObject(IBodyPipe, pipe)
            got: list[bytes] = []
            for answer in (pipe.write(b"a1\r\na2"), pipe.finish()):
                if isinstance(answer, Deferred):
                    answer.addCallback(got.append)
                else:
                    got.append(answer)
            self.assertEqual(b"".join(got), b"c1\r\nc2")
