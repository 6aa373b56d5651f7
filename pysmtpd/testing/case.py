"""Test cases that use Worlds and tell their seeds."""

from __future__ import annotations

import os
import sys
import zlib
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from pysmtpd.testing.world import World

VARIABLE = "PYSMTPD_SEED"


class WorldTestCase(SynchronousTestCase):
    """Worlds from a seed that a failure names.

    The seed is that of C{PYSMTPD_SEED}; without that, one made of the test's name: the same at each run.

    @ivar seed: of this test.
    """

    def setUp(self) -> None:
        self.seed = int(os.environ.get(VARIABLE) or zlib.crc32(self.id().encode()))
        self._worlds: list[World] = []
        setattr(self, self._testMethodName, self._tellingSeed(getattr(self, self._testMethodName)))

    def world(self, config: str = "", **options: Any) -> World:
        """A World, not started yet.

        @param options: of L{World}; C{seed} in place of the test's own.
        """
        made = World(options.pop("seed", self.seed), config, **options)
        self._worlds.append(made)
        return made

    def _tellingSeed(self, test: Callable[[], object]) -> Callable[[], object]:
        def run() -> object:
            try:
                result = test()
                # What was only logged is a failure too, and belongs to this seed as well.
                for failure in self.flushLoggedErrors():
                    failure.raiseException()
            except SkipTest:
                raise
            except Exception as error:
                note = self._note()
                print(note, file=sys.stderr)
                error.add_note(note)
                if isinstance(error, AssertionError):
                    raise type(error)(f"{error}\n{note}").with_traceback(error.__traceback__) from None
                raise
            return result

        return run

    def _note(self) -> str:
        # A test may make several Worlds, each from a seed of its own that follows from the test's.
        seed = self._worlds[-1].seed if self._worlds else self.seed
        return f"{self.id()}: the seed was {seed}; replay with {VARIABLE}={self.seed}"
