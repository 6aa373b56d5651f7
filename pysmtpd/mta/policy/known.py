"""The policies that are known: kept on disk, and asked for again before they end (RFC 8461 3.3, 5.1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.python.failure import Failure

from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.interfaces.routing import IResolver, Lookup
from pysmtpd.mta.policy.file import KeptFile
from pysmtpd.mta.policy.https import NotFetched
from pysmtpd.mta.policy.sts import BadPolicy, Mode, StsPolicy, parsePolicy, parseRecord

MOST_KNOWN = 20_000
FAILURE_SECONDS = 300.0
"""After a fetch that failed it is not tried again so soon (RFC 8461 3.3: five minutes or longer)."""

REFRESH = 0.5
"""Of a policy's life: when that much is over it is fetched anew, for a domain that still gets mail. Who blocks the fetch has the rest
of it to be noticed."""

AGAIN_SECONDS = 900.0
"""A policy that stands in the way of mail is not asked for more often than this."""


@dataclass(slots=True)
class _Known:
    """
    @ivar id: of the record under which it was fetched.
    @ivar fetched: wall-clock seconds.
    """

    id: str
    policy: StsPolicy
    fetched: float

    def isGood(self, now: float) -> bool:
        return self.fetched <= now < self.fetched + self.policy.maxAge

    def isOld(self, now: float) -> bool:
        return now >= self.fetched + REFRESH * self.policy.maxAge


class StsPolicies:
    """What every domain's policy is now.

    A policy holds for its age, whatever DNS says meanwhile; one that DNS shows to be newer takes its place once it has been fetched.
    """

    def __init__(
        self,
        platform: IPlatform,
        resolver: IResolver,
        fetch: Callable[[str], Deferred[bytes]],
        path: str,
        told: Callable[[str, str, str], object],
    ) -> None:
        """
        @param fetch: gives the content of a domain's policy, or fails with L{NotFetched}.
        @param path: absolute; of the file that policies outlive a restart in.
        @param told: hears of a domain, why its policy could not be had, and what kind of failure that is (RFC 8460 4.3.2.2); of neither
            where the file is to blame.
        """
        self._platform = platform
        self._resolver = resolver
        self._fetch = fetch
        self._file = KeptFile(platform, path, self._dump, lambda why: told("", why, ""))
        self._told = told
        self._known: dict[str, _Known] = {}
        self._fetching: dict[str, list[Deferred[None]]] = {}
        self._failed: dict[str, float] = {}
        self._askedAgain: dict[str, float] = {}

    def load(self) -> Deferred[None]:
        """What an earlier life has learned. A file that cannot be read is told of, and forgotten: policies can be fetched."""
        return self._file.load(self._take)

    def policy(self, domain: str) -> Deferred[StsPolicy | None]:
        """What C{domain}, in A-labels, asks for; None: nothing. Never fails.

        Waits for a fetch where nothing is known that holds, or where the record shows a newer one: then no attempt is the last one that the
        older policy could spoil (5.1). Where that cannot be had, the older one still holds.
        """
        return self._resolver.text(f"_mta-sts.{domain}").addCallback(
            lambda answer: self._judge(domain, parseRecord(answer.texts) if answer.status is Lookup.FOUND else None)
        )

    def _judge(self, domain: str, id: str | None) -> StsPolicy | Deferred[StsPolicy | None] | None:
        now = self._platform.wallTime()
        known = self._known.get(domain)
        isGood = known is not None and known.isGood(now)
        isNew = not isGood or known is None or known.id != id
        if id is not None and (isNew or (known is not None and known.isOld(now))):
            if self._failed.get(domain, 0.0) <= now:
                fetching = self._refresh(domain, id)
                if isNew:
                    return fetching.addCallback(lambda _: self._current(domain))
        return known.policy if isGood and known is not None else None

    def _current(self, domain: str) -> StsPolicy | None:
        known = self._known.get(domain)
        return known.policy if known is not None and known.isGood(self._platform.wallTime()) else None

    def known(self, domain: str) -> tuple[StsPolicy, float] | None:
        """The policy that holds now, as far as it is known, and until when (wall-clock seconds)."""
        known = self._known.get(domain)
        if known is None or not known.isGood(self._platform.wallTime()):
            return None
        return known.policy, known.fetched + known.policy.maxAge

    def again(self, domain: str) -> Deferred[StsPolicy | None]:
        """The policy stands in the way of mail, which must not be given up for that: is it still the policy (5.1)?"""
        now = self._platform.wallTime()
        if self._askedAgain.get(domain, 0.0) > now:
            return succeed(self._current(domain))
        while len(self._askedAgain) >= MOST_KNOWN:
            del self._askedAgain[next(iter(self._askedAgain))]
        self._askedAgain[domain] = now + AGAIN_SECONDS

        def judge(answer: Any) -> StsPolicy | Deferred[StsPolicy | None] | None:
            id = parseRecord(answer.texts) if answer.status is Lookup.FOUND else None
            if id is None:
                return self._current(domain)
            return self._refresh(domain, id).addCallback(lambda _: self._current(domain))

        return self._resolver.text(f"_mta-sts.{domain}").addCallback(judge)

    def _refresh(self, domain: str, id: str) -> Deferred[None]:
        """One fetch, whoever waits for it."""
        mine: Deferred[None] = Deferred()
        waiting = self._fetching.get(domain)
        if waiting is not None:
            waiting.append(mine)
            return mine
        self._fetching[domain] = [mine]
        # Whatever is wrong with fetching, even before it has begun, those who wait must hear of it.
        fetched = maybeDeferred(self._fetch, domain).addCallback(parsePolicy)
        fetched.addCallbacks(self._learn, self._failure, (domain, id), {}, (domain,))
        fetched.addBoth(self._tell, domain)
        return mine

    def _learn(self, policy: StsPolicy, domain: str, id: str) -> None:
        self._failed.pop(domain, None)
        while len(self._known) >= MOST_KNOWN and domain not in self._known:
            del self._known[next(iter(self._known))]
        self._known[domain] = _Known(id, policy, self._platform.wallTime())
        self._file.changed()

    def _failure(self, failure: Failure, domain: str) -> None:
        """What is known stays known."""
        while len(self._failed) >= MOST_KNOWN:
            del self._failed[next(iter(self._failed))]
        self._failed[domain] = self._platform.wallTime() + FAILURE_SECONDS
        error = failure.value
        why = str(error) if isinstance(error, NotFetched | BadPolicy) else repr(error)
        if isinstance(error, BadPolicy):
            result = "sts-policy-invalid"
        else:
            isUntrusted = isinstance(error, NotFetched) and error.isUntrusted
            result = "sts-webpki-invalid" if isUntrusted else "sts-policy-fetch-error"
        self._told(domain, f"the policy cannot be had: {why}", result)

    def _tell(self, result: object, domain: str) -> None:
        for waiter in self._fetching.pop(domain):
            waiter.callback(None)

    # --- on disk

    def stop(self) -> Deferred[None] | None:
        """See L{KeptFile.stop}."""
        return self._file.stop()

    def _dump(self) -> dict[str, object]:
        now = self._platform.wallTime()
        self._known = {domain: known for domain, known in self._known.items() if known.isGood(now)}
        return {
            domain: (known.id, known.policy.mode.value, known.policy.mx, known.policy.maxAge, known.fetched)
            for domain, known in self._known.items()
        }

    def _take(self, rows: Any) -> None:
        for domain, (id, mode, mx, age, fetched) in rows.items():
            policy = StsPolicy(Mode(mode), tuple(map(str, mx)), float(age))
            self._known.setdefault(str(domain), _Known(str(id), policy, float(fetched)))
