"""Nothing that a server sends does more than fail the question."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.names import dns
from twisted.trial.unittest import SynchronousTestCase

from pysmtpd.dns.resolver import PATIENCE, Resolver
from pysmtpd.dns.wire import decode, encode
from pysmtpd.interfaces.platform import ResolverSettings
from pysmtpd.interfaces.routing import AddressAnswer, Lookup, MxAnswer
from tests.dns.fakes import FakePlatform, a, cname, mx, reply, soa

SERVER = ("192.0.2.53", 53)

_names = st.sampled_from(["example.org", "www.example.org", "", "a b", "x" * 63, "\x00", "com"])
_ttls = st.sampled_from([0, 1, 300, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
_records = st.one_of(
    st.builds(mx, _names, st.integers(0, 65535), _names, _ttls),
    st.builds(cname, _names, _names, _ttls),
    st.builds(a, _names, st.just("192.0.2.1"), _ttls),
    st.builds(soa, _names, st.integers(0, 0xFFFFFFFF), _ttls),
)


class GarbageTests(SynchronousTestCase):
    def ask(self, answer: Any) -> MxAnswer:
        world = FakePlatform()
        world.network.servers[SERVER] = answer
        resolver = Resolver(world.platform(), ResolverSettings((SERVER,)))
        result = resolver.mx("example.org")
        world.clock.pump([0.5] * int(PATIENCE * 2 + 2))
        found = self.successResultOf(result)
        self.assertEqual(world.clock.getDelayedCalls(), [])
        assert isinstance(found, MxAnswer)
        return found

    @settings(max_examples=150, deadline=None)
    @given(st.binary(max_size=600))
    def test_anyOctetsUnderTheRightId(self, octets: bytes) -> None:
        self.assertEqual(self.ask(lambda q: q.id.to_bytes(2, "big") + octets).status, Lookup.FAILED)

    @settings(max_examples=150, deadline=None)
    @given(st.data())
    def test_aGoodAnswerThatIsCutOrChanged(self, data: st.DataObject) -> None:
        def damage(query: dns.Message) -> bytes:
            octets = bytearray(
                reply(query, mx("example.org", 1, "a.example.org"), mx("example.org", 2, "b.example.org")).toStr()
            )
            for _ in range(data.draw(st.integers(0, 4))):
                octets[data.draw(st.integers(2, len(octets) - 1))] = data.draw(st.integers(0, 255))
            return bytes(octets[: data.draw(st.integers(0, len(octets)))])

        answer = self.ask(damage)
        for host in answer.hosts:
            self.assertTrue(host.host == "" or host.host.isprintable())
            self.assertIn(host.preference, range(65536))

    @settings(max_examples=100, deadline=None)
    @given(
        st.lists(_records, max_size=8),
        st.lists(_records, max_size=3),
        st.integers(0, 15),
        st.booleans(),
    )
    def test_anyRecords(
        self, answers: list[dns.RRHeader], authority: list[dns.RRHeader], rcode: int, trunc: bool
    ) -> None:
        def hostile(query: dns.Message) -> dns.Message:
            message = reply(query, *answers, rcode=rcode, trunc=trunc)
            message.authority = authority
            return message

        self.assertIsInstance(self.ask(hostile), MxAnswer)

    def test_pointersThatCircle(self) -> None:
        question = encode(0, b"example.org", dns.MX, False)[12:]
        for name in (b"\xc0\x0c\xc0\x0c", b"\xc0\x1d", b"\xff\xff", b"\x3f" + b"a" * 63 + b"\xc0\x1d"):
            octets = (
                b"\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00"
                + question
                + name
                + b"\x00\x0f\x00\x01\x00\x00\x00\x01\x00\x04\x00\x01\xc0\x0c"
            )
            self.assertIn(self.ask(lambda q, octets=octets: q.id.to_bytes(2, "big") + octets).status, list(Lookup))

    def test_aThousandPointers(self) -> None:
        """Work per datagram is bounded, whatever it holds."""
        question = encode(0, b"example.org", dns.MX, False)[12:]
        record = b"\xc0\x0c\x00\x0f\x00\x01\x00\x00\x00\x01\x00\x04\x00\x01\xc0\x0c"
        octets = b"\x00\x00\x81\x80\x00\x01" + (600).to_bytes(2, "big") + b"\x00\x00\x00\x00" + question + record * 600
        self.assertIsNone(decode(octets))

    def test_countsThatPromiseTooMuch(self) -> None:
        good = bytearray(encode(5, b"example.org", dns.MX, True))
        self.assertIsNotNone(decode(bytes(good)))
        good[7] = 9
        self.assertIsNone(decode(bytes(good)))

    def test_hugeAnswers(self) -> None:
        many = [mx("example.org", number, f"h{number}.example.org") for number in range(250)]
        self.assertLessEqual(len(self.ask(lambda q: reply(q, *many)).hosts), 100)
        world = FakePlatform()
        world.network.servers[SERVER] = lambda q: reply(q, *[a("example.org", f"10.0.0.{n}") for n in range(200)])
        resolver = Resolver(world.platform(), ResolverSettings((SERVER,)))
        result = resolver.addresses("example.org", "inet4")
        world.clock.advance(0.1)
        answer = self.successResultOf(result)
        assert isinstance(answer, AddressAnswer)
        self.assertLessEqual(len(answer.addresses), 64)
