"""The long runs of what unit tests do in small: C{python -m tests.bars [CONFIGURATIONS [FIRST]]}, a thousand by default.

For as many random configurations and their sessions: the verdict about open relaying against brute force, rules that are said never to
match, decisions with and without a screen, and what C{explain} tells against what a live daemon does. Any difference ends the run.
"""

from __future__ import annotations

import sys
from collections import Counter
from time import process_time
from unittest import TestSuite, TextTestRunner

from twisted.trial.unittest import SynchronousTestCase

from tests.daemon.test_explain import SameTests
from tests.ruleset import test_spared
from tests.ruleset.brute import checkShadows, checkVerdict

SESSIONS = 300


def main(count: int, first: int) -> None:
    began = process_time()

    def told(what: str) -> None:
        print(f"{what} ({process_time() - began:.0f} s of CPU)", flush=True)

    verdicts = Counter(checkVerdict(number, SESSIONS) for number in range(first, first + count))
    told(
        f"open relay: {count} rule sets, {SESSIONS} sessions for each that is closed: {dict(sorted(verdicts.items()))}"
    )
    rules = sum(checkShadows(number, SESSIONS) for number in range(first, first + count))
    told(f"never to match: {count} rule sets, {rules} rules")
    case = SynchronousTestCase()
    counts = [test_spared.check(case, number, 20) for number in range(first, first + count)]
    without, spared = (sum(column) for column in zip(*counts, strict=True))
    told(f"screen: {count} rule sets, 20 sessions each: {without} questions without it, {spared} with it")
    SameTests.configurations, SameTests.sessions = count, 1
    result = TextTestRunner(verbosity=0).run(TestSuite([SameTests("test_explainIsTheLiveVerdict")]))
    told(f"explain: {count} configurations, a session each")
    SameTests.configurations, SameTests.sessions = max(1, count // 20), 20
    again = TextTestRunner(verbosity=0).run(TestSuite([SameTests("test_explainIsTheLiveVerdict")]))
    told(f"explain: {max(1, count // 20)} configurations, 20 sessions each")
    sys.exit(not (result.wasSuccessful() and again.wasSuccessful()))


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:3]]
    main(*[*numbers, *(1000, 0)[len(numbers) :]])
