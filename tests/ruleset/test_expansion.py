"""How an address expands to users and remote addresses."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.model.decision import Step
from pysmtpd.model.envelope import Agent, formatVia
from pysmtpd.ruleset.nodes import parseNodes
from tests.ruleset.driver import World, transaction

LOCAL_RULE = '\nmatch from any for domain "example.org" action "local"\nmatch from local for any action out\n'
OUT = "action out relay\n"


def aliases(entries: str, word: str = "alias", users: str = "ann ben cid vmail") -> World:
    return World(OUT + f'table t {{ {entries} }}\naction "local" maildir {word} <t>' + LOCAL_RULE, users)


class UserTests(SynchronousTestCase):
    def test_localPartIsAUser(self) -> None:
        world = World(OUT + 'action "local" maildir' + LOCAL_RULE)
        self.assertEqual(world.goes("ann@example.org"), ["local ann ann@example.org"])
        self.assertEqual(world.goes("Ann+tag@example.org"), ["local ann Ann+tag@example.org"])
        self.assertEqual(world.goes("eve@example.org"), ["550 5.1.1"])
        self.assertIs(world.decide("ann@example.org").destinations[0].agent, Agent.MDA)

    def test_whatIsNoUserNameIsNotAsked(self) -> None:
        world = World(OUT + 'action "local" maildir' + LOCAL_RULE)
        for local in ("../ann", "a b", "ann/x", "é", "..", "", "ann\x00"):
            world.asked.clear()
            self.assertEqual(world.goes(f"{local}@example.org"), ["550 5.1.1"], local)
            self.assertEqual(len(world.asked), 1)

    def test_otherDelimiter(self) -> None:
        world = World(OUT + 'smtp sub-addr-delim "-"\naction "local" maildir' + LOCAL_RULE)
        self.assertEqual(world.goes("ann-tag-more@example.org"), ["local ann ann-tag-more@example.org"])
        self.assertEqual(world.goes("-ann@example.org"), ["550 5.1.1"])

    def test_userOfTheAction(self) -> None:
        """It is who delivers; the recipient must exist all the same."""
        world = World(OUT + 'action "local" maildir "/srv/%{dest.user}" user vmail' + LOCAL_RULE)
        self.assertEqual(world.goes("ann@example.org"), ["local vmail ann@example.org"])
        self.assertEqual(world.goes("eve@example.org"), ["550 5.1.1"])

    def test_usersCannotBeTold(self) -> None:
        world = World(OUT + 'action "local" maildir' + LOCAL_RULE)
        world.failing.add("ann")
        self.assertEqual(world.goes("ann@example.org"), ["451 4.3.0"])

    def test_lmtp(self) -> None:
        world = World(OUT + 'action "local" lmtp "/run/lmtp" rcpt-to user vmail virtual { "@" = ann }' + LOCAL_RULE)
        destination = world.decide("who@example.org").destinations[0]
        self.assertIs(destination.agent, Agent.MTA)
        self.assertEqual((destination.user, str(destination.recipient)), ("ann", "who@example.org"))


class VirtualTests(SynchronousTestCase):
    def test_sink(self) -> None:
        world = World('action sink maildir virtual { "@" = vmail }\nmatch from any for any action sink')
        self.assertEqual(world.goes("Any.Body+tag@example.net"), ["sink vmail Any.Body+tag@example.net"])
        self.assertEqual(world.goes("postmaster"), ["sink vmail postmaster"])

    def test_lookupOrder(self) -> None:
        keys = ["ann+tag@example.org", "ann@example.org", "ann+tag", "ann", "@example.org", "@"]
        for first in range(len(keys)):
            rest = keys[first:]
            entries = ", ".join(f'"{key}" = user{keys.index(key)}' for key in rest)
            world = aliases(entries, "virtual", users=" ".join(f"user{n}" for n in range(6)))
            self.assertEqual(world.goes("Ann+Tag@Example.org"), [f"local user{first} Ann+Tag@Example.org"])

    def test_mustBeThere(self) -> None:
        world = aliases('"ann@example.org" = ann', "virtual")
        self.assertEqual(world.goes("ann@example.org"), ["local ann ann@example.org"])
        self.assertEqual(world.goes("ben@example.org"), ["550 5.1.1"])
        self.assertIn("smtpd.conf:4", world.decide("ben@example.org").reason)

    def test_usersAreLookedUpAgainWithoutCatchAll(self) -> None:
        world = aliases('"@example.org" = ann, "ann" = ben', "virtual")
        self.assertEqual(world.goes("who@example.org"), ["local ben who@example.org"])
        self.assertEqual(aliases('"@" = eve', "virtual").goes("who@example.org"), ["524 5.2.4"])

    def test_addressKeepsItsCopy(self) -> None:
        world = aliases('"ann@example.org" = "ann@example.org, x@far.example"', "virtual")
        self.assertEqual(world.goes("ann@example.org"), ["local ann ann@example.org", "out x@far.example"])


class AliasTests(SynchronousTestCase):
    def test_list(self) -> None:
        world = aliases('staff = "ann, Ben, x@far.example", postmaster = staff')
        expected = ["local ann staff@example.org", "local ben staff@example.org", "out x@far.example"]
        self.assertEqual(world.goes("staff@example.org"), expected)
        self.assertEqual(len(world.goes("postmaster@example.org")), 3)
        self.assertEqual(world.goes("cid@example.org"), ["local cid cid@example.org"])

    def test_tagBeforeName(self) -> None:
        world = aliases('"ann+one" = ben, ann = cid')
        self.assertEqual(world.goes("ann+one@example.org"), ["local ben ann+one@example.org"])
        self.assertEqual(world.goes("ann+two@example.org"), ["local cid ann+two@example.org"])

    def test_nameOfATaggedEntryIsAnotherOne(self) -> None:
        """It is looked up again; the tagged name itself is the user."""
        world = World(
            'action a maildir alias { "ann+x" = "ann", ann = "ben", "cid+y" = "cid+y, ann", "ben+z" = "ben+z@example.org" }\n'
            "match from any for any action a\n"
        )
        self.assertEqual(world.goes("ann+x@example.org"), ["a ben ann+x@example.org"])
        self.assertEqual(world.goes("cid+y@example.org"), ["a cid cid+y@example.org", "a ben cid+y@example.org"])
        self.assertEqual(world.goes("ben+z@example.org"), ["a ben ben+z@example.org"])

    def test_itself(self) -> None:
        world = aliases('ann = "ann, ben"')
        self.assertEqual(world.goes("ann@example.org"), ["local ann ann@example.org", "local ben ann@example.org"])

    def test_forwardedAddressesComeFromHere(self) -> None:
        world = World(
            OUT
            + 'action "local" maildir alias { staff = "x@far.example" }\n'
            + 'match from any for domain "example.org" action "local"\nmatch from src "203.0.113.9" for any reject\n'
            + "match from local for any action out"
        )
        self.assertEqual(world.goes("staff@example.org"), ["out x@far.example"])
        self.assertEqual(world.goes("x@far.example"), ["550 5.7.1"])
        self.assertEqual(str(world.decide("staff@example.org").destinations[0].original), "staff@example.org")

    def test_duplicatesAreRemoved(self) -> None:
        world = aliases('staff = "ann, ann, x@far.example, X@far.example, team", team = "ann, x@far.example"')
        self.assertEqual(world.goes("staff@example.org"), ["local ann staff@example.org", "out x@far.example"])

    def test_loops(self) -> None:
        world = aliases(
            'ann = ben, ben = ann, cid = "dora@example.org", dora = "cid@example.org", eve = "fay, cid", fay = eve'
        )
        for name in ("ann", "cid", "eve"):
            self.assertEqual(world.goes(f"{name}@example.org"), ["524 5.2.4"], name)
        self.assertEqual(
            world.decide("ann@example.org").reason,
            'ann@example.org expands to nothing but what it came from: ben by t["ann"] (smtpd.conf:2) > '
            'ann by t["ben"] (smtpd.conf:2) > ben by t["ann"] (smtpd.conf:2)',
        )

    def test_depth(self) -> None:
        chain = ", ".join(f"u{n} = u{n + 1}" for n in range(20))
        world = aliases(chain, users="u20 u21")
        self.assertEqual(world.goes("u10@example.org"), ["local u20 u10@example.org"])
        self.assertEqual(world.goes("u9@example.org"), ["524 5.2.4"])
        self.assertIn("10 levels", world.decide("u9@example.org").reason)

    def test_size(self) -> None:
        many = [f"u{number}" for number in range(10_100)]
        groups = {f"g{start}": ", ".join(many[start : start + 1000]) for start in range(0, len(many), 1000)}
        entries = "\n".join(f'{name} = "{members}"' for name, members in groups.items())
        world = aliases(f'all = "{", ".join(groups)}"\n{entries}', users=" ".join(many))
        self.assertEqual(world.goes("all@example.org"), ["524 5.2.4"])
        self.assertIn("10000 nodes", world.decide("all@example.org").reason)
        self.assertEqual(len(world.goes("g1000@example.org")), 1000)

    def test_oneRefusedNodeRefusesAll(self) -> None:
        for bad, expected in (
            ("nobody", "524 5.2.4"),
            ("x@no.example", "524 5.2.4"),
            ("|/bin/cat >/dev/null", "451 4.3.0"),
            (":include:/etc/list", "451 4.3.0"),
            ("a b", "451 4.3.0"),
            ("error:550 5.2.1 gone away", "550 5.2.1"),
            (":error:450 later", "450 4.7.1"),
        ):
            world = World(
                OUT
                + f'action "local" maildir alias {{ staff = "ann, list", list = "{bad}" }}\n'
                + 'match from any for domain "no.example" reject'
                + LOCAL_RULE
            )
            decision = world.decide("staff@example.org")
            self.assertEqual(world.goes("staff@example.org"), [expected], bad)
            self.assertEqual(decision.destinations, ())
            self.assertIn(bad.split()[-1].removeprefix(":include:"), decision.reason)

    def test_quotesGroup(self) -> None:
        """They are no part of a name."""
        world = aliases(r"""staff = '"ann", "ben"', cid = '\ann, "x@far.example"' """)
        self.assertEqual(
            world.goes("staff@example.org"), ["local ann staff@example.org", "local ben staff@example.org"]
        )
        self.assertEqual(world.goes("cid@example.org"), ["local ann cid@example.org", "out x@far.example"])

    def test_whatIsRefusedNamesTheWayToIt(self) -> None:
        """Each step with the line that says so: the rule alone does not tell who named it."""
        world = aliases('staff = "ann, list", list = ben')
        world.forwards["ben"] = "# away\n\\ben\nnobody@example.org\n"
        decision = world.decide("staff@example.org")
        self.assertEqual(
            decision.reason,
            'there is no user "nobody" (smtpd.conf:4); staff@example.org leads there: list by t["staff"] (smtpd.conf:2) > '
            'ben by t["list"] (smtpd.conf:2) > nobody@example.org by /home/ben/.forward:3',
        )
        self.assertNotIn("leads there", world.decide("nobody@example.org").reason)
        world.forwards["ben"] = "a b\n"
        self.assertEqual(
            world.decide("ben@example.org").faults[0].partition("; ")[0], '"a b" is neither an address nor a user'
        )

    def test_destinationsKnowTheirWay(self) -> None:
        world = aliases('staff = "ann, list", list = ":include:/etc/list"')
        world.files["/etc/list"] = "\nben, |/bin/prog\n"
        world.forwards["ben"] = "\\ben, x@far.example"
        via = [formatVia(destination.via) for destination in world.decide("staff@example.org").destinations]
        include = 'list by t["staff"] (smtpd.conf:2) > :include:/etc/list by t["list"] (smtpd.conf:2) > '
        self.assertEqual(
            via,
            [
                'ann by t["staff"] (smtpd.conf:2)',
                f"{include}ben by /etc/list:2 > ben by /home/ben/.forward:1",
                f"{include}ben by /etc/list:2 > x@far.example by /home/ben/.forward:1",
                f"{include}|/bin/prog by /etc/list:2",
            ],
        )
        self.assertEqual(world.decide("cid@example.org").destinations[0].via, ())

    def test_permanentBeforeTemporary(self) -> None:
        world = aliases('staff = "ben, nobody"')
        world.failing.add("ben")
        self.assertEqual(world.goes("staff@example.org"), ["524 5.2.4"])

    def test_tableError(self) -> None:
        world = aliases("staff = ann")
        world.failing.add("t")
        self.assertEqual(world.goes("staff@example.org"), ["451 4.3.0"])

    def test_tree(self) -> None:
        step = aliases('staff = "ann, x@far.example"').decide("staff@example.org").step

        def shown(step: Step, depth: int = 0) -> list[str]:
            lines = [f"{' ' * depth}{step.path}: {step.outcome}"]
            return lines + [line for child in step.children for line in shown(child, depth + 1)]

        self.assertEqual(
            shown(step),
            [
                'staff@example.org: action "local": alias',
                ' ann: action "local": maildir for ann',
                ' x@far.example: action "out": relay',
            ],
        )


names = st.sampled_from([f"n{number}" for number in range(6)])
nodes = st.one_of(names, names.map(lambda name: f"{name}@example.org"), names.map(lambda name: f"{name}+t@example.org"))
graphs = st.dictionaries(
    st.one_of(names, names.map(lambda name: f"{name}@example.org"), st.sampled_from(["@", "@example.org"])),
    st.lists(nodes, min_size=1, max_size=5).map(", ".join),
    min_size=1,
    max_size=8,
)


class GraphTests(SynchronousTestCase):
    @settings(deadline=None)
    @given(graphs, st.sampled_from(["alias", "virtual"]), nodes)
    def test_everyGraphEnds(self, graph: dict[str, str], word: str, start: str) -> None:
        entries = ", ".join(f'"{key}" = "{value}"' for key, value in graph.items())
        world = aliases(entries, word, users="n0 n1")
        decision = world.decide(start if "@" in start else f"{start}@example.org")
        self.assertNotEqual(bool(decision.destinations), decision.refusal is not None)
        self.assertLess(len(world.asked), 3000)
        keys = [(d.action, d.recipient.key, d.user) for d in decision.destinations]
        self.assertEqual(len(keys), len(set(keys)))
        self.assertLessEqual({d.user for d in decision.destinations}, {"n0", "n1"})

    @settings(deadline=None)
    @given(st.text(max_size=100))
    def test_anyValueIsTakenApart(self, text: str) -> None:
        parseNodes(text)


class SubmissionTests(SynchronousTestCase):
    def test_authenticatedUsersRelay(self) -> None:
        world = World(OUT + "match from auth for any action out")
        self.assertEqual(world.goes("x@far.example", transaction(user="ann")), ["out x@far.example"])
        self.assertEqual(world.goes("x@far.example"), ["550 5.7.1"])
