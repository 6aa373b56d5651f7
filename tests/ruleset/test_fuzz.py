"""Whatever stands in aliases, included files and .forward is taken apart; what is understood comes back when it is written down again."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.model.command import splitCommand
from pysmtpd.ruleset.nodes import BadNode, formatNodes, parseLines, parseNodes
from pysmtpd.table.content import Content
from tests.ruleset.driver import World

pieces = st.one_of(
    st.sampled_from(
        (
            *(
                ",",
                '"',
                "'",
                "\\",
                "|",
                "/",
                "@",
                ":include:",
                "include:",
                "error:",
                ":error:550 ",
                "error:450 4.2.0 x",
                " ",
                "\t",
            ),
            *(
                "\n",
                "\r",
                "\0",
                "#",
                "ann",
                "b@c.example",
                "/etc/x",
                "|/bin/x -a",
                "%{sender}",
                "$x",
                "\u00a0",
                "é",
                "\ud800",
            ),
        )
    ),
    st.text(max_size=8),
)
texts = st.lists(pieces, max_size=30).map("".join)


def quoteWord(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"


WORLD = World(
    'action "local" maildir alias { x = y }\naction out relay\n'
    'match from any for domain "example.org" action "local"\nmatch from local for any action out'
)
TABLE = next(name for name, spec in WORLD.config.tables.items() if spec.isMap)


class NodesTests(SynchronousTestCase):
    @settings(deadline=None, max_examples=500)
    @given(texts)
    @example("error:550 " + "x" * 1014)
    @example("error:550 " + "x" * 1008)
    @example("include:/" + "x" * 1015)
    @example("include:/" + "x" * 1014)
    def test_valuesRoundTrip(self, text: str) -> None:
        nodes = parseNodes(text)
        if not any(isinstance(node, BadNode) for node in nodes):
            self.assertEqual(parseNodes(formatNodes(nodes)), nodes, formatNodes(nodes))

    @settings(deadline=None, max_examples=300)
    @given(texts)
    @example("\\#ann@example.org")
    def test_linesRoundTrip(self, text: str) -> None:
        nodes = tuple(node for _, node in parseLines(text))
        if not any(isinstance(node, BadNode) for node in nodes):
            written = "\n".join(formatNodes((node,)) for node in nodes)
            self.assertEqual(tuple(node for _, node in parseLines(written)), nodes)

    @settings(deadline=None, max_examples=300)
    @given(texts)
    def test_commandsAreDividedOrRefused(self, text: str) -> None:
        try:
            words = splitCommand(text)
        except ValueError:
            return
        self.assertEqual(splitCommand(" ".join(map(quoteWord, words))), words)

    @settings(deadline=None, max_examples=200)
    @given(texts, texts)
    def test_expansionsEnd(self, alias: str, forward: str) -> None:
        """Whatever comes out is an address that can be queued, or a refusal that can be sent."""
        WORLD.contents[TABLE] = Content([("ann", alias)])
        WORLD.files["/etc/x"] = forward
        WORLD.forwards["ann"] = forward
        decision = WORLD.decide("ann@example.org")
        if decision.refusal is not None:
            decision.refusal.toBytes()
            self.assertNotIn("\n", decision.refusal.text)
        for destination in decision.destinations:
            str(destination.recipient)
