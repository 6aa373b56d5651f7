"""What runs around the daemon: its logs, its process, and the service that twistd gets."""

from __future__ import annotations

import codecs
import gc
import os
import resource
import signal
import sys
from collections.abc import Callable
from typing import TextIO

import idna
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)

from pysmtpd.backends import loadTables
from pysmtpd.exitcodes import EX_PRIVILEGE
from pysmtpd.interfaces import HelperFailed, IPlatform
from pysmtpd.platform.descriptor import descriptorSink
from pysmtpd.privilege.drop import PrivilegeError
from pysmtpd.report.jsonlog import JsonLog
from pysmtpd.report.maillog import MailLog
from pysmtpd.report.writer import LogWriter
from pysmtpd.service import Daemon

# Thresholds of the three generations; Python's own are 700, 10, 10.
COLLECT = (20_000, 20, 50)


def raiseDescriptors() -> int:
    """Raise the limit of open descriptors as far as it goes.

    @return: how many this process may have open.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY else 1_048_576
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return min(wanted, 1_048_576) if soft == resource.RLIM_INFINITY else soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def loadAhead() -> None:
    """Load what is otherwise loaded when it is first needed: whom the daemon becomes may be kept out of the directories of Python and
    pysmtpd.
    """
    # Any peer may say a name that is not ASCII, and that takes a codec.
    idna.encode("b\u00fccher.example", uts46=True)
    # Connecting to an address of IPv6 takes another.
    codecs.lookup("idna")
    # A configuration that is taken later may name other tables.
    loadTables()


class Console:
    """The two logs of the daemon: facts on standard output, the daemon's own words on standard error."""

    def __init__(self, form: str, platform: IPlatform) -> None:
        self._writer = LogWriter(descriptorSink(1), platform.workers, platform.clock)
        self.mailLog = (
            None if form == "none" else (JsonLog if form == "json" else MailLog)(self._writer.write, verbose=True)
        )

    def isLost(self) -> bool:
        """Would facts be written, and nobody see them? twistd leaves a daemon that it puts into the background no standard output."""
        try:
            isNowhere = os.path.samestat(os.fstat(1), os.stat(os.devnull))
        except OSError:
            # Closed.
            isNowhere = True
        return isNowhere and self.mailLog is not None

    def setVerbose(self, verbose: bool) -> None:
        """All facts, or brief."""
        if self.mailLog is not None:
            self.mailLog.verbose = verbose

    def close(self) -> Deferred[None]:
        """Write what is left."""
        return self._writer.close()


class Whole(MultiService):
    """The daemon, and the mail log that outlives it by a moment."""

    def __init__(
        self,
        daemon: Daemon,
        close: Callable[[], Deferred[None]],
        privileged: Callable[[], None] | None,
        later: Callable[[Callable[[], None]], object],
        stopping: Callable[[], None],
    ) -> None:
        """
        @param later: has something called in the reactor's next turn; may be called by a signal's handler.
        @param stopping: tells whoever watches over us that we end on purpose.
        @param privileged: what root does before anything starts; it is not root's process any more then.
        """
        super().__init__()
        daemon.setServiceParent(self)
        self._daemon = daemon
        self._close = close
        self._privileged = privileged
        self._later = later
        self._stopping = stopping

    def privilegedStartService(self) -> None:
        """Leave root's rights behind, if there are any. twistd calls this after it has become a daemon, before the reactor runs."""
        privileged, self._privileged = self._privileged, None
        if privileged is not None:
            try:
                privileged()
            except (PrivilegeError, HelperFailed, OSError) as error:
                print(f"pysmtpd: root's rights cannot be left behind: {error}", file=sys.stderr)
                sys.exit(EX_PRIVILEGE)
        super().privilegedStartService()

    def startService(self) -> None:
        """Start the daemon, with a collector of garbage that leaves alone what was made until now.

        A session or message leaves no cycles behind (tests/listen measures it), so collections find next to nothing, and each full one
        would walk everything that was loaded at start.
        """
        if hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, self._hungUp)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*COLLECT)
        super().startService()

    def _hungUp(self, *signalled: object) -> None:
        """In the reactor's own time: a signal may come anywhere."""
        self._later(self._daemon.operator.hangUp)

    def stopService(self) -> Deferred[None]:
        """The daemon ends in order, then its log."""
        self._stopping()
        stopped: Deferred[None] = super().stopService()
        return stopped.addCallback(lambda _: self._close())


def beginLogging(stream: TextIO) -> None:
    """The daemon's own words go there."""
    levels = LogLevelFilterPredicate(LogLevel.info)
    # It tells of every pysmtpctl that comes and goes.
    levels.setLogLevelForNamespace("twisted.protocols.amp", LogLevel.warn)
    globalLogBeginner.beginLoggingTo(
        [FilteringLogObserver(textFileLogObserver(stream), [levels])], redirectStandardIO=False
    )
