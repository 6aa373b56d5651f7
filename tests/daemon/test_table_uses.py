"""Every place where the language takes a table, with a table of every backend."""

from __future__ import annotations

import os
import sqlite3
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pysmtpd.model.events import ConnectionOpened
from pysmtpd.platform.disk import RealDisk
from pysmtpd.table.dbfile import MapWriter
from pysmtpd.testing.world import World
from tests.daemon.dialling import call
from tests.daemon.story import StoryTestCase
from tests.daemon.waiting import Waiter

# In the order of the configuration: what each is asked for, and its entries.
TABLES: Mapping[str, tuple[tuple[str, ...], Mapping[str, str]]] = {
    "hosts": (("relayhost",), {"smtp://mx.hosts.test": ""}),
    "routes": (("relayhost",), {"two.test": "smtp://mx.two.test"}),
    "sources": (("source",), {"192.0.2.26": ""}),
    "names": (("addrname",), {"192.0.2.26": "b.example.org", "192.0.2.25": "a.example.org"}),
    "secrets": (("credentials",), {"me": "user:pass"}),
    "people": (("credentials",), {"joe": "{PLAIN}secret"}),
    "allowed": (("mailaddrmap",), {"joe": "joe@example.org"}),
    "base": (("userinfo",), {"virt": "5000:5000:/srv/virt"}),
    "others": (("alias",), {"staff": "virt"}),
    "virtuals": (("alias",), {"@virtual.test": "virt"}),
    "domains": (("domain",), {"local.test": ""}),
    "aliased": (("domain",), {"aliased.test": ""}),
    "networks": (("netaddr",), {"198.51.100.0/24": ""}),
    "writers": (("mailaddr",), {"@writer.test": ""}),
    "wanted": (("mailaddr",), {"ann@wanted.test": ""}),
    "greeted": (("domain",), {"*.greeting.test": ""}),
    "called": (("domain",), {"*.called.test": ""}),
    "labels": (("string",), {"users": ""}),
    "members": (("string", "mailaddr"), {"joe": ""}),
    "patterns": (("regex",), {"^x[0-9]+\\.test$": ""}),
    "clients": (("netaddr",), {"198.51.100.9": ""}),
}
RULES = """
listen on 0.0.0.0 port 25 hostnames <names>
listen on 0.0.0.0 port 587 auth <people> auth-without-tls senders <allowed> tag "users"
listen on 0.0.0.0 port 26 xclient <clients>
listen on 0.0.0.0 port 27 proxy from <clients>
action "hosts" relay host <hosts>
action "routes" relay domain <routes>
action "sourced" relay src <sources> helo-src <names>
action "authed" relay host "smtp+tls://me@mx.authed.test" auth <secrets> tls no-verify
action "base" maildir "/srv/mail/%{dest.user}" userbase <base>
action "aliased" maildir "/srv/mail/%{dest.user}" userbase <base> alias <others>
action "virtual" maildir "/srv/mail/%{dest.user}" userbase <base> virtual <virtuals>
match from any for domain <domains> action "base"
match from any for domain <aliased> action "aliased"
match from any for domain "virtual.test" action "virtual"
match from any for domain "two.test" action "routes"
match from any for domain "sourced.test" action "sourced"
match from any for domain "authed.test" action "authed"
match from src <networks> for domain "src.test" action "hosts"
match from rdns <called> for domain "rdns.test" action "hosts"
match from any mail-from <writers> for domain "from.test" action "hosts"
match from any for rcpt-to <wanted> action "hosts"
match from any helo <greeted> for domain "helo.test" action "hosts"
match from any tag <labels> for domain "tag.test" action "hosts"
match from any auth <members> for domain "auth.test" action "hosts"
match from any for domain regex <patterns> action "hosts"
match from any for any reject
"""
QUERIES = {"source": "fetch_source", "relayhost": "fetch_relayhost"}
LISTED = ("domain", "netaddr", "mailaddr", "string", "regex")


class UseTestCase(StoryTestCase):
    def octets(self, write: Any) -> bytes:
        """What is in a file that is made on a real disk."""
        path = os.path.abspath(self.mktemp())
        write(path)
        return Path(path).read_bytes()

    def declared(self, backend: str) -> tuple[str, dict[str, bytes]]:
        """The declarations of all tables, and their files."""
        text, files = "", dict[str, bytes]()
        for name, (services, entries) in TABLES.items():
            path = f"/etc/pysmtpd/{name}"
            if backend == "inline":
                pairs = [f'"{key}" = "{value}"' if value else f'"{key}"' for key, value in entries.items()]
                text += f"table {name} {{ {', '.join(pairs)} }}\n"
                continue
            text += f"table {name} {backend}:{path}\n"
            if backend == "file":
                lines = [f'"{key}"\t{value}' if value else key for key, value in entries.items()]
                isMap = any(entries.values())
                files[path] = "\n".join([*(() if isMap else ("# @list",)), *lines, ""]).encode()
            elif backend == "db":
                files[path] = self.octets(lambda path, entries=entries: self.writeMap(path, entries))
            else:
                files[f"{path}.sqlite"] = self.octets(lambda path, entries=entries: self.writeDatabase(path, entries))
                said = [f"dbpath {path}.sqlite"]
                for service in services:
                    if service in LISTED:
                        said.append(f"query_{service} SELECT key FROM entry")
                    elif any(entries.values()):
                        said.append(f"query_{service} SELECT value FROM entry WHERE key = ?")
                    else:
                        said.append(f"{QUERIES[service]} SELECT key FROM entry")
                files[path] = "\n".join([*said, ""]).encode()
        return text, files

    def writeMap(self, path: str, entries: Mapping[str, str]) -> None:
        writer = MapWriter(RealDisk(), path)
        writer.add([(key, value, line) for line, (key, value) in enumerate(entries.items(), 1)])
        writer.finish()

    def writeDatabase(self, path: str, entries: Mapping[str, str]) -> None:
        database = sqlite3.connect(path)
        database.execute("CREATE TABLE entry (key TEXT, value TEXT)")
        database.executemany("INSERT INTO entry VALUES (?, ?)", entries.items())
        database.commit()
        database.close()

    def rcpt(self, world: World, recipient: str, source: str = "192.0.2.77", **said: Any) -> str:
        lines = [f"EHLO {said.get('helo', 'c.test')}"]
        if said.get("user"):
            lines.append("AUTH PLAIN " + b64encode(b"\0joe\0secret").decode())
        lines += [f"MAIL FROM:<{said.get('sender', 'a@c.test')}>", f"RCPT TO:<{recipient}>"]
        return call(world, lines, source, said.get("port", 25))[-1][:3]


class UseTests(UseTestCase):
    def story(self, backend: str) -> None:
        declared, files = self.declared(backend)
        addresses = ("192.0.2.25", "192.0.2.26")
        # They become one user, which is not ours.
        world = self.begin(declared + RULES, files=files, addresses=addresses, hostname="mx.example.org")
        world.dns.ptr("203.0.113.200", "c.called.test")
        world.dns.addresses("c.called.test", "203.0.113.200")
        self.assertEqual(Waiter(world).replies[0].split()[1], "a.example.org", "hostnames")
        tries: tuple[tuple[str, str, dict[str, Any] | None, dict[str, Any] | None], ...] = (
            ("domain", "virt@local.test", {}, None),
            ("userbase", "nobody@local.test", None, {}),
            ("alias", "staff@aliased.test", {}, None),
            ("virtual", "who@virtual.test", {}, None),
            ("src", "x@src.test", {"source": "198.51.100.7"}, {}),
            ("rdns", "x@rdns.test", {"source": "203.0.113.200"}, {}),
            ("mail-from", "x@from.test", {"sender": "ann@writer.test"}, {}),
            ("rcpt-to", "ann@wanted.test", {}, None),
            ("rcpt-to", "ben@wanted.test", None, {}),
            ("helo", "x@helo.test", {"helo": "c.greeting.test"}, {}),
            ("tag", "x@tag.test", {"port": 587, "user": "joe", "sender": "joe@example.org"}, {}),
            ("auth", "x@auth.test", {"port": 587, "user": "joe", "sender": "joe@example.org"}, {}),
            ("senders", "x@auth.test", None, {"port": 587, "user": "joe", "sender": "ann@example.org"}),
            ("regex", "a@x77.test", {}, None),
            ("regex", "a@x7y.test", None, {}),
        )
        for what, recipient, right, wrong in tries:
            if right is not None:
                self.assertEqual(self.rcpt(world, recipient, **right), "250", f"{backend}: {what}")
            if wrong is not None:
                self.assertIn(self.rcpt(world, recipient, **wrong)[0], "5", f"{backend}: {what}")
        self.assertIn("XCLIENT", self.offers(world, "198.51.100.9", 26), "xclient")
        self.assertNotIn("XCLIENT", self.offers(world, "198.51.100.10", 26), "xclient")
        told = call(world, ["PROXY TCP4 203.0.113.200 192.0.2.25 5 25"], "198.51.100.9", 27)
        self.assertEqual(told, [], "proxy: greeted after its header")
        self.relays(world, backend)

    def offers(self, world: World, source: str, port: int) -> str:
        waiter: Any = Waiter(world, source, port)
        lines: list[bytes] = []
        waiter.dataReceived = lines.append
        waiter.transport.write(b"EHLO c.test\r\n")
        world.run(1)
        waiter.hangUp()
        return b"".join(lines).decode()

    def relays(self, world: World, backend: str) -> None:
        hosts, two = world.remote("mx.hosts.test"), world.remote("mx.two.test")
        sourced = self.remote(world, "sourced.test")
        authed = world.remote("mx.authed.test", starttls=True, extensions=("PIPELINING", "AUTH PLAIN"))
        authed.reject("AUTH", "235 2.7.0 ok")
        self.accepted(world, "ann@wanted.test", "x@two.test", "x@sourced.test", "x@authed.test")
        world.until(lambda: all(each.messages for each in (hosts, two, sourced, authed)), 60, f"{backend}: all arrive")
        hellos = [line for _, way, line in sourced.transcript if line.startswith("EHLO")]
        self.assertEqual(hellos, ["EHLO b.example.org"], "helo-src")
        sources = {event.host: event.source for event in world.eventsOf(ConnectionOpened)}
        self.assertIn("192.0.2.26", sources.values(), "src")
        said = [line for _, _, line in authed.transcript if line.startswith("AUTH")]
        self.assertEqual(said, ["AUTH PLAIN " + b64encode(b"\0user\0pass").decode()], "credentials")

    def test_inline(self) -> None:
        self.story("inline")

    def test_file(self) -> None:
        self.story("file")

    def test_db(self) -> None:
        self.story("db")

    def test_sqlite(self) -> None:
        self.story("sqlite")
