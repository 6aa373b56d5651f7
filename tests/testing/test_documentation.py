"""The example of docs/testing.md runs as it stands there."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any
from unittest import TestResult, defaultTestLoader

from twisted.trial.unittest import SynchronousTestCase

PAGE = Path(__file__).resolve().parents[2] / "docs" / "testing.md"


class ExampleTests(SynchronousTestCase):
    if importlib.util.find_spec("pysmtpd.service") is None:
        skip = "the daemon is not part of this tree"

    def test_theExample(self) -> None:
        found = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
        assert found is not None
        names: dict[str, Any] = {"__name__": "example"}
        exec(compile(found[1], str(PAGE), "exec"), names)
        result = TestResult()
        defaultTestLoader.loadTestsFromTestCase(names["ConfigurationTests"]).run(result)
        self.assertEqual(result.testsRun, 4)
        for case, traceback in (*result.errors, *result.failures):
            self.fail(f"{case}: {traceback}")
