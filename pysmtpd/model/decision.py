"""Decisions are values: they say what was considered, what failed first and where, and what was chosen.

The daemon obeys them, the log and the reject text cite them, C{explain} prints them.
"""

from __future__ import annotations

from typing import NamedTuple

from pysmtpd.model.address import Path
from pysmtpd.model.envelope import Destination
from pysmtpd.model.question import Answer, Ask
from pysmtpd.model.reply import Reply
from pysmtpd.model.value import value


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


@value
class Step:
    """One address on its way through the rules and its expansion; the tree that C{explain} prints.

    @ivar chosen: the rule that matched, or None.
    @ivar outcome: one sentence: C{'action "local": maildir'}, C{"rejected"}, C{"no rule matches"}.
    @ivar children: what the address expanded to.
    """

    path: Path
    considered: tuple[Considered, ...] = ()
    questions: tuple[Question, ...] = ()
    chosen: Where | None = None
    outcome: str = ""
    children: tuple[Step, ...] = ()


@value
class Decision:
    """What becomes of one RCPT.

    @ivar destinations: where copies go; empty when it is refused.
    @ivar refusal: the reply that refuses it (4xx or 5xx), or None.
    @ivar reason: for the log: why, with the rule's place; never shown to the peer.
    @ivar step: how it was decided.
    """

    destinations: tuple[Destination, ...]
    refusal: Reply | None
    reason: str
    step: Step
