"""The LALR(1) parser of grammar.lark, which takes one token after the other. Its tables are made once, at first use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from lark import Lark, Token, Tree
from lark.grammar import Rule
from lark.lexer import Lexer
from lark.parsers.lalr_analysis import Shift

# The terminal behind the last token of a line.
END = "$END"


class Node(Tree[Token]):
    """
    @ivar first: the number of its first token in the line; None: it has none.
    """

    children: list[Token | Node]  # type: ignore[assignment]
    first: int | None = None


class Leaf(Token):
    """A token of the tree, without the places in a text that Lark keeps of it."""

    def __new__(cls, terminal: str, text: str, first: int) -> Leaf:
        """
        @param first: its number in the line.
        """
        leaf = str.__new__(cls, text)
        leaf.type = terminal
        leaf.start_pos = first
        return leaf


class FeedLexer(Lexer):
    """Tokens are made by L{pysmtpd.config.lexer}."""

    def __init__(self, configuration: Any) -> None: ...

    def lex(self, lexer_state: Any, parser_state: Any) -> Iterator[Token]:
        return iter(())


def grammarText() -> str:
    """The specification of the language."""
    return files("pysmtpd.config").joinpath("grammar.lark").read_text("utf-8")


@cache
def grammar() -> Lark:
    """The same, as Lark has read it."""
    return Lark(grammarText(), parser="lalr", lexer=FeedLexer, tree_class=Node, maybe_placeholders=False)


class _Rule(NamedTuple):
    """A rule of the grammar.

    @ivar symbol: what it makes.
    @ivar size: of how many parts. Where it has any, the first one is not empty.
    @ivar maker: makes the node.
    """

    symbol: str
    size: int
    maker: Callable[[list[Any]], Any]


class _Tables(NamedTuple):
    """What Lark has made of the grammar, in a form that is quick to follow.

    @ivar actions: by state and terminal: the state that follows, or the rule whose parts are complete.
    @ivar following: by state and symbol: the state behind what a rule has made.
    """

    actions: Mapping[int, Mapping[str, int | _Rule]]
    following: Mapping[int, Mapping[str, int]]
    start: int
    end: int


@cache
def _tables() -> _Tables:
    conf = grammar().parse_interactive("").parser_state.parse_conf
    rules = {
        rule: _Rule(str(rule.origin.name), len(rule.expansion), maker)
        for rule, maker in conf.callbacks.items()
        if isinstance(rule, Rule)
    }
    actions: dict[int, dict[str, int | _Rule]] = {}
    following: dict[int, dict[str, int]] = {}
    for state, row in conf.states.items():
        actions[state] = {}
        following[state] = {}
        for symbol, (kind, what) in row.items():
            if symbol.isupper():
                actions[state][str(symbol)] = what if kind is Shift else rules[what]
            else:
                following[state][str(symbol)] = what
    return _Tables(actions, following, conf.start_state, conf.end_state)


class Machine:
    """One line on its way through the tables; used once.

    Lark's own driver does the same. It keeps the beginning and the end of every node by line and column, which takes longer than all the
    rest, and tells by an exception that a token cannot stand somewhere.
    """

    __slots__ = ("_firsts", "_parts", "_states")

    def __init__(self) -> None:
        # One state more than there are parts: that before each, and the present one.
        self._states = [_tables().start]
        self._parts: list[Any] = []
        self._firsts: list[int | None] = []

    def choices(self) -> Mapping[str, object]:
        """The terminals that have an action here. Some of them cannot stand here, after all."""
        return _tables().actions[self._states[-1]]

    def accepted(self) -> set[str]:
        """The terminals that can stand here."""
        return {name for name in self.choices() if self._canStand(name)}

    def _canStand(self, terminal: str) -> bool:
        actions, following, _, end = _tables()
        stack = [*self._states]
        while (what := actions[stack[-1]].get(terminal)) is not None:
            if not isinstance(what, _Rule):
                return True
            del stack[len(stack) - what.size :]
            stack.append(following[stack[-1]][what.symbol])
            if stack[-1] == end:
                return True
        return False

    def feed(self, terminal: str, part: Leaf | None = None) -> bool:
        """Take a token, or the L{END}.

        @return: False: it cannot stand here.
        """
        actions, following, _, end = _tables()
        stack, parts, firsts = self._states, self._parts, self._firsts
        while (what := actions[stack[-1]].get(terminal)) is not None:
            if not isinstance(what, _Rule):
                stack.append(what)
                parts.append(part)
                firsts.append(part.start_pos if part is not None else None)
                return True
            symbol, size, maker = what
            at = len(parts) - size
            node = maker(parts[at:])
            first = firsts[at] if size else None
            if isinstance(node, Node) and node.first is None:
                node.first = first
            del stack[at + 1 :], parts[at:], firsts[at:]
            stack.append(following[stack[-1]][symbol])
            parts.append(node)
            firsts.append(first)
            if stack[-1] == end:
                return True
        return False

    @property
    def tree(self) -> Node:
        """The whole line, once its end was taken."""
        (tree,) = self._parts
        assert isinstance(tree, Node)
        return tree
