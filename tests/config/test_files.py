"""Whole files as people write them: files/accepted, files/refused, and those of before 6.4 in files/old.

A refused one says in comments at its beginning what is told of it: C{#! LINE:COLUMN MESSAGE}, for each problem. Beside an old one stands
what it becomes, and what is told of it besides.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.config import Environment, Finding, Reading
from pysmtpd.config.dated.convert import convert
from pysmtpd.config.printer import printed
from pysmtpd.reading import readFile, regexFault

FILES = Path(__file__).resolve().parent / "files"
_LO = ("127.0.0.1", "::1")
_ETH = ("192.0.2.25", "2001:db8::25")
LINUX = Environment("mx.example.org", (*_LO, *_ETH), {"lo": _LO, "eth0": _ETH}, lambda name: [], regexFault)
# One on which interfaces of OpenBSD are found, and whatever name is asked for.
ANY = Environment(
    "mx.example.org",
    (*_LO, *_ETH),
    {"lo": _LO, "lo0": _LO, "eth0": _ETH, "egress": _ETH, "all": (*_LO, *_ETH)},
    lambda name: ["192.0.2.80"],
    regexFault,
)


def files(kind: str) -> list[Path]:
    return sorted((FILES / kind).glob("*.conf"))


def reader(main: str, text: str) -> Callable[[str], str]:
    """Gives this text for the main file."""
    return lambda path: text if path == main else readFile(path)


class AcceptedTests(SynchronousTestCase):
    def test_thereAreMany(self) -> None:
        self.assertGreater(len(files("accepted")), 60)

    def test_accepted(self) -> None:
        for path in files("accepted"):
            reading = Reading(str(path), readFile, ANY, {})
            self.assertEqual([str(problem) for problem in reading.problems.found()], [], path.name)
            self.assertTrue(reading.config().rules, path.name)

    def test_printed(self) -> None:
        """What is printed means the same, as far as it is printed again."""
        for path in files("accepted"):
            once = printed(Reading(str(path), readFile, ANY, {}).config())
            reading = Reading("t", reader("t", once), ANY, {})
            self.assertEqual([str(problem) for problem in reading.problems.found()], [], path.name)
            self.assertEqual(printed(reading.config()), once, path.name)

    def test_otherLineEnds(self) -> None:
        """Windows has written it: that is told once, and nothing else is."""
        for path in files("accepted"):
            text = readFile(str(path))
            if path.name == "windows-in-comments.conf" or "\n" not in text:
                continue
            reading = Reading(str(path), reader(str(path), text.replace("\n", "\r\n")), ANY, {})
            found = reading.problems.found()
            self.assertEqual(len(found), 1, path.name)
            self.assertIn("sed -i", found[0].message)

    def test_withoutTheLastLineEnd(self) -> None:
        for path in files("accepted"):
            text = readFile(str(path))
            whole, cut = (Reading(str(path), reader(str(path), each), ANY, {}) for each in (text, text.rstrip("\n")))
            self.assertEqual(cut.problems.found(), (), path.name)
            self.assertEqual(cut.config(), whole.config(), path.name)

    def test_nothingIsConverted(self) -> None:
        """Files of today's language stay as they are."""
        for path in files("accepted"):
            text = readFile(str(path))
            converted = convert(path.name, text)
            self.assertEqual(converted.reasons, (), path.name)
            if "include " not in text:
                self.assertEqual(converted.text.splitlines(), text.splitlines(), path.name)


class RefusedTests(SynchronousTestCase):
    def test_thereAreMany(self) -> None:
        self.assertGreater(len(files("refused")), 100)

    def test_messages(self) -> None:
        for path in files("refused"):
            text = readFile(str(path))
            expected = [line[3:] for line in text.splitlines() if line.startswith("#! ")]
            found = Reading("smtpd.conf", reader("smtpd.conf", text), LINUX, {}).problems.found()
            self.assertEqual(
                [f"{each.where.line}:{each.where.column} {each.message}" for each in found], expected, path.name
            )
            self.assertTrue(expected, path.name)

    def test_caretsStandWhereItIs(self) -> None:
        """What a message quotes first stands in the line; where it is quoted as it was written, the caret is below it."""
        for path in files("refused"):
            for problem in Reading("smtpd.conf", reader("smtpd.conf", readFile(str(path))), LINUX, {}).problems.found():
                shown, below = str(problem).split("\n")[1:]
                self.assertEqual(below.rstrip().index("^") - 4, problem.where.column - 1, path.name)
                self.assertEqual(shown[4:], problem.line)


class OldTests(SynchronousTestCase):
    def test_thereAreMany(self) -> None:
        self.assertGreater(len(files("old")), 15)

    def test_theMessageNamesConvert(self) -> None:
        """No directive of old is refused without a way out."""
        for path in files("old"):
            reading = Reading(str(path), readFile, ANY, {})
            self.assertTrue(
                any("pysmtpd convert" in problem.message for problem in reading.problems.found(Finding.LANGUAGE)),
                path.name,
            )

    def test_converted(self) -> None:
        for path in files("old"):
            converted = convert(path.name, readFile(str(path)))
            self.assertEqual(converted.text, readFile(str(path.with_suffix(".new"))), path.name)
            self.assertEqual(
                "".join(f"{each}\n" for each in (*converted.notes, *converted.reasons)),
                readFile(str(path.with_suffix(".told"))) if path.with_suffix(".told").exists() else "",
                path.name,
            )

    def test_theResultIsRead(self) -> None:
        for path in files("old"):
            text = readFile(str(path.with_suffix(".new")))
            reading = Reading(path.name, reader(path.name, text), ANY, {})
            self.assertEqual([str(problem) for problem in reading.problems.found()], [], path.name)

    def test_twiceIsOnce(self) -> None:
        for path in files("old"):
            text = readFile(str(path.with_suffix(".new")))
            self.assertEqual(convert(path.name, text).text, text, path.name)
