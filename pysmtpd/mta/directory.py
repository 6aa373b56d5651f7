"""Relays by what they are made of, and the way from an envelope to its hosts."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from twisted.python.failure import Failure

from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.interfaces.ready import whenReady
from pysmtpd.interfaces.routing import IResolver, ITable, Service
from pysmtpd.model.config import Action, Config
from pysmtpd.model.envelope import Destination
from pysmtpd.model.netaddr import canonicalIp
from pysmtpd.model.outcome import Result
from pysmtpd.model.reply import Reply
from pysmtpd.mta.keys import BadDomain, RelayKey, relayKey
from pysmtpd.mta.mx import Filter, Resolution, Search
from pysmtpd.mta.policy import IPolicies
from pysmtpd.mta.relay import Relay

MAX_KNOWN = 20_000
"""Destinations whose relay is remembered."""


class Directory:
    """
    @ivar relays: all that are remembered.
    @param released: told when a message of a relay is done while envelopes are held.
    @param fault: told of faults of ours.
    """

    def __init__(
        self,
        platform: IPlatform,
        resolver: IResolver,
        policies: IPolicies,
        tables: Callable[[], Mapping[str, ITable]],
        released: Callable[[Relay], None],
        fault: Callable[[str, Failure], None],
    ) -> None:
        self.relays: dict[RelayKey, Relay] = {}
        self._platform = platform
        self._resolver = resolver
        self._policies = policies
        self._tables = tables
        self._released = released
        self._fault = fault
        self._known: dict[tuple[str, str], tuple[Relay, Action]] = {}
        self._generation: Config | None = None
        self._filter: Filter | None = None

    def adopt(self, config: Config) -> None:
        """Work by this generation; costs nothing when it is the same."""
        if config is not self._generation:
            self._generation = config
            self._filter = Filter(config, self._platform.localAddresses())
            self._known.clear()

    def place(self, destination: Destination) -> tuple[Relay, Action] | Reply:
        """Where it should go, or the reply that says why it cannot."""
        known = (destination.action, destination.recipient.domain)
        place = self._known.get(known)
        if place is not None:
            return place
        config = self._generation
        assert config is not None
        action = config.actions.get(destination.action)
        if action is None:
            return Reply(451, f"Action {destination.action} is no longer configured", "4.3.5")
        try:
            key = relayKey(config, action, destination.recipient)
        except BadDomain as error:
            return Reply(550, f"Bad destination domain {error}", "5.1.2")
        relay = self.relays.get(key)
        if relay is None:
            if len(self.relays) >= MAX_KNOWN:
                self.relays = {key: one for key, one in self.relays.items() if not one.isIdle}
                self._known.clear()
            relay = self.relays[key] = Relay(key, self._released)
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[known] = place = (relay, action)
        return place

    def of(self, domain: str) -> list[Relay]:
        """The relays that are remembered whose hosts are held against this domain's policy."""
        return [
            relay
            for relay in self.relays.values()
            if relay.key.domain == domain or any(host.host.strip("[]") == domain for host in relay.key.hosts)
        ]

    def resolve(self, relay: Relay, then: Callable[[Resolution], None]) -> None:
        """Find a relay's hosts. One question in flight is asked once, whoever waits."""
        relay.waiting.append(then)
        if len(relay.waiting) > 1:
            return

        def found(resolution: Resolution) -> None:
            resolution.since = self._platform.clock.seconds()
            # Failures of the moment are asked for again at the next attempt.
            failure = resolution.failure
            relay.resolution = resolution if failure is None or failure[0] is not Result.TEMPORARY else None
            waiting, relay.waiting = relay.waiting, []
            for one in waiting:
                one(resolution)

        def broken(failure: Failure) -> None:
            resolution = Resolution()
            resolution.failure = (Result.TEMPORARY, Reply(451, f"No way there: {failure.getErrorMessage()}", "4.3.0"))
            found(resolution)

        def search(source: str | None) -> None:
            config, filter = self._generation, self._filter
            assert config is not None and filter is not None
            address = canonicalIp(source or "")
            if relay.key.source and not address:
                broken(Failure(ValueError(f"table {relay.key.source} has no usable address")))
                return
            try:
                Search(relay.key, address, config.mta.family, filter, self._resolver, self._policies, found).start()
            except Exception:
                self._fault("finding hosts", Failure())
                if relay.waiting:
                    broken(Failure())

        if not relay.key.source:
            search("")
            return
        try:
            source = self._tables()[relay.key.source].fetch(Service.SOURCE)
        except Exception:
            broken(Failure())
            return
        whenReady(source, search, broken)
