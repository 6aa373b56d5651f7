"""Decisions are values: they say what was considered, what failed first and where, and what was chosen.

The daemon obeys them, the log and the reject text cite them, C{explain} prints them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from typing import NamedTuple, TypeVar, overload

from pysmtpd.model.address import Path
from pysmtpd.model.envelope import Destination
from pysmtpd.model.question import Answer, Ask, called
from pysmtpd.model.reply import Reply
from pysmtpd.model.value import value

T = TypeVar("T")


class Record(Sequence[T]):
    """A tuple that is written out when somebody reads it: most decisions are obeyed, and never looked into. It equals that tuple."""

    __slots__ = ("_items", "_more", "_write")

    def __init__(self, write: Callable[[], tuple[T, ...]], more: Sequence[T] = ()) -> None:
        """
        @param write: makes the beginning; it has to give the same whenever it is called.
        @param more: what follows.
        """
        self._write = write
        self._more = more
        self._items: tuple[T, ...] | None = None

    def _read(self) -> tuple[T, ...]:
        if self._items is None:
            self._items = (*self._write(), *self._more)
        return self._items

    def __len__(self) -> int:
        return len(self._read())

    @overload
    def __getitem__(self, at: int) -> T: ...

    @overload
    def __getitem__(self, at: slice) -> tuple[T, ...]: ...

    def __getitem__(self, at: int | slice) -> T | tuple[T, ...]:
        return self._read()[at]

    def __iter__(self) -> Iterator[T]:
        return iter(self._read())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Record):
            return self._read() == other._read()
        return self._read() == other if isinstance(other, tuple) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._read())

    def __repr__(self) -> str:
        return repr(self._read())


@value
class Where:
    """A place in a configuration file; lines and columns count from 1."""

    file: str
    line: int
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@value
class Considered:
    """One rule that was tried for an address.

    @ivar rule: the rule's text, normalised.
    @ivar failed: the first predicate that did not hold; empty: the rule matched.
    """

    where: Where
    rule: str
    failed: str = ""


class Question(NamedTuple):
    """One question that was asked and what came back; made for each question of each decision, so words are made on demand."""

    ask: Ask
    got: Answer

    @property
    def asked(self) -> str:
        """For people."""
        return str(self.ask)

    @property
    def answer(self) -> str:
        """For people."""
        if isinstance(self.got, bool):
            return "yes" if self.got else "no"
        return "nothing" if self.got is None else str(self.got)


class Kind(Enum):
    """What a node of an expansion is."""

    ADDRESS = "address"
    USER = "user"
    COMMAND = "command"
    FILE = "file"
    INCLUDE = "include"
    ERROR = "error"
    SRS = "srs"
    UNKNOWN = "unknown"


@value
class Source:
    """What gave a node of an expansion.

    @ivar name: of a table, or the path of an included file or of a C{.forward}.
    @ivar key: under which the table gave it; empty in a file.
    @ivar where: the line that says so, where that is known: of the table in the configuration, or of the file itself.
    """

    name: str
    key: str = ""
    where: Where | None = None

    def __str__(self) -> str:
        if self.where is not None and self.where.file == self.name:
            return str(self.where)
        key = f'["{self.key}"]' if self.key else ""
        return f"{called(self.name)}{key}" + (f" ({self.where})" if self.where else "")


@value
class Step:
    """One node on its way through the rules and its expansion; the tree that C{explain} prints.

    @ivar path: the address; of a node that is none, the address that it belongs to, or a user's name without a domain.
    @ivar chosen: the rule that matched, or None.
    @ivar outcome: one sentence: C{'action "local": maildir'}, C{"rejected"}, C{"no rule matches"}.
    @ivar children: what the address expanded to.
    @ivar node: the node as it was given, where it is neither an address nor a user.
    @ivar source: what gave it; None: the RCPT command.
    """

    path: Path
    considered: Sequence[Considered] = ()
    questions: Sequence[Question] = ()
    chosen: Where | None = None
    outcome: str = ""
    children: tuple[Step, ...] = ()
    kind: Kind = Kind.ADDRESS
    node: str = ""
    source: Source | None = None


@value
class Decision:
    """What becomes of one RCPT.

    @ivar destinations: where copies go; empty when it is refused.
    @ivar refusal: the reply that refuses it (4xx or 5xx), or None.
    @ivar reason: for the log: why, with the rule's place; never shown to the peer.
    @ivar step: how it was decided.
    @ivar faults: what an operator or a user has to mend, one sentence each, for the log.
    @ivar cited: of a refusal, for the peer: the rule that did it, or took the address that it is about (C{smtpd.conf:7}), or
        that there is none; empty: nothing of the kind.
    """

    destinations: tuple[Destination, ...]
    refusal: Reply | None
    reason: str
    step: Step
    faults: tuple[str, ...] = ()
    cited: str = ""
