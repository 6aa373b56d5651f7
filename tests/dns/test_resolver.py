from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.names import dns
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pysmtpd.dns.resolver import FAILURE_TTL, PATIENCE, PEER_PATIENCE, Resolver
from pysmtpd.dns.sockets import MOST_USES, POOL
from pysmtpd.dns.stub import (
    HASTE,
    MOST_FOR_ORIGIN,
    MOST_FOR_PEERS,
    MOST_OUTSTANDING,
    MOST_SLOW,
    MOST_STREAMS,
    PENALTY,
    UDP_TIMEOUT,
)
from pysmtpd.dns.wire import EDNS_SIZE
from pysmtpd.interfaces.platform import ResolverSettings
from pysmtpd.interfaces.routing import AddressAnswer, IResolver, Lookup, MxAnswer, MxHost
from tests.dns.fakes import FakePlatform, Handler, Zone, a, aaaa, cname, mx, ptr, reply, soa

FIRST = ("192.0.2.53", 53)
SECOND = ("192.0.2.54", 53)
SIXTH = ("2001:db8::53", 53)


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = FakePlatform()
        self.clock, self.network = self.world.clock, self.world.network
        self.use()

    def use(
        self,
        *servers: tuple[str, int],
        trustAD: bool = False,
        hosts: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        settings = ResolverSettings(servers or (FIRST,), trustAD)
        self.resolver = Resolver(self.world.platform(), settings, hosts)

    def serve(self, handler: Handler, address: tuple[str, int] = FIRST) -> None:
        self.network.servers[address] = handler

    def wait(self, result: Deferred[Any], seconds: float = 0.1) -> Any:
        self.clock.advance(0.0)
        for _ in range(int(seconds / 0.05) + 1):
            if result.called and not result.paused:
                break
            self.clock.advance(0.05)
        return self.successResultOf(result)

    def mx(self, domain: str, seconds: float = 0.1) -> MxAnswer:
        answer = self.wait(self.resolver.mx(domain), seconds)
        assert isinstance(answer, MxAnswer)
        return answer

    def addresses(self, host: str, family: str = "", seconds: float = 0.1) -> AddressAnswer:
        answer = self.wait(self.resolver.addresses(host, family), seconds)
        assert isinstance(answer, AddressAnswer)
        return answer


class AnswerTests(Case):
    def test_provides(self) -> None:
        self.assertTrue(verifyObject(IResolver, self.resolver))

    def test_mxInOrderOfPreference(self) -> None:
        self.serve(Zone(mx("example.org", 20, "B.example.org"), mx("example.org", 10, "a.example.org")))
        self.assertEqual(
            self.mx("example.org"),
            MxAnswer(Lookup.FOUND, (MxHost(10, "a.example.org"), MxHost(20, "b.example.org"))),
        )

    def test_whatIsAsked(self) -> None:
        self.serve(Zone(mx("example.org", 10, "a.example.org")))
        self.mx("Example.ORG.")
        query = self.network.messages[0]
        self.assertEqual((query.queries[0].name.name, query.queries[0].type), (b"example.org", dns.MX))
        self.assertEqual((query.recDes, query.authenticData, query.answer), (1, 1, 0))
        [option] = query.additional
        self.assertEqual((option.type, option.cls, option.ttl), (41, EDNS_SIZE, 0))

    def test_nullMx(self) -> None:
        self.serve(Zone(mx("example.org", 0, "")))
        self.assertEqual(self.mx("example.org"), MxAnswer(Lookup.FOUND, (MxHost(0, ""),)))

    def test_aNullMxBesideOthersMeansNothing(self) -> None:
        self.serve(Zone(mx("example.org", 0, ""), mx("example.org", 5, "a.example.org")))
        self.assertEqual(self.mx("example.org").hosts, (MxHost(5, "a.example.org"),))

    def test_mxTwiceCountsOnce(self) -> None:
        self.serve(Zone(mx("example.org", 5, "a.example.org"), mx("example.org", 5, "A.EXAMPLE.ORG")))
        self.assertEqual(self.mx("example.org").hosts, (MxHost(5, "a.example.org"),))

    def test_mxThatIsNoHostName(self) -> None:
        self.serve(Zone(mx("example.org", 5, "a b\r\n.example.org"), mx("example.org", 6, "ok.example.org")))
        self.assertEqual(self.mx("example.org").hosts, (MxHost(6, "ok.example.org"),))

    def test_onlyMxThatAreNoHostNames(self) -> None:
        self.serve(Zone(mx("example.org", 5, "<>.example.org")))
        answer = self.mx("example.org")
        self.assertEqual((answer.status, answer.hosts), (Lookup.FAILED, ()))
        self.assertIn("no host name", answer.error)

    def test_noSuchDomainIsNotNoRecords(self) -> None:
        self.serve(Zone(a("www.example.org", "192.0.2.1")))
        self.assertEqual(self.mx("www.example.org").status, Lookup.NODATA)
        self.assertEqual(self.mx("none.example.org").status, Lookup.NXDOMAIN)

    def test_bothFamilies(self) -> None:
        self.serve(Zone(a("www.example.org", "192.0.2.1"), aaaa("www.example.org", "2001:db8::1")))
        self.assertEqual(
            self.addresses("www.example.org"),
            AddressAnswer(Lookup.FOUND, ("2001:db8::1", "192.0.2.1"), canonical="www.example.org"),
        )

    def test_oneFamily(self) -> None:
        self.serve(Zone(a("www.example.org", "192.0.2.1"), aaaa("www.example.org", "2001:db8::1")))
        self.assertEqual(self.addresses("www.example.org", "inet4").addresses, ("192.0.2.1",))
        self.assertEqual(self.addresses("www.example.org", "inet6").addresses, ("2001:db8::1",))

    def test_addressesOfAnAlias(self) -> None:
        self.serve(Zone(cname("www.example.org", "web.example.org"), a("web.example.org", "192.0.2.1")))
        answer = self.addresses("www.example.org")
        self.assertEqual((answer.addresses, answer.canonical), (("192.0.2.1",), "web.example.org"))

    def test_mxOfAnAlias(self) -> None:
        self.serve(Zone(cname("example.com", "example.org"), mx("example.org", 1, "mx.example.org")))
        self.assertEqual((self.mx("example.com").canonical, self.mx("example.org").canonical), ("example.org", ""))

    def test_oneFamilyThatFailsDoesNotHideTheOther(self) -> None:
        zone = Zone(a("www.example.org", "192.0.2.1"))
        self.serve(lambda q: zone(q) if q.queries[0].type == dns.A else reply(q, rcode=dns.ESERVER))
        self.assertEqual(self.addresses("www.example.org").addresses, ("192.0.2.1",))

    def test_aFailureIsNoProofOfAbsence(self) -> None:
        self.serve(lambda q: reply(q) if q.queries[0].type == dns.A else reply(q, rcode=dns.ESERVER))
        answer = self.addresses("www.example.org")
        self.assertEqual(answer.status, Lookup.FAILED)
        self.assertIn("server failure", answer.error)

    def test_addressesAreNeverIPv4InsideIPv6(self) -> None:
        self.serve(Zone(aaaa("www.example.org", "::ffff:127.0.0.1")))
        self.assertEqual(self.addresses("www.example.org").status, Lookup.NODATA)

    def test_internationalNames(self) -> None:
        self.serve(Zone(mx("xn--strae-oqa.example.org", 1, "a.example.org")))
        self.assertEqual(self.mx("STRAßE.example.org").status, Lookup.FOUND)

    def test_whatIsNoNameIsNotAsked(self) -> None:
        for name in (
            "",
            ".",
            "a..b",
            "a b",
            "x" * 64 + ".example.org",
            "é" * 2000,
            "-x.example.org",
            "a\x00b",
            "\ud800",
        ):
            self.assertEqual(self.mx(name).status, Lookup.NXDOMAIN, name)
            self.assertEqual(self.addresses(name).status, Lookup.NXDOMAIN, name)
        self.assertEqual(self.network.asked, [])

    def test_recordsOfOtherNamesAndClassesDoNotCount(self) -> None:
        chaos = a("www.example.org", "192.0.2.66")
        chaos.cls = dns.CH
        self.serve(lambda q: reply(q, a("evil.example.org", "192.0.2.66"), chaos))
        self.assertEqual(self.addresses("www.example.org", "inet4").status, Lookup.NODATA)


class PtrTests(Case):
    NAME = "1.2.0.192.in-addr.arpa"

    def confirmed(self, address: str) -> object:
        return self.wait(self.resolver.confirmedName(address), 0.3)

    def test_ptr(self) -> None:
        self.serve(Zone(ptr(self.NAME, "Mail.example.org")))
        self.assertEqual(self.wait(self.resolver.ptr("192.0.2.1")), ("mail.example.org",))
        self.assertEqual(self.wait(self.resolver.ptr("::ffff:192.0.2.1")), ("mail.example.org",))

    def test_ptrOfIPv6(self) -> None:
        self.wait(self.resolver.ptr("2001:db8::1"), PATIENCE)
        name = b"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"
        self.assertEqual(self.network.asked[0][1:], (name, dns.PTR))

    def test_noPtr(self) -> None:
        self.serve(Zone())
        self.assertEqual(self.wait(self.resolver.ptr("192.0.2.1")), ())
        self.assertEqual(self.wait(self.resolver.ptr("local")), ())

    def test_ptrNamesThatAreNoHostNames(self) -> None:
        self.serve(Zone(ptr(self.NAME, "a\nsmtp.example.org"), ptr(self.NAME, "ok.example.org"), ptr(self.NAME, "")))
        self.assertEqual(self.wait(self.resolver.ptr("192.0.2.1")), ("ok.example.org",))

    def test_confirmed(self) -> None:
        self.serve(Zone(ptr(self.NAME, "mail.example.org"), a("mail.example.org", "192.0.2.1")))
        self.assertEqual(self.confirmed("192.0.2.1"), "mail.example.org")
        self.assertNotIn(dns.AAAA, [type for _, _, type in self.network.asked])

    def test_aNameThatPointsElsewhereIsNotConfirmed(self) -> None:
        self.serve(Zone(ptr(self.NAME, "mail.example.org"), a("mail.example.org", "192.0.2.2")))
        self.assertEqual(self.confirmed("192.0.2.1"), "")

    def test_theFirstOfSeveral(self) -> None:
        self.serve(
            Zone(
                ptr(self.NAME, "liar.example.org"),
                ptr(self.NAME, "b.example.org"),
                ptr(self.NAME, "a.example.org"),
                a("a.example.org", "192.0.2.1"),
                a("b.example.org", "192.0.2.1"),
            )
        )
        self.assertEqual(self.confirmed("192.0.2.1"), "b.example.org")

    def test_manyNamesAreCut(self) -> None:
        self.serve(Zone(*[ptr(self.NAME, f"n{number}.example.org") for number in range(100)]))
        self.assertEqual(self.confirmed("192.0.2.1"), "")
        self.assertLessEqual(len(self.network.asked), 9)

    def test_aSilentServerGivesNoName(self) -> None:
        self.assertEqual(self.wait(self.resolver.confirmedName("192.0.2.1"), PATIENCE), "")


class WithoutDnsTests(Case):
    def test_literals(self) -> None:
        for host, address in [
            ("192.0.2.1", "192.0.2.1"),
            ("[192.0.2.1]", "192.0.2.1"),
            ("[IPv6:2001:DB8::1]", "2001:db8::1"),
            ("::1", "::1"),
        ]:
            self.assertEqual(self.addresses(host).addresses, (address,))
            self.assertEqual(self.mx(host).status, Lookup.NODATA)
        self.assertEqual(self.addresses("192.0.2.1", "inet6").status, Lookup.NODATA)
        self.assertEqual(self.network.asked, [])

    def test_localhost(self) -> None:
        self.assertEqual(self.addresses("localhost").addresses, ("::1", "127.0.0.1"))
        self.assertEqual(self.addresses("Localhost.", "inet4").addresses, ("127.0.0.1",))
        self.assertEqual(self.addresses("a.localhost", "inet4").addresses, ("127.0.0.1",))
        self.assertEqual(self.mx("localhost").status, Lookup.NODATA)
        self.assertEqual(self.network.asked, [])

    def test_theHostsFileComesFirst(self) -> None:
        self.use(FIRST, hosts={"mail.example.org": ["192.0.2.7"], "localhost": ["127.0.0.2"]})
        self.serve(Zone(a("mail.example.org", "192.0.2.1")))
        self.assertEqual(self.addresses("MAIL.example.org").addresses, ("192.0.2.7",))
        self.assertEqual(self.addresses("localhost").addresses, ("127.0.0.2",))
        self.assertEqual(self.network.asked, [])

    def test_aNameOfTheHostsFileOnlyExists(self) -> None:
        self.use(FIRST, hosts={"mail.internal": ["192.0.2.7"]})
        self.serve(Zone())
        self.assertEqual(self.mx("mail.internal").status, Lookup.NODATA)
        self.assertEqual(self.mx("other.internal").status, Lookup.NXDOMAIN)


class CacheTests(Case):
    def test_keptForItsTtl(self) -> None:
        self.serve(
            Zone(mx("example.org", 10, "a.example.org", ttl=100), mx("example.org", 20, "b.example.org", ttl=50))
        )
        first = self.mx("example.org")
        self.clock.advance(49.0)
        self.assertEqual(self.mx("example.org"), first)
        self.assertEqual(len(self.network.asked), 1)
        self.clock.advance(2.0)
        self.assertEqual(self.mx("example.org"), first)
        self.assertEqual(len(self.network.asked), 2)

    def test_aZeroTtlIsNotKept(self) -> None:
        self.serve(Zone(mx("example.org", 10, "a.example.org", ttl=0)))
        self.mx("example.org")
        self.mx("example.org")
        self.assertEqual(len(self.network.asked), 2)

    def test_aNegativeTtlIsZero(self) -> None:
        self.serve(Zone(mx("example.org", 10, "a.example.org", ttl=0x80000000)))
        self.mx("example.org")
        self.mx("example.org")
        self.assertEqual(len(self.network.asked), 2)

    def test_aVeryLongTtlIsCut(self) -> None:
        self.serve(Zone(mx("example.org", 10, "a.example.org", ttl=0x7FFFFFFF)))
        self.mx("example.org")
        self.clock.advance(86_500.0)
        self.mx("example.org")
        self.assertEqual(len(self.network.asked), 2)

    def test_theShortestTtlOfAChain(self) -> None:
        self.serve(Zone(cname("www.example.org", "web.example.org", ttl=10), a("web.example.org", "192.0.2.1")))
        self.addresses("www.example.org", "inet4")
        self.clock.advance(11.0)
        self.addresses("www.example.org", "inet4")
        self.assertEqual(len(self.network.asked), 2)

    def test_absenceIsKeptForTheSoaMinimum(self) -> None:
        self.serve(Zone(authority=[soa("example.org", minimum=60, ttl=3600)]))
        for name in ("none.example.org", "none.example.org"):
            self.assertEqual(self.mx(name).status, Lookup.NXDOMAIN)
        self.assertEqual(len(self.network.asked), 1)
        self.clock.advance(61.0)
        self.mx("none.example.org")
        self.assertEqual(len(self.network.asked), 2)

    def test_absenceIsKeptNoLongerThanTheSoaItself(self) -> None:
        self.serve(Zone(authority=[soa("example.org", minimum=3600, ttl=5)]))
        self.mx("none.example.org")
        self.clock.advance(6.0)
        self.mx("none.example.org")
        self.assertEqual(len(self.network.asked), 2)

    def test_absenceWithoutSoaIsNotKept(self) -> None:
        for authority in ([], [soa("example.net")]):
            self.network.asked.clear()
            self.serve(Zone(authority=authority))
            self.mx("none.example.org")
            self.mx("none.example.org")
            self.assertEqual(len(self.network.asked), 2)

    def test_absenceIsKeptAnHourAtMost(self) -> None:
        self.serve(Zone(authority=[soa("", minimum=0x7FFFFFFF, ttl=0x7FFFFFFF)]))
        self.mx("none.example.org")
        self.clock.advance(3601.0)
        self.mx("none.example.org")
        self.assertEqual(len(self.network.asked), 2)

    def test_failureIsKeptForAMoment(self) -> None:
        self.serve(lambda q: reply(q, rcode=dns.ESERVER))
        self.mx("example.org")
        self.mx("example.org")
        self.assertEqual(len(self.network.asked), 1)
        self.clock.advance(FAILURE_TTL)
        self.mx("example.org")
        self.assertEqual(len(self.network.asked), 2)

    def test_flush(self) -> None:
        self.serve(Zone(mx("example.org", 10, "a.example.org")))
        self.mx("example.org")
        self.resolver.flush()
        self.mx("example.org")
        self.assertEqual(len(self.network.asked), 2)


class MergeTests(Case):
    def test_oneQuestionForAll(self) -> None:
        self.serve(Zone(mx("example.org", 10, "a.example.org")))
        waiting = [self.resolver.mx("example.org") for _ in range(10)]
        self.clock.advance(0.1)
        self.assertEqual({self.successResultOf(each).status for each in waiting}, {Lookup.FOUND})
        self.assertEqual(len(self.network.asked), 1)

    def test_whoCancelsDoesNotTakeItFromTheOthers(self) -> None:
        self.serve(Zone(mx("example.org", 10, "a.example.org")))
        first, second = self.resolver.mx("example.org"), self.resolver.mx("example.org")
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.clock.advance(0.1)
        self.assertEqual(self.successResultOf(second).status, Lookup.FOUND)


class ChainTests(Case):
    def test_aLoop(self) -> None:
        self.serve(Zone(cname("a.example.org", "b.example.org"), cname("b.example.org", "a.example.org")))
        answer = self.addresses("a.example.org", "inet4")
        self.assertEqual(answer.status, Lookup.FAILED)
        self.assertIn("chain of CNAMEs", answer.error)

    def test_aLoopOfOne(self) -> None:
        self.serve(Zone(cname("a.example.org", "A.example.org")))
        self.assertEqual(self.addresses("a.example.org", "inet4").status, Lookup.FAILED)

    def test_aLongChain(self) -> None:
        links = [cname(f"{number}.example.org", f"{number + 1}.example.org") for number in range(18)]
        self.serve(Zone(*links, a("18.example.org", "192.0.2.1")))
        self.assertEqual(self.addresses("0.example.org", "inet4").status, Lookup.FAILED)
        self.assertEqual(self.addresses("10.example.org", "inet4").addresses, ("192.0.2.1",))

    def test_aServerThatFollowsNoChain(self) -> None:
        zone = {
            b"a.example.org": cname("a.example.org", "b.example.org", ttl=7),
            b"b.example.org": cname("b.example.org", "c.example.org"),
            b"c.example.org": a("c.example.org", "192.0.2.1"),
        }
        self.serve(lambda q: reply(q, zone[q.queries[0].name.name]))
        answer = self.addresses("a.example.org", "inet4")
        self.assertEqual((answer.addresses, answer.canonical), (("192.0.2.1",), "c.example.org"))
        self.assertEqual(
            [name for _, name, _ in self.network.asked], [b"a.example.org", b"b.example.org", b"c.example.org"]
        )
        self.clock.advance(8.0)
        self.addresses("a.example.org", "inet4")
        self.assertEqual(len(self.network.asked), 6, "the least TTL of the chain counts")

    def test_aLoopOverSeveralAnswers(self) -> None:
        other = {b"a.example.org": "b.example.org", b"b.example.org": "a.example.org"}
        self.serve(lambda q: reply(q, cname(q.queries[0].name.name.decode(), other[q.queries[0].name.name])))
        self.assertEqual(self.addresses("a.example.org", "inet4", 1).status, Lookup.FAILED)
        self.assertEqual(len(self.network.asked), 2)

    def test_aChainThatGrowsForEver(self) -> None:
        self.serve(
            lambda q: reply(q, cname(q.queries[0].name.name.decode(), f"x{len(self.network.asked)}.example.org"))
        )
        self.assertEqual(self.addresses("a.example.org", "inet4", 2).status, Lookup.FAILED)
        self.assertLess(len(self.network.asked), 20)

    def test_aChainToNowhere(self) -> None:
        self.serve(Zone(cname("a.example.org", "none.example.org")))
        self.assertEqual(self.addresses("a.example.org", "inet4").status, Lookup.NXDOMAIN)

    def test_aChainToWhatIsNoName(self) -> None:
        self.serve(lambda q: reply(q, cname(q.queries[0].name.name.decode(), "a b.example.org")))
        self.assertEqual(self.addresses("a.example.org", "inet4").status, Lookup.FAILED)


class SecureTests(Case):
    def secure(self, trustAD: bool, *records: dns.RRHeader) -> bool:
        self.use(FIRST, trustAD=trustAD)
        self.serve(Zone(*records, authenticData=1))
        answer, addresses = self.mx("example.org"), self.addresses("www.example.org")
        self.assertEqual(answer.secure, addresses.secure)
        return answer.secure

    def test_onlyFromATrustedServer(self) -> None:
        records = (mx("example.org", 1, "www.example.org"), a("www.example.org", "192.0.2.1"))
        self.assertTrue(self.secure(True, *records))
        self.assertFalse(self.secure(False, *records))

    def test_absenceToo(self) -> None:
        self.assertTrue(self.secure(True))

    def test_withoutTheBit(self) -> None:
        self.use(FIRST, trustAD=True)
        self.serve(Zone(mx("example.org", 1, "www.example.org")))
        self.assertFalse(self.mx("example.org").secure)

    def test_everyAnswerOfAChain(self) -> None:
        self.use(FIRST, trustAD=True)
        self.serve(
            lambda q: (
                reply(q, cname("a.example.org", "b.example.org"))
                if q.queries[0].name.name == b"a.example.org"
                else reply(q, a("b.example.org", "192.0.2.1"), authenticData=1)
            )
        )
        answer = self.addresses("a.example.org", "inet4")
        self.assertEqual((answer.addresses, answer.secure), (("192.0.2.1",), False))


class ServerTests(Case):
    def test_nextServerOnTimeOut(self) -> None:
        self.use(FIRST, SECOND)
        self.serve(Zone(mx("example.org", 1, "a.example.org")), SECOND)
        self.assertEqual(self.mx("example.org", 3).status, Lookup.FOUND)
        self.assertEqual([host for host, _, _ in self.network.asked], [FIRST[0], SECOND[0]])

    def test_aSilentServerIsAskedLastForAWhile(self) -> None:
        self.use(FIRST, SECOND)
        self.serve(Zone(mx("example.org", 1, "a.example.org")), SECOND)
        self.mx("example.org", 3)
        self.mx("example.net", 0.1)
        self.assertEqual(self.network.asked[-1][0], SECOND[0])
        self.clock.advance(PENALTY)
        self.resolver.mx("example.com")
        self.assertEqual(self.network.asked[-1][0], FIRST[0])

    def test_aSingleServerIsAskedAgain(self) -> None:
        zone = Zone(mx("example.org", 1, "a.example.org"))
        self.serve(lambda q: zone(q) if len(self.network.asked) == 3 else None)
        self.assertEqual(self.mx("example.org", 10).status, Lookup.FOUND)
        ids = [message.id for message in self.network.messages]
        self.assertEqual(len(set(ids)), 3, "each time with another id")

    def test_allAreSilent(self) -> None:
        self.use(FIRST, SECOND)
        started = self.clock.seconds()
        answer = self.mx("example.org", 30)
        self.assertEqual(answer.status, Lookup.FAILED)
        self.assertIn("no answer in time", answer.error)
        self.assertLessEqual(self.clock.seconds() - started, PATIENCE + 1)
        self.assertEqual(len(self.network.asked), 4)

    def test_manySilentServersTakeNoLonger(self) -> None:
        self.use(*[(f"192.0.2.{number}", 53) for number in range(1, 30)])
        started = self.clock.seconds()
        self.assertEqual(self.mx("example.org", 30).status, Lookup.FAILED)
        self.assertLessEqual(self.clock.seconds() - started, PATIENCE + 1)

    def test_aLateAnswerDoesNotCount(self) -> None:
        self.network.latency = UDP_TIMEOUT + 0.5
        self.serve(Zone(mx("example.org", 1, "a.example.org")))
        self.assertEqual(self.mx("example.org", 30).status, Lookup.FAILED)

    def test_nextServerAtOnceOnFailure(self) -> None:
        for rcode in (dns.ESERVER, dns.EREFUSED, 9):
            self.use(FIRST, SECOND)
            self.serve(lambda q, rcode=rcode: reply(q, rcode=rcode))  # type: ignore[misc]
            self.serve(Zone(mx("example.org", 1, "a.example.org")), SECOND)
            self.assertEqual(self.mx("example.org").status, Lookup.FOUND)

    def test_serverFailureIsNotAbsence(self) -> None:
        self.use(FIRST, SECOND)
        for server in (FIRST, SECOND):
            self.serve(lambda q: reply(q, rcode=dns.ESERVER), server)
        answer = self.mx("example.org")
        self.assertEqual(answer.status, Lookup.FAILED)
        self.assertEqual(answer.error, "example.org: 192.0.2.54: server failure")
        self.assertEqual(len(self.network.asked), 2, "who said no is not asked again")

    def test_anErrorWithoutTheQuestion(self) -> None:
        def terse(query: dns.Message) -> dns.Message:
            message = reply(query, rcode=dns.EREFUSED)
            message.queries = []
            return message

        self.use(FIRST, SECOND)
        self.serve(terse)
        self.serve(Zone(mx("example.org", 1, "a.example.org")), SECOND)
        self.assertEqual(self.mx("example.org").status, Lookup.FOUND)

    def test_aLameServer(self) -> None:
        def lame(query: dns.Message) -> dns.Message:
            message = reply(query, recAv=0)
            message.authority = [dns.RRHeader(b"", dns.NS, dns.IN, 60, dns.Record_NS(b"a.root.example.org"))]
            return message

        self.use(FIRST, SECOND)
        self.serve(lame)
        self.serve(Zone(mx("example.org", 1, "a.example.org")), SECOND)
        self.assertEqual(self.mx("example.org").status, Lookup.FOUND)

    def test_withoutEdnsAfterAFormatError(self) -> None:
        zone = Zone(mx("example.org", 1, "a.example.org"))
        for rcode in (dns.EFORMAT, dns.ENOTIMP):
            self.use(FIRST)
            self.network.asked.clear()
            self.serve(lambda q, rcode=rcode: reply(q, rcode=rcode) if q.additional else zone(q))  # type: ignore[misc]
            self.assertEqual(self.mx("example.org").status, Lookup.FOUND)
            self.mx("example.net")
            self.assertEqual(len(self.network.asked), 3, "remembered")

    def test_aServerThatFormatsNothing(self) -> None:
        self.serve(lambda q: reply(q, rcode=dns.EFORMAT))
        answer = self.mx("example.org")
        self.assertEqual(answer.status, Lookup.FAILED)
        self.assertIn("format error", answer.error)

    def test_anErrorInTheHighBits(self) -> None:
        def badVersion(query: dns.Message) -> dns.Message:
            message = reply(query)
            message.additional = [dns.RRHeader(b"", dns.OPT, 1232, 1 << 24)]
            return message

        self.serve(badVersion)
        self.assertEqual(self.mx("example.org").status, Lookup.FAILED)

    def test_unreachable(self) -> None:
        self.use(FIRST, SECOND)
        self.network.unreachable.add(FIRST[0])
        self.serve(Zone(mx("example.org", 1, "a.example.org")), SECOND)
        self.assertEqual(self.mx("example.org").status, Lookup.FOUND)

    def test_noServer(self) -> None:
        self.resolver = Resolver(self.world.platform(), ResolverSettings(()))
        self.assertEqual(self.mx("example.org").error, "example.org: no name server is configured")

    def test_anIPv6Server(self) -> None:
        self.use(("2001:DB8:0::53", 53))
        self.serve(Zone(mx("example.org", 1, "a.example.org")), ("2001:DB8:0::53", 53))
        original = self.network.deliver
        self.patch(self.network, "deliver", lambda port, data, _: original(port, data, ("2001:db8::53", 53)))
        self.assertEqual(self.mx("example.org").status, Lookup.FOUND)


class ForgeryTests(Case):
    """What does not come from the server, to the port, with the id and the question, is no answer."""

    def forged(self, *forgeries: Handler) -> None:
        true = Zone(a("www.example.org", "192.0.2.1"))
        self.serve(lambda q: [*[forgery(q) for forgery in forgeries], true(q)])  # type: ignore[list-item]
        self.assertEqual(self.addresses("www.example.org", "inet4").addresses, ("192.0.2.1",))
        self.assertEqual(len(self.network.asked), 1)

    def test_anotherId(self) -> None:
        def forge(query: dns.Message) -> dns.Message:
            message = reply(query, a("www.example.org", "192.0.2.66"))
            message.id ^= 1
            return message

        self.forged(forge)

    def test_anotherQuestion(self) -> None:
        def asking(name: bytes, type: int, cls: int = dns.IN) -> Handler:
            def forge(query: dns.Message) -> dns.Message:
                message = reply(query, a("www.example.org", "192.0.2.66"))
                message.queries = [dns.Query(name, type, cls)]
                return message

            return forge

        self.forged(
            asking(b"evil.example.org", dns.A),
            asking(b"www.example.org", dns.AAAA),
            asking(b"www.example.org", dns.A, dns.CH),
        )

    def test_noQuestionOrTwo(self) -> None:
        def questions(count: int) -> Handler:
            def forge(query: dns.Message) -> dns.Message:
                message = reply(query, a("www.example.org", "192.0.2.66"))
                message.queries *= count
                return message

            return forge

        self.forged(questions(0), questions(2))

    def test_aQuestionIsNoAnswer(self) -> None:
        self.forged(lambda query: reply(query, a("www.example.org", "192.0.2.66"), answer=0))

    def test_caseDoesNotMatter(self) -> None:
        def shout(query: dns.Message) -> dns.Message:
            message = reply(query, a("WWW.Example.ORG", "192.0.2.1"))
            message.queries = [dns.Query(b"WWW.EXAMPLE.org", dns.A)]
            return message

        self.serve(shout)
        self.assertEqual(self.addresses("www.example.org", "inet4").addresses, ("192.0.2.1",))

    def test_anotherSender(self) -> None:
        result = self.resolver.addresses("www.example.org", "inet4")
        [port] = self.network.ports
        query = self.network.messages[0]
        bad = reply(query, a("www.example.org", "192.0.2.66")).toStr()
        for sender in (("192.0.2.99", 53), (FIRST[0], 5353), ("192.0.2.530", 53), ("", 53)):
            port.protocol.datagramReceived(bad, sender)
        self.assertNoResult(result)
        port.protocol.datagramReceived(reply(query, a("www.example.org", "192.0.2.1")).toStr(), FIRST)
        self.assertEqual(self.successResultOf(result).addresses, ("192.0.2.1",))

    def test_anotherPort(self) -> None:
        result = self.resolver.addresses("www.example.org")
        queries = self.network.messages
        ports = self.network.ports
        while len(ports) < 2:  # two questions may have drawn one socket
            self.resolver.addresses(f"x{len(queries)}.example.org")
        owner = next(port for port in ports if queries[0].id in port.protocol.pending)
        other = next(port for port in ports if port is not owner)
        other.protocol.datagramReceived(reply(queries[0], aaaa("www.example.org", "2001:db8::66")).toStr(), FIRST)
        self.assertNoResult(result)

    def test_idsAndPortsVary(self) -> None:
        self.serve(Zone())
        for number in range(64):
            self.addresses(f"x{number}.example.org", "inet4")
        self.assertGreater(len({message.id for message in self.network.messages}), 60)
        self.assertEqual(len(self.network.ports), POOL)

    def test_portsAreChangedAfterAWhile(self) -> None:
        self.serve(Zone())
        for number in range(POOL * MOST_USES * 2):
            self.resolver.addresses(f"x{number}.example.org", "inet4")
            if number % 100 == 99:
                self.clock.advance(0.05)
        self.clock.advance(0.05)
        self.assertGreater(len(self.network.ports), POOL)
        self.assertEqual(len([port for port in self.network.ports if port.listening]), POOL)


class StreamTests(Case):
    def truncating(self) -> None:
        self.serve(lambda q: reply(q, trunc=1))

    def test_truncatedAnswersAreFetchedOverTcp(self) -> None:
        self.truncating()
        hosts = [mx("example.org", number, f"h{number}.example.org") for number in range(90)]
        self.network.streams[FIRST] = Zone(*hosts)
        answer = self.mx("example.org")
        self.assertEqual(len(answer.hosts), 90)
        self.assertEqual([connector.over for connector in self.network.connectors], [True])

    def test_fromTheSameServer(self) -> None:
        self.use(FIRST, SECOND)
        self.truncating()
        self.network.streams[FIRST] = Zone(mx("example.org", 1, "first.example.org"))
        self.network.streams[SECOND] = Zone(mx("example.org", 1, "second.example.org"))
        self.assertEqual(self.mx("example.org").hosts, (MxHost(1, "first.example.org"),))

    def test_whatCameCutDoesNotCount(self) -> None:
        self.serve(lambda q: reply(q, mx("example.org", 1, "cut.example.org"), trunc=1))
        answer = self.mx("example.org")
        self.assertEqual(answer.status, Lookup.FAILED)
        self.assertIn("refused", answer.error)

    def test_nextServerWhereTcpIsRefused(self) -> None:
        self.use(FIRST, SECOND)
        self.truncating()
        self.serve(Zone(mx("example.org", 1, "second.example.org")), SECOND)
        self.assertEqual(self.mx("example.org").hosts, (MxHost(1, "second.example.org"),))

    def test_tcpThatHangs(self) -> None:
        self.use(FIRST, SECOND)
        self.truncating()
        self.network.streams[FIRST] = lambda q: None
        self.serve(Zone(mx("example.org", 1, "second.example.org")), SECOND)
        self.assertEqual(self.mx("example.org", 10).status, Lookup.FOUND)
        self.assertTrue(self.network.connectors[0].over)

    def test_tcpThatHangsUp(self) -> None:
        self.truncating()
        self.network.streams[FIRST] = lambda q: None
        result = self.resolver.mx("example.org")
        self.clock.pump([0.01] * 3)
        self.network.connectors[0].hangUp()
        self.assertEqual(self.successResultOf(result).status, Lookup.FAILED)

    def test_nonsenseOverTcp(self) -> None:
        def another(query: dns.Message) -> dns.Message:
            message = reply(query, mx("example.org", 1, "evil.example.org"))
            message.id ^= 1
            return message

        for handler in (lambda q: b"", lambda q: b"\0" * 50, another, lambda q: reply(q, trunc=1)):
            self.use(FIRST)
            self.truncating()
            self.network.streams[FIRST] = handler
            self.assertEqual(self.mx("example.org").status, Lookup.FAILED)


class BoundsTests(Case):
    def test_moreQuestionsThanMayBeOutstanding(self) -> None:
        self.serve(Zone(authority=[]))
        results = [self.resolver.mx(f"x{number}.example.org") for number in range(MOST_OUTSTANDING * 3)]
        self.assertEqual(len(self.network.asked), MOST_OUTSTANDING)
        self.clock.pump([0.01] * 4)
        self.assertEqual({self.successResultOf(result).status for result in results}, {Lookup.NXDOMAIN})

    def test_thoseThatWaitTooLongFail(self) -> None:
        results = [self.resolver.mx(f"x{number}.example.org") for number in range(MOST_OUTSTANDING * 4)]
        self.clock.pump([0.5] * 60)
        self.assertEqual({self.successResultOf(result).status for result in results}, {Lookup.FAILED})

    def test_whatIsNotAnsweredLeavesPlacesToOthers(self) -> None:
        zone = Zone(mx("example.org", 10, "mx.example.org"))
        first: list[dns.Message] = []

        def answer(message: dns.Message) -> Any:
            if message.queries[0].name.name == b"example.org":
                return zone(message)
            if message.queries[0].name.name == b"x0.example.net":
                first.append(message)
            return None

        self.serve(answer)
        dead = [self.resolver.mx(f"x{number}.example.net") for number in range(MOST_OUTSTANDING * 4)]
        good = self.resolver.mx("example.org")
        self.clock.pump([HASTE / 5] * 20)
        self.assertLess(len(self.network.asked), MOST_OUTSTANDING * 4 + 2, "nobody is asked twice for it")
        self.clock.pump([HASTE / 5] * 4)
        self.assertEqual(self.successResultOf(good).status, Lookup.FOUND)
        # Those without a place go on: an answer still counts.
        self.assertNoResult(dead[0])
        [message] = first
        for port in self.network.ports:
            self.network.deliver(port, reply(message, mx("x0.example.net", 10, "mx.example.net")), FIRST)
        self.clock.advance(0.1)
        self.assertEqual(self.successResultOf(dead[0]).status, Lookup.FOUND)
        self.clock.pump([0.5] * 60)
        self.assertEqual({self.successResultOf(each).status for each in dead[1:]}, {Lookup.FAILED})
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nobodyIsHurriedForNothing(self) -> None:
        """While there are places for all, nobody waits for them."""
        results = [self.resolver.mx(f"x{number}.example.net") for number in range(MOST_OUTSTANDING)]
        self.clock.pump([HASTE] * 3)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.pump([0.5] * 30)
        self.assertEqual({self.successResultOf(result).status for result in results}, {Lookup.FAILED})

    def test_tcpIsBounded(self) -> None:
        """Each has a descriptor. Those that are over make room."""
        self.serve(lambda q: reply(q, trunc=1))
        self.network.streams[FIRST] = lambda q: None
        results = [self.resolver.mx(f"x{number}.example.net") for number in range(MOST_STREAMS + 3 * MOST_OUTSTANDING)]
        most = 0
        for _ in range(60):
            self.clock.advance(0.5)
            most = max(most, sum(not connector.over for connector in self.network.connectors))
        self.assertEqual(most, MOST_STREAMS)
        self.assertEqual({self.successResultOf(result).status for result in results}, {Lookup.FAILED})
        self.network.streams[FIRST] = Zone(mx("example.org", 10, "mx.example.org"))
        self.assertEqual(self.mx("example.org").status, Lookup.FOUND)

    def test_thoseWithoutAPlaceAreBounded(self) -> None:
        results = [self.resolver.mx(f"x{number}.example.net") for number in range(MOST_SLOW + 3 * MOST_OUTSTANDING)]
        # All have a place in turn before the first is given up in the usual way.
        self.clock.pump([HASTE] * 7)
        self.assertFalse(any(result.called for result in results))
        while len(self.network.asked) < len(results):
            self.clock.advance(HASTE)
        given = [self.successResultOf(result).error for result in results if result.called]
        self.assertTrue(given)
        self.assertTrue(all("too many questions" in error for error in given), given[:3])
        self.assertEqual([result.called for result in results[: len(given)]], [True] * len(given), "the first ones")
        self.clock.pump([0.5] * 60)
        self.assertTrue(all(result.called for result in results))

    def test_peersDoNotStarveOurMail(self) -> None:
        """Servers of reverse zones that never answer, and many who connect from there."""
        zone = Zone(mx("example.org", 10, "mx.example.org"))

        def answer(message: dns.Message) -> Any:
            return None if message.queries[0].type == dns.PTR else zone(message)

        self.serve(answer)
        named = [self.resolver.confirmedName(f"198.51.{net}.{host}") for net in range(40) for host in range(1, 51)]
        self.assertEqual(len(self.network.asked), MOST_FOR_PEERS)
        found = self.resolver.mx("example.org")
        self.clock.pump([0.01] * 4)
        self.assertEqual(self.successResultOf(found).status, Lookup.FOUND)
        self.clock.pump([0.5] * int(2 * PEER_PATIENCE + 2))
        self.assertEqual({self.successResultOf(name) for name in named}, {""})

    def test_oneNetworkDoesNotStarveOthers(self) -> None:
        zone = Zone(ptr("7.2.0.192.in-addr.arpa", "host.example.org"), a("host.example.org", "192.0.2.7"))

        def answer(message: dns.Message) -> Any:
            return None if message.queries[0].name.name.endswith(b"51.198.in-addr.arpa") else zone(message)

        self.serve(answer)
        for host in range(1, 251):
            self.resolver.confirmedName(f"198.51.100.{host}")
        self.assertEqual(len(self.network.asked), MOST_FOR_ORIGIN)
        name = self.resolver.confirmedName("192.0.2.7")
        self.clock.pump([0.01] * 6)
        self.assertEqual(self.successResultOf(name), "host.example.org")

    def test_aPeersFailureIsNotOurs(self) -> None:
        """Who names our destination as his host, and keeps us from asking, does not keep mail from it."""
        zone = Zone(ptr("7.2.0.192.in-addr.arpa", "mx.example.org"), a("mx.example.org", "192.0.2.25"))
        isSilent = [True]

        def answer(message: dns.Message) -> Any:
            return None if isSilent[0] and message.queries[0].type == dns.A else zone(message)

        self.serve(answer)
        name = self.resolver.confirmedName("192.0.2.7")
        self.clock.pump([0.5] * int(2 * PEER_PATIENCE + 2))
        self.assertEqual(self.successResultOf(name), "")
        isSilent[0] = False
        found = self.resolver.addresses("mx.example.org", "inet4")
        self.clock.pump([0.01] * 4)
        self.assertEqual(self.successResultOf(found).addresses, ("192.0.2.25",))

    def test_manyThatFailAtOnce(self) -> None:
        self.network.mayListen = False
        results = [self.resolver.mx(f"x{number}.example.org") for number in range(3000)]
        self.assertEqual({self.successResultOf(result).status for result in results}, {Lookup.FAILED})

    def test_manyThatFailWhileOthersWait(self) -> None:
        results = [self.resolver.mx(f"x{number}.example.org") for number in range(5000)]
        self.network.unreachable.add(FIRST[0])
        self.clock.pump([0.5] * 40)
        self.assertEqual({self.successResultOf(result).status for result in results}, {Lookup.FAILED})

    def test_noDescriptorLeft(self) -> None:
        self.serve(Zone())
        self.mx("a.example.org")
        self.network.mayListen = False
        for number in range(20):
            self.assertEqual(self.mx(f"x{number}.example.org").status, Lookup.NXDOMAIN)

    def test_close(self) -> None:
        results = [self.resolver.mx(f"x{number}.example.org") for number in range(MOST_OUTSTANDING + 10)]
        self.successResultOf(self.resolver.close())
        self.assertEqual({self.successResultOf(result).status for result in results}, {Lookup.FAILED})
        self.assertEqual([port for port in self.network.ports if port.listening], [])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.mx("late.example.org").status, Lookup.FAILED)

    def test_anIdleResolverHasNoTimer(self) -> None:
        self.serve(Zone())
        self.mx("example.org")
        self.clock.advance(UDP_TIMEOUT + 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])
