"""Who may start now, and what the others wait for: limits, back-off and suspensions in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from pysmtpd.interfaces.delivery import IRelease
from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.model.config import Config
from pysmtpd.model.reply import Reply
from pysmtpd.model.schedule import SHAPED
from pysmtpd.model.shaping import RECIPIENTS
from pysmtpd.mta.shaping.backoff import Backoff
from pysmtpd.mta.shaping.bucket import Bucket
from pysmtpd.mta.shaping.keys import Facts, Limit, Limits
from pysmtpd.mta.shaping.state import Keeper, State
from pysmtpd.mta.shaping.waiting import ALL, TICK, Room, Waiting

COMING_BACK = 0.5
"""Seconds that those who were let go have to start."""

SAVE_DELAY = 5.0
"""Seconds in which changes are gathered. What leaves in the last of them before a crash is not counted after it; suspensions are
kept at once."""

MAX_BUCKETS = 50_000
MAX_BACKOFFS = 20_000
MAX_SUSPENDED = 10_000
MAX_NAME = 255

_FOREVER = float("inf")


class Binding(NamedTuple):
    """What keeps somebody waiting.

    @ivar key: of the hold queue; also what people read.
    @ivar wait: seconds; infinite for a suspension.
    @ivar limit: the rate that it is; None: a suspension, or a back-off.
    """

    key: str
    wait: float
    limit: Limit | None = None

    @property
    def text(self) -> str:
        return self.key.removeprefix(SHAPED)


class Shaper:
    """
    Whoever starts a transaction asks L{mayStart} for each group of recipients; those who may not wait in the scheduler under
    C{Binding.key}, told by L{held}, and are let go, oldest first, when they may. What starts is told by L{started}, what
    peers complain of by L{complained}.
    """

    _log = Logger()

    def __init__(self, platform: IPlatform, config: Callable[[], Config], release: IRelease, path: str = "") -> None:
        """
        @param config: gives the newest generation.
        @param path: absolute; of the file in which it outlives a restart; empty: it does not.
        """
        self._clock = platform.clock
        self._wallTime = platform.wallTime
        self._config = config
        self._waiting = Waiting(platform.clock, release, self._room)
        self._keeper = Keeper(platform, path)
        self._generation: Config | None = None
        self._limits = Limits((), {})
        self._buckets: dict[str, Bucket] = {}
        self._owed: dict[str, float] = {}
        self._backoffs: dict[str, Backoff] = {}
        self._suspended: dict[str, float] = {}
        self._connections: dict[str, int] = {}
        self._saver: IDelayedCall | None = None
        self._isStopped = False
        self._isChanged = False

    # --- its life

    def load(self) -> Deferred[None]:
        """What an earlier life has left. A file that cannot be used is told of and forgotten. Never fails."""
        return self._keeper.load().addCallbacks(self._loaded, self._unreadable)

    def _loaded(self, state: State) -> None:
        now = self._clock.seconds()
        ahead = now - self._wallTime()
        self._suspended = state.suspended | self._suspended
        self._owed = {key: paid + ahead for key, paid in state.buckets.items()}
        for name, (pace, reply, at, since, times) in state.backoffs.items():
            # A wall clock that was set back must not make a complaint of the future.
            self._backoffs[name] = Backoff(now, pace, reply, min(now, at + ahead), min(now, since + ahead), times)

    def _unreadable(self, failure: Failure) -> None:
        self._log.error("what was known of limits is lost: {why}", why=failure.getErrorMessage())

    def stop(self) -> Deferred[None]:
        """Let nobody go any more, and keep what is known. Never fails."""
        self._isStopped = True
        self._waiting.stop()
        if self._saver is not None and self._saver.active():
            self._saver.cancel()
        # An earlier life's file is left alone by one that never got anywhere.
        return self._save().addErrback(self._notSaved) if self._isChanged else succeed(None)

    def _save(self) -> Deferred[None]:
        now = self._clock.seconds()
        behind = self._wallTime() - now
        buckets = {key: paid for key, paid in self._owed.items() if paid > now}
        buckets |= {key: bucket.paid for key, bucket in self._buckets.items() if not bucket.isFull(now)}
        backoffs = {
            name: (one.lastPace, one.reply, one.at + behind, one.since + behind, one.times)
            for name, one in self._backoffs.items()
            if one.pace(now)
        }
        return self._keeper.save(
            State(dict(self._suspended), {key: paid + behind for key, paid in buckets.items()}, backoffs)
        )

    def _saveSoon(self) -> None:
        self._isChanged = True
        if self._saver is None and not self._isStopped:
            self._saver = self._clock.callLater(SAVE_DELAY, self._saveNow)

    def _saveNow(self) -> None:
        self._saver = None
        self._save().addErrback(self._notSaved)

    def _notSaved(self, failure: Failure) -> None:
        self._log.error("what is known of limits cannot be kept: {why}", why=failure.getErrorMessage())

    def adopt(self, config: Config) -> None:
        """Go on by this generation: whoever waits is looked at again."""
        if config is self._generation:
            return
        self._generation = config
        self._limits = Limits(config.mtaRates, config.mtaProviders)
        for key in self._waiting:
            self._waiting.letAllGo(key)

    # --- transactions

    def suspension(self, *names: str) -> Binding | None:
        """Is any of these destinations suspended?"""
        suspended = self._suspended
        if suspended:
            for name in names:
                if name in suspended:
                    return Binding(f"{SHAPED}{name} is suspended", _FOREVER)
        return None

    def mayStart(self, facts: Facts, now: float, counted: Mapping[str, None]) -> Binding | None:
        """The constraint that binds most; None: it may start.

        @param counted: keys of limits that the same transaction was counted against already.
        """
        self.adopt(self._config())
        limits = self._limits
        if self._suspended:
            binding = self.suspension(*limits.names(facts))
            if binding is not None:
                return binding
        worst: Binding | None = None
        if self._backoffs:
            name = self._placeOf(facts.host)
            backoff = self._backoffs.get(name)
            if backoff is not None and _backoffKey(name) not in counted:
                worst = self._bound(_backoffKey(name), backoff.wait(now), worst)
        for limit in limits.of(facts):
            if limit.rate.unit != RECIPIENTS and limit.key in counted:
                continue
            worst = self._bound(f"{SHAPED}{limit.text}", self._bucket(limit, now).wait(now), worst, limit)
        return worst

    def _bound(self, key: str, wait: float, worst: Binding | None, limit: Limit | None = None) -> Binding | None:
        if not wait:
            # Those who wait longer go first.
            if not self._waiting.goesFirst(key):
                return worst
            wait = TICK
        return Binding(key, wait, limit) if worst is None or wait > worst.wait else worst

    def most(self, facts: Facts) -> int:
        """How many recipients one transaction may have at most."""
        counts = [limit.rate.count for limit in self._limits.of(facts) if limit.rate.unit == RECIPIENTS]
        return min(counts, default=ALL)

    def bindingOf(self, facts: Facts) -> Binding:
        """What the recipients wait for that are more than L{most}."""
        limits = [limit for limit in self._limits.of(facts) if limit.rate.unit == RECIPIENTS]
        limit = min(limits, key=lambda limit: limit.rate.count)
        return Binding(f"{SHAPED}{limit.text}", TICK, limit)

    def started(self, facts: Facts, recipients: int, now: float, counted: dict[str, None]) -> None:
        """A group of recipients starts in a transaction.

        @param counted: see L{mayStart}; what this is counted against is added.
        """
        if self._backoffs:
            name = self._placeOf(facts.host)
            key = _backoffKey(name)
            backoff = self._backoffs.get(name)
            if backoff is not None and key not in counted:
                backoff.take(now)
                self._waiting.started(key)
                counted[key] = None
        limits = self._limits.of(facts)
        for limit in limits:
            isRecipients = limit.rate.unit == RECIPIENTS
            if recipients if isRecipients else limit.key not in counted:
                self._bucket(limit, now).take(now, recipients if isRecipients else 1)
                self._waiting.started(f"{SHAPED}{limit.text}")
                counted[limit.key] = None
        if limits:
            self._saveSoon()

    def complained(self, host: str, reply: Reply) -> None:
        """A host wants less of us; see L{pysmtpd.mta.shaping.backoff.complains}."""
        now = self._clock.seconds()
        name = self._placeOf(host.lower())
        backoff = self._backoffs.get(name)
        if backoff is None or not backoff.pace(now):
            if len(self._backoffs) >= MAX_BACKOFFS:
                self._backoffs = {name: one for name, one in self._backoffs.items() if one.pace(now)}
            backoff = self._backoffs[name] = Backoff(now)
        backoff.complained(now, reply)
        self._saveSoon()

    def _placeOf(self, host: str) -> str:
        provider = self._limits.provider(host)
        return f"provider {provider}" if provider else host

    def _bucket(self, limit: Limit, now: float) -> Bucket:
        bucket = self._buckets.get(limit.key)
        if bucket is None:
            if len(self._buckets) >= MAX_BUCKETS:
                self._buckets = {key: one for key, one in self._buckets.items() if not one.isFull(now)}
            rate = limit.rate
            # However the clock or the rate has changed meanwhile, it is owed no more than a period.
            owed = min(self._owed.pop(limit.key, -_FOREVER), now + rate.period)
            bucket = self._buckets[limit.key] = Bucket(rate, owed)
        elif bucket.rate != limit.rate:
            bucket = self._buckets[limit.key] = Bucket(limit.rate, min(bucket.paid, now + limit.rate.period))
        return bucket

    # --- connections

    def connectionLimit(self, facts: Facts, now: float) -> Limit | None:
        """What forbids one more connection; None: it may be opened."""
        self.adopt(self._config())
        for limit in self._limits.ofConnection(facts):
            if limit.rate.period:
                if self._bucket(limit, now).wait(now):
                    return limit
            elif self._connections.get(limit.key, 0) >= limit.rate.count:
                return limit
        return None

    def wait(self, limit: Limit, now: float) -> float:
        """Seconds until a rate allows one more; 0: that depends on others."""
        return self._bucket(limit, now).wait(now) if limit.rate.period else 0.0

    def connected(self, facts: Facts, now: float) -> Sequence[str]:
        """A connection is being opened. Gives what L{disconnected} needs to know."""
        counted = []
        for limit in self._limits.ofConnection(facts):
            if limit.rate.period:
                self._bucket(limit, now).take(now)
                self._saveSoon()
            else:
                self._connections[limit.key] = self._connections.get(limit.key, 0) + 1
                counted.append(limit.key)
        return counted

    def disconnected(self, counted: Sequence[str]) -> None:
        for key in counted:
            self._connections[key] -= 1
            if not self._connections[key]:
                del self._connections[key]

    # --- those who wait

    def held(self, binding: Binding, message: int, envelopes: int, now: float) -> None:
        """These wait in the scheduler now, under the binding's key."""
        due = now + binding.wait if binding.wait < _FOREVER else None
        self._waiting.add(binding.key, binding.limit, due, message, envelopes)

    def _room(self, key: str, limit: Limit | None, now: float) -> Room:
        """See L{Waiting}."""
        if limit is not None:
            bucket = self._bucket(limit, now)
            room = bucket.room(now)
            # Those who go may find that another limit binds them: then others go in their place.
            wait = min(bucket.after(room), COMING_BACK) if room else bucket.wait(now)
            return Room(room, limit.rate.unit == RECIPIENTS, wait)
        backoff = self._backoffs.get(key.removeprefix(_BACKOFF))
        wait = backoff.wait(now) if backoff is not None else 0.0
        pace = backoff.pace(now) if backoff is not None else 0.0
        return Room(0 if wait else 1 if pace else ALL, False, wait or pace)

    # --- what operators do and see

    def suspend(self, name: str) -> Deferred[bool]:
        """Let nothing more start for a domain, a mail host or a provider; what is under way goes on.

        @return: fires with whether that changed anything, once it would outlast a restart.
        @raise ValueError: there are too many.
        """
        name = name.lower()
        if not name or len(name) > MAX_NAME or not name.isprintable() or " " in name:
            raise ValueError(f"{name[:40]!r} is no name of a domain, a mail host or a provider")
        if name in self._suspended:
            return self._saved(False)
        if len(self._suspended) >= MAX_SUSPENDED:
            raise ValueError(f"{MAX_SUSPENDED} destinations are suspended; no more are remembered")
        self._suspended[name] = self._wallTime()
        return self._saved(True)

    def resume(self, name: str) -> Deferred[bool]:
        """The reverse; it also forgets that the host or provider has complained."""
        name = name.lower()
        isKnown = self._suspended.pop(name, None) is not None
        self._waiting.letAllGo(f"{SHAPED}{name} is suspended")
        for place in (name, f"provider {name}"):
            isKnown = self._forget(place) or isKnown
        return self._saved(isKnown)

    def forgive(self, host: str) -> None:
        """Forget that a host, or its provider, has complained."""
        if self._forget(self._placeOf(host.lower())):
            self._saveSoon()

    def _forget(self, place: str) -> bool:
        backoff = self._backoffs.pop(place, None)
        self._waiting.letAllGo(_backoffKey(place))
        return backoff is not None

    def _saved(self, isChanged: bool) -> Deferred[bool]:
        self._isChanged = True
        return self._save().addCallback(lambda _: isChanged)

    def constraint(self, key: str, now: float) -> tuple[str, str, float] | None:
        """What those wait for who wait under C{key}: kind, text, and for how many seconds at least; None: nobody does.

        The kinds are those of L{pysmtpd.mta.shown.Constraint}.
        """
        if key not in self._waiting:
            return None
        text = key.removeprefix(SHAPED)
        limit = self._waiting.limit(key)
        if limit is not None:
            return "rate", text, self._bucket(limit, now).wait(now)
        place = key.removeprefix(_BACKOFF)
        backoff = self._backoffs.get(place)
        if key.startswith(_BACKOFF) and backoff is not None:
            return "back-off", f"{place} said: {backoff.reply}", backoff.wait(now)
        return "suspended", text, 0.0

    def show(self) -> Sequence[Mapping[str, object]]:
        """What is suspended, who has complained, and each limit that was used lately; with what waits."""
        now = self._clock.seconds()
        behind = self._wallTime() - now
        rows: list[Mapping[str, object]] = []
        others = dict.fromkeys(self._waiting)

        def row(kind: str, key: str, wait: float, since: float, **more: object) -> None:
            others.pop(key, None)
            envelopes = self._waiting.envelopes(key)
            text = key.removeprefix(SHAPED)
            rows.append(
                {"kind": kind, "limit": text, "waiting": envelopes, "wait": round(wait, 1), "since": since, **more}
            )

        for name, since in self._suspended.items():
            row("suspended", f"{SHAPED}{name} is suspended", 0.0, since)
        for name, one in self._backoffs.items():
            if one.pace(now):
                more = {
                    "pace": round(one.pace(now), 1),
                    "complaints": one.times,
                    "last": one.at + behind,
                    "reply": one.reply,
                }
                row("back-off", _backoffKey(name), one.wait(now), one.since + behind, **more)
        for key in list(others):
            limit = self._waiting.limit(key)
            row("rate", key, self._bucket(limit, now).wait(now) if limit is not None else 0.0, 0.0)
        for key, count in self._connections.items():
            row("connections", f"{SHAPED}{key}", 0.0, 0.0, open=count)
        return rows


_BACKOFF = f"{SHAPED}back-off of "


def _backoffKey(place: str) -> str:
    return f"{_BACKOFF}{place}"
