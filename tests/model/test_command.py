from __future__ import annotations

import shlex

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.model.command import NeedsShell, checkShell, joinCommand, splitCommand

# Programs that start a shell, or are one by another name.
LAUNCHED = (
    "env sh -c 'x %{sender}'",
    "/usr/bin/nice -n 5 /bin/bash -ec '%{dest.user}'",
    "sudo -u x dash -c %{rcpt}",
    "su x -c 'a %{sender}'",
)


class SplitTests(SynchronousTestCase):
    def test_words(self) -> None:
        for text, words in [
            ("/usr/bin/procmail -f -", ["/usr/bin/procmail", "-f", "-"]),
            ("  a\tb  ", ["a", "b"]),
            ("a 'b c' \"d 'e'\" f\\ g", ["a", "b c", "d 'e'", "f g"]),
            ("a ''", ["a", ""]),
            ('a "x\\"y\\\\z\\n"', ["a", 'x"y\\z\\n']),
            ("a '$HOME|;'", ["a", "$HOME|;"]),
            ("a %{dest.user[0:3]:raw|strip} x%{sender}y", ["a", "%{dest.user[0:3]:raw|strip}", "x%{sender}y"]),
            ("~/bin/filter ~/log", ["%{user.directory}/bin/filter", "%{user.directory}/log"]),
            ("a '~/x'", ["a", "~/x"]),
            ("a b#c A=b", ["a", "b#c", "A=b"]),
            ("a 'x'\"y\"z b~c {a,b} !", ["a", "xyz", "b~c", "{a,b}", "!"]),
            ("a \"%{rcpt.user[0]}\" '%{sender}'", ["a", "%{rcpt.user[0]}", "%{sender}"]),
            ('a b\\\nc "d\\\ne"', ["a", "bc", "de"]),
        ]:
            self.assertEqual(list(splitCommand(text)), words, text)

    def test_whatNeedsAShell(self) -> None:
        for text in (
            *(
                "a | b",
                "a > b",
                "a; b",
                "a && b",
                "a $HOME",
                'a "$HOME"',
                "a `b`",
                "a *",
                "a b?",
                "(a)",
                "a\nb",
                "a [b]",
            ),
            *(
                "A=b c",
                "IFS=' '&&exec /usr/bin/procmail -f- || exit 75 #ann",
                "a #b",
                "a ~bob/x",
                "exec a",
                "cd /",
                "#a",
            ),
        ):
            error = self.assertRaises(NeedsShell, splitCommand, text)
            self.assertEqual(list(splitCommand(error.rewrite)), ["/bin/sh", "-c", text])

    def test_whatIsNoCommand(self) -> None:
        for text in ("", "  ", "''", "'' a", "a 'b", 'a "b', "a b\\"):
            error = self.assertRaises(ValueError, splitCommand, text)
            self.assertNotIsInstance(error, NeedsShell)

    def test_addressesStayAwayFromShells(self) -> None:
        for text in ("sh -c 'x %{sender}'", "/bin/bash -ec %{sender:raw}", "dash -x -c 'a %{dest.user}'", *LAUNCHED):
            self.assertRaises(ValueError, splitCommand, text)
        self.assertEqual(self.assertRaises(NeedsShell, splitCommand, "a | b %{sender}").rewrite, "")
        checkShell(("/bin/sh", "-c", "date +%%{x}"))
        checkShell(("/bin/cat", "-c", "%{sender}"))
        checkShell(("sh", "-c", "%{mda}"))
        checkShell(("logger", "-t", "sh", "-c", "%{sender}"))
        checkShell(("nice", "sort-mail", "-c", "%{sender}"))

    @given(st.lists(st.text(alphabet="ab %{}'\"\\$|x/-~#=\n", max_size=8), min_size=1, max_size=4))
    def test_whatIsJoinedIsDividedAgain(self, words: list[str]) -> None:
        """A specifier is seen within quotes, too: the braces of what only looks like one are a shell's text there."""
        if words[0]:
            self.assertEqual(list(splitCommand(joinCommand(words))), words)

    @given(st.text())
    @example("a \\\n")
    def test_asTheShellDividesIt(self, text: str) -> None:
        try:
            words = splitCommand(text)
        except ValueError:
            return
        if "~" not in text and "%{" not in text and not set(text) & set("\r\\"):
            self.assertEqual(list(words), shlex.split(text))
