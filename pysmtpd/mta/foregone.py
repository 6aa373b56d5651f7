"""Mail for hosts that are known to be down."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.model.config import Config
from pysmtpd.model.ids import EnvelopeId
from pysmtpd.model.outcome import Outcome, Result
from pysmtpd.model.schedule import Delivery
from pysmtpd.mta.directory import Directory
from pysmtpd.mta.ledger import Ledger
from pysmtpd.mta.relay import Down, Relay
from pysmtpd.mta.shaping.entry import nextHop
from pysmtpd.mta.shaping.shaper import Shaper
from pysmtpd.mta.task import isUsual


class Foregone:
    """Says to all of them at once what L{pysmtpd.mta.intake.Intake} would say to each."""

    def __init__(
        self,
        platform: IPlatform,
        config: Callable[[], Config],
        directory: Directory,
        shaper: Shaper,
        ledger: Ledger,
    ) -> None:
        self._clock = platform.clock
        self._config = config
        self._directory = directory
        self._shaper = shaper
        self._ledger = ledger

    def of(self, deliveries: Sequence[Delivery]) -> Sequence[tuple[Outcome, Sequence[Delivery]]]:
        """See L{pysmtpd.interfaces.delivery.IAgent.foregone}. A message whose recipients go several ways is not among them."""
        self._directory.adopt(self._config())
        now = self._clock.seconds()
        found: dict[Relay, tuple[Down, list[Delivery]] | None] = {}
        for delivery in deliveries:
            relay = self._relay(delivery)
            if relay is None:
                continue
            if relay not in found:
                down = relay.isDown(now) if self._shaper.suspension(nextHop(relay)) is None else None
                found[relay] = (down, []) if down is not None else None
            mine = found[relay]
            if mine is not None:
                mine[1].append(delivery)
        return [(self._outcome(relay, *mine), mine[1]) for relay, mine in found.items() if mine is not None]

    def _relay(self, delivery: Delivery) -> Relay | None:
        """Where all of it goes, if that is known, and what is known of it holds for this message."""
        if not isUsual(delivery.message):
            return None
        relay: Relay | None = None
        for envelope in delivery.envelopes:
            known = self._directory.known(envelope.destination)
            if known is None or (relay is not None and relay is not known):
                return None
            relay = known
        return relay

    def _outcome(self, relay: Relay, down: Down, deliveries: Sequence[Delivery]) -> Outcome:
        domains: dict[str, list[EnvelopeId]] = {}
        for delivery in deliveries:
            for envelope in delivery.envelopes:
                domain = envelope.destination.recipient.domain
                ids = domains.get(domain)
                if ids is None:
                    domains[domain] = [envelope.id]
                else:
                    ids.append(envelope.id)
        for domain, ids in domains.items():
            self._ledger.unreached(domain.lower(), ids, down.reply)
        return Outcome(
            deliveries[0].envelopes[0].id, Result.TEMPORARY, down.reply, relay=relay.key.place, retryAt=down.retryAt
        )
