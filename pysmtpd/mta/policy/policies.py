"""All that is known about the TLS of destinations, behind one face."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from twisted.internet.defer import Deferred
from zope.interface import implementer

from pysmtpd.interfaces.platform import IPlatform
from pysmtpd.interfaces.reporting import IReport
from pysmtpd.model.events import PolicyFailed, TlsRefused
from pysmtpd.mta.encounter import Encounter
from pysmtpd.mta.keys import serviceOf
from pysmtpd.mta.policy import IPolicies
from pysmtpd.mta.policy.file import KeptFile
from pysmtpd.mta.policy.known import StsPolicies
from pysmtpd.mta.policy.memory import LIFETIME, TlsMemory
from pysmtpd.mta.policy.reports import TlsReports
from pysmtpd.mta.policy.sts import StsPolicy


@implementer(IPolicies)
class Policies:
    def __init__(self, platform: IPlatform, sts: StsPolicies, reports: TlsReports, report: IReport, spool: str) -> None:
        """
        @param spool: absolute path of the directory where what is remembered is kept.
        """
        self._wallTime = platform.wallTime
        self._sts = sts
        self._reports = reports
        self._report = report
        self._memory = TlsMemory()
        self._file = KeptFile(
            platform,
            f"{spool}/tls-memory.json",
            lambda: self._memory.dump(self._wallTime()),
            lambda why: report.happened(PolicyFailed("", why)),
        )

    def start(self) -> None:
        """Read what an earlier life has kept; what is asked for meanwhile does not wait for it."""
        self._sts.load()
        self._file.load(self._memory.load)
        self._reports.start()

    async def stop(self) -> None:
        """What has changed lately is written down."""
        for writing in (self._sts.stop(), self._file.stop(), self._reports.stop()):
            if writing is not None:
                await writing

    def failed(self, domain: str, why: str, result: str) -> None:
        """A domain's MTA-STS policy could not be had; see L{StsPolicies}."""
        self._report.happened(PolicyFailed(domain, why))
        if domain:
            self._reports.noPolicy(domain, result, why)

    # --- IPolicies

    def policy(self, domain: str) -> Deferred[StsPolicy | None]:
        """See L{IPolicies.policy}."""
        return self._sts.policy(domain)

    def known(self, domain: str) -> StsPolicy | None:
        """See L{IPolicies.known}."""
        known = self._sts.known(domain)
        return known[0] if known is not None else None

    def again(self, domain: str) -> None:
        """See L{IPolicies.again}."""
        self._sts.again(domain)

    def remembers(self, domain: str, host: str) -> bool:
        """See L{IPolicies.remembers}."""
        return self._memory.seen(domain, host, self._wallTime()) > 0.0

    def met(self, encounter: Encounter) -> None:
        """See L{IPolicies.met}."""
        self._reports.met(encounter)
        target, facts = encounter.target, encounter.facts
        domain = target.wishes.domain
        if facts is not None and facts.tls is not None:
            if self._memory.saw(domain, serviceOf(target.known.host, target.key.port), self._wallTime()):
                self._file.changed()
        elif encounter.problem:
            grounds = "; ".join(map(str, target.policy.grounds))
            self._report.happened(TlsRefused(domain, target.label, str(target.policy), encounter.problem, grounds))

    def forget(self, domain: str) -> int:
        """See L{IPolicies.forget}."""
        count = self._memory.forget(domain)
        if count:
            self._file.changed()
        return count

    def show(self, domain: str) -> Sequence[Mapping[str, object]]:
        """See L{IPolicies.show}."""
        rows: list[Mapping[str, object]] = []
        known = self._sts.known(domain)
        if known is not None:
            policy, until = known
            rows.append({"what": "mta-sts", "mode": policy.mode.value, "mx": list(policy.mx), "until": round(until)})
        for host, last in self._memory.hosts(domain, self._wallTime()).items():
            rows.append({"what": "memory", "host": host, "seen": round(last), "until": round(last + LIFETIME)})
        return rows
