"""A simulated machine with one process on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

from zope.interface import implementer

from pysmtpd.interfaces.platform import IPlatform, ResolverSettings
from pysmtpd.testing import dns
from pysmtpd.testing.clock import SimulatedClock, Timeline
from pysmtpd.testing.disk import SimulatedDisk
from pysmtpd.testing.internet import Internet
from pysmtpd.testing.network import SimulatedNetwork
from pysmtpd.testing.processes import SimulatedProcesses
from pysmtpd.testing.users import SimulatedUsers
from pysmtpd.testing.workers import SimulatedWorkers

# The first second of 2026.
EPOCH = 1_767_225_600.0

HOSTNAME = "mail.example.org"
ADDRESS = "192.0.2.1"


@implementer(IPlatform)
class SimulatedPlatform:
    """Everything that is not a value, in memory, from one seed.

    After C{crash}, C{reborn} gives the machine's next process: the same disk, users and wires; a new clock, lanes and sockets.

    @ivar wallOffset: add to it to step the wall clock.
    """

    isPrivileged = False

    def __init__(
        self,
        seed: object = 0,
        *,
        internet: Internet | None = None,
        hostname: str = HOSTNAME,
        addresses: Sequence[str] = (ADDRESS,),
        disk: SimulatedDisk | None = None,
        users: SimulatedUsers | None = None,
        beside: list[SimulatedNetwork] | None = None,
        life: int = 1,
    ) -> None:
        """
        @param beside: other processes of the machine.
        @param internet: where it is; None: one of its own.
        @param life: which process of this machine it is, from 1.
        """
        self.seed = seed
        self.life = life
        self.internet = Internet(Timeline(), seed) if internet is None else internet
        self.timeline = self.internet.clock.timeline
        self.clock = SimulatedClock(self.timeline)
        self.hostname = hostname
        self.network = self.internet.host(*addresses, clock=self.clock, beside=beside)
        self.wallOffset = 0.0
        self.disk = SimulatedDisk(Random(f"{seed}/disk"), self.wallTime) if disk is None else disk
        self.disk.processId = self.processId()
        self.users = SimulatedUsers() if users is None else users
        self.workers = SimulatedWorkers(self.clock, Random(f"{seed}/workers/{life}"))
        self.processes = SimulatedProcesses(self.clock)
        self.random = Random(f"{seed}/random/{life}")
        self._secrets = Random(f"{seed}/secrets/{life}")
        self._nameServers: tuple[tuple[str, int], ...] = ((dns.ADDRESS, 53),)
        self.trustAD = True

    # --- IPlatform

    def wallTime(self) -> float:
        return EPOCH + self.timeline.now + self.wallOffset

    def secret(self, size: int) -> bytes:
        return self._secrets.randbytes(size)

    def resolverSettings(self) -> ResolverSettings:
        return ResolverSettings(self._nameServers, self.trustAD)

    def localAddresses(self) -> tuple[str, ...]:
        return ("127.0.0.1", "::1", *self.network.addresses)

    def processId(self) -> int:
        return 100 + self.life

    # --- what tests do

    def interfaces(self) -> Mapping[str, Sequence[str]]:
        """The name of each interface, with its addresses."""
        return {"lo": ("127.0.0.1", "::1"), "eth0": self.network.addresses}

    def crash(self, powerCut: bool = False) -> None:
        """The process ends at once and is told nothing: a C{kill -9}.

        @param powerCut: the whole machine went off: what was not synced may be gone, and peers learn nothing.
        """
        self.network.crash(isSilent=powerCut)
        if powerCut:
            self.disk.powerCut()
        else:
            self.disk.processEnded()

    def powerWentOff(self) -> None:
        """The disk had its power cut by itself: the rest follows."""
        self.network.crash(isSilent=True)

    def reborn(self) -> SimulatedPlatform:
        """The machine's next process, after a crash or an orderly end."""
        if not self.clock.isDead:
            self.crash()
        self.disk.powerOn()
        next = SimulatedPlatform(
            self.seed,
            internet=self.internet,
            hostname=self.hostname,
            addresses=self.network.addresses,
            disk=self.disk,
            users=self.users,
            beside=self.network.beside,
            life=self.life + 1,
        )
        next.wallOffset = self.wallOffset
        next.trustAD = self.trustAD
        next.processes.programs = self.processes.programs
        next.processes.commands = self.processes.commands
        next.processes.called = self.processes.called
        return next
