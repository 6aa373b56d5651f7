"""What a service manager hands over."""

from __future__ import annotations

import os
import socket
import tempfile
from typing import Any

from twisted.internet.protocol import ServerFactory
from twisted.internet.testing import MemoryReactor
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.platform.systemd import ActivatedNetwork, Inherited, inherited, notify, takenByTwisted


class InheritedTests(SynchronousTestCase):
    def listening(self, address: str = "127.0.0.1") -> tuple[int, int]:
        """Descriptor and port."""
        opened = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        opened.bind((address, 0))
        opened.listen()
        port: int = opened.getsockname()[1]
        return opened.detach(), port

    def test_byAddress(self) -> None:
        descriptor, port = self.listening()
        handed = Inherited([(descriptor, "smtp")])
        self.assertEqual(handed.names, [f"smtp (127.0.0.1 {port})"])
        self.assertFalse(os.get_inheritable(descriptor))
        self.assertIsNone(handed.take("127.0.0.2", port))
        self.assertIsNone(handed.take("127.0.0.1", port + 1))
        self.assertEqual(handed.take("127.0.0.1", port), descriptor)
        self.assertIsNone(handed.take("127.0.0.1", port))
        self.assertEqual(len(handed), 0)
        os.close(descriptor)

    def test_whatDoesNotListen(self) -> None:
        """It is closed."""
        for other in (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM).detach(),
            socket.socket(socket.AF_INET).detach(),
            socket.socket(socket.AF_UNIX).detach(),
        ):
            self.assertEqual(len(Inherited([(other, "dns")])), 0)
            self.assertRaises(OSError, os.fstat, other)

    def test_environment(self) -> None:
        """Only what is meant for this process; and nobody after us is told."""
        for variables in (
            {},
            {"LISTEN_FDS": "1"},
            {"LISTEN_FDS": "1", "LISTEN_PID": "77"},
            {"LISTEN_FDS": "x", "LISTEN_PID": "78"},
            {"LISTEN_FDS": "99999", "LISTEN_PID": "78"},
        ):
            environment = dict(variables, LISTEN_FDNAMES="a:b", HOME="/")
            self.assertEqual(len(inherited(environment, 78)), 0)
            self.assertEqual(environment, {"HOME": "/"})

    def test_whatTwistedFoundFirst(self) -> None:
        descriptor, port = self.listening()
        environment = {"LISTEN_FDNAMES": "smtp"}
        handed = inherited(environment, 78, [descriptor])
        self.assertEqual((handed.names, environment), ([f"smtp (127.0.0.1 {port})"], {}))
        handed.take("127.0.0.1", port)
        os.close(descriptor)
        # Nothing was handed to this process.
        self.assertEqual(takenByTwisted(), [])

    def test_network(self) -> None:
        reactor: Any = MemoryReactor()
        descriptor, port = self.listening()
        network = ActivatedNetwork(reactor, reactor, Inherited([(descriptor, "smtp")]))
        factory = ServerFactory()
        network.listenTCP(port, factory, backlog=1024, interface="127.0.0.1")
        network.listenTCP(port, factory, backlog=1024, interface="127.0.0.1")
        self.assertEqual([port[1] for port in reactor.adoptedPorts], [socket.AF_INET])
        self.assertEqual(len(reactor.tcpServers), 1)


class NotifyTests(SynchronousTestCase):
    def test_told(self) -> None:
        path = os.path.join(tempfile.mkdtemp(), "notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(path)
            manager.settimeout(5)
            notify("READY=1", path)
            self.assertEqual(manager.recv(100), b"READY=1")

    def test_nobodyListens(self) -> None:
        for path in ("", "/nowhere/notify", "@pysmtpd-test-nobody", "rubbish"):
            notify("READY=1", path)
