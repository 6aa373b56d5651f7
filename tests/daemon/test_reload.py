"""Reloading: a new generation of the configuration, while mail flows."""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import Factory

from pysmtpd.config import Environment, load
from pysmtpd.control.amp import AMP_COMMANDS
from pysmtpd.generations import beyondHelper
from pysmtpd.model.events import (
    ConfigurationWarned,
    DeliveryAttempted,
    ListenerOpened,
    Reloaded,
    ReloadFailed,
    SessionDisconnected,
)
from pysmtpd.testing.certificates import selfSigned
from pysmtpd.testing.daemon import CONFIG_PATH
from pysmtpd.testing.internet import Condition
from pysmtpd.testing.world import World
from tests.daemon import plugins
from tests.daemon.dialling import call
from tests.daemon.story import StoryTestCase, rules
from tests.daemon.waiting import Waiter

BASE = """
table domains file:/etc/pysmtpd/domains
table nets { "198.51.100.0/24" }
listen on 0.0.0.0 port 25
action "out" relay
match from src <nets> for any action "out"
match from any for domain <domains> action "out"
"""
ENVIRONMENT = Environment("mx.example.org")
FILES = {"/etc/pysmtpd/domains": b"one.test\ntwo.test\n"}


class ReloadTestCase(StoryTestCase):
    def reload(self, world: World, config: str | None = None) -> dict[str, Any]:
        """An operator has changed the file and says C{reload}."""
        if config is not None:
            world.disk.write(CONFIG_PATH, config.encode())
        done: dict[str, Any] = self.operator(world).whole("Reload")
        return done

    def rcpt(self, world: World, address: str, source: str = "192.0.2.77", port: int = 25) -> str:
        return call(world, ["EHLO c.test", "MAIL FROM:<a@c.test>", f"RCPT TO:<{address}>"], source, port)[-1][:3]


class GenerationTests(ReloadTestCase):
    def test_rulesChange(self) -> None:
        world = self.begin(BASE, files=FILES)
        self.assertEqual(self.rcpt(world, "x@three.test"), "550")
        done = self.reload(world, BASE + 'match from any for domain "three.test" action "out"\n')
        self.assertEqual((done["errors"], done["generation"], done["changes"]), ([], 2, ["3 rules"]))
        self.assertEqual(self.rcpt(world, "x@three.test"), "250")
        (event,) = world.eventsOf(Reloaded)
        self.assertEqual((event.generation, event.changes), (2, "3 rules"))

    def test_aSessionKeepsItsGeneration(self) -> None:
        """Also in its later transactions, and with the tables that it began with."""
        world = self.begin(BASE, files=FILES)
        waiter = Waiter(world)
        self.assertEqual(waiter.say("EHLO c", "MAIL FROM:<a@c.test>", "RCPT TO:<x@one.test>")[-1][:3], "250")
        world.disk.write("/etc/pysmtpd/others", b"four.test\n")
        self.reload(world, BASE.replace("file:/etc/pysmtpd/domains", "file:/etc/pysmtpd/others"))
        self.assertEqual(self.rcpt(world, "x@one.test"), "550")
        self.assertEqual(self.rcpt(world, "x@four.test"), "250")
        replies = waiter.say("RSET", "MAIL FROM:<a@c.test>", "RCPT TO:<x@one.test>", "RCPT TO:<x@four.test>")
        self.assertEqual([reply[:3] for reply in replies], ["250", "250", "250", "550"])
        rows = self.operator(world).status()["generations"]
        self.assertEqual([(row["number"], row["sessions"]) for row in rows], [(2, 0), (1, 1)])
        waiter.hangUp()
        rows = self.operator(world).status()["generations"]
        self.assertEqual([(row["number"], row["sessions"]) for row in rows], [(2, 0)])

    def test_tablesAreShared(self) -> None:
        """A table that says the same is the same, and is not read again."""
        world = self.begin(BASE, files=FILES)
        before = dict(world.service.tables)
        world.disk.write("/etc/pysmtpd/domains", b"five.test\n")
        changed = BASE.replace('table nets { "198.51.100.0/24" }', '# Lines move.\n\ntable nets { "192.0.2.0/24" }')
        done = self.reload(world, changed)
        self.assertEqual(done["changes"], ["table nets is changed"])
        self.assertIs(world.service.tables["domains"], before["domains"])
        self.assertIs(world.service.tables["<localnames>"], before["<localnames>"])
        self.assertIsNot(world.service.tables["nets"], before["nets"])
        self.assertEqual(self.rcpt(world, "x@five.test", "198.51.100.9"), "550")
        self.assertEqual(self.rcpt(world, "x@five.test"), "250")

    def test_nothingIsDifferent(self) -> None:
        """As from a tool that reloads every few minutes: no session has to go for it."""
        world = self.begin(BASE, files=FILES)
        idle = Waiter(world)
        idle.say("EHLO c")
        for _ in range(10):
            done = self.reload(world, BASE + "# a word more\n")
            self.assertEqual((done["generation"], done["changes"]), (1, []))
        self.assertEqual([event.generation for event in world.eventsOf(Reloaded)], [1] * 10)
        self.assertEqual(idle.say("NOOP")[-1][:3], "250")

    def test_atMostFourAreAlive(self) -> None:
        """The oldest sessions have to go: idle ones at once, one in a transaction when that has ended."""
        world = self.begin(BASE, files=FILES)
        idle, busy = Waiter(world), Waiter(world)
        idle.say("EHLO c")
        busy.say("EHLO c", "MAIL FROM:<a@c.test>", "RCPT TO:<x@one.test>")
        others = []
        for number in range(2, 5):
            self.reload(world, "\n" * number + BASE)
            others.append(Waiter(world))
            others[-1].say("EHLO c")
        self.assertFalse(idle.isOver or busy.isOver)
        self.assertEqual(len(self.operator(world).status()["generations"]), 4)
        self.reload(world, BASE)
        world.run(1)
        self.assertTrue(idle.isOver)
        self.assertEqual(idle.replies[-1][:9], "421 4.3.2")
        self.assertFalse(busy.isOver)
        self.assertEqual(busy.say("DATA")[-1][:3], "354")
        busy.say("Subject: x", "", ".", expected=1)
        world.run(1)
        self.assertTrue(busy.isOver)
        self.assertFalse(any(other.isOver for other in others))
        rows = self.operator(world).status()["generations"]
        self.assertEqual([(row["number"], row["sessions"]) for row in rows], [(5, 0), (4, 1), (3, 1), (2, 1)])
        self.assertEqual(len(world.eventsOf(SessionDisconnected)), 2)

    def test_pki(self) -> None:
        """New files for the same name: the next handshake shows them."""
        first, second = selfSigned("mail.example.org"), selfSigned("mail.example.org")
        files = {"/c": first[0], "/k": first[1], "/c2": second[0], "/k2": second[1]}
        text = 'pki p cert "{0}" key "{1}"\nlisten on 0.0.0.0 tls pki p\naction "out" relay\nmatch from any for any action "out"'
        world = self.begin(text.format("/c", "/k"), settings={"readFile": files.__getitem__})
        before = world.service.certificates.serverContext(("p",))
        done = self.reload(world, text.format("/c2", "/k2"))
        self.assertEqual(done["changes"], ["pki p is changed"])
        self.assertIsNot(world.service.certificates.serverContext(("p",)), before)
        sent = world.send("a@c.test", "x@d.test", starttls=True)
        world.until(lambda: sent.isOver, 60)
        self.assertTrue(sent.isAccepted, sent.replies)


DOMAINS = "/etc/pysmtpd/domains"


class UpdateTests(ReloadTestCase):
    """C{update table} makes a generation, too."""

    def update(self, world: World, content: bytes, table: str = "domains") -> dict[str, Any]:
        world.disk.write(DOMAINS, content)
        done: dict[str, Any] = self.operator(world).ask("UpdateTable", table=table)["update"]
        return done

    def generations(self, world: World) -> list[tuple[int, int]]:
        rows = self.operator(world).status()["generations"]
        return [(row["number"], row["sessions"]) for row in rows]

    def test_aSessionKeepsTheTablesThatItBeganWith(self) -> None:
        world = self.begin(BASE, files=FILES)
        waiter = Waiter(world)
        waiter.say("EHLO c", "MAIL FROM:<a@c.test>")
        self.update(world, b"four.test\n")
        self.assertEqual(self.rcpt(world, "x@one.test"), "550")
        self.assertEqual(self.rcpt(world, "x@four.test"), "250")
        for _ in range(2):
            replies = waiter.say("RCPT TO:<x@one.test>", "RCPT TO:<x@four.test>", "RSET", "MAIL FROM:<a@c.test>")
            self.assertEqual([reply[:3] for reply in replies], ["250", "550", "250", "250"])
        self.assertEqual(self.generations(world), [(2, 0), (1, 1)])
        waiter.hangUp()
        self.assertEqual(self.generations(world), [(2, 0)])

    def test_allElseIsShared(self) -> None:
        world = self.begin(BASE, files=FILES)
        before = world.service.generations.newest
        self.update(world, b"four.test\n")
        after = world.service.generations.newest
        self.assertIsNot(after.config, before.config)
        self.assertEqual(after.config, before.config)
        self.assertIs(after.config.rules, before.config.rules)
        changed = [name for name in after.tables if after.tables[name] is not before.tables[name]]
        self.assertEqual(changed, ["domains"])
        (event,) = world.eventsOf(Reloaded)
        self.assertEqual((event.generation, event.changes), (2, "table domains is read again"))

    def test_atMostFourAreAlive(self) -> None:
        world = self.begin(BASE, files=FILES)
        idle, busy = Waiter(world), Waiter(world)
        idle.say("EHLO c")
        busy.say("EHLO c", "MAIL FROM:<a@c.test>", "RCPT TO:<x@one.test>")
        others = []
        for number in range(2, 5):
            self.update(world, b"n%d.test\n" % number)
            others.append(Waiter(world))
        self.assertFalse(idle.isOver or busy.isOver)
        self.update(world, b"n5.test\n")
        world.run(1)
        self.assertTrue(idle.isOver)
        self.assertEqual(idle.replies[-1][:9], "421 4.3.2")
        self.assertEqual(busy.say("DATA")[-1][:3], "354")
        busy.say("Subject: x", "", ".", expected=1)
        world.run(1)
        self.assertTrue(busy.isOver)
        self.assertEqual(self.generations(world), [(5, 0), (4, 1), (3, 1), (2, 1)])
        replies = others[0].say("EHLO c", "MAIL FROM:<a@c.test>", "RCPT TO:<x@n2.test>", "RCPT TO:<x@n5.test>")
        self.assertEqual([reply[:3] for reply in replies[2:]], ["250", "550"])

    def test_whatNobodyHasAnyMoreIsLetGo(self) -> None:
        """A while after its last session has ended, so that a question that is under way has its answer."""
        world = self.begin(BASE, files=FILES)
        waiter = Waiter(world)
        table: Any = world.service.tables["domains"]
        self.update(world, b"four.test\n")
        world.run(120)
        self.assertIsNotNone(table.content)
        waiter.hangUp()
        world.run(30)
        self.assertIsNotNone(table.content)
        world.run(60)
        self.assertIsNone(table.content)
        self.assertIsNotNone(world.service.tables["domains"].content)

    def test_aTableOfTheConfigurationStaysWhatItIs(self) -> None:
        world = self.begin(BASE, files=FILES)
        self.operator(world).ask("UpdateTable", table="nets")
        self.assertEqual(self.generations(world), [(1, 0)])

    def test_aSourceThatDoesNotAnswer(self) -> None:
        """The update fails; neither a reload nor other tables wait for it."""
        more = "table others file:/etc/pysmtpd/others\n" + BASE + 'match from any for domain <others> action "out"\n'
        world = self.begin(more, files={**FILES, "/etc/pysmtpd/others": b"o.test\n"})
        operator = self.operator(world)
        world.platform.workers.delays["table-domains"] = 1e6
        answers: list[Any] = []
        operator.protocol.callRemote(AMP_COMMANDS["UpdateTable"], table="domains").addBoth(answers.append)
        world.run(1)
        self.operator(world).ask("UpdateTable", table="others")
        self.reload(world, "\n" + more)
        self.assertEqual(self.rcpt(world, "x@o.test"), "250")
        self.assertEqual(self.generations(world)[0][0], 3)
        self.assertEqual(answers, [])
        world.until(lambda: answers, 60, "it is given up")
        self.assertIn("no answer within 30 seconds", str(answers[0].value))
        self.assertEqual(self.rcpt(world, "x@one.test"), "250")

    def test_aReloadComesBetween(self) -> None:
        """Whatever ends first, what was read last counts, and no table of an older configuration comes back."""
        world = self.begin(BASE, files={**FILES, "/etc/pysmtpd/others": b"o.test\n"})
        operator = self.operator(world)
        world.platform.workers.delays["table-domains"] = 0.5
        world.disk.write(DOMAINS, b"four.test\n")
        answers: list[Any] = []
        operator.protocol.callRemote(AMP_COMMANDS["UpdateTable"], table="domains").addBoth(answers.append)
        world.run(0.1)
        self.reload(world, BASE.replace(DOMAINS, "/etc/pysmtpd/others"))
        world.until(lambda: answers, 60, "it is read again")
        self.assertEqual(answers[0]["update"]["entries"], 1)
        self.assertEqual((self.rcpt(world, "x@o.test"), self.rcpt(world, "x@four.test")), ("250", "550"))

    def test_readWhileAReloadReadsAnother(self) -> None:
        world = self.begin(BASE, files={**FILES, "/etc/pysmtpd/others": b"o.test\n"})
        world.platform.workers.delays["table-others"] = 1.0
        more = "table others file:/etc/pysmtpd/others\n" + BASE + 'match from any for domain <others> action "out"\n'
        world.disk.write(CONFIG_PATH, more.encode())
        answers: list[Any] = []
        world.service.operator.reload().addBoth(answers.append)
        world.run(0.5)
        self.update(world, b"four.test\n")
        self.assertEqual(answers, [])
        world.until(lambda: answers, 60, "it is reloaded")
        self.assertEqual((self.rcpt(world, "x@o.test"), self.rcpt(world, "x@four.test")), ("250", "250"))
        self.assertEqual(self.rcpt(world, "x@one.test"), "550")


class WarningTests(ReloadTestCase):
    def test_manyDomainsOfOneRule(self) -> None:
        """One word is enough for all of them."""
        domains = "".join(f"d{number}.test\n" for number in range(50)).encode()
        config = BASE.replace('domain <domains> action "out"', 'domain <domains> action "here"')
        world = self.begin(
            config.replace("match from src", 'action "here" maildir\nmatch from src', 1),
            files={"/etc/pysmtpd/domains": domains},
        )
        (said,) = [event.warning for event in world.eventsOf(ConfigurationWarned)]
        self.assertRegex(said, r"<postmaster@d\d+\.test>, nor to the postmasters of 49 other domains that were tried")

    def test_whatIsSaidOfTheRules(self) -> None:
        """At start, at each reload, and in the status."""
        config = BASE + 'action "here" maildir\nmatch from any for domain "here.test" action "here"\n'
        world = self.begin(config, files=FILES)
        said = [event.warning for event in world.eventsOf(ConfigurationWarned)]
        self.assertEqual(len(said), 1, said)
        self.assertIn(f"{CONFIG_PATH}:9: nobody reads mail to <postmaster@here.test>", said[0])
        status = self.operator(world).status()
        self.assertEqual(status["relaying"], "closed, as the table domains is now")
        self.assertEqual(status["trusted"], ["198.51.100.0/24"])
        done = self.reload(world, BASE + 'match from any for any action "out"\nmatch for any action "out"\n')
        never, relay = done["warnings"]
        self.assertIn(f"{CONFIG_PATH}:9: this rule can never match: the rule at {CONFIG_PATH}:8 takes all", never)
        self.assertIn(f"{CONFIG_PATH}:8: open relay", relay)
        self.assertIn("open (", self.operator(world).status()["relaying"])


class RelayTests(ReloadTestCase):
    """The verdict about open relaying looks into tables outside of the configuration."""

    CONFIG = BASE.replace('table nets { "198.51.100.0/24" }', "table nets file:/etc/pysmtpd/nets")

    def relaying(self, world: World) -> str:
        return str(self.operator(world).status()["relaying"])

    def test_aFileOfNetworks(self) -> None:
        """What it declares is trusted, and listed; once it says too much, the log warns."""
        world = self.begin(self.CONFIG, files={**FILES, "/etc/pysmtpd/nets": b"198.51.100.0/24\n"})
        status = self.operator(world).status()
        self.assertEqual(status["relaying"], "closed, as the tables nets, domains are now")
        self.assertEqual(status["trusted"], ["198.51.100.0/24"])
        self.assertEqual(world.eventsOf(ConfigurationWarned), [])
        world.disk.write("/etc/pysmtpd/nets", b"198.51.100.0/24\n0.0.0.0/0\n")
        self.operator(world).ask("UpdateTable", table="nets")
        world.run(1)
        self.assertTrue(self.relaying(world).startswith(f"open ({CONFIG_PATH}:6), as the tables"), self.relaying(world))
        (warned,) = world.eventsOf(ConfigurationWarned)
        self.assertIn(f"{CONFIG_PATH}:6: open relay", warned.warning)
        self.operator(world).ask("UpdateTable", table="nets")
        world.run(1)
        self.assertEqual(len(world.eventsOf(ConfigurationWarned)), 1, "it is said once")

    def test_aFileOfDomains(self) -> None:
        world = self.begin(BASE, files=FILES)
        self.assertTrue(self.relaying(world).startswith("closed"))
        world.disk.write(DOMAINS, b"one.test\n*.test\n")
        self.operator(world).ask("UpdateTable", table="domains")
        world.run(1)
        self.assertTrue(self.relaying(world).startswith(f"open ({CONFIG_PATH}:7)"))

    def test_manyEntries(self) -> None:
        """Their number is no reason not to know."""
        many = b"".join(b"d%d.test\n" % number for number in range(20_000))
        world = self.begin(BASE, files={DOMAINS: many})
        world.until(lambda: self.relaying(world), 60, "they are looked at")
        self.assertEqual(self.relaying(world), "closed, as the table domains is now")

    def test_whatCannotBeSeen(self) -> None:
        plugins.install(self)
        text = (
            'table far "slow:10"\nlisten on 0.0.0.0\naction "out" relay\nmatch from any for domain <far> action "out"\n'
        )
        world = self.begin(text)
        world.until(lambda: self.relaying(world), 60, "it is looked at")
        self.assertIn("cannot tell", self.relaying(world))
        self.assertIn("it depends on far", self.relaying(world))


class RefusedTests(ReloadTestCase):
    def refused(self, world: World, config: str, *words: str) -> None:
        """It is refused, with all of these in its messages; everything is as before."""
        before = world.service.config
        done = self.reload(world, config)
        text = "\n".join(done["errors"])
        for word in words:
            self.assertIn(word, text)
        self.assertIs(world.service.config, before)
        self.assertEqual(self.rcpt(world, "x@one.test"), "250")
        failed = world.eventsOf(ReloadFailed)[-1]
        self.assertEqual(failed.errors, len(done["errors"]))

    def test_allErrorsOfTheFile(self) -> None:
        world = self.begin(BASE, files=FILES)
        self.refused(world, BASE + "mach any\nmatch any any\n", f"{CONFIG_PATH}:8:1: ", f"{CONFIG_PATH}:9:7: ")
        self.assertEqual(self.reload(world, "\n" + BASE)["generation"], 2)

    def test_aTableThatCannotBeRead(self) -> None:
        world = self.begin(BASE, files=FILES)
        more = 'table gone file:/etc/pysmtpd/gone\nmatch from any for domain <gone> action "out"\n'
        self.refused(world, BASE + more, f"{CONFIG_PATH}:8:1: ", "/etc/pysmtpd/gone")

    def test_aTableBackendThatIsNotThere(self) -> None:
        world = self.begin(BASE, files=FILES)
        more = 'table gone nosuch:x\nmatch from any for domain <gone> action "out"\n'
        self.refused(world, BASE + more, f"{CONFIG_PATH}:8: unknown table backend", "sqlite")

    def test_aCertificateThatCannotBeRead(self) -> None:
        world = self.begin(BASE, files=FILES)
        more = 'pki p cert "/c" key "/k"\nlisten on 0.0.0.0 port 465 smtps pki p\n'
        self.refused(world, more + BASE, "/c")
        self.assertEqual([event.listener for event in world.eventsOf(ListenerOpened)][:1], ["0.0.0.0:25"])
        self.assertNotIn("0.0.0.0:465", self.operator(world).status()["listeners"])

    def test_whatNeedsARestart(self) -> None:
        world = self.begin(BASE, files=FILES)
        self.refused(
            world,
            "queue backend fs\nresolver 192.0.2.53\nscheduler limit max-inflight 5\n" + BASE,
            f"{CONFIG_PATH}:1:15: the queue backend is changed",
            f"{CONFIG_PATH}:2:1: the resolver is changed",
            "limits of the scheduler",
            "restart",
        )

    def test_whatNeedsRoot(self) -> None:
        """A daemon without a helper can never ask the system for passwords: mail programs would be told to come again for ever."""
        world = self.begin(BASE, files=FILES)
        more = "listen on 0.0.0.0 port 587 auth auth-without-tls\n"
        self.refused(world, more + BASE, f"{CONFIG_PATH}:1:1: auth without a table", "restart")

    def test_whatTheHelperWasNotToldAtTheStart(self) -> None:
        auth = "listen on 192.0.2.1 port 587 auth auth-without-tls\n"
        base = 'table people { ann = "5:5:/x" }\naction "base" maildir userbase <people>\nmatch for any action "base"\n'
        plain = 'action "out" relay\nmatch for any action "out"\n'

        def found(start: str, new: str, hasHelper: bool = True) -> list[str]:
            before, after = load("f", lambda name: start, ENVIRONMENT), load("f", lambda name: new, ENVIRONMENT)
            return [f"{where}: {what}" for where, what in beyondHelper(before, after, hasHelper)]

        self.assertEqual(found(plain, plain), [])
        self.assertEqual(found(auth + base, base + auth), [])
        self.assertEqual(found(plain, base), ["f:2: a userbase is used for the first time"])
        self.assertEqual(len(found(plain, auth + plain)), 1)
        # Without a helper there are no ids to be told of.
        self.assertEqual(found(plain, base, hasHelper=False), [])

    def test_anAddressInUse(self) -> None:
        """Listeners that were opened meanwhile are closed again."""
        world = self.begin(BASE, files=FILES)
        world.platform.network.listenTCP(2600, Factory(), interface="127.0.0.1")
        listen = "listen on 127.0.0.1 port 2500\nlisten on 127.0.0.1 port 2600\n"
        self.refused(world, listen + BASE, f"{CONFIG_PATH}:2:1: cannot listen on 127.0.0.1:2600")
        self.assertEqual(self.operator(world).status()["listeners"][0], "0.0.0.0:25")
        self.reload(world, listen.replace("2600", "2601") + BASE)
        self.assertEqual(self.rcpt(world, "x@one.test", "127.0.0.1", 2500), "250")


class ListenerTests(ReloadTestCase):
    def test_addressesComeAndGo(self) -> None:
        world = self.begin(BASE, files=FILES)
        waiter = Waiter(world)
        waiter.say("EHLO c")
        done = self.reload(world, BASE.replace("port 25", "port 2525"))
        self.assertEqual(done["changes"], ["listener 0.0.0.0:2525 is new", "listener 0.0.0.0:25 is gone"])
        self.assertEqual(self.rcpt(world, "x@one.test", port=2525), "250")
        late = Waiter(world)
        self.assertTrue(late.isOver)
        self.assertEqual(waiter.say("MAIL FROM:<a@c.test>", "RCPT TO:<x@one.test>")[-1][:3], "250")
        self.reload(world, BASE)
        self.assertEqual(self.rcpt(world, "x@one.test"), "250")
        world.stop()
        world.run(1)
        self.assertTrue(waiter.isOver)

    def test_oneAddressInPlaceOfAll(self) -> None:
        world = self.begin(BASE, files=FILES)
        self.reload(world, BASE.replace("listen on 0.0.0.0", "listen on 192.0.2.1"))
        self.assertEqual(self.operator(world).status()["listeners"][0], "192.0.2.1:25")
        self.assertEqual(self.rcpt(world, "x@one.test"), "250")

    def test_optionsOfAListener(self) -> None:
        world = self.begin(BASE, files=FILES)
        self.reload(world, BASE.replace("port 25", 'port 25 hostname "other.example.org"'))
        self.assertIn("other.example.org", Waiter(world).replies[0])

    def test_pausedStaysPaused(self) -> None:
        world = self.begin(BASE, files=FILES)
        self.operator(world).ask("Pause", part="smtp")
        self.reload(world, BASE.replace("port 25", "port 2525"))
        sent = world.send("a@c.test", "x@one.test", port=2525)
        world.run(30)
        self.assertFalse(sent.isAccepted)
        self.operator(world).ask("Resume", part="smtp")


class ActionTests(ReloadTestCase):
    def test_actionsAreFoundByNameAtEachAttempt(self) -> None:
        world = self.begin()
        self.remote(world).set(Condition.REFUSING)
        other = world.remote("mx.other.test")
        self.accepted(world, "ann@remote.test")
        world.run(10)
        self.reload(world, rules(relay='host "smtp://mx.other.test"'))
        world.until(lambda: other.messages, 86400, "it goes where the action leads now")

    def test_anActionThatVanished(self) -> None:
        """Its envelopes wait, untried, show why, and go when it is back."""
        world = self.begin()
        mx = self.remote(world).set(Condition.REFUSING)
        self.accepted(world, "ann@remote.test")
        world.run(10)
        mx.set(Condition.NORMAL)
        tried = len(world.eventsOf(DeliveryAttempted))
        self.reload(world, rules().replace('"out"', '"elsewhere"'))
        # Also before its next try.
        (row,) = self.operator(world).queue()
        self.assertEqual(row["condition"], "waiting")
        self.assertIn('no action "out" any more', row["why"])
        world.run(86400)
        (row,) = self.operator(world).queue()
        self.assertIn('held: the configuration has no action "out"', row["why"])
        self.assertEqual(row["condition"], "held")
        counts = self.operator(world).ask("Status")["status"]["envelopes"]
        self.assertEqual((counts["held"], counts["queued"]), (1, 0))
        self.assertEqual(len(world.eventsOf(DeliveryAttempted)), tried)
        self.reload(world, rules())
        world.until(lambda: mx.messages, 60, "it is delivered")
        self.finish(world, "delivered")

    def test_itIsHeldAfterARestartToo(self) -> None:
        world = self.begin()
        self.remote(world).set(Condition.REFUSING)
        self.accepted(world, "ann@remote.test")
        world.run(10)
        self.reload(world, rules().replace('"out"', '"elsewhere"'))
        world.crash()
        world.restart()
        world.run(86400)
        (row,) = self.operator(world).queue()
        self.assertIn("held: the configuration has no action", row["why"])
        self.assertEqual(row["tries"], 1)

    def test_anActionThatDeliversInAnotherWay(self) -> None:
        world = self.begin()
        self.remote(world).set(Condition.REFUSING)
        self.accepted(world, "ann@remote.test")
        world.run(10)
        self.reload(world, rules().replace('action "out" relay', 'action "out" maildir'))
        world.run(86400)
        (row,) = self.operator(world).queue()
        self.assertIn("delivers in another way", row["why"])

    def test_heldEnvelopesExpire(self) -> None:
        world = self.begin(rules("queue ttl 1h"))
        self.remote(world).set(Condition.REFUSING)
        self.remote(world, "client.test")
        self.accepted(world, "ann@remote.test")
        world.run(10)
        self.reload(world, rules("queue ttl 1h").replace('"out"', '"elsewhere"'))
        self.finish(world, "bounced", "delivered", seconds=7200)
