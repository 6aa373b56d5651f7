"""Which domains were told of a session."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

from pysmtpd.model.reply import Reply
from pysmtpd.mta.encounter import Encounter
from pysmtpd.mta.keys import Target
from pysmtpd.mta.relay import Relay
from pysmtpd.mta.security import Facts, Level
from pysmtpd.mta.task import Part, Task

if TYPE_CHECKING:
    from pysmtpd.mta.connection import Connection

MOST_TOLD = 20
"""Transactions that wait, of which the domains are told of when TLS fails."""


class Encounters:
    """Of one connection: each domain is told once."""

    __slots__ = ("_connection", "_isTold", "_met")

    def __init__(self, connection: Connection, isTold: bool) -> None:
        """
        @param isTold: TLS has failed just before, and that was told.
        """
        self._connection = connection
        self._isTold = isTold
        self._met: dict[Relay, None] = {}

    def met(self, task: Task) -> None:
        """It is used for C{task}."""
        for part in task.parts:
            if part.relay not in self._met:
                self._tell(task, part)

    def missed(self, tasks: Iterable[Task], reply: Reply) -> None:
        """It has not come up, for want of TLS as it was asked for by these."""
        for task in islice(tasks, MOST_TOLD):
            for part in task.parts:
                if task.policy == self._connection.target.policy and part.relay not in self._met:
                    self._tell(task, part, str(reply))

    def _tell(self, task: Task, part: Part, problem: str = "") -> None:
        self._met[part.relay] = None
        one = self._connection
        target = part.seen(one.target.key) if part.isUsual or not problem else None
        if _isNews(target or task.target, one.facts):
            part.relay.changed()
        if self._isTold:
            return
        one.pool.board.met(
            Encounter(target or task.target, one.source, one.facts, one.certificateError, problem, part.isUsual)
        )


def _isNews(target: Target, facts: Facts | None) -> bool:
    """Had the host TLS, though nothing asks for it? From now on something does: that it had (L{pysmtpd.mta.policy.memory})."""
    return facts is not None and facts.tls is not None and target.policy.level is Level.OPPORTUNISTIC
