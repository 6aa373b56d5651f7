"""The language as text: tokens, macros, includes, and what is said about mistakes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.config import ConfigErrors, load
from pysmtpd.config.lexer import Kind, Lexer
from pysmtpd.config.parser import keywords
from pysmtpd.config.problem import Problems
from pysmtpd.config.words import RESERVED
from tests.config.support import ENVIRONMENT, problems, read

REJECT = "match reject\n"
OWN = sorted(word for word in keywords() if word not in RESERVED and word[0].isalpha())


def tokens(text: str, **macros: str) -> list[list[str]]:
    found = Problems()
    lexer = Lexer("t", text, macros, set(), found)
    lines: list[list[str]] = []
    while (line := lexer.nextLine()) is not None:
        lines.append([f'"{token.text}"' if token.kind is Kind.QUOTED else token.text for token in line])
    found.raiseIfAny()
    return lines


class LexerTests(SynchronousTestCase):
    def check(self, text: str, *lines: list[str], **macros: str) -> None:
        self.assertEqual(tokens(text, **macros), list(lines))

    def test_marksWithoutADirective(self) -> None:
        """The language has parentheses, no directive of ours does: that is told, not met with a traceback."""
        for text in ("(", ")", "listen (", "listen on 127.0.0.1 port 25 )", "x = (", "action ( relay"):
            with self.assertRaises(ConfigErrors):
                load("t", lambda path, text=text: text + "\n" + REJECT, ENVIRONMENT, {})  # type: ignore[misc]

    def test_linesAndWords(self) -> None:
        self.check("a b\n\n  c:d/e;f.g \t::1\n", ["a", "b"], ["c:d/e;f.g", "::1"])

    def test_punctuation(self) -> None:
        self.check("a{b,c}<d>!e=f=>g", ["a", "{", "b", ",", "c", "}", "<", "d", ">", "!", "e", "=", "f", "=>", "g"])

    def test_comments(self) -> None:
        self.check("a # b\nc#d\n# e \\\n still\nf", ["a"], ["c"], ["f"])

    def test_continuation(self) -> None:
        self.check("a \\\n  b\\\nc \\\n\\\n d", ["a", "bc", "d"])

    def test_continuedCommentEatsTheBlock(self) -> None:
        self.check("a \\\n b # c \\\n d\ne", ["a", "b"], ["e"])

    def test_backslashVanishesOutsideQuotes(self) -> None:
        self.check("a\\b \\c", ["ab", "c"])

    def test_quotes(self) -> None:
        self.check('"a b" \'c"d\' "e\'f" ""', ['"a b"', '"c"d"', '"e\'f"', '""'])

    def test_backslashInQuotes(self) -> None:
        self.check(r'"a\"b\ c\d\\x"', ['"a"b c\\d\\\\x"'])

    def test_lineEndInQuotesIsDropped(self) -> None:
        self.check('"a\nb\\\nc" d\ne', ['"abc"', "d"], ["e"])

    def test_numbers(self) -> None:
        self.check("25 -1 4d 127.0.0.1 25x 25,26", ["25", "-1", "4d", "127.0.0.1", "25x", "25", ",", "26"])

    def test_bracesSpanLines(self) -> None:
        self.check("t { a\n\n # c\n b\n}\nc", ["t", "{", "a", "\n", "b", "\n", "}"], ["c"])

    def test_macros(self) -> None:
        self.check("$m x$m $m.org", ["a", "b", "x$m", "a", "b.org"], m="a b")
        self.check('"$m"', ['"$m"'], m="a")

    def test_macrosAreReadAgainButNotExpandedAgain(self) -> None:
        self.check("$m", ['"a b"', "{", "c", "}"], m='"a b" { c }')
        self.assertRaises(ConfigErrors, tokens, "$m", m="$n", n="x")

    def test_places(self) -> None:
        lexer = Lexer("t", "a \\\n  $m  b\n c", {"m": "x y"}, set(), Problems())
        line = lexer.nextLine() or []
        self.assertEqual(
            [(t.text, t.where.line, t.where.column) for t in line], [("a", 1, 1), ("x", 2, 3), ("y", 2, 3), ("b", 2, 7)]
        )

    @settings(deadline=None)
    @given(st.text(max_size=300))
    def test_anyTextIsReadOrRefused(self, text: str) -> None:
        try:
            tokens(text)
        except ConfigErrors as errors:
            self.assertTrue(errors.problems)


pieces = st.sampled_from(
    [*sorted(keywords()), "a", "<", ">", '"b c"', "\n", "\n", "1", "4d", "$m", "\\", '"', "#", "example.org", "/x", "é"]
)


class AnyTextTests(SynchronousTestCase):
    @settings(max_examples=300, deadline=None)
    @given(st.lists(pieces, max_size=40).map(" ".join))
    def test_onlyConfigErrors(self, text: str) -> None:
        try:
            load("t", lambda path: "m = a\n" + text, ENVIRONMENT)
        except ConfigErrors as errors:
            for problem in errors.problems:
                self.assertTrue(str(problem).startswith(f"{problem.where}:{problem.where.column}: "))

    def test_lastCharacterIsABackslash(self) -> None:
        for text in ("\\", "a \\", '"\\', "# \\", "a { \\"):
            self.assertTrue(problems(text), text)

    def test_longNumber(self) -> None:
        self.assertIn("too large", problems("mta max-deferred " + "9" * 5000)[0])

    def test_boundedWork(self) -> None:
        """Each of these would be read many times over without a bound."""
        for text in (
            '\\"\n' * 20_000,
            "{\n" * 20_000,
            "a {\n" * 5_000,
            "$x\n" * 5_000,
            "x\n" * 5_000,
            "table t { a\n" * 3_000,
        ):
            self.assertTrue(problems(text))


class ContextualWordTests(SynchronousTestCase):
    def test_thereAreSome(self) -> None:
        self.assertEqual(
            OWN,
            [
                *(
                    "allow-commands",
                    "allow-local-mx",
                    "at-once",
                    "auth-without-tls",
                    "backend",
                    "bare-newline",
                    "bounce-signed-8bit",
                    "connections",
                    "messages",
                    "per",
                    "provider",
                    "proxy",
                    "rate",
                    "recipients",
                    "resolver",
                ),
                *("shell", "stat", "submission", "unlimited", "xclient", "xclient-login"),
            ],
        )

    def test_eachIsAFreeName(self) -> None:
        for word in OWN:
            macro = word.replace("-", "_")
            config = read(
                f"""
                {macro} = {word}
                table {word} {{ {word} = {word}, x = {word} }}
                action {word} maildir {word} user {word} alias <{word}>
                listen on lo tag {word} hostname {word}
                match tag {word} from auth {word} mail-from {word} for domain {word} action {word}
                match tag ${macro} reject
                """
            )
            self.assertEqual(config.actions[word].user, word)
            self.assertEqual(config.listeners[0].tag, word)
            self.assertEqual(config.rules[0].action, word)

    def test_asKeywords(self) -> None:
        config = read(
            """
            stat backend backend
            resolver 192.0.2.53 port 5353
            listen on lo bare-newline normalise auth-without-tls
            """
            + REJECT
        )
        self.assertEqual(config.statBackend.name, "backend")

    def test_reservedWordsAreNot(self) -> None:
        for word in sorted(RESERVED):
            self.assertTrue(problems(f"action {word} maildir\n{REJECT}"), word)
            self.assertEqual(problems(f'action "{word}" maildir\n{REJECT}'), [], word)


class MacroTests(SynchronousTestCase):
    def test_expand(self) -> None:
        config = read('who = "from any"\nwhat = out\naction out relay\nmatch $who for domain x action $what')
        self.assertEqual(config.rules[0].text, 'match from any for domain { "x" } action "out"')

    def test_definesWin(self) -> None:
        text = 'p = "25"\nlisten on lo port $p\n' + REJECT
        self.assertEqual(read(text).listeners[0].port, 25)
        self.assertEqual(read(text, {"p": "2525"}).listeners[0].port, 2525)

    def test_laterDefinitionCountsFromThere(self) -> None:
        config = read("p = smtp.example\ntable a { $p }\np = other.example\ntable b { $p }\n" + REJECT)
        self.assertEqual([config.tables[n].entries[0][0] for n in "ab"], ["smtp.example", "other.example"])

    def test_undefined(self) -> None:
        self.assertEqual(
            problems('domain1 = "x"\ntable t { $domain2 }\n' + REJECT),
            ['2:11 macro "domain2" is not defined; did you mean "domain1"?'],
        )

    def test_numbersMustBeQuoted(self) -> None:
        self.assertEqual(problems("p = 25\n" + REJECT), ["1:5 the number 25 must be put in quotes here"])

    def test_pathsKeepTheirQuotes(self) -> None:
        """A macro's text is read again, so what needs quotes needs them inside."""
        text = "box = \"'/srv/mail'\"\naction a maildir $box\n" + REJECT
        self.assertEqual(read(text).actions["a"].path, "/srv/mail")
        self.assertEqual(read(text, {"box": '"/srv/a b"'}).actions["a"].path, "/srv/a b")
        self.assertIn("inside those of the macro", problems('box = "/srv"\naction a maildir $box\n' + REJECT)[0])

    def test_reservedName(self) -> None:
        self.assertEqual(
            problems('port = "25"\n' + REJECT), ['1:1 "port" is a reserved word, and cannot be the name of a macro']
        )

    def test_unused(self) -> None:
        self.assertIn('smtpd.conf:1: macro "a" is never used', read("a = b\n" + REJECT).warnings)


class IncludeTests(SynchronousTestCase):
    def test_include(self) -> None:
        config = read(
            'include "one.conf"\nmatch from any for domain <t> action out',
            one='action out relay\ninclude "two.conf"\n',
            two="table t { x }",
        )
        self.assertEqual(str(config.tables["t"].where), "two.conf:1")

    def test_problemsNameTheirFile(self) -> None:
        try:
            read('include "one.conf"\nlisten\n' + REJECT, one="\nlisten in lo\n")
        except ConfigErrors as errors:
            self.assertEqual([str(problem.where) for problem in errors.problems], ["smtpd.conf:2", "one.conf:2"])
        else:
            self.fail("accepted")

    def test_missing(self) -> None:
        self.assertEqual(
            problems('include "x.conf"\n' + REJECT), ['1:1 cannot read "x.conf": No such file or directory']
        )

    def test_loop(self) -> None:
        self.assertEqual(
            problems('include "one.conf"\n' + REJECT, one='include "smtpd.conf"'), ['1:1 "smtpd.conf" includes itself']
        )

    def test_manyFiles(self) -> None:
        """What includes twice as much at each level does not take for ever."""
        files = {f"f{level}.conf": f'include "f{level + 1}.conf"\n' * 2 for level in range(30)}
        files["smtpd.conf"] = 'include "f0.conf"\n' + REJECT
        error = self.assertRaises(ConfigErrors, load, "smtpd.conf", files.__getitem__, ENVIRONMENT)
        self.assertIn("1000 files", str(error))

    def test_relativeToTheFile(self) -> None:
        files = {
            "/etc/mail/smtpd.conf": 'include "more/a.conf"\n' + REJECT,
            "/etc/mail/more/a.conf": 'include "b.conf"',
            "/etc/mail/more/b.conf": "",
        }
        load("/etc/mail/smtpd.conf", files.__getitem__, ENVIRONMENT)


class MessageTests(SynchronousTestCase):
    def test_caret(self) -> None:
        error = self.assertRaises(ConfigErrors, read, "match reject\n\tlisten on lo prot 25\n")
        self.assertIn('smtpd.conf:2:15: "prot" cannot stand here; did you mean "port"?', str(error))
        lines = str(error).split("\n")
        self.assertEqual(lines[1].index("prot"), lines[2].index("^"))

    def test_manyProblemsInOneRun(self) -> None:
        self.assertEqual(
            problems(
                """\
                tabel t { a }
                listen on lo port 99999
                action smtp maildir
                action "out" relay host "smtp+tsl://x"
                match from any for any
                match form any reject
                queue ttl 4
                match from any for domain <nothing> action "in"
                table t { a, = }
                table u /etc/x
                smtp limit max-mail 5
                listen on nosuch
                """
            ),
            [
                '1:1 unknown directive "tabel"; did you mean "table"?',
                '2:14 "99999" is not a port: a number from 1 to 65535 or one of smtp, smtps, submission, submissions, lmtp must stand here',
                '3:8 "smtp" is a reserved word; put it in quotes to use it as a value',
                '4:20 "smtp+tsl" is not a protocol; there are smtp, smtp+tls, smtp+notls, smtps, lmtp',
                '5:20 the line ends after "any", but "!", "action", "auth", "for", "from", "helo", "mail-from", ... must follow',
                '6:7 "form" cannot stand here; did you mean "for"?',
                "7:11 the number 4 must be put in quotes here",
                '8:27 no table "nothing" is declared above this line',
                '8:44 no action "in" is declared above this line',
                '9:14 "=" cannot stand here; expected a name or value',
                '10:9 a word cannot start with "/"; put it in quotes',
                '11:12 there is no limit "max-mail"; did you mean "max-mails"?',
                '12:1 "nosuch" is no interface, address or known host name',
            ],
        )

    def test_unclosed(self) -> None:
        self.assertEqual(
            problems('table t { a\nlisten on lo prot 25\nlisten on "x\n'),
            [
                '1:9 "{" is never closed',
                '2:14 "prot" cannot stand here; did you mean "port"?',
                '3:11 this quote (") is never closed',
            ],
        )

    def test_dosLineEnds(self) -> None:
        found = problems("listen on lo\r\nmatch reject\r\n")
        self.assertEqual(len(found), 1)
        self.assertIn("carriage return", found[0])

    def test_notReadable(self) -> None:
        def readFile(path: str) -> str:
            return b"\xff".decode("utf-8")

        self.assertRaises(ConfigErrors, load, "smtpd.conf", readFile, ENVIRONMENT)


class ReservedWordTests(SynchronousTestCase):
    def test_grammarHasOnlyKnownWords(self) -> None:
        """A new own word is a decision; a new reserved one would break files."""
        words = {word for word in keywords() if word[0].isalpha()}
        self.assertEqual(words - RESERVED, set(OWN))
        # Reserved by OpenSMTPD, which has no more use for them, or none that a file can name.
        unused = {"data-line", "noop", "quit", "recipient", "rset", "smtp-in", "smtp-out", "tagged"}
        self.assertEqual(RESERVED - words, unused)
