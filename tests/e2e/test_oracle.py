"""Our verdict on configurations is OpenSMTPD's, of Debian's packages, or a listed difference. See tests/e2e/oracle.py for more cases."""

from __future__ import annotations

import os
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.config import Finding, Reading
from pysmtpd.reading import readFile
from tests.config.test_files import ANY, files
from tests.e2e.oracle import Place, Verdict, compare, find, judge, theirs, version
from tests.e2e.support import say

CASES = int(os.environ.get("ORACLE_CASES", "1500"))
SEED = int(os.environ.get("ORACLE_SEED", "20"))


def _found() -> list[str]:
    found = find()
    if not found:
        raise SkipTest("tests/e2e/setup unpacks Debian's opensmtpd where it can be had")
    return found


class VerdictTests(SynchronousTestCase):
    timeout = 600

    def test_sameVerdicts(self) -> None:
        for smtpd in _found():
            tally = compare(smtpd, CASES, SEED)
            say(
                f"OpenSMTPD {version(smtpd)}: {tally.agreed} of {tally.cases} verdicts agree, {tally.accepted} accepted"
            )
            for text, our, their in tally.differing[:5]:
                say(f"ours: {our.said or 'accepted'}\n    theirs: {their.said}\n{text}")
            self.assertEqual(tally.differing, [])
            self.assertGreater(tally.accepted, 0.5 * tally.cases)
            self.assertGreater(tally.agreed, 0.95 * tally.cases)

    def test_files(self) -> None:
        """Whole files as people write them: tests/config/files."""
        for smtpd in _found():
            self._compareFiles(smtpd)

    def _compareFiles(self, smtpd: str) -> None:
        isOlder = version(smtpd) < "7"
        place = Place()
        self.addCleanup(place.remove)
        differing = []
        for path in (*files("accepted"), *files("refused"), *files("old")):
            text = readFile(str(path))
            if "\ninclude " in f"\n{text}":
                continue
            found = Reading(str(path), readFile, ANY, {}).problems.found(Finding.LANGUAGE)
            our = Verdict(not found, "\n".join(map(str, found)))
            their = theirs(smtpd, place.path / "smtpd.conf", text)
            if judge(text, our, their, isOlder) == "differs":
                differing.append(f"{path.name}: ours {our.said or 'accepted'}; theirs {their.said}")
        self.assertEqual(differing, [])
