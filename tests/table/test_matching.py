"""Compiled matchers and the plainest ones agree, whatever the entries are and however many parts hold them."""

from __future__ import annotations

import os

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.interfaces.routing import Service
from pysmtpd.model.config import BackendSpec, TableSpec
from pysmtpd.platform.disk import RealDisk
from pysmtpd.table.content import SHARD, Builder, Content, Difference
from pysmtpd.table.db import make
from pysmtpd.table.dbfile import MapWriter
from tests.table.naive import matches
from tests.table.platform import SmallPlatform

labels = st.text("ab*", max_size=3)
names = st.lists(labels, max_size=4).map(".".join)
users = st.sampled_from(["", "a", "b", "a+b", "*"])
mailKeys = st.one_of(names, st.tuples(users, names).map("@".join), st.sampled_from(["@", "<>", "*", "a@*", "@*"]))
asked = st.one_of(
    st.just(""),
    st.lists(st.text("ab", max_size=3), max_size=4).map(".".join),
    st.tuples(
        st.sampled_from(["a", "b", "a+b", ""]), st.lists(st.text("ab", max_size=3), max_size=4).map(".".join)
    ).map("@".join),
)
fours = st.tuples(st.sampled_from([10, 192]), st.integers(0, 1), st.integers(0, 3), st.integers(0, 255)).map(
    lambda octets: ".".join(map(str, octets))
)
sixes = st.tuples(st.integers(0, 3), st.integers(0, 3)).map(lambda parts: f"2001:db8:{parts[0]}::{parts[1]}")
addresses = st.one_of(
    fours, sixes, st.one_of(fours, sixes).map(lambda text: f"[{text}]"), sixes.map(lambda text: f"ipv6:{text}")
)
networks = st.one_of(
    addresses,
    st.tuples(fours, st.integers(0, 32)).map(lambda parts: f"{parts[0]}/{parts[1]}"),
    st.tuples(sixes, st.integers(0, 128)).map(lambda parts: f"{parts[0]}/{parts[1]}"),
    st.sampled_from(["local", "10.0.0", "::/129", "ab", "1"]),
)


def content(keys: list[str], expected: int) -> Content:
    builder = Builder(expected=expected)
    builder.add([(key, "", line) for line, key in enumerate(keys, 1)])
    return Content.of(builder)


sizes = st.sampled_from([0, 3 * SHARD, 100 * SHARD])


class OracleTests(SynchronousTestCase):
    @settings(deadline=None, max_examples=200)
    @given(st.lists(names, max_size=6), asked, sizes)
    def test_domains(self, keys: list[str], name: str, expected: int) -> None:
        found = content(keys, expected).match(Service.DOMAIN, name)
        self.assertIs(found, matches(keys, Service.DOMAIN, name))

    @settings(deadline=None, max_examples=200)
    @given(st.lists(mailKeys, max_size=6), asked, sizes)
    def test_addresses(self, keys: list[str], address: str, expected: int) -> None:
        found = content(keys, expected).match(Service.MAILADDR, address)
        self.assertIs(found, matches(keys, Service.MAILADDR, address))

    @settings(deadline=None, max_examples=200)
    @given(st.lists(networks, max_size=6), st.one_of(addresses, st.sampled_from(["local", "x", ""])), sizes)
    def test_networks(self, keys: list[str], address: str, expected: int) -> None:
        found = content(keys, expected).match(Service.NETADDR, address)
        self.assertIs(found, matches(keys, Service.NETADDR, address))

    @settings(deadline=None, max_examples=40)
    @given(
        st.lists(st.one_of(mailKeys, networks), max_size=8),
        st.sampled_from([Service.DOMAIN, Service.MAILADDR, Service.NETADDR, Service.STRING]),
        st.lists(st.one_of(asked, addresses), min_size=1, max_size=6),
    )
    def test_maps(self, keys: list[str], service: Service, asks: list[str]) -> None:
        """A file of makemap answers as memory does."""
        path = os.path.abspath(self.mktemp())
        writer = MapWriter(RealDisk(), path)
        writer.add([(key, "", line) for line, key in enumerate(keys, 1)])
        writer.finish()
        table = make(path, SmallPlatform(RealDisk()).asPlatform, {"spec": TableSpec("t", BackendSpec("db", path))})
        for each in asks:
            self.assertIs(self.successResultOf(table.match(service, each)), matches(keys, service, each), each)
        table.close()


class ChangeTests(SynchronousTestCase):
    @settings(deadline=None, max_examples=100)
    @given(*[st.dictionaries(st.text("ab", max_size=3), st.text("xy", max_size=1), max_size=20)] * 2, sizes, sizes)
    def test_whatChanged(self, before: dict[str, str], after: dict[str, str], first: int, second: int) -> None:
        def build(entries: dict[str, str], expected: int) -> Content:
            builder = Builder(expected=expected)
            builder.add([(key, value, 0) for key, value in entries.items()])
            return Content.of(builder)

        difference = Difference(build(before, first), build(after, second))
        while difference.step():
            pass
        found = difference.result()
        both = before.keys() & after.keys()
        self.assertEqual(
            (found.entries, found.added, found.removed, found.changed),
            (
                len(after),
                len(after) - len(both),
                len(before) - len(both),
                len([k for k in both if before[k] != after[k]]),
            ),
        )
