"""The real platform."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from zope.interface import implementer

from pysmtpd.interfaces.platform import (
    IDisk,
    INetwork,
    IPlatform,
    IProcesses,
    IUsers,
    IWorkers,
    ResolverSettings,
)
from pysmtpd.platform.clock import MonotonicClock
from pysmtpd.platform.commands import Commands
from pysmtpd.platform.disk import RealDisk
from pysmtpd.platform.system import RealUsers, readHostname, readInterfaceAddresses, readResolverSettings
from pysmtpd.platform.workers import RealWorkers


@implementer(IProcesses)
class RealProcesses(Commands):
    """Children of this process."""

    def __init__(self, reactor: Any) -> None:
        super().__init__()
        self._reactor = reactor

    def spawn(
        self, protocol: Any, argv: Sequence[str], environment: Mapping[str, str], descriptors: Mapping[int, int | str]
    ) -> Any:
        if not os.path.isabs(argv[0]):
            raise ValueError(f"a program is named by its absolute path, not {argv[0]!r}")
        return self._reactor.spawnProcess(
            protocol, argv[0], list(argv), env=dict(environment), childFDs=dict(descriptors)
        )


@implementer(IPlatform)
class RealPlatform:
    """This machine.

    Its lanes end after the reactor has stopped, when their work is done, or does not end.
    """

    def __init__(
        self,
        reactor: Any,
        network: INetwork | None = None,
        isPrivileged: bool = False,
        workers: IWorkers | None = None,
    ) -> None:
        """
        @param network: None: the reactor's.
        @param workers: None: lanes with threads.
        """
        self.isPrivileged = isPrivileged
        self.clock = MonotonicClock(reactor)
        self.network: INetwork = reactor if network is None else network
        self.disk: IDisk = RealDisk()
        self._workers = RealWorkers(reactor)
        self.workers: IWorkers = self._workers if workers is None else workers
        self.processes: IProcesses = RealProcesses(reactor)
        self.users: IUsers = RealUsers()
        self.random = Random()  # noqa: S311 - never for secrets, as the interface says
        self.hostname = readHostname()
        reactor.addSystemEventTrigger("after", "shutdown", self.close)

    def wallTime(self) -> float:
        return time.time()

    def secret(self, size: int) -> bytes:
        return secrets.token_bytes(size)

    def resolverSettings(self) -> ResolverSettings:
        return readResolverSettings()

    def localAddresses(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(address for _, address in readInterfaceAddresses()))

    def interfaces(self) -> Mapping[str, Sequence[str]]:
        """The name of each interface, with its addresses."""
        found: dict[str, list[str]] = {}
        for name, address in readInterfaceAddresses():
            found.setdefault(name, []).append(address)
        return found

    def processId(self) -> int:
        return os.getpid()

    def close(self) -> None:
        """Wait for the lanes' work, within bounds, and end them. Blocks; may be called twice."""
        self._workers.close()
