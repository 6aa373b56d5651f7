"""What is under way at one pool, apart from what is known of it: most pools have nothing."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, cast

from pysmtpd.mta.security import Policy
from pysmtpd.mta.task import Task

if TYPE_CHECKING:
    from pysmtpd.mta.connection import Connection


class UnderWay:
    """
    @ivar waiting: tasks, in order of arrival.
    @ivar connections: open, or being opened.
    @ivar idle: those of them that wait for a task; longest first.
    @ivar policy: of the first task; None: there was none.
    @ivar isMixed: there was one of another policy: not every connection may serve every task.
    @ivar isLate: the first connection takes so long that others are tried beside it.
    """

    __slots__ = ("connections", "idle", "isLate", "isMixed", "policy", "waiting")

    def __init__(self) -> None:
        self.waiting: list[Task] = []
        self.connections: dict[Connection, None] = {}
        self.idle: list[Connection] = []
        self.policy: Policy | None = None
        self.isMixed = False
        self.isLate = False

    def meets(self, task: Task) -> None:
        """One more policy, perhaps."""
        if self.policy is None:
            self.policy = task.policy
        elif task.policy != self.policy:
            self.isMixed = True

    def forgetPolicies(self) -> None:
        """No connection is left that was opened for one: only those who wait count."""
        self.policy = self.waiting[0].policy if self.waiting else None
        self.isMixed = any(task.policy != self.policy for task in self.waiting)


class _Nothing(UnderWay):
    """Shared by all pools that are at rest: whoever begins something makes an L{UnderWay} first."""

    __slots__ = ("_isMade",)

    def __init__(self) -> None:
        super().__init__()
        self.waiting = cast("list[Task]", ())
        self.connections = cast("dict[Connection, None]", MappingProxyType({}))
        self.idle = cast("list[Connection]", ())
        self._isMade = True

    def __setattr__(self, name: str, value: object) -> None:
        if getattr(self, "_isMade", False):
            raise AttributeError(f"{name}: nothing is under way here")
        super().__setattr__(name, value)


NOTHING: UnderWay = _Nothing()
