"""The parser takes what Lark's own driver takes, and makes the same trees."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from lark import Token
from lark.exceptions import UnexpectedToken
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.config.machine import END, Leaf, Machine, Node, grammar


def shape(part: Any) -> Any:
    """A tree without places."""
    return (part.data, [shape(child) for child in part.children]) if isinstance(part, Node) else (part.type, str(part))


class MachineTests(SynchronousTestCase):
    @settings(max_examples=300, deadline=None)
    @given(st.data())
    def test_followsTheSameTables(self, data: st.DataObject) -> None:
        """Whatever comes: mostly what can stand there, now and then anything."""
        theirs, mine = grammar().parse_interactive(""), Machine()
        terminals = sorted(terminal.name for terminal in grammar().terminals)
        for number in range(data.draw(st.integers(1, 25))):
            can = theirs.accepts()
            self.assertEqual(mine.accepted(), can)
            if END in can and data.draw(st.booleans()):
                tree = theirs.feed_eof()
                self.assertTrue(mine.feed(END))
                self.assertEqual(shape(mine.tree), shape(tree))
                return
            known = sorted(can - {END})
            isWild = not known or data.draw(st.integers(0, 20)) == 0
            terminal = data.draw(st.sampled_from(terminals if isWild else known))
            try:
                theirs.feed_token(Token(terminal, "x"))
            except UnexpectedToken:
                self.assertFalse(mine.feed(terminal, Leaf(terminal, "x", number)))
                return
            self.assertTrue(mine.feed(terminal, Leaf(terminal, "x", number)))

    def test_nodesKnowTheirFirstToken(self) -> None:
        machine = Machine()
        words = ("TABLE", "STRING", "STRING")
        for number, terminal in enumerate(words):
            self.assertTrue(machine.feed(terminal, Leaf(terminal, "x", number)))
        self.assertTrue(machine.feed(END))
        self.assertEqual(machine.tree.first, 0)
