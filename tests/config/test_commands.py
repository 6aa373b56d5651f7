"""Commands are divided into words once, by POSIX quoting, and no shell reads them."""

from __future__ import annotations

import shlex

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.config.command import parseCommand, parseShell, parseWrapper, splitWords
from pysmtpd.model.config import Command
from tests.config.support import problems, read

REJECT = "\nmatch reject\n"


class WordTests(SynchronousTestCase):
    def test_words(self) -> None:
        for text, words in (
            ("/bin/cat", ["/bin/cat"]),
            ("  procmail   -f - \t-a x ", ["procmail", "-f", "-", "-a", "x"]),
            ("a 'b c' \"d e\" f\\ g", ["a", "b c", "d e", "f g"]),
            ("a 'x'\"y\"z ''", ["a", "xyz", ""]),
            (r'a "b\"c\\d\$e\`f\g" \"', ["a", r'b"c\d$e`f\g', '"']),
            ("a '|&;<>()$`*?[#~' x=y b~c d#e", ["a", "|&;<>()$`*?[#~", "x=y", "b~c", "d#e"]),
            (
                "x %{dest} '%{rcpt.user:lowercase|strip}' -f%{sender}y",
                ["x", "%{dest}", "%{rcpt.user:lowercase|strip}", "-f%{sender}y"],
            ),
            ('x "%{rcpt.user[0]}"', ["x", "%{rcpt.user[0]}"]),
            ("x {a,b} !", ["x", "{a,b}", "!"]),
        ):
            self.assertEqual(splitWords(text), words, text)

    def test_whatNeedsAShell(self) -> None:
        for text in (
            *(
                "a | b",
                "a & b",
                "a; b",
                "a < b",
                "a > b",
                "a (b)",
                "a $HOME",
                'a "$HOME"',
                "a `b`",
                'a "`b`"',
                "a *",
                "a ?",
            ),
            *("a [b]", "a # b", "~/x", "a ~b", "HOME=/x a", "a\nb"),
        ):
            error = self.assertRaises(ValueError, splitWords, text)
            self.assertIn("mda shell", str(error), text)

    def test_whatIsNone(self) -> None:
        for text in ("", "   ", "''", "a 'b", 'a "b', "a \\"):
            self.assertRaises(ValueError, splitWords, text)

    @settings(max_examples=300, deadline=None)
    @given(st.lists(st.text(alphabet="ab %{}'\"\\$|x/-", min_size=1, max_size=8), min_size=1, max_size=4))
    def test_whatIsQuotedIsAWord(self, words: list[str]) -> None:
        """The library quotes; what was quoted comes back. Specifiers would be seen within quotes: they are not tried here."""
        if any("%{" in word for word in words):
            return
        self.assertEqual(splitWords(" ".join(shlex.quote(word) for word in words)), words)

    def test_specifiersStayInTheirWords(self) -> None:
        self.assertEqual(parseCommand("x '%{sender}' y").words, ("x", "%{sender}", "y"))
        self.assertIn("no format specifier", str(self.assertRaises(ValueError, parseCommand, "x %{nonsense}")))


class WrapperTests(SynchronousTestCase):
    def test_wrapper(self) -> None:
        self.assertEqual(parseWrapper("nice -n 5 %{mda} x").words, ("nice", "-n", "5", "%{mda}", "x"))
        self.assertIn("word of its own", str(self.assertRaises(ValueError, parseWrapper, "sh -c'%{mda}'")))

    def test_inAFile(self) -> None:
        config = read('mda wrapper n "nice %{mda}"\naction a mda "x y" wrapper n' + REJECT)
        self.assertEqual(config.wrappers["n"], Command(("nice", "%{mda}")))
        self.assertEqual((config.actions["a"].wrapper, config.actions["a"].command), ("n", Command(("x", "y"))))
        self.assertIn('no mda wrapper "m"', problems('mda wrapper n "%{mda}"\naction a mbox wrapper m' + REJECT)[0])
        self.assertIn("already declared", problems('mda wrapper n "x"\nmda wrapper n "y"' + REJECT)[0])


class ShellTests(SynchronousTestCase):
    def test_shell(self) -> None:
        config = read('action a mda shell "tee x | cat > $HOME/y"' + REJECT)
        self.assertEqual(config.actions["a"].command, Command((), "tee x | cat > $HOME/y"))

    def test_noSpecifiers(self) -> None:
        self.assertRaises(ValueError, parseShell, "x %{sender}")
        self.assertIn("cannot stand in a command for the shell", problems('action a mda shell "x %{dest}"' + REJECT)[0])

    def test_theOptInIsNamed(self) -> None:
        found = problems('action a mda "tee x | cat"' + REJECT)
        self.assertEqual(len(found), 1)
        self.assertIn('write mda shell "..."', found[0])

    def test_aCommandOfThatName(self) -> None:
        """The word is ours, and reserved nowhere."""
        for text in (
            "action a mda shell",
            'action a mda "shell"',
            "action a mda shell user bob",
            "action a mda shell ttl 1d",
        ):
            self.assertEqual(read(text + REJECT).actions["a"].command, Command(("shell",)), text)
        self.assertEqual(read("action a mda shell shell" + REJECT).actions["a"].command, Command((), "shell"))
