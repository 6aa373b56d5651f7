"""What is printed is the same configuration again."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass, replace
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from lark import Token, Tree
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.config import Reading
from pysmtpd.config.lexer import Lexer
from pysmtpd.config.machine import grammarText
from pysmtpd.config.macros import Macros
from pysmtpd.config.parser import parse
from pysmtpd.config.printer import printed, quoted
from pysmtpd.config.problem import Problems
from pysmtpd.config.token import Kind
from pysmtpd.model.config import Config
from pysmtpd.model.decision import Where
from tests.config.generate import INCLUDED, Generator
from tests.config.support import ENVIRONMENT, read

PLACELESS = Where("", 0)


def withoutPlaces(value: Any) -> Any:
    """A value in which every place is the same one."""
    if isinstance(value, Where):
        return PLACELESS
    if isinstance(value, tuple):
        return tuple(withoutPlaces(each) for each in value)
    if isinstance(value, dict):
        return {key: withoutPlaces(each) for key, each in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return replace(
            value, **{each.name: withoutPlaces(getattr(value, each.name)) for each in fields(value) if each.init}
        )
    return value


def comparable(config: Config) -> Config:
    """Without places, also those in warnings and in the texts of rules; and without tables that nothing uses any more."""
    bare: Config = withoutPlaces(config)
    return replace(bare, file="", places={}, warnings=(), tables=_usedTables(bare))


def _usedTables(config: Config) -> dict[str, Any]:
    """All but inline tables that were read into values (the URLs of C{host})."""
    text = repr(replace(config, tables={}))
    return {name: spec for name, spec in config.tables.items() if not name.startswith("<dynamic:") or name in text}


def readAll(text: str) -> Reading:
    contents = {"smtpd.conf": text, "/dir/included.conf": INCLUDED}
    return Reading("smtpd.conf", contents.__getitem__, ENVIRONMENT, {})


class RoundTripTests(SynchronousTestCase):
    @settings(max_examples=100, deadline=None)
    @given(st.integers(0, 2**32))
    def test_sameConfiguration(self, seed: int) -> None:
        text = Generator(Random(seed), ownWords=True).configuration().replace("@DIR@", "/dir")
        first = readAll(text)
        self.assertEqual([str(problem) for problem in first.problems.found()], [], text)
        again = readAll(printed(first.config()))
        self.assertEqual([str(problem) for problem in again.problems.found()], [], printed(first.config()))
        self.assertEqual(comparable(again.config()), comparable(first.config()), text)
        self.assertEqual(printed(again.config()), printed(first.config()))

    @settings(max_examples=300, deadline=None)
    @given(st.text(alphabet="ab \t\"'\\#{}$,=é/", max_size=12))
    def test_anyStringInQuotes(self, text: str) -> None:
        lexer = Lexer("t", f"x {quoted(text)} y\n", Macros(), Problems())
        line = lexer.nextLine() or []
        self.assertEqual([token.text for token in line], ["x", text, "y"])

    def test_nothingButDefaults(self) -> None:
        config = read("match reject\n")
        self.assertEqual(comparable(read(printed(config))), comparable(config))


class GeneratorTests(SynchronousTestCase):
    """What is generated is worth comparing."""

    def test_everyProduction(self) -> None:
        """The generated configurations use each alternative of grammar.lark, and each of its words, reserved or own."""
        seen: set[str] = set()
        words: set[str] = set()

        def look(node: Tree[Token] | Token) -> None:
            if isinstance(node, Tree):
                seen.add(str(node.data))
                for child in node.children:
                    look(child)

        for seed in range(400):
            text = Generator(Random(seed), ownWords=True).configuration()
            problems = Problems()
            lexer = Lexer("t", text, _Macros(), problems)
            while (line := lexer.nextLine()) is not None:
                words |= {token.text for token in line}
                directive = parse(line, problems)
                if directive is not None:
                    look(directive.tree)
        self.assertEqual(_aliases() - seen, set())
        self.assertEqual(_literals() - words, set())

    def test_everyWordIsPrinted(self) -> None:
        """What grammar.lark learns, the printer must learn, too."""
        words: set[str] = set()
        for seed in range(400):
            text = Generator(Random(seed), ownWords=True).configuration().replace("@DIR@", "/dir")
            lexer = Lexer("t", printed(readAll(text).config()), Macros(), Problems())
            while (line := lexer.nextLine()) is not None:
                words |= {token.text for token in line if token.kind is Kind.WORD}
        # Files that are included are part of what is printed.
        self.assertEqual(_literals() - words, {"include"})


class _Macros(Macros):
    """Every macro is a word."""

    def expand(self, name: str) -> str:
        return "word"


def _aliases() -> set[str]:
    return {line.split("->")[1].split("//")[0].strip() for line in grammarText().split("\n") if "->" in line}


def _literals() -> set[str]:
    """The words of grammar.lark, without its comments."""
    return set(re.findall(r'"([a-z0-9-]+)"', re.sub("//.*", "", grammarText())))
