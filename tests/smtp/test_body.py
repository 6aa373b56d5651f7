"""Content: the matrix of what might pass for an end of data, judged the same however it is cut; bounds; normalising."""

from __future__ import annotations

import re
from itertools import pairwise, product

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.smtp.body import ContentCheck, DataReader
from pysmtpd.testing.dialogue import octetByOctet

END = b"\r\n.\r\n"
NEWLINES = (b"\r\n", b"\n", b"\r", b"\r\r\n", b"\n\r", b"\r\0\n", b"\0\r\n", b"\r\n\0", b"")
DOTS = (b".", b"..", b".\0", b"\0.", b"")
TRICKY = st.lists(st.sampled_from((b"\r", b"\n", b".", b"a", b"\r\n", b"\r\n.", b"\0", b"\xff")), max_size=25).map(
    b"".join
)


def read(
    pieces: list[bytes], maxSize: int = 1 << 20, maxLine: int = 1 << 16, normalise: bool = False
) -> tuple[bytes, bytes | None, ContentCheck]:
    """
    @return: what is stored, what comes after the end (None: no end), the check.
    """
    reader, check, stored = DataReader(), ContentCheck(maxSize, maxLine, normalise), b""
    for index, piece in enumerate(pieces):
        content, rest = reader.feed(piece)
        stored += check.add(content)
        if rest is not None:
            return stored + check.finish(), rest + b"".join(pieces[index + 1 :]), check
    return stored, None, check


def reference(data: bytes) -> tuple[bytes, bytes]:
    """What RFC 5321 4.5.2 says, line by line: the content and what follows; C{data} holds a true end."""
    lines: list[bytes] = []
    while True:
        line, _, data = data.partition(b"\r\n")
        if line == b".":
            return b"".join(line + b"\r\n" for line in lines), data
        lines.append(line[1:] if line.startswith(b".") else line)


def isBare(content: bytes) -> bool:
    return re.search(rb"\r(?!\n)|(?<!\r)\n", content) is not None


class SmugglingTests(SynchronousTestCase):
    """Every pair of newlines around every dot: only CRLF.CRLF ends, all else is content and refuses the message."""

    def test_everyVariantCutAtEveryOctet(self) -> None:
        for before, dot, after in product(NEWLINES, DOTS, NEWLINES):
            data = b"text" + before + dot + after + b"MAIL FROM:<forged@example.org>\r\n.\r\nQUIT\r\n"
            content, rest = reference(data)
            isTrueEnd = END in data[: 4 + len(before + dot + after)]
            self.assertEqual(b"MAIL" in rest, isTrueEnd, data)
            cuts = [[data[:cut], data[cut:]] for cut in range(len(data) + 1)]
            for pieces in ([data], list(octetByOctet(data)), *cuts):
                stored, after_, check = read(pieces)
                self.assertEqual(after_, rest, pieces)
                self.assertEqual(check.refusal is not None, isBare(content), pieces)
                if check.refusal is None:
                    self.assertEqual(stored, content, pieces)
                else:
                    self.assertEqual((check.refusal.code, check.refusal.enhanced), (554, "5.6.0"))

    def test_variantsAtTheVeryBeginning(self) -> None:
        for start in (b".\r\n", b".\n", b".\r", b"\n.\r\n", b"\r.\r\n", b"..\r\n", b"\r\n.\r\n", b".\r.\r\n"):
            data = start + b"x\r\n.\r\nNOOP\r\n"
            content, rest = reference(data)
            for pieces in ([data], list(octetByOctet(data))):
                stored, after, check = read(pieces)
                self.assertEqual(after, rest, start)
                self.assertEqual(check.refusal is not None, isBare(content), start)
                if check.refusal is None:
                    self.assertEqual(stored, content)

    @given(TRICKY, st.lists(st.integers(0, 60)))
    def test_anyContentAnyCut(self, text: bytes, cuts: list[int]) -> None:
        data = text + END + b"QUIT\r\n"
        content, rest = reference(data)
        places = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
        stored, after, check = read([data[a:b] for a, b in pairwise(places)])
        self.assertEqual(after, rest)
        self.assertEqual(check.refusal is not None, isBare(content))
        if check.refusal is None:
            self.assertEqual((stored, check.size), (content, len(content)))
        self.assertEqual(check.eightBit, b"\xff" in content)

    @given(TRICKY, st.lists(st.integers(0, 60)))
    def test_normalisingLeavesNoBareNewline(self, text: bytes, cuts: list[int]) -> None:
        data = text + END
        content, rest = reference(data)
        places = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
        stored, after, check = read([data[a:b] for a, b in pairwise(places)], normalise=True)
        self.assertEqual((after, check.refusal), (rest, None))
        self.assertEqual(stored, re.sub(rb"\r\n|\r|\n", b"\r\n", content))
        self.assertEqual(check.size, len(stored))


class BoundTests(SynchronousTestCase):
    """The bounds hold to the octet, and the verdict is the same for every cut."""

    def verdicts(self, data: bytes, maxSize: int = 1 << 20, maxLine: int = 1 << 16) -> list[str]:
        cuts = [[data], list(octetByOctet(data)), *([data[:cut], data[cut:]] for cut in range(len(data)))]
        found = []
        for pieces in cuts:
            stored, _, check = read(pieces, maxSize, maxLine)
            found.append(check.refusal.enhanced + check.refusal.text if check.refusal else "")
            if check.refusal is None:
                self.assertEqual(stored, reference(data)[0])
        self.assertEqual(len(set(found)), 1, found)
        return found

    def test_lineLength(self) -> None:
        for line in (b"x" * 8, b"." + b"x" * 8):
            for data in (line, b"ab\r\n" + line + b"\r\nab", b"\r\n" * 9 + line + b"\r\n" + b"abcdefgh\r\n" * 3):
                self.assertEqual(self.verdicts(data + END, maxLine=10)[0], "")
                self.assertIn("line", self.verdicts(data.replace(line, line + b"y") + END, maxLine=10)[0])

    def test_size(self) -> None:
        self.assertEqual(self.verdicts(b"12345678" + END, maxSize=10)[0], "")
        self.assertIn("5.3.4", self.verdicts(b"123456789" + END, maxSize=10)[0])
        self.assertEqual(self.verdicts(b"..\r\n..\r\n..\r\n.\r\n", maxSize=9)[0], "")

    def test_severalFaultsHaveOneVerdict(self) -> None:
        self.assertIn("5.3.4", self.verdicts(b"a\nb" * 9 + b"x" * 30 + END, maxSize=20, maxLine=10)[0])
        self.assertIn("bare", self.verdicts(b"x" * 30 + b"\na" + END, maxLine=10)[0])

    @given(TRICKY, st.integers(1, 12), st.integers(0, 30), st.booleans())
    def test_theVerdictDoesNotDependOnTheCut(self, text: bytes, maxLine: int, maxSize: int, normalise: bool) -> None:
        data = text + END
        verdicts = [
            (refusal.text if refusal else stored)
            for stored, _, check in (
                read(pieces, maxSize, maxLine, normalise)
                for pieces in ([data], list(octetByOctet(data)), [data[: len(data) // 2], data[len(data) // 2 :]])
            )
            for refusal in (check.refusal,)
        ]
        self.assertEqual(len(set(verdicts)), 1, verdicts)

    def test_nothingIsStoredAfterTheFirstFault(self) -> None:
        check = ContentCheck(1 << 20, 1 << 16, False)
        self.assertEqual(check.add(b"good\r\n"), b"good\r\n")
        self.assertEqual(check.add(b"b\nad\r\n"), b"")
        self.assertEqual(check.add(b"good\r\n"), b"")

    def test_aLargePieceIsHandedOnAsItIs(self) -> None:
        reader, check = DataReader(), ContentCheck(1 << 20, 1 << 16, False)
        check.add(reader.feed(b"first\r\nsecond")[0])
        piece = b"and more\r\n" * 5000 + b"end"
        self.assertIs(check.add(reader.feed(piece)[0]), piece)
