"""How files are read and keys are found."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.interfaces.routing import Service
from pysmtpd.table.content import Content
from pysmtpd.table.glob import globMatches
from pysmtpd.table.networks import parseNetwork
from pysmtpd.table.syntax import parseTable

octets = st.integers(0, 255)
addresses = st.one_of(
    st.tuples(st.sampled_from([10, 192]), st.sampled_from([0, 1, 2]), octets, octets).map(
        lambda a: ".".join(map(str, a))
    ),
    st.integers(0, 2**16).map(lambda n: str(ip_address((0x20010DB8 << 96) + n * 2**70 + n))),
)


class SyntaxTests(SynchronousTestCase):
    def check(self, text: str, expected: list[tuple[str, str]]) -> None:
        self.assertEqual(list(parseTable(text)), expected)

    def test_list(self) -> None:
        self.check("# c\n\n  example.org  \nexample.net\n", [("example.org", ""), ("example.net", "")])

    def test_map(self) -> None:
        self.check("ann: ben\ncid\tdora, eve \n fay  gus\n", [("ann", "ben"), ("cid", "dora, eve"), ("fay", "gus")])

    def test_firstLineDecides(self) -> None:
        self.check("ann\nben: cid\n", [("ann", ""), ("ben: cid", "")])
        self.assertRaises(ValueError, list, parseTable("ann: ben\ncid\n"))

    def test_listByComment(self) -> None:
        self.check("# @list\n2001:db8::/32\n", [("2001:db8::/32", "")])

    def test_bracketedKey(self) -> None:
        self.check("[2001:db8::1]: six\n", [("[2001:db8::1]", "six")])

    def test_lastOfEqualKeysCounts(self) -> None:
        self.assertEqual(Content(parseTable("Ann: a\nann: b\n")).lookup(Service.ALIAS, "ann"), "b")

    @settings(deadline=None)
    @given(st.text(max_size=200))
    def test_anyTextIsReadOrRefused(self, text: str) -> None:
        try:
            entries = list(parseTable(text))
        except ValueError as error:
            self.assertIn("line ", str(error))
        else:
            Content(entries)


class GlobTests(SynchronousTestCase):
    @settings(deadline=None)
    @given(st.text("ab.*", max_size=8), st.text("ab.", max_size=12))
    def test_starIsAnyString(self, pattern: str, text: str) -> None:
        expected = bool(re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text))
        self.assertEqual(globMatches(pattern, text), expected)
        self.assertEqual(Content([(pattern, "")]).match(Service.DOMAIN, text), expected)

    def test_leadingStarsAreNotTriedOneByOne(self) -> None:
        def globs(*keys: str) -> int:
            return Content((key, "") for key in keys).globs

        self.assertEqual(globs("*.example.org", "*example.net", "*", "ann@*.example.org", "@*example.org"), 0)
        self.assertEqual(globs("mail*.example.org", "*.*.example.org", "ann@mail*.example.org"), 3)

    def test_boundedTime(self) -> None:
        self.assertFalse(globMatches("*a" * 5_000 + "b", "a" * 100_000))


class NetworkTests(SynchronousTestCase):
    @settings(deadline=None)
    @given(addresses, addresses, st.integers(0, 128))
    def test_asIpaddressSays(self, base: str, address: str, length: int) -> None:
        length = min(length, ip_address(base).max_prefixlen)
        expected = ip_address(address) in ip_network(f"{base}/{length}", strict=False)
        self.assertEqual(Content([(f"{base}/{length}", "")]).match(Service.NETADDR, address), expected)

    def test_noNetworks(self) -> None:
        for text in ("192.0.2.0/33", "192.0.2.0/", "192.0.2", "2001:db8::/129", "/8", "192.0.2.0/-1", "x", ""):
            self.assertIsNone(parseNetwork(text), text)

    def test_longestOfMany(self) -> None:
        content = Content((f"10.{n >> 8}.{n & 255}.0/24", "") for n in range(5000))
        self.assertTrue(content.match(Service.NETADDR, "10.19.135.9"))
        self.assertFalse(content.match(Service.NETADDR, "10.19.136.9"))
