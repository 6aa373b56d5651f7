"""C{filter} and C{proc}, as the configuration states them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from pysmtpd.model.decision import Where
from pysmtpd.model.table import NOWHERE, TableRef


@dataclass(frozen=True, slots=True)
class ProcSpec:
    """A program that filters.

    @ivar command: as it was written.
    @ivar user: who runs it; empty: the daemon's own unprivileged user.
    """

    name: str
    command: str
    user: str = ""
    group: str = ""
    chroot: str = ""
    where: Where = NOWHERE


class FilterKind(Enum):
    PROC = "proc"
    PROC_EXEC = "proc-exec"
    PHASE = "phase"
    CHAIN = "chain"


@dataclass(frozen=True, slots=True)
class FilterSpec:
    """
    @ivar proc: name of the C{proc} (its own of C{proc-exec}).
    @ivar phase: of a built-in filter, as is what follows.
    @ivar condition: fcrdns, rdns, src, helo, auth, mail-from or rcpt-to.
    @ivar decision: reject, disconnect, rewrite, report, junk or bypass.
    @ivar text: what it says or puts in place.
    @ivar members: of a chain, in order.
    """

    name: str
    kind: FilterKind
    proc: str = ""
    phase: str = ""
    condition: str = ""
    negated: bool = False
    table: TableRef | None = None
    decision: str = ""
    text: str = ""
    members: tuple[str, ...] = ()
    where: Where = NOWHERE
