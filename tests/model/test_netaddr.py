from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.model.netaddr import canonicalIp, isLoopback, parseIp


class NetaddrTests(SynchronousTestCase):
    def test_whatIsNone(self) -> None:
        names = (
            "example.org",
            "1.example.org",
            "",
            "[",
            "[]",
            "[IPv6:]",
            "192.0.2.256",
            "::g",
            "1.2.3",
            "127.1",
            "0x7f.1",
        )
        for text in names:
            self.assertIsNone(parseIp(text), text)
            self.assertEqual(canonicalIp(text), "")

    def test_literals(self) -> None:
        self.assertEqual(canonicalIp("[192.0.2.1]"), "192.0.2.1")
        self.assertEqual(canonicalIp("[IPv6:2001:DB8:0::1]"), "2001:db8::1")

    def test_oneWayToWriteIt(self) -> None:
        self.assertEqual(canonicalIp("[ipv6:::ffff:192.0.2.1]"), "192.0.2.1")
        self.assertEqual(canonicalIp("fe80::1%eth0"), "fe80::1")

    def test_loopback(self) -> None:
        self.assertTrue(isLoopback("127.0.0.53"))
        self.assertTrue(isLoopback("::1"))
        self.assertFalse(isLoopback("192.0.2.1"))

    @given(st.ip_addresses())
    def test_asTheLibrarySays(self, address: object) -> None:
        parsed = parseIp(str(address))
        assert parsed is not None
        self.assertEqual(isLoopback(canonicalIp(str(address))), parsed.is_loopback)
