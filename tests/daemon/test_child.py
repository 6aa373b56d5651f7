"""A queue that lies in another process, in a real daemon, with a scheduler whose leases end."""

from __future__ import annotations

import shutil
import smtplib
import tempfile
from typing import Any

from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from pysmtpd.config import Environment, load
from pysmtpd.control.wire import Client
from pysmtpd.interfaces import asDeferred
from pysmtpd.platform.real import RealPlatform
from pysmtpd.service import Daemon, build
from pysmtpd.settings import Settings
from tests.daemon import plugins
from tests.daemon.processes import freePort

CONFIG = """
queue backend "child:{backend}"
scheduler backend "leased:"
listen on 127.0.0.1 port {port}
action "out" relay
match from local for any action "out"
"""


class ChildTests(TestCase):
    """The plugins come from another directory on the path."""

    timeout = 60.0

    def setUp(self) -> None:
        plugins.install(self)
        self.spool = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.spool)
        self.port = freePort()

    async def start(self, backend: str) -> Daemon:
        text = CONFIG.format(backend=backend, port=self.port)
        config = load("smtpd.conf", {"smtpd.conf": text}.__getitem__, Environment("mx.example.org"))
        daemon = build(RealPlatform(reactor), config, Settings(self.spool, ("mta",)))
        daemon.startService()
        assert daemon._starting is not None
        await daemon._starting
        return daemon

    def send(self, recipient: str, content: bytes) -> None:
        with smtplib.SMTP("127.0.0.1", self.port, timeout=30) as client:
            client.sendmail("jane@example.org", [recipient], content)

    def queue(self) -> list[dict[str, Any]]:
        client = Client(f"{self.spool}/control.sock")
        rows = list(client.rows("Queue"))
        client.close()
        return rows

    async def story(self, backend: str) -> None:
        daemon = await self.start(backend)
        large = b"Subject: large\r\n\r\n" + (b"x" * 70 + b"\r\n") * 20_000
        await deferToThread(self.send, "ann@example.net", b"Subject: small\r\n\r\nHi.\r\n")
        await deferToThread(self.send, "bob@example.net", large)
        await daemon.stopService()
        daemon = await self.start(backend)
        rows = await deferToThread(self.queue)
        self.assertEqual([row["recipient"] for row in rows], ["ann@example.net", "bob@example.net"])
        self.assertEqual({row["why"] for row in rows}, {"ready, but the mta is paused"})
        body = await daemon.control.body(rows[1]["msgid"])
        content = b""
        while chunk := await asDeferred(body.read()):
            content += chunk
        body.close()
        self.assertTrue(content.endswith(large))
        self.assertEqual(await daemon.control.command("Remove")("all"), {"count": 2})
        while await deferToThread(self.queue):
            pass
        await daemon.stopService()

    async def test_sqlite(self) -> None:
        await self.story("sqlite")

    async def test_fs(self) -> None:
        await self.story("fs")
