"""Commands, files and includes: who may name them, and as whom they run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.model.config import Config, Method, TableRef
from pysmtpd.model.decision import Kind
from pysmtpd.model.envelope import Agent
from pysmtpd.model.question import AskForward, Refusal, TempFail, UserInfo
from tests.ruleset.driver import World

OUT = "action out relay\n"
RULES = '\nmatch from any for domain "example.org" action "local"\nmatch from local for any action out\n'


def changing(**fields: Any) -> Any:
    """Makes a configuration whose action "local" has these fields."""

    def change(config: Config) -> Config:
        return replace(config, actions={**config.actions, "local": replace(config.actions["local"], **fields)})

    return change


def aliases(entries: str, word: str = "alias", **fields: Any) -> World:
    text = OUT + f'table t {{ {entries} }}\naction "local" maildir {word} <t>' + RULES
    return World(text, change=changing(**fields))


def plain(**fields: Any) -> World:
    return World(OUT + 'action "local" maildir' + RULES, change=changing(**fields))


class TableTests(SynchronousTestCase):
    def test_commandsRunAsTheDaemonsUser(self) -> None:
        for word, key in (("alias", "staff"), ("virtual", "staff@example.org"), ("virtual", "@example.org")):
            world = aliases(f'"{key}" = "|/bin/prog -a \'b c\'"', word)
            self.assertEqual(world.goes("staff@example.org"), ["local (daemon) staff@example.org |/bin/prog -a 'b c'"])
            destination = world.decide("staff@example.org").destinations[0]
            self.assertIs(destination.agent, Agent.MDA)
            self.assertTrue(destination.isForwarded)

    def test_filesToo(self) -> None:
        self.assertEqual(
            aliases('staff = "/var/spool/list"').goes("staff@example.org"),
            ["local (daemon) staff@example.org /var/spool/list"],
        )

    def test_theActionsUserRunsThem(self) -> None:
        world = aliases('staff = "|/bin/prog"', user="vmail")
        self.assertEqual(world.goes("staff@example.org"), ["local vmail staff@example.org |/bin/prog"])

    def test_neverRoot(self) -> None:
        world = aliases('staff = "|/bin/prog"')
        world.daemon = UserInfo("root", 0, 0, "/root")
        self.assertEqual(world.goes("staff@example.org"), ["451 4.3.0"])
        self.assertIn("root", world.decide("staff@example.org").faults[0])

    def test_tablesThatOthersMayWrite(self) -> None:
        for value in ('"|/bin/prog"', '"/var/x"', '":include:/etc/list"'):
            world = aliases(f'staff = {value}, cid = "ann, staff"')
            world.untrusted.add("t")
            self.assertEqual(world.goes("cid@example.org"), ["451 4.3.0"], value)
            decision = world.decide("cid@example.org")
            # True of a map and of a query as well, whoever can write these.
            self.assertIn(
                "the table t may not name: it is no text file that only root and the daemon's user can", decision.reason
            )
            self.assertIn("(allow-commands in its declaration says that it may)", decision.reason)
            self.assertEqual(decision.faults, (decision.reason,))
            self.assertEqual(decision.destinations, ())
            self.assertEqual(world.goes("ann@example.org"), ["local ann ann@example.org"])

    def test_whatNeedsAShell(self) -> None:
        for command in ("a | b", "a > b", "a; b", "a $HOME", "X=1 a", "a *", "exec a"):
            world = aliases(f'staff = "|{command}"')
            decision = world.decide("staff@example.org")
            self.assertEqual(world.goes("staff@example.org"), ["451 4.3.0"], command)
            self.assertIn(f"|/bin/sh -c '{command}'", decision.faults[0])
            rewritten = decision.faults[0].rpartition('write "')[2].partition('"')[0]
            world = aliases(f'staff = "{rewritten}"')
            self.assertEqual(world.goes("staff@example.org"), [f"local (daemon) staff@example.org {rewritten}"])

    def test_addressesStayOutOfScripts(self) -> None:
        world = aliases("staff = \"|/bin/sh -c 'echo %{sender}'\"")
        self.assertEqual(world.goes("staff@example.org"), ["451 4.3.0"])

    def test_specifiersAreLookedAtWhenTheMailComes(self) -> None:
        """Not days later, when nobody knows what is wrong."""
        decision = aliases('staff = "|/bin/prog %{sender.age}"').decide("staff@example.org")
        self.assertEqual((decision.refusal is not None and decision.refusal.code, decision.destinations), (451, ()))
        self.assertIn("%{sender.age} is no format specifier", decision.faults[0])

    def test_twoCommandsAreTwoDeliveries(self) -> None:
        world = aliases('staff = "|/bin/a, |/bin/b, |/bin/a, /var/a"')
        self.assertEqual(len(world.goes("staff@example.org")), 3)


class IncludeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = aliases('staff = "ben, :include:/etc/list"')

    def test_linesAreAliases(self) -> None:
        self.world.files["/etc/list"] = '# people\n\nann, x@far.example\n"|/bin/prog"\r\n cid \n'
        self.assertEqual(
            self.world.goes("staff@example.org"),
            [
                "local ben staff@example.org",
                "local ann staff@example.org",
                "out x@far.example",
                "local (daemon) staff@example.org |/bin/prog",
                "local cid staff@example.org",
            ],
        )
        include = self.world.decide("staff@example.org").step.children[1]
        self.assertIs(include.kind, Kind.INCLUDE)
        self.assertEqual(str(include.children[1].source), "/etc/list:3")
        self.assertEqual(str(include.source), 't["staff"] (smtpd.conf:2)')

    def test_missing(self) -> None:
        self.assertEqual(self.world.goes("staff@example.org"), ["451 4.3.0"])
        self.assertIn("/etc/list", self.world.decide("staff@example.org").faults[0])

    def test_oneLevel(self) -> None:
        self.world.files |= {"/etc/list": ":include:/etc/more", "/etc/more": "ann"}
        self.assertEqual(self.world.goes("staff@example.org"), ["451 4.3.0"])

    def test_bound(self) -> None:
        self.world.files["/etc/list"] = "\n".join(f"u{n}@far.example" for n in range(10_001))
        self.assertEqual(self.world.goes("staff@example.org"), ["524 5.2.4"])


class ForwardTests(SynchronousTestCase):
    def test_addressesComeFromHere(self) -> None:
        world = plain()
        world.forwards["ann"] = "x@far.example\n\\ann\n"
        self.assertEqual(world.goes("ann@example.org"), ["out x@far.example", "local ann ann@example.org"])
        destinations = world.decide("ann@example.org").destinations
        self.assertEqual([str(each.original) for each in destinations], ["ann@example.org"] * 2)
        self.assertTrue(destinations[0].isForwarded)

    def test_circles(self) -> None:
        """Who keeps a copy gets it, and once; where nobody does, there is nowhere to put it."""
        world = plain()
        world.forwards |= {"ann": "ben", "ben": "ann, \\ben", "cid": "vmail", "vmail": "cid@example.org"}
        for name in ("ann", "ben"):
            self.assertEqual(world.goes(f"{name}@example.org"), [f"local ben {name}@example.org"])
        for name in ("cid", "vmail"):
            self.assertEqual(world.goes(f"{name}@example.org"), ["524 5.2.4"])

    def test_nothingInIt(self) -> None:
        world = plain()
        for text in ("", "\n# nothing\n  \n", None):
            world.forwards["ann"] = text
            self.assertEqual(world.goes("ann@example.org"), ["local ann ann@example.org"])
        self.assertFalse(world.decide("ann@example.org").destinations[0].isForwarded)

    def test_commandsAndFilesAreTheUsers(self) -> None:
        world = plain()
        world.forwards["ann"] = '"|/bin/prog \\"a b\\""\n|prog "c, d"\n/home/ann/mbox\n'
        self.assertEqual(
            world.goes("ann+tag@example.org"),
            [
                'local ann ann+tag@example.org |/bin/prog "a b"',
                'local ann ann+tag@example.org |prog "c, d"',
                "local ann ann+tag@example.org /home/ann/mbox",
            ],
        )

    def test_includesAreNot(self) -> None:
        world = plain()
        world.forwards["ann"] = ":include:/etc/list"
        world.files["/etc/list"] = "ben"
        self.assertEqual(world.goes("ann@example.org"), ["451 4.3.0"])

    def test_whatNeedsAShell(self) -> None:
        world = plain()
        world.forwards["ann"] = "|IFS=' ' && exec prog"
        self.assertEqual(world.goes("ann@example.org"), ["451 4.3.0"])
        self.assertIn("/bin/sh -c", world.decide("ann@example.org").faults[0])

    def test_loops(self) -> None:
        world = plain()
        world.forwards |= {"ann": "ben", "ben": "ann", "cid": "ann@example.org"}
        for name in ("ann", "ben", "cid"):
            self.assertEqual(world.goes(f"{name}@example.org"), ["524 5.2.4"], name)
        world.forwards["cid"] = "cid@example.org, ben@example.org"
        world.forwards["ben"] = "cid"
        self.assertEqual(world.goes("cid@example.org"), ["local cid cid@example.org"])

    def test_afterAliases(self) -> None:
        world = aliases("staff = ann")
        world.forwards |= {"ann": "x@far.example"}
        self.assertEqual(world.goes("staff@example.org"), ["out x@far.example"])
        self.assertEqual(
            [type(ask) for ask in world.asked].count(AskForward), 1, "it is read once for each who is reached"
        )

    def test_anAliasForOneselfKeepsIt(self) -> None:
        world = aliases('ann = "ann, ben"')
        world.forwards["ann"] = "ann, x@far.example"
        self.assertEqual(
            world.goes("ann@example.org"),
            ["local ann ann@example.org", "out x@far.example", "local ben ann@example.org"],
        )

    def test_cannotBeTold(self) -> None:
        world = plain()
        world.forwards["ann"] = TempFail("the home is away")
        self.assertEqual(world.goes("ann@example.org"), ["451 4.3.0"])
        self.assertIn("/home/ann/.forward", world.decide("ann@example.org").reason)

    def test_homeThatWasNeverMade(self) -> None:
        """Mail that is not put there does not need it."""
        for path, goes in (("/srv/mail/%{user.username}", ["local ann ann@example.org"]), ("", ["451 4.3.0"])):
            world = plain(path=path)
            world.forwards["ann"] = TempFail("there is no such directory", isHomeMissing=True)
            self.assertEqual(world.goes("ann@example.org"), goes, path)

    def test_mustNotBeUsed(self) -> None:
        world = plain()
        world.forwards["ann"] = Refusal("it is a symbolic link")
        self.assertEqual(world.goes("ann@example.org"), ["524 5.2.4"])
        self.assertIn("symbolic link", world.decide("ann@example.org").faults[0])

    def test_bound(self) -> None:
        world = plain()
        world.forwards["ann"] = "\n".join(f"u{n}@far.example" for n in range(101))
        self.assertEqual(world.goes("ann@example.org"), ["451 4.3.0"])

    def test_theActionsUser(self) -> None:
        """Others' files are left alone."""
        world = plain(user="vmail")
        world.forwards |= {"ann": "x@far.example", "vmail": "y@far.example"}
        self.assertEqual(world.goes("ann@example.org"), ["local vmail ann@example.org"])
        self.assertEqual(world.goes("vmail@example.org"), ["out y@far.example"])

    def test_root(self) -> None:
        world = plain()
        world.roots.add("ann")
        world.forwards["ann"] = "x@far.example"
        self.assertEqual(world.goes("ann@example.org"), ["550 5.1.1"])
        self.assertNotIn(AskForward, [type(ask) for ask in world.asked])
        world = plain(user="vmail")
        world.roots.add("ann")
        self.assertEqual(world.goes("ann@example.org"), ["local vmail ann@example.org"])


class OnlyTests(SynchronousTestCase):
    def test_expandOnly(self) -> None:
        world = aliases('staff = "|/bin/prog", cid = "x@far.example"', method=Method.EXPAND_ONLY)
        self.assertEqual(world.goes("staff@example.org"), ["local (daemon) staff@example.org |/bin/prog"])
        self.assertEqual(world.goes("cid@example.org"), ["out x@far.example"])
        self.assertEqual(world.goes("ann@example.org"), ["550 5.1.1"])
        world.forwards["ann"] = "y@far.example"
        self.assertEqual(world.goes("ann@example.org"), ["out y@far.example"])

    def test_forwardOnly(self) -> None:
        world = plain(method=Method.FORWARD_ONLY)
        self.assertEqual(world.goes("ann@example.org"), ["451 4.3.0"])
        for text in ("|/bin/prog", "/home/ann/mbox", "error:550 gone", "ann", ""):
            world.forwards["ann"] = text
            self.assertEqual(world.goes("ann@example.org"), ["451 4.3.0"], text)
        world.forwards["ann"] = "x@far.example"
        self.assertEqual(world.goes("ann@example.org"), ["out x@far.example"])


class UserbaseTests(SynchronousTestCase):
    def world(self) -> World:
        text = (
            OUT
            + 'table people { ann = "5000:5001:/srv/ann", ben = "0:0:/root", cid = "5000:/srv", dora = "x", f = "5:0:/" }\n'
            + 'action "local" maildir'
            + RULES
        )
        return World(text, users="eve", change=changing(userbase=TableRef("people")))

    def test_numbersNeedNoSystemUser(self) -> None:
        world = self.world()
        self.assertEqual(world.goes("ann+x@example.org"), ["local ann ann+x@example.org"])
        self.assertIn(AskForward(UserInfo("ann", 5000, 5001, "/srv/ann")), world.asked)

    def test_rootIsNobody(self) -> None:
        self.assertEqual(self.world().goes("ben@example.org"), ["550 5.1.1"])

    def test_nonsense(self) -> None:
        for name in ("cid", "dora", "f"):
            world = self.world()
            self.assertEqual(world.goes(f"{name}@example.org"), ["451 4.3.0"])
            self.assertIn("uid:gid:home", world.decide(f"{name}@example.org").reason)

    def test_aUserOfTheDaemonsName(self) -> None:
        """His commands are his; what a table names is the daemon's own, which no name can be mistaken for."""
        text = (
            OUT
            + 'table people { _smtpd = "5000:5001:/srv/x" }\n'
            + 'action "local" maildir alias { pipe = "|/bin/prog" }'
            + RULES
        )
        world = World(text, change=changing(userbase=TableRef("people")))
        world.forwards["_smtpd"] = "|/bin/prog"
        self.assertEqual(world.goes("_smtpd@example.org"), ["local _smtpd _smtpd@example.org |/bin/prog"])
        self.assertEqual(world.goes("pipe@example.org"), ["local (daemon) pipe@example.org |/bin/prog"])

    def test_theSystemsUsersAreNotIn(self) -> None:
        self.assertEqual(self.world().goes("eve@example.org"), ["550 5.1.1"])
