"""The root helper as a real process, asked for what it may do and what it may not. None of this needs root."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.protocol import ServerFactory
from twisted.internet.testing import MemoryReactor
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.interfaces import HelperFailed
from pysmtpd.privilege import wire
from pysmtpd.privilege.client import Helper, PrivilegedNetwork


class HelperTestCase(SynchronousTestCase):
    hasIds = False

    def setUp(self) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="pysmtpd-"))
        self.addCleanup(shutil.rmtree, self.place, True)
        (self.place / "a.key").write_text("secret")
        self.reactor = MemoryReactor()
        self.helper = Helper(self.reactor)
        self.helper.start(
            [("127.0.0.1", 0), ("::1", 0), ("192.0.2.77", 25)],
            {
                ("a", "key"): str(self.place / "a.key"),
                ("gone", "key"): str(self.place / "gone.key"),
                ("odd", "key"): str(self.place),
            },
            hasIds=self.hasIds,
        )
        self.addCleanup(self._end)

    def _end(self) -> None:
        self.helper.stop()
        assert self.helper._process is not None
        self.helper._process.wait(20)

    def connection(self) -> socket.socket:
        assert self.helper._connection is not None
        return self.helper._connection

    def ask(self, **values: Any) -> str:
        """Something that must be refused; gives the reason."""
        wire.send(self.connection(), values)
        answer = wire.receive(self.connection())
        assert answer is not None
        values, descriptor = answer
        self.assertIsNone(descriptor)
        return str(values["refused"])

    def hasEnded(self) -> bool:
        assert self.helper._process is not None
        return self.helper._process.wait(20) is not None


class BindTests(HelperTestCase):
    def test_allowed(self) -> None:
        with self.helper.bind("127.0.0.1", 0) as bound:
            self.assertFalse(os.get_blocking(bound.fileno()))
            self.assertFalse(os.get_inheritable(bound.fileno()))
            with socket.create_connection(bound.getsockname()):
                connected, _ = bound.accept()
                connected.close()

    def test_unlisted(self) -> None:
        for address, port in (("127.0.0.1", 25), ("127.0.0.2", 0), ("", 0), ("localhost", 0), ("0.0.0.0", 0)):
            self.assertRaises(HelperFailed, self.helper.bind, address, port)
        self.assertIn("not in the configuration", self.ask(verb="bind", address=["127.0.0.1"], port=0))
        self.assertIn("not in the configuration", self.ask(verb="bind", address="127.0.0.1", port="0"))
        self.assertIn("not in the configuration", self.ask(verb="bind"))

    def test_theListCannotBeChanged(self) -> None:
        self.ask(verb="terms", addresses=[["127.0.0.1", 25]], files=[])
        self.ask(addresses=[["127.0.0.1", 25]], files=[])
        self.assertRaises(HelperFailed, self.helper.bind, "127.0.0.1", 25)

    def test_anAddressThatIsNotOurs(self) -> None:
        """The system's reason is told, and the helper goes on."""
        self.assertRaises(HelperFailed, self.helper.bind, "192.0.2.77", 25)
        self.helper.bind("127.0.0.1", 0).close()

    def test_network(self) -> None:
        """The daemon listens as ever; what the configuration does not name is its own business."""
        network = PrivilegedNetwork(self.reactor, self.helper)
        factory = ServerFactory()
        network.listenTCP(0, factory, backlog=1024, interface="127.0.0.1")
        network.listenTCP(9999, factory, interface="127.0.0.1")
        self.assertEqual(len(self.reactor.adoptedPorts), 1)
        self.assertEqual([server[0] for server in self.reactor.tcpServers], [9999])
        with self.assertRaises(CannotListenError) as caught:
            network.listenTCP(25, factory, interface="192.0.2.77")
        self.assertIn("192.0.2.77:25", str(caught.exception))


class FileTests(HelperTestCase):
    def test_allowed(self) -> None:
        self.assertEqual(self.helper.readFile("a", "key"), b"secret")
        (self.place / "a.key").write_text("renewed")
        self.assertEqual(self.helper.readFile("a", "key"), b"renewed")

    def test_unlisted(self) -> None:
        self.assertRaises(HelperFailed, self.helper.readFile, "a", "cert")
        self.assertRaises(HelperFailed, self.helper.readFile, "/etc/shadow", "key")
        self.ask(verb="file", name=["a"], part="key")
        self.ask(verb="file", name={"a": 1})

    def test_notThere(self) -> None:
        self.assertRaises(HelperFailed, self.helper.readFile, "gone", "key")
        self.assertRaises(HelperFailed, self.helper.readFile, "odd", "key")


class HostTests(HelperTestCase):
    def test_neverAsRoot(self) -> None:
        self.assertEqual(self.ask(verb="host", user="root"), "nothing is delivered as root")

    def test_noSuchUser(self) -> None:
        for user in ("no-such-user", "", "a\0b", "\ud800", "../x", "x" * 5000, None, 0, ["nobody"]):
            self.ask(verb="host", user=user)

    def test_onlyAUsersName(self) -> None:
        """Nothing else in a request has a meaning: neither ids nor commands."""
        for more in ({"uid": 0}, {"argv": ["/bin/sh"]}):
            self.assertEqual(self.ask(verb="host", user="no-such-user", **more), "there is no such user")

    def test_idsOnlyWithAUserbase(self) -> None:
        self.assertIn("no userbase", self.ask(verb="ids", uid=5000, gid=5000))

    def test_mailboxes(self) -> None:
        """Of users of the system, by their names."""
        self.assertEqual(self.ask(verb="mailbox", user="root"), "nothing is delivered as root")
        for user in ("no-such-user", "", "../x", None, 5000):
            self.ask(verb="mailbox", user=user)


class IdsTests(HelperTestCase):
    hasIds = True

    def test_neverAsRoot(self) -> None:
        for uid, gid in (
            (0, 5000),
            (5000, 0),
            (-1, 5000),
            (5000, -1),
            (2**32, 5000),
            (True, 5000),
            ("5000", 5000),
            (None, None),
        ):
            self.assertEqual(self.ask(verb="ids", uid=uid, gid=gid), "nothing is delivered as root")

    def test_noGroupOfTheSystem(self) -> None:
        """Such as disk or shadow."""
        for gid in (6, 42):
            self.assertIn("one of the system's", self.ask(verb="ids", uid=54321, gid=gid))


class ProtocolTests(HelperTestCase):
    def test_aClosedListOfVerbs(self) -> None:
        for verb in ("run", "Bind", "__init__", "_bind", "", None, 1, ["bind"], {"verb": "bind"}):
            self.assertEqual(self.ask(verb=verb), "there is no such verb")

    def test_rubbishEndsIt(self) -> None:
        self.connection().sendall(b"\xff" * 20)
        self.assertTrue(self.hasEnded())
        self.assertRaises(HelperFailed, self.helper.bind, "127.0.0.1", 0)
        self.assertFalse(self.helper.isAlive)

    def test_descriptorsAreNotTaken(self) -> None:
        wire.send(self.connection(), {"verb": "bind", "address": "127.0.0.1", "port": 0}, 0)
        self.assertTrue(self.hasEnded())

    def test_fuzz(self) -> None:
        """Whatever is said in well-formed frames is answered, one answer for each."""
        random = Random(1)
        words: list[Any] = [
            "verb",
            "bind",
            "file",
            "host",
            "user",
            "address",
            "port",
            "root",
            "127.0.0.1",
            25,
            None,
            -1,
        ]
        words += [[], {}, 2**70, 1.5, True, "\0", "\ud800", "pki", "part"]
        for _ in range(300):
            keys = [word for word in random.sample(words, 5) if isinstance(word, str)]
            values = {key: random.choice(words) for key in keys}
            values["verb"] = random.choice(["bind", "file", "host", values.get("verb")])
            wire.send(self.connection(), values)
            answer = wire.receive(self.connection())
            assert answer is not None
            self.assertIn("refused", answer[0], values)
            self.assertIsNone(answer[1])

    def test_endsWithTheDaemon(self) -> None:
        self.helper.stop()
        self.assertTrue(self.hasEnded())

    def test_signalsOfATerminalDoNotEndIt(self) -> None:
        """They go to every process; the daemon's deliveries are to end in order first."""
        for signal in (1, 2, 15):
            os.kill(self.helper.processId, signal)
        self.helper.bind("127.0.0.1", 0).close()

    def test_itsEndIsNoticed(self) -> None:
        os.kill(self.helper.processId, 9)
        self.assertTrue(self.hasEnded())
        (life,) = self.reactor.getReaders()
        life.doRead()
        self.assertFalse(self.helper.isAlive)
        self.assertRaises(HelperFailed, self.helper.bind, "127.0.0.1", 0)
        self.assertEqual(self.reactor.getReaders(), [])
