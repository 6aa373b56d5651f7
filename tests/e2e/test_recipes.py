"""The recipes of the book are run as they stand there: see tests/e2e/recipes.py."""

from __future__ import annotations

import sys
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from tests.e2e.hosts import BESIDE
from tests.e2e.recipes import STORIES, recipes, tell
from tests.e2e.support import needsRoot, say


class RecipeTests(SynchronousTestCase):
    timeout = 600

    def test_eachHasAStory(self) -> None:
        self.assertEqual(set(recipes()), set(STORIES))

    def test_stories(self) -> None:
        needsRoot("it makes a room with users, paths and ports of its own")
        if not sys.platform.startswith("linux") or not (BESIDE / "aiosmtpd").exists():
            raise SkipTest("a room needs Linux, and tests/e2e/setup brings the other hosts")
        found = tell()
        for title, wrong in found.items():
            say(f"{title}: {wrong.partition(chr(10))[0] or 'ok'}")
        self.assertEqual({title: wrong for title, wrong in found.items() if wrong}, {})
        self.assertEqual(set(found), set(STORIES))
