"""Certificates that change while the daemon runs: files are read again at an interval, and taken if they are good."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from pysmtpd.interfaces import IPlatform, IReport
from pysmtpd.model.config import CaSpec, PkiSpec
from pysmtpd.model.events import CertificateKept, CertificateTaken
from pysmtpd.tls.authorities import Authorities, loadAuthorities
from pysmtpd.tls.certificates import Certificates
from pysmtpd.tls.pki import Pki, load

# Seconds between two looks. Reading a few small files is cheaper than being told of each change, and sees links that are turned.
INTERVAL = 60.0
LANE = "certificates"

ReadFile = Callable[[str], bytes]


class Renewal:
    """Watches the files of one set of certificates.

    A new pair of certificate and key is taken when both fit together; until then, and if it is bad, the old one stays, and that is told
    once for each content. Sessions that are there keep what they began with.
    """

    _log = Logger()

    def __init__(
        self, platform: IPlatform, certificates: Callable[[], Certificates], readFile: ReadFile, report: IReport
    ) -> None:
        """
        @param certificates: tells those that are in use.
        @param readFile: a whole file; raises L{OSError}. It is called in a lane.
        """
        self._platform = platform
        self._certificates = certificates
        self._readFile = readFile
        self._report = report
        self._seen: dict[tuple[str, str], bytes] = {}
        self._call: IDelayedCall | None = None
        self._isStopped = False
        self._looking: Deferred[None] | None = None

    def start(self) -> None:
        """Look again and again."""
        self._again()

    def stop(self) -> Deferred[None]:
        """Look no more."""
        self._isStopped = True
        if self._call is not None and self._call.active():
            self._call.cancel()
        return self._looking if self._looking is not None else succeed(None)

    def look(self) -> Deferred[None]:
        """Read everything now; fires when it is taken."""
        looking = self._looking = Deferred.fromCoroutine(self._look())
        return looking

    async def _look(self) -> None:
        certificates = self._certificates()
        for pki in certificates.pki.values():
            told = await self._platform.workers.run(LANE, _loadPki, pki, self._readFile)
            self._judge(certificates, "pki", pki.name, *told)
        for ca in certificates.ca.values():
            found = await self._platform.workers.run(LANE, _loadCa, ca, self._readFile)
            self._judge(certificates, "ca", ca.name, *found)

    def _judge(
        self, certificates: Certificates, kind: str, name: str, digest: bytes, loaded: Pki | Authorities
    ) -> None:
        key = (kind, name)
        known, self._seen[key] = self._seen.get(key), digest
        if known == digest or self._isStopped:
            return
        if loaded.faults:
            self._report.happened(CertificateKept(f"{kind} {name}", "; ".join(loaded.faults)))
            return
        if isinstance(loaded, Pki):
            changed = certificates.take(loaded)
        else:
            changed = certificates.takeAuthorities(loaded)
        if changed:
            self._report.happened(CertificateTaken(f"{kind} {name}"))

    def _again(self) -> None:
        if not self._isStopped:
            self._call = self._platform.clock.callLater(INTERVAL, self._due)

    def _due(self) -> None:
        certificates = self._certificates()
        if not (certificates.pki or certificates.ca):
            # A reload may bring some.
            self._again()
            return
        self.look().addErrback(self._failed).addCallback(lambda done: self._again())

    def _failed(self, failure: Failure) -> None:
        self._log.failure("while looking for new certificates", failure=failure)


def _loadPki(spec: PkiSpec, readFile: ReadFile) -> tuple[bytes, Pki]:
    """In the lane: what is in the files, and what it stands for."""
    noted = _Noting(readFile)
    pki = load(spec, noted)
    return noted.digest(), pki


def _loadCa(spec: CaSpec, readFile: ReadFile) -> tuple[bytes, Authorities]:
    noted = _Noting(readFile)
    authorities = loadAuthorities(spec, noted)
    return noted.digest(), authorities


class _Noting:
    """Reads files and remembers what they held, or why they could not be read."""

    def __init__(self, readFile: ReadFile) -> None:
        self._readFile = readFile
        self._contents = sha256()

    def __call__(self, path: str) -> bytes:
        try:
            octets = self._readFile(path)
        except OSError as error:
            self._contents.update(str(error).encode("utf-8", "replace"))
            raise
        self._contents.update(octets)
        return octets

    def digest(self) -> bytes:
        return self._contents.digest()
