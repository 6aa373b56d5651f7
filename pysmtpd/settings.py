"""What a daemon is told beside its configuration file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pysmtpd.interfaces import IContentCodec, IFilter, IHelper
from pysmtpd.model.config import Config
from pysmtpd.model.events import Event

# What can be paused.
PARTS = ("mta", "mda", "smtp")

# Seconds that running transactions and deliveries have to end.
GRACE = 10.0


def _noFiles(path: str) -> bytes:
    raise FileNotFoundError(f"{path} is not there")


@dataclass(frozen=True, slots=True)
class Settings:
    """What is not in the configuration file.

    @ivar spool: absolute path of the directory that holds the queue and the control socket.
    @ivar paused: parts that start paused: mta, mda, smtp.
    @ivar maxSessions: what the descriptors allow; the configuration may say less.
    @ivar connections: of the mta, in all; what 1,024 descriptors allow, unless said; 0: no bound.
    @ivar descriptors: descriptors from this number on are kept for others than sessions; 0: not watched.
    @ivar observers: who hears of every event, before anything happens.
    @ivar ended: called once the daemon has ended by itself: an operator said stop (empty text), or it cannot start (why).
    @ivar opened: called once every port is open.
    @ivar setVerbose: makes the logs verbose or brief.
    @ivar readFile: gives a certificate's or key's file; raises L{OSError}.
    @ivar hosts: text of the system's hosts file.
    @ivar filter: asked at each phase of every session.
    @ivar codec: how queued content is stored; None: as the configuration says.
    @ivar queueKey: what was read where the configuration says that the key of the queue comes from standard input.
    @ivar load: reads the configuration again, for a reload; raises L{ConfigErrors}. It runs in a lane. None: it cannot be reloaded.
    @ivar authorities: certificates in PEM form that vouch for other hosts; empty: the system's.
    @ivar helper: where the daemon was started as root; it delivers to every user then, without it to the invoking user only.
    """

    spool: str
    paused: tuple[str, ...] = ()
    maxSessions: int = 1000
    connections: int = 448
    descriptors: int = 0
    grace: float = GRACE
    observers: tuple[Callable[[float, Event], None], ...] = ()
    ended: Callable[[str], None] = lambda why: None
    opened: Callable[[], None] = lambda: None
    setVerbose: Callable[[bool], None] = lambda verbose: None
    readFile: Callable[[str], bytes] = _noFiles
    hosts: str = ""
    filter: IFilter | None = None
    codec: IContentCodec | None = None
    queueKey: str = ""
    helper: IHelper | None = None
    load: Callable[[], Config] | None = None
    authorities: bytes = b""
