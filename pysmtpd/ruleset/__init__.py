"""Pure: which rule matches, which action follows, how an address expands. It asks questions and decides; it does nothing."""

from __future__ import annotations

from collections.abc import Generator

from pysmtpd.model.address import Path
from pysmtpd.model.config import Config
from pysmtpd.model.decision import Decision
from pysmtpd.model.facts import Transaction
from pysmtpd.model.question import Answer, Ask, Holders
from pysmtpd.ruleset.compile import compileRules
from pysmtpd.ruleset.expansion import Expansion
from pysmtpd.ruleset.rematch import rematch

__all__ = ["decide", "rematch"]


def decide(
    config: Config, path: Path, transaction: Transaction, holders: Holders | None = None
) -> Generator[Ask, Answer, Decision]:
    """What becomes of C{path} as the recipient of a transaction.

    Each yielded question is answered by C{send}, as the question's own class says (L{pysmtpd.model.question}), each of them with
    C{TempFail} where it cannot be told now. The generator returns the decision, which records every rule that was tried, every
    question, and the tree of the expansion.

    @param holders: spares questions; the decision is the same without it.
    """
    return Expansion(compileRules(config), path, transaction, holders).run()
