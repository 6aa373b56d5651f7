"""The language as text: tokens, macros, includes, and what is said about mistakes."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.config import ConfigErrors, Finding, load
from pysmtpd.config.lexer import Lexer
from pysmtpd.config.macros import Macros
from pysmtpd.config.parser import keywords
from pysmtpd.config.problem import Problems
from pysmtpd.config.token import Kind
from pysmtpd.config.words import RESERVED
from tests.config.support import ENVIRONMENT, problems, read

REJECT = "match reject\n"
OWN = sorted(word for word in keywords() if word not in RESERVED and word[0].isalpha())


def tokens(text: str, **macros: str) -> list[list[str]]:
    found = Problems()
    lexer = Lexer("t", text, Macros(macros), found)
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

    def test_macrosAreBounded(self) -> None:
        """What the uses stand for may be much longer than the file."""
        use = "match tag { $m } reject\n"
        text = f'm = "{"x " * 2000}"\n'
        self.assertEqual(problems(text + use * 8), [])
        found = problems(text + use * 9 + "nonsense\n")
        self.assertEqual([each.split(" ")[0] for each in found], ["10:13"])
        self.assertIn("more than 32768 characters", found[0])

    def test_plainAndUnusualTokensMeet(self) -> None:
        self.check("a\\\nb$m{c}$m,", ["ab$m", "{", "c", "}", "d", ","], m="d")
        self.check("$m=>$m\\\n>x", ["d", "=", "=>", "d", "=>", "x"], m="d=")
        self.check("a =\\\n> b", ["a", "=>", "b"])
        self.check("$m'c' 'd'", ['"a"', "b'c'", '"d"'], m="'a' b")

    def test_places(self) -> None:
        lexer = Lexer("t", "a \\\n  $m  b\n c", Macros({"m": "x y"}), Problems())
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
            problems('include "x.conf"\n' + REJECT), ['1:9 cannot read "x.conf": No such file or directory']
        )
        self.assertIn("patterns are not expanded", problems('include "/etc/mail/*.conf"\n' + REJECT)[0])

    def test_loop(self) -> None:
        self.assertEqual(
            problems('include "one.conf"\n' + REJECT, one='include "smtpd.conf"'), ['1:9 "smtpd.conf" includes itself']
        )
        files = {"smtpd.conf": 'include "./one.conf"\n' + REJECT, "./one.conf": 'include "a/../one.conf"\n'}
        error = self.assertRaises(ConfigErrors, load, "smtpd.conf", files.__getitem__, ENVIRONMENT)
        self.assertIn("includes itself", str(error))

    def test_hundredLevels(self) -> None:
        files = {f"f{level}.conf": f'include "f{level + 1}.conf"\n' for level in range(99)}
        files |= {"f99.conf": "action out relay\n", "smtpd.conf": 'include "f1.conf"\nmatch for any action out\n'}
        self.assertEqual(str(load("smtpd.conf", files.__getitem__, ENVIRONMENT).actions["out"].where), "f99.conf:1")
        files |= {"f99.conf": 'include "f100.conf"\n', "f100.conf": ""}
        error = self.assertRaises(ConfigErrors, load, "smtpd.conf", files.__getitem__, ENVIRONMENT)
        self.assertIn("more than 100 deep", str(error))

    def test_manyFiles(self) -> None:
        """What includes twice as much at each level does not take for ever."""
        files = {f"f{level}.conf": f'include "f{level + 1}.conf"\n' * 2 for level in range(200)}
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

    def test_wordsBehindFromAndFor(self) -> None:
        """One that is nearly a word of the language is a slip; any other is what people take for the whole condition."""
        for rule, hint in (
            ('match from any for domian "example.org" reject', '"domian" cannot stand here; did you mean "domain"?'),
            ("match from sorce <x> for any reject", '"sorce" cannot stand here; did you mean "src"?'),
            ("match from any for example.org reject", 'did you mean: for domain "example.org"?'),
            ("match from 192.0.2.1 for any reject", 'did you mean: from src "192.0.2.1"?'),
        ):
            self.assertIn(hint, str(self.assertRaises(ConfigErrors, read, rule + "\n")))

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
                '2:19 "99999" is not a port: a number from 1 to 65535 or one of smtp, smtps, submission, submissions, lmtp must stand here',
                '3:8 "smtp" is a reserved word; put it in quotes to use it as a value',
                '4:25 "smtp+tsl" is not a protocol; there are smtp, smtp+tls, smtp+notls, smtps, lmtp',
                '5:20 the line ends after "any", but a condition, "action" NAME or "reject" must follow',
                '6:7 "form" cannot stand here; did you mean "for"?',
                "7:11 a time needs a unit: 4s, 4m, 4h or 4d",
                '8:27 no table "nothing" is declared above this line',
                '8:44 no action "in" is declared above this line',
                '9:14 "=" cannot stand here; a table holds values, or pairs, and not both',
                '10:9 a word cannot start with "/"; put it in quotes: "/etc/x"',
                '11:12 there is no limit "max-mail"; did you mean "max-mails"?',
                '12:11 "nosuch" is no interface, address or known host name; the interfaces are eth0, lo',
            ],
        )

    def test_tooManyOfAKind(self) -> None:
        """A hundred are enough; but what is wrong with the machine hides no mistake of the text, and the other way round."""
        machine = "listen on nosuch\n" * 150
        mistakes = "nonsense\n" * 150
        found = self.assertRaises(ConfigErrors, read, machine + mistakes).problems
        self.assertEqual(Counter(each.finding for each in found), {Finding.ENVIRONMENT: 100, Finding.LANGUAGE: 100})

    def test_manyNames(self) -> None:
        """What is near is found among thousands, too."""
        tables = "".join(f"table t{number} {{ x }}\n" for number in range(2000))
        self.assertEqual(
            problems(f"{tables}table users {{ x }}\nmatch tag <usesr> reject\n"),
            ['2002:11 no table "usesr" is declared above this line; did you mean "users"?'],
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
        found = problems("# why\r\nlisten on \\\r\n lo\r\nmatch reject\r\n")
        self.assertEqual(len(found), 1)
        self.assertIn("2:12 lines end with carriage return", found[0])
        self.assertEqual(problems("# why\r\nlisten on lo\n#\r\nmatch reject\n"), [])

    def test_whatEditorsAdd(self) -> None:
        for text, said in (
            ("\ufeff" + REJECT, "1:1 the file begins with a byte order mark (U+FEFF)"),
            ("\udcff\udcfel\0i\0", "1:1 this is not UTF-8"),
            ("match\u00a0reject\n", "1:6 a character that cannot be seen (U+00A0)"),
            ("\u200bmatch reject\n", "1:1 a character that cannot be seen (U+200B)"),
            ("action \u201ca\u201d maildir\n", "1:8 \u201c is no quote"),
            ("listen on lo tag caf\udce9\n", "1:21 the octet 0xE9"),
            ("listen on lo\0\n", "1:13 an unexpected character (U+0000)"),
            ("match reject\rmatch reject\n", "1:13 a carriage return"),
        ):
            found = problems(text + REJECT)
            self.assertEqual(len(found), 1, found)
            self.assertIn(said, found[0])

    def test_oneMistakeIsOneProblem(self) -> None:
        """What is declared by a line that is refused is not missed."""
        for text in (
            "action a mda x -y\nmatch action a\n",
            "action a mbox via x\nmatch action a\n",
            "table t { a, = }\nmatch for domain <t> reject\n",
            "filter f phase connect junk\nlisten on lo filter f\n",
            "proc p /x\nfilter f proc p\nlisten on lo filter f\n",
            "pki A.example certificate x\nlisten on lo tls pki a.example\n",
            "pki a.example certificate x\npki a.example key x\nlisten on lo tls pki a.example\n",
            "ca c certificate x\naction a relay ca c\nmatch action a\n",
            "mda wrapper w x -y\naction a mbox wrapper w\nmatch action a\n",
            "p = 587\nlisten on lo port $p\n",
            "p = /x\naction a maildir $p\nmatch for local action a\n",
            "match for any by x\n",
            "listen on lo port imap\nlisten on lo\n",
            "table s { a }\naction a relay auth <s> host smtps://l@x\nmatch action a\n",
            "table s /x\naction a relay host smtps://l@x auth <s>\nmatch action a\n",
            "listen on ${x}\n",
            "table <s> { a }\nmatch for domain <s> reject\n",
        ):
            found = problems(text + (REJECT if "by x" not in text else ""))
            self.assertEqual(len(found), 1, found)

    def test_declaredBelow(self) -> None:
        for text in (
            "listen on lo filter f\nfilter f phase connect match rdns junk\n",
            'listen on lo tls pki a.example\npki A.example cert "/c" key "/k"\n',
            "action a mbox alias <t>\ntable t { a = b }\nmatch action a\n",
            "action a mbox wrapper w\nmda wrapper w x\nmatch action a\n",
        ):
            found = problems(text + REJECT)
            self.assertIn("is declared below, at smtpd.conf:2, and must be declared above this line", found[0])

    def test_warnings(self) -> None:
        for text, said in (
            ('a = b\ntable t { "$a", x$a }\n', 'smtpd.conf:2: "$a" stays as it is in quotes'),
            ('a = b\ntable t { "$a", x$a }\n', 'smtpd.conf:2: "$a" stays as it is inside a word'),
            ("listen on lo \\ \n", "smtpd.conf:1: blanks stand behind the backslash"),
            ("listen on lo \\\n # port 26 \\\n tag x\n", "smtpd.conf:3: this belongs to the comment in line 2"),
            ("table t { a; b }\n", 'smtpd.conf:1: an entry of table "t" ends with ";": commas'),
            ("table t { a: b }\n", 'smtpd.conf:1: table "t" is a list; a map is written { key = value }'),
            ("table t { a }\nmatch for domain t reject\n", 'smtpd.conf:2: this is the value "t"; the table'),
            ("action a relay host smtps://x auth { l = u:p }\n", "smtps://LABEL@x"),
        ):
            self.assertTrue(any(said in warning for warning in read(text + REJECT).warnings), text)
        for text in (
            "#listen on lo \\\n# port 26 \\\n# tag x\n",
            "# listen on lo \\\n port 26\n",
            "listen on lo # \\ \n",
            'table t { "$b", x$b }\nmatch for domain <t> reject\n',
        ):
            self.assertEqual(read(text + REJECT).warnings, (), text)

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
