"""Files of tables: forms, bounds, and that nothing in one can do more than be refused."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.table.syntax import MAX_LINE, Entry, Reader, parseTable


def read(pieces: list[bytes], isMap: bool | None = None) -> list[Entry]:
    reader = Reader(isMap)
    entries: list[Entry] = []
    for piece in pieces:
        entries += reader.feed(piece)
    return entries + reader.finish()


class AliasesTests(SynchronousTestCase):
    def check(self, text: str, expected: dict[str, str]) -> None:
        self.assertEqual(dict(parseTable(text)), expected)

    def test_continuation(self) -> None:
        self.check("root: ann,\n\tben,\n  cid\ndora: eve\n", {"root": "ann, ben, cid", "dora": "eve"})
        self.check("root:\n  ann\n  ben\n", {"root": "ann ben"})
        self.check("root: ann,\n\n# more\n  ben\n", {"root": "ann, ben"})

    def test_indentedEntries(self) -> None:
        self.check("ann: x\n  ben: y\n", {"ann": "x", "ben": "y"})
        self.check("ann: x,\n  error: y\n", {"ann": "x, error: y"})
        self.check("ann x\n  ben y\n", {"ann": "x", "ben": "y"})

    def test_colons(self) -> None:
        self.check(
            "a: :include:/x\nb :include:/x\nc : d\ne:f:g\n",
            {"a": ":include:/x", "b": ":include:/x", "c": "d", "e": "f:g"},
        )
        self.check("@example.org: ann\n", {"@example.org": "ann"})

    def test_quotes(self) -> None:
        self.check('"a b": c\n"q\\"": "|x, y"\n', {"a b": "c", 'q"': '"|x, y"'})

    def test_ipv6(self) -> None:
        self.assertEqual(list(parseTable("2001:db8::/32\n192.0.2.1\n")), [("2001:db8::/32", ""), ("192.0.2.1", "")])

    def test_dosLineEnds(self) -> None:
        self.check("ann: ben\r\ncid: dora,\r\n  eve\r\n", {"ann": "ben", "cid": "dora, eve"})

    def test_errorsNameTheLine(self) -> None:
        for text, line, why in (
            ("a: b\n\nc\n", 3, "without a value"),
            ("a: b\nc:\nd: e\n", 2, "without a value"),
            ("a: b\nc:\n", 2, "without a value"),
            ("a: b\n: c\n", 2, "begins with a colon"),
            ("a: b\nc: \x00\n", 2, "control character"),
            ("a: b\nc: d\re: f\n", 2, "control character"),
            ("a: b\nc: " + "x" * MAX_LINE + "\n", 2, "longer than"),
            ("a: b,\n" + "  cccccccc,\n" * 8000, 6555, "longer than"),
        ):
            error = self.assertRaises(ValueError, list, parseTable(text))
            self.assertTrue(str(error).startswith(f"line {line}: "), error)
            self.assertIn(why, str(error))

    def test_endlessLine(self) -> None:
        """It is refused before all of it was read."""
        reader = Reader()
        reader.feed(b"a: b\n")

        def feed() -> None:
            for _ in range(100):
                reader.feed(b"x" * 65_536)

        error = self.assertRaises(ValueError, feed)
        self.assertIn("line 2", str(error))


lines = st.one_of(
    st.sampled_from(
        ["a: b", "a: b,", "  c", "\tc: d", "# x", "# @list", "", "a b", '"a b": c', "::", "[::1] x", "é: ü", "a:"]
    ),
    st.text('ab:, \t"\\#[]|/\x00\r@', max_size=10),
)


class FuzzTests(SynchronousTestCase):
    @settings(deadline=None, max_examples=300)
    @given(st.lists(lines, max_size=8).map("\n".join), st.lists(st.integers(0, 100), max_size=5))
    def test_piecesDoNotMatter(self, text: str, cuts: list[int]) -> None:
        data = text.encode()
        places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
        pieces = [data[start:end] for start, end in pairwise(places)]

        def result(pieces: list[bytes]) -> object:
            try:
                return read(pieces)
            except ValueError:
                # Of two faults either may be told.
                return "refused"

        self.assertEqual(result(pieces), result([data]))

    @settings(deadline=None, max_examples=300)
    @given(st.binary(max_size=300), st.sampled_from([None, True, False]))
    def test_anyOctets(self, data: bytes, isMap: bool | None) -> None:
        try:
            entries = read([data], isMap)
        except ValueError as error:
            self.assertTrue(str(error).startswith("line "), error)
            return
        numbers = [line for _, _, line in entries]
        self.assertEqual(numbers, sorted(numbers))
        for key, value, _ in entries:
            self.assertNotIn("\n", key + value)

    @settings(deadline=None, max_examples=200)
    @given(
        st.dictionaries(
            st.text("ab@.+", min_size=1, max_size=6),
            st.text("ab, @/|", min_size=1, max_size=9).map(str.strip).filter(bool),
        )
    )
    def test_whatIsWrittenIsRead(self, entries: dict[str, str]) -> None:
        for form in ("{}: {}\n", "{}\t{}\n"):
            text = "".join(form.format(*entry) for entry in entries.items())
            self.assertEqual(dict(parseTable(text)), entries)
