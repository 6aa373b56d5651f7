"""From a delivery to its parts: what has a place to go to, and room there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from twisted.internet.defer import Deferred, DeferredList

from pysmtpd.interfaces.delivery import IOutcomes
from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.interfaces.ready import Ready
from pysmtpd.model.config import Config
from pysmtpd.model.envelope import Envelope
from pysmtpd.model.outcome import Outcome, Result
from pysmtpd.model.reply import Reply
from pysmtpd.model.schedule import Delivery
from pysmtpd.mta.board import Board
from pysmtpd.mta.directory import Directory, Place
from pysmtpd.mta.keys import finalSender
from pysmtpd.mta.ledger import Ledger
from pysmtpd.mta.routing import Routing
from pysmtpd.mta.shaping.entry import nextHop
from pysmtpd.mta.shaping.shaper import Shaper
from pysmtpd.mta.task import Part
from pysmtpd.mta.turnstile import Turnstile


class Intake:
    """Takes deliveries. What has no room, or may not go now, is held by the scheduler."""

    def __init__(
        self,
        platform: IPlatform,
        config: Callable[[], Config],
        directory: Directory,
        shaper: Shaper,
        board: Board,
        ledger: Ledger,
        turnstile: Turnstile,
        routing: Routing,
    ) -> None:
        self._platform = platform
        self._clock = platform.clock
        self._config = config
        self._directory = directory
        self._shaper = shaper
        self._board = board
        self._ledger = ledger
        self._turnstile = turnstile
        self._routing = routing
        self._placings: dict[int, tuple[Delivery, IOutcomes]] = {}
        self._lastPlacing = 0

    @property
    def room(self) -> int:
        """How many more envelopes there may be."""
        return max(0, self._turnstile.most - self._ledger.envelopes)

    def deliver(self, delivery: Delivery, outcomes: IOutcomes) -> None:
        """See L{pysmtpd.interfaces.delivery.IAgent.deliver}."""
        self._ledger.envelopes += len(delivery.envelopes)
        if self._board.stopping:
            self._ledger.hold(outcomes, delivery.envelopes, "")
            return
        config = self._config()
        self._directory.adopt(config)
        asked: dict[tuple[str, str], Ready[Place | Reply]] = {}
        late: dict[Deferred[Place | Reply], None] = {}
        places: list[Ready[Place | Reply]] = []
        for envelope in delivery.envelopes:
            place = self._directory.place(envelope.destination, asked)
            places.append(place)
            if isinstance(place, Deferred):
                late[place] = None
        if not late:
            self._placed(config, delivery, outcomes, cast("list[Place | Reply]", places))
            return
        # A table takes its time.
        self._lastPlacing += 1
        token = self._lastPlacing
        self._placings[token] = (delivery, outcomes)
        waiting = DeferredList(list(late))
        waiting.addCallback(lambda _: self._latePlaced(config, token, places))
        waiting.addErrback(lambda failure: self._board.fault("finding relays", failure))

    def _latePlaced(self, config: Config, token: int, places: Sequence[Ready[Place | Reply]]) -> None:
        if token not in self._placings:
            # Given up: we stop.
            return
        delivery, outcomes = self._placings.pop(token)
        if self._board.stopping:
            self._ledger.hold(outcomes, delivery.envelopes, "")
            return
        found = [place.result if isinstance(place, Deferred) else place for place in places]
        self._placed(config, delivery, outcomes, cast("list[Place | Reply]", found))

    def _placed(self, config: Config, delivery: Delivery, outcomes: IOutcomes, places: Sequence[Place | Reply]) -> None:
        message = delivery.message
        parts: dict[tuple[str, str, str], Part] = {}
        plain = message.transaction.sender
        said = str(plain)
        for envelope, place in zip(delivery.envelopes, places, strict=True):
            if isinstance(place, Reply):
                result = Result.PERMANENT if place.isPermanent else Result.TEMPORARY
                self._ledger.tell(outcomes, [_outcome(envelope, result, place)])
                continue
            relay, action = place
            sender = said
            if action.mailFrom is not None or action.srs:
                wallTime = self._platform.wallTime()
                sender = str(finalSender(config, action, plain, envelope.destination, wallTime))
            name = (action.name, relay.name, sender)
            part = parts.get(name)
            if part is None:
                parts[name] = Part(message, relay, action, [envelope], outcomes, sender)
            else:
                part.envelopes.append(envelope)
        now = self._clock.seconds()
        taken: list[Part] = []
        for part in parts.values():
            relay = part.relay
            down = relay.isDown(now) if part.isUsual else None
            suspension = self._shaper.suspension(nextHop(relay))
            if suspension is not None:
                self._shaper.held(suspension, message.id, len(part.envelopes), now)
                relay.limit = suspension.key
                self._ledger.hold(outcomes, part.envelopes, suspension.key)
            elif down is not None:
                self._ledger.fail(part, Result.TEMPORARY, down.reply, down.retryAt)
            elif self._turnstile.refuses(relay, len(part.envelopes), self.room):
                relay.held += len(part.envelopes)
                self._ledger.hold(outcomes, part.envelopes, relay.name)
            else:
                relay.begin()
                relay.count(len(part.envelopes))
                taken.append(part)
        if taken:
            self._routing.route(config, taken)

    def abandon(self) -> None:
        """Give back what waits for tables."""
        placings, self._placings = self._placings, {}
        for delivery, outcomes in placings.values():
            self._ledger.hold(outcomes, delivery.envelopes, "")


def _outcome(envelope: Envelope, result: Result, reply: Reply) -> Outcome:
    return Outcome(envelope.id, result, reply, relay=envelope.destination.recipient.domain)
