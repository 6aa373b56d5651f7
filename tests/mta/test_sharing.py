"""What shares a transaction, and what never meets on a connection: exact, minimal, and for any mix of mail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.model.config import Action, Config, Method, MtaLimits, RelayHost, TableRef
from pysmtpd.model.envelope import Envelope
from pysmtpd.mta.bounds import Charge, Load, strictest
from pysmtpd.mta.grouping import group
from pysmtpd.mta.keys import ConnectionKey, Target
from pysmtpd.mta.security import Level, Policy
from pysmtpd.mta.task import Part, Task
from tests.mta.fakes import Server, Table, World

QUIET = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
LEVELS = st.sampled_from([Level.OPPORTUNISTIC, Level.REQUIRED, Level.VERIFIED])


def target(host: int, level: Level, name: str = "") -> Target:
    key = ConnectionKey("smtp", "", f"192.0.2.{host}", 25, "me.test", "")
    return Target(key, f"mx{host}.test", Policy(level, name or f"mx{host}.test"))


class GroupTests(SynchronousTestCase):
    """Parts of one message, each with its equally good hosts."""

    def parts(self, world: World, count: int, sender: Sequence[int]) -> list[Part]:
        delivery = world.delivery(*(f"b@d{number}.test" for number in range(count)))
        config = world.config
        world.agent._directory.adopt(config)
        found = []
        for number, envelope in enumerate(delivery.envelopes):
            place = world.agent._directory.place(envelope.destination, {})
            assert isinstance(place, tuple)
            relay, action = place
            relay.begin()
            said = f"s{sender[number % len(sender)]}@x.test"
            found.append(Part(delivery.message, relay, action, [envelope], world.ears, said))
        return found

    @given(
        st.lists(
            st.tuples(st.lists(st.integers(1, 4), min_size=1, max_size=3, unique=True), LEVELS), min_size=1, max_size=8
        ),
        st.lists(st.integers(0, 1), min_size=1, max_size=3),
    )
    @QUIET
    def test_exact(self, wanted: list[tuple[list[int], Level]], senders: list[int]) -> None:
        parts = self.parts(World(), len(wanted), senders)
        ready = [
            (part, [target(host, level) for host in hosts]) for part, (hosts, level) in zip(parts, wanted, strict=True)
        ]
        groups = group(ready)
        grouped = [part for _, members, _ in groups for part in members]
        self.assertEqual(sorted(map(id, grouped)), sorted(map(id, parts)), "each part once")
        asked = dict(zip(map(id, parts), wanted, strict=True))
        for key, members, targets in groups:
            self.assertTrue(targets)
            for part in members:
                hosts, level = asked[id(part)]
                self.assertEqual(part.sender, key.sender)
                for each in targets:
                    self.assertIn(each.host, [f"mx{host}.test" for host in hosts])
                    self.assertIs(each.policy.level, level, "nobody's mail goes by another's policy")

    @given(
        st.lists(
            st.tuples(
                st.lists(st.integers(1, 5), min_size=1, max_size=3, unique=True),
                st.sampled_from([Level.OPPORTUNISTIC, Level.VERIFIED]),
                st.integers(0, 1),
            ),
            min_size=1,
            max_size=7,
        )
    )
    @settings(parent=QUIET, max_examples=200)
    def test_minimal(self, kinds: list[tuple[list[int], Level, int]]) -> None:
        """No other way to share hosts needs fewer transactions: all ways are tried."""
        parts = self.parts(World(), len(kinds), [sender for _, _, sender in kinds])
        ready = [
            (part, [target(host, level) for host in hosts])
            for part, (hosts, level, _) in zip(parts, kinds, strict=True)
        ]
        places = [{(sender, level, host) for host in hosts} for hosts, level, sender in kinds]
        every = sorted({place for each in places for place in each}, key=str)
        fewest = next(
            count
            for count in range(1, len(kinds) + 1)
            if any(all(each & set(chosen) for each in places) for chosen in combinations(every, count))
        )
        self.assertEqual(len(group(ready)), fewest)

    def test_manyThatOverlap(self) -> None:
        """A thousand domains, no two with the same hosts, are divided in no time; hosts are used again where they can be."""
        parts = self.parts(World(), 1000, [0])
        ready = [
            (part, [target(1 + number % 200, Level.OPPORTUNISTIC), target(1 + number % 250, Level.OPPORTUNISTIC)])
            for number, part in enumerate(parts)
        ]
        groups = group(ready)
        self.assertEqual(sum(len(members) for _, members, _ in groups), 1000)
        self.assertLessEqual(len(groups), 200)


class SplitTests(SynchronousTestCase):
    @given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 4), st.integers(1, 6))
    @QUIET
    def test_recipientsOfATransaction(self, count: int, most: int, mostDomains: int, domains: int) -> None:
        """As few transactions as the host's bounds allow, each recipient in one."""
        limits = [f"RCPTMAX={most}", *([f"RCPTDOMAINMAX={mostDomains}"] if mostDomains else [])]
        hosts = (RelayHost("smtp", "192.0.2.1", 25),)
        world = World({"out": Action("out", Method.RELAY, hosts=hosts)}, MtaLimits(maxConnPerHost=1))
        sink = world.host("192.0.2.1", Server("PIPELINING", "LIMITS " + " ".join(limits)))
        recipients = [f"r{number}@d{number % domains}.test" for number in range(count)]
        envelopes = world.send(*recipients, seconds=3)
        self.assertEqual(sorted(rcpt for mail, _ in sink.mails for rcpt in mail), sorted(recipients))
        self.assertTrue(all(world.told(one).startswith("Ok") for one in envelopes))
        for mail, _ in sink.mails:
            self.assertLessEqual(len(mail), most)
            if mostDomains:
                self.assertLessEqual(len({rcpt.partition("@")[2] for rcpt in mail}), mostDomains)
        if not mostDomains or domains <= mostDomains:
            self.assertEqual(len(sink.mails), -(-count // most))
        self.assertEqual(len(sink.conversations), 1)


class MeetTests(SynchronousTestCase):
    """Actions of all kinds towards one host, at the same time."""

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["smtp", "smtp+tls", "smtp+notls"]),
                st.sampled_from(["", "ann", "bob"]),
                st.integers(1, 4),
            ),
            min_size=1,
            max_size=12,
        ),
        st.integers(1, 3),
        st.booleans(),
    )
    @QUIET
    def test_neither(self, mail: list[tuple[str, str, int]], most: int, offersTls: bool) -> None:
        """No two credentials on a connection, and no mail on one that has less TLS than its action asks for."""
        actions: dict[str, Action] = {}
        for protocol, label, _ in mail:
            label = label if protocol == "smtp+tls" else ""
            name = f"{protocol}{label}"
            host = RelayHost(protocol, "192.0.2.1", 25, label)
            auth = TableRef("secrets") if label else None
            actions[name] = Action(name, Method.RELAY, hosts=(host,), authTable=auth, tlsVerify=False)
        world = World(
            actions, MtaLimits(maxConnPerHost=most), {"secrets": Table("secrets", {"ann": "ann:x", "bob": "bob:x"})}
        )
        words = ("STARTTLS",) if offersTls else ()
        sink = world.host("192.0.2.1", Server("PIPELINING", "AUTH PLAIN", *words, AUTH="235 2.7.0 ok"))
        for number, (protocol, label, count) in enumerate(mail):
            name = f"{protocol}{label if protocol == 'smtp+tls' else ''}"
            delivery = world.delivery(*(f"{name}.{number}.{index}@y.test" for index in range(count)))
            envelopes = tuple(_by(envelope, name) for envelope in delivery.envelopes)
            world.agent.deliver(delivery._replace(envelopes=envelopes), world.ears)
        world.run(30)
        self.assertEqual(len(world.ears.outcomes), sum(count for _, _, count in mail))
        for link in sink.connections:
            names = {line.partition("<")[2].split(".")[0] for line in link.commands if line.startswith("RCPT")}
            users = [line for line in link.commands if line.startswith("AUTH")]
            self.assertLessEqual(len(users), 1)
            labels = {name.removeprefix("smtp+tls") for name in names if name.startswith("smtp+tls")} - {""}
            self.assertLessEqual(len(labels), 1)
            if labels:
                self.assertEqual({name.removeprefix("smtp+tls") for name in names}, labels, "only its own mail")
            elif users:
                self.assertEqual(names, set())
            if any(name.startswith("smtp+tls") for name in names):
                self.assertTrue(link.isSecure)
            if "smtp+notls" in names and not link.isSecure:
                self.assertNotIn("STARTTLS", link.commands)
        self.assertEqual(world.agent._board.load._used, {}, "what was counted is discounted")


class LoadTests(SynchronousTestCase):
    def test_strictest(self) -> None:
        usual, other = MtaLimits(maxConnPerDomain=7), MtaLimits(maxConnPerDomain=3, connDelayRoute=2.0)
        config = Config("test", "me.test", mta=usual, mtaDomains={"y.test": other})
        self.assertIs(strictest(config, ["z.test"]), usual)
        both = strictest(config, ["z.test", "y.test"])
        self.assertEqual((both.maxConnPerDomain, both.connDelayRoute), (3, 2.0))

    @given(st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=4, unique=True), max_size=30), st.data())
    @QUIET
    def test_counts(self, wanted: list[list[int]], data: Any) -> None:
        """Whatever begins and ends: nothing is over its limit, and everything is zero in the end."""
        config = Config(
            "test", "me.test", mtaDomains={"d0": MtaLimits(maxConnPerDomain=1), "d1": MtaLimits(maxConnPerDomain=2)}
        )
        load, running = Load(), []
        for numbers in wanted:
            charges = [Charge("domain", f"d{number}", f"d{number}") for number in numbers]
            if load.full(config, charges) is None:
                load.begin(charges)
                running.append(charges)
            for charge in charges:
                self.assertLessEqual(load.of(charge), charge.most(config))
                self.assertEqual(load.of(charge), sum(charge in each for each in running))
            if running and data.draw(st.booleans()):
                load.end(running.pop(data.draw(st.integers(0, len(running) - 1))))
        for charges in running:
            load.end(charges)
        self.assertEqual(load._used, {})


class DivideTests(SynchronousTestCase):
    def test_divide(self) -> None:
        parts = GroupTests("test_exact").parts(World(), 3, [0])
        chosen = target(1, Level.OPPORTUNISTIC)
        task = Task(group([(part, [chosen]) for part in parts])[0][0], list(parts), chosen, 0.0)
        rest = task.divide([parts[1]])
        self.assertEqual((task.parts, rest.parts), ([parts[0], parts[2]], [parts[1]]))
        self.assertEqual(rest.policy, task.policy)


def _by(envelope: Envelope, action: str) -> Envelope:
    return replace(envelope, destination=replace(envelope.destination, action=action))
