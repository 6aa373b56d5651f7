"""Relays in a whole daemon: options by table, what binds them now, what an operator may do about it, and what is told of attempts."""

from __future__ import annotations

import json
from typing import Any

from pysmtpd.control import render, routetext
from pysmtpd.control.amp import AMP_COMMANDS
from pysmtpd.model.date import formatDate
from pysmtpd.model.events import ConnectionOpened, DeliveryAttempted
from pysmtpd.mta import probe
from pysmtpd.testing.internet import Condition
from pysmtpd.testing.world import World
from tests.daemon.story import StoryTestCase, rules


class OptionTests(StoryTestCase):
    def test_hostTable(self) -> None:
        config = rules("table hosts file:/etc/pysmtpd/hosts", "host <hosts>")
        files = {"/etc/pysmtpd/hosts": b"# @list\nsmtp://one.test\nsmtp://two.test:2525\n"}
        world = self.begin(config, files=files)
        one, two = world.remote("one.test"), world.remote("two.test", port=2525)
        for _ in range(4):
            self.accepted(world, "joe@remote.test")
        self.finish(world)
        self.assertEqual((len(one.messages), len(two.messages)), (2, 2))

    def test_domainTable(self) -> None:
        config = rules("table map file:/etc/pysmtpd/map", "domain <map>")
        files = {"/etc/pysmtpd/map": b"one.test smtp://mx.one.test\ntwo.test smtp://mx.two.test\n"}
        world = self.begin(config, files=files)
        one, two = world.remote("mx.one.test"), world.remote("mx.two.test")
        self.accepted(world, "joe@one.test", "joe@two.test", "joe@three.test")
        world.run(10)
        self.assertEqual((one.recipients, two.recipients), (["joe@one.test"], ["joe@two.test"]))
        (row,) = self.operator(world).queue()
        self.assertEqual(row["last_reply"], "451 4.3.5 Table map has no relay for three.test")

    def test_sources(self) -> None:
        """One that this machine has not is left out, and shown."""
        config = rules(
            'table names { "192.0.2.26" = "b.example.org" }',
            "src { 192.0.2.99, 192.0.2.25, 192.0.2.26 } helo-src <names>",
        )
        world = self.begin(config, addresses=("192.0.2.25", "192.0.2.26"))
        remote = self.remote(world)
        remote.extensions = ("PIPELINING",)
        skipped: list[str] = []
        for _ in range(6):
            self.accepted(world, "joe@remote.test")
            world.run(5)
            (row,) = self.operator(world).rows("Relays")
            skipped += row["sources_skipped"]
            world.run(60)
        self.assertEqual(set(skipped), {"192.0.2.99: Cannot assign requested address"})
        self.finish(world)
        opened = [event.source for event in world.eventsOf(ConnectionOpened)]
        self.assertEqual(set(opened), {"192.0.2.25", "192.0.2.26"})
        hellos = [line for _, way, line in remote.transcript if "EHLO" in line]
        self.assertTrue(any("b.example.org" in line for line in hellos))
        self.assertTrue(any("mail.example.org" in line for line in hellos))

    def test_backup(self) -> None:
        """A backup MX keeps mail for the better host, and never passes it on to a worse one."""
        world = self.begin(rules(relay="backup mx spare.test"))
        main, worse = world.remote("main.test"), world.remote("worse.test")
        world.dns.addresses("spare.test", "192.0.2.77")
        world.dns.mx("remote.test", (10, "main.test"), (20, "spare.test"), (30, "worse.test"))
        main.set(Condition.REFUSING)
        self.accepted(world, "joe@remote.test")
        world.run(3600)
        self.assertEqual(worse.connections, 0)
        main.set(Condition.NORMAL)
        self.finish(world, "delivered", seconds=3 * 3600)

    def test_mailThatWaitedForAHostFollowsTheFirst(self) -> None:
        world = self.begin(rules("mta max-deferred 50"))
        remote = self.remote(world).set(Condition.REFUSING)
        for number in range(10):
            self.accepted(world, f"joe{number}@remote.test")
        world.run(1800)
        remote.set(Condition.NORMAL)
        world.until(lambda: remote.messages, 7200)
        world.run(30)
        self.assertEqual(len(remote.recipients), 10, "all of them at once")
        self.finish(world)


class ShownTests(StoryTestCase):
    def bound(self, world: World, what: str, name: str = "") -> dict[str, Any]:
        """The constraint of the one that is shown, or of that which begins so."""
        rows = [row for row in self.operator(world).rows(what) if not name or str(row).find(name) >= 0]
        (row,) = rows
        found: dict[str, Any] = row["constraint"]
        return found

    def test_nothingToSend(self) -> None:
        world = self.begin()
        self.remote(world)
        self.accepted(world, "joe@remote.test")
        world.run(5)
        for what in ("Relays", "Routes", "Hosts", "Connections"):
            self.assertEqual(self.bound(world, what)["kind"], "nothing to send", what)
        (relay,) = self.operator(world).rows("Relays")
        self.assertEqual((relay["state"], relay["hosts"]), ("idle", ["mx.remote.test [203.0.113.1]"]))

    def test_concurrency(self) -> None:
        world = self.begin(rules("mta limit max-conn-per-host 2 max-conn-per-route 5"))
        remote = self.remote(world).slow(5)
        for _ in range(20):
            world.send("jane@client.test", "joe@remote.test")
        world.until(lambda: remote.open == 2, 60)
        world.run(30)
        for what in ("Relays", "Routes", "Hosts"):
            bound = self.bound(world, what)
            self.assertEqual((bound["kind"], bound["text"]), ("concurrency", "max-conn-per-host 2"), what)
        rows = self.operator(world).rows("Connections")
        self.assertEqual([row["host"] for row in rows], ["mx.remote.test [203.0.113.1]"] * 2)
        self.assertTrue(all(row["message"] and row["constraint"]["text"].startswith("waits for ") for row in rows))

    def test_limitOfADomain(self) -> None:
        world = self.begin(rules("mta limit for domain remote.test max-conn-per-domain 1"))
        remote = self.remote(world).slow(5)
        for _ in range(5):
            world.send("jane@client.test", "joe@remote.test")
        world.run(40)
        self.assertEqual(self.bound(world, "Relays")["text"], "max-conn-per-domain 1")
        self.finish(world, seconds=600)
        self.assertEqual((remote.mostOpen, len(remote.messages)), (1, 5))

    def test_rate(self) -> None:
        world = self.begin(rules("mta limit conn-delay-route 60s session-mail-max 1"))
        self.remote(world)
        for _ in range(3):
            self.accepted(world, "joe@remote.test")
        world.run(5)
        bound = self.bound(world, "Relays")
        self.assertEqual((bound["kind"], bound["text"]), ("rate", "conn-delay-route"))
        self.assertGreater(bound["until"], world.platform.wallTime())
        self.finish(world, seconds=300)

    def test_backOff(self) -> None:
        world = self.begin()
        remote = self.remote(world).set(Condition.REFUSING)
        self.accepted(world, "joe@remote.test")
        world.run(5)
        for what in ("Relays", "Routes", "Hosts"):
            bound = self.bound(world, what)
            self.assertEqual(bound["kind"], "back-off", what)
            self.assertIn("refused", bound["text"])
            self.assertGreater(bound["until"], world.platform.wallTime())
        operator = self.operator(world)
        (route,) = operator.rows("Routes")
        self.assertEqual((route["state"], route["failures"]), ("broken", 1))
        self.assertGreater(route["next_try"], world.platform.wallTime())
        remote.set(Condition.NORMAL)
        self.assertEqual(operator.ask("Forgive", host="elsewhere.test"), {"count": 0})
        self.assertEqual(operator.ask("Forgive", host="mx.remote.test"), {"count": 1})
        self.accepted(world, "ann@remote.test")
        world.run(2)
        self.assertEqual(sorted(remote.recipients), ["ann@remote.test", "joe@remote.test"])

    def test_whatIsDownIsShownAsLongAsItIs(self) -> None:
        """Much else has happened since, and nobody has asked for its hosts."""
        world = self.begin()
        self.remote(world).set(Condition.REFUSING)
        self.remote(world, "other.test")
        self.accepted(world, "joe@remote.test")
        world.run(1800)
        for _ in range(3):
            self.accepted(world, "joe@other.test")
            world.run(60)
        (row,) = [row for row in self.operator(world).rows("Relays") if row["relay"] == "remote.test"]
        self.assertEqual((row["state"], row["constraint"]["kind"]), ("down", "back-off"))
        text = "mx.remote.test [203.0.113.1]: 451 4.4.1 Connection was refused by other side"
        self.assertEqual(row["constraint"]["text"], text)
        self.assertEqual(row["next_try"], row["constraint"]["until"])
        (host,) = [row for row in self.operator(world).rows("Hosts") if row["name"] == "mx.remote.test"]
        self.assertLess(abs(row["next_try"] - host["next_try"]), 1)

    def test_askedForPatience(self) -> None:
        world = self.begin(rules("mta limit session-mail-max 1"))
        self.remote(world).tempfail("BODY", 1, "421 4.7.0 slow down")
        self.accepted(world, "joe@remote.test")
        world.run(1)
        self.accepted(world, "ann@remote.test")
        self.accepted(world, "bob@remote.test")
        bound = self.bound(world, "Relays")
        self.assertEqual((bound["kind"], bound["text"]), ("back-off", "mx.remote.test said: 421 4.7.0 slow down"))
        (host,) = self.operator(world).rows("Hosts")
        self.assertEqual(host["asked_for_patience"], "421 4.7.0 slow down")
        self.assertEqual(self.operator(world).ask("Forgive", host="mx.remote.test"), {"count": 1})
        self.assertEqual(self.operator(world).rows("Limits"), [])

    def test_dns(self) -> None:
        world = self.begin(rules('resolver "192.0.2.53"'))
        world.dns.silence("remote.test")
        self.accepted(world, "joe@remote.test")
        self.assertEqual(self.bound(world, "Relays")["kind"], "DNS")
        world.run(300)
        (row,) = self.operator(world).rows("Relays")
        self.assertIn("no answer in time", row["error"])

    def test_tlsPolicy(self) -> None:
        world = self.begin(rules(relay="tls"))
        self.remote(world)
        self.accepted(world, "joe@remote.test")
        world.run(2)
        for what in ("Relays", "Routes"):
            bound = self.bound(world, what)
            self.assertEqual(bound["kind"], "TLS policy", what)
            self.assertIn("TLS is required", bound["text"])
        for what in ("Relays", "Routes", "Hosts", "HostStats"):
            (row,) = self.operator(world).rows(what)
            self.assertLess(abs(row["penalty"] - (row["next_try"] - world.platform.wallTime())), 1, what)
            self.assertGreater(row["penalty"], 0, what)
            self.assertEqual(row.get("failures", 1), 1, what)

    def test_eachHasItsFields(self) -> None:
        """State, error, penalty, next try and constraint, for programs and for people, whatever has happened."""
        world = self.begin(rules("mta limit conn-delay-route 60s session-mail-max 1"))
        remote = self.remote(world).tempfail("RCPT", 1, "450 4.2.1 busy")
        fields = {"state", "error", "penalty", "next_try", "constraint"}
        texts = {
            "Relays": routetext.relay,
            "Routes": routetext.route,
            "Hosts": routetext.host,
            "HostStats": routetext.hostStat,
            "Connections": routetext.connection,
        }

        def look() -> dict[str, dict[str, Any]]:
            found = {}
            for what, text in texts.items():
                for row in self.operator(world).rows(what):
                    self.assertLessEqual(fields, set(row), what)
                    shown = text(row, world.platform.wallTime())
                    self.assertIn(row["error"], shown)
                    self.assertIn(row["state"], shown)
                    self.assertEqual("next try in" in shown or ", for " in shown, bool(row["next_try"]), shown)
                    found[what] = row
            return found

        for name in ("joe", "ann"):
            self.accepted(world, f"{name}@remote.test")
        world.run(5)
        found = look()
        for what in ("Relays", "Routes", "Hosts", "HostStats"):
            bound = found[what]["constraint"]
            self.assertEqual((bound["kind"], found[what]["next_try"]), ("rate", bound["until"]), what)
        remote.set(Condition.REFUSING)
        remote.crash()
        operator = self.operator(world)
        world.until(lambda: operator.rows("Relays")[0]["state"] == "down", 300, "the host is down")
        operator.ask("Pause", part="mta")
        found = look()
        for what in ("Relays", "Routes", "Hosts", "HostStats"):
            row = found[what]
            self.assertEqual(row["constraint"]["kind"], "suspended" if what != "Hosts" else "back-off", what)
            self.assertIn("No answer" if what != "HostStats" else "451 4.4.1", row["error"], what)
            self.assertLess(abs(row["penalty"] - (row["next_try"] - world.platform.wallTime())), 1, what)

    def test_whatAConnectionHasBeenTold(self) -> None:
        world = self.begin()
        remote = self.remote(world).tempfail("RCPT", 1, "450 4.2.1 busy")

        def error() -> str:
            (row,) = self.operator(world).rows("Connections")
            text = routetext.connection(row, world.platform.wallTime())
            self.assertEqual(f"last error: {row['error']}" in text, bool(row["error"]))
            return str(row["error"])

        self.accepted(world, "joe@remote.test")
        world.run(1)
        self.assertEqual(error(), "450 4.2.1 busy")
        self.accepted(world, "ann@remote.test")
        world.run(1)
        self.assertEqual((error(), remote.recipients), ("", ["ann@remote.test"]))

    def test_whyAConnectionIsTried(self) -> None:
        """The one that finds out whether a host is well again has what was wrong with it."""
        world = self.begin()
        remote = self.remote(world).set(Condition.REFUSING)
        self.accepted(world, "joe@remote.test")
        world.run(5)
        remote.set(Condition.SILENT)
        world.until(lambda: bool(self.operator(world).rows("Connections")), 3600)
        (row,) = self.operator(world).rows("Connections")
        error = "451 4.4.1 Connection was refused by other side"
        self.assertEqual((row["state"], row["error"], row["penalty"]), ("connecting", error, 0.0))

    def test_aProbeIsShown(self) -> None:
        """Like any connection, though it is of no route."""
        world = self.begin()
        self.remote(world).slow(5)
        visitor = self.operator(world).protocol
        answers: list[Any] = []
        visitor.callRemote(AMP_COMMANDS["Probe"], destination="remote.test", cursor="").addBoth(answers.append)
        world.run(3)
        (row,) = self.operator(world).rows("Connections")
        self.assertEqual((row["state"], row["error"], row["penalty"], row["next_try"]), ("greeting", "", 0.0, 0.0))
        world.run(30)
        self.assertEqual(json.loads(answers[0]["data"])["hosts"][0]["result"], "ok")

    def test_suspended(self) -> None:
        world = self.begin()
        self.remote(world)
        self.accepted(world, "joe@remote.test")
        world.run(2)
        operator = self.operator(world)
        operator.ask("Pause", part="mta")
        self.assertEqual(self.bound(world, "Relays"), {"kind": "suspended", "text": "the mta is paused", "until": 0.0})

    def test_hostStats(self) -> None:
        world = self.begin()
        self.remote(world).tempfail("RCPT", 1, "451 4.7.1 greylisted")
        self.accepted(world, "joe@Remote.test")
        world.run(2)
        (row,) = self.operator(world).rows("HostStats")
        self.assertEqual((row["domain"], row["status"], row["delivered"]), ("remote.test", "451 4.7.1 greylisted", 0))
        self.assertEqual((row["state"], row["constraint"]["kind"]), ("waiting", "nothing to send"))
        world.remotes["mx.remote.test"].set(Condition.REFUSING)
        world.run(900)
        (row,) = self.operator(world).rows("HostStats")
        (relay,) = self.operator(world).rows("Relays")
        self.assertEqual((row["deferred"], row["state"]), (1, "down"))
        self.assertEqual(row["constraint"]["kind"], "back-off")
        self.assertEqual(row["constraint"]["text"], relay["constraint"]["text"])
        # Seconds since 1970, made of those of another clock: equal but for the last digits.
        self.assertAlmostEqual(row["constraint"]["until"], relay["constraint"]["until"], 3)
        self.assertAlmostEqual(row["next_try"], relay["next_try"], 3)
        self.assertLess(abs(relay["penalty"] - (relay["next_try"] - world.platform.wallTime())), 1)

    def test_hostStatsOutliveTheRelay(self) -> None:
        world = self.begin()
        self.remote(world)
        self.accepted(world, "joe@remote.test")
        world.run(600)
        self.assertEqual(self.operator(world).rows("Relays"), [])
        (row,) = self.operator(world).rows("HostStats")
        self.assertEqual((row["delivered"], row["state"], row["next_try"]), (1, "idle", 0.0))

    def test_aSourceOfTheWrongFamily(self) -> None:
        """It is skipped, and shown, though another one could be used, and is used last."""
        config = rules(relay="src { 2001:db8::25, 192.0.2.25 }")
        world = self.begin(config, addresses=("192.0.2.25", "2001:db8::25"))
        remote = self.remote(world)
        skipped = []
        for _ in range(3):
            self.accepted(world, "joe@remote.test")
            world.run(1)
            (row,) = self.operator(world).rows("Relays")
            skipped.append(row["sources_skipped"])
        self.assertEqual(skipped[1:], [["2001:db8::25: no host is of its family"]] * 2)
        self.assertEqual(len(remote.messages), 3)

    def test_allSourcesThatAreSkipped(self) -> None:
        """Each with its own reason, whosever turn it is; and only where they are asked for."""
        config = """
listen on 0.0.0.0
action "three" relay src { 2001:db8::25, 192.0.2.99, 192.0.2.25 }
action "one" relay src { 192.0.2.25 }
match from any for domain "remote.test" action "three"
match from any for domain "other.test" action "one"
"""
        world = self.begin(config, addresses=("192.0.2.25", "2001:db8::25"))
        remote, other = self.remote(world), self.remote(world, "other.test")
        for _ in range(3):
            self.accepted(world, "joe@remote.test")
            world.run(1)
        self.accepted(world, "joe@other.test")
        world.run(1)
        skipped = {
            row["relay"].split()[0]: sorted(row["sources_skipped"]) for row in self.operator(world).rows("Relays")
        }
        wanted = ["192.0.2.99: Cannot assign requested address", "2001:db8::25: no host is of its family"]
        self.assertEqual(skipped, {"remote.test": wanted, "other.test": []})
        self.assertEqual((len(remote.messages), len(other.messages)), (3, 1))
        self.operator(world).ask("Forgive", host="all")
        self.assertEqual([row["sources_skipped"] for row in self.operator(world).rows("Relays")], [[], []])


class ProbeTests(StoryTestCase):
    def probe(self, world: World, destination: str) -> dict[str, Any]:
        answer = self.operator(world).ask("Probe", destination=destination, cursor="")
        self.assertEqual(answer["cursor"], "")
        found: dict[str, Any] = json.loads(answer["data"])
        return found

    def test_aDomain(self) -> None:
        world = self.begin()
        good = world.remote("good.test", starttls=True)
        world.remote("dead.test").set(Condition.REFUSING)
        world.dns.mx("remote.test", (10, "good.test"), (20, "dead.test"))
        found = self.probe(world, "remote.test")
        one, two = found["hosts"]
        self.assertEqual((one["host"], one["result"], one["error"]), ("good.test", "ok", ""))
        self.assertTrue(one["tls"].startswith("TLSv1."))
        self.assertTrue(one["certificate"])
        self.assertIn("PIPELINING", one["extensions"])
        self.assertEqual((two["host"], two["result"]), ("dead.test", "failed"))
        self.assertIn("refused", two["error"])
        self.assertEqual((one["verdict"], two["verdict"]), ("mail goes there, under TLS", "no mail goes there"))
        world.run(5)
        self.assertEqual((good.messages, good.attempts, good.open), ([], 0, 0))
        self.assertIn("QUIT", " ".join(line for _, _, line in good.transcript))
        self.assertEqual(self.operator(world).rows("Routes"), [], "nothing is remembered")

    def test_hostsThatDnsDoesNotTell(self) -> None:
        """They are named, and the others visited; and when it is time, whatever is still asked for."""
        world = self.begin()
        world.remote("good.test")
        world.dns.mx("remote.test", (10, "good.test"), (20, "silent.test"))
        world.dns.silence("silent.test")
        late = "DNS did not tell all hosts within 0.5 seconds"
        for patience, problem in ((0.5, late), (15.0, "silent.test: 192.0.2.53: no answer in time")):
            self.patch(probe, "SEARCH_TIME", patience)
            found = self.probe(world, "remote.test")
            self.assertEqual([row["host"] for row in found["hosts"]], ["good.test"])
            self.assertEqual(found["problem"], problem)

    def test_others(self) -> None:
        world = self.begin()
        world.remote("host.test", "192.0.2.9")
        for name in ("host.test", "192.0.2.9", "smtp://host.test", "smtp+notls://[192.0.2.9]:25"):
            (row,) = self.probe(world, name)["hosts"]
            self.assertEqual(row["result"], "ok", name)
        self.assertIn("does not exist", self.probe(world, "nowhere.test")["problem"])
        with self.assertRaisesRegex(Exception, "not a protocol"):
            self.probe(world, "http://host.test")

    def test_aSilentHost(self) -> None:
        world = self.begin()
        self.remote(world).slow(3600)
        (row,) = self.probe(world, "remote.test")["hosts"]
        self.assertEqual((row["result"], row["stage"]), ("failed", "greeting"))
        world.run(60)
        self.assertEqual(self.operator(world).rows("Connections"), [])


class AttemptTests(StoryTestCase):
    def test_history(self) -> None:
        world = self.begin()
        remote = self.remote(world, starttls=True).tempfail("RCPT", 1, "451 4.7.1 greylisted")
        self.accepted(world, "joe@remote.test")
        world.run(2)
        operator = self.operator(world)
        (row,) = operator.queue()
        (attempt,) = operator.ask("Envelope", id=row["evpid"])["envelope"]["attempts"]
        self.assertEqual(
            (attempt["host"], attempt["address"], attempt["reply"], attempt["times"]),
            ("mx.remote.test [203.0.113.1]", "203.0.113.1", "451 4.7.1 greylisted", 1),
        )
        self.assertEqual(attempt["source"], world.eventsOf(DeliveryAttempted)[0].source)
        self.assertTrue(attempt["tls"].startswith("TLSv1."))
        remote.reject("RCPT", "550 5.1.1 nobody")
        before = operator.ask("Envelope", id=row["evpid"])["envelope"]["attempts"]
        world.stop()
        world.restart()
        world.run(1)
        self.assertEqual(self.operator(world).ask("Envelope", id=row["evpid"])["envelope"]["attempts"], before)

    def test_severalHostsAndSources(self) -> None:
        """One letter, tried from two addresses at two hosts, with and without TLS: all of it is shown, and told to its sender."""
        config = rules(relay="src { 192.0.2.25, 192.0.2.26 }")
        world = self.begin(config, addresses=("192.0.2.25", "192.0.2.26"))
        home = self.remote(world, "client.test")
        one, two = world.remote("one.test", starttls=True), world.remote("two.test")
        world.dns.mx("remote.test", (10, "one.test"), (20, "two.test"))
        one.tempfail("RCPT", 1, "451 4.7.1 greylisted")
        self.accepted(world, "joe@remote.test", rcptParameters=["NOTIFY=FAILURE,DELAY"])
        world.run(30)
        one.set(Condition.REFUSING)
        two.tempfail("MAIL", 2, "421 4.3.2 busy")
        world.run(900)
        two.tempfail("BODY", 2, "452 4.3.1 disk full")
        world.run(2 * 3600)
        operator = self.operator(world)
        (row,) = operator.queue()
        found = operator.ask("Envelope", id=row["evpid"])["envelope"]
        first, both, last = found["attempts"]
        self.assertEqual((first["host"], first["reply"]), ("one.test [203.0.113.2]", "451 4.7.1 greylisted"))
        self.assertTrue(first["tls"].startswith("TLSv1."))
        self.assertEqual(last["tls"], "")
        self.assertEqual({first["source"], both["source"]}, {"192.0.2.25", "192.0.2.26"})
        refused = "one.test [203.0.113.2]: 451 4.4.1 Connection was refused by other side"
        busy = "two.test [203.0.113.3]: 421 4.3.2 busy"
        sources = [f"source {each['source']}: {refused}; {busy}" for each in (first, both)]
        self.assertEqual(both["reply"], f"451 4.4.1 No host took it: {'; '.join(sources)}")
        self.assertEqual((last["times"], last["reply"]), (2, "452 4.3.1 disk full"))
        self.assertLess(last["since"], last["at"])
        text = render.detail(found, world.platform.wallTime()).splitlines()
        lines = text[text.index("attempts:") + 1 :][:3]
        self.assertIn(f" ago: one.test [203.0.113.2] from {first['source']}, TLSv1.", lines[0])
        self.assertIn(" 2 times from 2026-", lines[2])
        self.assertTrue(lines[2].endswith(f"two.test [203.0.113.3] from {last['source']}: 452 4.3.1 disk full"))
        self.assertIn("notify: FAILURE,DELAY", text)
        two.reject("RCPT", "550 5.1.1 nobody")
        world.until(lambda: home.messages, 6 * 3600)
        told = " ".join(home.messages[-1].content.decode().split())
        for said in ("451 4.7.1 greylisted", sources[0], "disk full", "two.test [203.0.113.3]: 550 5.1.1 nobody"):
            self.assertIn(said, told)

    def test_whatFailedSinceItCame(self) -> None:
        """Mail for a host that is known to be down has failed since its arrival. A restart changes nothing."""
        world = self.begin()
        home = self.remote(world, "client.test")
        self.remote(world).set(Condition.REFUSING)
        self.accepted(world, "eve@remote.test")
        world.run(5)
        for name in ("joe", "sue"):
            self.accepted(world, f"{name}@remote.test")
        world.run(7 * 3600)

        def histories() -> dict[str, dict[str, Any]]:
            operator = self.operator(world)
            found = [operator.ask("Envelope", id=row["evpid"])["envelope"] for row in operator.queue()]
            self.assertEqual([len(one["attempts"]) for one in found], [1, 1, 1])
            return {one["recipient"]: one["attempts"][0] | {"created": one["created"]} for one in found}

        before = histories()
        for one in before.values():
            self.assertGreater(one["times"], 2)
            self.assertLess(abs(one["since"] - one["created"]), 1.0)
        self.assertLess(before["eve@remote.test"]["since"] + 4, before["joe@remote.test"]["since"])
        world.stop()
        world.restart(30)
        after = histories()
        for name, one in after.items():
            self.assertEqual((one["since"], one["host"]), (before[name]["since"], before[name]["host"]))

        def ofJoe() -> list[str]:
            return [each.content.decode() for each in home.messages if b"joe@" in each.content]

        world.until(lambda: len(ofJoe()) > 1, 5 * 86_400)
        told = ofJoe()[-1]
        self.assertIn(f" times from {formatDate(after['joe@remote.test']['created'])} to ", " ".join(told.split()))

    def test_bouncesTellIt(self) -> None:
        """What was tried before the end is in the report."""
        world = self.begin()
        home = self.remote(world, "client.test")
        remote = self.remote(world).tempfail("RCPT", 2, "451 4.7.1 greylisted")
        self.accepted(world, "joe@remote.test")
        world.run(600)
        remote.reject("RCPT", "550 5.1.1 nobody")
        world.until(lambda: home.messages, 3600)
        content = home.messages[0].content.decode()
        self.assertIn("550 5.1.1 nobody", content)
        self.assertIn("mx.remote.test [203.0.113.2]: 451 4.7.1", content.replace("\r\n      ", " "))

    def test_bouncesTellTheOnlyOne(self) -> None:
        """Where the message has expired, what its one attempt met with is not what ended it: when, and where, are told all the same."""
        world = self.begin(rules("queue ttl 5m"))
        home = self.remote(world, "client.test")
        self.remote(world).reject("RCPT", "451 4.2.2 full")
        self.accepted(world, "joe@remote.test")
        world.until(lambda: home.messages, 3600)
        content = home.messages[0].content.decode()
        self.assertEqual(len([event for event in world.eventsOf(DeliveryAttempted) if "joe@" in event.to]), 1)
        self.assertIn("mx.remote.test [203.0.113.2]: 451 4.2.2 full", content.replace("\r\n      ", " "))
