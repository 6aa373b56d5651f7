"""Which rule matches."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.model.config import Condition, Predicate, TableRef
from pysmtpd.model.envelope import Agent
from pysmtpd.model.facts import Transaction
from pysmtpd.model.question import AskMatch, Service
from pysmtpd.ruleset.compile import compileRules
from tests.ruleset.driver import TLS, World, transaction

LOCAL: dict[str, Any] = {"peer": "192.0.2.25", "isLocal": True}
NO_MATCH = ["550 5.7.1"]


class RuleTests(SynchronousTestCase):
    def assertMatch(self, rule: str, *sent: Transaction, rcpt: str = "x@foreign.example", tables: str = "") -> None:
        world = World(f"{tables}\naction a relay\nmatch {rule} action a")
        for each in sent:
            self.assertEqual(world.goes(rcpt, each), [f"a {rcpt}"], (rule, each))

    def assertNoMatch(self, rule: str, *sent: Transaction, rcpt: str = "x@foreign.example", tables: str = "") -> None:
        world = World(f"{tables}\naction a relay\nmatch {rule} action a")
        for each in sent:
            self.assertIn(world.goes(rcpt, each)[0], ("550 5.7.1", "550 5.1.1"), (rule, each))

    def test_fromLocalIsImplied(self) -> None:
        self.assertMatch("for any", transaction(**LOCAL), transaction(peer="local", isSocket=True))
        self.assertNoMatch("for any", transaction(), transaction(user="ann"))

    def test_forLocalIsImplied(self) -> None:
        for domain in ("localhost", "mx.example.org", "MX.Example.ORG", "[192.0.2.25]", "[IPv6:2001:db8::25]"):
            self.assertMatch("from any", transaction(), rcpt=f"x@{domain}")
        self.assertNoMatch("from any", transaction(), rcpt="x@example.org")

    def test_barePostmasterIsOurs(self) -> None:
        """RFC 5321 4.5.1: for the rules it is an address of the server's name, where none takes the bare form."""
        for rule in ("for local", 'for domain "mx.example.org"', 'for rcpt-to "postmaster@mx.example.org"', "for any"):
            world = World(f"action a relay\nmatch from any {rule} action a")
            self.assertEqual(world.goes("Postmaster"), ["a Postmaster@mx.example.org"], rule)
        world = World(
            'action a relay\naction b relay\nmatch from any for rcpt-to "postmaster" action b\nmatch from any action a'
        )
        self.assertEqual(world.goes("postmaster"), ["b postmaster@mx.example.org"])
        world = World('action a relay\nmatch from any for domain "example.org" action a')
        self.assertEqual(world.goes("postmaster"), ["550 5.7.1"])

    def test_fromAny(self) -> None:
        self.assertMatch("from any for any", transaction(), transaction(**LOCAL))
        self.assertNoMatch("! from any for any", transaction(), transaction(**LOCAL))

    def test_fromSocket(self) -> None:
        self.assertMatch("from socket for any", transaction(peer="local", isSocket=True))
        self.assertNoMatch("from socket for any", transaction(**LOCAL), transaction())

    def test_fromSource(self) -> None:
        rule = "from src { 203.0.113.0/24, 2001:db8:1::/48 } for any"
        near = (transaction(), transaction(peer="2001:db8:1::9"))
        far = (
            transaction(peer="203.0.114.9"),
            transaction(peer="2001:db8:2::9"),
            transaction(peer="local", isSocket=True),
        )
        self.assertMatch(rule, *near)
        self.assertNoMatch(rule, *far)
        self.assertMatch("! " + rule, *far)
        self.assertNoMatch("! " + rule, *near)

    def test_fromName(self) -> None:
        self.assertMatch("from rdns for any", transaction(rdns="a.example"))
        self.assertMatch('from rdns "*.example" for any', transaction(rdns="A.Example"))
        self.assertMatch('! from rdns "*.example" for any', transaction(rdns="a.test"))
        self.assertNoMatch("from rdns for any", transaction())

    def test_peerWithoutNameIsInNoTable(self) -> None:
        self.assertNoMatch('from rdns "*" for any', transaction())
        self.assertMatch('! from rdns "*.example" for any', transaction())
        self.assertMatch("! from rdns for any", transaction())

    def test_copiesHaveTheNameOfThePeer(self) -> None:
        """What is forwarded is from here, and still from the peer by that name."""
        text = (
            'action box maildir alias { ann = "x@far.example" }\naction out relay\n'
            'match from any for domain "example.org" action box\nmatch %s for any action out\n'
        )
        named, nameless = transaction(rdns="a.example"), transaction()
        for rule, one in (("from rdns", named), ("! from rdns", nameless), ('! from rdns "b.example"', named)):
            self.assertEqual(World(text % rule).goes("ann@example.org", one), ["out x@far.example"])
        for rule, one in (("from rdns", nameless), ("! from rdns", named), ('! from rdns "a.example"', named)):
            self.assertEqual(World(text % rule).goes("ann@example.org", one), ["524 5.2.4"])

    def test_fromAuthenticated(self) -> None:
        for rule in ("from auth for any", "from any auth for any"):
            self.assertMatch(rule, transaction(user="ann"))
            self.assertNoMatch(rule, transaction(), transaction(**LOCAL))

    def test_authenticatedAs(self) -> None:
        self.assertMatch('from auth "ann" for any', transaction(user="Ann"))
        self.assertMatch('from auth "@example.org" for any', transaction(user="ann@example.org"))
        self.assertNoMatch('from auth "ann" for any', transaction(user="ben"), transaction())
        self.assertMatch('from any ! auth "ann" for any', transaction(user="ben"), transaction())

    def test_forDomain(self) -> None:
        rule = 'from any for domain { "example.org", "*.example.org" }'
        for rcpt in ("x@example.org", "x@Sub.Example.Org", "x@a.b.example.org"):
            self.assertMatch(rule, transaction(), rcpt=rcpt)
        for rcpt in ("x@example.net", "x@anexample.org"):
            self.assertNoMatch(rule, transaction(), rcpt=rcpt)
        self.assertMatch('from any ! for domain "example.org"', transaction())

    def test_ownLiterals(self) -> None:
        """A literal of an address of this machine is local, however it is spelt."""
        for literal in ("[192.0.2.25]", "[IPv6:2001:db8::25]", "[IPv6:2001:DB8:0::25]", "[2001:db8::25]"):
            self.assertMatch("from any for local", transaction(), rcpt=f"ann@{literal}")
        for literal in ("[192.0.2.26]", "[IPv6:2001:db8::26]", "[x:192.0.2.25]"):
            self.assertNoMatch("from any for local", transaction(), rcpt=f"ann@{literal}")

    def test_recipient(self) -> None:
        for rule in ('from any for rcpt-to "x@foreign.example"', 'from any for any rcpt-to "@foreign.example"'):
            self.assertMatch(rule, transaction())
            self.assertNoMatch(rule, transaction(), rcpt="x@other.example")

    def test_sender(self) -> None:
        for rule in ('from mail-from "@example.com" for any', 'from any mail-from "s@*.com" for any'):
            self.assertMatch(rule, transaction(), transaction("s+tag@example.com"))
            self.assertNoMatch(rule, transaction("s@example.org"), transaction(""))
        self.assertMatch('from mail-from "<>" for any', transaction(""))

    def test_entryWithoutTagStandsForTaggedAddresses(self) -> None:
        rule = 'from any for rcpt-to { "x@foreign.example", "y+one@foreign.example" }'
        self.assertMatch(rule, transaction(), rcpt="x+tag@foreign.example")
        self.assertMatch(rule, transaction(), rcpt="y+one@foreign.example")
        self.assertNoMatch(rule, transaction(), rcpt="y+two@foreign.example")

    def test_helloName(self) -> None:
        self.assertMatch('from any helo "*.example" for any', transaction(helo="A.example"))
        self.assertNoMatch('from any helo "*" for any', transaction())

    def test_tls(self) -> None:
        self.assertMatch("from any tls for any", transaction(tls=TLS))
        self.assertNoMatch("from any tls for any", transaction())
        self.assertMatch("from any ! tls for any", transaction())

    def test_regex(self) -> None:
        """Every predicate with a table takes one of patterns; it is asked for the whole key, once."""
        sent = transaction(
            "S+tag@Example.com", rdns="A.example", helo="H.example", tag="T", user="Ann@example.net", tls=TLS
        )
        keys = {
            Predicate.TAG: "t",
            Predicate.FROM_SRC: "203.0.113.9",
            Predicate.FROM_RDNS: "a.example",
            Predicate.FOR_DOMAIN: "foreign.example",
            Predicate.HELO: "h.example",
            Predicate.AUTH: "ann@example.net",
            Predicate.MAIL_FROM: "s+tag@example.com",
            Predicate.RCPT_TO: "x+y@foreign.example",
        }
        for predicate, key in keys.items():
            for negated in (False, True):
                world = World('table t { "r" }\naction a relay\nmatch from any for any action a')
                condition = Condition(predicate, TableRef("t", regex=True), negated)
                rule = replace(world.config.rules[0], conditions=(condition,))
                world.config = replace(world.config, rules=(rule,))
                world.answers[AskMatch("t", Service.REGEX, key)] = True
                self.assertEqual(world.decide("X+y@Foreign.example", sent).refusal is None, not negated, predicate)
                self.assertEqual(world.asked, [AskMatch("t", Service.REGEX, key)])
                self.assertNotEqual(world.goes("x@other.example")[0][:3], "451")

    def test_tag(self) -> None:
        self.assertMatch("from any tag { inside, other } for any", transaction(tag="Inside"))
        self.assertNoMatch("from any tag inside for any", transaction(), transaction(tag="outside"))
        self.assertMatch("from any ! tag inside for any", transaction())


class OrderTests(SynchronousTestCase):
    TEXT = """
action one relay
action two relay ttl 1h
match from any for domain "one.example" action one
match from any for domain "no.example" reject
match from local for any action two
match from any for domain "*" action one
"""

    def test_firstMatchWins(self) -> None:
        world = World(self.TEXT)
        self.assertEqual(world.goes("x@one.example"), ["one x@one.example"])
        self.assertEqual(world.goes("x@two.example", transaction(**LOCAL)), ["two x@two.example"])
        self.assertEqual(world.goes("x@two.example"), ["one x@two.example"])

    def test_reject(self) -> None:
        decision = World(self.TEXT).decide("x@no.example")
        assert decision.refusal
        self.assertEqual((decision.refusal.code, decision.refusal.enhanced), (550, "5.7.1"))
        self.assertIn("smtpd.conf:5", decision.reason)
        self.assertNotIn("smtpd.conf", str(decision.refusal))

    def test_destination(self) -> None:
        destination = World(self.TEXT).decide("X@Two.example", transaction(**LOCAL)).destinations[0]
        self.assertEqual(str(destination.recipient), "X@Two.example")
        self.assertEqual(destination.recipient, destination.original)
        self.assertEqual((destination.agent, destination.action), (Agent.MTA, "two"))
        self.assertEqual((destination.ttl, destination.rule), (3600.0, "smtpd.conf:6"))

    def test_recordsWhatWasConsidered(self) -> None:
        step = World(self.TEXT).decide("x@two.example").step
        self.assertEqual(
            [(str(considered.where), considered.failed) for considered in step.considered],
            [
                ("smtpd.conf:4", "for domain"),
                ("smtpd.conf:5", "for domain"),
                ("smtpd.conf:6", "from local"),
                ("smtpd.conf:7", ""),
            ],
        )
        self.assertEqual(str(step.chosen), "smtpd.conf:7")
        self.assertRegex(step.questions[0].asked, r'^domain "two\.example" in inline table$')
        self.assertEqual([question.answer for question in step.questions], ["no", "no", "yes"])

    def test_nothingMatches(self) -> None:
        world = World('action "local" maildir\nmatch from any for domain "example.org" auth action "local"')
        self.assertEqual(world.goes("x@example.org"), ["550 5.1.1"])
        self.assertEqual(world.goes("x@example.net"), ["550 5.7.1"])
        self.assertIn("no rule matches", world.decide("x@example.net").reason)

    def test_eachConditionIsAskedOnce(self) -> None:
        world = World(
            "table d { example.org }\naction a relay\n"
            + "match from any for domain <d> tag nothing action a\n" * 20
            + 'match from any for domain <d> helo "y" action a\n' * 20
        )
        world.decide("x@example.org", transaction(tag="x", helo="z"))
        self.assertEqual(len(world.asked), 3)

    def test_aGenerationThatSharesItsRules(self) -> None:
        """It is not compiled again; what it is asked about itself, it answers for itself."""
        config = World(self.TEXT).config
        shared, other = replace(config, serverName="other.example"), World(self.TEXT).config
        self.assertIs(compileRules(shared).rules, compileRules(config).rules)
        self.assertIs(compileRules(shared).config, shared)
        self.assertIs(compileRules(config).config, config)
        self.assertIsNot(compileRules(other).rules, compileRules(config).rules)

    def test_tableError(self) -> None:
        """A rule that cannot be judged is neither matched nor passed over."""
        world = World(
            "table d { x.example }\naction a relay\nmatch from any for domain <d> reject\nmatch from any for any action a"
        )
        world.failing.add("d")
        decision = world.decide("x@x.example")
        assert decision.refusal
        self.assertEqual((decision.refusal.code, decision.refusal.enhanced), (451, "4.3.0"))
        self.assertIn("d is away", decision.reason)
