"""Commands are divided into words once, by POSIX quoting, and no shell reads them."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.config.command import parseCommand, parseShell, parseWrapper
from pysmtpd.model.config import Command
from tests.config.support import problems, read

REJECT = "\nmatch reject\n"


class CommandTests(SynchronousTestCase):
    """How a text is divided: tests/model/test_command.py."""

    def test_whatNeedsAShell(self) -> None:
        for text in ("a | b", 'a "$HOME"', "a ~b", "HOME=/x a", "cd /x"):
            self.assertIn("mda shell", str(self.assertRaises(ValueError, parseCommand, text)), text)

    def test_whatANeighbourMaySay(self) -> None:
        """It never becomes the text of a shell, whoever named the shell."""
        self.assertIn("near a shell", problems('action a mda "sh -c %{sender}"' + REJECT)[0])
        self.assertEqual(parseWrapper("sh -c %{mda}").words, ("sh", "-c", "%{mda}"))

    def test_home(self) -> None:
        self.assertEqual(parseCommand("~/bin/sort ~/in").words, ("%{user.directory}/bin/sort", "%{user.directory}/in"))

    def test_specifiersStayInTheirWords(self) -> None:
        self.assertEqual(parseCommand("x '%{sender}' y").words, ("x", "%{sender}", "y"))
        self.assertIn("no format specifier", str(self.assertRaises(ValueError, parseCommand, "x %{nonsense}")))


class WrapperTests(SynchronousTestCase):
    def test_wrapper(self) -> None:
        self.assertEqual(parseWrapper("nice -n 5 %{mda} x").words, ("nice", "-n", "5", "%{mda}", "x"))
        self.assertIn("whole word", str(self.assertRaises(ValueError, parseWrapper, "sh -c'%{mda}'")))

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
