"""Paths, names, xtext and parameters."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.model.address import NULL_PATH, Path
from pysmtpd.model.envelope import Notify
from pysmtpd.smtp.grammar import (
    LOCAL_TOLERATED,
    GrammarError,
    isAddressLiteral,
    isDomain,
    isHeloName,
    parseAddress,
    parsePath,
    splitPath,
)
from pysmtpd.smtp.parameters import formatNotify, formatOrcpt, parseNotify, parseOrcpt, parseParameters
from pysmtpd.smtp.xtext import decodeUtf8Address, decodeXtext, encodeUtf8Address, encodeXtext

PRINTABLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=64)
LABEL = st.from_regex(r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,10}[a-zA-Z0-9])?", fullmatch=True)
DOMAIN = st.lists(LABEL, min_size=1, max_size=4).map(".".join)
PATHS = st.builds(Path, PRINTABLE, DOMAIN)
ANY = st.text(st.sampled_from('<>@:;,."\\[] \t\r\n\0aZ0-_é€\u2028\x85'), max_size=20) | st.text(max_size=20)


class PathTests(SynchronousTestCase):
    def assertRefused(self, text: str, code: int, enhanced: str, *, reverse: bool = False, utf8: bool = False) -> None:
        with self.assertRaises(GrammarError) as caught:
            parsePath(text, reverse=reverse, utf8=utf8)
        self.assertEqual((caught.exception.reply.code, caught.exception.reply.enhanced), (code, enhanced), text)

    def test_plain(self) -> None:
        self.assertEqual(parsePath("<alice@example.org>"), Path("alice", "example.org"))

    def test_caseIsKept(self) -> None:
        self.assertEqual(str(parsePath("<Alice@Example.ORG>")), "Alice@Example.ORG")

    def test_theNullPathIsForSendersOnly(self) -> None:
        self.assertEqual(parsePath("<>", reverse=True), NULL_PATH)
        self.assertRefused("<>", 501, "5.1.3")

    def test_thePostmasterIsForRecipientsOnly(self) -> None:
        self.assertEqual(parsePath("<postMaster>"), Path("postMaster", ""))
        self.assertRefused("<postmaster>", 501, "5.1.7", reverse=True)

    def test_quotedLocalPartsAreKeptUnquoted(self) -> None:
        path = parsePath(r'<"john \"the\" doe\\"@example.org>')
        self.assertEqual(path.local, 'john "the" doe\\')
        self.assertEqual(f"<{path}>", r'<"john \"the\" doe\\"@example.org>')

    def test_needlessQuotesMeanNothing(self) -> None:
        self.assertEqual(parsePath('<"alice"@example.org>'), parsePath("<alice@example.org>"))

    def test_anEmptyQuotedLocalPartIsNotTheNullPath(self) -> None:
        path = parsePath('<""@example.org>', reverse=True)
        self.assertFalse(path.isNull)
        self.assertEqual(f"<{path}>", '<""@example.org>')

    def test_routesAreDropped(self) -> None:
        self.assertEqual(parsePath("<@a.example,@b.example:c@d.example>"), Path("c", "d.example"))
        for bad in ("<@a.example>", "<@a.example,b:c@d.example>", "<@:c@d.example>", "<@-a:c@d.example>"):
            self.assertRefused(bad, 501, "5.1.3")

    def test_dotsWhereTheyShouldNotBeAreWrittenQuoted(self) -> None:
        self.assertEqual(str(parsePath("<a..b.@example.org>")), '"a..b."@example.org')

    def test_lengths(self) -> None:
        longest = "a" * LOCAL_TOLERATED
        self.assertEqual(parsePath(f"<{longest}@example.org>").local, longest)
        self.assertRefused(f"<{longest}a@example.org>", 501, "5.1.3")
        domain = ".".join(["a" * 63] * 3 + ["b" * 63])
        self.assertEqual(parsePath(f"<a@{domain}>").domain, domain)
        self.assertRefused(f"<a@{domain}.c>", 501, "5.1.3")
        self.assertRefused(f"<a@{'a' * 64}.example>", 501, "5.1.3")

    def test_lengthsAreOctets(self) -> None:
        self.assertRefused(f"<{'ü' * (LOCAL_TOLERATED // 2 + 1)}@example.org>", 501, "5.1.3", utf8=True)

    def test_utf8(self) -> None:
        self.assertEqual(parsePath("<用户@例子.广告>", utf8=True), Path("用户", "例子.广告"))
        self.assertRefused("<用户@example.org>", 553, "5.6.7")
        self.assertRefused("<a@例子.广告>", 553, "5.6.7", reverse=True)
        for bad in ("<a\u2028b@example.org>", "<a\x85b@example.org>", "<a\u00a0b@example.org>", '<"\ud800"@b.example>'):
            self.assertRefused(bad, 501, "5.1.3", utf8=True)

    def test_malformed(self) -> None:
        for bad in (
            *(
                "<a@b@c.example>",
                "<a@b.example.>",
                "<a@.b>",
                "<a@b..c>",
                "<a@b c>",
                "<a b@c.example>",
                "<a(b)@c.example>",
            ),
            *('<"a@b.example>', '<"a"b@c.example>', '<a"b"@c.example>', "<a@>", "<a>", "<a@b.example>>", "a@b.example"),
            *(
                "<a@[1.2.3]>",
                "<a@[1.2.3.4>",
                "<a@[]>",
                "<a@[IPv6:]>",
                "<a@[IPv6:fe80::1%eth0]>",
                "<a@[-:x]>",
                "<a\\@b@c>",
            ),
        ):
            self.assertRefused(bad, 501, "5.1.3")

    def test_literals(self) -> None:
        for good in ("[192.0.2.1]", "[IPv6:2001:db8::1]", "[ipv6:::ffff:192.0.2.1]", "[x-tag:what!ever]"):
            self.assertTrue(isAddressLiteral(good), good)
            self.assertEqual(parsePath(f"<a@{good}>").domain, good)

    @given(PATHS)
    def test_whatIsWrittenIsReadTheSame(self, path: Path) -> None:
        self.assertEqual(parsePath(f"<{path}>"), path)
        self.assertEqual(parseAddress(str(path)), path)
        self.assertEqual(splitPath(f"<{path}> SIZE=3"), (f"<{path}>", " SIZE=3"))

    @given(ANY)
    def test_anythingIsReadOrRefused(self, text: str) -> None:
        for candidate in (text, f"<{text}>", f"<{text}@example.org>", f"<a@{text}>"):
            splitPath(candidate)
            isHeloName(candidate)
            try:
                path = parsePath(candidate, utf8=True)
            except GrammarError:
                continue
            self.assertEqual(parsePath(f"<{path}>", utf8=True), path)
            self.assertEqual(len(f"<{path}>".splitlines()), 1)

    def test_hardInputTakesNoTime(self) -> None:
        for text in ("<" + '"\\' * 50_000, "<" + "a." * 50_000, "<a@" + "a-" * 50_000 + ">", "<" + '""' * 50_000 + ">"):
            path, _ = splitPath(text)
            for candidate in (text, path):
                with self.assertRaises(GrammarError):
                    parsePath(candidate, utf8=True)


class NameTests(SynchronousTestCase):
    def test_domains(self) -> None:
        for good in ("a", "example.org", "x_y.example", "1.2.3.4", "xn--bcher-kva.example", "a-b.c--d.e"):
            self.assertTrue(isDomain(good), good)
        for bad in ("", ".", "a.", ".a", "a..b", "-a", "a-", "a b", "a@b", "[1.2.3.4]", "a" * 256, "bücher.example"):
            self.assertFalse(isDomain(bad), bad)
        self.assertTrue(isDomain("bücher.example", utf8=True))
        self.assertFalse(isDomain("b\u202eücher.example", utf8=True))

    def test_heloNames(self) -> None:
        for good in ("a", "my_pc", "a.", "[192.0.2.1]", "[::1]", "::1", "[anything!]"):
            self.assertTrue(isHeloName(good), good)
        for bad in ("", "a b", "a\tb", "a;b", "<a>", "ü", "a" * 256, "[a]b]"):
            self.assertFalse(isHeloName(bad), bad)


class XtextTests(SynchronousTestCase):
    @given(PRINTABLE)
    def test_whatIsWrittenIsReadTheSame(self, text: str) -> None:
        encoded = encodeXtext(text)
        self.assertRegex(encoded, r"\A[!-*,-<>-~+]*\Z")
        self.assertEqual(decodeXtext(encoded), text)

    @given(st.text(max_size=30).filter(lambda text: not any(c in text for c in "\u2028\u2029")))
    @settings(max_examples=50)
    def test_internationalAddresses(self, text: str) -> None:
        text = "".join(character for character in text if character > "\x9f" or " " <= character <= "~")
        for ascii in (True, False):
            self.assertEqual(decodeUtf8Address(encodeUtf8Address(text, ascii=ascii)), text)
        self.assertTrue(encodeUtf8Address(text, ascii=True).isascii())

    def test_lowerCaseHexIsTaken(self) -> None:
        self.assertEqual(decodeXtext("a+2bb"), "a+b")

    def test_malformed(self) -> None:
        for bad in ("+", "+2", "+GG", "a=b", "a b", "+0D+0A", "+00", "+FF", "é"):
            self.assertRaises(GrammarError, decodeXtext, bad)
        for bad in ("\\", "\\x{}", "\\x{110000}", "\\x{D800}", "\\x{0A}", "a+b", "a=b", "\\x{2028}"):
            self.assertRaises(GrammarError, decodeUtf8Address, bad)


class ParameterTests(SynchronousTestCase):
    def test_words(self) -> None:
        self.assertEqual(parseParameters(" size=1  SMTPUTF8\tx=a=b "), {"SIZE": "1", "SMTPUTF8": None, "X": "a=b"})
        for bad in ("=1", "A=", "A= 1 B", "A=1 a=2", "-A=1", "A\x0bB", "é=1"):
            self.assertRaises(GrammarError, parseParameters, bad)

    def test_notifyThereAndBack(self) -> None:
        for bits in range(1, 8):
            self.assertEqual(parseNotify(formatNotify(Notify(bits))), Notify(bits))
        self.assertEqual(parseNotify("never"), Notify.NEVER)
        self.assertEqual(formatNotify(Notify.UNSET), "")

    @given(PRINTABLE.filter(bool))
    def test_orcptThereAndBack(self, address: str) -> None:
        self.assertEqual(parseOrcpt(formatOrcpt(f"rfc822;{address}")), f"rfc822;{address}")
        for utf8 in (True, False):
            orcpt = f"utf-8;{address}€"
            self.assertEqual(parseOrcpt(formatOrcpt(orcpt, utf8=utf8)), orcpt)

    def test_orcptBound(self) -> None:
        parseOrcpt("rfc822;" + "a" * 493)
        self.assertRaises(GrammarError, parseOrcpt, "rfc822;" + "a" * 494)
