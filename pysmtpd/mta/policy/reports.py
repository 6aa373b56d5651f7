"""Sending reports about TLS (RFC 8460), one for each domain and day, to those who want them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from urllib.parse import unquote

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.interfaces.reporting import IReport
from pysmtpd.interfaces.routing import IResolver, Lookup
from pysmtpd.model.events import InternalError, TlsReportSent
from pysmtpd.model.netaddr import canonicalIp
from pysmtpd.mta.encounter import Encounter
from pysmtpd.mta.policy.file import KeptFile
from pysmtpd.mta.policy.https import NotFetched
from pysmtpd.mta.policy.tlsrpt import DAY, Counts, Detail, Policy, Tally, judge, parseRecord, report, reportMessage
from pysmtpd.mta.security import Level

INTERVAL = 3600.0
"""Seconds between two looks whether there is something to send."""

DELAY = 3 * 3600.0
"""Seconds after the end of a day before its reports are sent: not when everybody else does (RFC 8460 4.1)."""

GIVE_UP = DELAY + DAY + INTERVAL
"""Seconds after the end of a day when what could not be sent of it is forgotten (RFC 8460 5.6: a day after the first attempt)."""

AT_A_TIME = 10
"""Reports that are under way."""

SAVE_DELAY = 60.0

Post = Callable[[str, bytes], Deferred[None]]
Mail = Callable[[str, bytes], Deferred[None]]


class TlsReports:
    """Counts sessions, and tells their sums on the day after: by C{https:}, and by C{mailto:} where mail can be signed."""

    def __init__(
        self,
        platform: IPlatform,
        resolver: IResolver,
        post: Post,
        path: str,
        organisation: Callable[[], str],
        told: IReport,
        mail: Mail | None = None,
    ) -> None:
        """
        @param post: takes a URI and a compressed report; fails with L{NotFetched}.
        @param path: absolute; of the file that sums outlive a restart in.
        @param organisation: our name.
        @param mail: takes an address and a message, which it signs (RFC 8460 3); fails with L{NotFetched}. None: nobody can sign.
        """
        self._platform = platform
        self._resolver = resolver
        self._post = post
        self._organisation = organisation
        self._told = told
        self._mail = mail
        self._tally = Tally()
        self._file = KeptFile(platform, path, self._tally.dump, self._trouble, SAVE_DELAY)
        self._call: IDelayedCall | None = None
        self._isStopped = False

    def start(self) -> None:
        """Go on with what an earlier life has counted, and look again and again whether a day is over."""
        self._file.load(self._tally.load)
        # Not all of the world's servers at midnight (RFC 8460 4.1).
        self._again(self._platform.random.uniform(60.0, INTERVAL))

    def stop(self) -> Deferred[None] | None:
        """Send nothing more, and write down what was counted."""
        self._isStopped = True
        if self._call is not None:
            self._call.cancel()
            self._call = None
        return self._file.stop()

    def met(self, encounter: Encounter) -> None:
        """Count a session. What a message wishes for itself is not the domain's business."""
        target = encounter.target
        domain = target.wishes.domain
        # Addresses publish nothing, and who is never to have TLS lacks none.
        if encounter.isUsual and target.policy.level is not Level.NEVER and not canonicalIp(domain):
            now = self._platform.wallTime()
            for policy, detail in judge(encounter):
                self._count(now, domain, policy, detail)

    def noPolicy(self, domain: str, result: str, reason: str) -> None:
        """A domain's MTA-STS policy could not be had.

        @param result: C{sts-policy-fetch-error}, C{sts-policy-invalid} or C{sts-webpki-invalid}.
        """
        self._count(self._platform.wallTime(), domain, Policy("sts"), Detail(result, reason=reason[:300]))

    def _count(self, now: float, domain: str, policy: Policy, detail: Detail) -> None:
        if self._tally.count(now, domain, policy, detail):
            self._file.changed()

    # --- sending

    def _again(self, seconds: float) -> None:
        self._call = self._platform.clock.callLater(seconds, self._tick)

    def _tick(self) -> None:
        self._call = None
        sending = Deferred.fromCoroutine(self.send())
        sending.addErrback(
            lambda failure: self._told.happened(InternalError("reporting TLS", failure.getErrorMessage()))
        )
        sending.addCallback(lambda _: None if self._isStopped else self._again(INTERVAL))

    async def send(self) -> None:
        """Send what is due, a few reports at a time: who answers slowly, or not at all, must not hold up the others for days."""
        now = self._platform.wallTime()
        latest = now - DAY - DELAY
        due = iter([(day, domain) for day, domains in self._tally.days.items() if day <= latest for domain in domains])
        await gatherResults(
            [Deferred.fromCoroutine(self._sendEach(due, now)) for _ in range(AT_A_TIME)], consumeErrors=True
        )

    async def _sendEach(self, due: Iterator[tuple[int, str]], now: float) -> None:
        for day, domain in due:
            if self._isStopped:
                return
            policies = self._tally.days[day][domain]
            if await self._serve(day, domain, policies) or now > day + DAY + GIVE_UP:
                self._tally.drop(day, domain)
                self._file.changed()

    async def _serve(self, day: int, domain: str, policies: Sequence[Counts]) -> bool:
        """Is this done with?"""
        answer = await self._resolver.text(f"_smtp._tls.{domain}")
        if answer.status is Lookup.FAILED:
            return False
        uris = parseRecord(answer.texts) if answer.status is Lookup.FOUND else ()
        wanted = [uri for uri in uris if uri.startswith("https://") or self._mail is not None]
        if not wanted:
            return True
        organisation = self._organisation()
        id = f"{day}.{self._platform.secret(8).hex()}@{organisation}"
        content = json.dumps(report(organisation, id, day, domain, policies), separators=(",", ":")).encode()
        compressed = gzip.compress(content, mtime=0)
        sessions = sum(counts.succeeded + counts.failed for counts in policies)
        isTaken = False
        for uri in wanted:
            if uri.startswith("https://") or self._mail is None:
                sending = self._post(uri, compressed)
            else:
                to = unquote(uri.removeprefix("mailto:").partition("?")[0])
                boundary = self._platform.secret(16).hex()
                now = self._platform.wallTime()
                made = reportMessage(organisation, to, id, day, domain, now, boundary, compressed)
                sending = self._mail(to, made)
            why = await sending.addCallbacks(lambda _: "", _why)
            isTaken = isTaken or not why
            self._told.happened(TlsReportSent(domain, uri, sessions, why or "Ok"))
        return isTaken

    def _trouble(self, why: str) -> None:
        self._told.happened(TlsReportSent("", "", 0, why))


def _why(failure: Failure) -> str:
    failure.trap(NotFetched)
    return failure.getErrorMessage()
