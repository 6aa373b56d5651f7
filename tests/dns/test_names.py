from __future__ import annotations

from ipaddress import ip_address

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.dns.cache import USUAL, Cache
from pysmtpd.dns.hosts import parseHosts
from pysmtpd.dns.names import BadName, fromWire, reverseName, toWire


class NameTests(SynchronousTestCase):
    def test_toWire(self) -> None:
        for name, wire in [
            ("Example.ORG", b"example.org"),
            ("example.org.", b"example.org"),
            ("_dmarc.example.org", b"_dmarc.example.org"),
            ("bücher.example", b"xn--bcher-kva.example"),
            ("BÜCHER.example", b"xn--bcher-kva.example"),
            ("straße.example", b"xn--strae-oqa.example"),
            ("例え。テスト", b"xn--r8jz45g.xn--zckzah"),
            ("a" * 63 + ".example", b"a" * 63 + b".example"),
        ]:
            self.assertEqual(toWire(name), wire)

    def test_whatIsNoName(self) -> None:
        for name in (
            "",
            ".",
            "..",
            "a..b",
            ".a",
            "a.",
            "a" * 64,
            "a." * 127 + "a",
            "a b",
            "a\n",
            "a/b",
            "a@b",
            "*.example",
        ):
            if name != "a.":
                self.assertRaises(BadName, toWire, name)
        self.assertRaises(BadName, toWire, "ü" * 500_000)
        self.assertRaises(BadName, toWire, "\u200d.example")

    @settings(max_examples=200, deadline=None)
    @given(st.text(max_size=80))
    def test_anyTextIsANameOrBad(self, text: str) -> None:
        try:
            wire = toWire(text)
        except BadName:
            return
        self.assertEqual(toWire(fromWire(wire)), wire)
        self.assertLessEqual(max(map(len, wire.split(b"."))), 63)

    @settings(max_examples=200, deadline=None)
    @given(st.binary(max_size=80))
    def test_anyOctetsAreAHostNameOrBad(self, octets: bytes) -> None:
        try:
            name = fromWire(octets)
        except BadName:
            return
        self.assertTrue(name == "" or toWire(name) == octets.lower())

    def test_reverseName(self) -> None:
        self.assertEqual(reverseName(ip_address("192.0.2.1")), b"1.2.0.192.in-addr.arpa")
        self.assertTrue(reverseName(ip_address("fe80::1")).endswith(b".0.8.e.f.ip6.arpa"))


class HostsTests(SynchronousTestCase):
    def test_parse(self) -> None:
        text = """
        # a comment
        127.0.0.1   localhost
        ::1         localhost ip6-localhost  # another
        192.0.2.7   Mail.Example.org. mail
        192.0.2.7   mail
        nonsense    name
        192.0.2.300 name
        192.0.2.8
        """
        self.assertEqual(
            parseHosts(text),
            {
                "localhost": ("127.0.0.1", "::1"),
                "ip6-localhost": ("::1",),
                "mail.example.org": ("192.0.2.7",),
                "mail": ("192.0.2.7",),
            },
        )

    @settings(max_examples=50, deadline=None)
    @given(st.text(max_size=200))
    def test_anyText(self, text: str) -> None:
        parseHosts(text)


class CacheTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.cache = Cache(self.clock.seconds, 3)

    def put(self, keys: str, size: int = 1, ttl: float = 10) -> None:
        for key in keys:
            self.cache.put(key.encode(), 1, key.encode() * size, ttl)

    def known(self, keys: str) -> str:
        """Those of them that are still there."""
        return "".join(key for key in keys if self.cache.get(key.encode(), 1) is not None)

    def test_time(self) -> None:
        self.put("a", 5)
        self.clock.advance(9.9)
        self.assertEqual(self.cache.get(b"a", 1), (b"aaaaa", 10.0))
        self.clock.advance(0.1)
        self.assertIsNone(self.cache.get(b"a", 1))

    def test_theOldestGoes(self) -> None:
        self.put("abcd")
        self.assertEqual(self.known("abcd"), "bcd")

    def test_whatIsHeavyTakesMoreRoom(self) -> None:
        self.put("ab")
        self.put("c", USUAL)
        self.put("cd")
        self.assertEqual(self.known("abcd"), "bcd")
        self.put("e", 9 * USUAL)
        self.assertEqual(self.known("bcde"), "e")
        self.cache.clear()
        self.put("abc")
        self.assertEqual(len(self.cache), 3)

    def test_putAgainTakesItsPlace(self) -> None:
        self.put("abca")
        self.assertEqual(self.known("abc"), "abc")
        self.put("d")
        self.assertEqual(self.known("abcd"), "bcd")

    def test_putAgainWithMoreWeight(self) -> None:
        self.put("abc")
        self.put("a", 2 * USUAL)
        self.assertEqual(self.known("abc"), "a")
        self.put("d")
        self.assertEqual(self.known("abcd"), "d")

    def test_whatWasAskedForIsToldApart(self) -> None:
        self.put("ab")
        self.cache.put(b"a", 28, b"more", 5)
        self.cache.put(b"a", 0x8001, b"", 20)
        self.assertEqual(
            [self.cache.get(b"a", kind) for kind in (1, 28, 0x8001, 16)],
            [(b"a", 10.0), (b"more", 5.0), (b"", 20.0), None],
        )
        self.assertEqual(len(self.cache), 2)
        self.clock.advance(6)
        self.assertIsNone(self.cache.get(b"a", 28))
        self.cache.put(b"a", 1, b"other", 10)
        self.assertEqual((self.cache.get(b"a", 1), self.cache.get(b"a", 0x8001)), ((b"other", 16.0), (b"", 20.0)))
        self.cache.put(b"a", 1, b"", 0)
        self.assertEqual((self.cache.get(b"a", 1), self.cache.get(b"a", 0x8001)), (None, (b"", 20.0)))

    def test_withoutTimeItIsForgotten(self) -> None:
        self.put("a")
        self.put("a", ttl=0)
        self.assertIsNone(self.cache.get(b"a", 1))
        self.assertEqual(len(self.cache), 0)
