"""What the expansion of one RCPT comes to."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from pysmtpd.model.address import Path
from pysmtpd.model.decision import Decision, Step
from pysmtpd.model.envelope import Agent, Destination, Hop, formatVia
from pysmtpd.model.question import TempFail
from pysmtpd.model.reply import Reply
from pysmtpd.ruleset.compile import CompiledRule
from pysmtpd.ruleset.place import Place
from pysmtpd.ruleset.walk import Walk

INVALID = Reply(550, "Invalid recipient", "5.1.1")
DENIED = Reply(550, "Relaying denied", "5.7.1")
REJECTED = Reply(550, "Delivery not authorized", "5.7.1")
TEMPORARY = Reply(451, "Temporary failure", "4.3.0")
UNEXPANDABLE = Reply(524, "Mailing list expansion problem", "5.2.4")

# What is told of a node in one sentence, and the steps below it.
Outcome: TypeAlias = tuple[str, tuple[Step, ...]]


class _Refused(NamedTuple):
    """A part of the expansion that is refused.

    @ivar cited: as in L{Decision}.
    """

    reply: Reply
    reason: str
    cited: str


def _cited(rule: CompiledRule | TempFail | None, walk: Walk) -> str:
    if rule is None:
        return "no rule matches"
    where = walk.considered()[-1].where if isinstance(rule, TempFail) else rule.where
    return f"{where.file.rpartition('/')[2]}:{where.line}"


class Results:
    """What an expansion has found so far: destinations, and what refuses the recipient, each with the way to it.

    @ivar faults: what somebody has to mend.
    @ivar trail: from the recipient to the node that is looked at.
    @ivar taken: the rule that took the address which is looked at, or why there is none, and how that was found.
    """

    __slots__ = ("_destinations", "_key", "_rcpt", "_refusals", "_repeated", "faults", "taken", "trail")

    def __init__(self, rcpt: Path, key: str) -> None:
        """
        @param key: of the recipient.
        """
        self._rcpt = rcpt
        self._key = key
        self._destinations: dict[tuple[str, str, str, str, str], Destination] = {}
        self._refusals: list[_Refused] = []
        self.faults: list[str] = []
        # How nodes were reached that were there before.
        self._repeated: list[str] = []
        self.taken: tuple[CompiledRule | TempFail | None, Walk] | None = None
        self.trail: list[Hop] = []

    def decision(self, step: Step) -> Decision:
        """Any refused node refuses the whole; otherwise one that cannot be told now is a temporary failure of the whole.

        @param step: the tree of all steps.
        """
        if not self._refusals and not self._destinations:
            leads = f" but what it came from: {self._repeated[0]}" if self._repeated else ""
            self.refuse(UNEXPANDABLE, f"{self._rcpt} expands to nothing{leads}")
        faults = tuple(self.faults)
        if self._refusals:
            refused = min(self._refusals, key=lambda refused: refused.reply.isTemporary)
            return Decision((), refused.reply, refused.reason, step, faults, refused.cited)
        return Decision(tuple(self._destinations.values()), None, step.outcome, step, faults)

    def refuse(self, reply: Reply, reason: str, isOurs: bool = True) -> str:
        """
        @param isOurs: the reply is not what somebody has written.
        @return: the reason alone; what is refused names the way to it, too.
        """
        way = f"; {self._rcpt} leads there: {formatVia(self.trail)}" if self.trail else ""
        self._refusals.append(_Refused(reply, reason + way, _cited(*self.taken) if isOurs and self.taken else ""))
        return reason

    def cannot(self, reason: str) -> Outcome:
        """It cannot be told now, or done now."""
        return self.refuse(TEMPORARY, reason), ()

    def fault(self, reason: str) -> Outcome:
        """Likewise, and somebody has to mend it."""
        outcome = self.cannot(reason)
        self.faults.append(self._refusals[-1].reason)
        return outcome

    def keyOf(self, path: Path) -> str:
        """An address for comparing; that of the recipient is made once."""
        return self._key if path is self._rcpt else path.key

    def duplicate(self) -> str:
        """The node that is looked at was there before."""
        self._repeated.append(formatVia(self.trail))
        return "a duplicate"

    def add(self, place: Place, user: str, agent: Agent, command: str = "", file: str = "") -> None:
        """One destination for each action, address, user, command and file."""
        action, path = place.action, place.path
        key = (action.name, self.keyOf(path), user, command, file)
        if key not in self._destinations:
            self._destinations[key] = Destination(
                path,
                self._rcpt,
                agent,
                action.name,
                user,
                place.rule.place,
                action.ttl,
                command=command,
                file=file,
                isForwarded=place.depth > 0,
                via=tuple(self.trail),
            )
