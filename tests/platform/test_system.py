"""What the system says of itself."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pysmtpd.interfaces.platform import IDisk, IPlatform, IUsers, IWorkers, ResolverSettings
from pysmtpd.platform.clock import MonotonicClock, useMonotonicTime
from pysmtpd.platform.real import RealPlatform
from pysmtpd.platform.system import (
    RealUsers,
    parseResolverSettings,
    readHostname,
    readInterfaceAddresses,
    readResolverSettings,
    resolveHost,
)


class HostTests(SynchronousTestCase):
    def test_known(self) -> None:
        self.assertIn("127.0.0.1", resolveHost("localhost"))

    def test_whatCannotBeAName(self) -> None:
        """None of them reaches a name server."""
        for name in ("a" * 64 + ".test", "a." * 200, "\udcff", "-ü.test", "", "a b"):
            self.assertEqual(resolveHost(name), (), name)


class FakeReactor(Clock):
    """Time, and the promise to call at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.atShutdown: list[Any] = []
        self.spawned: list[Any] = []

    def addSystemEventTrigger(self, phase: str, event: str, call: Any) -> None:
        assert (phase, event) == ("after", "shutdown")
        self.atShutdown.append(call)

    def callFromThread(self, call: Any) -> None:
        raise AssertionError("no lane has run")

    def spawnProcess(self, *args: Any, **named: Any) -> str:
        self.spawned.append((args, named))
        return "transport"


class PlatformTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.platform = RealPlatform(self.reactor)

    def test_itKeepsItsInterfaces(self) -> None:
        verifyObject(IPlatform, self.platform)
        verifyObject(IDisk, self.platform.disk)
        verifyObject(IWorkers, self.platform.workers)
        verifyObject(IUsers, self.platform.users)
        self.assertIs(self.platform.network, self.reactor)

    def test_twoClocks(self) -> None:
        with open(self.mktemp(), "w") as file:
            made = os.fstat(file.fileno()).st_mtime
        self.assertLess(abs(self.platform.wallTime() - made), 3600)
        first = self.platform.clock.seconds()
        self.assertLessEqual(first, self.platform.clock.seconds())
        called: list[int] = []
        self.platform.clock.callLater(3, called.append, 1)
        self.assertEqual(len(self.platform.clock.getDelayedCalls()), 1)
        self.reactor.advance(3)
        self.assertEqual(called, [1])

    def test_interfacesAndTheirAddresses(self) -> None:
        interfaces = self.platform.interfaces()
        self.assertIn("127.0.0.1", [address for addresses in interfaces.values() for address in addresses])
        self.assertEqual(
            sorted({address for addresses in interfaces.values() for address in addresses}),
            sorted(self.platform.localAddresses()),
        )

    def test_secretsAreAsLongAsAsked(self) -> None:
        self.assertEqual(len(self.platform.secret(33)), 33)
        self.assertNotEqual(self.platform.secret(16), self.platform.secret(16))

    def test_processesAreSpawnedAsArguments(self) -> None:
        self.assertEqual(
            self.platform.processes.spawn(None, ["/bin/cat", "a b"], {"LANG": "C"}, {0: "w", 1: "r"}), "transport"
        )
        self.assertEqual(
            self.reactor.spawned,
            [((None, "/bin/cat", ["/bin/cat", "a b"]), {"env": {"LANG": "C"}, "childFDs": {0: "w", 1: "r"}})],
        )
        self.assertRaises(ValueError, self.platform.processes.spawn, None, ["cat"], {}, {})

    def test_itsLanesEndWithTheReactor(self) -> None:
        (end,) = self.reactor.atShutdown
        end()
        end()
        self.assertEqual(self.platform.processId(), os.getpid())

    def test_monotonicTimeForTheReactorItself(self) -> None:
        useMonotonicTime(self.reactor)
        self.assertLess(abs(self.reactor.seconds() - MonotonicClock.seconds()), 60)

    def test_monotonicTimeComesTooLate(self) -> None:
        self.reactor.callLater(1, print)
        self.assertRaises(RuntimeError, useMonotonicTime, self.reactor)


class ResolverSettingsTests(SynchronousTestCase):
    def test_serversInOrder(self) -> None:
        text = "# made by hand\nsearch example.org\nnameserver 192.0.2.53\nnameserver 2001:db8::53\noptions edns0\n"
        self.assertEqual(
            parseResolverSettings(text), ResolverSettings((("192.0.2.53", 53), ("2001:db8::53", 53)), False)
        )

    def test_trust(self) -> None:
        self.assertTrue(parseResolverSettings("nameserver 192.0.2.53\noptions edns0 trust-ad").trustAD)
        self.assertTrue(parseResolverSettings("nameserver 127.0.0.53\nnameserver ::1").trustAD)
        self.assertFalse(parseResolverSettings("nameserver 127.0.0.53\nnameserver 192.0.2.53").trustAD)

    def test_nothingUsefulMeansThisMachine(self) -> None:
        expected = ResolverSettings((("127.0.0.1", 53),), True)
        for text in ("", "nameserver\n", "nameserver elsewhere\n", ";nameserver 192.0.2.1\n"):
            self.assertEqual(parseResolverSettings(text), expected)
        self.assertEqual(readResolverSettings(self.mktemp()), expected)


class SystemTests(SynchronousTestCase):
    def test_loopbackIsAmongTheAddresses(self) -> None:
        addresses = [address for _, address in readInterfaceAddresses()]
        self.assertIn("127.0.0.1", addresses)

    def test_users(self) -> None:
        users = RealUsers()
        me = users.me()
        self.assertEqual(me.uid, os.geteuid())
        root = users.byName("root")
        assert root is not None
        self.assertEqual((root.name, root.uid), ("root", 0))
        for nobody in ("no-such-user-here", "a\0b", "\udcff"):
            self.assertIsNone(users.byName(nobody))

    def test_hostname(self) -> None:
        bare = readHostname(self.mktemp())
        hosts = self.mktemp()
        with open(hosts, "w") as file:
            file.write(f"# hosts\n\n127.0.1.1 {bare}.example.org {bare}\n")
        self.assertEqual(readHostname(hosts), bare if "." in bare else f"{bare}.example.org")
