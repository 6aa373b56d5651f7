"""Relays by what they are made of, and the way from an envelope to its hosts."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.interfaces.ready import Ready
from pysmtpd.interfaces.routing import IResolver, ITable, Service
from pysmtpd.model.address import Path
from pysmtpd.model.config import Action, Config, RelayHost
from pysmtpd.model.envelope import Destination
from pysmtpd.model.outcome import Result
from pysmtpd.model.relayurl import parseRelay
from pysmtpd.model.reply import Reply
from pysmtpd.mta.bounds import limitsFor
from pysmtpd.mta.keys import BadDomain, RelayKey, relayKey
from pysmtpd.mta.lanes import Places
from pysmtpd.mta.mx import Filter, Resolution, Search
from pysmtpd.mta.policy import IPolicies
from pysmtpd.mta.relay import FRESH, LEAST_FRESH, Relay

MAX_KNOWN = 20_000
"""Destinations whose relay is remembered."""

TIDY = 60.0
"""Seconds between two looks at what is not needed any more, as long as there is something."""

TABLE_TIME = 10.0
"""Seconds that a table has for an answer."""

Place = tuple[Relay, Action]


class Directory:
    """
    @ivar relays: all that are remembered.
    @param released: told when a message of a relay is done while envelopes are held.
    @param places: count envelopes by lanes.
    @param fault: told of faults of ours.
    """

    def __init__(
        self,
        platform: IPlatform,
        resolver: IResolver,
        policies: IPolicies,
        tables: Callable[[], Mapping[str, ITable]],
        released: Callable[[Relay], None],
        places: Places,
        fault: Callable[[str, Failure], None],
    ) -> None:
        self.relays: dict[RelayKey, Relay] = {}
        self._platform = platform
        self._resolver = resolver
        self._policies = policies
        self._tables = tables
        self._released = released
        self._places = places
        self._fault = fault
        # By action and domain; only where no table is asked.
        self._known: dict[str, dict[str, Relay]] = {}
        self._timer: IDelayedCall | None = None
        self._generation: Config | None = None
        self._filter: Filter | None = None

    def adopt(self, config: Config) -> None:
        """Work by this generation; costs next to nothing when it is the same."""
        if config is not self._generation:
            self._generation = config
            self._filter = Filter(config, self._platform.localAddresses())
            self._known.clear()
        if self._timer is None:
            self._timer = self._platform.clock.callLater(TIDY, self._tidy)

    def _tidy(self) -> None:
        """Relays without anything to do let go what can be found again, and in the end of themselves."""
        self._timer = None
        now = self._platform.clock.seconds()
        gone = 0
        for relay in self.relays.values():
            if relay.isIdle:
                relay.rest(now)
                gone += relay.isForgettable
        if gone:
            self.relays = {key: relay for key, relay in self.relays.items() if not relay.isForgettable}
            self._known.clear()
        if self.relays:
            self._timer = self._platform.clock.callLater(TIDY, self._tidy)

    def stop(self) -> None:
        """No more looks."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def known(self, destination: Destination) -> Relay | None:
        """Where its mail goes, if that is known and no table is asked for it."""
        relays = self._known.get(destination.action)
        return relays.get(destination.recipient.domain) if relays is not None else None

    def place(
        self, destination: Destination, asked: dict[tuple[str, str], Ready[Place | Reply]]
    ) -> Ready[Place | Reply]:
        """Where it should go, or the reply that says why it cannot. Never fails.

        @param asked: what tables have told for this message; they are asked once for all of its recipients.
        """
        config = self._generation
        assert config is not None
        action = config.actions.get(destination.action)
        if action is None:
            return Reply(451, f"Action {destination.action} is no longer configured", "4.3.5")
        known = self._known.get(destination.action)
        if known is not None:
            relay = known.get(destination.recipient.domain)
            if relay is not None:
                return relay, action
        if action.hostTable is None and action.domainTable is None:
            found = self._place(config, action, destination.recipient, ())
            if isinstance(found, Reply):
                return found
            if known is None:
                known = self._known[destination.action] = {}
            elif len(known) >= MAX_KNOWN:
                known.clear()
            known[destination.recipient.domain] = found[0]
            return found
        question = (destination.action, "" if action.hostTable else destination.recipient.domain.lower())
        answer = asked.get(question)
        if answer is None:
            answer = asked[question] = self._byTable(config, action, destination.recipient)
        return answer

    def _byTable(self, config: Config, action: Action, path: Path) -> Ready[Place | Reply]:
        ref = action.hostTable or action.domainTable
        assert ref is not None
        name, domain = ref.name, path.domain.rstrip(".").lower()

        def told(url: str | None) -> Place | Reply:
            if url is None:
                what = "is empty" if action.hostTable else f"has no relay for {domain}"
                return Reply(451, f"Table {name} {what}", "4.3.5")
            try:
                host = parseRelay(url)
            except ValueError as error:
                return Reply(451, f"Table {name}: {error}", "4.3.5")
            if host.label and action.authTable is None:
                return Reply(451, f'Table {name}: "{host.label}" needs an auth table of credentials', "4.3.5")
            return self._place(config, action, path, (host,))

        def failed(failure: Failure) -> Reply:
            return Reply(451, f"Table {name}: {failure.getErrorMessage() or 'no answer'}", "4.3.0")

        try:
            table = self._tables()[name]
            isMap = action.hostTable is None
            answer = table.lookup(Service.RELAYHOST, domain) if isMap else table.fetch(Service.RELAYHOST)
        except Exception:
            return failed(Failure())
        if isinstance(answer, Deferred):
            answer.addTimeout(TABLE_TIME, self._platform.clock)
            placed: Deferred[Place | Reply] = answer.addCallbacks(told, failed)
            return placed
        return told(answer)

    def _place(self, config: Config, action: Action, path: Path, hosts: tuple[RelayHost, ...]) -> Place | Reply:
        try:
            key = relayKey(config, action, path, hosts)
        except BadDomain as error:
            return Reply(550, f"Bad destination domain {error}", "5.1.2")
        relay = self.relays.get(key)
        if relay is None:
            if len(self.relays) >= MAX_KNOWN:
                self.relays = {key: one for key, one in self.relays.items() if not one.isIdle}
                self._known.clear()
            relay = self.relays[key] = Relay(key, self._released, self._places)
        return relay, action

    def of(self, domain: str) -> list[Relay]:
        """The relays that are remembered whose hosts are held against this domain's policy."""
        return [
            relay
            for relay in self.relays.values()
            if relay.key.domain == domain or any(host.host.strip("[]") == domain for host in relay.key.hosts)
        ]

    def resolve(self, relay: Relay, then: Callable[[Resolution], None]) -> None:
        """Find a relay's hosts. One question in flight is asked once, whoever waits."""
        relay.waiting += (then,)
        if len(relay.waiting) > 1:
            return

        def found(resolution: Resolution) -> None:
            now = self._platform.clock.seconds()
            resolution.until = min(max(resolution.until, now + LEAST_FRESH), now + FRESH)
            if resolution.failure is not None and resolution.failure[0] is Result.TEMPORARY:
                # It is asked for again at the next attempt; until then people can see it.
                resolution.until = now
            relay.resolved(resolution)
            waiting, relay.waiting = relay.waiting, ()
            for one in waiting:
                one(resolution)

        def broken(failure: Failure) -> None:
            resolution = Resolution()
            resolution.failure = (Result.TEMPORARY, Reply(451, f"No way there: {failure.getErrorMessage()}", "4.3.0"))
            found(resolution)

        config, filter = self._generation, self._filter
        assert config is not None and filter is not None
        family = limitsFor(config, relay.key.limitName).family
        try:
            # Which source address it will be is seen at each attempt; see L{pysmtpd.mta.sources}.
            Search(relay.key, "", family, filter, self._resolver, self._policies, found).start()
        except Exception:
            self._fault("finding hosts", Failure())
            if relay.waiting:
                broken(Failure())
