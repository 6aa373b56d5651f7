"""C{explain}: what it tells is what the daemon does."""

from __future__ import annotations

import re
import textwrap
from base64 import b64encode
from pathlib import Path
from random import Random
from typing import Any

from pysmtpd.control import supposition
from pysmtpd.control.amp import BadArgument
from pysmtpd.control.decisions import supposedOf
from pysmtpd.control.explained import explanationValues
from pysmtpd.control.tree import Tree
from pysmtpd.explaining import parser
from pysmtpd.model.decision import Decision
from pysmtpd.model.events import CommandFailed, Event
from pysmtpd.model.explanation import Supposed
from pysmtpd.testing.certificates import selfSigned
from pysmtpd.testing.world import World
from tests.daemon.dialling import call
from tests.daemon.story import StoryTestCase

CONFIG = """
table aliases { "ann" = "bob, carol@remote.test", "postmaster" = "bob" }
table people { "joe" = "{PLAIN}secret" }
listen on 0.0.0.0 port 25
listen on 0.0.0.0 port 587 auth <people> auth-without-tls tag "users"
action "local" maildir alias <aliases>
action "out" relay
action "via" relay host "smtp+tls://203.0.113.50" tls
match from any for domain "example.org" action "local"
match from any mail-from "@evil.test" for any reject
match from any for domain "backup.test" action "via"
match auth from any for any action "out"
match from local for any action "out"
"""


class ExplainTests(StoryTestCase):
    def explain(self, world: World, **supposed: Any) -> Any:
        supposed = {"sender": "jane@client.test", "peer": "198.51.100.7", **supposed}
        return self.operator(world).whole("Explain", supposed=supposed)

    def test_anAddressThatExpands(self) -> None:
        world = self.begin(CONFIG)
        world.remote("mx.remote.test", "203.0.113.9", domains=["remote.test"])
        world.user("bob")
        told = self.explain(world, recipients=["ann@example.org"])
        (recipient,) = told["recipients"]
        self.assertTrue(recipient["accepted"])
        step = recipient["decision"]["step"]
        self.assertEqual([rule["failed"] for rule in step["rules"]], [""])
        self.assertEqual([child["address"] for child in step["children"]], ["bob", "carol@remote.test"])
        rules = step["children"][1]["rules"]
        self.assertEqual(
            [rule["failed"] for rule in rules], ["for domain", "mail-from", "for domain", "auth", ""], rules
        )
        local, remote = told["envelopes"]
        self.assertEqual((local["user"], local["action"], local["delivery"]["path"]), ("bob", "local", "~/Maildir"))
        self.assertEqual(remote["delivery"]["next"], [["mx.remote.test [203.0.113.9]"]])
        self.assertEqual(remote["rule"], "/etc/pysmtpd/smtpd.conf:13")

    def test_nothingIsChanged(self) -> None:
        """No envelope, no event, no session, no table's turn."""
        world = self.begin(CONFIG)
        world.user("bob")
        before = len(world.events)
        self.explain(world, recipients=["ann@example.org"])
        self.assertEqual(world.events[before:], [])
        self.assertEqual(self.operator(world).queue(), [])
        self.assertEqual(world.service.listeners.sessions, 0)

    def test_refusalsNameTheRuleAsTheLogDoes(self) -> None:
        world = self.begin(CONFIG)
        told = self.explain(world, sender="x@evil.test", recipients=["y@other.test"])
        (recipient,) = told["recipients"]
        self.assertEqual(recipient["reply"], "550 5.7.1 Delivery not authorized (smtpd.conf:10)")
        self.assertEqual(recipient["decision"]["step"]["chosen"], "/etc/pysmtpd/smtpd.conf:10")
        call(world, ["EHLO c", "MAIL FROM:<x@evil.test>", "RCPT TO:<y@other.test>"], "198.51.100.7")
        (failed,) = world.eventsOf(CommandFailed)
        self.assertEqual((failed.result, failed.reason), (recipient["reply"], recipient["reason"]))
        self.assertIn("smtpd.conf:10", failed.reason)

    def test_theReplyNamesTheRule(self) -> None:
        """Whoever is refused can cite the rule that log and explain name."""
        world = self.begin(CONFIG)
        rows = (
            ("y@other.test", "x@evil.test", "550 5.7.1 Delivery not authorized (smtpd.conf:10)"),
            ("nobody@example.org", "x@ok.test", "550 5.1.1 Invalid recipient (smtpd.conf:9)"),
        )
        for recipient, sender, expected in rows:
            for source in ("127.0.0.1", "198.51.100.7"):
                told = self.explain(world, sender=sender, recipients=[recipient], peer=source)
                self.assertEqual(told["recipients"][0]["reply"], expected)
                world.send(sender, recipient, source=source)
                world.run(60)
                failed = [event for event in world.eventsOf(CommandFailed) if event.command.startswith("RCPT")][-1]
                self.assertEqual((failed.result, failed.reason), (expected, told["recipients"][0]["reason"]))
        told = self.explain(world, recipients=["y@other.test"], user="joe", sender="x@evil.test")
        self.assertIn("(smtpd.conf:10)", told["recipients"][0]["reply"])

    def test_refusalsBeforeTheRules(self) -> None:
        """Size, authentication: they are the listener's, and explained as well."""
        world = self.begin(CONFIG)
        told = self.explain(world, recipients=["y@other.test"], size=10**9)
        refused = [one for one in told["commands"] if one["reply"].startswith("5")]
        self.assertEqual([one["reply"][:9] for one in refused], ["552 5.3.4"])
        self.assertEqual([one["reply"] for one in told["recipients"]], [""])
        told = self.explain(world, recipients=["y@other.test"], listener="587")
        self.assertIn("530 5.7.0", told["commands"][-1]["reply"])
        told = self.explain(world, recipients=["y@other.test"], user="joe")
        self.assertEqual(told["session"]["tag"], "users")
        self.assertEqual([one["action"] for one in told["envelopes"]], ["out"])

    def test_theLocalSocket(self) -> None:
        world = self.begin(CONFIG)
        world.user("bob")
        told = self.explain(world, recipients=["y@other.test"], peer="local", user="bob")
        self.assertTrue(told["session"]["socket"])
        self.assertEqual((told["session"]["user"], told["notes"]), ("bob", []))
        self.assertTrue(told["recipients"][0]["accepted"])

    def test_tls(self) -> None:
        certificate, key = selfSigned("mail.example.org")
        world = self.begin(
            'pki p cert "/c" key "/k"\nlisten on 0.0.0.0 tls-require pki p\naction "out" relay\n'
            'match tls from any for any action "out"',
            files={"/c": certificate, "/k": key},
            settings={"readFile": {"/c": certificate, "/k": key}.__getitem__},
        )
        plain = self.explain(world, recipients=["y@other.test"])
        self.assertIn("530 5.7.0", plain["commands"][-1]["reply"])
        told = self.explain(world, recipients=["y@other.test"], tls=True)
        self.assertTrue(told["session"]["tls"])
        self.assertTrue(told["recipients"][0]["accepted"])

    def test_names(self) -> None:
        """The peer's name is asked for as a session does, or taken from the operator."""
        world = self.begin(
            'listen on 0.0.0.0\naction "out" relay\nmatch from rdns "mx.client.test" for any action "out"'
        )
        world.dns.ptr("198.51.100.7", "mx.client.test")
        world.dns.addresses("mx.client.test", "198.51.100.7")
        told = self.explain(world, recipients=["y@other.test"])
        self.assertEqual(told["session"]["rdns"], "mx.client.test")
        self.assertTrue(told["recipients"][0]["accepted"])
        told = self.explain(world, recipients=["y@other.test"], rdns="other.test")
        self.assertFalse(told["recipients"][0]["accepted"])

    def test_whatCannotBeSupposed(self) -> None:
        world = self.begin(CONFIG)
        wrong: tuple[dict[str, Any], ...] = (
            {"peer": "nobody"},
            {"listener": "26"},
            {"helo": "a\r\nb"},
            {"size": -1},
            {"size": "1"},
            {"tls": 1},
            {"colour": "red"},
            {"recipients": []},
            {"recipients": [1]},
        )
        for supposed in wrong:
            with self.assertRaises(BadArgument):
                self.explain(world, **{"recipients": ["a@b.test"], **supposed})

    def test_aLargeAnswerComesInPieces(self) -> None:
        rules = "\n".join(f'match from any for domain "d{number}.test" action "local"' for number in range(400))
        world = self.begin(CONFIG + rules)
        told = self.explain(world, recipients=["a@b.test", "c@d.test"])
        self.assertEqual([len(one["decision"]["step"]["rules"]) for one in told["recipients"]], [405, 405])

    def test_text(self) -> None:
        world = self.begin(CONFIG)
        world.remote("mx.remote.test", "203.0.113.9", domains=["remote.test"])
        world.user("bob")
        text = Tree(self.explain(world, recipients=["ann@example.org"])).text()
        self.assertIn('YES  smtpd.conf:9  match from any for domain { "example.org" } action "local"', text)
        self.assertIn("next hop   mx.remote.test [203.0.113.9]", text)
        self.assertIn("Two envelopes would be queued:", text)


class PageTests(StoryTestCase):
    """The examples of docs/explain.md are what C{explain} prints."""

    def test_examples(self) -> None:
        page = (Path(__file__).resolve().parent.parent.parent / "docs" / "explain.md").read_text()
        (config,) = re.findall(r"^```\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
        examples = re.findall(r"^    \$ pysmtpd explain (.*)\n((?:(?:    .*)?\n)+)", page, flags=re.MULTILINE)
        self.assertEqual(len(examples), 2)
        world = self.begin(config, hostname="mx.example.org")
        world.user("daemon")
        for command, printed in examples:
            options = parser().parse_args(command.split())
            asked = world.service.operator.explain(supposedOf(supposition.values(options)), asksDns=False)
            world.run(10)
            explained = self.successResultOf(asked)
            text = Tree(explanationValues(*explained)).text().replace("/etc/pysmtpd/", "")
            self.assertEqual(text.splitlines(), textwrap.dedent(printed).rstrip().splitlines())


# --- explain and live are the same

DOMAINS = ("example.org", "sub.example.org", "other.test", "remote.test", "backup.test")
LOCALS = ("ann", "bob", "bob+tag", "carol", "nobody", "postmaster", "list")
SOURCES = ("198.51.100.7", "192.0.2.77", "127.0.0.1")
SENDERS = ("jane@client.test", "", "bob@example.org", "x@evil.test", "jane+tag@client.test")
HELOS = ("client.test", "mx.other.test", "[198.51.100.7]")


def randomConfig(random: Random) -> str:
    """Tables, actions and rules by chance; all of it is accepted by the language."""

    def some(values: tuple[str, ...]) -> str:
        return "{ " + ", ".join(f'"{value}"' for value in random.sample(values, random.randint(1, 2))) + " }"

    aliases = ", ".join(
        f'"{name}" = "{random.choice(("bob", "carol", "ann@other.test", "list", "x@remote.test, bob", "error:550 gone"))}"'
        for name in random.sample(("ann", "carol", "list", "postmaster"), 3)
    )
    virtual = ", ".join(
        f'"{key}" = "{random.choice(("bob", "carol", "z@remote.test", "ann@example.org"))}"'
        for key in random.sample(("ann", "ann@other.test", "@other.test", "@", "list@example.org"), 3)
    )
    rules = []
    for _ in range(random.randint(1, 7)):
        words = ["match"]
        if random.random() < 0.3:
            words.append(random.choice(("tag users", "! tag users", "tag { users, x }")))
        words.append(
            random.choice(("from any", "from local", "from src 192.0.2.0/24", "! from src <nets>", "from auth", ""))
        )
        words.append(random.choice(("for any", "for local", f"for domain {some(DOMAINS)}", '! for domain "*.org"')))
        if random.random() < 0.3:
            words.append(random.choice(('helo "*.test"', '! helo "client.test"')))
        if random.random() < 0.2 and "from auth" not in words:
            words.append(random.choice(("auth", "! auth", 'auth "joe"')))
        if random.random() < 0.3:
            words.append(random.choice(('mail-from "@evil.test"', '! mail-from "<>"', 'mail-from "jane@client.test"')))
        if random.random() < 0.2:
            words.append(random.choice(('rcpt-to "bob@example.org"', '! rcpt-to "@other.test"')))
        words.append("reject" if random.random() < 0.2 else f"action {random.choice(('store', 'list', 'out'))}")
        rules.append(" ".join(filter(None, words)))
    return "\n".join(
        (
            f"table aliases {{ {aliases} }}",
            f"table virtuals {{ {virtual} }}",
            'table people { "joe" = "{PLAIN}secret" }',
            'table nets { "192.0.2.0/24", "127.0.0.0/8" }',
            "smtp max-message-size 1M",
            "listen on 0.0.0.0 port 25",
            f"listen on 0.0.0.0 port 587 {random.choice(('auth', 'auth-optional'))} <people> auth-without-tls tag users",
            "action store maildir alias <aliases>",
            "action list maildir virtual <virtuals>",
            "action out relay",
            *rules,
        )
    )


class SameTests(StoryTestCase):
    """For sessions under random configurations, replies and decisions are equal by value. C{python -m tests.bars} tries a thousand."""

    configurations = 12
    sessions = 12

    def test_explainIsTheLiveVerdict(self) -> None:
        random = Random(self.seed)
        kinds: dict[str, int] = {}
        for number in range(self.configurations):
            world = self.begin(randomConfig(random), seed=f"{self.seed}/{number}")
            for name in ("bob", "carol"):
                world.user(name)
            for _ in range(self.sessions):
                self.session(world, random, kinds)
            world.stop()
        # Chance has led to each kind of end.
        self.assertTrue(all(code in kinds for code in ("250", "550", "524")), kinds)

    def session(self, world: World, random: Random, kinds: dict[str, int]) -> None:
        sender, source, helo = random.choice(SENDERS), random.choice(SOURCES), random.choice(HELOS)
        recipients = tuple(f"{random.choice(LOCALS)}@{random.choice(DOMAINS)}" for _ in range(random.randint(1, 3)))
        user, port = random.choice((("", 25), ("", 587), ("joe", 587)))
        size = random.choice((0, 0, 1000, 2_000_000))
        router = world.service.router
        expand = router.expand
        decisions: list[Decision] = []

        def keep(decision: Decision) -> Decision:
            decisions.append(decision)
            return decision

        def spy(*arguments: Any) -> Any:
            decided = expand(*arguments)
            if isinstance(decided, Decision):
                return keep(decided)
            decided.addCallback(keep)
            return decided

        router.expand = spy
        lines = [f"EHLO {helo}"]
        if user:
            lines.append("AUTH PLAIN " + b64encode(b"\0joe\0secret").decode())
        lines.append(f"MAIL FROM:<{sender}>{f' SIZE={size}' if size else ''}")
        live = call(world, lines + [f"RCPT TO:<{recipient}>" for recipient in recipients], source, port)
        decidedLive, decisions[:] = list(decisions), []
        before: list[tuple[float, Event]] = list(world.events)
        explained: list[Any] = []
        supposed = Supposed(sender, recipients, source, None, helo, user, False, "", str(port), size)
        world.service.operator.explain(supposed).addBoth(explained.append)
        world.until(lambda: explained, 60, "it is explained")
        router.expand = expand
        explanation, _ = explained[0]
        self.assertEqual(world.events, before)
        said = [one.reply for one in explanation.exchanges if one.command != "DATA"]
        begun = live[len(lines) - 1].startswith("250")
        self.assertEqual(said, live if begun else [*live[: len(lines)], *[""] * len(recipients)])
        self.assertEqual([one.decision for one in explanation.exchanges if one.decision], decidedLive)
        for reply in live[len(lines) :]:
            kinds[reply[:3]] = kinds.get(reply[:3], 0) + 1
