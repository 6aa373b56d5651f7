"""A logical line of tokens into a tree, by grammar.lark, and what to say where that cannot be."""

from __future__ import annotations

from collections.abc import Sequence, Set
from functools import cache

from lark import Token
from lark.lexer import PatternStr

from pysmtpd.config.dated.words import dated
from pysmtpd.config.hints import manyOf, numberHint, tokenHint
from pysmtpd.config.machine import END, Leaf, Machine, Node, grammar
from pysmtpd.config.problem import Problems, didYouMean, oneOf
from pysmtpd.config.token import Kind
from pysmtpd.config.token import Token as Lexeme
from pysmtpd.config.words import RESERVED
from pysmtpd.model.decision import Where

# Members of an enumeration are slow to reach in Python 3.11.
_QUOTED, _NUMBER, _NEWLINE, _MARK = Kind.QUOTED, Kind.NUMBER, Kind.NEWLINE, Kind.MARK
_MOST_SHOWN = 8
# With these begins what people write below "match", "listen" or "action".
_CONTINUED = frozenset(
    {"alias", "auth", "for", "from", "host", "mail-from", "rcpt-to", "tag", "tls", "user", "virtual"}
)
_NAMES = {"STRING": "a name or value", "NUMBER": "a number", "_NEWLINE": "", "$END": "the end of the line"}


@cache
def keywords() -> dict[str, str]:
    """Every literal of the grammar, and the name of its terminal."""
    return {
        terminal.pattern.value: terminal.name
        for terminal in grammar().terminals
        if isinstance(terminal.pattern, PatternStr)
    }


@cache
def _texts() -> dict[str, str]:
    return {name: f'"{text}"' for text, name in keywords().items()} | _NAMES


class Directive:
    """One parsed line: a tree, and the places of its tokens."""

    def __init__(self, tree: Node, lexemes: Sequence[Lexeme]) -> None:
        self.tree = tree
        self._lexemes = lexemes

    def where(self, part: Node | Token) -> Where:
        """Where a part of the tree begins; for a part without tokens the line's beginning."""
        first = part.start_pos if isinstance(part, Token) else part.first
        return self._lexemes[first or 0].where


def parse(lexemes: Sequence[Lexeme], problems: Problems) -> Directive | None:
    """
    @param lexemes: one logical line, not empty.
    @return: None: it was refused, and C{problems} was told why.
    """
    machine = Machine()
    index = _fed(lexemes, machine)
    if index == len(lexemes) and machine.feed(END):
        return Directive(machine.tree, lexemes)
    accepted = machine.accepted()
    if index <= 1 and accepted == {"EQUAL"}:
        # The first word was taken for the name of a macro.
        index = 0
    if index < len(lexemes):
        problems.add(lexemes[index].where, _unexpected(lexemes, index, accepted))
    else:
        last = lexemes[-1]
        problems.add(
            last.where,
            f'the line ends after "{last.text.strip()[:80]}", but {_expected(accepted, lexemes[0].text)} must follow',
        )
    return None


def accepts(lexemes: Sequence[Lexeme]) -> bool:
    """Is it a directive? Much faster than to say why it is none."""
    machine = Machine()
    return _fed(lexemes, machine) == len(lexemes) and machine.feed(END)


def _fed(lexemes: Sequence[Lexeme], machine: Machine) -> int:
    """How many tokens of a line the machine has taken."""
    for index, lexeme in enumerate(lexemes):
        terminal = _terminal(lexemes, index, machine)
        if not machine.feed(terminal, Leaf(terminal, lexeme.text, index)):
            return index
    return len(lexemes)


def _terminal(lexemes: Sequence[Lexeme], index: int, machine: Machine) -> str:
    """The name of the terminal that a token is, where the machine stands.

    Our own words give way: at the start of a line to a macro's definition, elsewhere to nearly any string.
    """
    lexeme = lexemes[index]
    kind = lexeme.kind
    if kind is _QUOTED:
        return "STRING"
    if kind is _NUMBER:
        return "NUMBER"
    if kind is _NEWLINE:
        return "_NEWLINE"
    name = keywords().get(lexeme.text)
    if kind is _MARK:
        # One that the language has and no directive of ours: it is refused where it stands.
        return name or "RESERVED"
    if lexeme.text in RESERVED:
        return name or "RESERVED"
    if name is None:
        return "STRING"
    possible = machine.choices()
    if index == 0:
        isMacro = len(lexemes) > 1 and lexemes[1].kind is Kind.MARK and lexemes[1].text == "="
        return "STRING" if isMacro else name
    if name == "SHELL" and name in possible and index + 1 < len(lexemes):
        # "mda shell" is the command "shell", unless a command stands behind it.
        following = lexemes[index + 1]
        return name if following.kind in (Kind.WORD, Kind.QUOTED) and not following.isReserved else "STRING"
    if "STRING" in possible and not _isBehindAuth(lexemes, index):
        return "STRING"
    return name if name in possible else "STRING"


def _isBehindAuth(lexemes: Sequence[Lexeme], index: int) -> bool:
    """Behind the C{auth} of a listener: no single value can be a table of credentials, so a word of ours is itself."""
    before = lexemes[index - 1]
    return lexemes[0].text == "listen" and before.kind is Kind.WORD and before.text in ("auth", "auth-optional")


def _expected(accepted: Set[str], first: str) -> str:
    """What could stand where one of these terminals can, in a line that begins with C{first}."""
    names = [_texts().get(name, "") for name in sorted(accepted)]
    words = sorted({name for name in names if name})
    if len(words) <= _MOST_SHOWN:
        return oneOf(words) if words else "nothing"
    return manyOf(first) or ", ".join([*words[:_MOST_SHOWN], "..."])


def _unexpected(lexemes: Sequence[Lexeme], index: int, accepted: Set[str]) -> str:
    """What is wrong with a token that the grammar does not allow, and what would be right.

    @param accepted: the terminals that could stand there.
    """
    lexeme = lexemes[index]
    text = lexeme.text[:80]
    if index == 0:
        return _noDirective(lexemes)
    words = {word for word, name in keywords().items() if name in accepted}
    expected = _expected(accepted, lexemes[0].text)
    if lexeme.kind is Kind.NEWLINE:
        return f"the line ends here, but {expected} must follow"
    hint = tokenHint(lexemes, index, words)
    if not hint and "STRING" in accepted and lexeme.isReserved:
        return f'"{text}" is a reserved word; put it in quotes to use it as a value{didYouMean(text, sorted(words))}'
    if "STRING" in accepted and lexeme.kind is Kind.NUMBER:
        return numberHint(lexemes, index)
    shown = f'"{text}"' if lexeme.kind is not Kind.QUOTED else "a string"
    if not hint and lexeme.kind is Kind.WORD:
        hint = didYouMean(text, sorted(words))
    if hint:
        return f"{shown} cannot stand here{hint}"
    if accepted == {"$END"}:
        return f"{shown} cannot stand here: the directive is complete"
    return f"{shown} cannot stand here; expected {expected}"


def _noDirective(lexemes: Sequence[Lexeme]) -> str:
    """What is wrong with the first token of a line."""
    lexeme = lexemes[0]
    text = lexeme.text[:80]
    if lexeme.isReserved and len(lexemes) > 1 and lexemes[1].text == "=":
        return f'"{text}" is a reserved word, and cannot be the name of a macro'
    if lexeme.kind is not Kind.WORD:
        return "a directive or a macro must stand here"
    if old := dated("", text):
        return old
    choices = Machine().choices()
    starts = [word for word, name in keywords().items() if name in choices]
    if text == "set" and len(lexemes) > 1 and lexemes[1].text in starts:
        return '"set" is left out: the line begins with the word behind it'
    if text in _CONTINUED:
        return f'no line begins with "{text}"; the one before it must end with a backslash to go on here'
    return f'unknown directive "{text}"{didYouMean(text, starts)}'
