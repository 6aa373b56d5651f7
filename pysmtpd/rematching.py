"""C{rematch}: the rules are asked again about mail that is queued."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace

from pysmtpd.interfaces import IForwardReader, IPlatform, ITable, asDeferred
from pysmtpd.model.address import Path
from pysmtpd.model.config import Config
from pysmtpd.model.decision import Decision
from pysmtpd.model.envelope import Destination, Envelope, Message, Route, routeOf
from pysmtpd.model.facts import Transaction
from pysmtpd.model.ids import EnvelopeId
from pysmtpd.model.question import Answer, Ask, Holders
from pysmtpd.model.rematched import Rematched
from pysmtpd.router.router import Router
from pysmtpd.ruleset import rematch
from pysmtpd.scheduler.dispatcher import Dispatcher


class Rematcher:
    """See L{pysmtpd.interfaces.IOperator.rematch}."""

    def __init__(
        self,
        platform: IPlatform,
        tables: Callable[[Config], Mapping[str, ITable]],
        forwards: IForwardReader,
        dispatcher: Dispatcher,
    ) -> None:
        self._platform = platform
        self._tables = tables
        self._forwards = forwards
        self._dispatcher = dispatcher

    async def run(
        self, config: Config, message: Message, envelopes: Sequence[Envelope], dryRun: bool
    ) -> Sequence[Rematched]:
        """
        @param dryRun: tell what would change, and change nothing.
        """
        found: list[Rematched] = []
        changes: dict[EnvelopeId, tuple[Route | None, str]] = {}
        taken: dict[Route, None] = {}
        for envelope in envelopes:
            if envelope.state.failed:
                continue
            before = envelope.destination
            after, hold = await self._matchAgain(config, before, message.transaction)
            if not hold and after in taken:
                # Several local deliveries of one address that is relayed now: one copy goes.
                hold = f"{before.recipient} goes there already, as another envelope of this message"
            taken[after] = None
            if hold == envelope.state.hold and (hold or after._replace(rule="") == routeOf(before)._replace(rule="")):
                continue
            changes[envelope.id] = (after, hold)
            action, rule = ("", "") if hold else (after.action, after.rule)
            address = str(before.recipient)
            found.append(Rematched(envelope.id, address, before.action, before.rule, action, rule, hold))
        if changes and not dryRun:
            busy = await self._dispatcher.reroute(message.id, changes)
            found = [replace(one, isBusy=one.envelope in busy) for one in found]
        return found

    async def _matchAgain(
        self, config: Config, destination: Destination, transaction: Transaction
    ) -> tuple[Route, str]:
        """Where it goes today, or why it is held. What cannot be told now changes nothing."""

        def deciding(
            config: Config, path: Path, transaction: Transaction, holders: Holders | None
        ) -> Generator[Ask, Answer, Decision]:
            return rematch(config, destination, transaction)

        router = Router(self._platform, deciding, self._tables, forwards=self._forwards)
        decision = await asDeferred(router.expand(config, destination.recipient, transaction))
        refusal = decision.refusal
        if refusal is None:
            return routeOf(decision.destinations[0]), ""
        return routeOf(destination), "" if refusal.isTemporary else f"rematch: {decision.reason}"
