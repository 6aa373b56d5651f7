"""Mail that no host takes now: what is said of it, and when it is worth another try."""

from __future__ import annotations

from collections.abc import Sequence

from pysmtpd.interfaces.delivery import IRelease
from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.model.outcome import Result
from pysmtpd.model.reply import Reply
from pysmtpd.mta.board import Board
from pysmtpd.mta.keys import Target, lacksRequireTls
from pysmtpd.mta.ledger import Ledger
from pysmtpd.mta.mx import Resolution
from pysmtpd.mta.policy import IPolicies
from pysmtpd.mta.relay import FOLLOW, Down
from pysmtpd.mta.task import Part

BARRED_TIME = 300.0
"""Seconds after which a host that a policy bars is looked at again."""

UNREACHED = "No host could be reached: "

_MAX_ERRORS = 900


class NoHost:
    """All hosts of a part are down, barred, or have not taken it."""

    def __init__(
        self, platform: IPlatform, board: Board, ledger: Ledger, policies: IPolicies, release: IRelease
    ) -> None:
        self._platform = platform
        self._board = board
        self._ledger = ledger
        self._policies = policies
        self._releases = release

    def problems(self, part: Part, targets: Sequence[Target], now: float) -> str:
        """Each host with its error."""
        errors = []
        for target in targets:
            refused = part.refused.get((target.key.address, target.key.port))
            error = str(refused.reply) if refused is not None else self._board.hosts.problem(target, now)
            errors.append(f"{target.label}: {error}")
        return "; ".join(errors)

    def unreachable(
        self,
        part: Part,
        resolution: Resolution,
        now: float,
        skipped: Sequence[str] = (),
        tried: Sequence[Target] = (),
    ) -> None:
        """None of its hosts can take it now. Name each host with its error; a try before the first of them is worth another is useless.

        This part's next try comes then and finds out for all others, which come a little later.

        @param skipped: source addresses that were of no use; empty: the system chooses the address.
        @param tried: the hosts, as targets from these.
        """
        if part.refused:
            self._exhausted(part, resolution, now, skipped, tried)
            return
        targets = tried or [target for level in part.levels(resolution) for target in level]
        if skipped:
            text = f"No source address is of use: {'; '.join(skipped)}"[:_MAX_ERRORS]
            part.relay.lastError = text
            if lacksRequireTls([(target, self._board.hosts.problem(target, now)) for target in targets]):
                self._ledger.refuse([part], Result.PERMANENT, Reply(550, text, "5.7.30"))
                return
        if targets and all(self._board.hosts.takesNoMail(target, now) for target in targets):
            text = f"No host takes mail: {self.problems(part, targets, now)}"
            self._ledger.refuse([part], Result.PERMANENT, Reply(521, text[:_MAX_ERRORS], "5.3.2"))
            return
        if skipped:
            self._ledger.refuse([part], Result.TEMPORARY, Reply(451, part.relay.lastError, "4.4.1"))
            return
        errors: list[tuple[Target, str]] = []
        until = now + 3600.0
        for level in part.levels(resolution):
            for target in level:
                errors.append((target, self._board.hosts.problem(target, now)))
                if target.isKeptByMtaSts(errors[-1][1]):
                    self._policies.again(target.wishes.domain)
                until = min(
                    until,
                    now + BARRED_TIME
                    if target.barred
                    else self._board.hosts.pool(target).standing.until(target.policy),
                )
        text = "; ".join(target.explain(problem) for target, problem in errors) or "no host"
        if resolution.isComplete and lacksRequireTls(errors):
            reply = Reply(550, f"REQUIRETLS is not to be had: {text}"[:_MAX_ERRORS], "5.7.30")
            self._ledger.refuse([part], Result.PERMANENT, reply)
            return
        reply = Reply(451, f"{UNREACHED}{text}"[:_MAX_ERRORS], "4.4.1")
        relay = part.relay
        relay.lastError = reply.text
        retryAt = self._platform.wallTime() + max(0.0, until - now)
        if part.isUsual and relay.resolution is resolution:
            isPolicy = all(self._board.hosts.isPolicy(target, now) for target, _ in errors)
            relay.down = Down(until, reply, retryAt + FOLLOW, isPolicy)
        self._ledger.refuse([part], Result.TEMPORARY, reply, retryAt)
        if relay.held:
            # None of them needs room to hear it.
            held, relay.held = relay.held, 0
            self._releases.release(relay.name, held)

    def _exhausted(
        self, part: Part, resolution: Resolution, now: float, skipped: Sequence[str], tried: Sequence[Target]
    ) -> None:
        """Some hosts were talked to, and none is left. What all that can be reached lack is not to be had; the rest may be tomorrow."""
        refused = list(part.refused.values())
        last = refused[-1]
        targets = [target for level in part.levels(resolution) for target in level]
        if (
            resolution.isComplete
            and all(each.isLacking for each in refused)
            and not any(self._mayHave(part, target, now) for target in tried or targets)
        ):
            self._ledger.refuse([part], Result.PERMANENT, last.reply, remote=last)
            return
        part.relay.lastError = str(last.reply)
        if len(targets) == 1 and not skipped:
            reply = last.reply if last.reply.enhanced else Reply(last.reply.code, last.reply.text, "4.0.0")
        else:
            # With source addresses, each of them has told of the hosts as they are seen from there.
            text = "; ".join(skipped) or self.problems(part, targets, now)
            reply = Reply(451, f"No host took it: {text}"[:_MAX_ERRORS], "4.4.1")
        self._ledger.refuse([part], Result.TEMPORARY, reply, remote=last)

    def _mayHave(self, part: Part, target: Target, now: float) -> bool:
        """Was this host reached, and did not come to say what it lacks? It has refused the session, and may not tomorrow."""
        if target.barred or (target.key.address, target.key.port) in part.refused:
            return False
        problem = self._board.hosts.problem(target, now)
        return bool(problem) and not problem.startswith("451 4.4.") and not self._board.hosts.takesNoMail(target, now)
